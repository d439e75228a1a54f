"""What stands before the autoencoder: the constants that fill and scale, and the windows it is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from detector.history import segments, window_starts
from detector.manifest import ImputerSpec, ScalerSpec
from detector.scoring import Imputer, Scaler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History, Segment
    from detector.manifest import ImputationMethod, ScalingMethod, WindowSpec

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}
PIECE = 1024  # windows imputed at once: 8 MB at 30 samples of 64 sensors
MOST_IMPUTED = 50_000_000  # numbers in windows with rows of their own: 200 MB


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """N windows as places in rows that neighbours share, so that they take no more memory than the rows.

    Attributes:
        rows: Scaled samples, shape (R, F), float32, finite.
        starts: First row of each window, shape (N,), int32.
        length: T; a window is `rows[start : start + T]`.
    """

    rows: NDArray[np.float32]
    starts: NDArray[np.int32]
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def some(self, most: int) -> NDArray[np.float32]:
        """At most so many windows, spread evenly, as copies of shape (n, T, F)."""
        starts = self.starts[:: max(1, -(-len(self) // most))]
        copied: NDArray[np.float32] = self.rows[starts[:, None] + np.arange(self.length)]
        return copied

    def variance(self) -> float:
        """The mean squared distance of a window's numbers from those of the mean window."""
        steps = (self.rows[self.starts + step] for step in range(self.length))
        return float(np.mean([rows.var(axis=0, dtype=np.float64) for rows in steps]))


def fit_imputer(samples: NDArray[np.float64], method: ImputationMethod) -> ImputerSpec:
    """Fits one constant per sensor; for `last` it is the median, used where a window has no value at all.

    Args:
        samples: Shape (N, F); NaN may occur, but every sensor has a value.
        method: How missing values will be filled.
    """
    centre = np.nanmean(samples, axis=0) if method == "mean" else np.nanmedian(samples, axis=0)
    return ImputerSpec(method, tuple(centre.tolist()))


def fit_scaler(samples: NDArray[np.float64], method: ScalingMethod) -> ScalerSpec:
    """Fits offset and scale per sensor by scikit-learn: NaN is left out, a constant gets a scale of 1."""
    fitted = SCALERS[method]().fit(samples)
    match fitted:
        case StandardScaler():
            offset, scale = fitted.mean_, fitted.scale_
        case MinMaxScaler():
            offset, scale = fitted.data_min_, 1 / fitted.scale_
        case _:
            offset, scale = fitted.center_, fitted.scale_
    return ScalerSpec(method, tuple(offset.tolist()), tuple(scale.tolist()))


class Preparation:
    """Turns histories into the very numbers that the daemon's detector hands to the autoencoder."""

    def __init__(self, grid: Grid, spec: WindowSpec, imputer: ImputerSpec, scaler: ScalerSpec) -> None:
        self._grid = grid
        self._spec = spec
        self._scaler = Scaler(scaler)
        self._imputer = Imputer(imputer, self._scaler)
        self._looks_back = imputer.method == "last"

    def windows(self, histories: Sequence[History], most_imputed: int = MOST_IMPUTED) -> Windows:
        """The scorable windows of all histories, imputed and scaled.

        A missing value is filled in the shared rows where every window would fill it alike. A window
        that begins within a hole fills it from later rows, and gets T rows of its own.

        Args:
            histories: With the model's sensors in the model's order.
            most_imputed: Where windows with rows of their own would hold more numbers, every second
                (third, ...) of them is taken; neighbours share T - 1 samples, so little is missed.
        """
        length, width = self._spec.length, len(histories[0].sensors)
        found = [
            self._scorable(segment)
            for history in histories
            for segment in segments(history, self._grid, self._spec.max_gap)
        ]
        alone = sum(int(own.sum()) for _, _, own in found)
        step = max(1, -(-alone * length * width // most_imputed))
        rows, starts, count = [np.empty((0, width), np.float32)], [np.empty(0, np.intp)], 0
        for scaled, first, own in found:
            if not len(first):
                continue
            rows.append(self._filled(scaled[None])[0])
            chosen = np.flatnonzero(own)[::step]
            first_imputed = count + len(scaled)
            places = count + first
            places[chosen] = first_imputed + length * np.arange(len(chosen))
            own[chosen] = False
            starts.append(places[~own])
            views = sliding_window_view(scaled, length, axis=0) if len(chosen) else None
            for piece in range(0, len(chosen), PIECE):
                assert views is not None
                imputed = self._filled(views[first[chosen[piece : piece + PIECE]]].transpose(0, 2, 1))
                rows.append(imputed.reshape(-1, width))
            count = first_imputed + length * len(chosen)
        return Windows(np.concatenate(rows), np.concatenate(starts).astype(np.int32), length)

    def _scorable(self, segment: Segment) -> tuple[NDArray[np.float32], NDArray[np.intp], NDArray[np.bool_]]:
        """Scaled rows with NaN, first rows of the scorable windows, and which of those begin in a hole."""
        starts, coverage = window_starts(segment, self._spec)
        first = starts[self._spec.scorable(coverage)]
        scaled = self._scaler.scale(segment.values)
        in_hole: NDArray[np.bool_] = np.logical_or.reduce(np.isnan(scaled[first]), axis=1)
        return scaled, first, in_hole & self._looks_back

    def _filled(self, scaled: NDArray[np.float32]) -> NDArray[np.float32]:
        missing: NDArray[np.bool_] = np.isnan(scaled)
        return self._imputer.fill(scaled, missing) if missing.any() else scaled
