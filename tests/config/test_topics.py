"""Which topics could carry each other's messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.problems import UnmetError
from config.topics import MACHINE, check_machine_topic, check_plain_topic, may_meet

LEVELS = st.lists(st.sampled_from(["a", "b", "", MACHINE]), min_size=1, max_size=4)


@given(LEVELS, LEVELS)
def test_topics_meet_if_some_names_of_machines_make_them_one(one: list[str], other: list[str]) -> None:
    names = ["a", "b", ""]  # every level there is

    def topics(levels: list[str]) -> set[str]:
        found = {"/".join(levels)}
        while any(MACHINE in topic for topic in found):
            found = {topic.replace(MACHINE, name, 1) for topic in found for name in names}
        return found

    assert may_meet("/".join(one), "/".join(other)) == bool(topics(one) & topics(other))


@pytest.mark.parametrize("topic", ["{machine}", "a/{machine}", "/{machine}/", "Werk 3/Straße/{machine}/a//b"])
def test_a_machines_topic_has_one_level_for_its_name(topic: str) -> None:
    assert check_machine_topic(topic) == topic


@pytest.mark.parametrize("check", [check_plain_topic, check_machine_topic])
def test_a_topic_is_no_longer_than_mqtt_allows(check: type) -> None:
    prefix = "" if check is check_plain_topic else "{machine}/"
    longest = prefix + "ü" * ((65_535 - len(prefix)) // 2)
    assert check(longest) == longest
    with pytest.raises(UnmetError, match="must be at most 65535 bytes"):
        check(longest + "üü")
