"""What can be said about a history by counting, block by block: per machine and per sensor.

A history may be larger than memory. What is kept of it is little, however many rows it has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History


class Source(Protocol):
    """One machine's rows, in memory or on disk; a `Recording` is one."""

    @property
    def machine(self) -> str: ...
    @property
    def sensors(self) -> tuple[str, ...]: ...
    def blocks(self) -> Iterator[History]:
        """Its rows in order of time, in pieces; may be asked for again."""


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """A history as a source."""

    history: History

    @property
    def machine(self) -> str:
        return self.history.machine

    @property
    def sensors(self) -> tuple[str, ...]:
        return self.history.sensors

    def blocks(self) -> Iterator[History]:
        yield self.history


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """One machine's rows that are not labelled anomalous.

    Attributes:
        machine: Its name.
        rows: How many there are.
        anomalous: Rows labelled anomalous, which are left out of all else.
        start: First time, in milliseconds since the epoch; None without rows.
        end: Last time.
        interval: Median distance of two different times, in milliseconds; None with less than two.
        jitter: 95 % of the times lie so close to the middle of their slot, in milliseconds.
        same_time: Rows that have the time of another one before them.
        same_slot: Rows in the grid slot of another one before them; they are not used.
        holes: Holes longer than a window may bridge.
        longest_hole: The longest distance of two times, in milliseconds.
    """

    machine: str
    rows: int
    anomalous: int
    start: int | None
    end: int | None
    interval: float | None
    jitter: float
    same_time: int
    same_slot: int
    holes: int
    longest_hole: int


@dataclass(frozen=True, slots=True)
class SensorFacts:
    """One sensor's values in all rows that are not labelled anomalous.

    Attributes:
        sensor: Its name.
        missing: Share of the rows without a value.
        minimum: Smallest value; None, as the following three, without any.
        maximum: Largest value.
        mean: Mean value.
        std: Standard deviation.
        longest_stuck: Rows in a row with the very same value, at most.
        stuck_from: Time of the first of these rows, in milliseconds since the epoch; None without rows.
        stuck: Share of the rows within stretches of the same value that are as long as a window or longer.
    """

    sensor: str
    missing: float
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    longest_stuck: int
    stuck_from: int | None
    stuck: float

    @property
    def constant(self) -> bool:
        """Whether it has values, all the same."""
        return self.minimum is not None and self.minimum == self.maximum


