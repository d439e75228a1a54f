"""Many autoencoders as one: each weight with a leading axis of M machines, fitted by one compiled loop.

One machine is a stack of one. Every step makes the products of all machines together, so that a
machine costs what its numbers cost, not what TensorFlow costs to be called.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from trainer.autoencoder import Autoencoder, axes, cropped, padded
from trainer.keras_backend import Compiled, Tensor, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.preparation import Windows

MEAN_DECAY, SQUARE_DECAY, SMALL = 0.9, 0.999, 1e-7  # Adam's, as in Keras
CHUNK = 8192  # windows reconstructed at once where nothing is learned, of all machines together


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The windows of M machines in one array of rows.

    Attributes:
        rows: Shape (R, F), those of each machine after those of the machine before; a tensor.
        starts: One array of first rows per machine.
        length: T, samples per window.
    """

    rows: Tensor
    starts: list[NDArray[np.int32]]
    length: int

    @classmethod
    def of(cls, windows: Sequence[Windows]) -> Places:
        """Puts the machines' windows together."""
        _, tf = load()
        before = np.cumsum([0, *(len(one.rows) for one in windows)]).astype(np.int32)
        starts = [one.starts + at for one, at in zip(windows, before, strict=False)]
        return cls(tf.constant(np.concatenate([one.rows for one in windows])), starts, windows[0].length)

    def keep(self, positions: Sequence[int]) -> Places:
        """The same for some of the machines."""
        return Places(self.rows, [self.starts[i] for i in positions], self.length)


