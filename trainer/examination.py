"""A finished detector is looked at from all sides, for its report; takes about as long as a few epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.comparison import compare
from trainer.export import run
from trainer.importance import importances
from trainer.inspection import inspect
from trainer.models import KINDS
from trainer.rivals import MOST_FITTED, Forest, Linear
from trainer.suitability import judge, sensor_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from config.training import Trainer
    from detector.alerts import AlertPolicy
    from detector.history import History
    from detector.scoring import Detector
    from trainer.calibration import Replayed
    from trainer.comparison import Figures
    from trainer.importance import Importance
    from trainer.inspection import Inspected
    from trainer.labelled import Watched
    from trainer.parts import Parts
    from trainer.preparation import Windows
    from trainer.suitability import SensorErrors, Suitability

MOST_CELLS = 4_000_000  # numbers in the windows that are looked at: 50 MB with what is made of them
MOST_WINDOWS = 2000  # and of few sensors not more than a chart can show
STRETCH = 8  # windows' lengths shown of each sensor,
LEAST_STRETCH, MOST_STRETCH = 200, 400  # but so many samples: enough to see its course, and still each one


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """What the sensors showed for a while, and what was expected of them.

    Attributes:
        at: Times in milliseconds since the epoch, shape (N,).
        actual: In the sensors' own units, a category as the number of its place among those that
            occur, shape (N, F); NaN where a value is missing.
        expected: The same, no NaN.
    """

    at: NDArray[np.int64]
    actual: NDArray[np.float64]
    expected: NDArray[np.float64]

    @classmethod
    def of(cls, detector: Detector, seen: Inspected) -> Stretch:
        """The newest samples of neighbouring windows."""
        said = [
            [detector.expected(row) for row in windows[:, -1]] for windows in (seen.windows, seen.rebuilt)
        ]
        names = {text for rows in said for row in rows for text in row if isinstance(text, str)}
        places = {name: float(place) for place, name in enumerate(sorted(names))}
        actual, expected = (
            np.array([[places[it] if isinstance(it, str) else it for it in row] for row in rows])
            for rows in said
        )
        return cls(seen.at, np.where(detector.columns.first(seen.there[:, -1]), actual, np.nan), expected)


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """What was found.

    Attributes:
        seen: Held-back windows, spread evenly.
        codes: Their codes, shape (N, code), followed by those of `odd`.
        odd: Windows of rows labelled anomalous alone; None where there are none.
        stretch: The sensors around the largest held-back error.
        errors: Per sensor.
        importances: Per sensor.
        suitability: Whether the model is worth having.
        figures: The detector's, then those of others on the same rows.
    """

    seen: Inspected
    codes: NDArray[np.float32]
    odd: Inspected | None
    stretch: Stretch
    errors: tuple[SensorErrors, ...]
    importances: tuple[Importance, ...]
    suitability: Suitability
    figures: tuple[Figures, ...]

    @property
    def metrics(self) -> dict[str, float]:
        """What belongs into the manifest."""
        it, own = self.suitability, self.figures[0]
        found = {"error_to_mean": it.to_mean, "error_to_last": it.to_last, "error_to_pca": it.to_linear}
        if own.evaluation:
            labelled = own.evaluation
            found |= {"labelled_f1": labelled.f1, "labelled_far": labelled.far, "labelled_mar": labelled.mar}
            found |= {"labelled_auc_pr": labelled.auc_pr, "labelled_vus_pr": labelled.vus_pr}
        return {name: number for name, number in found.items() if number is not None}


def examine(
    detector: Detector,
    encoder: bytes,
    *,
    parts: Parts,
    windows: Windows,
    replays: Sequence[Replayed],
    watched: Sequence[Watched],
    alerts: AlertPolicy,
    wishes: Trainer,
) -> Examined:
    """Looks at a detector.

    Args:
        detector: The finished detector; it has scored a window of the held-back rows.
        encoder: The bytes of `encoder.tflite`.
        parts: What was done with the normal rows.
        windows: That it was fitted on.
        replays: What it said about the held-back rows.
        watched: Whole histories with labels, of `trainer.labelled.watch`.
        alerts: When an alert opens.
        wishes: The trainer's settings.
    """
    manifest, seed = detector.manifest, wishes.seed
    most = max(100, min(MOST_WINDOWS, MOST_CELLS // (manifest.window.length * manifest.width)))
    held_back = (*parts.calibration, *parts.gate) if parts.gate_apart else parts.calibration
    seen = inspect(detector, held_back, most=most)
    fitted = inspect(detector, parts.not_held_back, most=most)
    assert seen is not None
    assert fitted is not None
    some = windows.some(MOST_FITTED)
    linear = Linear(some, manifest.model.code, seed=seed)
    forest = Forest(some, seed=seed)
    del some
    odd = inspect(detector, [one.anomalous for one in watched], most=most // 2) if watched else None
    errors = sensor_errors(detector, seen, linear.rebuild(seen.windows), fitted)
    shown = seen.windows if odd is None else np.concatenate([seen.windows, odd.windows])
    return Examined(
        seen=seen,
        codes=run(encoder, shown),
        odd=odd,
        stretch=Stretch.of(detector, _worst(detector, held_back, replays)),
        errors=errors,
        importances=importances(detector, seen, encoder, seed=seed),
        suitability=judge(errors, linear=KINDS[manifest.model.kind].linear),
        figures=compare(
            detector, (linear, forest), fitted, parts, replays, watched, wishes.threshold, alerts
        ),
    )


def _worst(detector: Detector, histories: Sequence[History], replays: Sequence[Replayed]) -> Inspected:
    """The windows around the largest error."""
    manifest = detector.manifest
    worst = max((scored for replayed in replays for scored in replayed.scored), key=lambda one: one.error)
    length, interval = manifest.window.length, manifest.grid.interval
    half = interval * min(max(STRETCH * length, LEAST_STRETCH), MOST_STRETCH) // 2
    for history in histories:
        if history.machine != worst.machine or not len(history):
            continue
        # A window has the time of its slot, up to half an interval from that of its newest row.
        if history.at[0] - interval <= worst.at <= history.at[-1] + interval:
            first = min(max(worst.at - half, int(history.at[0])), max(int(history.at[-1]) - 2 * half, 0))
            near = (history.at >= first - length * interval) & (history.at <= first + 2 * half)
            found = inspect(detector, [history.rows(near)], most=1_000_000)
            if found is not None:
                return found
    raise AssertionError("a scored window has rows")
