"""Gradient steps for weights with a leading axis of M machines, some of which may stand still.

As Keras makes them, with its constants; Keras itself knows one model at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from trainer.keras_backend import Tensor, load

if TYPE_CHECKING:
    from collections.abc import Mapping

MEAN_DECAY, SQUARE_DECAY, SMALL = 0.9, 0.999, 1e-7
RMSPROP_DECAY = 0.9
WEIGHT_DECAY = 0.004

Weights: TypeAlias = list[Tensor]
Slots: TypeAlias = tuple[list[Tensor], list[Tensor]]  # two tensors for each weight, kept from step to step

# Weights, their gradients, slots; then of each machine the number of the step, from 1, the learning rate,
# and 1, or 0 where it stands still. The new weights and slots.
Optimizer: TypeAlias = Callable[[Weights, Weights, Slots, Tensor, Tensor, Tensor], tuple[Weights, Slots]]


def _adam(
    weights: Weights, gradients: Weights, slots: Slots, taken: Tensor, rate: Tensor, now: Tensor
) -> tuple[Weights, Slots]:
    """Kingma, Ba: Adam (2015)."""
    _, tf = load()
    means, squares = _decayed(gradients, slots, now)
    stride = rate * now * tf.sqrt(1 - SQUARE_DECAY**taken) / (1 - MEAN_DECAY**taken)
    moved = [
        w - _beside(w, stride) * m / (tf.sqrt(s) + SMALL)
        for w, m, s in zip(weights, means, squares, strict=True)
    ]
    return moved, (means, squares)


def _adamw(
    weights: Weights, gradients: Weights, slots: Slots, taken: Tensor, rate: Tensor, now: Tensor
) -> tuple[Weights, Slots]:
    """Loshchilov, Hutter: Decoupled weight decay regularization (2019)."""
    kept = 1 - WEIGHT_DECAY * rate * now
    return _adam([w * _beside(w, kept) for w in weights], gradients, slots, taken, rate, now)


def _nadam(
    weights: Weights, gradients: Weights, slots: Slots, taken: Tensor, rate: Tensor, now: Tensor
) -> tuple[Weights, Slots]:
    """Dozat: Incorporating Nesterov momentum into Adam (2016), with a constant momentum."""
    _, tf = load()
    means, squares = _decayed(gradients, slots, now)
    root = tf.sqrt(1 - SQUARE_DECAY**taken)
    ahead = rate * now * root * MEAN_DECAY / (1 - MEAN_DECAY ** (taken + 1))
    here = rate * now * root * (1 - MEAN_DECAY) / (1 - MEAN_DECAY**taken)
    moved = [
        w - (_beside(w, ahead) * m + _beside(w, here) * g) / (tf.sqrt(s) + SMALL)
        for w, g, m, s in zip(weights, gradients, means, squares, strict=True)
    ]
    return moved, (means, squares)


def _rmsprop(
    weights: Weights, gradients: Weights, slots: Slots, _taken: Tensor, rate: Tensor, now: Tensor
) -> tuple[Weights, Slots]:
    """Tieleman, Hinton: Neural networks for machine learning, lecture 6.5 (2012)."""
    _, tf = load()
    means, squares = slots
    squares = [
        s + (1 - RMSPROP_DECAY) * _beside(s, now) * (g * g - s)
        for g, s in zip(gradients, squares, strict=True)
    ]
    moved = [
        w - _beside(w, rate * now) * g / (tf.sqrt(s) + SMALL)
        for w, g, s in zip(weights, gradients, squares, strict=True)
    ]
    return moved, (means, squares)


def _sgd(
    weights: Weights, gradients: Weights, slots: Slots, _taken: Tensor, rate: Tensor, now: Tensor
) -> tuple[Weights, Slots]:
    """Stochastic gradient descent with momentum: the velocity is kept in place of the mean."""
    velocities, unused = slots
    velocities = [
        v + _beside(v, now) * (g - (1 - MEAN_DECAY) * v) for g, v in zip(gradients, velocities, strict=True)
    ]
    moved = [w - _beside(w, rate * now) * v for w, v in zip(weights, velocities, strict=True)]
    return moved, (velocities, unused)


OPTIMIZERS: Mapping[str, Optimizer] = {
    "adam": _adam,
    "adamw": _adamw,
    "nadam": _nadam,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}


def _decayed(gradients: Weights, slots: Slots, now: Tensor) -> Slots:
    """The decaying means of the gradients and of their squares."""
    to_mean, to_square = (1 - MEAN_DECAY) * now, (1 - SQUARE_DECAY) * now
    means, squares = slots
    return (
        [m + _beside(m, to_mean) * (g - m) for g, m in zip(gradients, means, strict=True)],
        [s + _beside(s, to_square) * (g * g - s) for g, s in zip(gradients, squares, strict=True)],
    )


def _beside(weight: Tensor, of_each: Tensor) -> Tensor:
    """A number of each machine in a shape that multiplies a weight."""
    _, tf = load()
    machines = weight.shape[0] or -1
    return tf.reshape(of_each, (machines, *[1] * (len(weight.shape) - 1)))
