"""What a detector says about rows: replayed exactly as the daemon would see them, and its usual errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import AlertPolicy, Change
from detector.events import AlertChanged, Scored
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stream import StreamPolicy
from trainer.scorable import scorable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from detector.events import Event
    from detector.history import History
    from detector.scoring import Detector
    from trainer.parts import Parts

SMALLEST_USUAL = 1e-12  # where the model knows all of them by heart
LEAST_USUAL = 1e-3  # of the sensors' mean: one that the model knows by heart must not outweigh all others


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What a detector said about recorded rows.

    Attributes:
        scored: Every scored window, those of a machine in order of time.
        opened: Alerts that opened.
    """

    scored: tuple[Scored, ...]
    opened: int

    @property
    def errors(self) -> NDArray[np.float64]:
        """The smoothed reconstruction errors, shape (N,)."""
        return np.array([scored.error for scored in self.scored])

    @property
    def errors_by_machine(self) -> tuple[NDArray[np.float64], ...]:
        """The same of each machine, in order of time, shapes (N,)."""
        return _by_machine(self.scored)

    @property
    def above(self) -> float:
        """Share of the windows with a score above 1; 0 without windows."""
        return sum(scored.anomaly for scored in self.scored) / max(1, len(self.scored))


def together(replays: Sequence[Replayed]) -> Replayed:
    """What was said about rows, and then about later rows."""
    return Replayed(
        scored=tuple(scored for replayed in replays for scored in replayed.scored),
        opened=sum(replayed.opened for replayed in replays),
    )


def replay_rows(detector: Detector, histories: Sequence[History], alerts: AlertPolicy) -> Replayed:
    """Sends rows through the pipeline; all machines are served by this detector."""
    scored, opened = [], 0
    for event in said(detector, histories, alerts):
        if isinstance(event, Scored):
            scored.append(event)
        elif isinstance(event, AlertChanged):
            opened += event.change is Change.OPENED
    return Replayed(tuple(scored), opened)


def replayed_errors(
    detector: Detector, histories: Sequence[History], alerts: AlertPolicy
) -> tuple[NDArray[np.float64], ...]:
    """`Replayed.errors_by_machine` of `replay_rows`, which takes much less memory for many rows."""
    return _by_machine(event for event in said(detector, histories, alerts) if isinstance(event, Scored))


def _by_machine(scored: Iterable[Scored]) -> tuple[NDArray[np.float64], ...]:
    machines: dict[str, list[float]] = {}
    for one in scored:
        machines.setdefault(one.machine, []).append(one.error)
    return tuple(map(np.array, machines.values()))


def said(detector: Detector, histories: Sequence[History], alerts: AlertPolicy) -> Iterator[Event]:
    """What the pipeline says about rows; see `replay_rows`."""
    stream = StreamPolicy(max_machines=len(histories) or 1)
    return replay(histories, Pipeline(Champions(shared=detector), stream=stream, alerts=alerts))


def usual_errors(detector: Detector, parts: Parts) -> tuple[float, ...]:
    """Each sensor's mean error on normal rows, for `ErrorSpec.usual`.

    The larger one of the rows that were fitted on and those that were not: a sensor that drifts, or
    that was still while one of them was recorded, must not stand out.

    Args:
        detector: With errors that are not divided.
        parts: The rows.
    """
    held_back = mean_errors(detector, parts.calibration)
    largest = np.fmax(mean_errors(detector, parts.not_held_back), held_back)
    least = max(LEAST_USUAL * float(largest.mean()), SMALLEST_USUAL)
    return tuple(largest.clip(least).tolist())


def mean_errors(detector: Detector, histories: Sequence[History]) -> NDArray[np.float64]:
    """Each sensor's mean error over all scorable windows, scaled, shape (F,); NaN without windows."""
    manifest = detector.manifest
    total, count = np.zeros(len(manifest.sensors)), 0
    for history in histories:
        for stretch in scorable(history, manifest.grid, manifest.window, detector):
            for windows in stretch.windows(stretch.starts):
                total += detector.errors(windows).share.sum(axis=0)
                count += len(windows)
    # `share` is a part of the mean over all F sensors
    return total * len(manifest.sensors) / count if count else np.full(len(manifest.sensors), np.nan)
