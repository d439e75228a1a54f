"""What watches a machine before there is a bundle."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.alerts import AlertPolicy, Reason
from detector.events import AlertChanged, Event, MachineState, StateChanged
from detector.history import History
from detector.manifest import Manifest, decode, encode
from detector.pipeline import Champions, Pipeline
from detector.provisional import CROSSED, Provisional, fit, judged
from detector.reading import Reading
from detector.scoring import Detector
from detector.stream import StreamPolicy

START = 1_767_519_000_000
SENSORS = ("flow", "load", "still")
Z = 8.0
LIMITS = {"load": (-math.inf, 90.0)}
VALUES = st.one_of(st.just(math.nan), st.floats(-1e6, 1e6, width=32))


def history(rows: int = 400, *, seed: int = 0) -> History:
    noise = np.random.default_rng(seed).normal(size=(rows, 3)) * [2.0, 5.0, 0.0] + [40.0, 60.0, 7.0]
    return History("press", SENSORS, START + 1000 * np.arange(rows), noise)


def fitted(rows: History | None = None, *, least: int = 100, **options: object) -> Manifest | None:
    given = {"machine": "press", "number": "1", "created_at": "2026-01-04T10:00:00Z", "z": Z}
    return fit(history() if rows is None else rows, least=least, **given, **options)  # type: ignore[arg-type]


def detector(**options: object) -> Provisional:
    manifest = fitted(**options)  # type: ignore[arg-type]
    assert manifest is not None
    return Provisional(manifest, LIMITS)


def naive(detector: Provisional, window: list[list[float]]) -> float:
    """The score of one window of values in their own units, sensor by sensor."""
    scaler = detector.manifest.scaler
    largest = 0.0
    for column, name in enumerate(detector.manifest.sensors):
        there = [row[column] for row in window if not math.isnan(row[column])]
        if not there:
            continue
        value = statistics.median_low(there)
        distance = abs(value - scaler.offset[column]) / scaler.scale[column]
        low, high = LIMITS.get(name, (-math.inf, math.inf))
        if not low <= value <= high:
            distance = max(distance, CROSSED * Z)
        largest = max(largest, min(distance, 1e6))
    return largest / Z


@given(st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=5, max_size=5))
def test_the_score_is_that_of_the_sensor_furthest_from_its_median(window: list[list[float]]) -> None:
    found = detector()
    errors = found.errors(found.scale(np.array([window])))
    (score,) = np.sqrt(errors.share.sum(axis=1)) / Z
    assert score == pytest.approx(naive(found, window), rel=1e-4, abs=1e-6)
    assert errors.coverage[0] == pytest.approx(1 - np.isnan(window).mean())
    assert errors.missing[0].tolist() == np.isnan(window).any(axis=0).tolist()


@given(st.lists(st.lists(VALUES, min_size=15, max_size=15), min_size=2, max_size=6))
def test_windows_are_judged_together_as_each_alone(rows: list[list[float]]) -> None:
    found = detector()
    windows = found.scale(np.array(rows).reshape(-1, 5, 3))
    together = found.errors(windows.copy())
    for number, window in enumerate(windows):
        alone = found.errors(window[None].copy())
        np.testing.assert_array_equal(alone.share[0], together.share[number])
        np.testing.assert_array_equal(alone.last[0], together.last[number])


@given(st.lists(st.tuples(VALUES, VALUES), min_size=3, max_size=60))
def test_a_median_and_a_deviation_are_those_of_the_values_that_are_there(
    rows: list[tuple[float, float]],
) -> None:
    values = np.array(rows)
    manifest = fitted(History("press", ("a", "b"), START + 1000 * np.arange(len(rows)), values), least=1)
    columns = [[value for value in column if not math.isnan(value)] for column in values.T.tolist()]
    kept = [column for column in columns if len(column) >= max(1.0, 0.1 * len(rows))]
    if manifest is None:
        assert kept == []
        return
    assert len(manifest.sensors) == len(kept)
    for column, offset, scale in zip(kept, manifest.scaler.offset, manifest.scaler.scale, strict=True):
        middle = statistics.median(column)
        assert offset == pytest.approx(middle)
        deviation = 1.4826 * statistics.median(abs(value - middle) for value in column)
        assert scale >= deviation * (1 - 1e-9)
        assert math.isfinite(scale)


def test_of_a_sensor_that_has_not_moved_nothing_is_far() -> None:
    found = detector()
    window = np.tile([40.0, 60.0, 9000.0], (1, 5, 1))
    assert found.errors(found.scale(window)).share.sum() < 1


def test_few_readings_are_judged_by_limits_alone() -> None:
    found = detector(rows=history(99))
    assert judged(found.manifest) == 0
    far = np.tile([4000.0, 89.9, 7.0], (1, 5, 1))
    assert found.errors(found.scale(far)).share.sum() < 1e-6
    crossed = found.errors(found.scale(np.tile([40.0, 90.1, 7.0], (1, 5, 1))))
    assert math.sqrt(crossed.share.sum()) == pytest.approx(CROSSED * Z)
    assert crossed.share.argmax() == 1
    assert found.reason(crossed.last[0]) is Reason.LIMIT
    assert found.expected(crossed.last[0])[1] == pytest.approx(90.0, rel=1e-6)


def test_enough_readings_are_judged_by_where_they_usually_are() -> None:
    assert judged(detector(rows=history(100)).manifest) == 2


def test_a_limit_at_the_very_median_is_crossed_as_any_other() -> None:
    manifest = fitted()
    assert manifest is not None
    found = Provisional(manifest, {"still": (7.0, math.inf)})
    errors = found.errors(found.scale(np.tile([40.0, 60.0, 6.0], (1, 5, 1))))
    assert found.reason(errors.last[0]) is Reason.LIMIT


def test_two_outliers_in_a_window_are_none() -> None:
    found = detector()
    window = np.tile([40.0, 60.0, 7.0], (1, 5, 1))
    window[0, 1:3, 0] = 4000.0
    assert math.sqrt(found.errors(found.scale(window)).share.sum()) < Z
    window[0, 4, 0] = 4000.0
    assert math.sqrt(found.errors(found.scale(window)).share.sum()) > Z


def test_rows_in_alert_are_not_learned_unless_they_are_most() -> None:
    rows = history()
    values = rows.values.copy()
    values[200:, 0] += 100
    alerted = np.arange(400) >= 201
    shifted = History("press", SENSORS, rows.at, values)
    for most, offset in ((alerted, 40.0), (np.arange(400) >= 150, 90.0)):
        manifest = fitted(shifted, alerted=most)
        assert manifest is not None
        assert manifest.scaler.offset[0] == pytest.approx(offset, abs=55 if offset > 50 else 1)
    learned, all_of_it = fitted(shifted, alerted=alerted), fitted(shifted)
    assert learned is not None
    assert all_of_it is not None
    assert learned.scaler.scale[0] < all_of_it.scaler.scale[0]


def test_nothing_is_said_of_a_single_time_or_without_a_plain_measurement() -> None:
    assert fitted(history(1)) is None
    assert fitted(history(), without=SENSORS) is None
    assert fitted(history(1), interval=1000) is not None


def test_it_is_read_as_it_was_written() -> None:
    manifest = fitted()
    assert manifest is not None
    assert decode(encode(manifest)) == manifest


def run(pipeline: Pipeline, rows: History, value: float = math.nan, at: range = range(0)) -> list[Event]:
    """Sends rows, at some of which the load shows a value."""
    values = rows.values.copy()
    values[at.start : at.stop, 1] = value
    readings = (Reading("press", int(t), SENSORS, row) for t, row in zip(rows.at, values, strict=True))
    return pipeline.on_readings(readings)


def pipeline(found: Provisional | None) -> Pipeline:
    provisional: dict[str, Detector] = {} if found is None else {"press": found}
    champions = Champions(provisional=provisional, learning=True)
    return Pipeline(champions, stream=StreamPolicy(), alerts=AlertPolicy())


def test_a_machine_without_a_detector_learns() -> None:
    (event,) = run(pipeline(None), history(5))
    assert isinstance(event, StateChanged)
    assert (event.state, event.model) == (MachineState.LEARNING, None)


@pytest.mark.parametrize(("value", "reason"), [(90.5, Reason.LIMIT), (-500.0, Reason.ANOMALY)])
def test_an_alert_says_why_it_opened_until_it_closes(value: float, reason: Reason) -> None:
    events = run(pipeline(detector()), history(80, seed=1), value, range(40, 60))
    alerts = [event for event in events if isinstance(event, AlertChanged)]
    assert [alert.change for alert in alerts] == ["opened", "closed"]
    assert {alert.reason for alert in alerts} == {reason}
    assert alerts[0].sensors[0].sensor == "load"
    states = [event.state for event in events if isinstance(event, StateChanged)]
    assert states == [MachineState.LEARNING, MachineState.ALERT, MachineState.LEARNING]


def test_a_bundle_goes_before_it() -> None:
    own = detector()
    champions = Champions(own={"press": own}, provisional={"press": detector(), "mill": detector()})
    assert champions.of("press") is own
    assert champions.of("mill") is champions.provisional["mill"]
    assert champions.all() == [own]
    assert champions.fitted("mill") is None


@pytest.mark.parametrize("value", [1.7976931348623157e308, -1.7e308, 1e300, math.inf])
def test_a_number_that_stands_for_no_value_is_none(value: float) -> None:
    rows = history()
    rows.values[::2, 0] = value
    made = fitted(rows)
    assert made is not None
    assert made.sensors == SENSORS
    assert abs(made.scaler.offset[0] - 40) < 1
    rows.values[:, 0] = value
    alone = fitted(rows)
    assert alone is not None
    assert alone.sensors == SENSORS[1:]
