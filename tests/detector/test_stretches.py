"""Counting in groups, row by row, is counting one value at a time."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.stretches import Groups, count, nothing

Stretch = tuple[float, int, int]
VALUES = st.sampled_from((0.0, 0.0, 1.0, math.nan))
ROWS = st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=6)
BEFORE = st.tuples(
    st.sampled_from((0.0, 1.0, math.nan)), st.integers(0, 2**31 - 20), st.integers(0, 2**31 - 20)
)


def one_by_one(column: NDArray[np.float64], stretch: Stretch) -> list[Stretch]:
    found = []
    last, same, absent = stretch
    for value in column.tolist():
        if math.isnan(value):
            absent += 1
        else:
            same = same + 1 if value == last else 1
            last, absent = value, 0
        found.append((last, same, absent))
    return found


@settings(max_examples=500)
@given(
    machines=st.lists(st.tuples(ROWS, st.lists(BEFORE, min_size=2, max_size=2)), min_size=1, max_size=4),
    whole=st.booleans(),
)
def test_stretches_are_those_of_one_value_at_a_time(
    machines: list[tuple[list[tuple[float, float]], list[Stretch]]], *, whole: bool
) -> None:
    values = np.array([row for rows, _ in machines for row in rows])
    if whole:
        values = np.nan_to_num(values)
    before = nothing(len(machines), 2)
    for group, (_, stretches) in enumerate(machines):
        for column, stretch in enumerate(stretches):
            before[group, column] = stretch
    starts = np.cumsum([0, *(len(rows) for rows, _ in machines)])
    found = count(values, Groups.starting(starts[:-1], len(values)), before)
    assert (found.absent is None) == (not np.isnan(values).any())
    absent = np.zeros(values.shape, np.int64) if found.absent is None else found.absent
    for group, (_, stretches) in enumerate(machines):
        rows = slice(starts[group], starts[group + 1])
        for column, stretch in enumerate(stretches):
            if whole and math.isnan(stretch[0]):
                continue  # a value that never was has no count
            expected = one_by_one(values[rows, column], stretch)
            got = zip(
                found.shown[rows, column].tolist(),
                found.same[rows, column].tolist(),
                absent[rows, column].tolist(),
                strict=True,
            )
            np.testing.assert_equal(list(got), expected)
            np.testing.assert_equal(tuple(found.after[group, column].tolist()), expected[-1])
