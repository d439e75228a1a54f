"""The newest samples of one machine, as a window that moves without being copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.manifest import WindowSpec
    from detector.sampler import Sample


class MovingWindow:
    """The last T samples, shape (T, F).

    The buffer holds 2T rows, so that a window is always one contiguous slice and rows are moved
    only once in T samples.
    """

    __slots__ = ("_buffer", "_end", "_length", "_newest", "_stride", "held")

    def __init__(self, spec: WindowSpec, width: int) -> None:
        self._length = spec.length
        self._stride = spec.stride
        self._buffer = np.full((2 * spec.length, width), np.nan)
        self._end = 0
        self._newest = 0
        self.held = 0  # samples since the last restart, at most T

    def push(self, sample: Sample) -> None:
        """Adds a sample, with a row of NaN for each slot missed before it."""
        if sample.missed is None:
            self.held = 0
        else:
            for _ in range(min(sample.missed, self._length)):
                self._append(np.nan)
        self._append(sample.values)
        self._newest = sample.slot

    def full(self) -> bool:
        """Whether T samples are held."""
        return self.held == self._length

    def due(self, slot: int) -> bool:
        """Whether a window ends at this slot."""
        return self.held == self._length and slot % self._stride == 0

    def view(self) -> NDArray[np.float64]:
        """The window, oldest sample first, shape (T, F), NaN where missing; valid until the next push."""
        return self._buffer[self._end - self._length : self._end]

    def row(self, slot: int) -> NDArray[np.float64] | None:
        """The sample of a slot, shape (F,); None where it is not held."""
        age = self._newest - slot
        return self._buffer[self._end - 1 - age] if 0 <= age < self.held else None

    def _append(self, row: NDArray[np.float64] | float) -> None:
        if self._end == len(self._buffer):
            keep = self._length - 1
            self._buffer[:keep] = self._buffer[self._end - keep :]
            self._end = keep
        self._buffer[self._end] = row
        self._end += 1
        if self.held < self._length:
            self.held += 1
