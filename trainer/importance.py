"""Which sensors a model listens to: by moving one at a time, and by what its encoder takes up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.scoring import total
from trainer.export import run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.scoring import Detector
    from trainer.inspection import Inspected

MOST_WINDOWS = 128  # a mean over these differs by some per cent from that over all
SHIFT = 3.0  # standard deviations: as far off as a single value seldom is
STEP = 0.1  # deviations: small, as a derivative is meant, and far above the rounding of single precision


@dataclass(frozen=True, slots=True)
class Importance:
    """How much one sensor matters.

    Attributes:
        sensor: Its name.
        score: By how much the score of a normal window rises if this sensor alone reads `SHIFT` standard
            deviations higher throughout; below 0 where the model is better at windows of that kind.
        code: Its share of what the encoder takes up, from 0 to 1.
    """

    sensor: str
    score: float
    code: float


def importances(detector: Detector, seen: Inspected, encoder: bytes, *, seed: int) -> tuple[Importance, ...]:
    """Measures how much each sensor matters, in the model's order of sensors.

    A sensor's part in the code is the sum of the squared derivatives of all numbers of the code by
    all its values, each value times the sensor's standard deviation. Where the encoder is one matrix
    these are the squared weights. It is found by random signs, as the trace of a matrix is: Hutchinson,
    A stochastic estimator of the trace of the influence matrix (1989).

    Args:
        detector: Whose score it is.
        seen: Held-back windows.
        encoder: The bytes of `encoder.tflite`.
        seed: Of the signs.
    """
    chosen = slice(None, None, max(1, -(-len(seen) // MOST_WINDOWS)))
    windows = seen.windows[chosen]
    spread = seen.windows.std(axis=(0, 1), dtype=np.float64).astype(np.float32)
    before, code = _scores(detector, windows), run(encoder, windows)
    random = np.random.default_rng(seed)
    rises, parts = [], []
    for _, columns in detector.columns.parts:
        moved = windows.copy()
        moved[:, :, columns] += SHIFT * spread[columns]
        rises.append(float((_scores(detector, moved) - before).mean()))
        shaken = windows.copy()
        signs = random.choice(np.array([-STEP, STEP], np.float32), shaken[:, :, columns].shape)
        shaken[:, :, columns] += signs * spread[columns]
        change = np.square(run(encoder, shaken) - code, dtype=np.float64)
        parts.append(float(change.sum() / len(windows)))
    whole = sum(parts) or 1.0
    return tuple(
        Importance(name, rise, part / whole)
        for name, rise, part in zip(detector.manifest.sensors, rises, parts, strict=True)
    )


def _scores(detector: Detector, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scores of windows without anything missing, before smoothing, shape (N,)."""
    manifest = detector.manifest
    error = total(detector.errors(windows.copy()).share, manifest.error.kind)
    return error / manifest.threshold.value
