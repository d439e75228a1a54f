"""The weights are fitted: step by step, stopped early by the validation windows, reproducible by seed.

All functions take one machine or many; each machine has its own windows, weights and early stopping,
and gets what it would get alone, up to rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from config.training import Model as ModelSettings
from trainer.models import KINDS
from trainer.problems import Unusable
from trainer.stack import Places, learner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from detector.channels import Columns
    from trainer.autoencoder import Autoencoder
    from trainer.preparation import Windows

NOTICED = 1e-4  # relative fall of the validation loss that keeps patience up


@dataclass(frozen=True, slots=True)
class Epoch:
    """How one pass over the fit windows ended.

    Attributes:
        epoch: Its number, from 1; 0 is the state before fitting.
        epochs: How many there are at most.
        loss: Mean error over the fit windows by the model's loss, on the way.
        validation_loss: The same over the validation windows, at its end.
    """

    epoch: int
    epochs: int
    loss: float
    validation_loss: float


@dataclass(slots=True)
class _Learner:
    """One machine while it learns."""

    best: Autoencoder
    history: list[Epoch]
    lowest: float
    patient_below: float
    since: int = 0

    def improves(self, epoch: Epoch) -> bool:
        """Takes an epoch into account; whether its weights are the best so far."""
        judged = epoch.validation_loss
        self.history.append(epoch)
        self.since = 0 if judged < self.patient_below else self.since + 1
        self.patient_below = min(self.patient_below, judged * (1 - NOTICED))
        if not judged < self.lowest:
            return False
        self.lowest = judged
        return True

    def goes_on(self, patience: int) -> bool:
        return self.since < patience and math.isfinite(self.history[-1].validation_loss)


def fit(
    autoencoders: Sequence[Autoencoder],
    windows: Sequence[Windows],
    validation: Sequence[Windows],
    settings: ModelSettings,
    *,
    seeds: Sequence[int],
    progress: Callable[[Sequence[Epoch]], None],
) -> list[tuple[Autoencoder, tuple[Epoch, ...]]]:
    """Fits each autoencoder to reconstruct its windows; keeps the weights that validation liked best.

    The loss is that of the model's settings, also where the detector will judge by another error.

    Args:
        autoencoders: See `learner`.
        windows: Per machine, what is fitted on.
        validation: Per machine, what stops early.
        settings: The wishes for the model.
        seeds: Per machine, of the windows' order and of whatever else is random.
        progress: Is told after each pass how it ended for the machines that still learned.

    Returns:
        Per machine the autoencoder and all epochs, the first being the state before fitting.
    """
    stack, fitted_on, judged_on = (
        learner(autoencoders, settings, seeds),
        Places.of(windows),
        Places.of(validation),
    )
    epochs = 0 if KINDS[settings.kind].linear else settings.epochs
    learners = []
    for start, loss, judged in zip(
        autoencoders, stack.losses(fitted_on), stack.losses(judged_on), strict=True
    ):
        learners.append(_Learner(start, [Epoch(0, epochs, loss, judged)], judged, judged))
    learning, shuffles = learners, [np.random.default_rng(seed) for seed in seeds]
    for number in range(1, epochs + 1):
        losses = stack.epoch(
            fitted_on, _batches(fitted_on, shuffles, settings.batch_size), settings.learning_rate
        )
        judged_now = stack.losses(judged_on)
        told = [Epoch(number, epochs, *pair) for pair in zip(losses, judged_now, strict=True)]
        improved = [i for i, epoch in enumerate(told) if learning[i].improves(epoch)]
        for i, autoencoder in zip(improved, stack.take(improved), strict=True):
            learning[i].best = autoencoder
        progress(told)
        going_on = [i for i, learner in enumerate(learning) if learner.goes_on(settings.patience)]
        if not going_on:
            break
        if len(going_on) < len(learning):
            stack.keep(going_on)
            fitted_on, judged_on = fitted_on.keep(going_on), judged_on.keep(going_on)
            learning, shuffles = [learning[i] for i in going_on], [shuffles[i] for i in going_on]
    return [(learner.best, tuple(learner.history)) for learner in learners]


def refit(
    autoencoders: Sequence[Autoencoder],
    windows: Sequence[Windows],
    settings: ModelSettings,
    *,
    epochs: Sequence[int],
    seeds: Sequence[int],
    progress: Callable[[int, int], None],
) -> list[Autoencoder]:
    """Fits new autoencoders for as many epochs as were best in `fit`, on its windows and the validation ones.

    Validation takes the newest rows away from fitting. On short histories that costs more than
    anything else: 0.81 instead of 0.86 of area under the precision-recall curve at 280 rows.

    Args:
        autoencoders: Not fitted yet; see `fit`.
        windows: Per machine, what is fitted on.
        settings: The wishes for the model, of which `epochs` is not used.
        epochs: Per machine, how many.
        seeds: See `fit`.
        progress: Is told the number of every epoch that ended, from 1, and how many machines had it.
    """
    fitted = list(autoencoders)
    learning = [i for i, count in enumerate(epochs) if count]
    if not learning:
        return fitted
    own = [seeds[i] for i in learning]
    stack = learner([autoencoders[i] for i in learning], settings, own)
    fitted_on = Places.of([windows[i] for i in learning])
    shuffles = [np.random.default_rng(seed) for seed in own]
    for number in range(1, max(epochs) + 1):
        stack.epoch(fitted_on, _batches(fitted_on, shuffles, settings.batch_size), settings.learning_rate)
        progress(number, len(learning))
        ready = [place for place, i in enumerate(learning) if epochs[i] == number]
        for place, autoencoder in zip(ready, stack.take(ready), strict=True):
            fitted[learning[place]] = autoencoder
        going_on = [place for place, i in enumerate(learning) if epochs[i] > number]
        if going_on and ready:
            stack.keep(going_on)
            fitted_on = fitted_on.keep(going_on)
            learning, shuffles = [learning[i] for i in going_on], [shuffles[i] for i in going_on]
    return fitted


def check_fall(
    autoencoders: Sequence[Autoencoder], windows: Sequence[Windows], columns: Sequence[Columns]
) -> list[Unusable | None]:
    """Per machine, whether fitting was in vain.

    That is where the autoencoder reconstructs its windows no better than their mean does, which is
    what a model without any code would answer; or where it ran away, as nothing stops it in `refit`.
    """
    if not autoencoders:
        return []
    squared = ModelSettings(loss="mse")
    losses = learner(autoencoders, squared, [0] * len(autoencoders)).losses(Places.of(windows))
    plain = [
        one.error_of_mean(autoencoder.architecture.is_binary)
        for autoencoder, one in zip(autoencoders, windows, strict=True)
    ]
    return list(map(_check_fall, losses, plain, windows, columns))


def _check_fall(loss: float, plain: float, windows: Windows, columns: Columns) -> Unusable | None:
    if loss < plain:
        return None
    if not math.isfinite(loss):
        return Unusable(f"history: must keep the loss finite, got {loss:.4g}; {_exploded(windows, columns)}")
    return Unusable(
        f"history: must let the loss fall below {plain:.4g}, the error of always answering the mean, "
        f"got {loss:.4g}; anomalyd check-data shows what is in it, and a smaller "
        "trainer.model.learning_rate or more trainer.model.epochs may help"
    )


def check_finite(epochs: Sequence[Epoch], windows: Windows, columns: Columns) -> Unusable | None:
    """Whether fitting ran away, and on which sensor: the one that is farthest from its usual values."""
    last = epochs[-1]
    if math.isfinite(last.loss) and math.isfinite(last.validation_loss):
        return None
    return Unusable(
        f"history: must keep the loss finite, got {last.loss:.4g} in fitting and {last.validation_loss:.4g} "
        f"in validation after epoch {last.epoch}; {_exploded(windows, columns)}"
    )


def _exploded(windows: Windows, columns: Columns) -> str:
    reach = np.abs(windows.rows).max(axis=0)
    wild = int(reach.argmax())
    sensor = columns.sensors[int(np.searchsorted(columns.starts, wild, side="right")) - 1]
    return (
        f"{sensor} exploded, whose scaled values reach {reach[wild]:.4g}; anomalyd check-data shows what is "
        "in it, and a smaller trainer.model.learning_rate may help"
    )


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch whose weights `fit` kept."""
    return min((e for e in history if math.isfinite(e.validation_loss)), key=lambda e: e.validation_loss)


def mean_epochs(histories: Sequence[Sequence[Epoch]]) -> tuple[Epoch, ...]:
    """How the losses of an ensemble fell on average; a member that has stopped counts as it stopped."""

    def mean(number: int) -> Epoch:
        members = [history[min(number, len(history) - 1)] for history in histories]
        loss = float(np.mean([epoch.loss for epoch in members]))
        validation_loss = float(np.mean([epoch.validation_loss for epoch in members]))
        return Epoch(number, members[0].epochs, loss, validation_loss)

    return tuple(mean(number) for number in range(max(map(len, histories))))


def _batches(places: Places, shuffles: Sequence[np.random.Generator], size: int) -> list[NDArray[np.int32]]:
    """Per machine the windows of each step; what is left over waits for another epoch."""
    batches = []
    for starts, shuffle in zip(places.starts, shuffles, strict=True):
        count = len(starts)
        at_once = min(size, count)
        steps = count // at_once
        batches.append(shuffle.permutation(count)[: steps * at_once].reshape(steps, at_once).astype(np.int32))
    return batches
