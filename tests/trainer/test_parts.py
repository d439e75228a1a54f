from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.grid import Grid
from detector.history import History
from tests.trainer.examples import SECOND, START, pump
from trainer.parts import learn_grid, split


@given(st.lists(st.integers(0, 60), min_size=1, max_size=3), st.floats(0.01, 0.99))
def test_every_row_is_in_exactly_one_part_and_parts_follow_in_time(lengths: list[int], share: float) -> None:
    histories = [pump(rows, machine=str(i)) for i, rows in enumerate(lengths)]
    parts = split(histories, share)
    for i, history in enumerate(histories):
        pieces = (parts.fit[i], parts.validation[i], parts.calibration[i])
        np.testing.assert_array_equal(np.concatenate([piece.at for piece in pieces]), history.at)
        np.testing.assert_array_equal(np.concatenate([piece.values for piece in pieces]), history.values)
        np.testing.assert_array_equal(
            parts.not_held_back[i].values, history.values[: len(history) - len(pieces[2])]
        )
        assert abs(len(pieces[2]) - share * len(history)) <= 0.5
        assert abs(len(pieces[1]) - 0.2 * (len(history) - len(pieces[2]))) <= 0.5


def test_the_interval_is_that_within_machines_not_the_distance_between_them() -> None:
    histories = [pump(50, machine="a"), pump(50, machine="b", start=START + 86_400_000 + 250)]
    grid = learn_grid(histories, None)
    assert grid.interval == SECOND
    assert grid == Grid.learn(np.concatenate([history.at for history in histories]), SECOND)


def test_a_given_interval_needs_no_second_row() -> None:
    history = History("a", ("x",), np.array([1_250]), np.zeros((1, 1)))
    assert learn_grid([history], SECOND) == Grid(SECOND, 250)
