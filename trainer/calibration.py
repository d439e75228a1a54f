"""Held-back rows, replayed exactly as the daemon would see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import AlertPolicy, Change
from detector.events import AlertChanged, Scored
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stream import StreamPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.events import Event
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
    def errors_by_machine(self) -> tuple[NDArray[np.float64], ...]:
        """The same of each machine, in order of time, shapes (N,)."""
        machines: dict[str, list[float]] = {}
        for scored in self.scored:
            machines.setdefault(scored.machine, []).append(scored.error)
        return tuple(map(np.array, machines.values()))

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


def said(detector: Detector, histories: Sequence[History], alerts: AlertPolicy) -> Iterator[Event]:
    """What the pipeline says about rows; see `replay_rows`."""
    stream = StreamPolicy(max_machines=len(histories) or 1)
    return replay(histories, Pipeline(Champions(shared=detector), stream=stream, alerts=alerts))
