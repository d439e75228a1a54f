"""The detector beside PCA and an isolation forest: the same rows, windows, smoothing and threshold rule."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.signal import lfilter
from sklearn.metrics import roc_auc_score

from detector.events import Scored
from detector.history import ANOMALOUS, NORMAL, UNKNOWN
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.scoring import SCORE_DIGITS
from detector.stream import StreamPolicy
from trainer.calibration import Replayed, count_alerts, threshold, together
from trainer.evaluation import Tally, rows, summed
from trainer.inspection import inspections
from trainer.problems import Unusable
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from config.training import Threshold as ThresholdSettings
    from detector.alerts import AlertPolicy
    from detector.events import Event
    from detector.history import History
    from detector.scoring import Detector
    from trainer.evaluation import Evaluation, Rows
    from trainer.inspection import Inspected
    from trainer.parts import Parts
    from trainer.rivals import Rival


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way to tell odd windows is worth on rows that it was not fitted on.

    Attributes:
        name: Which way.
        above: Share of the held-back normal windows above its threshold.
        alerts_per_day: Alerts per day of held-back normal time, all of them false.
        ratio: Its mean error on held-back rows as a multiple of that on the rows that were fitted
            on; 1 where nothing was learned by heart and nothing has changed.
        evaluation: Where labels are given: of the anomalous rows and the held-back normal ones.
        roc_auc: The area under the receiver operating characteristic of the same rows.
    """

    name: str
    above: float
    alerts_per_day: float
    ratio: float
    evaluation: Evaluation | None
    roc_auc: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A whole history with labels, and what the finished detector said about it.

    Attributes:
        history: All rows. Those that were fitted on are labelled unknown, so that they do not count.
        events: Of its replay.
        fitted_until: Time of the last row that was fitted on; None without any.
    """

    history: History
    events: tuple[Event, ...]
    fitted_until: int | None

    @property
    def anomalous(self) -> History:
        """The rows labelled anomalous."""
        assert self.history.label is not None
        return self.history.rows(self.history.label == ANOMALOUS)

    @property
    def errors_of_anomalies(self) -> NDArray[np.float64]:
        """Smoothed errors of the windows that end at a row labelled anomalous, shape (N,)."""
        assert self.history.label is not None
        scored = [event for event in self.events if isinstance(event, Scored)]
        rows_before = np.searchsorted(self.history.at, [one.at for one in scored], side="right") - 1
        errors = np.array([one.error for one in scored], np.float64)
        chosen: NDArray[np.float64] = errors[self.history.label[rows_before.clip(0)] == ANOMALOUS]
        return chosen


def watch(
    detector: Detector, histories: Sequence[History], parts: Parts, alerts: AlertPolicy
) -> tuple[Watched, ...]:
    """Replays whole histories where, beside the rows that were fitted on, both labels are given.

    Args:
        detector: The finished detector.
        histories: With all rows, in the order of `parts`.
        parts: What was done with the normal ones.
        alerts: When an alert opens.

    Returns:
        None where labels are not given.
    """
    judged = []
    for history, fitted in zip(histories, parts.not_held_back, strict=True):
        if history.label is None:
            return ()
        label = history.label.copy()
        if len(fitted):
            label[(history.at <= fitted.at[-1]) & (label != ANOMALOUS)] = UNKNOWN
        judged.append(dataclasses.replace(history, label=label).select(detector.manifest.sensors))
    labels = np.concatenate([history.label for history in judged if history.label is not None])
    if not (ANOMALOUS in labels and NORMAL in labels):
        return ()
    stream = StreamPolicy(max_machines=len(judged))
    watched = []
    for history, fitted in zip(judged, parts.not_held_back, strict=True):
        pipeline = Pipeline(Champions(shared=detector), stream=stream, alerts=alerts)
        until = int(fitted.at[-1]) if len(fitted) else None
        watched.append(Watched(history, tuple(replay([history], pipeline)), until))
    return tuple(watched)


def compare(
    detector: Detector,
    rivals: Sequence[Rival],
    fitted: Inspected,
    parts: Parts,
    replays: Sequence[Replayed],
    watched: Sequence[Watched],
    settings: ThresholdSettings,
    alerts: AlertPolicy,
) -> tuple[Figures, ...]:
    """Measures the detector and each rival on the same rows.

    Args:
        detector: The finished detector.
        rivals: Fitted on the windows that it was fitted on.
        fitted: Some of these.
        parts: Whose held-back rows they are measured on.
        replays: What the detector said about the held-back rows, part by part.
        watched: Of `watch`.
        settings: How a threshold is learned from the calibration rows.
        alerts: When an alert opens.

    Returns:
        The detector's figures, then the rivals'; a rival that finds all windows alike has none.
    """
    held_back = (parts.calibration, parts.gate) if parts.gate_apart else (parts.calibration,)
    seen = [_Measured.of(detector, rivals, part) for part in held_back]
    whole = [_Measured.of(detector, rivals, [one.history]) for one in watched]
    before = [float(fitted.error.mean()), *(float(rival.errors(fitted).mean()) for rival in rivals)]
    after = np.concatenate([part.errors for part in seen], axis=1).mean(axis=1).tolist()
    ratios = [now / max(then, 1e-12) for now, then in zip(after, before, strict=True)]
    judged = [_rows(one.history, one.events, detector) for one in watched]
    figures = [_figures("this detector", together(replays), judged, ratios[0], detector, alerts)]
    weight = detector.manifest.error.smoothing
    for place, rival in enumerate(rivals, start=1):
        try:
            limit = threshold(seen[0].smoothed(place, weight), settings).value
        except Unusable:
            continue
        events = [
            event
            for part, of_part in zip(seen, held_back, strict=True)
            for event in part.scored(place, weight, limit, of_part)
        ]
        judged = [
            _rows(one.history, part.scored(place, weight, limit, [one.history]), detector)
            for one, part in zip(watched, whole, strict=True)
        ]
        figures.append(
            _figures(rival.name, Replayed(tuple(events), 0), judged, ratios[place], detector, alerts)
        )
    return tuple(figures)


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """The errors of all windows of some histories, the detector's own first, then each rival's.

    Attributes:
        history, at, fresh: See `Inspected`.
        errors: Before smoothing, shape (1 + rivals, N).
    """

    history: NDArray[np.intp]
    at: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    errors: NDArray[np.float64]

    @classmethod
    def of(cls, detector: Detector, rivals: Sequence[Rival], histories: Sequence[History]) -> Self:
        nothing = np.empty(0, np.int64)
        found = [(nothing, nothing, nothing.astype(np.bool_), np.empty((1 + len(rivals), 0)))]
        for seen in inspections(detector, histories):
            errors = np.stack([seen.error, *(rival.errors(seen) for rival in rivals)])
            found.append((seen.history, seen.at, seen.fresh, errors))
        return cls(*(np.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)))

    def smoothed(self, place: int, weight: float) -> NDArray[np.float64]:
        """Exponential averages, begun anew where a window does not continue the one before, shape (N,)."""
        errors, starts = self.errors[place], np.flatnonzero(self.fresh).tolist()
        averages = [
            lfilter([1 - weight], [1, -weight], errors[start:stop], zi=[weight * errors[start]])[0]
            for start, stop in zip(starts, [*starts[1:], len(errors)], strict=True)
        ]
        return np.concatenate([np.empty(0), *averages])

    def scored(
        self, place: int, weight: float, limit: float, histories: Sequence[History]
    ) -> tuple[Scored, ...]:
        """What a detector with these errors and this threshold would have said."""
        errors = self.smoothed(place, weight)
        score = np.round(errors / limit, SCORE_DIGITS)
        columns = (self.history.tolist(), self.at.tolist(), errors.tolist(), score.tolist())
        return tuple(
            Scored(histories[number].machine, at, error, value, value > 1, 1.0, ())
            for number, at, error, value in zip(*columns, strict=True)
        )


def _figures(
    name: str,
    held_back: Replayed,
    judged: Sequence[Rows],
    ratio: float,
    detector: Detector,
    alerts: AlertPolicy,
) -> Figures:
    manifest = detector.manifest
    days = len(held_back.scored) * manifest.window.stride * manifest.grid.interval / DAY
    opened = count_alerts(held_back, alerts)
    tallies = []
    for one in judged:
        tally = Tally()
        tally.add(one)
        tallies.append(tally)
    return Figures(
        name=name,
        above=held_back.above,
        alerts_per_day=opened / days,
        ratio=ratio,
        evaluation=summed(tallies) if tallies else None,
        roc_auc=_roc_auc(judged),
    )


def _rows(history: History, events: Sequence[Event], detector: Detector) -> Rows:
    manifest = detector.manifest
    return rows(history, events, grid=manifest.grid, stride=manifest.window.stride)


def _roc_auc(judged: Sequence[Rows]) -> float | None:
    """Of all rows together, as they share one threshold; a row without a score ranks below all."""
    if not judged:
        return None
    label = np.concatenate([one.label for one in judged])
    score = np.nan_to_num(np.concatenate([one.score for one in judged]), nan=-1.0)
    known = label != UNKNOWN
    return float(roc_auc_score(label[known] == ANOMALOUS, score[known]))
