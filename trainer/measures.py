"""What one detector says about rows: errors and alarms, as `trainer.gate` compares them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.alerts import Change
from detector.events import AlertChanged, Scored
from detector.manifest import ErrorSpec
from detector.scoring import Detector
from trainer.calibration import mean_errors, said
from trainer.gate import Alarms
from trainer.leaving_out import inside
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from detector.alerts import AlertPolicy
    from detector.events import Event
    from detector.history import History
    from detector.manifest import Manifest
    from trainer.leaving_out import Span


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What was said about one machine's rows.

    Attributes:
        at: Ends of the scored windows, in milliseconds since the epoch, ascending, shape (N,).
        score: Their scores, shape (N,).
        alerts: From when to when an alert was open.
    """

    at: NDArray[np.int64]
    score: NDArray[np.float64]
    alerts: tuple[Span, ...]

    def alarms(self, manifest: Manifest, left_out: Sequence[Span] = ()) -> Alarms:
        """Windows and alerts, less those that lie in stretches in which they are nobody's fault."""
        counts = ~inside(self.at, left_out)
        windows = int(counts.sum())
        opened = np.array([start for start, _ in self.alerts], np.int64)
        return Alarms(
            windows=windows,
            days=windows * manifest.window.stride * manifest.grid.interval / DAY,
            rate=float((self.score[counts] > 1).mean()) if windows else 0.0,
            alerts=int((~inside(opened, left_out)).sum()),
        )


def courses(detector: Detector, histories: Sequence[History], alerts: AlertPolicy) -> dict[str, Course]:
    """Replays the rows of machines, whose names differ, exactly as the daemon would see them."""
    return _courses(said(detector, histories, alerts), [history.machine for history in histories])


def _courses(events: Iterable[Event], machines: Sequence[str]) -> dict[str, Course]:
    at: dict[str, list[int]] = {name: [] for name in machines}
    score: dict[str, list[float]] = {name: [] for name in machines}
    opened: dict[str, dict[str, Span]] = {name: {} for name in machines}
    for event in events:
        if isinstance(event, Scored):
            at[event.machine].append(event.at)
            score[event.machine].append(event.score)
        elif isinstance(event, AlertChanged):
            start, _ = opened[event.machine].get(event.id, (event.at, None))
            end = event.at if event.change is Change.CLOSED else None
            opened[event.machine][event.id] = (start, end)
    return {
        name: Course(
            np.array(at[name], np.int64), np.array(score[name], np.float64), tuple(opened[name].values())
        )
        for name in machines
    }


def together(alarms: Iterable[Alarms]) -> Alarms:
    """Those of several machines."""
    some = list(alarms)
    windows = sum(each.windows for each in some)
    return Alarms(
        windows=windows,
        days=math.fsum(each.days for each in some),
        rate=math.fsum(each.rate * each.windows for each in some) / max(1, windows),
        alerts=sum(each.alerts for each in some),
    )


def unit_errors(detector: Detector, histories: Sequence[History]) -> Mapping[str, float]:
    """The mean squared error by sensor in the sensor's own unit; see `trainer.gate.Figures.errors`.

    Empty where no window can be scored.
    """
    manifest = detector.manifest
    # Two models must be measured alike, whatever they judge by.
    alike = Detector(msgspec.structs.replace(manifest, error=ErrorSpec("mse")), detector.model)
    means = mean_errors(alike, histories)
    if np.isnan(means).all():
        return {}
    # One scale for all columns of a sensor; see `trainer.inputs.fit_scaler`.
    scale = np.square(manifest.scaler.scale)[detector.columns.starts]
    moving = varying(histories)
    found = zip(manifest.sensors, (means * scale).tolist(), strict=True)
    return {name: error for name, error in found if name in moving}


def varying(histories: Sequence[History]) -> set[str]:
    """Sensors that have more than one value in any of the histories."""
    return {
        name
        for history in histories
        for name, column in zip(history.sensors, history.values.T, strict=True)
        if len(np.unique(column[~np.isnan(column)])) > 1
    }
