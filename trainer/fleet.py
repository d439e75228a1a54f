"""Machines of one shape are fitted as one stack, and a stack on each core."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from trainer.autoencoder import Autoencoder, Ensemble
from trainer.fitting import Epoch, best_epoch, check_fall, check_finite, fit, mean_epochs, refit
from trainer.matrices import weight_shapes
from trainer.models import KINDS
from trainer.stack import Places, learner
from trainer.start import begin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from config.training import Model as ModelSettings
    from config.training import Trainer
    from trainer.jobs import Prepared
    from trainer.preparation import Windows
    from trainer.problems import Unusable
    from trainer.stages import Teller

# Numbers in what is fitted together: 24 MB on each core, or some 20 machines of 8 sensors.
MOST_CELLS = 6_000_000
SEEDS = 2**32  # the number of seeds that there are

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A machine's model, how its loss fell, and the windows that it was fitted on in the end.

    Attributes:
        tried: The model before it was fitted on the validation rows as well.
        begun: Where fitting began, in words, where it might have begun elsewhere.
    """

    model: Ensemble
    tried: Ensemble
    epochs: tuple[Epoch, ...]
    windows: Windows
    begun: str = ""


def groups(
    prepared: Iterable[Prepared], wishes: ModelSettings, most_cells: int = MOST_CELLS
) -> Iterator[list[Prepared]]:
    """Puts together what is fitted together: the same sensors, about as many windows; dense models only.

    A stack is as wide as its widest code and has as many steps as its longest history, so that
    neighbours in both are put together.
    """
    if wishes.kind != "dense":
        yield from ([one] for one in prepared)
        return
    # The other units of a wider stack must not answer, and sigmoid alone answers a half to zero. What
    # is drawn for each element of a code differs with their number.
    one_code = wishes.activation == "sigmoid" or wishes.dropout or wishes.contraction or wishes.sparsity

    def alike(one: Prepared) -> tuple[object, ...]:
        it = one.start.architecture
        return it.width, it.binary, one.fit_windows.bit_length(), it.code if one_code else 0

    for _, some in groupby(
        sorted(prepared, key=lambda one: (alike(one), one.start.architecture.code)), alike
    ):
        group: list[Prepared] = []
        cells = 0
        for one in some:
            needed = _cells(one, wishes)
            if group and cells + needed > most_cells:
                yield group
                group, cells = [], 0
            group.append(one)
            cells += needed
        yield group


def _cells(one: Prepared, wishes: ModelSettings) -> int:
    """Numbers that a machine adds to a stack: weights, what Adam keeps of them, a batch on its way, rows."""
    it = one.start.architecture
    weights = sum(rows * columns for rows, columns in weight_shapes(it))
    rows = sum(history.values.size for history in one.histories)
    return wishes.ensemble * (10 * weights + 8 * wishes.batch_size * it.cells + 2 * rows)


def fit_groups(
    found: Iterable[list[Prepared]], wishes: Trainer, teller: Teller
) -> Iterator[tuple[Prepared, Fitted | Unusable]]:
    """Fits a group on each core, and yields them in order; one more than that is begun at most."""
    cores = len(os.sched_getaffinity(0))
    pool = ThreadPoolExecutor(cores)
    try:
        begun: deque[Future[list[tuple[Prepared, Fitted | Unusable]]]] = deque()
        for group in found:
            begun.append(pool.submit(_fit_group, group, wishes, teller))
            if len(begun) > cores:
                yield from begun.popleft().result()
        for future in begun:
            yield from future.result()
    finally:
        teller.stop()
        pool.shutdown(cancel_futures=True)


