"""The detector beside PCA and an isolation forest: the same rows, windows, smoothing and threshold rule.

The rivals' thresholds are learned from the held-back rows alone: an isolation forest is slow on many rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy.signal import lfilter

from detector.events import Scored
from detector.scoring import SCORE_DIGITS
from trainer.calibration import together
from trainer.evaluation import evaluate, rows
from trainer.inspection import inspections
from trainer.openings import Openings
from trainer.problems import Unusable
from trainer.thresholds import HeldBack, threshold
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from config.training import Threshold as ThresholdSettings
    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.scoring import Detector
    from trainer.calibration import Replayed
    from trainer.evaluation import Evaluation
    from trainer.inspection import Inspected
    from trainer.labelled import Watched
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
        evaluation: Where labels are given: of the anomalous rows and the normal ones of
            `trainer.labelled.watch`.
    """

    name: str
    above: float
    alerts_per_day: float
    ratio: float
    evaluation: Evaluation | None


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
        watched: Of `trainer.labelled.watch`.
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
    manifest, own = detector.manifest, together(replays)
    days = len(own.scored) * manifest.window.stride * manifest.grid.interval / DAY
    evaluation = evaluate([one.rows for one in watched]) if watched else None
    figures = [Figures("this detector", own.above, own.opened / days, ratios[0], evaluation)]
    weight = manifest.error.smoothing
    for place, rival in enumerate(rivals, start=1):
        calm = seen[0].smoothed(place, weight)
        share = sum(map(len, calm)) / len(own.scored)
        try:
            limit = threshold(HeldBack(calm, days * share, alerts), settings).value
        except Unusable:
            continue
        errors = [course for part in seen for course in part.smoothed(place, weight)]
        judged = [
            rows(
                one.history,
                part.scored(place, weight, limit, one.history.machine),
                grid=manifest.grid,
                stride=manifest.window.stride,
            )
            for one, part in zip(watched, whole, strict=True)
        ]
        figures.append(
            Figures(
                name=rival.name,
                above=float((np.concatenate(errors) > limit).mean()),
                alerts_per_day=Openings(errors, alerts).count(limit) / days,
                ratio=ratios[place],
                evaluation=evaluate(judged) if judged else None,
            )
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

    def smoothed(self, place: int, weight: float) -> list[NDArray[np.float64]]:
        """Each history's exponential averages, begun anew where windows do not continue, shapes (N,)."""
        borders = np.flatnonzero(np.diff(self.history)) + 1
        parts = zip(np.split(self.errors[place], borders), np.split(self.fresh, borders), strict=True)
        return [_averages(errors, fresh, weight) for errors, fresh in parts]

    def scored(self, place: int, weight: float, limit: float, machine: str) -> list[Scored]:
        """What a detector with these errors and this threshold would have said of one history."""
        errors = np.concatenate(self.smoothed(place, weight))
        score = np.round(errors / limit, SCORE_DIGITS)
        columns = (self.at.tolist(), errors.tolist(), score.tolist())
        return [
            Scored(machine, at, error, value, value > 1, 1.0, ())
            for at, error, value in zip(*columns, strict=True)
        ]


def _averages(errors: NDArray[np.float64], fresh: NDArray[np.bool_], weight: float) -> NDArray[np.float64]:
    starts = np.flatnonzero(fresh).tolist()
    averages = [
        lfilter([1 - weight], [1, -weight], errors[start:stop], zi=[weight * errors[start]])[0]
        for start, stop in zip(starts, [*starts[1:], len(errors)], strict=True)
    ]
    return np.concatenate([np.empty(0), *averages])
