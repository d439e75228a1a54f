from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from config.training import Model
from trainer.autoencoder import Autoencoder, build
from trainer.fitting import Epoch, best_epoch, fit, refit
from trainer.keras_backend import KerasModel, load
from trainer.problems import Unusable

LENGTH, WIDTH = 5, 3


def swings(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Windows of three sensors that follow one swing, with noise."""
    random = np.random.default_rng(seed)
    phase = random.uniform(0, 6, size=(count, 1, 1)) + np.arange(LENGTH)[None, :, None] / 2
    clean = np.sin(phase + np.arange(WIDTH))
    return (clean + 0.1 * random.normal(size=clean.shape)).astype(np.float32)


def weights(model: KerasModel) -> list[NDArray[np.float32]]:
    found: list[NDArray[np.float32]] = model.get_weights()
    return found


def loss(model: KerasModel, windows: NDArray[np.float32]) -> float:
    return float(np.square(np.asarray(model(windows)) - windows).mean())


def fitted(seed: int, settings: Model) -> tuple[Autoencoder, tuple[Epoch, ...]]:
    model = build(swings(200), settings, seed=seed)
    epochs = fit(model.whole, swings(200), swings(60, 1), settings, seed=seed, progress=lambda _: None)
    return model, epochs


SETTINGS = Model(epochs=4, batch_size=16, code=2, units=(8,))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    first, second, third = (fitted(seed, SETTINGS)[0] for seed in (7, 7, 8))
    for one, two in zip(weights(first.whole), weights(second.whole), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        not np.array_equal(one, other)
        for one, other in zip(weights(first.whole), weights(third.whole), strict=True)
    )


def test_fitting_starts_at_the_principal_components() -> None:
    windows = swings(200)
    model = build(windows, SETTINGS, seed=0)
    flat = windows.reshape(200, -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat - mean, full_matrices=False)
    expected = mean + (flat - mean) @ components[:2].T @ components[:2]
    np.testing.assert_allclose(np.asarray(model.whole(windows)).reshape(200, -1), expected, atol=2e-4)


def test_the_best_weights_are_kept() -> None:
    settings = Model(epochs=12, batch_size=16, code=2, units=(8,), learning_rate=0.05, patience=12)
    model, epochs = fitted(0, settings)
    best = best_epoch(epochs)
    assert best.validation_loss == min(epoch.validation_loss for epoch in epochs)
    assert best.validation_loss < epochs[-1].validation_loss, "the last weights would be the best too"
    assert loss(model.whole, swings(60, 1)) == pytest.approx(best.validation_loss, rel=1e-4)


def test_fitting_stops_when_patience_is_over() -> None:
    settings = Model(epochs=200, batch_size=16, code=2, units=(8,), learning_rate=0.05, patience=3)
    _, epochs = fitted(0, settings)
    assert len(epochs) - 1 < 200
    assert len(epochs) - 1 == best_epoch(epochs).epoch + 3
    assert [epoch.epoch for epoch in epochs] == list(range(len(epochs)))


def test_progress_is_told_after_every_epoch() -> None:
    told: list[Epoch] = []
    model = build(swings(200), SETTINGS, seed=0)
    epochs = fit(model.whole, swings(200), swings(60, 1), SETTINGS, seed=0, progress=told.append)
    assert tuple(told) == epochs[1:]


def test_the_nonlinear_layers_learn_what_a_linear_code_cannot() -> None:
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, size=(600, 1, 1))
    windows = np.concatenate([np.cos(angle), np.sin(angle)], axis=2).astype(np.float32)
    settings = Model(epochs=300, batch_size=32, code=1, units=(32, 32), patience=300, learning_rate=3e-3)
    model = build(windows[:500], settings, seed=0)
    linear = loss(model.whole, windows[500:])
    fit(model.whole, windows[:500], windows[500:], settings, seed=0, progress=lambda _: None)
    assert loss(model.whole, windows[500:]) < linear / 2


def test_refitting_for_no_epoch_leaves_the_principal_components() -> None:
    model = build(swings(200), SETTINGS, seed=0)
    before = weights(model.whole)
    told: list[int] = []
    refit(model.whole, swings(200), SETTINGS, epochs=0, seed=0, progress=told.append)
    for one, two in zip(before, weights(model.whole), strict=True):
        np.testing.assert_array_equal(one, two)
    refit(model.whole, swings(200), SETTINGS, epochs=2, seed=0, progress=told.append)
    assert told == [1, 2]
    assert any(not np.array_equal(*pair) for pair in zip(before, weights(model.whole), strict=True))


@pytest.mark.parametrize("learning_rate", [1e-12, 1.0])
def test_a_loss_that_does_not_fall_below_that_of_the_mean_is_refused(learning_rate: float) -> None:
    keras, _ = load()
    keras.utils.set_random_seed(0)
    given = keras.Input((LENGTH, WIDTH))
    hidden = keras.layers.Dense(64, "relu")(keras.layers.Flatten()(given))
    rebuilt = keras.layers.Reshape((LENGTH, WIDTH))(keras.layers.Dense(LENGTH * WIDTH)(hidden))
    model = keras.Model(given, rebuilt)
    settings = Model(epochs=2, batch_size=16, learning_rate=learning_rate)
    with pytest.raises(Unusable) as caught:
        fit(model, swings(200), swings(60, 1), settings, seed=0, progress=lambda _: None)
    windows = swings(200)
    plain = float(np.square(windows - windows.mean(axis=0)).mean())
    assert str(caught.value) == (
        f"history: must let the loss fall below {plain:.4g}, the error of always answering the mean, "
        f"got {loss(model, windows):.4g}; anomalyd check-data shows what is in it, and a smaller "
        "trainer.model.learning_rate or more trainer.model.epochs may help"
    )


def test_pure_noise_is_no_reason_to_refuse() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(size=(60, LENGTH, WIDTH)).astype(np.float32)
    other = random.normal(size=(20, LENGTH, WIDTH)).astype(np.float32)
    model = build(noise, Model(epochs=3), seed=0)
    assert fit(model.whole, noise, other, Model(epochs=3), seed=0, progress=lambda _: None)


@pytest.mark.parametrize(
    ("settings", "code", "units"),
    [
        (Model(), 2, (16,)),
        (Model(code=5), 5, (16,)),
        (Model(units=(9, 7)), 2, (9, 7)),
        (Model(code=40), 40, (80,)),
    ],
)
def test_sizes_follow_the_data_unless_they_are_given(
    settings: Model, code: int, units: tuple[int, ...]
) -> None:
    model = build(swings(30), settings, seed=0)
    assert (model.spec.code, model.spec.units) == (code, units)
    assert model.encoder.output_shape == (None, code)
    assert model.decoder.input_shape == (None, code)
    assert model.decoder.output_shape == model.whole.output_shape == (None, LENGTH, WIDTH)
    assert model.spec.parameters == sum(int(np.prod(weight.shape)) for weight in weights(model.whole))
    inside = [layer.units for layer in model.encoder.layers if layer.name.startswith("dense")]
    assert tuple(inside) == units
