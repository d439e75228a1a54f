"""Windows become reconstruction errors: impute, scale, reconstruct, compare."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.manifest import ErrorKind, ImputerSpec, Manifest, ScalerSpec


class Autoencoder(Protocol):
    """Reconstructs scaled windows."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (N, T, F) in and out; no NaN in. Row by row the same whatever N is, up to rounding."""


class Scaler:
    """`(value - offset) / scale` per sensor, and back."""

    def __init__(self, spec: ScalerSpec) -> None:
        self._offset = np.asarray(spec.offset)
        self._scale = np.asarray(spec.scale)

    def scale(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Shape (..., F), any leading axes; NaN stays NaN."""
        with np.errstate(over="ignore"):  # what overflows is clipped
            scaled: NDArray[np.float64] = (values - self._offset) / self._scale
        return scaled.clip(-MAX_SCALED, MAX_SCALED).astype(np.float32)

    def restore(self, scaled: NDArray[np.float32]) -> NDArray[np.float64]:
        """The inverse of `scale`, in the sensors' own units."""
        values: NDArray[np.float64] = scaled * self._scale + self._offset
        return values


MAX_SCALED = 1e6  # a value of 1e300 must give a large error, not an infinite one


class Imputer:
    """Fills missing values of a scaled window from that window and from fitted constants alone.

    `last` takes the sensor's newest earlier value in the window, else its oldest later one, else
    the fallback. A window's result therefore never depends on what was before the window.
    """

    def __init__(self, spec: ImputerSpec, scaler: Scaler) -> None:
        self._method = spec.method
        self._fallback = scaler.scale(np.asarray(spec.fallback))

    def fill(self, windows: NDArray[np.float32], missing: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Returns scaled windows (N, T, F) without NaN; `missing` has the same shape."""
        if self._method != "last":
            return np.where(missing, self._fallback, windows)
        steps = np.arange(windows.shape[1])[None, :, None]
        newest = np.maximum.accumulate(np.where(missing, -1, steps), axis=1)
        first = np.argmin(missing, axis=1)[:, None, :]  # the first present; 0 when there is none
        source = np.where(newest >= 0, newest, first)
        filled = np.take_along_axis(windows, source, axis=1)
        return np.where(np.isnan(filled), self._fallback, filled)


REFINEMENTS = (
    3  # more change nothing: measured on one of three sensors missing, 10 and 20 give the same score
)


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Reconstruction errors of N windows.

    Attributes:
        share: Shape (N, F), float64: each sensor's part of the window's error; a row sums to the
            mean over all values that were there. Imputed values count nothing.
        coverage: Shape (N,): share of values that were there.
        missing: Shape (N, F): whether any of the sensor's values was imputed.
        last: Shape (N, F): the reconstruction of the newest sample, scaled.
    """

    share: NDArray[np.float64]
    coverage: NDArray[np.float64]
    missing: NDArray[np.bool_]
    last: NDArray[np.float32]


class Scores:
    """What `Errors` mean to a detector; all lists have one element per window.

    Attributes:
        errors: What the detector found.
        share: Each sensor's part of the error, smoothed, shape (N, F).
        fresh: Whether the window does not continue the one before.
        usable: Whether the window counts: enough values were there, and the model's answer is finite.
        coverage: Share of values that were there.
        error: The window's error.
        score: error / threshold, rounded to `SCORE_DIGITS` decimals.
    """

    __slots__ = ("_imputes", "_sensors", "coverage", "error", "errors", "fresh", "score", "share", "usable")

    def __init__(
        self,
        errors: Errors,
        share: NDArray[np.float64],
        manifest: Manifest,
        *,
        fresh: list[bool],
        usable: list[bool],
    ) -> None:
        error = total(share, manifest.error.kind)
        self.errors = errors
        self.share = share
        self.fresh = fresh
        self.usable = usable
        self.coverage: list[float] = errors.coverage.tolist()
        self.error: list[float] = error.tolist()
        # `np.round` does the same and takes three times as long for a single window.
        self.score: list[float] = (
            np.rint(error * (SCORE_STEPS / manifest.threshold.value)) / SCORE_STEPS
        ).tolist()
        self._sensors = manifest.sensors
        self._imputes = bool(errors.missing.any())

    def imputed(self, row: int) -> tuple[str, ...]:
        """The sensors of which a value was imputed in a window."""
        if not self._imputes:
            return ()
        return tuple(compress(self._sensors, self.errors.missing[row].tolist()))


SCORE_DIGITS = 4  # LiteRT's results differ by up to 1e-5 with the batch size; a decision must not
SCORE_STEPS = 10**SCORE_DIGITS


class Detector:
    """A bundle's manifest and model, ready to score."""

    def __init__(self, manifest: Manifest, model: Autoencoder) -> None:
        self.manifest = manifest
        self.model = model
        self._scaler = Scaler(manifest.scaler)
        self._imputer = Imputer(manifest.imputer, self._scaler)
        self._absolute = manifest.error.kind == "mae"

    def scale(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """Scales samples, shape (..., F); NaN, where a value is missing, stays NaN."""
        return self._scaler.scale(samples)

    def errors(self, windows: NDArray[np.float32]) -> Errors:
        """Reconstructs scaled windows of shape (N, T, F), N >= 1, NaN where values are missing.

        The missing values of `windows` are filled in place.
        """
        count, length, width = windows.shape
        # Scaled values are bounded, so a sum is NaN if and only if one of them is.
        (incomplete,) = np.isnan(windows.reshape(count, -1).sum(axis=1)).nonzero()
        missing = np.zeros((count, width), dtype=np.bool_)
        there = np.full(count, float(length * width))
        if len(incomplete):
            holes: NDArray[np.bool_] = np.isnan(windows[incomplete])
            missing[incomplete] = holes.any(axis=1)
            there[incomplete] -= holes.sum(axis=(1, 2))
            windows[incomplete] = self._imputer.fill(windows[incomplete], holes)
        rebuilt = self.model.reconstruct(windows)
        if len(incomplete):
            self._refine(windows, rebuilt, incomplete, holes)
        difference = (rebuilt - windows).astype(np.float64)
        if len(incomplete):
            difference[incomplete] = np.where(holes, 0.0, difference[incomplete])
        # Unlike `sum`, `einsum` is as quick over the middle axis as over the last.
        summed = (
            np.einsum("ntf->nf", np.abs(difference))
            if self._absolute
            else np.einsum("ntf,ntf->nf", difference, difference)
        )
        return Errors(
            share=summed / np.maximum(there, 1.0)[:, None],
            coverage=there / (length * width),
            missing=missing,
            last=rebuilt[:, -1, :].copy(),
        )

    def usable(self, errors: Errors) -> list[bool]:
        """Whether windows are scored: enough values were there, and the model's answer is finite."""
        enough = self.manifest.window.scorable(errors.coverage)
        usable: list[bool] = (enough & np.isfinite(errors.share.sum(axis=1))).tolist()
        return usable

    def _refine(
        self,
        windows: NDArray[np.float32],
        rebuilt: NDArray[np.float32],
        incomplete: NDArray[np.intp],
        holes: NDArray[np.bool_],
    ) -> None:
        """Puts what the model expects in place of what is missing, until the two agree.

        A constant that contradicts the sensors that are there would make the model wrong about
        them: a dead sensor would look like a failing machine.
        """
        filled = windows[incomplete]
        for _ in range(REFINEMENTS):
            filled[holes] = rebuilt[incomplete][holes]
            rebuilt[incomplete] = self.model.reconstruct(filled)
        windows[incomplete] = filled

    def expected(self, last: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the sensors should have shown, from a row of `Errors.last`, in their own units, shape (F,)."""
        return self._scaler.restore(last)


def total(share: NDArray[np.float64], kind: ErrorKind) -> NDArray[np.float64]:
    """Windows' errors from their sensors' parts, shape (..., F): a mean square, its root, a mean absolute."""
    mean: NDArray[np.float64] = share.sum(axis=-1)
    return np.sqrt(mean) if kind == "rmse" else mean
