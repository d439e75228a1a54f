from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.grid import Grid
from detector.history import History
from detector.manifest import WindowSpec
from tests.trainer.examples import SECOND, START, pump
from trainer.parts import learn_grid, split, with_gate_apart


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
        assert not parts.gate_apart
        assert abs(len(pieces[2]) - share * len(history)) <= 0.5
        assert abs(len(pieces[1]) - 0.2 * (len(history) - len(pieces[2]))) <= 0.5


def test_the_gate_gets_rows_of_its_own_where_both_parts_then_have_a_hundred_windows() -> None:
    grid, spec = Grid(SECOND), WindowSpec(6)
    enough = split([pump(175), pump(1050, machine="b")], 0.3)  # 52 and 315 held-back rows
    apart = with_gate_apart(enough, grid, spec)
    assert apart.gate_apart
    assert [len(history) for history in apart.calibration] == [35, 210]
    assert [len(history) for history in apart.gate] == [17, 105]  # 12 and 100 windows
    for whole, first, last in zip(enough.calibration, apart.calibration, apart.gate, strict=True):
        np.testing.assert_array_equal(np.concatenate([first.at, last.at]), whole.at)
    assert (apart.fit, apart.validation) == (enough.fit, enough.validation)

    few = split([pump(1040)], 0.3)  # 104 rows for the gate: 99 windows
    together = with_gate_apart(few, grid, spec)
    assert not together.gate_apart
    assert together.gate is together.calibration


def test_the_interval_is_that_within_machines_not_the_distance_between_them() -> None:
    histories = [pump(50, machine="a"), pump(50, machine="b", start=START + 86_400_000 + 250)]
    grid = learn_grid(histories, None)
    assert grid.interval == SECOND
    assert grid == Grid.learn(np.concatenate([history.at for history in histories]), SECOND)


def test_a_given_interval_needs_no_second_row() -> None:
    history = History("a", ("x",), np.array([1_250]), np.zeros((1, 1)))
    assert learn_grid([history], SECOND) == Grid(SECOND, 250)
