from __future__ import annotations

import numpy as np
import pytest

from detector.history import History
from tests.trainer.examples import SECOND, START, pump, settings, with_values
from trainer.verdict import Verdict, check, rows_needed, undeclarable

ENOUGH = rows_needed(settings().trainer)


def verdict(*histories: History, interval: int | None = None, **trainer: object) -> Verdict:
    return check(histories, settings(**trainer).trainer, interval=interval)


def test_an_ordinary_history_is_found_good() -> None:
    found = verdict(pump())
    assert (found.errors, found.warnings) == ((), ())
    assert found.kept == ("flow", "pressure", "current")
    assert found.grid is not None
    assert found.grid.interval == SECOND


@pytest.mark.parametrize(
    ("window", "stride", "share", "expected"), [(6, 1, 0.3, 116), (30, 1, 0.3, 275), (6, 4, 0.3, 416)]
)
def test_the_rows_needed_are_enough_and_one_less_is_not(
    window: int, stride: int, share: float, expected: int
) -> None:
    trainer = settings(window=window, stride=stride, calibration_share=share).trainer
    needed = rows_needed(trainer)
    assert needed == expected
    for start in range(START, START + stride * SECOND, SECOND):
        assert check([pump(needed, start=start)], trainer).errors == ()
    fewer = [pump(needed - 1, start=start) for start in range(START, START + stride * SECOND, SECOND)]
    assert any(check([history], trainer).errors for history in fewer)


def test_too_few_rows_are_refused_with_the_number_that_is_enough() -> None:
    assert verdict(pump(60)).errors == (
        (
            "history: must give 50 windows to fit on, 10 to validate and 30 to learn the threshold from, "
            f"got 29, 3 and 13 from 60 rows; {ENOUGH} rows without holes are enough at trainer.window 6"
        ),
    )


def test_two_rows_are_too_few_and_not_called_constants() -> None:
    (problem,) = verdict(pump(2)).errors
    assert "got 0, 0 and 0 from 2 rows" in problem


def test_holes_and_empty_cells_cost_windows() -> None:
    history = pump(300)
    at = history.at + np.arange(300) // 4 * 60 * SECOND
    holes = History("pump-1", history.sensors, at, history.values)
    assert verdict(holes).errors == (
        (
            "history: must give 50 windows to fit on, 10 to validate and 30 to learn the threshold from, "
            f"got 0, 0 and 0 from 300 rows; {ENOUGH} rows without holes are enough at trainer.window 6"
        ),
    )
    values = history.values.copy()
    values[100:, :2] = np.nan
    assert verdict(with_values(history, values)).errors == (
        (
            "history: must give 50 windows to fit on, 10 to validate and 30 to learn the threshold from, "
            f"got 99, 0 and 0 from 300 rows; {ENOUGH} rows without holes are enough at trainer.window 6; "
            "186 more windows with less than trainer.min_coverage of all values"
        ),
    )


def test_what_is_declared_of_no_sensor_is_told_with_the_one_that_was_meant() -> None:
    assert undeclarable({"flow", "presure", "x"}, {"flow", "pressure"}) == (
        (
            "readings.channels.presure: must be a sensor of the history, got none of this name; "
            "nearest known: pressure"
        ),
        "readings.channels.x: must be a sensor of the history, got none of this name; known: flow, pressure",
    )


def test_a_history_of_constants_is_refused() -> None:
    history = with_values(pump(), np.tile([1.0, 2.0, np.nan], (300, 1)))
    assert verdict(history).errors == (
        "history: must hold a sensor whose value changes, got constants alone (flow, pressure)",
    )


@pytest.mark.parametrize("start", [210, 168])
def test_a_history_that_changes_only_where_nothing_is_fitted_is_refused(start: int) -> None:
    values = np.ones((300, 3))
    values[start:] = pump(300 - start).values
    assert verdict(with_values(pump(), values)).errors == (
        (
            "history: must hold a sensor whose value changes in the first 168 rows, which are fitted on, "
            "got constants alone"
        ),
    )


def test_a_history_of_empty_cells_is_refused() -> None:
    history = with_values(pump(), np.full((300, 3), np.nan))
    assert verdict(history).errors == ("history: must hold values, got empty cells alone",)


