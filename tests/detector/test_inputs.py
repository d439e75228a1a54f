from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from detector.inputs import MAX_SCALED, Imputer, Scaler
from detector.kinds import ImputationMethod
from detector.manifest import Curve, ImputerSpec, ScalerSpec
from tests.detector import naive
from tests.detector.examples import manifest

VALUE = st.one_of(st.floats(-50, 50, width=32), st.just(math.nan))
WINDOWS = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=VALUE)
)


def unscaled(width: int) -> Scaler:
    return Scaler(ScalerSpec("standard", (0.0,) * width, (1.0,) * width))


@pytest.mark.parametrize("method", ["last", "mean", "median", "mode", "model"])
@given(windows=WINDOWS)
def test_imputation_is_that_of_the_definition(method: ImputationMethod, windows: NDArray[np.float64]) -> None:
    fallback = tuple(100.0 + i for i in range(windows.shape[2]))
    scaled = windows.astype(np.float32)
    filled = Imputer(ImputerSpec(method, fallback), unscaled(len(fallback))).fill(scaled, np.isnan(scaled))
    for window, result in zip(scaled, filled, strict=True):
        for i, value in enumerate(fallback):
            assert result[:, i].tolist() == naive.impute(window[:, i].tolist(), method, value)


@pytest.mark.parametrize("method", ["knn", "iterative"])
@given(windows=WINDOWS)
def test_imputation_from_the_other_sensors_is_that_of_the_definition(
    method: ImputationMethod, windows: NDArray[np.float64]
) -> None:
    made = manifest(sensors=("flow", "load", "oil")[: windows.shape[2]], imputation=method)
    scaler = Scaler(made.scaler)
    scaled = scaler.scale(windows)
    filled = Imputer(made.imputer, scaler).fill(scaled, np.isnan(scaled))
    for window, result in zip(scaled, filled, strict=True):
        np.testing.assert_allclose(result, naive.filled(window.tolist(), made), rtol=1e-4, atol=1e-4)


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


def test_neighbours_are_those_in_the_columns_that_are_there() -> None:
    references = tuple((float(i), 10.0 * i) for i in range(20))
    imputer = Imputer(ImputerSpec("knn", (0.5, 0.5), references=references), unscaled(2))
    window = np.array([[[7.1, np.nan], [np.nan, 101.0], [np.nan, np.nan]]], dtype=np.float32)
    filled = imputer.fill(window, np.isnan(window))
    assert filled[0, :, 0].tolist() == pytest.approx([7.1, 10, 0.5])
    assert filled[0, :, 1].tolist() == pytest.approx([70, 101, 0.5])


def test_what_is_predicted_agrees_with_the_sensors_that_are_there() -> None:
    regressions = (
        (0.0, 0.0, 2.0, 1.0),
        (0.5, 0.0, 1.0, 0.0),
        (0.5, 0.0, 0.0, -0.5),
    )  # a = 2c + 1, b = a/2 + c
    imputer = Imputer(ImputerSpec("iterative", (9.0,) * 3, regressions=regressions), unscaled(3))
    window = np.array([[[np.nan, np.nan, 3.0]]], dtype=np.float32)
    assert imputer.fill(window, np.isnan(window)).tolist() == [[[7.0, 6.5, 3.0]]]


CURVE = Curve((-1.0, 0.0, 0.5, 100.0), (0.0, 0.25, 0.9, 1.0))
SCALERS = {
    "line": ScalerSpec("standard", (3.0, -7.0), (2.0, 0.5)),
    "curve": ScalerSpec("quantile", (0.0, 0.0), (2.0, 3.0), (CURVE, None)),
    "lone point": ScalerSpec("quantile", (0.0, 0.0), (2.0, 3.0), (Curve((5.0,), (0.5,)), None)),
}


@pytest.mark.parametrize("spec", SCALERS.values(), ids=SCALERS)
@given(values=arrays(np.float64, (4, 2), elements=st.floats(-1e3, 1e3)))
def test_restoring_undoes_scaling(spec: ScalerSpec, values: NDArray[np.float64]) -> None:
    scaler = Scaler(spec)
    scaled = scaler.scale(values)
    expected = [[naive.scale(value, i, spec) for i, value in enumerate(row)] for row in values.tolist()]
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scaler.restore(scaled), values, rtol=1e-5, atol=1e-3)


def test_beyond_the_ends_of_a_curve_a_value_goes_on_to_count() -> None:
    scaler = Scaler(SCALERS["curve"])
    scaled = scaler.scale(np.array([[-21.0, 0.0], [120.0, 0.0]]))[:, 0]
    assert scaled.tolist() == [-10, 11]


@pytest.mark.parametrize("value", [1e300, 1.7e308, math.inf])
@pytest.mark.parametrize("curves", [(), (CURVE, CURVE)])
def test_an_absurd_value_is_scaled_to_a_large_number_and_not_to_infinity(
    value: float, curves: tuple[Curve | None, ...]
) -> None:
    spec = ScalerSpec("quantile", (-1e300, 0.0), (1e-9, 1.0), curves)
    assert Scaler(spec).scale(np.array([value, -value])).tolist() == [MAX_SCALED, -MAX_SCALED]
