"""What stands before the autoencoder: the constants that fill and scale, and the windows it is fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from detector.history import Segment, segments, windows
from detector.manifest import ImputerSpec, ScalerSpec
from detector.scoring import Imputer, Scaler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History
    from detector.manifest import ImputationMethod, ScalingMethod, WindowSpec

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}
PIECE = 4096  # windows prepared at once: 60 MB at 30 samples of 64 sensors
MOST_CELLS = 100_000_000  # 400 MB of windows as float32; neighbours share T - 1 samples, so few are missed


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
        self._imputer = Imputer(imputer)
        self._scaler = Scaler(scaler)

    def windows(self, histories: Sequence[History], most_cells: int = MOST_CELLS) -> NDArray[np.float32]:
        """The scorable windows of all histories, imputed and scaled, shape (N, T, F).

        Args:
            histories: With the model's sensors in the model's order.
            most_cells: Above so many numbers, every second (third, …) window is taken.
        """
        pieces = [piece for history in histories for piece in self._pieces(history)]
        cells = self._spec.length * len(histories[0].sensors)
        step = max(1, -(-sum(map(_slots, pieces)) * cells // most_cells))
        prepared = [self._prepare(piece)[::step] for piece in pieces]
        return np.concatenate(prepared) if prepared else np.empty((0, self._spec.length, 0), np.float32)

    def _pieces(self, history: History) -> Iterator[Segment]:
        """Segments cut so that each window lies in exactly one piece."""
        overlap = self._spec.length - 1
        for segment in segments(history, self._grid, self._spec.max_gap):
            for start in range(0, max(1, len(segment.slots) - overlap), PIECE):
                piece = slice(start, start + PIECE + overlap)
                yield Segment(segment.slots[piece], segment.values[piece], segment.read[piece])

    def _prepare(self, segment: Segment) -> NDArray[np.float32]:
        raw = windows(segment, self._spec)
        missing: NDArray[np.bool_] = np.isnan(raw)
        cells = raw.shape[1] * raw.shape[2]
        coverage = (cells - missing.sum(axis=(1, 2))) / cells
        enough = np.array(list(map(self._spec.scorable, coverage)), dtype=np.bool_)
        return self._scaler.scale(self._imputer.fill(raw[enough], missing[enough]))


def _slots(segment: Segment) -> int:
    return len(segment.slots)
