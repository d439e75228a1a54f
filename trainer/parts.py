"""A history is split by time: rows to fit on, to stop early by, to calibrate on, and for the gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from detector.grid import Grid
from detector.history import History, segments_on, window_starts
from trainer.facts import Counts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from detector.manifest import WindowSpec

VALIDATION_SHARE = 0.2  # of the rows that are not held back; the last ones, as drift comes last
GATE_SHARE = 1 / 3  # of the rows that are held back; again the last ones
LEAST_FOR_GATE = 100  # windows of either part: fewer cannot tell retrain.gate.max_alert_rate's 1 % from none


@dataclass(frozen=True, slots=True)
class Parts:
    """Stretches of each machine's rows, each of them in order of time.

    Attributes:
        fit: Rows on which it is tried out how long to fit.
        validation: Rows by which that is judged.
        calibration: Rows held back for the threshold.
        gate: Rows held back for the gate; those of `calibration` where there are too few for both.
        vouched: Rows that somebody called normal, over which the threshold has to rise; the other parts
            hold them as well.
        lately: The newest rows, whatever was said of them; they may be in other parts as well.
        alarmed: The share of `lately` that was in alert.
    """

    fit: tuple[History, ...]
    validation: tuple[History, ...]
    calibration: tuple[History, ...]
    gate: tuple[History, ...]
    vouched: tuple[History, ...] = ()
    lately: tuple[History, ...] = ()
    alarmed: float = 0.0

    @property
    def gate_apart(self) -> bool:
        """Whether nothing was learned from the rows of `gate`."""
        return self.gate is not self.calibration

    @property
    def not_held_back(self) -> tuple[History, ...]:
        """The rows of `fit` and `validation`, on which the model is fitted in the end, in order of time."""
        return tuple(map(in_order, self.fit, self.validation))

    @property
    def normal(self) -> tuple[History, ...]:
        """The rows of all parts, in order of time."""
        held_back = self.calibration
        if self.gate_apart:
            held_back = tuple(map(in_order, self.calibration, self.gate))
        return tuple(map(in_order, self.not_held_back, held_back))


def split(histories: Sequence[History], calibration_share: float) -> Parts:
    """Splits each machine's rows by time; a part of a short history may be empty.

    What is held back serves threshold and gate, until `with_gate_apart`.
    """
    fit, validation, calibration = [], [], []
    for history in histories:
        fitted, used = cuts(len(history), calibration_share)
        fit.append(history.rows(slice(0, fitted)))
        validation.append(history.rows(slice(fitted, used)))
        calibration.append(history.rows(slice(used, None)))
    held_back = tuple(calibration)
    return Parts(tuple(fit), tuple(validation), held_back, held_back)


def cuts(rows: int, calibration_share: float) -> tuple[int, int]:
    """Where in so many rows the validation rows begin, and where those that are held back."""
    used = rows - round(rows * calibration_share)
    return used - round(used * VALIDATION_SHARE), used


def with_gate_apart(parts: Parts, grid: Grid, spec: WindowSpec, counters: Collection[str] = ()) -> Parts:
    """Keeps the last held-back rows for the gate alone, where enough windows are left on both sides."""
    cuts = [len(history) - round(len(history) * GATE_SHARE) for history in parts.calibration]
    pairs = list(zip(parts.calibration, cuts, strict=True))
    calibration = tuple(history.rows(slice(0, cut)) for history, cut in pairs)
    gate = tuple(history.rows(slice(cut, None)) for history, cut in pairs)
    if min(count_windows(part, grid, spec, counters)[1] for part in (calibration, gate)) < LEAST_FOR_GATE:
        return parts
    return replace(parts, calibration=calibration, gate=gate)


def learn_grid(histories: Sequence[History], interval: int | None) -> Grid:
    """Learns one grid for all machines: the median distance of times within a machine, one phase.

    Args:
        histories: Their rows.
        interval: The interval in milliseconds where it is known.

    Raises:
        ValueError: No machine has two different times.
    """
    if interval is None:
        steps = Counts()
        for history in histories:
            distances = np.diff(history.at)
            steps.add(distances[distances > 0])
        interval = interval_of(steps)
    phase = Phase(interval)
    for history in histories:
        phase.add(history.at)
    return phase.grid()


def interval_of(steps: Counts) -> int:
    """The median of distances of times, in milliseconds.

    Raises:
        ValueError: There is none.
    """
    median = steps.quantile(0.5)
    if median is None:
        raise ValueError("interval: needs two different times to be learned")
    return max(1, round(median))


class Phase:
    """Learns where in the interval the times lie, block by block: their circular mean, as `Grid.learn`."""

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._sum = 0j

    def add(self, at: NDArray[np.int64]) -> None:
        """Takes the next times."""
        self._sum += complex(np.exp((at % self._interval) * (2j * np.pi / self._interval)).sum())

    def grid(self) -> Grid:
        """The grid of the times so far."""
        turns = float(np.angle(self._sum)) / (2 * np.pi)
        return Grid(self._interval, round(turns * self._interval) % self._interval)


def count_windows(
    histories: Sequence[History], grid: Grid, spec: WindowSpec, counters: Collection[str] = ()
) -> tuple[int, int]:
    """Counts the windows that the daemon would see, and those of them with enough values to be scored."""
    counts = []
    for history in histories:
        counter = WindowCounter(grid, spec, counters)
        counter.add(history)
        counts.append((counter.ending, counter.scorable))
    return sum(ending for ending, _ in counts), sum(scorable for _, scorable in counts)


class WindowCounter:
    """Counts the windows of one machine, block by block.

    Attributes:
        ending: Windows that the daemon would see.
        scorable: Those of them with enough values to be scored.
    """

    def __init__(self, grid: Grid, spec: WindowSpec, counters: Collection[str] = ()) -> None:
        self.ending = self.scorable = 0
        self._grid, self._spec, self._counters = grid, spec, counters
        self._of_machine: Grid | None = None  # until the first row
        self._tail: History | None = None  # rows that windows of the next block may begin in

    def add(self, block: History) -> None:
        """Takes the next rows."""
        if not len(block):
            return
        grid = self._of_machine = self._of_machine or self._grid.of_machine(int(block.at[0]))
        newest = None
        if self._tail is not None:
            newest = grid.slot(int(self._tail.at[-1]))
            block = joined(self._tail, block)
        for segment in segments_on(block, grid, self._spec.max_gap, self._counters):
            starts, coverage = window_starts(segment, self._spec)
            if newest is not None:
                new = segment.slots[starts + self._spec.length - 1] > newest
                coverage = coverage[new]
            self.ending += len(coverage)
            self.scorable += int(self._spec.scorable(coverage).sum())
        # A window may begin in a hole, whose length the row before it tells.
        reach = grid.slot(int(block.at[-1])) - self._spec.length - self._spec.max_gap
        self._tail = block.rows(slice(int(np.searchsorted(grid.slots(block.at), reach)), None))


def in_order(first: History, second: History) -> History:
    """The rows of a machine and others of it, in order of time."""
    both = joined(first, second)
    if not len(first) or not len(second) or first.at[-1] < second.at[0]:
        return both
    return both.rows(np.argsort(both.at, kind="stable"))


def joined(first: History, second: History) -> History:
    """The rows of a machine, and then later ones of the same sensors."""
    label = None
    if first.label is not None and second.label is not None:
        label = np.concatenate([first.label, second.label])
    return replace(
        first,
        at=np.concatenate([first.at, second.at]),
        values=np.concatenate([first.values, second.values]),
        label=label,
    )
