"""Windows become reconstruction errors: impute, reconstruct, compare."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from detector.alerts import Reason
from detector.channels import Columns
from detector.inputs import Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.manifest import ErrorKind, Manifest


class Autoencoder(Protocol):
    """Reconstructs scaled windows."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Shape (N, T, C) in and out; no NaN in. Row by row the same whatever N is, up to rounding."""


class Limited:
    """An autoencoder that is given no value beyond `Manifest.limits`, and so cannot reproduce one."""

    def __init__(self, model: Autoencoder, limits: tuple[float, float]) -> None:
        self._model = model
        self._limits = limits

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Autoencoder`."""
        return self._model.reconstruct(windows.clip(*self._limits))


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Reconstruction errors of N windows.

    Attributes:
        share: Shape (N, F), float64: each sensor's part of the window's error, divided by what is
            usual for it where the manifest says so; a row sums to the mean over all values that
            were there. Imputed values count nothing.
        coverage: Shape (N,): share of values that were there.
        missing: Shape (N, F): whether any of the sensor's values was imputed.
        last: Shape (N, C): the reconstruction of the newest sample, scaled.
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
    """A bundle's manifest and model, ready to score.

    Attributes:
        provisional: Whether it only serves until there is a bundle; see `detector.provisional`.
    """

    provisional: ClassVar[bool] = False

    def __init__(self, manifest: Manifest, model: Autoencoder) -> None:
        self.manifest = manifest
        self.model = model if manifest.limits is None else Limited(model, manifest.limits)
        self.columns = Columns(manifest.sensors, manifest.channels)
        self._inputs = Inputs(self.columns, manifest.imputer, manifest.scaler)
        self._absolute = manifest.error.kind == "mae"
        self._usual = 1.0 if manifest.error.usual is None else np.asarray(manifest.error.usual)

    def scale(self, samples: NDArray[np.float64]) -> NDArray[np.float32]:
        """See `Inputs.scale`."""
        return self._inputs.scale(samples)

    def errors(self, windows: NDArray[np.float32]) -> Errors:
        """Reconstructs scaled windows of shape (N, T, C), N >= 1, NaN where values are missing.

        The missing values of `windows` are filled in place.
        """
        errors, _ = self.reconstructed(windows)
        return errors

    def reconstructed(self, windows: NDArray[np.float32]) -> tuple[Errors, NDArray[np.float32]]:
        """The same with what the model answers, shape (N, T, C)."""
        count, length, _ = windows.shape
        width = len(self.manifest.sensors)
        # Scaled values are bounded, so a sum is NaN if and only if one of them is.
        (incomplete,) = np.isnan(windows.reshape(count, -1).sum(axis=1)).nonzero()
        missing = np.zeros((count, width), dtype=np.bool_)
        there = np.full(count, float(length * width))
        if len(incomplete):
            holes: NDArray[np.bool_] = np.isnan(windows[incomplete])
            without = self.columns.first(holes)
            missing[incomplete] = without.any(axis=1)
            there[incomplete] -= without.sum(axis=(1, 2))
            windows[incomplete] = self._inputs.fill(windows[incomplete], holes)
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
        errors = Errors(
            share=self.columns.summed(summed) / (np.maximum(there, 1.0)[:, None] * self._usual),
            coverage=there / (length * width),
            missing=missing,
            last=rebuilt[:, -1, :].copy(),
        )
        return errors, rebuilt

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
        for _ in range(self._inputs.refinements):
            filled[holes] = rebuilt[incomplete][holes]
            rebuilt[incomplete] = self.model.reconstruct(filled)
        windows[incomplete] = filled

    def reason(self, last: NDArray[np.float32]) -> Reason:  # noqa: ARG002 - others look at it
        """Why a window is none of the usual, from a row of `Errors.last`."""
        return Reason.ANOMALY

    def expected(self, last: NDArray[np.float32]) -> list[float | str]:
        """What the F sensors should have shown, from a row of `Errors.last`; see `Columns.decode`."""
        return self._inputs.restore(last)


def total(share: NDArray[np.float64], kind: ErrorKind) -> NDArray[np.float64]:
    """Windows' errors from their sensors' parts, shape (..., F): a mean square, its root, a mean absolute."""
    mean: NDArray[np.float64] = share.sum(axis=-1)
    return np.sqrt(mean) if kind == "rmse" else mean
