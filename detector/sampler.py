"""Readings of one machine become samples on its grid: merged, in order, each slot once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from detector.channels import increase
from detector.reading import Dropped, Reading

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from detector.grid import Grid


class Sample(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A reading put on the grid.

    Attributes:
        slot: Its slot of the grid.
        at: The slot's time, in milliseconds since the epoch.
        values: Shape (F,), float64, NaN where missing; of a counter, what it grew by since the slot before.
        missed: Empty slots directly before it; None when it does not continue what was before
            (the first sample, or the first after a hole longer than a window may bridge).
    """

    slot: int
    at: int
    values: NDArray[np.float64]
    missed: int | None


class Layout(msgspec.Struct, frozen=True, eq=False):
    """Where the values of a reading with certain sensors belong.

    Attributes:
        columns: (column of the sample, position in the reading) of each sensor that is known.
        order: Positions in the order of the sample's columns, shape (F,), or a slice where they are in
            that order already; None unless all F are there.
    """

    columns: list[tuple[int, int]]
    order: NDArray[np.intp] | slice | None


class _Slot:
    """A slot that may still receive values.

    Of each sensor the earliest value counts. Of two values of the same time the larger does:
    any rule would do, but for one that depends on the order of arrival, which is not stored.
    """

    __slots__ = ("at", "unreported", "values")

    def __init__(self, width: int) -> None:
        self.values = np.full(width, np.nan)
        self.at: list[int | None] = [None] * width
        self.unreported = width

    def merge(self, at: int, columns: list[tuple[int, int]], values: NDArray[np.float64]) -> bool:
        """Takes over what is new; returns whether anything was."""
        changed = False
        for column, source in columns:
            known = self.at[column]
            value = float(values[source])
            if known is None:
                self.unreported -= 1
            elif not _rank(at, value) < _rank(known, float(self.values[column])):
                continue
            self.at[column] = at
            self.values[column] = value
            changed = True
        return changed


def _rank(at: int, value: float) -> tuple[bool, int, float]:
    missing = math.isnan(value)
    return missing, at, 0.0 if missing else -value


