"""Whether a machine's sensors can be believed: one that is stuck, silent or out of range cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf, isinf, isnan, nan
from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np

from detector.stretches import LOWEST, STRETCH, Groups, count, nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.manifest import Manifest
    from detector.stretches import Counted


class Health(StrEnum):
    """How a sensor is."""

    OK = "ok"
    STUCK = "stuck"  # it shows the same value for longer than it may
    SILENT = "silent"  # it shows no value for longer than it may, while its machine sends
    OUT_OF_RANGE = "out_of_range"  # it shows what it cannot


CODES = {health: code for code, health in enumerate(Health)}
HEALTHS = tuple(Health)
LIE = frozenset({Health.STUCK, Health.OUT_OF_RANGE})  # of those that are so; who is silent says nothing
Learned = Literal["auto"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthPolicy:
    """When a sensor is not healthy, and what becomes of its values then.

    Attributes:
        stuck_after: Milliseconds without a change; `auto`: learned from the history; None: never.
        silent_after: Milliseconds without a value; the same.
        limits: What sensors can show, lowest and highest value.
        ignored: Sensors that are not watched.
        leave_out: Whether the values of sensors that are stuck or out of range count as missing.
    """

    stuck_after: int | Learned | None = "auto"
    silent_after: int | Learned | None = "auto"
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    leave_out: bool = True


NEVER = 2**31 - 1
# Times the longest stretch of the history. In 535 weeks of healthy sensors of recorded machines, 112 were
# called stuck at 2, 37 at 3 and 3 at 5 (`python -m bench.stuck`).
MARGIN = 5
LEAST = 10  # samples: where none was ever the same twice, chance and rounding must still have room
CHANGES = 100  # of a value that a history must show to tell how long its stretches get


class Bounds:
    """How long each of F sensors may stand still or be away, in samples, and what it can show.

    Attributes:
        same: Samples in a row with the same value, shape (F,).
        absent: Samples in a row without a value, shape (F,).
        low, high: The range, shapes (F,); infinite where there is none.
        ranged: Whether any sensor has a range.
        watches: Whether there is anything that can be found.
    """

    def __init__(self, manifest: Manifest, policy: HealthPolicy) -> None:
        kinds = [manifest.channels.get(name) for name in manifest.sensors]
        watched = np.array([name not in policy.ignored for name in manifest.sensors])
        measured = np.array([kind is None for kind in kinds])
        stretches, interval = manifest.stretches, manifest.grid.interval
        self.same = np.full(len(kinds), NEVER)
        self.absent = np.full(len(kinds), NEVER)
        if stretches is not None:
            tells = np.array(stretches.changes) >= CHANGES
            self.same[tells] = MARGIN * np.array(stretches.same)[tells]
            self.absent = MARGIN * np.array(stretches.absent)
            measured &= tells
        self.same = _bound(self.same, policy.stuck_after, interval, watched & measured)
        self.absent = _bound(self.absent, policy.silent_after, interval, watched)
        ranges = [
            policy.limits.get(name, (-inf, inf)) if kind is None or kind.kind == "angle" else (-inf, inf)
            for name, kind in zip(manifest.sensors, kinds, strict=True)
        ]
        self.low, self.high = np.where(watched[:, None], ranges, (-inf, inf)).T
        self.ranged = bool((self.low > -inf).any() or (self.high < inf).any())
        self.watches = self.ranged or bool((np.minimum(self.same, self.absent) < NEVER).any())

    def limit(self, column: int, health: Health) -> tuple[float | None, ...]:
        """What is allowed to a sensor that is so: so many samples, or lowest and highest value."""
        if health is Health.OK:
            return ()
        if health is Health.OUT_OF_RANGE:
            return tuple(None if isinf(end[column]) else float(end[column]) for end in (self.low, self.high))
        return (int((self.same if health is Health.STUCK else self.absent)[column]),)


def _bound(
    learned: NDArray[np.int64], wished: int | Learned | None, interval: int, concerned: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Bounds in samples, never below `LEAST` where they are learned."""
    if wished is None:
        return np.full(len(learned), NEVER)
    bound = np.maximum(learned, LEAST) if wished == "auto" else np.full(len(learned), -(-wished // interval))
    return np.where(concerned, np.minimum(bound, NEVER), NEVER)


class Change(msgspec.Struct, frozen=True, gc=False):
    """A sensor is not as it was.

    Attributes:
        column: Its place among the sensors.
        was: Its health before.
        health: Its health now.
        value: What it has shown last; NaN before the first value.
        samples: Samples in a row with that value, or without one where it is silent.
    """

    column: int
    was: Health
    health: Health
    value: float
    samples: int


class SensorState(msgspec.Struct, frozen=True, gc=False):
    """A sensor that is not healthy; `since` when it is not, in milliseconds since the epoch."""

    sensor: str
    health: Health
    since: int


class Noted(msgspec.Struct, frozen=True, gc=False):
    """What another bundle must know of a sensor that is not healthy, or was not a window ago.

    Attributes:
        left_out: Newest slot at which its values counted as missing; None where they never did.
        value: What it has shown last; None where that is nothing.
        same: Samples in a row with that value.
        absent: Samples since then.
        ailed: Newest slot at which something ailed it; None where nothing did.
    """

    left_out: int | None
    value: float | None
    same: int
    absent: int
    ailed: int | None = None


LONG_AGO = -(1 << 48)  # a slot before any window


class Watch:
    """The health of the sensors of many machines, whose samples it takes as they come.

    What ails a sensor is told at once. It is healthy again once nothing has ailed it for the length of a
    window, which is when all its values count again: one that crosses its limit each second is told once.

    Attributes:
        changes: By the number of a sample, what it changed; until `forget`.
        left_out: By the number of a sample, which values count as missing in the window that ends with
            it, shape (F,): those of sensors that were not healthy at any of its samples.
    """

    def __init__(self, manifest: Manifest, policy: HealthPolicy) -> None:
        self._bounds = Bounds(manifest, policy)
        self._length = manifest.window.length
        self._width = len(manifest.sensors)
        self._leaves_out = np.array([policy.leave_out and health in LIE for health in Health])
        self._stretches = nothing(0, self._width)
        self._told = np.zeros((0, self._width), np.int8)  # the health, as a code
        self._ailed = np.zeros((0, self._width), np.int64)  # newest slot at which anything ailed it
        self._last = np.zeros((0, self._width), np.int64)  # newest slot at which values were left out
        self._concerned: set[int] = set()  # places with a sensor that is not healthy, or was a window ago
        self.watches = self._bounds.watches
        self.changes: dict[int, list[Change]] = {}
        self.left_out: dict[int, NDArray[np.bool_]] = {}

    def grow(self, places: int) -> None:
        """Makes room for so many machines more."""
        self._stretches = np.concatenate([self._stretches, nothing(places, self._width)])
        self._told = np.concatenate([self._told, np.zeros((places, self._width), np.int8)])
        self._ailed = np.concatenate([self._ailed, np.full((places, self._width), LONG_AGO)])
        self._last = np.concatenate([self._last, np.full((places, self._width), LONG_AGO)])

    def join(self, place: int) -> None:
        """Starts anew with the sensors of a machine."""
        self._stretches[place] = nothing(self._width)
        self._told[place], self._ailed[place], self._last[place] = 0, LONG_AGO, LONG_AGO
        self._concerned.discard(place)

    def follow(
        self, samples: NDArray[np.float64], places: NDArray[np.intp], slots: Sequence[int], number: int
    ) -> None:
        """Takes samples in order of arrival.

        Args:
            samples: Shape (N, F), NaN where a value is missing; of counters the increase.
            places: Whose they are, shape (N,).
            slots: Their slots.
            number: The number of the first of them.
        """
        order = None
        if len(places) > 1 and (places != places[0]).any():
            order = np.argsort(places, kind="stable")
            samples, places = samples[order], places[order]
        groups = Groups.of_equal(places)
        machines = places[groups.starts]
        found = count(samples, groups, self._stretches[machines])
        self._stretches[machines] = found.after
        codes = self._codes(found)
        if codes is not None or not self._concerned.isdisjoint(machines.tolist()):
            if codes is None:
                codes = np.zeros(samples.shape, np.int8)
            if order is None:
                order = np.arange(len(samples))
            in_order = np.array(slots)[order][:, None]
            self._judge(codes, found, groups, machines, in_order, (order + number).tolist())

    def _codes(self, found: Counted) -> NDArray[np.int8] | None:
        """What ails each sensor at each sample, shape (N, F); None where nothing does."""
        bounds = self._bounds
        stuck = found.same > bounds.same
        silent = None if found.absent is None else found.absent > bounds.absent
        out = (found.shown < bounds.low) | (found.shown > bounds.high) if bounds.ranged else None
        if not (stuck.any() or (silent is not None and silent.any()) or (out is not None and out.any())):
            return None
        codes = np.where(stuck, CODES[Health.STUCK], 0).astype(np.int8)
        if out is not None:
            codes[out] = CODES[Health.OUT_OF_RANGE]
        if silent is not None:
            codes[silent] = CODES[Health.SILENT]
        return codes

    def _judge(
        self,
        codes: NDArray[np.int8],
        found: Counted,
        groups: Groups,
        machines: NDArray[np.intp],
        slots: NDArray[np.int64],
        numbers: list[int],
    ) -> None:
        """Notes what has changed, and what counts as missing."""
        told = self._held(codes, groups, machines, slots)
        before = groups.before(told, self._told[machines])
        for row, column in np.argwhere(told != before).tolist():
            health = HEALTHS[told[row, column]]
            counts = found.absent if health is Health.SILENT else found.same
            assert counts is not None
            change = Change(
                column,
                HEALTHS[before[row, column]],
                health,
                float(found.shown[row, column]),
                int(counts[row, column]),
            )
            self.changes.setdefault(numbers[row], []).append(change)
        marks = np.where(self._leaves_out[codes], slots, LOWEST)
        marks[groups.starts] = np.maximum(marks[groups.starts], self._last[machines])
        last = groups.largest(marks)
        missing = slots - last < self._length
        for row in np.flatnonzero(missing.any(axis=1)).tolist():
            self.left_out[numbers[row]] = missing[row]
        self._told[machines], self._last[machines] = told[groups.ends], last[groups.ends]
        ongoing = (told[groups.ends] != 0).any(axis=1) | missing[groups.ends].any(axis=1)
        for place, goes_on in zip(machines.tolist(), ongoing.tolist(), strict=True):
            (self._concerned.add if goes_on else self._concerned.discard)(place)

    def _held(
        self,
        codes: NDArray[np.int8],
        groups: Groups,
        machines: NDArray[np.intp],
        slots: NDArray[np.int64],
    ) -> NDArray[np.int8]:
        """The health to tell, shape (N, F): what ails a sensor, and for a window's length what last did."""
        rows = np.arange(len(codes))[:, None]
        marks = np.where(codes != 0, rows, LOWEST)
        marks[groups.starts] = np.maximum(marks[groups.starts], -1)
        newest = groups.largest(marks)  # -1: it was before these samples
        row = np.maximum(newest, 0)
        here, group = newest >= 0, groups.of[:, 0]
        ailed = np.where(here, slots[row, 0], self._ailed[machines][group])
        last = np.where(here, np.take_along_axis(codes, row, axis=0), self._told[machines][group])
        self._ailed[machines] = ailed[groups.ends]
        return np.where(slots - ailed < self._length, last, 0).astype(np.int8)

    def forget(self) -> None:
        """Ends a batch: numbers start anew."""
        self.changes.clear()
        self.left_out.clear()

    def limit(self, column: int, health: Health) -> tuple[float | None, ...]:
        """See `Bounds.limit`."""
        return self._bounds.limit(column, health)

    def stretches(self, place: int) -> bytes:
        """The stretches of a machine's sensors, as they are stored."""
        return self._stretches[place].tobytes() if self.watches else b""

    def noted(self, place: int) -> dict[int, Noted]:
        """What is to be known of each sensor that is not healthy or was not a window ago, by its place."""
        if place not in self._concerned:
            return {}
        noted = {}
        for column in np.flatnonzero((self._told[place] != 0) | (self._last[place] > LONG_AGO)).tolist():
            value, same, absent = self._stretches[place, column].tolist()
            left_out, ailed = (
                None if slot == LONG_AGO else int(slot)
                for slot in (self._last[place, column], self._ailed[place, column])
            )
            noted[column] = Noted(left_out, None if isnan(value) else value, same, absent, ailed)
        return noted

    def restore(
        self, place: int, stretches: bytes, noted: Mapping[int, Noted], told: Mapping[int, Health]
    ) -> None:
        """Takes up a machine's sensors.

        Args:
            place: The machine's, which has just joined.
            stretches: All of them; nothing where another bundle has left them, or an older version.
            noted: Of some sensors, by their place.
            told: The health of those that are not healthy, by their place.
        """
        if not self.watches:
            return
        if len(stretches) == self._width * STRETCH.itemsize:
            self._stretches[place] = np.frombuffer(stretches, STRETCH)
        for column, one in noted.items():
            value = nan if one.value is None else one.value
            self._stretches[place, column] = (value, one.same, one.absent)
            self._last[place, column] = LONG_AGO if one.left_out is None else one.left_out
            self._ailed[place, column] = LONG_AGO if one.ailed is None else one.ailed
        for column, health in told.items():
            self._told[place, column] = CODES[health]
        if noted or told:
            self._concerned.add(place)
