"""How long sensors stand still or are away in a history: beyond that they are stuck or silent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from detector.health import Bounds
from detector.history import segments
from detector.manifest import StretchSpec
from detector.stretches import Groups, count, nothing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from config.streams import Range
    from detector.grid import Grid
    from detector.health import HealthPolicy
    from detector.history import History
    from detector.manifest import Manifest

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


def within(history: History, limits: Mapping[str, Range]) -> History:
    """The history without values that only a broken sensor shows."""
    columns = [i for i, name in enumerate(history.sensors) if name in limits]
    if not columns:
        return history
    values = history.values.copy()
    for i in columns:
        of = limits[history.sensors[i]]
        values[~((values[:, i] >= of.low) & (values[:, i] <= of.high)), i] = np.nan
    return replace(history, values=values)


def unstuck(history: History, manifest: Manifest, policy: HealthPolicy) -> History:
    """The history without values of stuck sensors, from the first one that was the same.

    Learned from, they would make standing still normal: the next bundle would wait five times as long.

    Args:
        history: The bundle's sensors, on its grid.
        manifest: The bundle that watched them.
        policy: How.
    """
    if not len(history):
        return history
    one = Groups.starting(np.zeros(1, np.intp), len(history))
    found = count(history.values, one, nothing(1, len(history.sensors)))
    longest, values = Bounds(manifest, policy).same, history.values.copy()
    for column in np.flatnonzero((found.same > longest).any(axis=0)).tolist():
        same = found.same[:, column]
        there = ~np.isnan(values[:, column])
        stretch = np.cumsum((np.diff(same, prepend=0) < 1) & there)  # the number of each row's
        stuck = np.unique(stretch[same > longest[column]])
        values[np.isin(stretch, stuck), column] = np.nan
    return replace(history, values=values)
