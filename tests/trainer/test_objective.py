"""What fitting minimises and how it steps, beside slow and obvious versions."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from config.training import Model
from tests.trainer.test_fitting import apart, copies, swings
from trainer.autoencoder import Autoencoder
from trainer.keras_backend import load
from trainer.networks import Network, network
from trainer.objective import PATTERNS, Objective
from trainer.optimizers import OPTIMIZERS
from trainer.preparation import Windows
from trainer.start import initial

SEED = np.array([3, 1], np.int32)


def linear(windows: Windows) -> tuple[Network, list[Any]]:
    """Two principal components, whose codes' Jacobian has rows of length 1."""
    _, tf = load()
    start = initial(windows, Model(kind="pca", code=2), seed=0)
    found = network(start.architecture)
    return found, [tf.constant(weight) for weight in found.join([start])]


def fitted(windows: Windows, **wishes: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # noqa: ANN401
    """Errors and penalties of windows, shape (N,)."""
    _, tf = load()
    given = copies(windows)
    centre = given.mean(axis=(0, 1))
    found, weights = linear(windows)
    errors, added = Objective(**wishes).fitted(found, weights, tf.constant(given)[None], centre[None], SEED)
    return errors.numpy()[0], added.numpy()[0]


@pytest.mark.parametrize(
    ("loss", "expected"),
    [("mse", (0.25 + 9) / 2), ("mae", (0.5 + 3) / 2), ("huber", (0.25 + 5) / 2)],
)
def test_a_loss_is_the_mean_over_a_window(loss: str, expected: float) -> None:
    _, tf = load()
    rebuilt, given = tf.constant([[[[1.5, 2.0]]]]), tf.constant([[[[1.0, -1.0]]]])
    errors = Objective(loss=loss).errors(rebuilt, given, np.array([False, False]))
    assert errors.numpy() == pytest.approx(np.array([[expected]]))


def test_the_loss_of_a_binary_sensor_is_its_cross_entropy() -> None:
    _, tf = load()
    rebuilt, given = tf.constant([[[[0.8, 3.0]], [[0.8, 3.0]]]]), tf.constant([[[[1.0, 1.0]], [[0.0, 1.0]]]])
    errors = Objective().errors(rebuilt, given, np.array([True, False])).numpy()
    assert errors == pytest.approx(np.array([[(-np.log(0.8) + 4) / 2, (-np.log(0.2) + 4) / 2]]))
    certain = Objective().errors(tf.constant([[[[0.0]]]]), tf.constant([[[[1.0]]]]), np.array([True]))
    assert 10 < certain.numpy()[0, 0] < 20, "a probability of 0 costs much, and not infinitely much"


def test_masking_hides_whole_sensors_behind_their_means() -> None:
    _, tf = load()
    random = np.random.default_rng(0)
    given = random.normal(size=(2, 100, 4, 10)).astype(np.float32)
    centre = 100 + np.arange(20, dtype=np.float32).reshape(2, 10)
    seen = Objective(masking=0.3).corrupted(tf.constant(given), centre, SEED).numpy()
    hidden = (seen != given).any(axis=2)
    assert 0.25 < hidden.mean() < 0.35
    np.testing.assert_array_equal(seen, np.where(hidden[:, :, None], centre[:, None, None], given))
    np.testing.assert_array_equal(hidden[0], hidden[1], "machines must not depend on their neighbours")


def test_noise_has_the_deviation_that_is_asked_for_whatever_the_number_of_windows() -> None:
    _, tf = load()
    given = np.zeros((1, PATTERNS + 5, 20, 30), np.float32)
    noise = Objective(noise=0.3).corrupted(tf.constant(given), given[:, 0, 0], SEED).numpy()
    assert noise.std() == pytest.approx(0.3, rel=0.02)
    fewer = Objective(noise=0.3).corrupted(tf.constant(given[:, :7]), given[:, 0, 0], SEED).numpy()
    np.testing.assert_array_equal(fewer, noise[:, :7])
    other = Objective(noise=0.3).corrupted(tf.constant(given), given[:, 0, 0], SEED + np.int32(1)).numpy()
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05


def test_errors_are_those_of_the_clean_windows() -> None:
    windows = swings(50)
    clean, nothing = fitted(windows)
    noisy, _ = fitted(windows, noise=0.5)
    assert not nothing.any()
    assert clean.mean() < noisy.mean() < clean.mean() + 0.5**2, "a linear code lets a part of the noise pass"


def test_sparsity_is_the_mean_size_of_the_code() -> None:
    windows = swings(50)
    found, weights = linear(windows)
    code, _ = found.encode(weights, copies(windows)[None])
    _, added = fitted(windows, sparsity=0.5)
    np.testing.assert_allclose(added, 0.5 * np.abs(code.numpy()[0]).mean(axis=1), rtol=1e-5)


def test_contraction_is_the_mean_squared_slope_of_the_code() -> None:
    """Of principal components it is 1 for each element, in the mean over what is drawn."""
    _, added = fitted(apart(copies(swings(4000))), contraction=0.5)
    assert added.mean() == pytest.approx(0.5, rel=0.05)
    assert added.std() > 0.1, "each window has a random vector of its own"


def test_l2_is_the_sum_of_the_squared_weights_without_biases() -> None:
    found, weights = linear(swings(50))
    kernels = [weights[0].numpy(), weights[2].numpy()]
    expected = 0.1 * sum(np.square(kernel).sum() for kernel in kernels)
    assert Objective(l2=0.1).decay(found, weights).numpy() == pytest.approx([expected])


@pytest.mark.parametrize("kind", ["dense", "variational"])
def test_dropout_leaves_out_answers_in_fitting_alone_and_keeps_their_mean(
    kind: Literal["dense", "variational"],
) -> None:
    _, tf = load()
    start = initial(swings(50), Model(kind=kind, code=2, units=(8,)), seed=0)
    random = np.random.default_rng(0)
    shaken = (weight + random.normal(size=weight.shape).astype(np.float32) for weight in start.weights)
    found = network(start.architecture, 0.5)
    weights = [tf.constant(weight) for weight in found.join([Autoencoder(start.architecture, tuple(shaken))])]
    given = np.repeat(copies(swings(1)), 5000, axis=0)[None]
    code = np.ones((1, 5000, 2), np.float32)
    for full, fewer in (
        (found.encode(weights, given)[0], found.encode(weights, given, SEED)[0]),
        (found.decode(weights, code), found.decode(weights, code, SEED)),
    ):
        whole, thinned = full.numpy()[0], fewer.numpy()[0]
        assert np.ptp(whole, axis=0).max() < 1e-4, "the same window, and nothing is left out"
        spread = thinned.std(axis=0)
        assert spread.max() > 0.1
        assert (np.abs(thinned.mean(axis=0) - whole[0]) < 5 * spread / np.sqrt(5000) + 1e-4).all()


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_an_optimizer_steps_as_the_one_in_keras(name: str) -> None:
    keras, tf = load()
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(2, 3)), random.normal(size=(6, 2, 3))
    theirs = {
        "adam": keras.optimizers.Adam(0.1),
        "adamw": keras.optimizers.AdamW(0.1),
        "rmsprop": keras.optimizers.RMSprop(0.1),
        "sgd": keras.optimizers.SGD(0.1, momentum=0.9),
    }[name]
    variable = keras.Variable(start)
    weights, slots = [tf.constant(start[None], tf.float32)], ([tf.zeros((1, 2, 3))], [tf.zeros((1, 2, 3))])
    for number, gradient in enumerate(gradients, start=1):
        theirs.apply([tf.constant(gradient, tf.float32)], [variable])
        weights, slots = OPTIMIZERS[name](
            weights,
            [tf.constant(gradient[None], tf.float32)],
            slots,
            tf.constant([float(number)]),
            tf.constant(0.1),
            tf.constant([1.0]),
        )
    np.testing.assert_allclose(
        weights[0].numpy()[0], variable.numpy(), rtol=1e-3
    )  # Keras has 1e-7 within the root


