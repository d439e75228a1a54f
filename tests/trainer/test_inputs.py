"""What is learned before the autoencoder is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - allows the import below
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.preprocessing import QuantileTransformer

from config.streams import Channel
from detector.categories import number_of
from detector.channels import Columns
from detector.grid import Grid
from detector.history import History
from detector.inputs import Inputs, Scaler
from detector.kinds import ImputationMethod, ScalingMethod
from tests.trainer.examples import SECOND, START, pump, settings
from trainer import inputs
from trainer.inputs import Fit, fit_imputer, fit_inputs, fit_scaler
from trainer.problems import Unusable

SCALINGS: tuple[ScalingMethod, ...] = get_args(ScalingMethod)
TEXTS = {number_of(text): text for text in ("run", "stop", "wait", "new")}
RUN, STOP, WAIT, NEW = TEXTS


def fit(
    values: NDArray[np.float64],
    sensors: tuple[str, ...],
    channels: Mapping[str, Channel],
    imputation: ImputationMethod = "last",
    scaling: ScalingMethod = "standard",
) -> Fit:
    """What is learned of rows one second apart."""
    history = History("pump-1", sensors, START + SECOND * np.arange(len(values)), values, None, TEXTS)
    wishes = settings(imputation=imputation, scaling=scaling).trainer
    return fit_inputs([history], channels, wishes, Grid(SECOND, START % SECOND))


def plain(width: int) -> Columns:
    return Columns(tuple(f"s{i}" for i in range(width)), {})


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
def test_scaling_is_what_its_name_says_whatever_is_missing(scaling: ScalingMethod) -> None:
    column = np.array([3.0, np.nan, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])
    there = column[~np.isnan(column)]
    quarter, middle, three_quarters = np.quantile(there, [0.25, 0.5, 0.75])
    expected = {
        "standard": (there.mean(), there.std()),
        "minmax": (there.min(), there.max() - there.min()),
        "robust": (middle, three_quarters - quarter),
    }
    spec = fit_scaler(np.column_stack([column, np.full(9, 7.0)]), scaling, plain(2))
    assert (spec.offset[0], spec.scale[0]) == pytest.approx(expected[scaling])
    assert (spec.offset[1], spec.scale[1]) == (7, 1)


def test_quantile_scaling_is_scikit_learn_s_within_the_history_and_a_line_beyond() -> None:
    random = np.random.default_rng(0)
    values = np.column_stack([np.exp(random.normal(size=3000)), np.full(3000, 7.0)])
    values[::7, 0] = np.nan
    scaler = Scaler(fit_scaler(values, "quantile", plain(2)))
    there = values[~np.isnan(values[:, 0])]
    theirs = QuantileTransformer(n_quantiles=1000).fit(there[:, :1]).transform(there[:, :1])
    ours = scaler.scale(there)
    np.testing.assert_allclose(ours[:, 0], theirs[:, 0], atol=0.01)
    middle = np.subtract(*np.quantile(there[:, 0], [0.75, 0.25]))
    beyond = there[:, 0].max() + middle * np.array([1, 2, 100])
    assert scaler.scale(np.column_stack([beyond, [7, 8, 9]])).tolist() == [
        pytest.approx(each, rel=1e-4) for each in ([1.5, 0.5], [2, 1.5], [51, 2.5])
    ]


def test_a_value_that_is_several_quantiles_gets_their_mean() -> None:
    values = np.concatenate([np.zeros(50), np.arange(1, 51)])[:, None]
    scaler = Scaler(fit_scaler(values, "quantile", plain(1)))
    assert scaler.scale(np.array([[0.0], [50.0]]))[:, 0].tolist() == pytest.approx([0.25, 1.0], abs=0.01)


@pytest.mark.parametrize("scaling", SCALINGS)
@given(values=arrays(np.float64, (30, 2), elements=st.integers(-1000, 1000).map(float)))
def test_restoring_undoes_any_scaling_of_rows_that_were_fitted_on(
    scaling: ScalingMethod, values: NDArray[np.float64]
) -> None:
    scaler = Scaler(fit_scaler(values, scaling, plain(2)))
    np.testing.assert_allclose(scaler.restore(scaler.scale(values)), values, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_channels_are_scaled_as_what_they_are(scaling: ScalingMethod) -> None:
    count = np.arange(200)
    values = np.column_stack(
        [count % 17, np.where(count % 3, RUN, STOP), count % 2, 80 + 20 * np.sin(count), 10 * count]
    )
    channels = {
        "mode": Channel("category"),
        "open": Channel("binary"),
        "wind": Channel("angle"),
        "energy": Channel("counter"),
        "elsewhere": Channel("angle"),
    }
    found = fit(values, ("flow", "mode", "open", "wind", "energy"), channels, scaling=scaling)
    offset, scale = found.scaler.offset, found.scaler.scale
    assert found.channels["mode"].categories == ("run", "stop")
    assert "elsewhere" not in found.channels
    assert (offset[1:4], scale[1:4]) == ((0, 0, 0), (1, 1, 1))
    assert scale[4] == scale[5], "an error is the same wherever the angle's 0 is"
    scaled = found.inputs.scale(values)
    assert set(np.unique(scaled[:, 1:4])) == {0, 1}
    assert np.var(scaled[:, 4:6], axis=0).sum() == pytest.approx(2)
    assert found.inputs.scale(np.array([[0, RUN, 1, 0, 10.0]]))[0, 6] == pytest.approx(
        {"quantile": 0.5}.get(scaling, 0)
    ), "a counter that grows evenly is constant"


def test_a_sensor_that_hardly_ever_moves_counts_beyond_its_history_too() -> None:
    values = np.zeros((100, 1))
    values[7], values[50] = 1e-6, 3e-6
    scaler = Scaler(fit_scaler(values, "quantile", plain(1)))
    assert scaler.scale(np.array([[6e-6], [-3e-6]]))[:, 0] == pytest.approx([2, -0.5], abs=0.02)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_sensor_that_mostly_rests_does_not_outweigh_all_others(scaling: ScalingMethod) -> None:
    values = np.zeros((100, 1))
    values[::10] = 5000.0
    scaled = Scaler(fit_scaler(values, scaling, plain(1))).scale(values)
    assert 0.5 <= np.ptp(scaled) <= 5


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust"])
@pytest.mark.parametrize("kind", [None, "counter"])
def test_a_lone_sensor_has_limits_at_four_deviations(scaling: ScalingMethod, kind: str | None) -> None:
    steps = np.random.default_rng(0).gamma(2, size=300)
    values = steps if kind is None else steps.cumsum()
    channels = {} if kind is None else {"meter": Channel("counter")}
    learned = fit(values[:, None], ("meter",), channels, scaling=scaling)
    seen = steps if kind is None else steps[1:]
    assert learned.limits is not None
    in_its_unit = Scaler(learned.scaler).restore(np.array(learned.limits, np.float32)[:, None])
    expected = [seen.mean() - 4 * seen.std(), seen.mean() + 4 * seen.std()]
    assert in_its_unit[:, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("sensors", "channels"),
    [
        (("flow", "load"), {}),
        (("mode",), {"mode": Channel("category")}),
        (("valve",), {"valve": Channel("binary")}),
        (("wind",), {"wind": Channel("angle")}),
    ],
)
def test_sensors_that_are_several_or_no_measurement_have_no_limits(
    sensors: tuple[str, ...], channels: Mapping[str, Channel]
) -> None:
    numbers = [RUN, STOP] if "mode" in channels else [0.0, 1.0]
    values = np.random.default_rng(0).choice(numbers, (300, len(sensors)))
    assert fit(values, sensors, channels).limits is None


def test_turning_an_angle_changes_no_distance() -> None:
    angle = np.random.default_rng(1).normal(0, 20, size=(100, 1))
    one, other = (
        fit(turned, ("wind",), {"wind": Channel("angle")}).inputs.scale(turned)
        for turned in (angle, angle + 123)
    )
    distances = [np.linalg.norm(scaled[:50] - scaled[50:], axis=1) for scaled in (one, other)]
    np.testing.assert_allclose(distances[0], distances[1], rtol=1e-4)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("last", 2), ("median", 2), ("model", 2), ("mode", 1), ("mean", 3.6), ("knn", 3.6), ("iterative", 3.6)],
)  # fmt: skip
def test_an_imputer_falls_back_on_the_centre_of_what_was_there(
    method: ImputationMethod, expected: float
) -> None:
    values = np.array([[1.0], [np.nan], [2.0], [9.0], [1.0], [5.0]])
    columns = plain(1)
    found = fit_imputer(values, method, columns, fit_scaler(values, "standard", columns))
    assert found.fallback == (expected,)


def test_the_mode_of_a_sensor_that_never_repeats_is_in_its_middle() -> None:
    values = np.random.default_rng(3).normal(size=(101, 1))
    columns = plain(1)
    found = fit_imputer(values, "mode", columns, fit_scaler(values, "standard", columns))
    assert found.fallback[0] == np.median(values)


@pytest.mark.parametrize("method", ["last", "median", "mode", "model"])
def test_a_category_falls_back_on_the_most_frequent_one(method: ImputationMethod) -> None:
    modes = np.array([RUN, STOP, WAIT, STOP, RUN, STOP])
    values = np.column_stack([modes, [1, 1, 0, 0, 1, np.nan]])
    found = fit(values, ("mode", "open"), {"mode": Channel("category"), "open": Channel("binary")}, method)
    assert found.imputer.fallback == (0, 1, 0, 1)


def test_neighbours_and_regressions_are_about_as_good_as_scikit_learn_s_own() -> None:
    rows = pump(1500).values
    train, held = rows[:1000], rows[1000:]
    columns = plain(3)
    spec = fit_scaler(train, "standard", columns)
    scaled, truth = Scaler(spec).scale(train), Scaler(spec).scale(held)
    missing = np.random.default_rng(0).random(held.shape) < 0.3
    holed = np.where(missing, np.nan, truth)

    def error(filled: NDArray[np.float32]) -> float:
        return float(np.sqrt(np.square(filled - truth)[missing].mean()))

    def ours(method: ImputationMethod) -> float:
        imputer = fit_imputer(train, method, columns, spec)
        return error(Inputs(columns, imputer, spec).fill(holed[None], missing[None])[0])

    worst = ours("mean")
    assert ours("knn") < 1.1 * error(KNNImputer().fit(scaled).transform(holed)) < 0.6 * worst
    assert ours("iterative") < 1.1 * error(IterativeImputer().fit(scaled).transform(holed)) < 0.6 * worst


def test_what_the_bundle_holds_for_neighbours_is_bounded() -> None:
    rows = np.random.default_rng(0).normal(size=(9000, 3))
    columns = plain(3)
    found = fit_imputer(rows, "knn", columns, fit_scaler(rows, "standard", columns))
    assert len(found.references) == inputs.REFERENCES


@pytest.mark.parametrize("method", get_args(ImputationMethod))
def test_a_history_with_holes_of_one_sensor_or_of_few_rows_can_be_learned_from(
    method: ImputationMethod,
) -> None:
    values = np.full((12, 3), np.nan)
    values[::2, 0], values[3, 1], values[:, 2] = range(6), 4.0, 7.0
    found = fit(values, ("flow", "load", "oil"), {}, method)
    missing = np.ones((1, 2, 3), np.bool_)
    missing[0, 0, 0] = False
    assert np.isfinite(found.inputs.fill(np.where(missing, np.nan, np.float32(1)), missing)).all()
    lone = fit(values[:, :1], ("flow",), {}, method)
    filled = lone.inputs.fill(np.full((1, 1, 1), np.nan, np.float32), np.ones((1, 1, 1), np.bool_))
    assert np.isfinite(filled).all()


def test_what_cannot_be_learned_is_said() -> None:
    every_other = np.where(np.arange(20) % 2, np.nan, np.arange(20))[:, None]
    with pytest.raises(Unusable) as refused:
        fit(every_other, ("energy",), {"energy": Channel("counter")})
    assert refused.value.problems == (
        (
            "sensor energy: must have a value in the rows to fit on, as a counter two in samples that "
            "adjoin, got none; history.ignore_columns leaves it out"
        ),
    )
    names = [f"batch {i}" for i in range(1001)]
    numbers = np.array([number_of(name) for name in names])
    history = History(
        "m",
        ("batch",),
        START + SECOND * np.arange(1001),
        numbers[:, None],
        None,
        dict(zip(numbers, names, strict=True)),
    )
    with pytest.raises(Unusable) as refused:
        fit_inputs([history], {"batch": Channel("category")}, settings().trainer, Grid(SECOND))
    assert refused.value.problems == (
        (
            "sensor batch: must have 1 to 1000 categories in the rows to fit on, got 1001; "
            "is it the name of a single thing? history.ignore_columns leaves it out"
        ),
    )


def test_a_number_without_a_known_text_is_no_category() -> None:
    values = np.array([[RUN], [3.0], [STOP]])
    found = fit(values, ("mode",), {"mode": Channel("category")})
    assert found.channels["mode"].categories == ("run", "stop")
    assert np.isnan(found.inputs.scale(values)[1]).all()
