"""Recorded readings of one machine, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from detector.channels import increase

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.manifest import WindowSpec

NORMAL, ANOMALOUS, UNKNOWN = 0, 1, -1


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Recorded readings of one machine in ascending order of time.

    Attributes:
        machine: The machine's name.
        sensors: Names of the F sensors.
        at: Times in milliseconds since the epoch, ascending, shape (N,), int64.
        values: Shape (N, F), float64; NaN where a value is missing.
        label: 0 normal, 1 anomalous, -1 unknown, shape (N,), int8; None without labels.
        texts: The texts behind the numbers of categories, as far as they are known.
    """

    machine: str
    sensors: tuple[str, ...]
    at: NDArray[np.int64]
    values: NDArray[np.float64]
    label: NDArray[np.int8] | None = None
    texts: Mapping[float, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.shape != (len(self.at), len(self.sensors)):
            raise ValueError(
                f"{self.machine}: values must have shape {(len(self.at), len(self.sensors))}, "
                f"got {self.values.shape}"
            )

    def __len__(self) -> int:
        return len(self.at)

    def rows(self, keep: slice | NDArray[np.bool_] | NDArray[np.intp]) -> History:
        """The chosen rows, in the order in which they were chosen."""
        label = None if self.label is None else self.label[keep]
        return replace(self, at=self.at[keep], values=self.values[keep], label=label)

    def select(self, sensors: tuple[str, ...]) -> History:
        """The chosen sensors in the given order; a sensor that was not recorded is all NaN."""
        if sensors == self.sensors:
            return self
        column = {name: i for i, name in enumerate(self.sensors)}
        values = np.full((len(self), len(sensors)), np.nan)
        for i, name in enumerate(sensors):
            if name in column:
                values[:, i] = self.values[:, column[name]]
        return replace(self, sensors=sensors, values=values)

    def normal(self) -> History:
        """The rows that are not labelled anomalous."""
        return self if self.label is None else self.rows(self.label != ANOMALOUS)


def merged(history: History, grid: Grid) -> History:
    """Makes one row of all rows in a slot: of each sensor the earliest value, as `Sampler` does.

    For stored readings, which may hold only some of the sensors each; a row's time is the first one's.
    """
    own = _own(history, grid).slots(history.at)
    slots, first, row = np.unique(own, return_index=True, return_inverse=True)
    values = np.full((len(slots), len(history.sensors)), np.nan)
    for column in range(values.shape[1]):
        there = np.flatnonzero(~np.isnan(history.values[:, column]))
        rows, earliest = np.unique(row[there], return_index=True)
        values[rows, column] = history.values[there[earliest], column]
    label = None if history.label is None else history.label[first]
    return replace(history, at=history.at[first], values=values, label=label)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A stretch of samples without a hole longer than a window may bridge.

    Attributes:
        slots: Consecutive grid slots, shape (N,), int64.
        values: Shape (N, F), float64; a slot without a reading is a row of NaN; of a counter, what it
            grew by since the slot before.
        read: Whether a reading filled the slot, shape (N,), bool.
    """

    slots: NDArray[np.int64]
    values: NDArray[np.float64]
    read: NDArray[np.bool_]


def segments(history: History, grid: Grid, max_gap: int, counters: Collection[str] = ()) -> Iterator[Segment]:
    """Puts a history on the grid, exactly as `Sampler` does with the same rows one by one.

    The first row of a slot counts; holes of up to `max_gap` slots become rows of NaN.
    """
    yield from segments_on(history, _own(history, grid), max_gap, counters)


def segments_on(
    history: History, grid: Grid, max_gap: int, counters: Collection[str] = ()
) -> Iterator[Segment]:
    """The same for a machine whose own grid is known; a piece of its history then lies as the whole does."""
    slots, first = np.unique(grid.slots(history.at), return_index=True)
    values = history.values[first]
    counted = [i for i, name in enumerate(history.sensors) if name in counters]
    if counted:
        shown = values[:, counted]
        values[:, counted] = np.nan
        adjoins = np.flatnonzero(np.diff(slots) == 1) + 1
        values[adjoins[:, None], counted] = increase(shown[adjoins], shown[adjoins - 1])
    cuts = np.flatnonzero(np.diff(slots) > max_gap + 1) + 1
    for start, stop in zip([0, *cuts], [*cuts, len(slots)], strict=True):
        if start == stop:
            continue
        index = slots[start:stop] - slots[start]
        rows = np.full((int(index[-1]) + 1, values.shape[1]), np.nan)
        rows[index] = values[start:stop]
        read = np.zeros(len(rows), dtype=np.bool_)
        read[index] = True
        yield Segment(np.arange(slots[start], slots[stop - 1] + 1), rows, read)


def _own(history: History, grid: Grid) -> Grid:
    return grid.of_machine(int(history.at[0])) if len(history) else grid


def window_starts(segment: Segment, spec: WindowSpec) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The first rows of the windows that the daemon would look at in a segment, and their coverage.

    A window ends at a slot that holds a reading and whose number is a multiple of the stride.

    Returns:
        Both of shape (N,); coverage is the share of values that are there.
    """
    length = spec.length
    if len(segment.slots) < length:
        return np.empty(0, np.intp), np.empty(0)
    ends = segment.read[length - 1 :] & (segment.slots[length - 1 :] % spec.stride == 0)
    there = np.cumsum(np.concatenate([[0], (~np.isnan(segment.values)).sum(axis=1)]))
    coverage = (there[length:] - there[:-length]) / (length * segment.values.shape[1])
    return np.flatnonzero(ends), coverage[ends]


def windows(segment: Segment, spec: WindowSpec) -> NDArray[np.float64]:
    """The windows that the daemon would look at in a segment, shape (N, T, F); NaN may occur."""
    starts, _ = window_starts(segment, spec)
    if not len(starts):
        return np.empty((0, spec.length, segment.values.shape[1]))
    # sliding_window_view appends the window axis last: (N, F, T)
    ending: NDArray[np.float64] = sliding_window_view(segment.values, spec.length, axis=0)[starts]
    return ending.transpose(0, 2, 1)
