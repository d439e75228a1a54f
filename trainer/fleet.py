"""Machines of one shape are fitted as one stack, and a stack on each core."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from trainer.autoencoder import WINDOW, Autoencoder, initial
from trainer.fitting import Epoch, best_epoch, check_fall, fit, refit

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


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """A machine's autoencoder, how its loss fell, and the windows that it was fitted on in the end."""

    model: Autoencoder
    epochs: tuple[Epoch, ...]
    windows: Windows


def groups(
    prepared: Iterable[Prepared], wishes: ModelSettings, most_cells: int = MOST_CELLS
) -> Iterator[list[Prepared]]:
    """Puts together what is fitted together: the same number of sensors, about as many windows.

    A stack is as wide as its widest code and has as many steps as its longest history, so that
    neighbours in both are put together.
    """

    def alike(one: Prepared) -> tuple[int, ...]:
        # The other units of a wider stack must not answer, and sigmoid alone answers a half to zero.
        code = one.start.architecture.code if wishes.activation == "sigmoid" else 0
        return one.start.architecture.width, one.fit_windows.bit_length(), code

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
    window = one.start.architecture.sizes[WINDOW]
    rows = sum(history.values.size for history in one.histories)
    return 10 * sum(map(np.size, one.start.weights)) + 8 * wishes.batch_size * window + 2 * rows


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
    """Learns from the validation rows how long to fit, then fits all rows that are not held back."""
    teller.tell("compiling", 0.0)
    fitted_on = [one.preparation.windows(one.parts.fit) for one in group]
    validation = [one.preparation.windows(one.parts.validation) for one in group]
    starts = [one.start for one in group]
    tried = fit(starts, fitted_on, validation, wishes.model, seed=wishes.seed, progress=teller.tried)
    falls = check_fall([model for model, _ in tried], fitted_on)
    del fitted_on, validation
    outcomes: list[tuple[Prepared, Fitted | Unusable]] = []
    good = []
    for one, (_, epochs), problem in zip(group, tried, falls, strict=True):
        if problem:
            outcomes.append((one, problem))
        else:
            good.append((one, epochs))
    windows = [one.preparation.windows(one.parts.not_held_back) for one, _ in good]
    counts = [best_epoch(epochs).epoch for _, epochs in good]
    most = max(counts, default=0)
    models = refit(
        [initial(some, wishes.model, seed=wishes.seed) for some in windows],
        windows,
        wishes.model,
        epochs=counts,
        seed=wishes.seed,
        progress=lambda epoch, _: teller.tell(
            f"again with the validation rows, epoch {epoch}/{most}", epoch / most
        ),
    )
    falls = check_fall(models, windows)
    for (one, epochs), model, some, problem in zip(good, models, windows, falls, strict=True):
        outcomes.append((one, problem or Fitted(model, epochs, some)))
    return outcomes
