"""What a detector makes of the windows of recorded rows, for those who look inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from detector.history import segments, window_starts
from detector.scoring import total

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.history import History
    from detector.scoring import Detector

CHUNK = 1024  # windows reconstructed at once


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """N windows in the order of the histories and of time, as the daemon would see them.

    Attributes:
        history: Which history each is from, shape (N,).
        at: Time of its newest sample, in milliseconds since the epoch, shape (N,).
        fresh: Whether it does not continue the window before, shape (N,).
        windows: Scaled columns, missing values filled as the detector does, shape (N, T, C), no NaN.
        there: Which values were measured, shape (N, T, C).
        rebuilt: What the model answers, shape (N, T, C).
        error: The reconstruction error before smoothing, shape (N,).
    """

    history: NDArray[np.intp]
    at: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    windows: NDArray[np.float32]
    there: NDArray[np.bool_]
    rebuilt: NDArray[np.float32]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at)

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """Of neighbouring parts, at least one, the whole."""
        fields = cls.__slots__
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))


def inspect(detector: Detector, histories: Sequence[History], *, most: int) -> Inspected | None:
    """Looks at most at so many windows, spread evenly over the histories; None where there is none."""
    count = sum(len(starts) for history in histories for _, starts, _ in _scorable(detector, history))
    parts = list(inspections(detector, histories, step=max(1, -(-count // most))))
    return Inspected.together(parts) if parts else None


def inspections(detector: Detector, histories: Sequence[History], *, step: int = 1) -> Iterator[Inspected]:
    """Looks at every scorable window, or at every `step`-th, some at a time."""
    length = detector.manifest.window.length
    skip = 0  # windows until the next one that is looked at
    for number, history in enumerate(histories):
        for values, starts, times in _scorable(detector, history):
            chosen = np.arange(skip, len(starts), step)
            skip = (skip - len(starts)) % step
            views = sliding_window_view(values, length, axis=0) if len(chosen) else None
            for first in range(0, len(chosen), CHUNK):
                assert views is not None
                some = chosen[first : first + CHUNK]
                windows = np.ascontiguousarray(views[starts[some]].transpose(0, 2, 1))
                there = ~np.isnan(windows)
                errors = detector.errors(windows)  # fills what is missing
                fresh = np.zeros(len(some), np.bool_)
                fresh[0] = first == 0
                yield Inspected(
                    history=np.full(len(some), number),
                    at=times[starts[some] + length - 1],
                    fresh=fresh,
                    windows=windows,
                    there=there,
                    rebuilt=detector.model.reconstruct(windows),
                    error=total(errors.share, detector.manifest.error.kind),
                )


def _scorable(
    detector: Detector, history: History
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.int64]]]:
    """Of each segment the scaled rows, the first rows of its scorable windows, and the rows' times."""
    manifest = detector.manifest
    if not len(history):
        return
    grid = manifest.grid.of_machine(int(history.at[0]))
    chosen, counters = history.select(manifest.sensors), detector.columns.counters
    for segment in segments(chosen, manifest.grid, manifest.window.max_gap, counters):
        starts, coverage = window_starts(segment, manifest.window)
        times = segment.slots * grid.interval + grid.phase
        yield detector.scale(segment.values), starts[manifest.window.scorable(coverage)], times
