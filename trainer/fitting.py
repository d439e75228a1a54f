"""The weights are fitted: Adam, stopped early by the validation windows, reproducible by seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.keras_backend import Compiled, KerasModel, Tensor, load
from trainer.problems import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from config.training import Model as ModelSettings

CHUNK = 4096  # windows reconstructed at once where nothing is learned
NOTICED = 1e-4  # relative fall of the validation loss that keeps patience up


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one pass over the fit windows ended.

    Attributes:
        epoch: Its number, from 1; 0 is the state before fitting.
        epochs: How many there are at most.
        loss: Mean squared error over the fit windows, on the way.
        validation_loss: The same over the validation windows, at its end.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float


def fit(
    model: KerasModel,
    windows: NDArray[np.float32],
    validation: NDArray[np.float32],
    settings: ModelSettings,
    *,
    seed: int,
    progress: Callable[[Epoch], None],
) -> tuple[Epoch, ...]:
    """Fits a Keras model to reconstruct windows of shape (N, T, F); keeps the best weights.

    The loss is the mean squared error, also where the detector will judge by another error.

    Returns:
        All epochs, the first being the state before fitting.

    Raises:
        Unusable: The loss did not fall: the best weights reconstruct the fit windows no better than
            their mean does, which is what a model without any code would answer.
    """
    _, tf = load()
    fitted_on, judged_on = tf.constant(windows), tf.constant(validation)
    run, loss_of = _compiled(model, fitted_on, settings), _loss_of(model)
    shuffle = np.random.default_rng(seed)
    history = [Epoch(0, settings.epochs, float(loss_of(fitted_on)), float(loss_of(judged_on)))]
    lowest = patient_below = float(loss_of(judged_on))
    weights, since = model.get_weights(), 0
    for number in range(1, settings.epochs + 1):
        loss = float(run(_batches(len(windows), settings.batch_size, shuffle)))
        judged = float(loss_of(judged_on))
        history.append(Epoch(number, settings.epochs, loss, judged))
        progress(history[-1])
        if not math.isfinite(judged):
            break
        if judged < lowest:
            lowest, weights = judged, model.get_weights()
        since = 0 if judged < patient_below else since + 1
        patient_below = min(patient_below, judged * (1 - NOTICED))
        if since >= settings.patience:
            break
    model.set_weights(weights)
    _check_fall(float(loss_of(fitted_on)), windows)
    return tuple(history)


def refit(
    model: KerasModel,
    windows: NDArray[np.float32],
    settings: ModelSettings,
    *,
    epochs: int,
    seed: int,
    progress: Callable[[int], None],
) -> None:
    """Fits a new model for as many epochs as were best in `fit`, on its windows and the validation ones.

    Validation takes the newest rows away from fitting. On short histories that costs more than
    anything else: 0.81 instead of 0.86 of area under the precision-recall curve at 280 rows.

    Args:
        model: Not fitted yet.
        windows: Shape (N, T, F).
        settings: The wishes for the model, of which `epochs` is not used.
        epochs: How many.
        seed: Of the windows' order.
        progress: Is told the number of every epoch that ended, from 1.

    Raises:
        Unusable: See `fit`.
    """
    _, tf = load()
    fitted_on = tf.constant(windows)
    run = _compiled(model, fitted_on, settings)
    shuffle = np.random.default_rng(seed)
    for number in range(1, epochs + 1):
        run(_batches(len(windows), settings.batch_size, shuffle))
        progress(number)
    _check_fall(float(_loss_of(model)(fitted_on)), windows)


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch whose weights `fit` kept."""
    return min((e for e in history if math.isfinite(e.validation_loss)), key=lambda e: e.validation_loss)


def _compiled(model: KerasModel, windows: Tensor, settings: ModelSettings) -> Compiled:
    """A function that runs a whole epoch, so that small batches cost no time in Python."""
    keras, tf = load()
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    variables = model.trainable_variables
    optimizer.build(variables)

    def run(batches: Tensor) -> Tensor:
        total = tf.constant(0.0)
        for step in tf.range(tf.shape(batches)[0]):
            batch = tf.gather(windows, batches[step])
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(model(batch, training=True) - batch))
            optimizer.apply(tape.gradient(loss, variables), variables)
            total += loss
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    return tf.function(run, input_signature=[tf.TensorSpec((None, None), tf.int32)])


def _loss_of(model: KerasModel) -> Compiled:
    _, tf = load()

    def loss_of(windows: Tensor) -> Tensor:
        total = tf.constant(0.0)
        count = tf.shape(windows)[0]
        for start in tf.range(0, count, CHUNK):
            chunk = windows[start : start + CHUNK]
            share = tf.cast(tf.shape(chunk)[0], tf.float32) / tf.cast(count, tf.float32)
            total += share * tf.reduce_mean(tf.square(model(chunk, training=False) - chunk))
        return total

    return tf.function(loss_of, input_signature=[tf.TensorSpec(model.input_shape)])


def _batches(count: int, size: int, shuffle: np.random.Generator) -> NDArray[np.int32]:
    """The windows of each step, shape (steps, size); what is left over waits for another epoch."""
    size = min(size, count)
    steps = count // size
    return shuffle.permutation(count)[: steps * size].reshape(steps, size).astype(np.int32)


def _check_fall(loss: float, windows: NDArray[np.float32]) -> None:
    plain = float(np.square(windows - windows.mean(axis=0)).mean())
    if not loss < plain:
        raise Unusable(
            f"history: must let the loss fall below {plain:.4g}, the error of always answering the mean, "
            f"got {loss:.4g}; anomalyd check-data shows what is in it, and a smaller "
            "trainer.model.learning_rate or more trainer.model.epochs may help"
        )