def test_a_history_of_anomalies_or_of_nothing_is_refused() -> None:
    history = pump(label=True)
    assert history.label is not None
    history.label[:] = 1
    expected = ("history: must hold rows that are not labelled anomalous, got none",)
    assert verdict(history).errors == expected
    assert verdict().errors == expected


def test_an_interval_that_cannot_be_learned_is_refused_unless_it_is_given() -> None:
    history = pump().rows(slice(0, 1))
    assert verdict(history).errors == (
        (
            "history: must hold two different times of one machine, so that the interval is learned, "
            "got 1 row; or set readings.interval"
        ),
    )
    assert len(verdict(history, interval=SECOND).errors) == 1
    assert "got 0, 0 and 0 from 1 row;" in verdict(history, interval=SECOND).errors[0]


def test_a_value_whose_square_is_no_number_any_more_is_refused() -> None:
    values = pump().values.copy()
    values[7, 1] = -1e200
    assert verdict(with_values(pump(), values)).errors == (
        "sensor pressure: must hold values between -1e+100 and 1e+100, got -1e+200",
    )


def test_machines_that_share_a_model_must_have_the_same_sensors() -> None:
    other = pump(machine="pump-2")
    other = History("pump-2", ("flow", "pressure", "Current"), other.at, other.values)
    assert verdict(pump(), other).errors == (
        (
            "machine pump-2: must have the sensors of pump-1 to share a model, got a difference in "
            "Current, current; history.ignore_columns leaves columns out, --machine trains one machine alone"
        ),
    )


def test_what_is_odd_but_usable_is_a_warning() -> None:
    history = pump(400)
    values = np.column_stack([history.values, np.full(400, 7.5), np.full(400, np.nan)])
    values[::4, 0] = np.nan
    at = history.at.copy()
    at[200:] += 3_600 * SECOND
    at[5] = at[4]
    odd = History("pump-1", (*history.sensors, "valve", "spare"), at, values)
    found = verdict(odd)
    assert found.errors == ()
    assert found.kept == ("flow", "pressure", "current", "valve")
    assert found.warnings == (
        "sensor flow: has no value in 25.0% of the rows",
        (
            "sensor valve: is always 7.5; the model will take any other value for an anomaly, in proportion "
            "to the difference; history.ignore_columns leaves it out"
        ),
        "sensor spare: has no value and is left out of the model",
        "machine pump-1: 1 row at the time of another one; the first one counts",
        "machine pump-1: 1 hole too long for a window to bridge, the longest of 3601 s",
    )


def test_a_sensor_that_reports_only_in_the_held_back_rows_is_left_out() -> None:
    values = pump().values.copy()
    values[:250, 2] = np.nan
    found = verdict(with_values(pump(), values))
    assert found.errors == ()
    assert found.kept == ("flow", "pressure")
    assert "sensor current: has no value in the rows to fit on and is left out of the model" in found.warnings


def test_rows_that_share_a_slot_of_the_grid_are_a_warning() -> None:
    found = verdict(pump(600), interval=2 * SECOND)
    assert found.warnings == (
        (
            "machine pump-1: 300 of 600 rows share a slot of the grid with an earlier one and are not used; "
            "is readings.interval too long, or do machines with different intervals share a model?"
        ),
    )


def test_the_facts_are_those_of_the_rows_that_are_not_labelled_anomalous() -> None:
    history = pump(400, label=True)
    assert history.label is not None
    history.label[300:] = 1
    values = history.values.copy()
    values[300:] = 1e9
    values[10:17, 1] = 5.0
    values[20, 2] = np.nan
    found = verdict(History("pump-1", history.sensors, history.at, values, history.label))
    (machine,) = found.machines
    assert (machine.rows, machine.anomalous, machine.interval, machine.jitter) == (300, 100, 1000.0, 0.0)
    assert (machine.start, machine.end) == (START, START + 299 * SECOND)
    flow, pressure, current = found.sensors
    column = values[:300, 0]
    assert (flow.minimum, flow.maximum) == (column.min(), column.max())
    assert flow.mean == pytest.approx(column.mean())
    assert flow.std == pytest.approx(column.std())
    assert (flow.longest_stuck, pressure.longest_stuck) == (1, 7)
    assert flow.missing == 0
    assert current.missing == pytest.approx(1 / 300)
