"""The threshold, from held-back rows that are replayed exactly as the daemon would see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import AlertPolicy, AlertTracker, Change
from detector.events import AlertChanged, Scored
from detector.manifest import Threshold
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stream import StreamPolicy
from trainer.problems import Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from config.training import Threshold as ThresholdSettings
    from detector.history import History
    from detector.scoring import Detector


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
    stream = StreamPolicy(max_machines=len(histories) or 1)
    pipeline = Pipeline(Champions(shared=detector), stream=stream, alerts=alerts)
    scored, opened = [], 0
    for event in replay(histories, pipeline):
        if isinstance(event, Scored):
            scored.append(event)
        elif isinstance(event, AlertChanged):
            opened += event.change is Change.OPENED
    return Replayed(tuple(scored), opened)


def count_alerts(replayed: Replayed, policy: AlertPolicy, threshold: float | None = None) -> int:
    """Alerts that these windows open; holes in the data are not looked at.

    Args:
        replayed: The windows.
        policy: When an alert opens.
        threshold: In place of the one that they were scored by.
    """
    trackers: dict[str, AlertTracker] = {}
    opened = 0
    for scored in replayed.scored:
        tracker = trackers.setdefault(scored.machine, AlertTracker())
        score = scored.score if threshold is None else scored.error / threshold
        changed = tracker.observe(scored.machine, scored.at, score, policy)
        opened += changed is not None and changed[0] is Change.OPENED
    return opened


def threshold(errors: NDArray[np.float64], settings: ThresholdSettings) -> Threshold:
    """`mean + k * std` of the errors of held-back normal windows, shape (N,).

    Raises:
        Unusable: The errors say nothing about how much is normal.
    """
    mean, std = (float(errors.mean()), float(errors.std())) if len(errors) else (0.0, 0.0)
    value = mean + settings.k * std
    if not (np.isfinite(value) and std > 0):
        got = f"{len(errors)} times the same error {mean:.4g}" if len(errors) else "no scored window"
        raise Unusable(
            f"history: must vary in its last rows, from which the threshold is learned, got {got}; "
            "is it a recording of a machine that stood still?"
        )
    return Threshold(
        value=value,
        method=settings.method,
        k=settings.k,
        mean=mean,
        std=std,
        windows=len(errors),
        above=float((errors > value).mean()),
    )
