"""Whether a model is worth having: its errors beside those of guesses that need none."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.inputs import Scaler
from trainer.wording import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.scoring import Detector
    from trainer.inspection import Inspected

# A model must be this much better than a guess to be told from it: held-back rows are few and alike.
CLEARLY = 0.9
WEAK = 0.6  # of the error of the mean: above, most of what happens is not in the code


@dataclass(frozen=True, slots=True)
class SensorErrors:
    """Errors on held-back normal rows, in the sensor's own unit (or its square).

    Of all measured values but each window's first, so that all guesses are about the same values.

    Attributes:
        sensor: Its name.
        mse: Mean squared error of the reconstruction.
        rmse: Its root.
        mae: Mean absolute error.
        mean: Mean squared error of always guessing the mean of the rows that were fitted on.
        last: Of guessing the value before.
        linear: Of PCA with a code of the same size.
        part: Its part in the squared error of all sensors, scaled as the model sees them, from 0 to 1.
    """

    sensor: str
    mse: float
    rmse: float
    mae: float
    mean: float
    last: float
    linear: float
    part: float


@dataclass(frozen=True, slots=True)
class Suitability:
    """The answer of `judge`.

    Attributes:
        good: Whether the model is worth having; None where it is but just.
        headline: The answer in words.
        reasons: Why.
        to_mean: The model's squared error as a multiple of that of guessing the mean; geometric mean
            over the sensors, so that none counts more than another. None without a sensor that varies.
        to_last: The same for guessing the value before.
        to_linear: The same for PCA with a code of the same size.
    """

    good: bool | None
    headline: str
    reasons: tuple[str, ...]
    to_mean: float | None
    to_last: float | None
    to_linear: float | None


def sensor_errors(
    detector: Detector, seen: Inspected, linear: NDArray[np.float32], fitted: Inspected
) -> tuple[SensorErrors, ...]:
    """Measures a detector's reconstruction, sensor by sensor.

    The error of a sensor of several columns (an angle, a category) is the sum of theirs.

    Args:
        detector: Whose units they are.
        seen: Held-back windows.
        linear: PCA's reconstruction of them, shape (N, T, C).
        fitted: Windows that it was fitted on, for the means.
    """
    columns, restore = detector.columns, Scaler(detector.manifest.scaler).restore
    actual, rebuilt, guessed = map(restore, (seen.windows, seen.rebuilt, linear))
    means = restore(fitted.windows.mean(axis=(0, 1), dtype=np.float64).astype(np.float32))
    there = seen.there[:, 1:]
    count = np.maximum(1, there.sum(axis=(0, 1)))

    def mean(differences: NDArray[np.float64]) -> NDArray[np.float64]:
        return columns.summed(np.where(there, differences, 0).sum(axis=(0, 1)) / count)

    off = rebuilt[:, 1:] - actual[:, 1:]
    scaled = mean((seen.rebuilt[:, 1:] - seen.windows[:, 1:]).astype(np.float64) ** 2)
    found = (
        mean(off**2),
        mean(np.abs(off)),
        mean((actual[:, 1:] - means) ** 2),
        mean((actual[:, 1:] - actual[:, :-1]) ** 2),
        mean((actual[:, 1:] - guessed[:, 1:]) ** 2),
        scaled / (scaled.sum() or 1.0),
    )
    return tuple(
        SensorErrors(name, mse, math.sqrt(mse), mae, *others)
        for name, (mse, mae, *others) in zip(columns.sensors, np.stack(found, axis=1).tolist(), strict=True)
    )


def judge(errors: Sequence[SensorErrors], *, linear: bool = False) -> Suitability:
    """Says whether the model is worth having, with the reasons.

    Args:
        errors: Of each sensor.
        linear: Whether the model is a PCA itself, so that none stands beside it.
    """
    varying = [one for one in errors if one.mean > 0]
    to_mean = _ratio([(one.mse, one.mean) for one in varying])
    to_last = _ratio([(one.mse, one.last) for one in varying])
    to_linear = _ratio([(one.mse, one.linear) for one in varying])
    if to_mean is None:
        return Suitability(
            None, "Cannot be said", ("No sensor varies in the held-back rows.",), None, to_last, to_linear
        )
    reasons = [_about_mean(to_mean, varying)]
    if to_last is not None:
        reasons.append(_about_last(to_last))
    if to_linear is not None and not linear:
        reasons.append(_about_linear(to_linear))
    if to_mean >= 1:
        good, headline = False, "Not suitable: the mean of each sensor is as good a guess as this model"
    elif to_mean > WEAK:
        good, headline = None, "Hardly suitable: most of what these sensors do is not captured"
    elif linear:
        good, headline = True, "Suitable: a linear model describes what these sensors do"
    elif to_linear is not None and to_linear > CLEARLY:
        good, headline = True, "Suitable, though a linear model (PCA) would do"
    else:
        good, headline = True, "Suitable: an autoencoder is worth having here"
    return Suitability(good, headline, tuple(reasons), to_mean, to_last, to_linear)


def _about_mean(ratio: float, varying: Sequence[SensorErrors]) -> str:
    text = f"Its squared error on held-back rows is {_times(ratio)} that of always guessing the mean"
    poor = [one.sensor for one in varying if one.mse > CLEARLY * one.mean]
    if poor:
        text += f"; {listed(poor)} cannot be told from the others"
    return f"{text}."


def _about_last(ratio: float) -> str:
    text = f"It is {_times(ratio)} that of guessing the value before"
    if ratio > 1:
        return (
            f"{text}: the sensors move slowly, or the code is small. What the model adds is what belongs "
            "together, not what comes next; a longer readings.interval shows it more of the process."
        )
    return f"{text}."


def _about_linear(ratio: float) -> str:
    text = f"It is {_times(ratio)} that of a principal component analysis (PCA) with a code of the same size"
    if ratio < CLEARLY:
        return f"{text}: there is structure that straight lines do not describe."
    return f"{text}: what there is to know about normal operation is linear."


def _times(ratio: float) -> str:
    return "about as large as" if 0.95 <= ratio <= 1.05 else f"{ratio:.2g} times"


def _ratio(pairs: Sequence[tuple[float, float]]) -> float | None:
    logs = [math.log(error / other) for error, other in pairs if error > 0 and other > 0]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None
