"""When a machine runs and is watched, and when it is off or in maintenance."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from detector.expression import Expression
    from detector.history import History
    from detector.reading import Reading
    from detector.sampler import Sample


class Mode(StrEnum):
    """Whether a machine is watched; but for `running` nothing is scored."""

    RUNNING = "running"
    OFF = "off"
    MAINTENANCE = "maintenance"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationPolicy:
    """When machines run.

    Attributes:
        running_when: A condition of which each reading tells; a machine is off while it does not hold.
        settle: Milliseconds after a start, by the machine's clock, in which nothing is scored.
    """

    running_when: Expression | None = None
    settle: int = 0


class Ordered(msgspec.Struct, frozen=True, gc=False):
    """A mode that somebody has put a machine in.

    Attributes:
        mode: Off or maintenance.
        start: From when on, by the machine's clock.
        at: When it was said, by this host's clock, as `until`, when it ends by itself.
        by: Who has said so.
        note: In their words.
    """

    mode: Mode
    start: int
    at: int
    until: int | None = None
    by: str = ""
    note: str = ""


class Operation(msgspec.Struct, gc=False):
    """Follows one machine's mode; serialisable, so that a restart goes on where it was.

    A machine rests from the first moment at which it does not run, until it has run for the time in which
    it settles. Times are the machine's.

    Attributes:
        ordered: What somebody has said; it goes before the condition.
        condition: The condition as it is written.
        holds: Whether it held when it was last known. A value that is missing is as it was last; as long as
            one has never been there, it holds.
        known: The newest value of each of its sensors, with its time.
        rests_from: The first moment of the present rest; None: there is none.
        watched_since: Where the present rest ends, or else the last one ended; None: that is not known yet.
    """

    ordered: Ordered | None = None
    condition: str | None = None
    holds: bool = True
    known: dict[str, tuple[int, float]] = {}
    rests_from: int | None = None
    watched_since: int | None = None

    @property
    def mode(self) -> Mode:
        """The present one."""
        if self.ordered is not None:
            return self.ordered.mode
        return Mode.RUNNING if self.holds else Mode.OFF

    def judge_by(self, condition: Expression | None) -> None:
        """Takes up the condition, which may have been another one."""
        text = None if condition is None else condition.text
        if text == self.condition:
            return
        wanted = frozenset[str]() if condition is None else condition.sensors
        self.condition, self.holds = text, True
        self.known = {sensor: one for sensor, one in self.known.items() if sensor in wanted}
        if condition is not None:
            self.holds = self.held(condition)

    def news(self, reading: Reading, condition: Expression) -> dict[str, tuple[int, float]]:
        """What a reading says of the condition's sensors that nothing newer has said."""
        at, known = reading.at, self.known
        return {
            sensor: (at, value)
            for sensor, value in zip(reading.sensors, reading.values.tolist(), strict=True)
            if sensor in condition.sensors
            and value == value  # noqa: PLR0124 - NaN is not
            and not (sensor in known and known[sensor] >= (at, value))
        }

    def note(self, reading: Reading, condition: Expression) -> bool:
        """Notes what a reading says of the condition's sensors; returns whether that is new."""
        news = self.news(reading, condition)
        if news:
            self.known = {**self.known, **news}
        return bool(news)

    def held(self, condition: Expression) -> bool:
        """Whether the condition holds by what is known."""
        if len(self.known) < len(condition.sensors):
            return self.holds
        return bool(condition.holds({sensor: value for sensor, (_, value) in self.known.items()}))

    def turns(self) -> bool:
        """Whether a rest is to begin or to end."""
        rests = self.rests_from is not None and self.watched_since is None
        return rests is (self.mode is Mode.RUNNING)

    def turn(self, at: int, settle: int) -> None:
        """Begins or ends the rest, as the mode is now, with a reading of the slot whose time is `at`."""
        if self.mode is not Mode.RUNNING:
            self.rest(at)
        else:
            self.watched_since = at + settle

    def rest(self, at: int) -> None:
        """Rests from a moment on, if it does not already."""
        if self.rests_from is None:
            self.rests_from = at
        self.watched_since = None

    def begin_again(self) -> None:
        """Goes on with times that may come a second time."""
        self.watched_since = None
        self.known = {sensor: (0, value) for sensor, (_, value) in self.known.items()}
        if self.rests_from is not None:
            self.rests_from = 0

    def admit(self, sample: Sample) -> Sample | None:
        """The sample as a window may take it; None: the machine was at rest."""
        if self.rests_from is None or sample.at < self.rests_from:
            return sample
        if self.watched_since is None or sample.at < self.watched_since:
            return None
        self.rests_from = None
        return msgspec.structs.replace(sample, missed=None)

    def recalled(self, samples: list[Sample]) -> list[Sample]:
        """Those of samples that were stored that the present window holds."""
        if self.rests_from is not None:
            return [sample for sample in samples if sample.at < self.rests_from]
        since = self.watched_since
        if since is None:
            return samples
        held = [sample for sample in samples if sample.at >= since]
        if held and len(held) < len(samples):
            held[0] = msgspec.structs.replace(held[0], missed=None)
        return held


def running(history: History, policy: OperationPolicy) -> NDArray[np.bool_]:
    """In which rows a machine ran and had settled, shape (N,), as `Operation` tells of the same readings."""
    condition, rows = policy.running_when, len(history)
    columns = {name: i for i, name in enumerate(history.sensors)}
    if condition is None or not condition.sensors <= columns.keys():
        return np.ones(rows, dtype=np.bool_)
    known = {name: _last_known(history.values[:, columns[name]]) for name in condition.sensors}
    there = ~np.logical_or.reduce([np.isnan(column) for column in known.values()])
    holds = np.ones(rows, dtype=np.bool_)
    with np.errstate(over="ignore", invalid="ignore"):  # as numbers of Python do
        holds[there] = condition.holds({name: column[there] for name, column in known.items()})
    starts = np.flatnonzero(holds[1:] & ~holds[:-1]) + 1
    settled = holds.copy()
    for start in starts.tolist():
        settled[start : np.searchsorted(history.at, history.at[start] + policy.settle)] = False
    return settled & holds


def _last_known(column: NDArray[np.float64]) -> NDArray[np.float64]:
    """The column with each missing value as it was last; NaN before the first."""
    places = np.where(np.isnan(column), 0, np.arange(len(column)))
    return column[np.maximum.accumulate(places)]
