"""What can be said about a history by counting: per machine and per sensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History


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
    """

    sensor: str
    missing: float
    minimum: float | None
    maximum: float | None
    mean: float | None
    std: float | None
    longest_stuck: int

    @property
    def constant(self) -> bool:
        """Whether it has values, all the same."""
        return self.minimum is not None and self.minimum == self.maximum


def machine_facts(history: History, grid: Grid | None, max_gap: int) -> MachineFacts:
    """Counts in one history; without a grid, what needs one is 0."""
    normal = history.normal()
    at = normal.at
    steps = np.diff(at)
    moving = steps[steps > 0]
    grid = grid.of_machine(int(at[0])) if grid and len(at) else None
    slots = grid.slots(at) if grid else np.empty(0, dtype=np.int64)
    off = np.abs(at - slots * grid.interval - grid.phase) if grid else np.zeros(1)
    return MachineFacts(
        machine=history.machine,
        rows=len(normal),
        anomalous=len(history) - len(normal),
        start=int(at[0]) if len(at) else None,
        end=int(at[-1]) if len(at) else None,
        interval=float(np.median(moving)) if len(moving) else None,
        jitter=float(np.quantile(off, 0.95)),
        same_time=int((steps == 0).sum()),
        same_slot=int((np.diff(slots) == 0).sum()),
        holes=int((np.diff(slots) > max_gap + 1).sum()),
        longest_hole=int(steps.max(initial=0)),
    )


def sensor_facts(histories: Sequence[History]) -> tuple[SensorFacts, ...]:
    """Counts in each sensor over histories that have the same sensors in the same order."""
    normal = [history.normal() for history in histories]
    return tuple(
        _sensor_facts(name, [history.values[:, i] for history in normal])
        for i, name in enumerate(histories[0].sensors)
    )


def _sensor_facts(sensor: str, columns: list[NDArray[np.float64]]) -> SensorFacts:
    cells = np.concatenate(columns)
    there = cells[~np.isnan(cells)]
    some = len(there) > 0
    with np.errstate(over="ignore"):  # a huge value is found by its size
        mean, std = (float(there.mean()), float(there.std())) if some else (None, None)
    return SensorFacts(
        sensor=sensor,
        missing=1 - len(there) / len(cells) if len(cells) else 1.0,
        minimum=float(there.min()) if some else None,
        maximum=float(there.max()) if some else None,
        mean=mean,
        std=std,
        longest_stuck=max(map(_longest_run, columns), default=0),
    )


def _longest_run(values: NDArray[np.float64]) -> int:
    """The most equal values in a row; NaN equals nothing."""
    if not len(values):
        return 0
    changes = np.flatnonzero(values[1:] != values[:-1])
    return int(np.diff(np.concatenate([[-1], changes, [len(values) - 1]])).max())
