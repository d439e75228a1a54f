"""Whether a challenger may replace the champion, by what both say about the same held-back normal rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.alerts import AlertPolicy
from detector.manifest import ErrorSpec
from detector.scoring import Detector
from trainer.calibration import mean_errors, replay_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from config.training import Gate
    from detector.history import History


class Reason(StrEnum):
    """Why a challenger is promoted or not; also the log field and the metric label."""

    FIRST_MODEL = "first_model"
    PASSED = "passed"
    NO_WINDOWS = "no_windows"
    ALERT_RATE = "alert_rate"
    ERROR_RATIO = "error_ratio"
    PINNED = "pinned"


@dataclass(frozen=True, slots=True)
class GateFigures:
    """What one detector says about held-back normal rows.

    Attributes:
        windows: Windows that it scored.
        alert_rate: Share of them with a score above 1; 0 without windows.
        errors: Mean squared error by sensor in the sensor's own unit, before smoothing; sensors
            that do not vary in these rows are left out, as every model is right about them.
    """

    windows: int
    alert_rate: float
    errors: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer of `decide`, with the reason in words."""

    promote: bool
    reason: Reason
    text: str


def figures(detector: Detector, histories: Sequence[History]) -> GateFigures:
    """Replays held-back rows that are not labelled anomalous through a detector."""
    normal = [history.normal() for history in histories]
    replayed = replay_rows(detector, normal, AlertPolicy())
    manifest = detector.manifest
    varies = {name for history in normal for name in _varying(history)}
    # Two models must be measured alike, whatever they judge by.
    alike = Detector(msgspec.structs.replace(manifest, error=ErrorSpec("mse")), detector.model)
    means = mean_errors(alike, normal)
    # One scale for all columns of a sensor; see `trainer.inputs.fit_scaler`.
    scale = np.square(manifest.scaler.scale)[detector.columns.starts]
    return GateFigures(
        windows=len(replayed.scored),
        alert_rate=replayed.above,
        errors={
            name: float(error)
            for name, error in zip(manifest.sensors, means * scale, strict=True)
            if name in varies and math.isfinite(error)
        },
    )


def decide(
    challenger: GateFigures, champion: GateFigures | None, settings: Gate, *, apart: bool = True
) -> Decision:
    """Compares figures of the same rows.

    Alert rates are comparable as they are: each is measured against the detector's own threshold.
    Errors are not, as each detector scales in its own way. They are compared sensor by sensor in
    the sensor's own unit, which cancels in the ratio; the ratios' geometric mean over the sensors
    that both know counts no sensor more than another.

    Args:
        challenger: What it says about the rows.
        champion: The same of the bundle that serves; None: there is none.
        settings: The limits.
        apart: Whether the challenger's threshold was learned from other rows.
    """
    if not challenger.windows:
        return Decision(
            promote=False,
            reason=Reason.NO_WINDOWS,
            text="no window could be scored in the held-back rows",
        )
    windows = f"{challenger.alert_rate:.2%} of {challenger.windows} held-back normal windows"
    if not apart:
        windows += " (from which the threshold was learned, as the history is short)"
    if challenger.alert_rate > settings.max_alert_rate:
        return Decision(
            promote=False,
            reason=Reason.ALERT_RATE,
            text=f"{windows} are above the threshold, "
            f"more than retrain.gate.max_alert_rate {settings.max_alert_rate:.2%}",
        )
    share = f"{windows} above the threshold"
    if champion is None:
        return Decision(promote=True, reason=Reason.FIRST_MODEL, text=f"the first model, with {share}")
    ratio = error_ratio(challenger, champion)
    if ratio is None:
        return Decision(
            promote=True,
            reason=Reason.PASSED,
            text=f"{share}; errors were not compared, as the models share no sensor",
        )
    if ratio > settings.max_error_ratio:
        return Decision(
            promote=False,
            reason=Reason.ERROR_RATIO,
            text=f"its error on held-back normal rows is {ratio:.2f} times the champion's, "
            f"more than retrain.gate.max_error_ratio {settings.max_error_ratio:g}",
        )
    return Decision(
        promote=True,
        reason=Reason.PASSED,
        text=f"{share} (champion {champion.alert_rate:.2%}), error {ratio:.2f} times the champion's",
    )


def error_ratio(challenger: GateFigures, champion: GateFigures) -> float | None:
    """Geometric mean of the sensors' error ratios; None where nothing can be compared."""
    logs = [
        math.log(challenger.errors[name] / champion.errors[name])
        for name in challenger.errors.keys() & champion.errors.keys()
        if challenger.errors[name] > 0 and champion.errors[name] > 0
    ]
    return math.exp(math.fsum(logs) / len(logs)) if logs else None


def _varying(history: History) -> list[str]:
    return [
        name
        for name, column in zip(history.sensors, history.values.T, strict=True)
        if len(np.unique(column[~np.isnan(column)])) > 1
    ]
