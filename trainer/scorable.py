"""The windows of recorded rows that the daemon would score, in the very numbers that it would see."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from detector.history import segments, window_starts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from detector.channels import Columns
    from detector.grid import Grid
    from detector.history import History
    from detector.manifest import WindowSpec

PIECE = 1024  # windows copied at once: 8 MB at 30 samples of 64 columns


class Scales(Protocol):
    """What makes scaled columns of samples: a detector, or `Inputs` alone."""

    columns: Columns

    def scale(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """See `Inputs.scale`."""


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Samples without a hole longer than a window may bridge.

    Attributes:
        scaled: Shape (R, C), float32, NaN where a value is missing.
        at: Their times on the grid, in milliseconds since the epoch, shape (R,).
        starts: First rows of the windows that hold enough values, shape (N,).
        length: T, samples of a window.
    """

    scaled: NDArray[np.float32]
    at: NDArray[np.int64]
    starts: NDArray[np.intp]
    length: int

    def windows(self, starts: NDArray[np.intp]) -> Iterator[NDArray[np.float32]]:
        """Copies of those that begin at these rows, at most `PIECE` at a time, shape (n, T, C)."""
        if len(starts):
            views = sliding_window_view(self.scaled, self.length, axis=0)  # (R - T + 1, C, T)
            for first in range(0, len(starts), PIECE):
                yield np.ascontiguousarray(views[starts[first : first + PIECE]].transpose(0, 2, 1))


def scorable(history: History, grid: Grid, spec: WindowSpec, by: Scales) -> Iterator[Stretch]:
    """Puts a history on the grid and finds the windows in it that hold enough values.

    A category that was never seen in training counts as missing, as it does in the daemon.
    """
    if not len(history):
        return
    own = grid.of_machine(int(history.at[0]))
    chosen = history.select(by.columns.sensors)
    for segment in segments(chosen, grid, spec.max_gap, by.columns.counters):
        scaled = by.scale(segment.values)
        unknown = by.columns.first(np.isnan(scaled))
        known = replace(segment, values=np.where(unknown, np.nan, segment.values))
        starts, coverage = window_starts(known, spec)
        times = segment.slots * own.interval + own.phase
        yield Stretch(scaled, times, starts[spec.scorable(coverage)], spec.length)