def _fit_group(
    group: Sequence[Prepared], wishes: Trainer, teller: Teller
) -> list[tuple[Prepared, Fitted | Unusable]]:
    """Learns from the validation rows how long to fit, then fits all rows that are not held back.

    Each member of an ensemble is fitted as if it were another machine.
    """
    teller.tell("fitting" if KINDS[wishes.model.kind].linear else "compiling")
    seeds = [(wishes.seed + number) % SEEDS for number in range(wishes.model.ensemble)]
    members = len(seeds)
    fitted_on = [one.preparation.windows(one.parts.fit) for one in group]
    validation = [one.preparation.windows(one.parts.validation) for one in group]
    begun = [
        _beginning(one, seeds, windows, wishes.model) for one, windows in zip(group, validation, strict=True)
    ]
    tried = fit(
        [autoencoder for each in begun for autoencoder in each.autoencoders],
        _repeated(fitted_on, members),
        _repeated(validation, members),
        wishes.model,
        seeds=seeds * len(group),
        progress=teller.tried,
    )
    columns = [one.fit.columns for one in group]
    falls = check_fall(
        [model for model, _ in tried], _repeated(fitted_on, members), _repeated(columns, members)
    )
    outcomes: list[tuple[Prepared, Fitted | Unusable]] = []
    good: list[tuple[Prepared, Sequence[tuple[Autoencoder, tuple[Epoch, ...]]], _Beginning]] = []
    for one, some, own, own_falls, beginning in zip(
        group, fitted_on, _by_machine(tried, members), _by_machine(falls, members), begun, strict=True
    ):
        histories = [epochs for _, epochs in own]
        ran_away = [check_finite(epochs, some, one.fit.columns) for epochs in histories]
        problem = next(filter(None, [*ran_away, *own_falls]), None)
        if problem:
            outcomes.append((one, problem))
        else:
            good.append((one, own, beginning))
    del fitted_on, validation
    windows = [one.preparation.windows(one.parts.not_held_back) for one, _, _ in good]
    starts = [
        autoencoder
        for some, (one, _, beginning) in zip(windows, good, strict=True)
        for autoencoder in _again(one, beginning, some, seeds, wishes)
    ]
    counts = [best_epoch(epochs).epoch for _, own, _ in good for _, epochs in own]
    most = max(counts, default=0)
    models = refit(
        starts,
        _repeated(windows, members),
        wishes.model,
        epochs=counts,
        seeds=seeds * len(good),
        progress=lambda epoch, _: teller.tell(
            f"again with the validation rows, epoch {epoch}/{most}", epoch / most
        ),
    )
    columns = [one.fit.columns for one, _, _ in good]
    falls = check_fall(models, _repeated(windows, members), _repeated(columns, members))
    for (one, own, beginning), own_models, some, own_falls in zip(
        good, _by_machine(models, members), windows, _by_machine(falls, members), strict=True
    ):
        fitted = Fitted(
            model=Ensemble(tuple(own_models)),
            tried=Ensemble(tuple(member for member, _ in own)),
            epochs=mean_epochs([epochs for _, epochs in own]),
            windows=some,
            begun=beginning.words,
        )
        outcomes.append((one, next(filter(None, own_falls), None) or fitted))
    return outcomes


@dataclass(frozen=True, slots=True, eq=False)
class _Beginning:
    """Where the fitting of one machine's members begins: at the champion's weights, or newly drawn."""

    autoencoders: Sequence[Autoencoder]
    warm: bool = False
    words: str = ""


def _beginning(one: Prepared, seeds: Sequence[int], validation: Windows, wishes: ModelSettings) -> _Beginning:
    """At the champion's weights where they fit and are better than those that are newly drawn.

    After a change of the machine they may not be: the principal components already know of it.
    """
    drawn = [one.start.draw(seed) for seed in seeds]
    if not one.warm.tried:
        return _Beginning(drawn, words=one.warm.reason and f"anew, as {one.warm.reason}")
    cold, warm = (
        float(np.mean(learner(each, wishes, seeds).losses(Places.of([validation] * len(seeds)))))
        for each in (drawn, one.warm.tried)
    )
    losses = f"of a validation loss of {warm:.4g} before any fitting, against {cold:.4g} anew"
    if not warm < cold:
        return _Beginning(drawn, words=f"anew, as the weights of {one.warm.bundle} are {losses}")
    return _Beginning(one.warm.tried, warm=True, words=f"at the weights of {one.warm.bundle}, {losses}")


def _again(
    one: Prepared, beginning: _Beginning, windows: Windows, seeds: Sequence[int], wishes: Trainer
) -> Sequence[Autoencoder]:
    """Where fitting begins once more, on the validation rows as well."""
    if beginning.warm:
        return one.warm.members
    it, model = one.start.architecture, wishes.model
    if one.job.learned is not None:  # a retraining that begins at both needs them to be of one size
        model = msgspec.structs.replace(model, code=it.code)
    start = begin(windows, model, seed=wishes.seed, binary=it.binary)
    return [start.draw(seed) for seed in seeds]


def _repeated(of_machines: Sequence[T], members: int) -> list[T]:
    return [each for each in of_machines for _ in range(members)]


def _by_machine(of_members: Sequence[T], members: int) -> list[Sequence[T]]:
    return [of_members[first : first + members] for first in range(0, len(of_members), members)]
