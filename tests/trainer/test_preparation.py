from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from config.streams import Channel
from detector.alerts import AlertPolicy
from detector.categories import number_of
from detector.history import History
from detector.kinds import ImputationMethod, ScalingMethod
from detector.manifest import ErrorSpec, WindowSpec
from detector.scoring import Detector, Errors
from tests.detector.examples import Projection, manifest
from tests.trainer.examples import SECOND, START, pump, settings, with_values
from trainer.calibration import replay_rows
from trainer.inputs import Fit, fit_inputs
from trainer.parts import count_windows, learn_grid
from trainer.preparation import Preparation

IMPUTATIONS: tuple[ImputationMethod, ...] = get_args(ImputationMethod)
SCALINGS: tuple[ScalingMethod, ...] = get_args(ScalingMethod)
TEXTS = {number_of(text): text for text in ("run", "stop", "explode")}
CHANNELS = {"flow": Channel("counter"), "load": Channel("angle", 4.0), "mode": Channel("category")}


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
    """Readings with jitter, holes, repeated times, empty cells and a category that is rare."""
    rows = draw(st.integers(2, 60))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = random.choice([1_000, 1_000, 1_000, 1_000, 1_200, 800, 0, 2_000, 3_000, 9_000], size=rows)
    mode = random.choice(list(TEXTS), p=[0.6, 0.3, 0.1], size=rows)
    values = np.column_stack([random.normal(size=(rows, 2)) * [1, 100], mode])
    values[random.random((rows, 3)) < draw(st.sampled_from((0.0, 0.1, 0.6)))] = np.nan
    return History("pump-1", ("flow", "load", "mode"), START + np.cumsum(steps), values, None, TEXTS)


def fit(
    history: History,
    imputation: ImputationMethod = "last",
    scaling: ScalingMethod = "standard",
    channels: Mapping[str, Channel] | None = None,
) -> Fit:
    wishes = settings(imputation=imputation, scaling=scaling).trainer
    return fit_inputs([history], channels or {}, wishes, learn_grid([history], SECOND))


def sample(*rows: tuple[float, ...]) -> History:
    """Rows one second apart."""
    at = START + SECOND * np.arange(len(rows))
    return History("pump-1", ("flow", "load", "mode")[: len(rows[0])], at, np.array(rows), None, TEXTS)


RUN, STOP, _ = TEXTS
BEFORE = sample(*[(i % 5, i % 3, (RUN, STOP)[i % 2]) for i in range(20)])


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
    st.sets(st.sampled_from(("flow", "load"))),
)
def test_the_model_is_fitted_on_the_very_windows_that_the_daemon_scores(
    history: History, spec: WindowSpec, imputation: ImputationMethod, scaling: ScalingMethod, plain: set[str]
) -> None:
    channels = {name: channel for name, channel in CHANNELS.items() if name not in plain}
    found = fit(BEFORE, imputation, scaling, channels)
    grid = learn_grid([history], SECOND)
    recorder = Recorder()
    described = msgspec.structs.replace(
        manifest(sensors=history.sensors, window=spec, grid=grid),
        imputer=found.imputer,
        scaler=found.scaler,
        channels=found.channels,
    )
    detector = Counting(described, recorder)
    replayed = replay_rows(detector, [history], AlertPolicy())
    windows = Preparation(grid, spec, found.inputs).windows([history])
    assert np.isfinite(windows.rows).all()
    prepared = windows.some(max(1, len(windows)))
    assert len(prepared) == len(replayed.scored)
    # The detector also looks at windows with too few values, before it declines to judge them.
    seen = np.array(recorder.seen).reshape(-1, *prepared.shape[1:])
    for window in prepared:
        assert np.abs(seen - window).max(axis=(1, 2)).min() < 1e-4, "up to the rounding of larger batches"
    counted = count_windows([history], grid, spec, found.columns.counters)
    assert counted[0] == detector.shown
    if not np.isin(history.values[:, 2], number_of("explode")).any():  # which only the fit knows to be new
        assert counted[1] == len(replayed.scored)


def test_errors_of_the_prepared_windows_are_the_errors_that_a_replay_gives() -> None:
    history = pump(120)
    history = history.select(("flow", "pressure"))
    found = fit(history)
    grid, spec = learn_grid([history], None), WindowSpec(8)
    model = Projection(8, 2)
    described = msgspec.structs.replace(
        manifest(sensors=history.sensors, window=spec, grid=grid),
        imputer=found.imputer,
        scaler=found.scaler,
        error=ErrorSpec("mse"),
    )
    prepared = Preparation(grid, spec, found.inputs).windows([history]).some(1000)
    expected = np.square(model.reconstruct(prepared) - prepared).mean(axis=(1, 2))
    replayed = replay_rows(Detector(described, model), [history], AlertPolicy())
    np.testing.assert_allclose(replayed.errors, expected, rtol=1e-5)


def test_windows_take_the_memory_of_their_rows_where_values_are_missing_too() -> None:
    history = pump(500)
    values = history.values.copy()
    values[100:110, 0] = np.nan
    values[300, :] = np.nan
    holed = with_values(history, values)
    cases: tuple[tuple[ImputationMethod, int], ...] = (("last", 11), ("mean", 0))
    for method, alone in cases:
        inputs = fit(holed, method).inputs
        preparation = Preparation(learn_grid([holed], None), WindowSpec(6), inputs)
        found = preparation.windows([holed])
        assert len(found) == 495
        assert len(found.rows) == 500 + 6 * alone, "a window that begins in a hole has rows of its own"


def test_windows_with_rows_of_their_own_are_thinned_evenly_where_they_are_too_many() -> None:
    values = pump(500).values.copy()
    values[::2, 0] = np.nan
    history = with_values(pump(500), values)
    inputs = fit(history, "last").inputs
    preparation = Preparation(learn_grid([history], None), WindowSpec(6), inputs)
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
    inputs = fit(history, "last").inputs
    preparation = Preparation(learn_grid([history], None), WindowSpec(6, stride=2), inputs)
    whole = preparation.windows([history]).some(100)
    monkeypatch.setattr("trainer.scorable.PIECE", 7)
    np.testing.assert_array_equal(preparation.windows([history]).some(100), whole)


def test_some_windows_are_spread_over_all_and_the_variance_is_that_of_all() -> None:
    history = pump(400)
    inputs = fit(history, "last").inputs
    found = Preparation(learn_grid([history], None), WindowSpec(6), inputs).windows([history])
    whole = found.some(1000)
    np.testing.assert_array_equal(found.some(100), whole[::4])
    assert found.error_of_mean(np.zeros(whole.shape[2], np.bool_)) == pytest.approx(
        np.square(whole - whole.mean(axis=0)).mean(), rel=1e-4
    )
