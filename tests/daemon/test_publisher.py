from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.intake import Published
from daemon.publisher import MOST_ANSWERS, RETRY_REFUSED, Outgoing, Publisher, _Held
from daemon.rivalry import SHORT
from daemon.tally import Tally
from tests.daemon.wire import Wire, connected

if TYPE_CHECKING:
    from _collections_abc import dict_values

NO = "Not authorized"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def publisher(wire: Wire, clock: Clock) -> Publisher:
    return Publisher(wire, Tally(clock), clock)


def sent(publisher: Publisher, wire: Wire) -> list[tuple[str, bytes]]:
    """What one `pump` publishes."""
    before = len(wire.published)
    assert publisher.pump() == []
    return wire.published[before:]


def test_a_refused_topic_is_tried_again_with_one_message_and_then_goes_on_in_order(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    alerts = [("a", b"%d" % n) for n in range(1, 5)]
    publisher.restart(connected(), [(n, *alerts[n - 1]) for n in (1, 2, 3)])
    publisher.offer(Outgoing("b", b"", retain=False, number=9))
    assert sent(publisher, wire) == [*alerts[:3], ("b", b"")]
    assert [publisher.settle(Published(1, mid, NO)) for mid in (1, 2)] == [None, None]
    publisher.offer(Outgoing(*alerts[3], retain=False, number=4))
    assert sent(publisher, wire) == []
    assert [publisher.settle(Published(1, mid, refusal)) for mid, refusal in ((3, NO), (4, None))] == [
        None,
        9,
    ]
    for _ in range(2):
        clock.now += RETRY_REFUSED
        assert sent(publisher, wire) == [alerts[0]]
        publisher.settle(Published(1, len(wire.published), NO))
        assert sent(publisher, wire) == []
    clock.now += RETRY_REFUSED
    assert sent(publisher, wire) == [alerts[0]]
    assert publisher.settle(Published(1, len(wire.published), None)) == 1
    assert sent(publisher, wire) == alerts[1:]


def test_a_refused_topic_is_held_back_on_the_next_connection_too(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    unsent = [(1, "a", b"1"), (2, "b", b"2")]
    publisher.restart(connected(), unsent[:1])
    sent(publisher, wire)
    publisher.settle(Published(1, 1, NO))
    wire.generation = 3
    publisher.restart(connected(3), unsent)
    assert sent(publisher, wire) == [("b", b"2")]
    clock.now += RETRY_REFUSED
    assert sent(publisher, wire) == [("a", b"1")]


def test_of_a_refused_state_only_the_newest_is_tried_again(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    publisher.restart(connected(), [])
    for payload in (b"1", b"2"):
        publisher.offer(Outgoing("state", payload, retain=True))
    sent(publisher, wire)
    publisher.settle(Published(1, 1, NO))
    publisher.offer(Outgoing("state", b"3", retain=True))
    assert sent(publisher, wire) == []
    publisher.settle(Published(1, 2, NO))
    clock.now += RETRY_REFUSED
    assert sent(publisher, wire) == [("state", b"3")]


def test_what_is_larger_than_the_broker_takes_is_never_published(wire: Wire, publisher: Publisher) -> None:
    small, large = b"x" * 90, b"x" * 93  # of 100 bytes: 2 header, 3 topic, 2 number, 1 properties
    publisher.restart(connected(maximum_packet_size=100), [(1, "a", large), (2, "a", small)])
    publisher.offer(Outgoing("s", large, retain=True))
    publisher.publish_once("s", large)
    publisher.publish_once("s", small)
    assert publisher.pump() == [(1, "the broker takes packets of at most 100 bytes, got 101")]
    assert wire.published == [("s", small), ("a", small)]
    assert not publisher.idle()
    assert publisher.settle(Published(1, 2, None)) == 2
    assert publisher.idle()


def test_of_many_refused_topics_one_is_tried_a_minute_and_all_once_it_is_taken(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    states = [(f"state/{n}", b"") for n in range(5)]
    publisher.restart(connected(), [(1, "alert", b"")])
    for topic, payload in states:
        publisher.offer(Outgoing(topic, payload, retain=True))
    assert len(sent(publisher, wire)) == 6
    for mid in range(1, 7):
        publisher.settle(Published(1, mid, NO))
    tried = []
    for _ in range(3):
        clock.now += RETRY_REFUSED
        tried.append(sorted(sent(publisher, wire)))
        assert sent(publisher, wire) == []
        for mid in (len(wire.published) - 1, len(wire.published)):
            publisher.settle(Published(1, mid, NO))
    assert tried == [[("alert", b""), states[n]] for n in range(3)], "in turn, and alerts beside them"
    clock.now += RETRY_REFUSED
    assert sorted(sent(publisher, wire)) == [("alert", b""), states[3]]
    publisher.settle(Published(1, wire.published.index(states[3], -2) + 1, None))
    again = []
    while more := sent(publisher, wire):
        again += more
        publisher.settle(Published(1, len(wire.published), None))
    assert sorted(again) == [states[0], states[1], states[2], states[4]]


def test_after_a_connection_that_ended_soon_it_publishes_one_by_one_for_a_while(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    unsent = [(n, "a", b"%d" % n) for n in range(1, 5)]
    publisher.restart(connected(careful=True), unsent)
    assert sent(publisher, wire) == [("a", b"1")]
    assert publisher.settle(Published(1, 1, None)) == 1
    assert sent(publisher, wire) == [("a", b"2")]
    clock.now += SHORT
    assert sent(publisher, wire) == [("a", b"3"), ("a", b"4")]


class Walked(dict[str, _Held]):
    """Counts how often it is gone through."""

    walks = 0

    def values(self) -> dict_values[str, _Held]:
        self.walks += 1
        return super().values()


def test_many_refused_topics_are_gone_through_once_a_second_and_not_for_each_that_is_taken(
    wire: Wire, clock: Clock, publisher: Publisher
) -> None:
    publisher.restart(connected(), [])
    publisher._held = topics = Walked()
    for n in range(300):
        publisher.offer(Outgoing(f"state/{n}", b"", retain=True))
        sent(publisher, wire)
        publisher.settle(Published(1, n + 1, NO))
    clock.now += RETRY_REFUSED
    topics.walks = 0
    while sent(publisher, wire):
        publisher.settle(Published(1, len(wire.published), None))
    assert len(wire.published) == 600
    assert topics.walks <= 4  # as it is time, and as the first is taken: for what is stored and for the rest


def answer(payload: bytes, topic: str = "answers") -> Outgoing:
    return Outgoing(topic, payload, retain=False, answer=True, correlation=b"7")


def test_an_answer_waits_for_the_next_connection_and_comes_again_if_it_was_not_confirmed(
    wire: Wire, publisher: Publisher
) -> None:
    publisher.offer(answer(b"1"))
    assert sent(publisher, wire) == []
    publisher.restart(connected(), [(1, "a", b"alert")])
    assert sent(publisher, wire) == [("a", b"alert"), ("answers", b"1")]
    wire.generation = 3
    publisher.offer(answer(b"2"))
    publisher.restart(connected(3), [])
    assert sent(publisher, wire) == [("answers", b"1"), ("answers", b"2")]
    assert [publisher.settle(Published(3, mid, None)) for mid in (3, 4)] == [None, None]
    assert publisher.idle()


def test_an_answer_that_the_broker_refuses_is_counted_and_holds_up_nothing(wire: Wire, clock: Clock) -> None:
    tally = Tally(clock)
    publisher = Publisher(wire, tally, clock)
    publisher.restart(connected(), [])
    publisher.offer(answer(b"1"))
    publisher.offer(answer(b"x" * 2000))
    assert sent(publisher, wire) == [("answers", b"1")]
    assert publisher.settle(Published(1, 1, NO)) is None
    assert (publisher.problem(), publisher.idle()) == (None, True)
    publisher.offer(answer(b"2"))
    assert sent(publisher, wire) == [("answers", b"2")]
    counts = {reason: n for (event, reason), n in tally.counts.items() if event == "answer_dropped" and n}
    assert counts == {"not_authorized": 1, "too_large": 1}


def test_of_too_many_answers_the_last_are_dropped_and_counted(wire: Wire, clock: Clock) -> None:
    tally = Tally(clock)
    publisher = Publisher(wire, tally, clock)
    for number in range(MOST_ANSWERS + 3):
        publisher.offer(answer(b"%d" % number))
    assert tally.counts["answer_dropped", "too_many"] == 3
    publisher.restart(connected(), [])
    for mid in range(1, MOST_ANSWERS + 1):
        publisher.pump()
        publisher.settle(Published(1, mid, None))
    assert [payload for _, payload in wire.published] == [b"%d" % n for n in range(MOST_ANSWERS)]
    publisher.offer(answer(b"now"))
    assert sent(publisher, wire) == [("answers", b"now")]
