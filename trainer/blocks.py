"""Rows as blocks of consecutive ones, and which blocks stand for all of them where there is room for few."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from detector.grid import Grid
    from detector.history import History

LENGTHS = 10  # windows' lengths that a block has: a border costs a window's length less one
FEWEST = 50  # blocks for which there is room, so that each regime gets some
MOST_REGIMES = 16
APART = 3.0  # deviations of a sensor's level, or octaves of its spread or peak, that tell regimes apart
SMALLEST = 0.1  # of a sensor's deviation over all blocks: one that is still within a block is not all change


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """B blocks of one machine's rows, in order of time and without a hole in any.

    Attributes:
        starts: First row of each, shape (B,).
        stops: The row after the last one of each, shape (B,).
    """

    starts: NDArray[np.intp]
    stops: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def sizes(self) -> NDArray[np.intp]:
        """Rows of each, shape (B,)."""
        return self.stops - self.starts

    def rows(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows lie in the chosen blocks, shape (N,)."""
        return np.repeat(chosen, self.sizes)

    def any(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which blocks hold any of these rows, shape (B,)."""
        return np.logical_or.reduceat(rows, self.starts) if len(self) else np.empty(0, np.bool_)


def length(window: int, most: int) -> int:
    """Rows of a block where there is room for `most` rows."""
    return max(window, min(LENGTHS * window, most // FEWEST))


def cut(history: History, grid: Grid, max_gap: int, rows: int) -> Blocks:
    """Cuts rows into blocks of `rows` and up to twice as many, or of what there is between two holes.

    Args:
        history: Every row belongs to a block.
        grid: On which holes are measured.
        max_gap: Slots that are no hole yet.
        rows: At least 1.
    """
    if not len(history):
        return Blocks(np.empty(0, np.intp), np.empty(0, np.intp))
    slots = grid.slots(history.at)
    holes = np.flatnonzero(np.diff(slots) > max_gap + 1) + 1
    borders = [0]
    for start, stop in pairwise([0, *holes.tolist(), len(history)]):
        count = max(1, (stop - start) // rows)
        borders += [start + (stop - start) * number // count for number in range(1, count + 1)]
    return Blocks(np.array(borders[:-1], np.intp), np.array(borders[1:], np.intp))


def regimes(history: History, blocks: Blocks) -> NDArray[np.intp]:
    """The regime of each block, shape (B,), from 0; that of the newest block is 0.

    By farthest-point clustering (Gonzalez: Clustering to minimize the maximum intercluster distance,
    1985): a block that is unlike all regimes found so far begins another one, however rare it is. Two
    blocks are as unlike as the sensor that differs most between them.
    """
    if not len(blocks):
        return np.empty(0, np.intp)
    looks = _looks(history, blocks)
    nearest = np.full(len(blocks), np.inf)
    regime = np.zeros(len(blocks), np.intp)
    centre = len(blocks) - 1
    for number in range(MOST_REGIMES):
        distance = np.abs(looks - looks[centre]).max(axis=1, initial=0.0)
        closer = distance < nearest
        nearest[closer], regime[closer] = distance[closer], number
        centre = len(blocks) - 1 - int(nearest[::-1].argmax())
        if nearest[centre] <= APART:
            break
    return regime


def _looks(history: History, blocks: Blocks) -> NDArray[np.float64]:
    """Of each sensor in each block level, spread and largest deviation, shape (B, 3 F)."""
    values, starts = history.values, blocks.starts
    there = ~np.isnan(values)
    count = np.add.reduceat(there, starts, axis=0, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        level = np.add.reduceat(np.where(there, values, 0.0), starts, axis=0) / count
        off = np.where(there, values - np.repeat(level, blocks.sizes, axis=0), 0.0)
        spread = np.sqrt(np.add.reduceat(off**2, starts, axis=0) / count)
    peak = np.where(count > 0, np.maximum.reduceat(np.abs(off), starts, axis=0), np.nan)
    level, spread, peak = map(_known, (level, spread, peak))
    usual = np.maximum(np.median(spread, axis=0), SMALLEST * level.std(axis=0))
    usual[usual == 0] = 1.0  # a sensor that never moves
    octaves = [np.log2(np.maximum(width, SMALLEST * usual) / usual) for width in (spread, peak)]
    return np.concatenate([level / usual, *octaves], axis=1)


def _known(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """A block in which a sensor has no value looks like most others."""
    missing = np.isnan(numbers)
    if not missing.any():
        return numbers
    some = ~missing.all(axis=0)
    usual = np.zeros(numbers.shape[1])
    usual[some] = np.nanmedian(numbers[:, some], axis=0)
    return np.where(missing, usual, numbers)


def choose(
    blocks: Blocks,
    regime: NDArray[np.intp],
    most: int,
    order: NDArray[np.intp],
    first: Iterable[int] = (),
) -> NDArray[np.bool_]:
    """Which blocks to keep, shape (B,), so that they hold at most so many rows.

    One block of each regime, then those that come first, and then as much of one regime as of another,
    so that a rare one is kept whole.

    Args:
        blocks: Of one machine.
        regime: Of each block, shape (B,).
        most: Rows.
        order: All blocks, from the one that is kept first of its regime, shape (B,).
        first: Blocks that are kept before the others while there is room.
    """
    sizes, kept = blocks.sizes, np.zeros(len(blocks), np.bool_)
    if sizes.sum() <= most:
        return ~kept
    rank = np.empty(len(blocks), np.intp)  # of each block in its regime
    for each in np.unique(regime):
        own = order[regime[order] == each]
        rank[own] = np.arange(len(own))
    in_turn = order[np.argsort(rank[order], kind="stable")]
    left = most
    for block in (*in_turn[: int((rank == 0).sum())], *first, *in_turn):
        if not kept[block] and sizes[block] <= left:
            kept[block] = True
            left -= sizes[block]
    return kept


def newest_first(blocks: Blocks) -> NDArray[np.intp]:
    """All blocks, shape (B,)."""
    return np.arange(len(blocks))[::-1]


def spread_out(blocks: Blocks) -> NDArray[np.intp]:
    """All blocks, shape (B,), so that the first ones of any regime lie evenly over its time."""
    return np.argsort(np.arange(len(blocks)) * GOLDEN % 1, kind="stable")


GOLDEN = (5**0.5 - 1) / 2  # its multiples less their whole part lie evenly between 0 and 1, however many


def shares(rows: Sequence[int], most: int) -> list[int]:
    """How many of so many rows each machine may keep: what one does not need is the others'."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    given, left = [0] * len(rows), most
    for position, machine in enumerate(order):
        given[machine] = min(rows[machine], left // (len(rows) - position))
        left -= given[machine]
    return given
