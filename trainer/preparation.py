"""The windows that the autoencoder is fitted on: the very numbers that the daemon will hand to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.scorable import scorable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History
    from detector.inputs import Inputs
    from detector.manifest import WindowSpec
    from trainer.scorable import Stretch

SMALL = 1e-7  # keeps the logarithm of a probability finite
MOST_IMPUTED = 50_000_000  # numbers in windows with rows of their own: 200 MB


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows as places in rows that neighbours share, so that they take no more memory than the rows.

    Attributes:
        rows: Scaled samples, shape (R, C), float32, finite.
        starts: First row of each window, shape (N,), int32.
        length: T; a window is `rows[start : start + T]`.
    """

    rows: NDArray[np.float32]
    starts: NDArray[np.int32]
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def some(self, most: int) -> NDArray[np.float32]:
        """At most so many windows, spread evenly, as copies of shape (n, T, C)."""
        starts = self.starts[:: max(1, -(-len(self) // most))]
        copied: NDArray[np.float32] = self.rows[starts[:, None] + np.arange(self.length)]
        return copied

    def error_of_mean(self, binary: NDArray[np.bool_]) -> float:
        """The mean error of a model that always answers the mean window.

        Squared; of binary columns the cross-entropy, as in fitting.

        Args:
            binary: Which columns are, shape (C,).
        """
        errors = []
        for step in range(self.length):
            rows = self.rows[self.starts + step]
            mean = rows.mean(axis=0, dtype=np.float64)
            likely = mean.clip(SMALL, 1 - SMALL)
            surprise = -mean * np.log(likely) - (1 - mean) * np.log(1 - likely)
            errors.append(np.where(binary, surprise, rows.var(axis=0, dtype=np.float64)))
        return float(np.mean(errors))


class Preparation:
    """Turns histories into the very numbers that the daemon's detector hands to the autoencoder."""

    def __init__(self, grid: Grid, spec: WindowSpec, inputs: Inputs) -> None:
        self.inputs = inputs
        self._grid = grid
        self._spec = spec

    @property
    def binary(self) -> tuple[int, ...]:
        """The columns that are 0 or 1, where they are not imputed."""
        return self.inputs.columns.binary

    def windows(self, histories: Sequence[History], most_imputed: int = MOST_IMPUTED) -> Windows:
        """The scorable windows of all histories, imputed and scaled.

        A missing value is filled in the shared rows where every window would fill it alike. A window
        that begins within a hole fills it from later rows, and gets T rows of its own.

        Args:
            histories: With the model's sensors in the model's order.
            most_imputed: Where windows with rows of their own would hold more numbers, every second
                (third, ...) of them is taken; neighbours share T - 1 samples, so little is missed.
        """
        length, width = self._spec.length, self.inputs.columns.width
        found = [
            (stretch, self._alone(stretch))
            for history in histories
            for stretch in scorable(history, self._grid, self._spec, self.inputs)
        ]
        alone = sum(int(own.sum()) for _, own in found)
        step = max(1, -(-alone * length * width // most_imputed))
        rows, starts, count = [np.empty((0, width), np.float32)], [np.empty(0, np.intp)], 0
        for stretch, own in found:
            if not len(own):
                continue
            rows.append(self._filled(stretch.scaled[None])[0])
            chosen = np.flatnonzero(own)[::step]
            first_imputed = count + len(stretch.scaled)
            places = count + stretch.starts
            places[chosen] = first_imputed + length * np.arange(len(chosen))
            own[chosen] = False
            starts.append(places[~own])
            rows += [
                self._filled(windows).reshape(-1, width)
                for windows in stretch.windows(stretch.starts[chosen])
            ]
            count = first_imputed + length * len(chosen)
        return Windows(np.concatenate(rows), np.concatenate(starts).astype(np.int32), length)

    def _alone(self, stretch: Stretch) -> NDArray[np.bool_]:
        """Which windows begin in a hole that is filled from later rows, shape (N,)."""
        in_hole: NDArray[np.bool_] = np.logical_or.reduce(np.isnan(stretch.scaled[stretch.starts]), axis=1)
        return in_hole & self.inputs.looks_back

    def _filled(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        missing: NDArray[np.bool_] = np.isnan(scaled)
        return self.inputs.fill(scaled, missing) if missing.any() else scaled