class Sampler:
    """Emits a slot as soon as all sensors have reported, or once the watermark has passed it.

    The watermark is the latest time of any accepted reading less the allowed lateness; it never
    goes back. What arrives for a slot that was emitted, or for one before it, is dropped. The
    emitted samples depend on the accepted readings alone and not on their order.
    """

    __slots__ = (
        "_before",
        "_counters",
        "_grid",
        "_lateness",
        "_latest",
        "_layout",
        "_layouts",
        "_max_gap",
        "_named",
        "_newest",
        "_open",
        "_sensors",
        "emitted",
    )

    def __init__(
        self,
        sensors: tuple[str, ...],
        grid: Grid,
        *,
        max_gap: int,
        lateness: int,
        counters: Collection[str] = (),
    ) -> None:
        """Starts empty.

        Args:
            sensors: The F sensors of a sample, in order.
            grid: The grid.
            max_gap: Empty slots in a row that a window may bridge.
            lateness: Milliseconds by which a reading may come after a later one.
            counters: Those of the sensors whose increase is wanted.
        """
        self._counters = [i for i, name in enumerate(sensors) if name in counters]
        self._before: NDArray[np.float64] | None = None  # what counters showed in the newest slot
        self._sensors = sensors
        self._grid = grid
        self._max_gap = max_gap
        self._lateness = lateness
        self._open: dict[int, _Slot] = {}
        self._latest: int | None = None
        self._layouts: dict[tuple[str, ...], Layout] = {}
        self._named: tuple[str, ...] | None = None  # the newest reading's sensors, and its layout
        self._layout = Layout([], None)
        self._newest: int | None = None  # slot of the newest sample; `emitted`, unless `settle` was called
        self.emitted: int | None = None  # the newest slot that is settled

    def feed(self, reading: Reading) -> list[Sample] | Dropped:
        """Takes one reading; returns the samples that it completes, oldest first."""
        at = reading.at
        if reading.sensors is not self._named:  # senders name the same sensors again and again
            self._named, self._layout = reading.sensors, self.layout(reading.sensors)
        layout, emitted = self._layout, self.emitted
        if not layout.columns:
            return Dropped.NO_KNOWN_SENSOR
        slot = self._grid.slot(at)
        if emitted is not None and slot <= emitted:
            return Dropped.LATE
        if layout.order is not None and not self._open and (emitted is None or slot == emitted + 1):
            # The usual case: a whole reading for the next slot, nothing pending.
            if self._latest is None or at > self._latest:
                self._latest = at
            return [self._emit(slot, reading.values[layout.order])]
        pending = self._open.get(slot)
        if pending is None:
            pending = self._open[slot] = _Slot(len(self._sensors))
        if not pending.merge(at, layout.columns, reading.values):
            return Dropped.DUPLICATE
        self._latest = at if self._latest is None else max(self._latest, at)
        return self.complete()

    def recall(self, reading: Reading) -> None:
        """Takes a stored reading without emitting anything; `settle` or `complete` follow.

        Readings come back in another order than they came in: what is emitted at once when a
        sensor reports no value could miss the value that had come before.
        """
        layout = self.layout(reading.sensors)
        if not layout.columns:
            return
        slot = self._grid.slot(reading.at)
        if slot not in self._open:
            self._open[slot] = _Slot(len(self._sensors))
        self._open[slot].merge(reading.at, layout.columns, reading.values)
        self._latest = reading.at if self._latest is None else max(self._latest, reading.at)

    def settle(self, slot: int) -> list[Sample]:
        """Settles all slots up to this one, whatever they lack; returns their samples, oldest first."""
        samples = [self._emit(old, self._open.pop(old).values) for old in sorted(self._open) if old <= slot]
        self.emitted = slot if self.emitted is None else max(slot, self.emitted)
        return samples

    def _follows(self, slot: int) -> bool:
        return self.emitted is None or slot == self.emitted + 1

    def complete(self) -> list[Sample]:
        """Emits what all sensors have reported and what the watermark has passed, oldest first."""
        if self._latest is None:
            return []
        settled = self._grid.slot(self._latest - self._lateness)  # the watermark has passed all slots before
        samples = []
        while self._open:
            slot = min(self._open)
            pending = self._open[slot]
            known_next = self._follows(slot) or slot <= settled
            if not (slot < settled or (pending.unreported == 0 and known_next)):
                break
            del self._open[slot]
            samples.append(self._emit(slot, pending.values))
        return samples

    def _emit(self, slot: int, values: NDArray[np.float64]) -> Sample:
        missed = None if self._newest is None else slot - self._newest - 1
        if missed is not None and missed > self._max_gap:
            missed = None
        self.emitted = self._newest = slot
        if self._counters:
            values = self._counted(values, adjoins=missed == 0)
        return Sample(slot, self._grid.time(slot), values, missed)

    def _counted(self, values: NDArray[np.float64], *, adjoins: bool) -> NDArray[np.float64]:
        """The values of a slot, with the increase of each counter since the slot right before."""
        shown, before = values[self._counters], self._before
        self._before = shown
        counted = values.copy()
        counted[self._counters] = increase(shown, before) if adjoins and before is not None else np.nan
        return counted

    def layout(self, sensors: tuple[str, ...]) -> Layout:
        """Where a reading's values belong."""
        layout = self._layouts.get(sensors)
        if layout is None:
            position = {name: i for i, name in enumerate(sensors)}
            columns = [(c, position[name]) for c, name in enumerate(self._sensors) if name in position]
            whole = len(columns) == len(self._sensors)
            order = [source for _, source in columns]
            same = slice(None) if order == list(range(len(sensors))) else np.array(order)
            layout = Layout(columns, same if whole else None)
            if len(self._layouts) >= MAX_LAYOUTS:
                self._layouts.clear()
            self._layouts[sensors] = layout
        return layout


MAX_LAYOUTS = 64  # combinations of sensors remembered per machine; a hostile sender could invent millions
