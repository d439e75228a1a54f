"""What stands before the autoencoder: samples become scaled columns without holes, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.channels import Columns
    from detector.kinds import ImputationMethod
    from detector.manifest import Curve, ImputerSpec, ScalerSpec


class Scaler:
    """`(value - offset) / scale` per column, or along a curve; and back."""

    def __init__(self, spec: ScalerSpec) -> None:
        self._offset = np.asarray(spec.offset)
        self._scale = np.asarray(spec.scale)
        self._curves = [
            (column, _Bend(curve, spec.scale[column])) for column, curve in enumerate(spec.curves) if curve
        ]

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Shape (..., C), any leading axes; NaN stays NaN."""
        with np.errstate(over="ignore"):  # what overflows is clipped
            scaled: NDArray[np.float64] = (values - self._offset) / self._scale
            for column, curve in self._curves:
                scaled[..., column] = curve.scale(values[..., column])
        return scaled.clip(-MAX_SCALED, MAX_SCALED).astype(np.float32)

    def restore(self, scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        """The inverse of `scale`, in the columns' own units."""
        values: NDArray[np.float64] = scaled * self._scale + self._offset
        for column, curve in self._curves:
            values[..., column] = curve.restore(scaled[..., column].astype(np.float64))
        return values


MAX_SCALED = 1e6  # a value of 1e300 must give a large error, not an infinite one


class _Bend:
    """A curve through points, which goes on as a straight line beyond them."""

    def __init__(self, curve: Curve, scale: float) -> None:
        self._values, self._levels = np.asarray(curve.values), np.asarray(curve.levels)
        self._scale = scale

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        within = values.clip(self._values[0], self._values[-1])
        scaled: NDArray[np.float64] = np.interp(within, self._values, self._levels)
        scaled += (values - within) / self._scale
        return scaled

    def restore(self, levels: NDArray[np.float64]) -> NDArray[np.float64]:
        within = levels.clip(self._levels[0], self._levels[-1])
        values: NDArray[np.float64] = np.interp(within, self._levels, self._values)
        values += (levels - within) * self._scale
        return values


class Imputer:
    """Fills missing values of a scaled window from that window and from fitted constants alone.

    A window's result therefore never depends on what was before the window.

    - `last` takes the column's newest earlier value in the window, else its oldest later one, else
      the fallback.
    - `knn` takes, sample by sample, the mean of the reference rows that are nearest in the columns
      that are there, after scikit-learn's `KNNImputer`.
    - `iterative` predicts, sample by sample, each missing column from all others in turn, some
      rounds of it, after scikit-learn's `IterativeImputer`.
    - all others take the fallback.
    """

    def __init__(self, spec: ImputerSpec, scaler: Scaler) -> None:
        self._method = spec.method
        self._fallback = scaler.scale(np.asarray(spec.fallback))
        self._references = np.asarray(spec.references)
        self._regressions = np.asarray(spec.regressions)

    def fill(self, windows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Returns scaled windows (N, T, C) without NaN; `missing` has the same shape."""
        if self._method == "last":
            return self._last(windows, missing)
        filled = np.where(missing, self._fallback, windows)
        if self._method in {"knn", "iterative"}:
            by_row = self._nearest if self._method == "knn" else self._regressed
            rows = np.argwhere(missing.any(axis=-1))
            for first in range(0, len(rows), PIECE):
                some = tuple(rows[first : first + PIECE].T)
                filled[some] = by_row(filled[some], missing[some])
        return filled

    def _last(self, windows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        steps = np.arange(windows.shape[1])[None, :, None]
        newest = np.maximum.accumulate(np.where(missing, -1, steps), axis=1)
        first = np.argmin(missing, axis=1)[:, None, :]  # the first present; 0 when there is none
        source = np.where(newest >= 0, newest, first)
        filled = np.take_along_axis(windows, source, axis=1)
        return np.where(np.isnan(filled), self._fallback, filled)

    def _nearest(self, rows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        there = ~missing
        references = self._references
        # |row - reference|² over what is there, less |row|², which is the same for all references.
        distances = there @ np.square(references).T - 2 * (np.where(missing, 0.0, rows) @ references.T)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBOURS]
        means = references[nearest].mean(axis=1)
        nothing: NDArray[np.bool_] = np.logical_not(there.any(axis=1, keepdims=True))
        return np.where(missing & ~nothing, means, rows).astype(np.float32)

    def _regressed(self, rows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        slopes, intercepts = self._regressions[:, :-1], self._regressions[:, -1]
        filled = rows.astype(np.float64)
        columns = np.flatnonzero(missing.any(axis=0)).tolist()
        for _ in range(ROUNDS):
            for column in columns:
                predicted = filled @ slopes[column] + intercepts[column]
                filled[:, column] = np.where(missing[:, column], predicted, filled[:, column])
        return filled.clip(-MAX_SCALED, MAX_SCALED).astype(np.float32)


NEIGHBOURS = 5  # scikit-learn's own number
ROUNDS = 10  # scikit-learn's own number
PIECE = 4096  # rows at once: some MB on the way


def refinements(method: ImputationMethod) -> int:
    """How often the autoencoder's answer takes the place of what is missing."""
    return MODEL_REFINEMENTS if method == "model" else REFINEMENTS


# With a fifth of all values missing in pumps, a chemical plant and servers, the error after 3 rounds is
# within 2 % of what it comes to, whatever was filled in at first, and after 10 within .5 %. More do not help:
# where the model does not settle, 100 leave it 2 % higher again.
REFINEMENTS, MODEL_REFINEMENTS = 3, 10


class Inputs:
    """Samples in the sensors' units become what the autoencoder sees.

    Attributes:
        columns: Which columns there are.
        looks_back: Whether a missing value is filled from other samples of the window.
    """

    def __init__(self, columns: Columns, imputer: ImputerSpec, scaler: ScalerSpec) -> None:
        self.columns = columns
        self.looks_back = imputer.method == "last"
        self.refinements = refinements(imputer.method)
        self._scaler = Scaler(scaler)
        self._imputer = Imputer(imputer, self._scaler)

    def scale(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scaled columns, shape (..., C), of samples, shape (..., F), in which counters are increases.

        NaN, where a value is missing or a category is new, stays NaN.
        """
        return self._scaler.scale(self.columns.encode(samples))

    def fill(self, windows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """See `Imputer.fill`."""
        return self._imputer.fill(windows, missing)

    def restore(self, scaled: NDArray[np.float32]) -> list[float | str]:
        """What a row of scaled columns, shape (C,), says of each sensor; see `Columns.decode`."""
        return self.columns.decode(self._scaler.restore(scaled))
