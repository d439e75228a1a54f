from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.history import History
from detector.manifest import ErrorSpec, ImputationMethod, ScalingMethod, WindowSpec
from detector.scoring import Detector, Errors
from tests.detector.examples import Projection, manifest
from tests.trainer.examples import SECOND, START, pump, with_values
from trainer.calibration import replay_rows
from trainer.parts import count_windows, learn_grid
from trainer.preparation import Preparation, fit_imputer, fit_scaler

IMPUTATIONS: tuple[ImputationMethod, ...] = ("last", "mean", "median")
SCALINGS: tuple[ScalingMethod, ...] = ("standard", "minmax", "robust")


class Recorder:
    """A model that keeps the windows it is given, and answers zeros."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.seen += list(windows.copy())
        return np.zeros_like(windows)


class Counting(Detector):
    """A detector that counts the windows it is shown."""

    shown = 0

    def errors(self, windows: NDArray[np.float32]) -> Errors:
        self.shown += len(windows)
        return super().errors(windows)


@st.composite
def broken_histories(draw: st.DrawFn) -> History:
    """Readings with jitter, holes, repeated times and empty cells."""
    rows = draw(st.integers(2, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = random.choice([1_000, 1_000, 1_000, 1_000, 1_200, 800, 0, 2_000, 3_000, 9_000], size=rows)
    values = random.normal(size=(rows, 2)) * [1, 100]
    values[random.random((rows, 2)) < draw(st.sampled_from((0.0, 0.1, 0.6)))] = np.nan
    return History("pump-1", ("flow", "load"), START + np.cumsum(steps), values)


@given(
    broken_histories(),
    st.builds(
        WindowSpec,
        length=st.integers(1, 5),
        stride=st.integers(1, 3),
        max_gap=st.integers(0, 3),
        min_coverage=st.sampled_from((0.0, 0.1, 0.4, 0.7, 1.0)),
    ),
    st.sampled_from(IMPUTATIONS),
    st.sampled_from(SCALINGS),
)
def test_the_model_is_fitted_on_the_very_windows_that_the_daemon_scores(
    history: History, spec: WindowSpec, imputation: ImputationMethod, scaling: ScalingMethod
) -> None:
    samples = np.vstack([history.values, [[0.0, 0.0], [1.0, 50.0]]])
    imputer, scaler = fit_imputer(samples, imputation), fit_scaler(samples, scaling)
    grid = learn_grid([history], SECOND)
    recorder = Recorder()
    described = msgspec.structs.replace(manifest(window=spec, grid=grid), imputer=imputer, scaler=scaler)
    detector = Counting(described, recorder)
    replayed = replay_rows(detector, [history], AlertPolicy())
    found = Preparation(grid, spec, imputer, scaler).windows([history])
    assert np.isfinite(found.rows).all()
    prepared = found.some(max(1, len(found)))
    # The detector also looks at windows with too few values, before it declines to judge them.
    seen = {window.tobytes() for window in recorder.seen}
    assert len(prepared) == len(replayed.scored)
    assert all(window.tobytes() in seen for window in prepared)
    assert count_windows([history], grid, spec) == (detector.shown, len(replayed.scored))


def test_errors_of_the_prepared_windows_are_the_errors_that_a_replay_gives() -> None:
    history = pump(120)
    history = history.select(("flow", "pressure"))
    imputer, scaler = fit_imputer(history.values, "last"), fit_scaler(history.values, "standard")
    grid, spec = learn_grid([history], None), WindowSpec(8)
    model = Projection(8, 2)
    described = msgspec.structs.replace(
        manifest(sensors=history.sensors, window=spec, grid=grid),
        imputer=imputer,
        scaler=scaler,
        error=ErrorSpec("mse"),
    )
    prepared = Preparation(grid, spec, imputer, scaler).windows([history]).some(1000)
    expected = np.square(model.reconstruct(prepared) - prepared).mean(axis=(1, 2))
    replayed = replay_rows(Detector(described, model), [history], AlertPolicy())
    np.testing.assert_allclose(replayed.errors, expected, rtol=1e-5)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_scaling_is_what_its_name_says_whatever_is_missing(scaling: ScalingMethod) -> None:
    column = np.array([3.0, np.nan, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    there = column[~np.isnan(column)]
    quarter, middle, three_quarters = np.quantile(there, [0.25, 0.5, 0.75])
    expected = {
        "standard": (there.mean(), there.std()),
        "minmax": (there.min(), there.max() - there.min()),
        "robust": (middle, three_quarters - quarter),
    }
    spec = fit_scaler(np.column_stack([column, np.full(9, 7.0)]), scaling)
    assert (spec.offset[0], spec.scale[0]) == pytest.approx(expected[scaling])
    assert (spec.offset[1], spec.scale[1]) == (7, 1)


@pytest.mark.parametrize(("method", "expected"), [("last", 2.0), ("median", 2.0), ("mean", 4.0)])
def test_an_imputer_falls_back_on_the_centre_of_what_was_there(
    method: ImputationMethod, expected: float
) -> None:
    assert fit_imputer(np.array([[1.0], [np.nan], [2.0], [9.0]]), method).fallback == (expected,)


def test_windows_take_the_memory_of_their_rows_where_values_are_missing_too() -> None:
    history = pump(500)
    values = history.values.copy()
    values[100:110, 0] = np.nan
    values[300, :] = np.nan
    holed = with_values(history, values)
    cases: tuple[tuple[ImputationMethod, int], ...] = (("last", 11), ("mean", 0))
    for method, alone in cases:
        imputer, scaler = fit_imputer(values, method), fit_scaler(values, "standard")
        preparation = Preparation(learn_grid([holed], None), WindowSpec(6), imputer, scaler)
        found = preparation.windows([holed])
        assert len(found) == 495
        assert len(found.rows) == 500 + 6 * alone, "a window that begins in a hole has rows of its own"


def test_windows_with_rows_of_their_own_are_thinned_evenly_where_they_are_too_many() -> None:
    values = pump(500).values.copy()
    values[::2, 0] = np.nan
    history = with_values(pump(500), values)
    imputer, scaler = fit_imputer(values, "last"), fit_scaler(values, "standard")
    preparation = Preparation(learn_grid([history], None), WindowSpec(6), imputer, scaler)
    whole = preparation.windows([history])
    assert len(whole) == 495
    thinned = preparation.windows([history], most_imputed=18 * 100)  # of 248
    assert len(thinned) == 495 - 248 + 83
    kept = {window.tobytes() for window in thinned.some(495)}
    assert kept < {window.tobytes() for window in whole.some(495)}


def test_long_histories_are_imputed_in_pieces_without_losing_a_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = pump(100).values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    history = with_values(pump(100), values)
    imputer, scaler = fit_imputer(values, "last"), fit_scaler(values, "standard")
    preparation = Preparation(learn_grid([history], None), WindowSpec(6, stride=2), imputer, scaler)
    whole = preparation.windows([history]).some(100)
    monkeypatch.setattr("trainer.preparation.PIECE", 7)
    np.testing.assert_array_equal(preparation.windows([history]).some(100), whole)


def test_some_windows_are_spread_over_all_and_the_variance_is_that_of_all() -> None:
    history = pump(400)
    imputer, scaler = fit_imputer(history.values, "last"), fit_scaler(history.values, "standard")
    found = Preparation(learn_grid([history], None), WindowSpec(6), imputer, scaler).windows([history])
    whole = found.some(1000)
    np.testing.assert_array_equal(found.some(100), whole[::4])
    assert found.variance() == pytest.approx(np.square(whole - whole.mean(axis=0)).mean(), rel=1e-4)
