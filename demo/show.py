"""What the orchestration tells whoever watches; a terminal and a script each show it in their own way."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import IO, Protocol

from demo.pump import Reading
from demo.seen import Alert, Seen
from demo.story import Story, Stretch
from demo.verdict import Outcome


@dataclass(frozen=True, slots=True)
class Scene:
    """The stream at one instant.

    Attributes:
        began: the time of the stream's first reading.
        pace: simulated seconds in a real one.
        reading: the newest reading sent, None before the first.
        second: its second in the stream.
    """

    story: Story
    began: datetime
    pace: float
    broker: str
    seen: Seen
    reading: Reading | None = None
    second: int = 0

    def at(self, second: int, reading: Reading) -> Scene:
        """The same stream when that reading has been sent."""
        return replace(self, second=second, reading=reading)

    @property
    def now(self) -> datetime:
        """The pump's time."""
        return self.began + timedelta(seconds=self.second)

    @property
    def stretch(self) -> Stretch:
        return self.story.stretch_at(self.second)

    @property
    def sent(self) -> int:
        """How many readings have been sent."""
        return 0 if self.reading is None else self.second + 1

    def second_of(self, at: datetime) -> float:
        """The second of the stream to which a time belongs."""
        return (at - self.began).total_seconds()


@dataclass(frozen=True, slots=True)
class Report:
    """How it went: one outcome per stretch that counts, and the alerts that nothing explains."""

    outcomes: tuple[Outcome, ...]
    false_alerts: tuple[Alert, ...]
    first_alert_after: timedelta | None

    @property
    def good(self) -> bool:
        return all(outcome.good for outcome in self.outcomes)


class Show(Protocol):
    """Call `say` for each step of the preparation, `live` around the stream, `report` at the end."""

    def say(self, text: str) -> None: ...

    def training(self) -> IO[str] | int | None:
        """Where the training's stderr goes, as `subprocess` takes it; with PIPE, to `training_said`."""

    def training_said(self, line: str) -> None: ...

    def live(self) -> AbstractContextManager[None]: ...

    def update(self, scene: Scene) -> None:
        """Called often; shows the scene if it is time to."""

    def alert(self, event: Alert) -> None: ...

    def report(self, report: Report) -> None: ...
