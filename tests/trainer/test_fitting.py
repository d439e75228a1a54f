from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from config.training import Model
from detector.channels import Channel, Columns
from tests.trainer.examples import dense
from trainer.autoencoder import Autoencoder, Ensemble
from trainer.fitting import Epoch, best_epoch, check_fall, check_finite, fit, mean_epochs, refit
from trainer.matrices import cropped, padded
from trainer.preparation import Windows
from trainer.stack import Places, answers, learner
from trainer.start import EXPLAINED, begin, initial

LENGTH, WIDTH = 5, 3
COLUMNS = Columns(tuple(f"sensor {i}" for i in range(WIDTH)), {})


def apart(windows: NDArray[np.float32]) -> Windows:
    """Windows that share no rows, from copies of shape (N, T, F)."""
    count, length, width = windows.shape
    starts = length * np.arange(count, dtype=np.int32)
    return Windows(windows.reshape(count * length, width), starts, length)


def swings(count: int, seed: int = 0, lag: float = 1.0) -> Windows:
    """Windows of three sensors that follow one swing, with noise."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 6, size=(count, 1, 1)) + np.arange(LENGTH)[None, :, None] / 2
    clean = np.sin(phase + lag * np.arange(WIDTH))
    return apart((clean + 0.1 * random.normal(size=clean.shape)).astype(np.float32))


def copies(windows: Windows) -> NDArray[np.float32]:
    return windows.some(len(windows))


def loss(autoencoder: Autoencoder, windows: Windows) -> float:
    """As slow and obvious as can be."""
    given = copies(windows)
    return float(np.square(naive(autoencoder, given) - given.reshape(len(given), -1)).mean())


def answer(
    autoencoder: Autoencoder, windows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return answers(Ensemble((autoencoder,)), windows)


def naive(autoencoder: Autoencoder, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    """What an autoencoder with one hidden layer of rectifiers answers, shape (N, T * F)."""
    (into, into_bias, added, hidden, hidden_bias, out, out_bias) = (
        weight.astype(np.float64) for weight in autoencoder.weights
    )
    code = autoencoder.architecture.code
    flat = windows.reshape(len(windows), -1)
    first = flat @ into + into_bias
    inside = first[:, :code] + np.maximum(first[:, code:], 0) @ added
    last = np.maximum(inside @ hidden + hidden_bias, 0)
    answer: NDArray[np.float64] = inside @ out[:code] + last @ out[code:] + out_bias
    return answer


def alone(
    windows: Windows, validation: Windows, settings: Model, seed: int = 0
) -> tuple[Autoencoder, tuple[Epoch, ...]]:
    start = initial(windows, settings, seed=seed)
    (fitted,) = fit([start], [windows], [validation], settings, seeds=[seed], progress=lambda _: None)
    return fitted


def fitted(seed: int, settings: Model) -> tuple[Autoencoder, tuple[Epoch, ...]]:
    return alone(swings(200), swings(60, 1), settings, seed)


SETTINGS = dense(epochs=4, batch_size=16, code=2, units=(8,))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, third = (fitted(seed, SETTINGS)[0].weights for seed in (7, 7, 8))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, other) for one, other in zip(first, third, strict=True))


def test_fitting_starts_at_the_principal_components() -> None:
    windows = swings(200)
    start = initial(windows, SETTINGS, seed=0)
    flat = copies(windows).reshape(200, -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat - mean, full_matrices=False)
    expected = mean + (flat - mean) @ components[:2].T @ components[:2]
    np.testing.assert_allclose(answer(start, copies(windows))[1].reshape(200, -1), expected, atol=2e-4)
    np.testing.assert_allclose(naive(start, copies(windows)), expected, atol=2e-4)


def test_the_code_holds_most_of_the_variance_however_many_components_that_takes() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(2000, 10, 12)).astype(np.float32)
    noise[:, :, 3:] *= 0.1
    start = initial(apart(noise), dense(), seed=0)
    flat = noise.reshape(2000, -1).astype(np.float64)
    held = np.cumsum(np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2)
    exact = int(np.searchsorted(held, EXPLAINED * held[-1])) + 1
    assert 16 < exact < 30, "more components than are looked for at first"
    assert abs(start.architecture.code - exact) <= 1


def test_the_best_weights_are_kept() -> None:
    settings = dense(epochs=12, batch_size=16, code=2, units=(8,), learning_rate=0.05, patience=12)
    model, epochs = fitted(0, settings)
    best = best_epoch(epochs)
    assert best.validation_loss == min(epoch.validation_loss for epoch in epochs)
    assert best.validation_loss < epochs[-1].validation_loss, "the last weights would be the best too"
    assert loss(model, swings(60, 1)) == pytest.approx(best.validation_loss, rel=1e-4)


def test_fitting_stops_when_patience_is_over() -> None:
    settings = dense(epochs=200, batch_size=16, code=2, units=(8,), learning_rate=0.05, patience=3)
    _, epochs = fitted(0, settings)
    assert len(epochs) - 1 < 200
    assert len(epochs) - 1 == best_epoch(epochs).epoch + 3
    assert [epoch.epoch for epoch in epochs] == list(range(len(epochs)))


def test_progress_is_told_after_every_epoch() -> None:
    told: list[Sequence[Epoch]] = []
    start = initial(swings(200), SETTINGS, seed=0)
    ((_, epochs),) = fit([start], [swings(200)], [swings(60, 1)], SETTINGS, seeds=[0], progress=told.append)
    assert [epoch for (epoch,) in told] == list(epochs[1:])


def test_the_nonlinear_layers_learn_what_a_linear_code_cannot() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, size=(600, 1, 1))
    windows = np.concatenate([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)
    settings = dense(epochs=300, batch_size=32, code=1, units=(32, 32), patience=300, learning_rate=3e-3)
    _, epochs = alone(apart(windows[:500]), apart(windows[500:]), settings)
    assert best_epoch(epochs).validation_loss < epochs[0].validation_loss / 2


WISHES = [
    *(dense(activation=name) for name in ("relu", "elu", "selu", "gelu", "silu", "tanh")),
    dense(noise=0.1, masking=0.2, l2=1e-4, loss="huber", optimizer="nadam"),
]


@pytest.mark.parametrize("wishes", WISHES)
def test_a_machine_learns_together_with_others_what_it_learns_alone(wishes: Model) -> None:
    """Others have more windows, wider codes, more patience; some are left with less than a batch."""
    wishes = msgspec.structs.replace(wishes, epochs=6, batch_size=32, learning_rate=0.002, patience=1)
    fits = [swings(200), swings(90, 2, lag=0.3), swings(25, 3), swings(130, 4)]
    judges = [fits[0], swings(30, 6, lag=0.3), swings(12, 7, lag=2), swings(41, 8, lag=0.5)]
    codes = (2, 4, 1, 3)
    starts = [
        initial(windows, replace_code(wishes, code), seed=i)
        for i, (windows, code) in enumerate(zip(fits, codes, strict=True))
    ]
    together = fit(starts, fits, judges, wishes, seeds=[0] * 4, progress=lambda _: None)
    assert len({len(epochs) for _, epochs in together}) > 1, "all stop at once"
    for start, windows, judge, (model, epochs) in zip(starts, fits, judges, together, strict=True):
        ((own_model, own_epochs),) = fit(
            [start], [windows], [judge], wishes, seeds=[0], progress=lambda _: None
        )
        assert model.architecture == own_model.architecture == start.architecture
        assert len(epochs) == len(own_epochs)
        for one, two in zip(epochs, own_epochs, strict=True):
            assert one.loss == pytest.approx(two.loss, rel=1e-3)
            assert one.validation_loss == pytest.approx(two.validation_loss, rel=1e-3)
        for weight, own_weight in zip(model.weights, own_model.weights, strict=True):
            np.testing.assert_allclose(weight, own_weight, atol=2e-3)


def replace_code(settings: Model, code: int) -> Model:
    return dense(activation=settings.activation, code=code, units=(4 * code,), batch_size=settings.batch_size)


def test_refitting_gives_each_machine_its_own_number_of_epochs() -> None:
    windows = [swings(200), swings(120, 1), swings(80, 2)]
    starts = [initial(one, SETTINGS, seed=0) for one in windows]
    told: list[tuple[int, int]] = []
    done = refit(
        starts, windows, SETTINGS, epochs=(0, 3, 2), seeds=[0] * 3, progress=lambda *args: told.append(args)
    )
    assert done[0] is starts[0]
    assert told == [(1, 2), (2, 2), (3, 1)]
    for i, epochs in ((1, 3), (2, 2)):
        (own,) = refit(
            [starts[i]], [windows[i]], SETTINGS, epochs=[epochs], seeds=[0], progress=lambda *_: None
        )
        for one, two in zip(done[i].weights, own.weights, strict=True):
            # Adam makes a whole step of a gradient that is all rounding; an epoch more would be 3e-3.
            np.testing.assert_allclose(one, two, atol=5e-4)
        assert not np.array_equal(done[i].weights[0], starts[i].weights[0])


def test_a_padded_autoencoder_answers_the_same_and_is_cropped_to_itself() -> None:
    start = initial(swings(100), SETTINGS, seed=0)
    sizes = (LENGTH * WIDTH, 5, 11)
    wide = padded(start, sizes)
    architecture = replace(start.architecture, code=5, units=(11,))
    given = copies(swings(10, 1))
    np.testing.assert_allclose(
        answer(Autoencoder(architecture, tuple(wide)), given)[1], answer(start, given)[1], atol=1e-6
    )
    for one, two in zip(cropped(wide, start.architecture).weights, start.weights, strict=True):
        np.testing.assert_array_equal(one, two)


def test_losses_are_those_of_all_windows_however_many_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows = [swings(300), swings(65, 1), swings(64, 2)]
    models = [initial(one, SETTINGS, seed=0) for one in windows]
    expected = [loss(model, one) for model, one in zip(models, windows, strict=True)]
    assert learner(models, dense(), [0] * len(models)).losses(Places.of(windows)) == pytest.approx(
        expected, rel=1e-5
    )
    monkeypatch.setattr("trainer.stack.CHUNK", 1)
    assert learner(models, dense(), [0] * len(models)).losses(Places.of(windows)) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_loss_that_does_not_fall_below_that_of_the_mean_is_refused() -> None:
    windows = swings(200)
    good = initial(windows, SETTINGS, seed=0)
    bad = Autoencoder(good.architecture, tuple(np.zeros_like(weight) for weight in good.weights))
    fine, refused = check_fall([good, bad], [windows, windows], [COLUMNS, COLUMNS])
    assert fine is None
    given = copies(windows)
    plain = float(np.square(given - given.mean(axis=0)).mean())
    assert str(refused) == (
        f"history: must let the loss fall below {plain:.4g}, the error of always answering the mean, "
        f"got {loss(bad, windows):.4g}; anomalyd check-data shows what is in it, and a smaller "
        "trainer.model.learning_rate or more trainer.model.epochs may help"
    )


def test_a_fit_that_ran_away_without_validation_names_the_sensor() -> None:
    windows = swings(200)
    good = initial(windows, SETTINGS, seed=0)
    lost = Autoencoder(good.architecture, tuple(np.full_like(weight, np.nan) for weight in good.weights))
    rows = windows.rows.copy()
    rows[3, 1] = 4e5
    wild = Windows(rows, windows.starts, windows.length)
    fine, refused = check_fall([good, lost], [windows, wild], [COLUMNS, COLUMNS])
    assert fine is None
    assert str(refused).startswith(
        "history: must keep the loss finite, got nan; sensor 1 exploded, whose scaled values reach 4e+05; "
    )


def test_binary_sensors_are_held_against_the_cross_entropy_of_their_mean() -> None:
    rows = (np.random.default_rng(0).random((300, 4)) < 0.3).astype(np.float32)
    windows = Windows(rows, np.arange(300 - LENGTH, dtype=np.int32), LENGTH)
    good = begin(windows, dense(code=2), seed=0, binary=(0, 1, 2, 3)).draw(0)
    biases = np.log(0.3 / 0.7) * np.ones_like(good.weights[-1])
    mean = Autoencoder(good.architecture, (*map(np.zeros_like, good.weights[:-1]), biases))
    share = copies(windows).mean(axis=0, dtype=np.float64)
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share)).mean()
    assert windows.error_of_mean(good.architecture.is_binary) == pytest.approx(entropy)
    fine, refused = check_fall([good, mean], [windows, windows], [COLUMNS, COLUMNS])
    assert fine is None
    assert f"below {entropy:.4g}, the error of always answering the mean" in str(refused)


def test_a_fit_that_runs_away_keeps_the_best_weights_and_harms_no_neighbour() -> None:
    wishes = dense(epochs=5, batch_size=16, code=2, units=(8,))
    calm, wild = swings(200), swings(200, 1)
    huge = Windows(wild.rows * np.float32(1e19), wild.starts, LENGTH)
    start = initial(calm, wishes, seed=0)
    (model, epochs), (kept, lost) = fit(
        [start, start], [calm, huge], [calm, calm], wishes, seeds=[0, 0], progress=lambda _: None
    )
    assert len(epochs) == 6
    assert loss(model, calm) < loss(start, calm)
    assert not np.isfinite(lost[-1].validation_loss)
    assert kept is start


def test_a_sensor_on_which_fitting_ran_away_is_named() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    rows[100, 2] = -4e5
    windows = Windows(rows, np.arange(190, dtype=np.int32), LENGTH)
    columns = Columns(("flow", "heading", "level"), {"heading": Channel("angle", period=360.0)})
    assert columns.width == 4
    wide = Windows(np.insert(rows, 1, 0, axis=1), windows.starts, LENGTH)
    fine, lost = Epoch(1, 9, 0.5, 0.4), Epoch(2, 9, math.nan, math.inf)
    assert check_finite([fine], wide, columns) is None
    assert str(check_finite([fine, lost], wide, columns)) == (
        "history: must keep the loss finite, got nan in fitting and inf in validation after epoch 2; level "
        "exploded, whose scaled values reach 4e+05; anomalyd check-data shows what is in it, and a smaller "
        "trainer.model.learning_rate may help"
    )


def test_a_model_that_sees_noise_in_fitting_is_judged_by_how_well_it_sees_through_noise() -> None:
    """Judged without, the principal components would stay the best."""
    model = dense(epochs=30, batch_size=16, code=4, units=(16,), masking=0.3, learning_rate=0.01)
    fitted_to, judge = swings(300), swings(60, 1)
    _, epochs = alone(fitted_to, judge, model)
    assert best_epoch(epochs).epoch > 5
    assert best_epoch(epochs).validation_loss < 0.8 * epochs[0].validation_loss


def test_pure_noise_is_no_reason_to_refuse() -> None:
    random = np.random.default_rng(0)
    noise = apart(random.normal(size=(60, LENGTH, WIDTH)).astype(np.float32))
    other = apart(random.normal(size=(20, LENGTH, WIDTH)).astype(np.float32))
    model, _ = alone(noise, other, dense(epochs=3))
    assert check_fall([model], [noise], [COLUMNS]) == [None]


@pytest.mark.parametrize(
    ("settings", "code", "units"),
    [
        (dense(), 2, (16,)),
        (dense(code=5), 5, (16,)),
        (dense(units=(9, 7)), 2, (9, 7)),
        (dense(code=40), 40, (80,)),
    ],
)
def test_sizes_follow_the_data_unless_they_are_given(
    settings: Model, code: int, units: tuple[int, ...]
) -> None:
    start = initial(swings(30), settings, seed=0)
    assert (start.architecture.code, start.architecture.units) == (code, units)
    assert Ensemble((start,)).spec("dense").parameters == sum(weight.size for weight in start.weights)
    codes, rebuilt = answer(start, copies(swings(30)))
    assert codes.shape == (30, code)
    assert rebuilt.shape == (30, LENGTH, WIDTH)


def test_the_losses_of_an_ensemble_are_means_in_which_a_member_that_stopped_keeps_its_last() -> None:
    one = [Epoch(0, 9, 4.0, 2.0), Epoch(1, 9, 2.0, 1.0)]
    two = [Epoch(0, 9, 2.0, 4.0), Epoch(1, 9, 2.0, 3.0), Epoch(2, 9, 1.0, 2.0)]
    assert mean_epochs([one, two]) == (Epoch(0, 9, 3.0, 3.0), Epoch(1, 9, 2.0, 2.0), Epoch(2, 9, 1.5, 1.5))
    assert mean_epochs([two]) == tuple(two)
