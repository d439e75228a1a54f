from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detector.inputs import MAX_SCALED, Imputer, Scaler
from detector.manifest import ErrorKind, ErrorSpec, ImputationMethod, ImputerSpec, ScalerSpec, WindowSpec
from detector.scoring import total
from tests.detector import naive
from tests.detector.examples import Projection, detector, manifest

VALUE = st.one_of(st.floats(-50, 50, width=32), st.just(math.nan))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUE)
)


def unscaled(width: int) -> Scaler:
    return Scaler(ScalerSpec("standard", (0.0,) * width, (1.0,) * width))


@pytest.mark.parametrize("method", ["last", "mean", "median"])
@given(windows=WINDOWS)
def test_imputation_is_that_of_the_definition(method: ImputationMethod, windows: NDArray[np.float64]) -> None:
    fallback = tuple(100.0 + i for i in range(windows.shape[2]))
    scaled = windows.astype(np.float32)
    filled = Imputer(ImputerSpec(method, fallback), unscaled(len(fallback))).fill(scaled, np.isnan(scaled))
    for window, result in zip(scaled, filled, strict=True):
        for i, value in enumerate(fallback):
            assert result[:, i].tolist() == naive.impute(window[:, i].tolist(), method, value)


@pytest.mark.parametrize(
    ("column", "filled"),
    [
        ([1, math.nan, 3], [1, 1, 3]),
        ([math.nan, math.nan, 3], [3, 3, 3]),
        ([math.nan, 2, math.nan], [2, 2, 2]),
        ([math.nan] * 3, [9, 9, 9]),
    ],
)
def test_last_takes_the_newest_earlier_value_else_the_oldest_later_else_the_fallback(
    column: list[float], filled: list[float]
) -> None:
    window = np.array(column, dtype=np.float32)[None, :, None]
    imputer = Imputer(ImputerSpec("last", (9.0,)), unscaled(1))
    assert imputer.fill(window, np.isnan(window)).ravel().tolist() == filled


@given(values=arrays(np.float64, (4, 2), elements=st.floats(-1e4, 1e4)))
def test_restoring_undoes_scaling(values: NDArray[np.float64]) -> None:
    scaler = Scaler(ScalerSpec("standard", (3.0, -7.0), (2.0, 0.5)))
    expected = [[(row[0] - 3) / 2, (row[1] + 7) / 0.5] for row in values]
    np.testing.assert_allclose(scaler.scale(values), expected, rtol=1e-6)
    np.testing.assert_allclose(scaler.restore(scaler.scale(values)), values, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("value", [1e300, 1.7e308, math.inf])
def test_an_absurd_value_is_scaled_to_a_large_number_and_not_to_infinity(value: float) -> None:
    scaled = Scaler(ScalerSpec("standard", (-1e300, 0.0), (1e-9, 1.0))).scale(np.array([value, -value]))
    assert scaled.tolist() == [MAX_SCALED, -MAX_SCALED]


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
