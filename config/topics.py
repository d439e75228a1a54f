"""Topics of MQTT: which may be configured, and which pairs could carry each other's messages."""

from __future__ import annotations

from typing import Annotated

from config.problems import UnmetError
from config.section import After

MACHINE = "{machine}"
MAX_BYTES = 65_535  # MQTT's own limit for a topic


def _check(topic: str) -> str:
    if not topic:
        raise UnmetError("must not be empty")
    if "#" in topic or "+" in topic:
        raise UnmetError("must not contain the wildcards # and +")
    if topic.startswith("$"):
        raise UnmetError("must not start with $, which is the broker's own")
    if not topic.isprintable():
        raise UnmetError("must not contain control characters")
    if len(topic.encode()) > MAX_BYTES:
        raise UnmetError(f"must be at most {MAX_BYTES} bytes")
    return topic


def check_machine_topic(topic: str) -> str:
    """Checks a topic with one level for the machine's name, such as `plant/{machine}/readings`."""
    levels = _check(topic).split("/")
    if levels.count(MACHINE) != 1:
        raise UnmetError(f"must contain {MACHINE} as exactly one whole level", hint=f"such as a/{MACHINE}/b")
    _check_braces([level for level in levels if level != MACHINE])
    return topic


def check_plain_topic(topic: str) -> str:
    """Checks a topic that is the same for all machines, such as `anomalyd/status`."""
    if MACHINE in _check(topic):
        raise UnmetError(f"must not contain {MACHINE}, it is one topic for all machines")
    _check_braces(topic.split("/"))
    return topic


def _check_braces(levels: list[str]) -> None:
    if any("{" in level or "}" in level for level in levels):
        raise UnmetError(f"must not contain braces other than {MACHINE}")


def may_meet(one: str, other: str) -> bool:
    """Tells whether some machine's name makes the two topics the same, `{machine}` being any level."""
    levels, others = one.split("/"), other.split("/")
    return len(levels) == len(others) and all(
        a == b or MACHINE in (a, b) for a, b in zip(levels, others, strict=True)
    )


MachineTopic = Annotated[str, After(check_machine_topic)]
PlainTopic = Annotated[str, After(check_plain_topic)]
