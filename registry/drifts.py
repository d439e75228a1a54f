"""What was found of machines' drift, in `drift.json`: written by the measurement, read by all others."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from registry.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FILE = "drift.json"


class Kind(StrEnum):
    """What a machine's newest time is beside the time that its model knows."""

    NONE = "none"
    DRIFT = "drift"  # sensors have moved; the model explains them as well as ever
    DEVELOPING = "developing"  # the model's error has grown, and is not level yet
    SETTLED = "settled"  # the model's error has grown, and has been level since
    UNKNOWN = "unknown"  # too little is known

    @property
    def normal(self) -> bool:
        """Whether it is another normal, of which the next model should learn."""
        return self in {Kind.DRIFT, Kind.SETTLED}


class Moved(msgspec.Struct, frozen=True):
    """One sensor's part in it.

    Attributes:
        sensor: Its name.
        size: How far its level has moved, in standard deviations of what the model knows; None: it has none.
        before: Its level in what the model knows, in its own unit; None: it has none.
        now: Its newest level.
        share: Its part of the growth of the model's error, 0 to 1; 0 where the error has not grown.
    """

    sensor: str
    size: float | None
    before: float | None
    now: float | None
    share: float = 0.0


class Drift(msgspec.Struct, frozen=True):
    """One machine's.

    Attributes:
        machine: Its name.
        model: The bundle by which it was measured.
        kind: What it is.
        text: The same for people.
        measured_at: When, in milliseconds since the epoch by this host's clock.
        since: When it began; None where nothing did.
        until: The end of what was looked at.
        score: Usual score of the newest time; 1 is the threshold.
        usual: The same of what the model knows.
        rise: By what factor the error has grown over the newest `drift.settled_after`.
        sensors: Those that show it, the first one most.
    """

    machine: str
    model: str
    kind: Kind
    text: str
    measured_at: int
    since: int | None = None
    until: int | None = None
    score: float | None = None
    usual: float | None = None
    rise: float | None = None
    sensors: tuple[Moved, ...] = ()


def read(state_dir: Path) -> dict[str, Drift]:
    """What was found last, by machine; nothing where nothing was, or where it cannot be read."""
    try:
        found = msgspec.json.decode((state_dir / FILE).read_bytes(), type=list[Drift])
    except (OSError, ValueError, RecursionError):  # the next measurement writes it anew
        return {}
    return {one.machine: one for one in found}


def write(state_dir: Path, found: Sequence[Drift]) -> None:
    """Replaces it.

    Raises:
        OSError: The disk refuses.
    """
    write_whole(state_dir / FILE, msgspec.json.encode(found))
