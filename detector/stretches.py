"""How long sensors have shown the same value, or none: counted in samples, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of each sensor: the newest value that was there (NaN before the first one), how many samples in a row have
# shown it (those without a value are passed over), and how many samples since then had no value.
STRETCH = np.dtype([("value", "f8"), ("same", "i4"), ("absent", "i4")])
APART = 1 << 50  # keeps the counts of one group below those of the next one
LOWEST = -(1 << 62)


def nothing(*shape: int) -> NDArray[np.void]:
    """The stretches of sensors that have shown nothing yet."""
    stretches = np.zeros(shape, STRETCH)
    stretches["value"] = np.nan
    return stretches


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Rows that lie group by group, each group in order of time.

    Attributes:
        starts: The first row of each of G groups, ascending from 0, shape (G,).
        ends: The last row of each group, shape (G,).
    """

    starts: NDArray[np.intp]
    ends: NDArray[np.intp]

    @classmethod
    def starting(cls, starts: NDArray[np.intp], rows: int) -> Groups:
        """Groups of `rows` rows, each of at least one."""
        ends = np.empty_like(starts)
        ends[:-1], ends[-1] = starts[1:] - 1, rows - 1
        return cls(starts, ends)

    @classmethod
    def of_equal(cls, numbers: NDArray[np.intp]) -> Groups:
        """Rows of equal numbers, which lie together, shape (N,)."""
        if numbers[0] == numbers[-1]:
            return cls.starting(np.zeros(1, np.intp), len(numbers))
        new = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        return cls.starting(np.concatenate([[0], new]), len(numbers))

    @property
    def of(self) -> NDArray[np.intp]:
        """The group of each row, shape (N, 1)."""
        return np.repeat(np.arange(len(self.starts)), self.ends - self.starts + 1)[:, None]

    def before(self, rows: NDArray, first: NDArray) -> NDArray:  # type: ignore[type-arg]
        """The row before each one, shape (N, F); of the first row of each group that of `first`, (G, F)."""
        shifted = np.empty_like(rows)
        shifted[1:] = rows[:-1]
        shifted[self.starts] = first
        return shifted

    def largest(self, marks: NDArray[np.int64]) -> NDArray[np.int64]:
        """The largest of each row and those before it in its group, shape (N, F).

        Args:
            marks: Above -`APART` / 2 in the first row of a group, below `APART` / 2 anywhere.
        """
        apart = self.of * APART
        largest: NDArray[np.int64] = np.maximum.accumulate(marks + apart, axis=0) - apart
        return largest


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What `count` finds of N rows.

    Attributes:
        shown: The newest value that was there, shape (N, F); NaN before the first one.
        same: Samples in a row that have shown it, shape (N, F).
        absent: Samples since then, shape (N, F); None where all values are there.
        after: The stretches at the end of each group, shape (G, F).
    """

    shown: NDArray[np.float64]
    same: NDArray[np.int64]
    absent: NDArray[np.int64] | None
    after: NDArray[np.void]


def count(values: NDArray[np.float64], groups: Groups, before: NDArray[np.void]) -> Counted:
    """Counts on through samples, shape (N, F), NaN where a value is missing.

    Args:
        values: The samples.
        groups: Whose they are.
        before: The stretches of each group before its first sample, shape (G, F).
    """
    there = None if np.isfinite(values.sum()) else ~np.isnan(values)
    if there is None or there.all():
        shown, absent, seen, there = values, None, None, None
    else:
        rows = np.arange(1, len(values) + 1)[:, None]
        absent = _absent(there, rows, groups, before["absent"])
        shown = _carried(values, rows - absent, groups, before["value"])
        seen = there.cumsum(axis=0)
    changed = shown != groups.before(shown, before["value"])
    if there is not None:
        changed &= there
    same = _same(changed, seen, there, groups, before["same"])
    after = np.empty(before.shape, STRETCH)
    after["value"], after["same"] = shown[groups.ends], same[groups.ends]
    after["absent"] = 0 if absent is None else absent[groups.ends]
    return Counted(shown, same, absent, after)


def _absent(
    there: NDArray[np.bool_], rows: NDArray[np.intp], groups: Groups, before: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Samples since the newest value that was there; `rows` counts from 1."""
    starts = groups.starts
    marks = np.where(there, rows, LOWEST)
    marks[starts] = np.where(there[starts], rows[starts], starts[:, None] - before)
    absent: NDArray[np.int64] = rows - groups.largest(marks)
    return absent


def _carried(
    values: NDArray[np.float64], newest: NDArray[np.int64], groups: Groups, before: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The values of the rows `newest`, which count from 1, or what was shown before the group began."""
    inside = newest > groups.starts[groups.of]
    at_hand = np.take_along_axis(values, np.maximum(newest - 1, 0), axis=0)
    return np.where(inside, at_hand, before[groups.of[:, 0]])


def _same(
    changed: NDArray[np.bool_],
    seen: NDArray[np.int64] | None,
    there: NDArray[np.bool_] | None,
    groups: Groups,
    before: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Values in a row that are the same; `seen` counts those that are there, None where all are."""
    if changed.all():
        return np.ones(changed.shape, np.int64)
    starts = groups.starts
    if there is None and len(starts) == len(changed):
        return np.where(changed, 1, before + 1)
    if seen is None:
        seen = np.arange(1, len(changed) + 1)[:, None]
    marks = np.where(changed, seen, LOWEST)
    first = seen[starts]
    earlier = first - before if there is None else first + 1 - there[starts] - before
    marks[starts] = np.where(changed[starts], first, earlier)
    same: NDArray[np.int64] = seen + 1 - groups.largest(marks)
    return same
