from __future__ import annotations

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.history import History
from detector.manifest import ErrorSpec, ScalerSpec
from detector.scoring import Detector
from tests.detector.examples import Projection, manifest
from tests.trainer.examples import SECOND, START, pump, with_values
from trainer.measures import courses, unit_errors

PLAIN = ScalerSpec("standard", (3.0, 30.0, 0.5), (1.0, 1.0, 1.0))


class Zeros(Projection):
    """A model that always answers the middle of each sensor."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__(length, width)
        self.matrix[:] = 0


def detector(scaler: ScalerSpec = PLAIN, error: ErrorSpec | None = None, threshold: float = 1.0) -> Detector:
    described = manifest(sensors=("flow", "pressure", "current"))
    described = msgspec.structs.replace(
        described,
        scaler=scaler,
        error=error or ErrorSpec(),
        imputer=msgspec.structs.replace(described.imputer, fallback=(0.0, 0.0, 0.0)),
        threshold=msgspec.structs.replace(described.threshold, value=threshold),
    )
    return Detector(described, Zeros(described.window.length, 3))


def off(history: History) -> NDArray[np.float64]:
    """Squares by which windows are off the middle, shape (N, F, T)."""
    windows = np.lib.stride_tricks.sliding_window_view(history.values, manifest().window.length, axis=0)
    squares: NDArray[np.float64] = np.square(windows - np.array([3.0, 30.0, 0.5])[None, :, None])
    return squares


def test_errors_are_squares_in_the_sensors_own_units_whatever_the_model_scales_and_judges_by() -> None:
    history = pump(80)
    scaled = ScalerSpec("minmax", (3.0, 30.0, 0.5), (20.0, 0.5, 0.01))
    first = unit_errors(detector(PLAIN, ErrorSpec("mse")), [history])
    second = unit_errors(detector(scaled, ErrorSpec("mae", smoothing=0.9)), [history])
    expected = dict(zip(history.sensors, off(history).mean(axis=(0, 2)).tolist(), strict=True))
    assert first == pytest.approx(expected, rel=1e-4)
    assert second == pytest.approx(expected, rel=1e-4)


def test_a_sensor_that_stands_still_is_not_compared() -> None:
    history = pump(80)
    values = history.values.copy()
    values[:, 1] = 30.0
    assert set(unit_errors(detector(), [with_values(history, values)])) == {"flow", "current"}


def test_where_no_window_can_be_scored_there_are_no_errors() -> None:
    assert unit_errors(detector(), [pump(2)]) == {}


def test_the_alert_rate_is_the_share_of_windows_above_the_threshold() -> None:
    history = pump(80)
    errors = off(history).mean(axis=(1, 2))
    middle = float(np.median(errors)) * 1.001
    judge = detector(threshold=middle)
    found = courses(judge, [history], AlertPolicy())["pump-1"].alarms(judge.manifest)
    assert found.windows == len(errors)
    assert found.rate == pytest.approx(float((errors > middle).mean()), abs=1e-9)
    assert 0.3 < found.rate < 0.7
    assert found.days == pytest.approx(len(errors) * SECOND / 86_400_000)


def test_alerts_have_a_beginning_and_an_end_and_do_not_count_where_they_are_nobodys_fault() -> None:
    history = pump(400)
    values = history.values.copy()
    values[:, :] = (3.0, 30.0, 0.5)
    values[100:140, 1] += 100
    values[300:340, 1] += 100
    judge = detector()
    course = courses(judge, [with_values(history, values)], AlertPolicy())["pump-1"]
    first, second = course.alerts
    assert START + 100 * SECOND <= first[0] < START + 110 * SECOND
    assert first[1] is not None
    assert START + 140 * SECOND < first[1] < START + 170 * SECOND
    assert START + 300 * SECOND <= second[0] < START + 310 * SECOND
    everything = course.alarms(judge.manifest)
    assert everything.alerts == 2
    less = course.alarms(
        judge.manifest, [(START + 90 * SECOND, START + 200 * SECOND), (START + 290 * SECOND, None)]
    )
    assert (less.alerts, less.rate) == (0, 0.0)
    assert less.windows < everything.windows - 200
