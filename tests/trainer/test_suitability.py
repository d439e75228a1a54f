from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests import plant
from tests.detector.tiny_model import linear_model
from tests.trainer.test_comparison import detector
from trainer.importance import SHIFT, importances
from trainer.inspection import inspect
from trainer.suitability import SensorErrors, judge, sensor_errors


def errors(mse: float, mean: float, last: float, linear: float, sensor: str = "flow") -> SensorErrors:
    return SensorErrors(sensor, mse, mse**0.5, mse, mean, last, linear, 1.0)


def test_errors_are_in_the_sensors_own_units() -> None:
    history, one = plant.history(50), detector()
    seen = inspect(one, [history], most=100)
    assert seen is not None
    fitted = replace(seen, windows=np.full_like(seen.windows, 0.5))
    means = np.array(plant.OFFSET) + 0.5 * np.array(plant.SCALE)
    found = sensor_errors(one, seen, np.zeros_like(seen.windows), fitted)
    # Slowly: the model expects the mean of all three scaled sensors at the same time.
    values = history.values
    scaled = (values - plant.OFFSET) / plant.SCALE
    rows = [at for end in range(3, 50) for at in range(end - 2, end + 1)]
    off = np.array([(scaled[at].mean() - scaled[at]) * plant.SCALE for at in rows])
    from_mean = np.array([values[at] - means for at in rows])
    from_last = np.array([values[at] - values[at - 1] for at in rows])
    from_offset = np.array([values[at] - plant.OFFSET for at in rows])  # a PCA that answers nothing else
    whole = np.square(off / plant.SCALE).mean(axis=0)
    for i, sensor in enumerate(plant.SENSORS):
        assert found[i].sensor == sensor
        assert found[i].mse == pytest.approx(np.square(off[:, i]).mean(), rel=1e-4)
        assert found[i].rmse == pytest.approx(found[i].mse ** 0.5)
        assert found[i].mae == pytest.approx(np.abs(off[:, i]).mean(), rel=1e-4)
        assert found[i].mean == pytest.approx(np.square(from_mean[:, i]).mean(), rel=1e-4)
        assert found[i].last == pytest.approx(np.square(from_last[:, i]).mean(), rel=1e-4)
        assert found[i].linear == pytest.approx(np.square(from_offset[:, i]).mean(), rel=1e-4)
        assert found[i].part == pytest.approx(whole[i] / whole.sum(), rel=1e-4)


def test_values_that_were_not_measured_do_not_count() -> None:
    history, one = plant.history(50), detector()
    history.values[20, 2] = np.nan
    seen = inspect(one, [history], most=100)
    assert seen is not None
    fitted = replace(seen, windows=np.zeros_like(seen.windows))
    found = sensor_errors(one, seen, np.zeros_like(seen.windows), fitted)
    rows = [at for end in range(3, 50) for at in range(end - 2, end + 1)]
    off = np.array([history.values[at, 2] - plant.OFFSET[2] for at in rows])
    assert found[2].mean == pytest.approx(np.nanmean(np.square(off)), rel=1e-4)


@pytest.mark.parametrize(
    ("found", "good", "headline"),
    [
        (errors(0.1, 1, 0.5, 0.2), True, "Suitable: an autoencoder is worth having here"),
        (errors(0.1, 1, 0.05, 0.1), True, "Suitable, though a linear model (PCA) would do"),
        (errors(0.8, 1, 2, 0.8), None, "Hardly suitable: most of what these sensors do is not captured"),
        (
            errors(1.1, 1, 2, 2),
            False,
            "Not suitable: the mean of each sensor is as good a guess as this model",
        ),
        (errors(0.0, 0, 0, 0), None, "Cannot be said"),
    ],
)
def test_a_model_is_judged_beside_guesses_that_need_none(
    found: SensorErrors,
    good: object,
    headline: str,
) -> None:
    judged = judge([found])
    assert (judged.good, judged.headline) == (good, headline)
    assert judged.reasons


def test_no_sensor_counts_more_than_another() -> None:
    judged = judge([errors(1, 10, 2, 1), errors(1e6, 1e8, 1e6, 4e6), errors(0, 0, 0, 0, "still")])
    assert judged.to_mean == pytest.approx((0.1 * 0.01) ** 0.5)
    assert judged.to_last == pytest.approx((0.5 * 1) ** 0.5)
    assert judged.to_linear == pytest.approx((1 * 0.25) ** 0.5)


def test_the_reasons_name_the_poor_sensors_and_slow_processes() -> None:
    judged = judge([errors(1, 1, 2, 1, "poor"), errors(0.1, 1, 0.01, 0.2, "slow")])
    text = " ".join(judged.reasons)
    assert "poor cannot be told from the others" in text
    assert "2.2 times that of guessing the value before: the sensors move slowly" in text
    assert (
        "0.71 times that of a principal component analysis (PCA) with a code of the same size: there" in text
    )


def test_a_sensor_is_as_important_as_the_score_says_when_it_alone_is_moved() -> None:
    one = detector(threshold=2.0)
    seen = inspect(one, [plant.history(200)], most=1000)
    assert seen is not None
    found = importances(one, seen, plant.model(), seed=0)
    std = seen.windows.std(axis=(0, 1))
    for i, importance in enumerate(found):
        moved = seen.windows[::2].astype(np.float64)
        before = np.square(moved - moved.mean(axis=2, keepdims=True)).mean(axis=(1, 2))
        moved[:, :, i] += SHIFT * std[i]
        after = np.square(moved - moved.mean(axis=2, keepdims=True)).mean(axis=(1, 2))
        assert importance.score == pytest.approx((after - before).mean() / 2.0, rel=1e-3)


def test_a_sensors_part_in_the_code_is_that_of_its_squared_weights() -> None:
    weights = np.random.default_rng(0).normal(size=(12, 12)).astype(np.float32)
    one = detector()
    seen = inspect(one, [plant.history(400)], most=1000)
    assert seen is not None
    found = importances(one, seen, linear_model(weights, plant.LENGTH, 3), seed=1)
    of_value = np.square(weights).sum(axis=1).reshape(plant.LENGTH, 3)
    by_sensor = of_value.sum(axis=0) * seen.windows.var(axis=(0, 1))
    assert [one.code for one in found] == pytest.approx(by_sensor / by_sensor.sum(), abs=0.05)


def test_a_pca_is_not_judged_beside_itself() -> None:
    found = judge([errors(0.1, 1, 0.5, 0.1)], linear=True)
    assert found.headline == "Suitable: a linear model describes what these sensors do"
    assert not any("PCA" in reason for reason in found.reasons)
    poor = judge([errors(1.1, 1, 2, 1.1)], linear=True)
    assert poor.good is False
