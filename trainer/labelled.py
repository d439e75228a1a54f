"""Whole histories with labels, replayed by the finished detector; what any threshold finds in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from msgspec import structs

from detector.history import ANOMALOUS, NORMAL, UNKNOWN
from trainer.calibration import said
from trainer.evaluation import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy
    from detector.events import Event
    from detector.history import History
    from detector.manifest import Manifest, Threshold
    from detector.scoring import Detector
    from trainer.evaluation import Rows
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
class Watched:
    """A whole history with labels, and what the finished detector said about it.

    Attributes:
        history: All rows. Normal ones from which the model or its threshold was learned are labelled
            unknown, so that they do not count: it is better at them than at others.
        events: Of its replay.
        manifest: The detector's.
        fitted_until: Time of the last row that was fitted on; None without any.
    """

    history: History
    events: tuple[Event, ...]
    manifest: Manifest
    fitted_until: int | None

    @property
    def rows(self) -> Rows:
        """What was said about each row."""
        manifest = self.manifest
        return rows(self.history, self.events, grid=manifest.grid, stride=manifest.window.stride)

    @property
    def anomalous(self) -> History:
        """The rows labelled anomalous."""
        assert self.history.label is not None
        return self.history.rows(self.history.label == ANOMALOUS)


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


def watch(
    detector: Detector, histories: Sequence[History], parts: Parts, alerts: AlertPolicy
) -> tuple[Watched, ...]:
    """Replays the histories with labels, if any of their rows is labelled anomalous.

    Args:
        detector: The finished one.
        histories: As they were given, with their labels.
        parts: What was done with their normal rows, in the same order. Those that are held back for the
            gate count, and where there are none, those from which the threshold was learned.
        alerts: When an alert opens.
    """
    watched = []
    for history, fitted, calibration in zip(histories, parts.not_held_back, parts.calibration, strict=True):
        if history.label is None:
            continue
        times = np.concatenate([fitted.at, calibration.at]) if parts.gate_apart else fitted.at
        learned = (history.label == NORMAL) & np.isin(history.at, times)
        judged = replace(history, label=np.where(learned, UNKNOWN, history.label))
        until = int(fitted.at[-1]) if len(fitted) else None
        watched.append(Watched(judged, tuple(said(detector, [judged], alerts)), detector.manifest, until))
    anomalous = any(len(one.anomalous) for one in watched)
    return tuple(watched) if anomalous else ()


def labelled(watched: Sequence[Watched]) -> Labelled | None:
    """Puts the rows with labels of all histories together; None if there are none."""
    errors, anomalous = [], []
    for one in watched:
        found = one.rows
        known = found.label != UNKNOWN
        errors.append(np.nan_to_num(found.score[known]) * one.manifest.threshold.value)
        anomalous.append(found.label[known] == ANOMALOUS)
    return Labelled(np.concatenate(errors), np.concatenate(anomalous)) if errors else None


def with_labels(threshold: Threshold, rows: Labelled) -> Threshold:
    """The threshold, its evidence with what each candidate finds."""
    evidence = threshold.evidence
    assert evidence is not None
    candidates = []
    for candidate in evidence.candidates:
        found = rows.at(candidate.value)
        candidates.append(
            structs.replace(candidate, precision=found.precision, recall=found.recall, f1=found.f1)
        )
    return structs.replace(threshold, evidence=structs.replace(evidence, candidates=tuple(candidates)))
