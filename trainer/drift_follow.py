"""Follows one machine's drift from one measurement to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from config.policies import health_policy, milliseconds
from detector.labels import LabelKind
from registry.drifts import Drift, Kind
from trainer.drift import FEWEST_BLOCKS, DriftPolicy, judge
from trainer.drift_blocks import block_length, course, joined, nothing
from trainer.drift_memory import About, Followed
from trainer.leaving_out import OF_LABELS, inside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from config.settings import Settings
    from detector.history import History
    from detector.labels import Label
    from detector.scoring import Detector
    from trainer.drift_blocks import Course
    from trainer.leaving_out import Span

FIRST_BLOCKS = 72  # that stand for what is usual where the model remembers nothing of a machine


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """What is known of one machine.

    Attributes:
        machine: Its name.
        detector: What serves it.
        remembered: What that was fitted on, by machine.
        read: Gives its readings from a time on, in milliseconds since the epoch.
        newest: Time of its newest reading.
        alerted: When it was in alert.
        labels: What was said about its time.
    """

    machine: str
    detector: Detector
    remembered: Sequence[History]
    read: Callable[[int], History]
    newest: int
    alerted: Sequence[Span] = ()
    labels: Sequence[Label] = ()


def follow(one: Watched, before: Followed | None, settings: Settings) -> Followed:
    """Scores what has come since the last measurement.

    Args:
        one: The machine.
        before: What was kept of that; it is of no use once another bundle serves.
        settings: Of which `drift` and `sensors` are used.
    """
    manifest, policy = one.detector.manifest, health_policy(settings)
    wished = settings.drift.block
    length = block_length(
        manifest.grid.interval, milliseconds(wished) if isinstance(wished, timedelta) else None
    )
    oldest = one.newest - milliseconds(settings.drift.look_back)
    if before is None or (before.about.model, before.about.length) != (manifest.id, length):
        known = next((each for each in one.remembered if each.machine == one.machine), None)
        width = len(manifest.sensors)
        usual = nothing(width) if known is None else course(known, one.detector, length, policy)
        # What the model was fitted on is no news.
        until = -(-max(oldest, _learned_until(manifest.history.end)) // length) * length
        before = Followed(About(one.machine, manifest.id, length, until), usual, nothing(width))
    since, until = before.about.until, one.newest // length * length
    if until <= since:
        return before
    window = (manifest.window.length + manifest.window.max_gap) * manifest.grid.interval
    found = course(one.read(since - window), one.detector, length, policy)
    newest = joined(before.newest, found.rows((found.at >= since) & (found.at < until)))
    usual = before.usual
    if len(usual) < FEWEST_BLOCKS or _own_first(usual, one):
        room = max(0, FIRST_BLOCKS - len(usual))
        usual, newest = joined(usual, newest.rows(slice(0, room))), newest.rows(slice(room, None))
    return Followed(replace(before.about, until=until), usual, newest.rows(newest.at >= oldest))


def drift_of(one: Watched, followed: Followed, settings: Settings, now: int) -> Drift:
    """What the machine's blocks say, less those in alert and those that somebody has labelled.

    A fault that was suspected and called a false alarm is a new normal.
    """
    length = followed.about.length
    said = [(label.start, label.end) for label in one.labels if label.kind in OF_LABELS]
    false = [(label.start, label.end) for label in one.labels if label.kind is LabelKind.FALSE_ALARM]
    at = followed.newest.at
    apart = _touched(at, said, length) | (_touched(at, one.alerted, length) & ~_touched(at, false, length))
    wishes = settings.drift
    policy = DriftPolicy(milliseconds(wishes.settled_after), wishes.min_move, wishes.min_growth)
    manifest = one.detector.manifest
    newest = followed.newest.rows(~apart)
    drift = judge(one.machine, manifest.id, manifest.sensors, followed.usual, newest, policy, now)
    since = drift.since
    called_normal = since is not None and any(end is None or end >= since for _, end in false)
    if drift.kind is Kind.DEVELOPING and called_normal:
        return replace(drift, kind=Kind.SETTLED, text=f"{drift.text}; somebody has called that normal")
    return drift


def _touched(at: NDArray[np.int64], spans: Sequence[Span], length: int) -> NDArray[np.bool_]:
    """Which blocks any of some spans touches."""
    return inside(at, ((start - length + 1, end) for start, end in spans))


def _learned_until(end: str) -> int:
    """The last time that a bundle was fitted on, in milliseconds since the epoch; 0 if it does not say."""
    try:
        return round(datetime.fromisoformat(end).timestamp() * 1000)
    except ValueError:
        return 0


def _own_first(usual: Course, one: Watched) -> bool:
    """Whether what is usual are the machine's first blocks, and there may be more of them."""
    return len(usual) < FIRST_BLOCKS and all(each.machine != one.machine for each in one.remembered)
