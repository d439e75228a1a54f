from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.grid import Grid
from detector.history import History
from tests.trainer.examples import SECOND, START, pump
from trainer.blocks import Blocks, choose, cut, length, newest_first, regimes, shares, spread_out

GRID = Grid(SECOND)


def run(*ways: tuple[float, int], seed: int = 0) -> History:
    """A machine that is run at each level for so many rows, one after the other."""
    random = np.random.default_rng(seed)
    level = np.concatenate([np.full(rows, level) for level, rows in ways])
    values = np.column_stack([level, -level]) + random.normal(size=(len(level), 2))
    return History("press", ("speed", "force"), START + SECOND * np.arange(len(level)), values)


def of_all(history: History, window: int, most: int) -> tuple[Blocks, NDArray[np.intp], NDArray[np.bool_]]:
    blocks = cut(history, GRID, 5, length(window, most))
    regime = regimes(history, blocks)
    return blocks, regime, choose(blocks, regime, most, newest_first(blocks))


@given(
    at=st.lists(st.integers(0, 500), min_size=1, unique=True),
    max_gap=st.integers(0, 5),
    rows=st.integers(1, 40),
)
def test_every_row_lies_in_one_block_and_no_hole_in_any(at: list[int], max_gap: int, rows: int) -> None:
    times = START + SECOND * np.sort(np.array(at))
    history = History("press", ("speed",), times, np.zeros((len(at), 1)))
    blocks = cut(history, GRID, max_gap, rows)
    covered = [
        row for one, other in zip(blocks.starts, blocks.stops, strict=True) for row in range(one, other)
    ]
    assert covered == list(range(len(at)))
    assert blocks.sizes.max() < 2 * rows
    for one, other in zip(blocks.starts, blocks.stops, strict=True):
        assert np.diff(times[one:other]).max(initial=0) <= (max_gap + 1) * SECOND


@settings(max_examples=50, deadline=None)
@given(
    ways=st.lists(st.tuples(st.integers(0, 5), st.integers(100, 3000)), min_size=1, max_size=6),
    window=st.integers(1, 10),
    most=st.integers(1000, 4000),
)
def test_every_way_in_which_a_machine_was_run_stays_and_so_does_the_newest_and_the_bound_holds(
    ways: list[tuple[int, int]], window: int, most: int
) -> None:
    history = run(*((20.0 * level, rows) for level, rows in ways))
    blocks, _, kept = of_all(history, window, most)
    rows = blocks.rows(kept)
    assert rows.sum() <= most
    level = np.round(history.values[:, 0] / 20).clip(0, 5)
    assert {*np.unique(level[rows])} == {*np.unique(level)}
    assert rows[-1]
    if len(history) <= most:
        assert rows.all()


def test_a_rare_way_of_running_is_kept_whole_and_of_the_common_one_the_newest_rows() -> None:
    history = run((0, 20_000), (30, 300), (0, 20_000))
    blocks, regime, kept = of_all(history, 5, 5000)
    rows = blocks.rows(kept)
    rare = history.values[:, 0] > 15
    assert rows[rare].all()
    assert 4000 < rows.sum() <= 5000
    assert np.flatnonzero(rows & ~rare).min() > 30_000
    assert len(np.unique(regime)) <= 4, "the borders may look like others"


def test_a_machine_that_runs_in_one_way_has_one_regime_whatever_its_load_does() -> None:
    history = pump(5000)
    blocks = cut(history, GRID, 5, 200)
    assert {*regimes(history, blocks).tolist()} == {0}


def test_a_sensor_that_is_noisier_by_far_is_another_regime() -> None:
    history = run((0, 4000))
    history.values[1000:1300, 1] *= 30
    blocks = cut(history, GRID, 5, 100)
    regime = regimes(history, blocks)
    assert {*np.flatnonzero(regime != regime[0]).tolist()} == {10, 11, 12}


def test_a_sensor_without_values_tells_no_regimes_apart() -> None:
    history = run((0, 2000))
    history.values[500:700, 0] = np.nan
    history.values[:, 1] = np.nan
    blocks = cut(history, GRID, 5, 100)
    assert {*regimes(history, blocks).tolist()} == {0}


def test_what_comes_first_is_kept_where_there_is_room() -> None:
    history = run((0, 10_000))
    blocks = cut(history, GRID, 5, 100)
    kept = choose(blocks, regimes(history, blocks), 1000, newest_first(blocks), first=[3])
    assert {*np.flatnonzero(kept).tolist()} == {3, *range(91, 100)}


def test_what_is_spread_out_lies_evenly_over_each_regime_s_time() -> None:
    history = run((0, 10_000), (30, 10_000))
    blocks = cut(history, GRID, 5, 100)
    kept = choose(blocks, regimes(history, blocks), 4000, spread_out(blocks))
    for half in (range(100), range(100, 200)):
        some = [block for block in half if kept[block]]
        assert len(some) == 20
        assert max(np.diff([half[0], *some, half[-1]])) <= 15


def test_a_block_with_a_spike_is_another_regime() -> None:
    history = run((0, 4000))
    history.values[1050, 1] += 60
    blocks = cut(history, GRID, 5, 100)
    regime = regimes(history, blocks)
    assert np.flatnonzero(regime != regime[0]).tolist() == [10]


@given(rows=st.lists(st.integers(0, 1000), min_size=1), most=st.integers(0, 5000))
def test_machines_share_the_room_and_a_small_one_gives_what_it_does_not_need(
    rows: list[int], most: int
) -> None:
    room = shares(rows, most)
    assert sum(room) <= most
    assert all(some <= own for some, own in zip(room, rows, strict=True))
    short = [some for some, own in zip(room, rows, strict=True) if some < own]
    if short:
        assert sum(room) > most - len(rows)
        assert max(short) - min(short) <= 1
        assert max(room) <= max(short) + 1
