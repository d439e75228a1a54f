"""How long sensors stand still or are away in a history: beyond that they are stuck or silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detector.history import segments
from detector.manifest import StretchSpec
from detector.stretches import Groups, count, nothing

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from detector.grid import Grid
    from detector.history import History

PIECE = 50_000  # rows at once: some 100 MB on the way at 64 sensors


def longest_stretches(
    histories: Sequence[History], grid: Grid, max_gap: int, counters: Collection[str]
) -> StretchSpec:
    """The longest stretches of all machines, which have the same sensors.

    Args:
        histories: Normal rows, each machine's in order of time.
        grid: On which they are put, as `Sampler` does.
        max_gap: Empty slots that a window bridges.
        counters: Those of the sensors whose increase is looked at.
    """
    width = len(histories[0].sensors)
    same, absent, changes = (np.zeros(width, np.int64) for _ in range(3))
    for history in histories:
        before = nothing(1, width)
        for segment in segments(history, grid, max_gap, counters):
            samples = segment.values[segment.read]
            for start in range(0, len(samples), PIECE):
                piece = samples[start : start + PIECE]
                found = count(piece, Groups.starting(np.zeros(1, np.intp), len(piece)), before)
                same = np.maximum(same, found.same.max(axis=0))
                if found.absent is not None:
                    absent = np.maximum(absent, found.absent.max(axis=0))
                changes += ((found.same == 1) & ~np.isnan(piece)).sum(axis=0)
                before = found.after
    return StretchSpec(tuple(same.tolist()), tuple(absent.tolist()), tuple(changes.tolist()))