class Counts:
    """How often each whole number occurred; for medians and quantiles of many numbers of few kinds."""

    def __init__(self) -> None:
        self._numbers = np.empty(0, np.int64)
        self._times = np.empty(0, np.int64)

    def add(self, numbers: NDArray[np.int64]) -> None:
        self._add(*np.unique(numbers, return_counts=True))

    def merge(self, other: Counts) -> None:
        self._add(other._numbers, other._times)

    def _add(self, numbers: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        every = np.concatenate([self._numbers, numbers])
        self._numbers, which = np.unique(every, return_inverse=True)
        self._times = np.bincount(which, np.concatenate([self._times, times])).astype(np.int64)

    def quantile(self, share: float) -> float | None:
        """As `numpy.quantile` of all numbers; None without any."""
        if not len(self._numbers):
            return None
        ends = np.cumsum(self._times)
        place = share * (int(ends[-1]) - 1)
        low, high = (
            self._numbers[np.searchsorted(ends, int(rank), side="right")]
            for rank in (np.floor(place), np.ceil(place))
        )
        return float(low + (high - low) * (place - np.floor(place)))


class TimesTally:
    """The times of one machine's rows, which need no grid to be counted.

    Attributes:
        rows: How many rows there were.
        start, end: First and last time; None without rows.
        steps: Distances of times that differ.
        same_time, longest_hole: See `MachineFacts`.
    """

    def __init__(self) -> None:
        self.rows = self.same_time = self.longest_hole = 0
        self.start: int | None = None
        self.end: int | None = None
        self.steps = Counts()

    def add(self, at: NDArray[np.int64]) -> None:
        """Takes the times of the next rows."""
        if not len(at):
            return
        steps = np.diff(at, prepend=at[0] if self.end is None else self.end)
        if self.start is None:
            self.start, steps = int(at[0]), steps[1:]
        self.end = int(at[-1])
        self.rows += len(at)
        self.same_time += int((steps == 0).sum())
        self.longest_hole = max(self.longest_hole, int(steps.max(initial=0)))
        self.steps.add(steps[steps > 0])


class SlotsTally:
    """How the times of one machine's rows lie on its grid.

    Attributes:
        same_slot, holes: See `MachineFacts`.
        off: Distances from the middle of the slot.
    """

    def __init__(self, grid: Grid, max_gap: int) -> None:
        """Starts with the first row; `grid` is the machine's own."""
        self.same_slot = self.holes = 0
        self.off = Counts()
        self._grid, self._bridged = grid, max_gap + 1
        self._newest: int | None = None

    def add(self, at: NDArray[np.int64]) -> None:
        """Takes the times of the next rows."""
        if not len(at):
            return
        slots = self._grid.slots(at)
        self.off.add(np.abs(at - slots * self._grid.interval - self._grid.phase))
        steps = np.diff(slots) if self._newest is None else np.diff(slots, prepend=self._newest)
        self.same_slot += int((steps == 0).sum())
        self.holes += int((steps > self._bridged).sum())
        self._newest = int(slots[-1])


class ColumnTally:
    """The values of one sensor of one machine.

    Attributes:
        rows: How many rows there were.
        count: Values that were there.
        minimum, maximum: Of them; infinite without any.
        first: The first of them; None without any.
        first_at: Number of its row.
        changed_at: Number of the first row with another value than `first`; None: there is none.
        longest, longest_from: See `SensorFacts`.
    """

    def __init__(self, window: int) -> None:
        """Starts with the first row; a stretch of `window` rows is as long as a window."""
        self.rows = self.count = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self.first: float | None = None
        self.first_at = 0
        self.changed_at: int | None = None
        self.longest, self.longest_from = 0, 0
        self._mean = self._squares = 0.0
        self._window = window
        self._run, self._run_from = 0, 0  # rows of the stretch that may go on, and when it began
        self._newest = np.nan
        self._stuck = 0

    def add(self, values: NDArray[np.float64], at: NDArray[np.int64]) -> None:
        """Takes the next values, NaN where one is missing, and their times."""
        if not len(values):
            return
        there = values[~np.isnan(values)]
        if len(there):
            self._find_first(values, there)
            self._spread(there)
        self._find_stretches(values, at)
        self.rows += len(values)

    @property
    def stuck(self) -> int:
        """Rows within stretches of the same value as long as a window."""
        return self._stuck + (self._run if self._run >= self._window else 0)

    @property
    def moments(self) -> tuple[int, float, float]:
        """Number, mean and sum of squared distances from it."""
        return self.count, self._mean, self._squares

    def _find_first(self, values: NDArray[np.float64], there: NDArray[np.float64]) -> None:
        if self.first is None:
            self.first, self.first_at = float(there[0]), self.rows + int((~np.isnan(values)).argmax())
        if self.changed_at is None:
            other = (values != self.first) & ~np.isnan(values)
            if other.any():
                self.changed_at = self.rows + int(other.argmax())

    def _spread(self, there: NDArray[np.float64]) -> None:
        """Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for variances (1979)."""
        self.minimum, self.maximum = min(self.minimum, there.min()), max(self.maximum, there.max())
        with np.errstate(over="ignore", invalid="ignore"):  # a huge value is found by its size
            more, mean = len(there), there.mean()
            whole, apart = self.count + more, mean - self._mean
            self._squares += float(np.square(there - mean).sum() + apart**2 * self.count * more / whole)
            self._mean += float(apart * more / whole)
        self.count = whole

    def _find_stretches(self, values: NDArray[np.float64], at: NDArray[np.int64]) -> None:
        """NaN equals nothing, not even NaN."""
        ends = np.concatenate([np.flatnonzero(values[1:] != values[:-1]), [len(values) - 1]])
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths, begun = ends - starts + 1, at[starts]
        if values[0] == self._newest:
            lengths[0] += self._run
            begun[0] = self._run_from
        elif self._run >= self._window:
            self._stuck += self._run
        finished = lengths[:-1]
        self._stuck += int(finished[finished >= self._window].sum())
        longest = int(lengths.argmax())
        if lengths[longest] > self.longest:
            self.longest, self.longest_from = int(lengths[longest]), int(begun[longest])
        self._run, self._run_from, self._newest = int(lengths[-1]), int(begun[-1]), float(values[-1])


def sensor_facts(sensor: str, columns: Sequence[ColumnTally]) -> SensorFacts:
    """One sensor of all machines."""
    rows = sum(column.rows for column in columns)
    valued = [column for column in columns if column.count]
    count = sum(column.count for column in valued)
    longest = max(columns, key=lambda column: column.longest, default=None)
    mean = std = None
    if count:
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(sum(n * m for n, m, _ in (column.moments for column in valued)) / count)
            squares = sum(s + n * np.square(m - mean) for n, m, s in (column.moments for column in valued))
            std = float(np.sqrt(squares / count))
    return SensorFacts(
        sensor=sensor,
        missing=1 - count / rows if rows else 1.0,
        minimum=float(min(column.minimum for column in valued)) if valued else None,
        maximum=float(max(column.maximum for column in valued)) if valued else None,
        mean=mean,
        std=std,
        longest_stuck=longest.longest if longest else 0,
        stuck_from=longest.longest_from if longest and longest.longest else None,
        stuck=sum(column.stuck for column in columns) / rows if rows else 0.0,
    )
