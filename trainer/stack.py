"""Many autoencoders as one: each weight with a leading axis of M machines, fitted by one compiled loop.

One machine is a stack of one. Every step makes the products of all machines together, so that a
machine costs what its numbers cost, not what TensorFlow costs to be called.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np

from trainer.autoencoder import Architecture, Autoencoder, Ensemble
from trainer.keras_backend import Compiled, Tensor, load
from trainer.networks import MOST_MADE, Network, network, sizeless, split
from trainer.objective import PATTERNS, Objective
from trainer.optimizers import OPTIMIZERS, Optimizer, Slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from config.training import Model as ModelSettings
    from trainer.preparation import Windows

CHUNK = 8192  # windows reconstructed at once where nothing is learned, of all machines together

State: TypeAlias = tuple[list[Tensor], Slots, Tensor]  # weights, the optimizer's slots, steps of each machine


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """The windows of M machines in one array of rows.

    Attributes:
        rows: Shape (R, F), those of each machine after those of the machine before; a tensor.
        starts: One array of first rows per machine.
        centre: Each sensor's mean, shape (M, F).
        length: T, samples per window.
    """

    rows: Tensor
    starts: list[NDArray[np.int32]]
    centre: NDArray[np.float32]
    length: int

    @classmethod
    def of(cls, windows: Sequence[Windows]) -> Places:
        """Puts the machines' windows together."""
        _, tf = load()
        before = np.cumsum([0, *(len(one.rows) for one in windows)]).astype(np.int32)
        starts = [one.starts + at for one, at in zip(windows, before, strict=False)]
        centre = np.stack([one.rows.mean(axis=0, dtype=np.float64) for one in windows]).astype(np.float32)
        rows = tf.constant(np.concatenate([one.rows for one in windows]))
        return cls(rows, starts, centre, windows[0].length)

    def keep(self, positions: Sequence[int]) -> Places:
        """The same for some of the machines."""
        return Places(
            self.rows, [self.starts[i] for i in positions], self.centre[list(positions)], self.length
        )


class Learner(Protocol):
    """Autoencoders of M machines while they learn."""

    def epoch(self, places: Places, batches: Sequence[NDArray[np.int32]], rate: float) -> list[float]:
        """Fits each machine to its batches of windows.

        Args:
            places: Of M machines.
            batches: Per machine its windows in each step, shape (steps, size).
            rate: The learning rate.

        Returns:
            Each machine's mean error, on the way.
        """

    def losses(self, places: Places) -> list[float]:
        """Each machine's mean error over all its windows, which are corrupted the same way every time.

        A model that is to see through noise must be judged with noise: without it, none is better than
        where fitting starts.
        """

    def take(self, positions: Sequence[int]) -> list[Autoencoder]:
        """Copies of some of the autoencoders, as they are now."""

    def keep(self, positions: Sequence[int]) -> None:
        """Lets all others go, so that they cost nothing more."""


def learner(autoencoders: Sequence[Autoencoder], settings: ModelSettings, seeds: Sequence[int]) -> Learner:
    """The autoencoders, all of one kind, ready to learn.

    Args:
        autoencoders: Of one kind; dense ones have the same window, sensors, number of hidden layers and
            activation.
        settings: The wishes for the model.
        seeds: Of what is random in fitting, one for each.
    """
    if autoencoders[0].architecture.kind == "dense":
        return Stack(autoencoders, settings, seeds[0])
    return Row([Stack([one], settings, seed) for one, seed in zip(autoencoders, seeds, strict=True)])


