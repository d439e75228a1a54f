"""Autoencoders as functions of their weights and of windows, with a leading axis of M machines."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from trainer.autoencoder import Architecture, Autoencoder
from trainer.keras_backend import Tensor, building, load
from trainer.matrices import axes, cropped, padded, sizes
from trainer.models import KINDS
from trainer.models.halves import bounded, halves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MOST_MADE = 64  # networks that are kept


class Purpose(IntEnum):
    """What is drawn at random in fitting, each from a seed of its own; see `split`."""

    NOISE = 0
    MASKING = 1
    CODE = 2
    DIRECTION = 3
    ENCODER = 4
    DECODER = 5


def split(seed: Tensor, number: int) -> Tensor:
    """Another seed of two whole numbers for each number."""
    _, tf = load()
    return tf.random.experimental.stateless_fold_in(seed, number)


class Network(Protocol):
    """What fitting needs to know of an architecture.

    Attributes:
        binary: Which sensors are, shape (F,); see `Architecture`.
        specs: What the weights look like, M machines together.
        kernels: Which of the weights are no biases.
    """

    binary: NDArray[np.bool_]
    specs: list[Tensor]
    kernels: list[bool]

    def join(self, autoencoders: Sequence[Autoencoder]) -> list[NDArray[np.float32]]:
        """The weights of M machines."""

    def part(self, weights: Sequence[NDArray[np.float32]], it: Architecture) -> Autoencoder:
        """One machine of them, as copies."""

    def encode(
        self, weights: list[Tensor], windows: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Codes, shape (M, N, code), of windows (M, N, T, F), and the logarithms of their variances if any.

        With a seed, as it is fitted: by chance, some of the hidden layers' answers are left out.
        """

    def decode(self, weights: list[Tensor], code: Tensor, seed: Tensor | None = None) -> Tensor:
        """Windows of codes."""


class Dense:
    """Dense autoencoders of M machines, of any sizes, by `trainer.matrices`."""

    def __init__(self, it: Architecture, dropout: float) -> None:
        keras, tf = load()
        hidden_layers = len(it.units)
        self.binary = it.is_binary
        self.specs = [tf.TensorSpec((None, None, None))] * len(axes(hidden_layers))
        self.kernels = [rows != () for rows, _ in axes(hidden_layers)]
        self._it = it
        self._dropout = dropout
        self._bend = keras.activations.get(it.activation)
        self._added = 2 * hidden_layers  # place of the matrix from the encoder's hidden layers into the code

    def join(self, autoencoders: Sequence[Autoencoder]) -> list[NDArray[np.float32]]:
        """See `Network`."""
        widest = tuple(map(max, zip(*(sizes(one.architecture) for one in autoencoders), strict=True)))
        padding = (padded(one, widest) for one in autoencoders)
        return [np.stack(weight) for weight in zip(*padding, strict=True)]

    def part(self, weights: Sequence[NDArray[np.float32]], it: Architecture) -> Autoencoder:
        """See `Network`."""
        return cropped(weights, it)

    def encode(
        self, weights: list[Tensor], windows: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Network`."""
        _, tf = load()
        machines, count, length, width = tf.unstack(tf.shape(windows))
        code = tf.shape(weights[self._added])[2]
        first = tf.reshape(windows, (machines, count, length * width)) @ weights[0] + weights[1]
        hidden = self._through(weights[2 : self._added], self._bend(first[:, :, code:]))
        hidden = self._thinned(hidden, seed, Purpose.ENCODER)
        return first[:, :, :code] + hidden @ weights[self._added], None

    def decode(self, weights: list[Tensor], code: Tensor, seed: Tensor | None = None) -> Tensor:
        """See `Network`."""
        _, tf = load()
        machines, count, _ = tf.unstack(tf.shape(code))
        hidden = self._through(weights[self._added + 1 : -2], code)
        hidden = self._thinned(hidden, seed, Purpose.DECODER)
        rebuilt = tf.concat([code, hidden], axis=2) @ weights[-2] + weights[-1]
        rebuilt = tf.reshape(rebuilt, (machines, count, -1, self._it.width))
        return bounded(rebuilt, self._it) if self._it.binary else rebuilt

    def _through(self, weights: list[Tensor], given: Tensor) -> Tensor:
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            given = self._bend(given @ kernel + bias)
        return given

    def _thinned(self, hidden: Tensor, seed: Tensor | None, half: Purpose) -> Tensor:
        _, tf = load()
        if seed is None or not self._dropout:
            return hidden
        kept = tf.random.stateless_uniform(tf.shape(hidden)[1:], split(seed, half)) >= self._dropout
        return tf.where(kept, hidden / (1 - self._dropout), 0.0)


class Single:
    """The autoencoder of one machine, of any kind, by Keras."""

    def __init__(self, it: Architecture, dropout: float) -> None:
        _, tf = load()
        self._halves = halves(it, dropout=dropout)
        self._variational = KINDS[it.kind].variational
        variables = self._halves.variables
        self.binary = it.is_binary
        self.specs = [tf.TensorSpec((1, *variable.shape)) for variable in variables]
        self.kernels = ["kernel" in variable.path for variable in variables]
        self._of_encoder = len(self._halves.fitted.trainable_variables)
        self._shape = (it.length, it.width)

    def join(self, autoencoders: Sequence[Autoencoder]) -> list[NDArray[np.float32]]:
        """See `Network`."""
        (one,) = autoencoders
        return [weight[None] for weight in one.weights]

    def part(self, weights: Sequence[NDArray[np.float32]], it: Architecture) -> Autoencoder:
        """See `Network`."""
        return Autoencoder(it, tuple(weights))

    def encode(
        self, weights: list[Tensor], windows: Tensor, seed: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """See `Network`."""
        _, tf = load()
        given = tf.reshape(windows, (-1, *self._shape))
        found = self._call(self._halves.fitted, weights[: self._of_encoder], given, seed, Purpose.ENCODER)
        if not self._variational:
            return found[None], None
        code, spread = found
        return code[None], spread[None]

    def decode(self, weights: list[Tensor], code: Tensor, seed: Tensor | None = None) -> Tensor:
        """See `Network`."""
        return self._call(self._halves.decoder, weights[self._of_encoder :], code[0], seed, Purpose.DECODER)[
            None
        ]

    def _call(
        self, half: Tensor, weights: list[Tensor], given: Tensor, seed: Tensor | None, purpose: Purpose
    ) -> Tensor:
        """Calls a half as a function. What else Keras keeps are the states of random generators."""
        _, tf = load()
        own = tf.zeros(2, tf.int32) if seed is None else split(seed, purpose)
        states = [tf.cast(own, state.dtype) for state in half.non_trainable_variables]
        answer, _ = half.stateless_call(
            [weight[0] for weight in weights], states, given, training=seed is not None
        )
        return answer


def network(it: Architecture, dropout: float = 0.0) -> Network:
    """The functions for an architecture, made once; one for dense autoencoders of all sizes."""
    with building:
        return _network(sizeless(it), dropout)


def sizeless(it: Architecture) -> Architecture:
    """An architecture without what its network does not depend on."""
    return replace(it, length=0, code=0, units=(0,) * len(it.units)) if it.kind == "dense" else it


@lru_cache(MOST_MADE)
def _network(it: Architecture, dropout: float) -> Network:
    return Dense(it, dropout) if it.kind == "dense" else Single(it, dropout)
