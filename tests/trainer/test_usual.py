"""What is usual for each sensor, learned from the rows that were fitted on and from those held back."""

from __future__ import annotations

import numpy as np
import pytest

from detector.history import History
from detector.manifest import ErrorSpec, WindowSpec
from detector.scoring import Detector
from tests.detector.examples import SECOND, Projection, manifest
from tests.trainer.examples import TINY, pump, settings, trained
from trainer.calibration import mean_errors, usual_errors
from trainer.parts import split

SENSORS = ("flow", "load", "still")


def noise(deviations: list[float], seed: int) -> History:
    values = np.random.default_rng(seed).normal(size=(400, 3)) * deviations
    return History("pump-1", SENSORS, np.arange(400, dtype=np.int64) * SECOND, values, None)


def plain() -> Detector:
    made = manifest(sensors=SENSORS, window=WindowSpec(length=3), error=ErrorSpec())
    return Detector(made, Projection(3, 3))


def test_usual_is_the_larger_mean_error_of_the_fitted_and_the_held_back_rows() -> None:
    first, last = noise([1, 3, 0], 0), noise([2, 1, 0], 1)
    judge = plain()
    whole = History(
        "pump-1", SENSORS, np.arange(800, dtype=np.int64) * SECOND,
        np.concatenate([first.values, last.values]), None,
    )  # fmt: skip
    usual = usual_errors(judge, split([whole], 0.5))
    assert usual[0] == pytest.approx(mean_errors(judge, [last])[0], rel=0.02)
    assert usual[1] == pytest.approx(mean_errors(judge, [first])[1], rel=0.02)


def test_a_sensor_that_the_model_knows_by_heart_does_not_outweigh_all_others() -> None:
    class Perfect:
        def reconstruct(self, windows: np.ndarray) -> np.ndarray:
            rebuilt = np.zeros_like(windows)
            rebuilt[:, :, 2] = windows[:, :, 2]
            return rebuilt

    judge = Detector(plain().manifest, Perfect())
    usual = usual_errors(judge, split([noise([1, 3, 1], 0)], 0.5))
    assert usual[2] == pytest.approx(1e-3 * sum(usual[:2]) / 3, rel=1e-6)


def test_by_default_a_normal_window_has_an_error_of_about_one_for_every_sensor() -> None:
    made = trained(pump(600), machine="pump-1", wishes=settings())
    assert made.manifest.error.usual is not None
    means = mean_errors(made.detector, made.parts.calibration)
    assert means.max() <= 1.001
    assert made.manifest.threshold.value > 1


def test_absolute_errors_are_not_divided() -> None:
    made = trained(pump(300), machine="pump-1", wishes=settings(sensor_errors="absolute"))
    assert made.manifest.error.usual is None
    assert TINY["window"] == made.manifest.window.length
