"""A machine's time in blocks: how well its model explains each, and where each sensor stands in it.

Neighbouring rows are alike, so that a test that takes them for independent finds drift everywhere. A block
of an hour is one observation.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from detector.history import merged
from detector.scoring import total
from trainer.scorable import scorable
from trainer.stretches import unstuck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detector.health import HealthPolicy
    from detector.history import History
    from detector.scoring import Detector
    from trainer.scorable import Stretch

HOUR = 3_600_000  # milliseconds
SAMPLES = 30  # of which a block consists at least, where its length is not given
MOST_WINDOWS = 60  # of a block that are scored: a median of more is not much better, and costs
FEWEST_WINDOWS = 5  # of a block that counts
SMALLEST = 1e-6  # a score below is nothing but rounding


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """B blocks of one machine in order of time, of F sensors.

    Attributes:
        at: Where each begins, in milliseconds since the epoch, shape (B,).
        windows: How many windows were scored of each, shape (B,).
        score: Decimal logarithm of the median score, shape (B,).
        level: Each sensor's mean, in its own unit, shape (B, F); NaN without a value, or where it has none.
        spread: Its standard deviation within the block, likewise.
        share: Its mean part of the score, shape (B, F).
    """

    at: NDArray[np.int64]
    windows: NDArray[np.int64]
    score: NDArray[np.float64]
    level: NDArray[np.float64]
    spread: NDArray[np.float64]
    share: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at)

    def rows(self, keep: slice | NDArray[np.bool_]) -> Course:
        """The chosen blocks."""
        return Course(*(getattr(self, field.name)[keep] for field in fields(self)))


def joined(first: Course, second: Course) -> Course:
    """One after the other."""
    pairs = ((getattr(first, field.name), getattr(second, field.name)) for field in fields(Course))
    return Course(*(np.concatenate(pair) for pair in pairs))


def nothing(sensors: int) -> Course:
    """No block."""
    none, wide = np.empty(0, np.int64), np.empty((0, sensors))
    return Course(none, none, np.empty(0), wide, wide, wide)


def block_length(interval: int, wished: int | None) -> int:
    """Milliseconds of a block where a reading comes every `interval` milliseconds.

    None: an hour, or as many as hold `SAMPLES` readings.
    """
    return wished or max(HOUR, SAMPLES * interval)


def course(history: History, detector: Detector, length: int, policy: HealthPolicy) -> Course:
    """Cuts a machine's rows into blocks and scores some windows of each.

    Blocks lie between multiples of `length` since the epoch, so that a history may come in pieces. What
    stuck sensors show is left out, as in scoring.

    Args:
        history: Any rows, as they are stored.
        detector: What serves the machine.
        length: Of a block, in milliseconds.
        policy: When a sensor is stuck.
    """
    manifest = detector.manifest
    known = unstuck(merged(history.select(manifest.sensors), manifest.grid), manifest, policy)
    found: dict[int, list[NDArray[np.float64]]] = {}
    for stretch in scorable(known, manifest.grid, manifest.window, detector):
        for block, starts in _by_block(stretch, length):
            found.setdefault(block, []).extend(detector.errors(w).share for w in stretch.windows(starts))
    shares = {block: np.concatenate(found[block]) for block in sorted(found)}
    shares = {block: share for block, share in shares.items() if len(share) >= FEWEST_WINDOWS}
    if not shares:
        return nothing(len(manifest.sensors))
    blocks = np.array([*shares], np.int64)
    level, spread = _levels(known, blocks, length)
    measured = np.array([name not in manifest.channels for name in manifest.sensors])
    level[:, ~measured], spread[:, ~measured] = np.nan, np.nan
    median = np.array([np.median(total(share, manifest.error.kind)) for share in shares.values()])
    return Course(
        at=blocks * length,
        windows=np.array([*map(len, shares.values())], np.int64),
        score=np.log10(np.maximum(median / manifest.threshold.value, SMALLEST)),
        level=level,
        spread=spread,
        share=np.array([share.mean(axis=0) for share in shares.values()]),
    )


def _by_block(stretch: Stretch, length: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """The windows of each block, by the time of their newest sample: at most `MOST_WINDOWS`, evenly."""
    if not len(stretch.starts):
        return
    blocks = stretch.at[stretch.starts + stretch.length - 1] // length
    cuts = np.flatnonzero(np.diff(blocks)) + 1
    for first, last in pairwise([0, *cuts.tolist(), len(blocks)]):
        chosen = np.linspace(first, last - 1, min(MOST_WINDOWS, last - first)).round().astype(np.intp)
        yield int(blocks[first]), stretch.starts[chosen]


def _levels(
    history: History, blocks: NDArray[np.int64], length: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each sensor in each of some blocks, shape (B, F)."""
    of = history.at // length
    level = np.full((len(blocks), len(history.sensors)), np.nan)
    spread = level.copy()
    for row, (first, last) in enumerate(
        zip(np.searchsorted(of, blocks), np.searchsorted(of, blocks, side="right"), strict=True)
    ):
        values = history.values[first:last]
        some = ~np.isnan(values).all(axis=0)
        level[row, some] = np.nanmean(values[:, some], axis=0)
        spread[row, some] = np.nanstd(values[:, some], axis=0)
    return level, spread
