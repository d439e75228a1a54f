"""How far a machine is on its way to a bundle, in figures and in words."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from detector.provisional import judged

if TYPE_CHECKING:
    from detector.manifest import Manifest


class Verdict(StrEnum):
    """What is to be said of a machine's readings so far, in one word."""

    COLLECTING = "collecting"  # too few to say anything
    GOOD = "good"
    STILL = "still"  # no sensor has moved: of that nothing can be learned
    POOR = "poor"  # they were refused by the trainer
    BLOCKED = "blocked"  # nothing is wrong with them, but nobody trains


class Watch(StrEnum):
    """By what a machine is watched while it learns."""

    NOTHING = "nothing"
    LIMITS = "limits"
    Z_SCORE = "z_score"  # and limits


class Progress(msgspec.Struct, frozen=True):
    """The field `learning` of the state.

    Attributes:
        share: What was collected of what is needed, 0 to 1: of readings or of time, whichever is less.
        readings: Readings collected, counted up to those needed.
        needed: Readings needed.
        seconds_left: Until there is enough, if the machine goes on as it did; None: that is not known.
        watched_by: By what it is watched meanwhile.
        verdict: What is to be said of its readings so far.
        text: The same in a sentence, with the way out where there must be one.
    """

    share: float
    readings: int
    needed: int
    seconds_left: int | None
    watched_by: Watch
    verdict: Verdict
    text: str


def progress(
    readings: int,
    oldest: int,
    newest: int,
    *,
    needed: int,
    span: int,
    manifest: Manifest | None,
    refused: str,
    waits: str,
    unable: str,
) -> Progress:
    """Puts it together.

    Args:
        readings: How many there are, counted up to `needed`.
        oldest: Time of the oldest, in milliseconds.
        newest: Time of the newest.
        needed: Readings needed.
        span: Milliseconds that they must span.
        manifest: That of the provisional detector; None without one.
        refused: What the trainer has found wrong with them.
        waits: What is to be done by hand when there are enough.
        unable: Why nobody can train.
    """
    there = newest - oldest
    share = min(1.0, readings / needed, there / span)
    left: int | None = 0
    if share < 1:
        # Of readings, the same time for each that is missing as for each that came.
        more = there * (needed - readings) / (readings - 1) if readings > 1 else None
        left = None if more is None else round(max(more, span - there) / 1000)
    moved = 0 if manifest is None else judged(manifest)
    watched_by = Watch.NOTHING if manifest is None else Watch.Z_SCORE if moved else Watch.LIMITS
    verdict, text = _judge(share, manifest, moved, refused=refused, waits=waits, unable=unable)
    return Progress(
        # A share of 1 says that there is enough.
        share=share if share == 1 else min(0.99, round(share, 4)),
        readings=readings,
        needed=needed,
        seconds_left=left,
        watched_by=watched_by,
        verdict=verdict,
        text=text,
    )


def _judge(
    share: float, manifest: Manifest | None, moved: int, *, refused: str, waits: str, unable: str
) -> tuple[Verdict, str]:
    if refused:
        return Verdict.POOR, f"no bundle could be trained: {refused}; it is tried again later"
    if share >= 1 and moved == 0:
        return Verdict.STILL, (
            "no sensor has moved so far, so there is nothing to learn; look whether the machine runs"
        )
    if share >= 1 and (unable or waits):
        return Verdict.BLOCKED, unable or waits
    if manifest is None or moved == 0:
        return Verdict.COLLECTING, "too few readings to say anything about them"
    sensors = len(manifest.sensors)
    if share >= 1:
        return Verdict.GOOD, f"there is enough: a bundle of {sensors} sensor(s) is being trained"
    return Verdict.GOOD, f"{moved} of {sensors} sensor(s) move and can be learned"