class Stack:
    """Autoencoders with the same window, sensors, number of hidden layers and activation."""

    def __init__(self, autoencoders: Sequence[Autoencoder]) -> None:
        _, tf = load()
        self._architectures = [autoencoder.architecture for autoencoder in autoencoders]
        self._sizes = tuple(map(max, zip(*(it.sizes for it in self._architectures), strict=True)))
        wide = zip(*(padded(autoencoder, self._sizes) for autoencoder in autoencoders), strict=True)
        weights = [tf.constant(np.stack(weight)) for weight in wide]
        means, squares = ([tf.zeros_like(weight) for weight in weights] for _ in range(2))
        self._state = (weights, means, squares, tf.zeros(len(autoencoders)))
        one = self._architectures[0]
        self._network = _network(one.activation, len(one.units))

    def epoch(self, places: Places, batches: Sequence[NDArray[np.int32]], rate: float) -> list[float]:
        """Fits each machine to its batches of windows, by Adam.

        Args:
            places: Of M machines.
            batches: Per machine its windows in each step, shape (steps, size).
            rate: The learning rate.

        Returns:
            Each machine's mean squared error, on the way.
        """
        steps, sizes = np.array([batch.shape for batch in batches], np.int32).T
        chosen = np.zeros((len(batches), steps.max(), sizes.max()), np.int32)
        for i, (batch, starts) in enumerate(zip(batches, places.starts, strict=True)):
            chosen[i, : steps[i], : sizes[i]] = starts[batch]
        losses, self._state = self._network.epoch(
            places.rows, places.length, chosen, steps, sizes, self._state, rate
        )
        return [float(loss) for loss in losses.numpy()]

    def losses(self, places: Places) -> list[float]:
        """Each machine's mean squared error over all its windows."""
        counts = np.array([len(starts) for starts in places.starts], np.int32)
        chosen = np.zeros((len(counts), counts.max()), np.int32)
        for i, starts in enumerate(places.starts):
            chosen[i, : len(starts)] = starts
        chunk = max(64, CHUNK // len(counts))
        losses = self._network.losses(places.rows, places.length, chosen, counts, chunk, self._state[0])
        return [float(loss) for loss in losses.numpy()]

    def take(self, positions: Sequence[int]) -> list[Autoencoder]:
        """Copies of some of the autoencoders, as they are now."""
        weights = [weight.numpy() for weight in self._state[0]] if positions else []
        return [
            cropped([weight[i] for weight in weights], self._architectures[i], self._sizes) for i in positions
        ]

    def keep(self, positions: Sequence[int]) -> None:
        """Lets all others go, so that they cost nothing more."""
        _, tf = load()
        self._architectures = [self._architectures[i] for i in positions]
        self._state = tf.nest.map_structure(lambda part: tf.gather(part, positions), self._state)


def answers(
    autoencoder: Autoencoder, windows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codes, shape (N, code), and reconstructions of windows of shape (N, T, F)."""
    _, tf = load()
    one = autoencoder.architecture
    weights = [tf.constant(weight[None]) for weight in autoencoder.weights]
    network = _network(one.activation, len(one.units))
    code = network.encode(weights, tf.reshape(windows, (1, len(windows), one.sizes[0])))
    rebuilt = network.decode(weights, code)
    return code.numpy()[0], rebuilt.numpy().reshape(windows.shape)


class _Network:
    """What TensorFlow does with a stack; `epoch` and `losses` are compiled once, for stacks of any size."""

    def __init__(self, activation: str, hidden_layers: int) -> None:
        keras, tf = load()
        self._bend = keras.activations.get(activation)
        self._added = 2 * hidden_layers  # place of the matrix from the encoder's hidden layers into the code
        number, numbers = tf.TensorSpec((), tf.int32), tf.TensorSpec((None,), tf.int32)
        rows, stack = (
            tf.TensorSpec((None, None)),
            [tf.TensorSpec((None, None, None))] * len(axes(hidden_layers)),
        )
        starts, batches = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None, None), tf.int32)
        self.losses: Compiled = tf.function(
            self._losses,
            input_signature=[rows, number, starts, numbers, number, stack],
            autograph=False,
        )
        state = (stack, stack, stack, tf.TensorSpec((None,)))
        self.epoch: Compiled = tf.function(
            self._epoch,
            input_signature=[rows, number, batches, numbers, numbers, state, tf.TensorSpec(())],
            autograph=False,
        )

    def encode(self, weights: list[Tensor], windows: Tensor) -> Tensor:
        """Codes, shape (M, N, code), of flat windows, shape (M, N, T * F)."""
        _, tf = load()
        code = tf.shape(weights[self._added])[2]
        first = windows @ weights[0] + weights[1]
        hidden = self._through(weights[2 : self._added], self._bend(first[:, :, code:]))
        return first[:, :, :code] + hidden @ weights[self._added]

    def decode(self, weights: list[Tensor], code: Tensor) -> Tensor:
        """The inverse of `encode`, as far as there is one."""
        _, tf = load()
        hidden = self._through(weights[self._added + 1 : -2], code)
        return tf.concat([code, hidden], axis=2) @ weights[-2] + weights[-1]

    def _through(self, weights: list[Tensor], given: Tensor) -> Tensor:
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            given = self._bend(given @ kernel + bias)
        return given

    def _loss(
        self, weights: list[Tensor], rows: Tensor, length: Tensor, starts: Tensor, counts: Tensor
    ) -> Tensor:
        """Each machine's mean squared error over the first `counts` of the windows at `starts`."""
        _, tf = load()
        machines, windows = tf.shape(starts)[0], tf.shape(starts)[1]
        given = tf.gather(rows, starts[:, :, None] + tf.range(length))
        given = tf.reshape(given, (machines, windows, length * tf.shape(rows)[1]))
        rebuilt = self.decode(weights, self.encode(weights, given))
        errors = tf.reduce_mean(tf.square(rebuilt - given), axis=2)
        real = tf.cast(tf.range(windows) < counts[:, None], tf.float32)
        return tf.reduce_sum(real / tf.cast(tf.maximum(counts, 1), tf.float32)[:, None] * errors, axis=1)

    def _losses(
        self,
        rows: Tensor,
        length: Tensor,
        starts: Tensor,
        counts: Tensor,
        chunk: Tensor,
        weights: list[Tensor],
    ) -> Tensor:
        _, tf = load()

        def add(first: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            some = starts[:, first : first + chunk]
            left = tf.clip_by_value(counts - first, 0, tf.shape(some)[1])
            loss = self._loss(weights, rows, length, some, left)
            return first + chunk, total + tf.cast(left, tf.float32) * loss

        windows = tf.shape(starts)[1]
        none = tf.zeros_like(counts, tf.float32)
        _, total = tf.while_loop(lambda first, _: first < windows, add, (0, none))
        return total / tf.cast(counts, tf.float32)

    def _epoch(
        self,
        rows: Tensor,
        length: Tensor,
        chosen: Tensor,
        steps: Tensor,
        sizes: Tensor,
        state: tuple[list[Tensor], list[Tensor], list[Tensor], Tensor],
        rate: Tensor,
    ) -> tuple[Tensor, tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]]:
        _, tf = load()

        def step(
            number: Tensor,
            total: Tensor,
            weights: list[Tensor],
            means: list[Tensor],
            squares: list[Tensor],
            taken: Tensor,
        ) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor], list[Tensor], Tensor]:
            goes_on = tf.cast(number < steps, tf.float32)  # machines with fewer windows wait for the others
            with tf.GradientTape() as tape:
                tape.watch(weights)
                losses = self._loss(weights, rows, length, chosen[:, number], sizes)
            gradients = tape.gradient(losses, weights)
            taken += goes_on
            unbiased = tf.sqrt(1 - SQUARE_DECAY**taken) / (1 - MEAN_DECAY**taken)
            now, stride = goes_on[:, None, None], (rate * unbiased * goes_on)[:, None, None]
            to_mean, to_square = (1 - MEAN_DECAY) * now, (1 - SQUARE_DECAY) * now
            means = [m + to_mean * (g - m) for m, g in zip(means, gradients, strict=True)]
            squares = [s + to_square * (g * g - s) for s, g in zip(squares, gradients, strict=True)]
            weights = [
                w - stride * m / (tf.sqrt(s) + SMALL) for w, m, s in zip(weights, means, squares, strict=True)
            ]
            return number + 1, total + goes_on * losses, weights, means, squares, taken

        most, none = tf.shape(chosen)[1], tf.zeros_like(steps, tf.float32)
        _, total, *state = tf.while_loop(lambda number, *_: number < most, step, (0, none, *state))
        return total / tf.cast(steps, tf.float32), tuple(state)


_making = Lock()  # groups that are fitted at the same time share what is compiled


def _network(activation: str, hidden_layers: int) -> _Network:
    with _making:
        return _made(activation, hidden_layers)


@cache
def _made(activation: str, hidden_layers: int) -> _Network:
    return _Network(activation, hidden_layers)
