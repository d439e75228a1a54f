from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from demo.duty import SetPoint, ordinary_duty
from demo.faults import BearingWear, Cavitation, Fault, SilentSensor, StuckSensor
from demo.pump import NAMES, SENSORS, Pump

START = datetime(2026, 1, 4, 10, tzinfo=UTC)
STEADY = (SetPoint(0, 1450.0, 90.0),)
ONSET, END = 100, 300
FAULTS: tuple[Fault, ...] = (
    BearingWear(ONSET, END),
    Cavitation(ONSET, END),
    StuckSensor(ONSET, END, "flow"),
    SilentSensor(ONSET, END, "flow"),
)

Series = dict[str, NDArray[np.float64]]


def series(
    seconds: int, *, duty: Sequence[SetPoint] = STEADY, faults: Sequence[Fault] = (), seed: int = 0
) -> Series:
    """Each sensor's values, NaN where it is silent."""
    pump = Pump(duty=duty, faults=faults, seed=seed, start=START)
    rows = [[reading.values[name] for name in NAMES] for reading in pump.readings(seconds)]
    return dict(zip(NAMES, np.array(rows, dtype=np.float64).T, strict=True))


def steady_means(speed: float, valve: float = 80.0) -> dict[str, float]:
    values = series(200, duty=(SetPoint(0, speed, valve),))
    return {name: float(numbers.mean()) for name, numbers in values.items()}


@settings(max_examples=15, deadline=None)
@given(slow=st.floats(900, 1150), fast=st.floats(1200, 1470))
def test_flow_goes_with_the_speed_and_the_head_with_its_square(slow: float, fast: float) -> None:
    one, other = steady_means(slow), steady_means(fast)
    ratio = fast / slow
    assert other["flow"] / one["flow"] == pytest.approx(ratio, rel=0.01)
    lift = [means["discharge_pressure"] - means["suction_pressure"] for means in (one, other)]
    assert lift[1] / lift[0] == pytest.approx(ratio**2, rel=0.01)


@settings(max_examples=15, deadline=None)
@given(slow=st.floats(900, 1150), fast=st.floats(1200, 1470))
def test_the_torque_current_goes_with_the_square_of_the_speed(slow: float, fast: float) -> None:
    magnetising = 12.0
    torque = [
        math.sqrt(steady_means(speed)["current"] ** 2 - magnetising**2) for speed in (slow, fast)
    ]  # power goes with the cube, torque is power by speed
    assert torque[1] / torque[0] == pytest.approx((fast / slow) ** 2, rel=0.02)


def test_at_rated_speed_and_an_open_valve_the_pump_runs_at_its_rated_point() -> None:
    means = steady_means(1480.0, 100.0)
    assert means["flow"] == pytest.approx(100.0, rel=0.01)
    assert means["discharge_pressure"] - means["suction_pressure"] == pytest.approx(3.91, rel=0.01)  # 40 m
    assert means["current"] == pytest.approx(29.5, rel=0.01)


def test_closing_the_valve_lowers_the_flow_and_raises_the_pressure() -> None:
    wide, narrow = steady_means(1400.0, 95.0), steady_means(1400.0, 60.0)
    assert narrow["flow"] < 0.8 * wide["flow"]
    assert narrow["discharge_pressure"] > 1.05 * wide["discharge_pressure"]


def test_a_stopped_pump_moves_nothing_and_draws_nothing() -> None:
    values = series(300, duty=(SetPoint(0, 1300.0, 80.0), SetPoint(100, 0.0, 80.0)))
    at_rest = {name: float(numbers[250:].mean()) for name, numbers in values.items()}
    assert at_rest["flow"] == pytest.approx(0.0, abs=0.5)
    assert at_rest["current"] == pytest.approx(0.0, abs=0.2)
    assert at_rest["discharge_pressure"] == pytest.approx(at_rest["suction_pressure"], abs=0.02)
    assert at_rest["winding_temperature"] < float(values["winding_temperature"][:100].mean())


def test_temperatures_lag_behind_the_load() -> None:
    values = series(900, duty=(SetPoint(0, 1000.0, 80.0), SetPoint(300, 1450.0, 80.0)))
    before, soon, later = (float(values["winding_temperature"][i : i + 30].mean()) for i in (270, 330, 870))
    assert before < soon < before + 0.3 * (later - before)


def test_the_same_seed_gives_the_same_readings_and_another_seed_others() -> None:
    one, same, other = (series(50, seed=seed) for seed in (1, 1, 2))
    for name in NAMES:
        assert np.array_equal(one[name], same[name])
        assert not np.array_equal(one[name], other[name])


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_fault_changes_nothing_before_its_onset_and_something_after(fault: Fault) -> None:
    sound, faulty = series(END), series(END, faults=[fault])
    for name in NAMES:
        assert np.array_equal(sound[name][:ONSET], faulty[name][:ONSET])
    assert any(not np.array_equal(sound[name][ONSET:], faulty[name][ONSET:]) for name in NAMES)


def test_a_worn_bearing_vibrates_more_and_more_and_grows_warm_but_pumps_as_before() -> None:
    sound, worn = series(END), series(END, faults=[BearingWear(ONSET, END)])
    for name, least in (("vibration", 3.0), ("bearing_temperature", 2.0)):
        excess = [float(part.mean()) for part in np.split((worn[name] - sound[name])[ONSET:], 4)]
        assert excess == sorted(excess)
        assert excess[-1] > least
    for name in ("speed", "valve", "flow", "suction_pressure", "discharge_pressure", "fluid_temperature"):
        assert np.array_equal(sound[name], worn[name])