class Stack:
    """See `Learner`: dense autoencoders, or one of any kind."""

    def __init__(self, autoencoders: Sequence[Autoencoder], settings: ModelSettings, seed: int) -> None:
        _, tf = load()
        self._architectures = [autoencoder.architecture for autoencoder in autoencoders]
        self._loop = _loop(self._architectures[0], settings)
        weights = [tf.constant(weight) for weight in self._loop.network.join(autoencoders)]
        means, squares = ([tf.zeros_like(weight) for weight in weights] for _ in range(2))
        self._state = (weights, (means, squares), tf.zeros(len(autoencoders)))
        self._unmoved = np.array([seed, 0], np.uint32).view(np.int32)
        self._seed = self._unmoved.copy()  # and the number of the epoch

    def epoch(self, places: Places, batches: Sequence[NDArray[np.int32]], rate: float) -> list[float]:
        """See `Learner`."""
        steps, counts = np.array([batch.shape for batch in batches], np.int32).T
        chosen = np.zeros((len(batches), steps.max(), counts.max()), np.int32)
        for i, (batch, starts) in enumerate(zip(batches, places.starts, strict=True)):
            chosen[i, : steps[i], : counts[i]] = starts[batch]
        self._seed[1] += 1
        losses, self._state = self._loop.epoch(
            places.rows, places.length, chosen, steps, counts, places.centre, self._seed, self._state, rate
        )
        return [float(loss) for loss in losses.numpy()]

    def losses(self, places: Places) -> list[float]:
        """See `Learner`."""
        counts = np.array([len(starts) for starts in places.starts], np.int32)
        chosen = np.zeros((len(counts), counts.max()), np.int32)
        for i, starts in enumerate(places.starts):
            chosen[i, : len(starts)] = starts
        chunk = PATTERNS * max(1, CHUNK // PATTERNS // len(counts))
        losses = self._loop.losses(
            places.rows, places.length, chosen, counts, chunk, places.centre, self._unmoved, self._state[0]
        )
        return [float(loss) for loss in losses.numpy()]

    def take(self, positions: Sequence[int]) -> list[Autoencoder]:
        """See `Learner`."""
        weights = [weight.numpy() for weight in self._state[0]] if positions else []
        part = self._loop.network.part
        return [part([weight[i] for weight in weights], self._architectures[i]) for i in positions]

    def keep(self, positions: Sequence[int]) -> None:
        """See `Learner`."""
        _, tf = load()
        self._architectures = [self._architectures[i] for i in positions]
        self._state = tf.nest.map_structure(lambda part: tf.gather(part, positions), self._state)


class Row:
    """See `Learner`: stacks of one, one after the other."""

    def __init__(self, stacks: Sequence[Stack]) -> None:
        self._stacks = list(stacks)

    def epoch(self, places: Places, batches: Sequence[NDArray[np.int32]], rate: float) -> list[float]:
        """See `Learner`."""
        parts = enumerate(zip(self._stacks, batches, strict=True))
        return [stack.epoch(places.keep([i]), [batch], rate)[0] for i, (stack, batch) in parts]

    def losses(self, places: Places) -> list[float]:
        """See `Learner`."""
        return [stack.losses(places.keep([i]))[0] for i, stack in enumerate(self._stacks)]

    def take(self, positions: Sequence[int]) -> list[Autoencoder]:
        """See `Learner`."""
        return [self._stacks[i].take([0])[0] for i in positions]

    def keep(self, positions: Sequence[int]) -> None:
        """See `Learner`."""
        self._stacks = [self._stacks[i] for i in positions]


def answers(
    ensemble: Ensemble, windows: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Codes, those of the members side by side, and mean reconstructions of windows, shape (N, T, F)."""
    _, tf = load()
    codes, rebuilt = [], []
    for member in ensemble.members:
        answering = network(member.architecture)
        weights = [tf.constant(weight) for weight in answering.join([member])]
        code, _ = answering.encode(weights, tf.constant(windows)[None])
        codes.append(code.numpy()[0])
        rebuilt.append(answering.decode(weights, code).numpy()[0].reshape(windows.shape))
    return np.concatenate(codes, axis=1), np.mean(rebuilt, axis=0)


class _Loop:
    """What TensorFlow does with a stack; `epoch` and `losses` are compiled once, for stacks of any size."""

    def __init__(self, answering: Network, objective: Objective, optimizer: Optimizer) -> None:
        _, tf = load()
        self.network = answering
        self._objective = objective
        self._optimizer = optimizer
        number, numbers = tf.TensorSpec((), tf.int32), tf.TensorSpec((None,), tf.int32)
        table, weights = tf.TensorSpec((None, None)), answering.specs
        starts, batches = tf.TensorSpec((None, None), tf.int32), tf.TensorSpec((None, None, None), tf.int32)
        state = (weights, (weights, weights), tf.TensorSpec((None,)))
        self.losses: Compiled = tf.function(
            self._losses,
            input_signature=[table, number, starts, numbers, number, table, numbers, weights],
            autograph=False,
        )
        self.epoch: Compiled = tf.function(
            self._epoch,
            input_signature=[
                *(table, number, batches, numbers, numbers, table, numbers),
                *(state, tf.TensorSpec(())),
            ],
            autograph=False,
        )

    def _losses(
        self,
        rows: Tensor,
        length: Tensor,
        starts: Tensor,
        counts: Tensor,
        chunk: Tensor,
        centre: Tensor,
        seed: Tensor,
        weights: list[Tensor],
    ) -> Tensor:
        _, tf = load()
        network = self.network

        def add(first: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            some = starts[:, first : first + chunk]
            left = tf.clip_by_value(counts - first, 0, tf.shape(some)[1])
            given = _gathered(rows, length, some)
            code, _ = network.encode(weights, self._objective.corrupted(given, centre, seed))
            errors = self._objective.errors(network.decode(weights, code), given, network.binary)
            return first + chunk, total + tf.cast(left, tf.float32) * _mean(errors, left)

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
        counts: Tensor,
        centre: Tensor,
        seed: Tensor,
        state: State,
        rate: Tensor,
    ) -> tuple[Tensor, State]:
        _, tf = load()

        def step(number: Tensor, total: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
            weights, slots, taken = state
            goes_on = tf.cast(number < steps, tf.float32)  # machines with fewer windows wait for the others
            given = _gathered(rows, length, chosen[:, number])
            with tf.GradientTape() as tape:
                tape.watch(weights)
                errors, added = self._objective.fitted(
                    self.network, weights, given, centre, split(seed, number)
                )
                losses = _mean(errors, counts)
                minimised = losses + _mean(added, counts) + self._objective.decay(self.network, weights)
            gradients = tape.gradient(minimised, weights)
            taken += goes_on
            moved = self._optimizer(weights, gradients, slots, taken, rate, goes_on)
            return number + 1, total + goes_on * losses, (*moved, taken)

        most, none = tf.shape(chosen)[1], tf.zeros_like(steps, tf.float32)
        _, total, state = tf.while_loop(lambda number, *_: number < most, step, (0, none, state))
        return total / tf.cast(steps, tf.float32), state


def _gathered(rows: Tensor, length: Tensor, starts: Tensor) -> Tensor:
    """The windows at `starts`, shape (M, N), as an array of shape (M, N, T, F)."""
    _, tf = load()
    return tf.gather(rows, starts[:, :, None] + tf.range(length))


def _mean(of_windows: Tensor, counts: Tensor) -> Tensor:
    """Each machine's mean over the first `counts` of its windows."""
    _, tf = load()
    real = tf.cast(tf.range(tf.shape(of_windows)[1]) < counts[:, None], tf.float32)
    share = real / tf.cast(tf.maximum(counts, 1), tf.float32)[:, None]
    return tf.reduce_sum(share * of_windows, axis=1)


_making = Lock()  # groups that are fitted at the same time share what is compiled


def _loop(it: Architecture, settings: ModelSettings) -> _Loop:
    with _making:
        return _made(sizeless(it), settings.dropout, Objective.of(settings), settings.optimizer)


@lru_cache(MOST_MADE)
def _made(it: Architecture, dropout: float, objective: Objective, optimizer: str) -> _Loop:
    return _Loop(network(it, dropout), objective, OPTIMIZERS[optimizer])
