"""What somebody has said about a stretch of a machine's time."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class LabelKind(StrEnum):
    """What a stretch was."""

    FALSE_ALARM = "false_alarm"  # normal, whatever was alerted
    CONFIRMED = "confirmed"  # an incident
    EXCLUDED = "excluded"  # nothing is to be learned from it
    OFF = "off"
    MAINTENANCE = "maintenance"


class Label(msgspec.Struct, frozen=True):
    """A stretch of one machine's time and what it was; of one kind and start there is one at most.

    Attributes:
        machine: Whose time.
        kind: What it was.
        start: Its first moment, in milliseconds since the epoch by the machine's clock.
        end: Its last moment; None: it goes on.
        noted_at: When it was said, in milliseconds since the epoch by this host's clock.
        by: Who has said it; empty: nobody is named.
        note: In their words.
        code: What kind of incident it was, in the words of the plant.
        alert: The alert that it is about.
    """

    machine: str
    kind: LabelKind
    start: int
    end: int | None
    noted_at: int
    by: str = ""
    note: str = ""
    code: str = ""
    alert: str | None = None
