"""What any threshold finds in the rows of the history that are labelled anomalous."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec.structs import replace

from detector.alerts import AlertPolicy
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from trainer.calibration import said
from trainer.evaluation import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.manifest import Threshold
    from detector.scoring import Detector
    from trainer.parts import Parts


@dataclass(frozen=True, slots=True)
class Detection:
    """What one threshold finds, row by row, without point adjustment.

    Attributes:
        threshold: In units of the reconstruction error.
        precision: Share of the alarmed rows that are labelled anomalous; None where none is alarmed.
        recall: Share of the rows labelled anomalous that are alarmed.
        f1: Their harmonic mean.
        false_alarm_rate: Share of the rows labelled normal that are alarmed; None without such rows.
    """

    threshold: float
    precision: float | None
    recall: float
    f1: float
    false_alarm_rate: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Rows with labels and the error that stands for each.

    Attributes:
        errors: Smoothed reconstruction errors, shape (N,), no NaN; 0 where no window was scored.
        anomalous: Whether the row is labelled anomalous, at least one, shape (N,); the others are
            labelled normal.
    """

    errors: NDArray[np.float64]
    anomalous: NDArray[np.bool_]

    def at(self, threshold: float) -> Detection:
        """What a threshold finds."""
        alarmed = self.errors > threshold
        hits, alarms = int((alarmed & self.anomalous).sum()), int(alarmed.sum())
        positive, negative = int(self.anomalous.sum()), int((~self.anomalous).sum())
        return Detection(
            threshold=threshold,
            precision=hits / alarms if alarms else None,
            recall=hits / positive,
            f1=2 * hits / (alarms + positive),
            false_alarm_rate=(alarms - hits) / negative if negative else None,
        )

    def curve(self, points: int = 200) -> list[Detection]:
        """What thresholds from the lowest to the highest error find, about so many of them."""
        return [
            self.at(float(each)) for each in np.unique(np.quantile(self.errors, np.linspace(0, 1, points)))
        ]


def labelled(detector: Detector, histories: Sequence[History], parts: Parts) -> Labelled | None:
    """Replays the histories in which rows are labelled anomalous; None if there are none.

    Normal rows that the model was fitted on are left out: it is better at them than at others.

    Args:
        detector: The finished one.
        histories: As they were given, with their labels.
        parts: What was done with their normal rows, in the same order.
    """
    errors, anomalous = [], []
    for history, fit, validation in zip(histories, parts.fit, parts.validation, strict=True):
        if history.label is None or not (history.label == ANOMALOUS).any():
            continue
        fitted = np.isin(history.at, np.concatenate([fit.at, validation.at]))
        label = np.where((history.label == NORMAL) & fitted, UNKNOWN, history.label)
        replayed = History(history.machine, history.sensors, history.at, history.values, label)
        events = said(detector, [replayed], AlertPolicy())
        manifest = detector.manifest
        found = rows(replayed, events, grid=manifest.grid, stride=manifest.window.stride)
        known = found.label != UNKNOWN
        errors.append(np.nan_to_num(found.score[known]) * manifest.threshold.value)
        anomalous.append(found.label[known] == ANOMALOUS)
    return Labelled(np.concatenate(errors), np.concatenate(anomalous)) if errors else None


def with_labels(threshold: Threshold, rows: Labelled) -> Threshold:
    """The threshold, its evidence with what each candidate finds."""
    evidence = threshold.evidence
    assert evidence is not None
    candidates = []
    for candidate in evidence.candidates:
        found = rows.at(candidate.value)
        candidates.append(replace(candidate, precision=found.precision, recall=found.recall, f1=found.f1))
    return replace(threshold, evidence=replace(evidence, candidates=tuple(candidates)))
