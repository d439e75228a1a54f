"""Likely changes of the way a machine is run: times from which on sensors keep to another level."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import ruptures

from trainer.verdict import LARGEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.profile import Course

SHORTEST = 10  # a regime lasts at least this part of the history: shorter ones are what machines do all day
CLEAR = 2.0  # deviations within the regimes that a mean must move by,
AT_ONCE = 0.5  # and this share of it at the border, where a drift only goes on
MOST_NAMED = 3  # sensors of one change


@dataclass(frozen=True, slots=True)
class Shift:
    """One sensor's mean before and after a change."""

    sensor: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Change:
    """A likely change of regime.

    Attributes:
        machine: Whose.
        at: When, in milliseconds since the epoch; as exact as the course's stretches are short.
        sensors: How many sensors moved clearly.
        shifts: Those that moved most.
    """

    machine: str
    at: int
    sensors: int
    shifts: tuple[Shift, ...]


def changes(course: Course, names: Sequence[str]) -> tuple[Change, ...]:
    """Finds change points of the mean of all sensors together, of which the clear ones stay.

    Exact segmentation (PELT: Killick, Fearnhead, Eckley: Optimal detection of changepoints with a
    linear computational cost, 2012) with the penalty of the Bayesian information criterion, by the
    library ruptures. What drifts or swings about, as a machine under load does, has change points
    too; so a change counts only where a mean moves by `CLEAR` standard deviations within the two
    stretches, and the straight lines through these do not meet.
    """
    mean = _filled(course.mean)
    usable = np.abs(mean).max(axis=0, initial=0) <= LARGEST
    varying = np.flatnonzero(usable & (np.ptp(mean, axis=0) > 0))
    count = len(mean)
    if not len(varying) or count < 2 * SHORTEST:
        return ()
    signal = mean[:, varying]
    noise = 1.4826 * np.median(np.abs(np.diff(signal, axis=0)), axis=0) / np.sqrt(2)
    scaled = (signal - signal.mean(axis=0)) / np.maximum(noise, 0.1 * signal.std(axis=0))
    found = ruptures.KernelCPD(kernel="linear", min_size=count // SHORTEST).fit(scaled)
    borders = [0, *found.predict(pen=2 * len(varying) * np.log(count))]
    while len(borders) > 2:
        moved = _moves(signal, borders)
        weakest = int(moved.max(axis=1).argmin())
        if moved[weakest].max() >= CLEAR:
            break
        del borders[weakest + 1]
    if len(borders) == 2:
        return ()
    return tuple(
        _change(course, names, signal, varying, moves, *around)
        for moves, around in zip(
            _moves(signal, borders), zip(borders, borders[1:], borders[2:], strict=False), strict=True
        )
    )


def _moves(signal: NDArray[np.float64], borders: Sequence[int]) -> NDArray[np.float64]:
    """How far each sensor's mean moves at each inner border, in deviations within the two stretches.

    0 where it does so by a drift, without a jump.
    """
    means, slopes, variances = [], [], []
    for start, stop in pairwise(borders):
        piece, steps = signal[start:stop], np.linspace(-1, 1, stop - start)
        means.append(piece.mean(axis=0))
        slopes.append(steps @ (piece - means[-1]) / (steps @ steps))
        variances.append(piece.var(axis=0))
    first, second = np.array(means)[:-1], np.array(means)[1:]
    moved = np.abs(second - first)
    jump = np.abs(second - np.array(slopes)[1:] - first - np.array(slopes)[:-1])
    within = np.sqrt((np.array(variances)[:-1] + np.array(variances)[1:]) / 2)
    moves = np.where(moved > 0, np.inf, 0.0)
    np.divide(moved, within, out=moves, where=within > 0)
    return np.where(jump >= AT_ONCE * moved, moves, 0.0)


def _change(
    course: Course,
    names: Sequence[str],
    signal: NDArray[np.float64],
    varying: NDArray[np.intp],
    moves: NDArray[np.float64],
    start: int,
    border: int,
    stop: int,
) -> Change:
    clear = [i for i in np.argsort(-moves, kind="stable").tolist() if moves[i] >= CLEAR]
    shifts = tuple(
        Shift(names[varying[i]], float(signal[start:border, i].mean()), float(signal[border:stop, i].mean()))
        for i in clear[:MOST_NAMED]
    )
    at = (int(course.middles[border - 1]) + int(course.middles[border])) // 2
    return Change(course.machine, at, len(clear), shifts)


def _filled(mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stretches without a value get the one before; without any, 0."""
    filled = mean.copy()
    for column in filled.T:
        there = np.flatnonzero(~np.isnan(column))
        if len(there):
            column[:] = column[
                there[np.maximum(0, np.searchsorted(there, np.arange(len(column)), "right") - 1)]
            ]
        else:
            column[:] = 0
    return filled
