"""What the daemon has said so far, read from its MQTT messages as any client would."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec


class Blame(msgspec.Struct, frozen=True):
    """One sensor's part in an error: its share of the whole, and what the model expected instead."""

    sensor: str
    contribution: float
    value: float | None = None
    expected: float | None = None


class Alert(msgspec.Struct, frozen=True):
    """One event of an alert, as published."""

    id: str
    change: Literal["opened", "updated", "closed"]
    severity: str
    at: datetime
    opened_at: datetime
    score: float
    peak_score: float
    sensors: tuple[Blame, ...] = ()


class Score(msgspec.Struct, frozen=True):
    """One window's verdict, `at` its last reading; no score where the window could not be judged."""

    at: datetime
    score: float | None = None
    sensors: tuple[Blame, ...] = ()
    imputed: tuple[str, ...] = ()


class Health(msgspec.Struct, frozen=True):
    """A sensor that is not as healthy as it was, or is again."""

    sensor: str
    health: str
    at: datetime


class _State(msgspec.Struct, frozen=True):
    state: str


class Seen:
    """Hand every message to `take`; the attributes are what has been seen, oldest first."""

    def __init__(self, machine: str) -> None:
        self._machine = machine
        self.online = False
        self.state = "unknown"
        self.scores: list[Score] = []
        self.alerts: list[Alert] = []
        self.health: list[Health] = []

    def take(self, topic: str, payload: bytes) -> Alert | None:
        """Returns the alert's event if the message is one.

        Raises:
            msgspec.DecodeError: the message is not what the daemon promises to send.
        """
        if topic == "anomalyd/status":
            self.online = "online" in msgspec.json.decode(payload, type=dict[str, object]).values()
        elif topic == f"anomalyd/{self._machine}/state":
            self.state = msgspec.json.decode(payload, type=_State).state
        elif topic == f"anomalyd/{self._machine}/score":
            score = msgspec.json.decode(payload, type=Score)
            if score.score is not None:
                self.scores.append(score)
        elif topic == f"anomalyd/{self._machine}/sensor":
            self.health.append(msgspec.json.decode(payload, type=Health))
        elif topic == f"anomalyd/{self._machine}/alert":
            alert = msgspec.json.decode(payload, type=Alert)
            self.alerts.append(alert)
            return alert
        return None

    @property
    def open_alert(self) -> Alert | None:
        """The latest event of the alert that is open now."""
        return self.alerts[-1] if self.alerts and self.alerts[-1].change != "closed" else None

    def histories(self) -> list[list[Alert]]:
        """The events of each alert, the alert that opened first in front."""
        grouped: dict[str, list[Alert]] = {}
        for event in self.alerts:
            grouped.setdefault(event.id, []).append(event)
        return list(grouped.values())