def test_nadam_looks_ahead_by_the_next_momentum() -> None:
    _, tf = load()
    gradients = np.random.default_rng(0).normal(size=8)
    weight, mean, square = 1.0, 0.0, 0.0
    weights, slots = [tf.constant([[weight]])], ([tf.zeros((1, 1))], [tf.zeros((1, 1))])
    for t, gradient in enumerate(gradients, start=1):
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        ahead = 0.9 * mean / (1 - 0.9 ** (t + 1)) + 0.1 * gradient / (1 - 0.9**t)
        weight -= 0.1 * ahead / np.sqrt(square / (1 - 0.999**t))
        weights, slots = OPTIMIZERS["nadam"](
            weights,
            [tf.constant([[gradient]], tf.float32)],
            slots,
            tf.constant([float(t)]),
            tf.constant(0.1),
            tf.constant([1.0]),
        )
    assert weights[0].numpy()[0, 0] == pytest.approx(weight, rel=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_machine_that_waits_is_not_moved(name: str) -> None:
    _, tf = load()
    weights, gradients = [tf.ones((2, 3, 4))], [tf.ones((2, 3, 4))]
    slots = ([tf.ones((2, 3, 4))], [tf.ones((2, 3, 4))])
    moved, (means, squares) = OPTIMIZERS[name](
        weights, gradients, slots, tf.constant([1.0, 1.0]), tf.constant(0.1), tf.constant([1.0, 0.0])
    )
    assert (moved[0].numpy()[0] != 1).all()
    for each in (moved, means, squares):
        np.testing.assert_array_equal(each[0].numpy()[1], np.ones((3, 4)))
