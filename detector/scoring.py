"""Windows become reconstruction errors: impute, scale, reconstruct, compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.manifest import ErrorKind, ImputerSpec, Manifest, ScalerSpec


class Autoencoder(Protocol):
    """Reconstructs scaled windows."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (N, T, F) in and out; no NaN in. Row by row the same whatever N is, up to rounding."""


class Imputer:
    """Fills missing values of a window from that window and from fitted constants alone.

    `last` takes the sensor's newest earlier value in the window, else its oldest later one, else
    the fallback. A window's result therefore never depends on what was before the window.
    """

    def __init__(self, spec: ImputerSpec) -> None:
        self._method = spec.method
        self._fallback = np.asarray(spec.fallback)

    def fill(self, windows: NDArray[np.float64], missing: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Returns windows (N, T, F) without NaN; `missing` has the same shape."""
        if not missing.any():
            return windows
        if self._method != "last":
            return np.where(missing, self._fallback, windows)
        steps = np.arange(windows.shape[1])[None, :, None]
        newest = np.maximum.accumulate(np.where(missing, -1, steps), axis=1)
        first = np.argmin(missing, axis=1)[:, None, :]  # the first present; 0 when there is none
        source = np.where(newest >= 0, newest, first)
        filled = np.take_along_axis(windows, source, axis=1)
        return np.where(np.isnan(filled), self._fallback, filled)


class Scaler:
    """`(value - offset) / scale` per sensor, and back."""

    def __init__(self, spec: ScalerSpec) -> None:
        self._offset = np.asarray(spec.offset)
        self._scale = np.asarray(spec.scale)

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Shape (..., F), any leading axes."""
        with np.errstate(over="ignore"):  # what overflows is clipped
            scaled: NDArray[np.float64] = (values - self._offset) / self._scale
        return scaled.clip(-MAX_SCALED, MAX_SCALED).astype(np.float32)

    def restore(self, scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        """The inverse of `scale`, in the sensors' own units."""
        values: NDArray[np.float64] = scaled * self._scale + self._offset
        return values


MAX_SCALED = 1e6  # a value of 1e300 must give a large error, not an infinite one


REFINEMENTS = (
    3  # more change nothing: measured on one of three sensors missing, 10 and 20 give the same score
)


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Reconstruction errors of N windows.

    Attributes:
        share: Shape (N, F): each sensor's part of the window's error; a row sums to the mean over
            all values that were there. Imputed values count nothing.
        coverage: Shape (N,): share of values that were there.
        missing: Shape (N, F): whether any of the sensor's values was imputed.
        last: Shape (N, F): the reconstruction of the newest sample, scaled.
    """

    share: NDArray[np.float64]
    coverage: NDArray[np.float64]
    missing: NDArray[np.bool_]
    last: NDArray[np.float32]


class Detector:
    """A bundle's manifest and model, ready to score."""

    def __init__(self, manifest: Manifest, model: Autoencoder) -> None:
        self.manifest = manifest
        self.model = model
        self._imputer = Imputer(manifest.imputer)
        self._scaler = Scaler(manifest.scaler)
        self._absolute = manifest.error.kind == "mae"

    def errors(self, windows: NDArray[np.float64]) -> Errors:
        """Reconstructs windows of shape (N, T, F), N >= 1, NaN where values are missing."""
        missing: NDArray[np.bool_] = np.isnan(windows)
        scaled = self._scaler.scale(self._imputer.fill(windows, missing))
        rebuilt = self.model.reconstruct(scaled)
        incomplete = np.flatnonzero(missing.any(axis=(1, 2)))
        if len(incomplete):
            self._refine(scaled, rebuilt, incomplete, missing[incomplete])
        difference = (rebuilt - scaled).astype(np.float64)
        cells = np.abs(difference) if self._absolute else np.square(difference)
        cells[missing] = 0.0
        there = windows[0].size - missing.sum(axis=(1, 2))
        return Errors(
            share=cells.sum(axis=1) / np.maximum(there, 1)[:, None],
            coverage=there / windows[0].size,
            missing=np.logical_or.reduce(missing, axis=1),
            last=rebuilt[:, -1, :],
        )

    def _refine(
        self,
        scaled: NDArray[np.float32],
        rebuilt: NDArray[np.float32],
        incomplete: NDArray[np.intp],
        missing: NDArray[np.bool_],
    ) -> None:
        """Puts what the model expects in place of what is missing, until the two agree.

        A constant that contradicts the sensors that are there would make the model wrong about
        them: a dead sensor would look like a failing machine.
        """
        filled = scaled[incomplete]
        for _ in range(REFINEMENTS):
            filled[missing] = rebuilt[incomplete][missing]
            rebuilt[incomplete] = self.model.reconstruct(filled)
        scaled[incomplete] = filled

    def expected(self, last: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the sensors should have shown, from a row of `Errors.last`, in their own units, shape (F,)."""
        return self._scaler.restore(last)


def total(share: NDArray[np.float64], kind: ErrorKind) -> float:
    """A window's error from its sensors' parts, shape (F,): a mean square, its root or a mean absolute."""
    mean = float(share.sum())
    return float(np.sqrt(mean)) if kind == "rmse" else mean