def test_cavitation_lowers_and_shakes_flow_and_pressure_and_makes_noise() -> None:
    boiling, sound = (
        {name: numbers[ONSET + 50 :] for name, numbers in series(END, faults=faults).items()}
        for faults in ([Cavitation(ONSET, END)], [])
    )
    assert boiling["suction_pressure"].mean() < sound["suction_pressure"].mean() - 0.5
    for name in ("flow", "discharge_pressure"):
        assert boiling[name].mean() < 0.97 * sound[name].mean()
        assert boiling[name].std() > 2 * sound[name].std()
    assert boiling["vibration"].mean() > 1.5 * sound["vibration"].mean()
    assert boiling["vibration"].std() > 3 * sound["vibration"].std()


def test_a_clogged_strainer_does_not_cavitate_at_low_flow() -> None:
    slow = (SetPoint(0, 1000.0, 60.0),)
    sound, clogged = (series(END, duty=slow, faults=faults) for faults in ([], [Cavitation(ONSET, END)]))
    assert clogged["suction_pressure"][-1] < sound["suction_pressure"][-1]
    assert np.array_equal(clogged["flow"], sound["flow"])


def test_a_pump_with_a_cleaned_strainer_pumps_as_a_sound_one() -> None:
    sound, repaired = series(END + 60), series(END + 60, faults=[Cavitation(ONSET, END)])
    for name in ("flow", "suction_pressure", "discharge_pressure", "vibration"):
        assert repaired[name][END + 30 :] == pytest.approx(sound[name][END + 30 :], abs=0.01)


def test_a_stuck_sensor_repeats_its_last_value_until_it_is_replaced() -> None:
    sound, stuck = series(END + 10), series(END + 10, faults=[StuckSensor(ONSET, END, "flow")])
    assert set(stuck["flow"][ONSET:END]) == {sound["flow"][ONSET - 1]}
    assert np.array_equal(stuck["flow"][END:], sound["flow"][END:])
    assert np.array_equal(stuck["speed"], sound["speed"])


def test_a_silent_sensor_has_no_value_until_it_is_back() -> None:
    values = series(END + 10, faults=[SilentSensor(ONSET, END, "flow")])
    silent = np.isnan(values["flow"])
    assert silent[ONSET:END].all()
    assert not silent[:ONSET].any()
    assert not silent[END:].any()


@pytest.mark.parametrize("seed", range(3))
def test_a_normal_history_is_plausible_and_holds_stops_and_start_ups_to_its_end(seed: int) -> None:
    values = series(7200, duty=ordinary_duty(7200, seed=seed), seed=seed)
    for name, lowest, highest in (
        ("speed", 0, 1500),
        ("valve", 50, 100),
        ("flow", 0, 105),
        ("suction_pressure", 0.1, 0.4),
        ("discharge_pressure", 0.1, 5),
        ("current", 0, 30),
        ("vibration", 0, 2.8),
        ("bearing_temperature", 25, 70),
        ("winding_temperature", 25, 90),
        ("fluid_temperature", 25, 45),
    ):
        assert np.isfinite(values[name]).all()
        assert lowest <= values[name].min() < values[name].max() <= highest
    standing = values["speed"] < 10
    for part in (standing[:5000], standing[5000:]):  # what fits, and what the threshold is set on
        assert int(np.count_nonzero(np.diff(part.astype(int)) == -1)) >= 1


def test_a_history_is_a_csv_of_one_reading_a_second(tmp_path: Path) -> None:
    pump = Pump(duty=STEADY, faults=[SilentSensor(3, 4, "flow")], seed=0, start=START)
    pump.write_history(tmp_path / "history.csv", 10)
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == ["timestamp", *NAMES]
    assert [datetime.fromisoformat(row[0]) for row in rows] == [
        START + timedelta(seconds=i) for i in range(10)
    ]
    assert [row[0] for row in rows[:2]] == ["2026-01-04T10:00:00.000Z", "2026-01-04T10:00:01.000Z"]
    empty = {
        (second, name)
        for second, row in enumerate(rows)
        for name, cell in zip(head, row, strict=True)
        if not cell
    }
    assert empty == {(3, "flow")}


def test_a_stream_goes_on_where_the_history_ended(tmp_path: Path) -> None:
    pump, whole = (Pump(duty=STEADY, seed=0, start=START) for _ in range(2))
    pump.write_history(tmp_path / "history.csv", 10)
    assert list(pump.readings(5)) == list(whole.readings(15))[10:]


def test_a_message_is_json_with_the_time_and_null_for_a_silent_sensor() -> None:
    pump = Pump(duty=STEADY, faults=[SilentSensor(0, 5, "flow")], seed=0, start=START)
    (reading,) = pump.readings(1)
    message = json.loads(json.dumps(reading.as_message()))
    assert message["ts"] == "2026-01-04T10:00:00.000Z"
    assert message["flow"] is None
    assert set(message) == {"ts", *(sensor.name for sensor in SENSORS)}


def test_a_fault_must_end_after_it_began() -> None:
    with pytest.raises(
        ValueError, match=r"^fault: must begin at 0 or later and end after it began, got 5\.\.5$"
    ):
        BearingWear(5, 5)


def test_a_pump_without_a_set_point_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^pump: must have at least one set-point, got none$"):
        Pump(duty=(), seed=0, start=START)
