from __future__ import annotations

import numpy as np
import pytest

from detector.grid import Grid
from detector.manifest import WindowSpec
from tests.trainer.examples import SECOND, START, pump
from trainer.dealing import deal

GRID, SPEC = Grid(SECOND), WindowSpec(6, max_gap=2)


def test_every_row_is_dealt_once_and_each_part_gets_its_share_of_every_time() -> None:
    history = pump(12_000)
    parts = deal([history], 0.3, GRID, SPEC)
    rows = [
        (part[0].at - START) // SECOND
        for part in (parts.fit, parts.validation, parts.calibration, parts.gate)
    ]
    assert sorted(row for part in rows for row in part.tolist()) == [*range(12_000)]
    for part, share in zip(rows, (0.56, 0.14, 0.2, 0.1), strict=True):
        for start in range(0, 12_000, 2000):
            inside = int(((part >= start) & (part < start + 2000)).sum())
            assert inside == pytest.approx(share * 2000, abs=150)
    assert parts.gate_apart


def test_what_is_fitted_in_the_end_lies_in_order_of_time() -> None:
    parts = deal([pump(3000)], 0.3, GRID, SPEC)
    (fitted,) = parts.not_held_back
    assert (np.diff(fitted.at) > 0).all()
    assert len(fitted) == len(parts.fit[0]) + len(parts.validation[0])


def test_a_history_that_is_too_short_to_share_out_is_split_by_time() -> None:
    parts = deal([pump(300)], 0.3, GRID, SPEC)
    assert not parts.gate_apart
    assert parts.fit[0].at[-1] < parts.validation[0].at[0] < parts.calibration[0].at[0]
    assert len(parts.calibration[0]) == 90


def test_what_is_held_back_stays_so_in_later_turns_though_the_history_moves_on() -> None:
    history = pump(12_000)
    first, second = (
        deal([history.rows(some)], 0.3, GRID, SPEC) for some in (slice(0, 9000), slice(1777, 12_000))
    )
    held_back = {*first.calibration[0].at.tolist(), *first.gate[0].at.tolist()}
    later = {*second.fit[0].at.tolist(), *second.validation[0].at.tolist()}
    assert not held_back & later
    assert len(later) > 6000
