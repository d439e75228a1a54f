from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.grid import Grid

TIMES = st.integers(-10_000, 4_300_000_000_000)  # from before the epoch to beyond year 2106


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    interval = draw(st.integers(1, 100_000))
    return Grid(interval, draw(st.integers(0, interval - 1)))


@given(grid=grids(), at=TIMES)
def test_a_time_lies_within_half_an_interval_of_its_slots_centre(grid: Grid, at: int) -> None:
    assert -grid.interval <= 2 * (at - grid.time(grid.slot(at))) <= grid.interval


@given(grid=grids(), at=TIMES)
def test_a_slots_own_time_lies_in_it(grid: Grid, at: int) -> None:
    slot = grid.slot(at)
    assert grid.slot(grid.time(slot)) == slot


@given(grid=grids(), at=st.lists(TIMES))
def test_the_slots_of_an_array_are_those_of_its_times(grid: Grid, at: list[int]) -> None:
    assert grid.slots(np.array(at, dtype=np.int64)).tolist() == [grid.slot(one) for one in at]


@given(
    grid=grids().filter(lambda grid: grid.interval >= 10),
    jitter=st.lists(st.floats(-0.2, 0.2), min_size=5, max_size=30),
)
def test_a_learned_grid_puts_jittered_times_into_slots_of_their_own(grid: Grid, jitter: list[float]) -> None:
    at = np.array([grid.time(i) + round(shift * grid.interval) for i, shift in enumerate(jitter)])
    learned = Grid.learn(at, grid.interval)
    assert np.diff(learned.slots(at)).tolist() == [1] * (len(at) - 1)


def test_the_interval_is_learned_from_the_usual_distance_and_not_from_holes_or_repeats() -> None:
    assert Grid.learn(np.array([7, 1_007, 1_007, 2_007, 9_007, 10_007])) == Grid(1_000, 7)


def test_an_interval_needs_two_different_times() -> None:
    with pytest.raises(
        ValueError, match=r"^interval: needs two different times to be learned, got 2 row\(s\)$"
    ):
        Grid.learn(np.array([5, 5]))


@pytest.mark.parametrize(
    ("interval", "phase", "message"),
    [
        (0, 0, r"^grid\.interval: must be at least 1 ms, got 0$"),
        (10, 10, r"^grid\.phase: must lie within the interval, got 10$"),
        (10, -1, r"^grid\.phase: must lie within the interval, got -1$"),
    ],
)
def test_a_grid_checks_itself(interval: int, phase: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Grid(interval, phase)
