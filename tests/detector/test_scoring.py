from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detector.categories import number_of
from detector.channels import Channel
from detector.manifest import ErrorKind, ErrorSpec, ScalerSpec, WindowSpec
from detector.scoring import total
from tests.detector import naive
from tests.detector.examples import Projection, detector, manifest

VALUE = st.one_of(st.floats(-50, 50, width=32), st.just(math.nan))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUE)
)


@pytest.mark.parametrize("kind", ["mse", "rmse", "mae"])
@given(windows=WINDOWS)
def test_errors_are_those_of_the_definition(kind: ErrorKind, windows: NDArray[np.float64]) -> None:
    count, length, width = windows.shape
    sensors = tuple(f"s{i}" for i in range(width))
    made = manifest(sensors=sensors, window=WindowSpec(length=length), error=ErrorSpec(kind=kind))
    model = Projection(length, width)
    scoring = detector(made, model)
    errors = scoring.errors(scoring.scale(windows))
    for n in range(count):
        rows = [tuple(row) for row in windows[n].tolist()]
        parts, expected = naive.shares(rows, made, model)
        np.testing.assert_allclose(errors.share[n], parts, rtol=1e-4, atol=1e-4)
        assert detector(made, model).expected(errors.last[n]) == pytest.approx(expected, rel=1e-4, abs=1e-3)
        assert total(errors.share[n], kind) == pytest.approx(naive.total(parts, kind), rel=1e-3, abs=1e-2)
        there = [[not math.isnan(v) for v in row] for row in rows]
        assert errors.coverage[n] == sum(map(sum, there)) / (length * width)
        assert errors.missing[n].tolist() == [not all(column) for column in zip(*there, strict=True)]


def test_an_error_is_that_of_a_sensor_however_many_columns_it_has() -> None:
    channels = {"mode": Channel("category", categories=("run", "stop", "wait")), "wind": Channel("angle")}
    made = manifest(sensors=("mode", "flow", "wind"), channels=channels, window=WindowSpec(length=2))
    plain = msgspec.structs.replace(made, scaler=ScalerSpec("standard", (0.0,) * 6, (1.0,) * 6))

    class Nothing:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.zeros_like(windows)

    scoring = detector(plain, Nothing())
    window = np.array([[number_of("run"), 2, 90], [number_of("explode"), math.nan, 200]])
    errors = scoring.errors(scoring.scale(window[None]))
    assert errors.share[0] == pytest.approx(np.array([1, 4, 2]) / 4), "one-hot and angles have length 1"
    assert errors.coverage.tolist() == [4 / 6]
    assert errors.missing.tolist() == [[True, True, False]]
    assert errors.last.shape == (1, 6)


def test_each_kind_of_error_is_what_its_name_says() -> None:
    window = np.array([[[1.0, 2.0], [3.0, math.nan]]])

    class Nothing:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.zeros_like(windows)

    def error(kind: ErrorKind) -> float:
        made = manifest(window=WindowSpec(length=2), error=ErrorSpec(kind=kind))
        plain = msgspec.structs.replace(made, scaler=ScalerSpec("standard", (0.0, 0.0), (1.0, 1.0)))
        scoring = detector(plain, Nothing())
        return float(total(scoring.errors(scoring.scale(window)).share[0], kind))

    assert error("mse") == pytest.approx((1 + 4 + 9) / 3)
    assert error("rmse") == pytest.approx(math.sqrt((1 + 4 + 9) / 3))
    assert error("mae") == pytest.approx((1 + 2 + 3) / 3)


def test_each_sensors_error_is_divided_by_its_usual_error() -> None:
    window = np.array([[[1.0, 2.0], [3.0, math.nan]]])

    class Nothing:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.zeros_like(windows)

    made = manifest(window=WindowSpec(length=2), error=ErrorSpec(usual=(10.0, 0.5)))
    plain = msgspec.structs.replace(made, scaler=ScalerSpec("standard", (0.0, 0.0), (1.0, 1.0)))
    scoring = detector(plain, Nothing())
    share = scoring.errors(scoring.scale(window)).share[0]
    assert share == pytest.approx(np.array([(1 + 9) / 10, 4 / 0.5]) / 3)


def test_a_model_that_reproduces_everything_is_off_by_what_is_beyond_the_limits() -> None:
    class Same:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            return windows.copy()

    made = msgspec.structs.replace(
        manifest(sensors=("flow",), window=WindowSpec(length=3)), limits=(-2.0, 4.0)
    )
    scoring = detector(msgspec.structs.replace(made, scaler=ScalerSpec("standard", (10.0,), (2.0,))), Same())
    values = np.array([[[10.0], [18.0], [6.0]], [[math.nan], [24.0], [4.0]]])
    errors = scoring.errors(scoring.scale(values))
    assert errors.share[:, 0].tolist() == [0, (3**2 + 1**2) / 2], "in deviations of 2"
    assert scoring.expected(errors.last[1]) == [6.0], "the limit, in the sensor's own unit"


@given(window=arrays(np.float64, (3, 2), elements=VALUE), other=st.floats(-50, 50))
def test_an_imputed_value_counts_nothing_in_the_error(window: NDArray[np.float64], other: float) -> None:
    window[1, 0] = math.nan

    class Off:
        def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
            rebuilt = windows.copy()
            rebuilt[:, 1, 0] += other
            return rebuilt

    scoring = detector(manifest(), Off())
    assert scoring.errors(scoring.scale(window[None])).share.tolist() == [[0.0, 0.0]]
