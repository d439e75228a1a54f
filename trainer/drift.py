"""Tells a new normal from a fault that develops, and both from a machine that is as it was.

Sensors that have moved while their model explains them as well as ever are another load, season or recipe.
Where the model's error has grown, the relations between sensors have changed: as long as that goes on, a
fault may be developing. Once the error has been level for a stated time, it is how the machine runs now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from registry.drifts import Drift, Kind, Moved
from trainer.trend import rising, slope
from trainer.wording import duration, listed, moment, rounded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.drift_blocks import Course

FEWEST_BLOCKS = 10  # of what the model knows: fewer say nothing of what is usual
NEWEST = 24  # blocks that are compared with it: of hours, a day with its night
FEWEST_NEWEST = 12
MOST_BEYOND = 0.75  # share of the newest blocks that must lie beyond what is usual, all on one side
EDGE = 0.02  # share of the blocks that lie beyond each edge of what is usual
SMOOTHED = 5  # blocks whose median says on which side of the edge a moment was
TOLD = 8  # sensors


@dataclass(frozen=True, slots=True)
class DriftPolicy:
    """When a change counts.

    Attributes:
        settled_after: Milliseconds for which an error that has grown must be level.
        min_move: Standard deviations by which a sensor must have moved.
        min_growth: Factor by which an error must have grown.
    """

    settled_after: int
    min_move: float
    min_growth: float


def judge(
    machine: str,
    model: str,
    sensors: tuple[str, ...],
    usual: Course,
    newest: Course,
    policy: DriftPolicy,
    now: int,
) -> Drift:
    """What a machine's blocks say.

    Args:
        machine: Its name.
        model: The bundle that scored them.
        sensors: Of that bundle, F.
        usual: Blocks of the time that the model knows.
        newest: Those after it, less what was in alert.
        policy: When a change counts.
        now: Milliseconds since the epoch.
    """
    until = int(newest.at[-1]) if len(newest) else None
    few = _too_few(usual, newest)
    if few is not None:
        return Drift(machine, model, Kind.UNKNOWN, few, now, until=until)
    sizes, since_moved, moved = _moved(usual, newest, policy.min_move)
    centre = float(np.median(usual.score))
    top = max(float(np.quantile(usual.score, 1 - EDGE)), centre + np.log10(policy.min_growth))
    recent = newest.rows(slice(-NEWEST, None))
    score = float(np.median(recent.score))
    grown = (recent.score > top).mean() >= MOST_BEYOND
    kind, since, rise, span = Kind.NONE, None, None, policy.settled_after
    if grown:
        since = _onset(newest, top, centre)
        level, rise, span = _level(newest, int(newest.at[since]), policy)
        kind = Kind.SETTLED if level else Kind.DEVELOPING
        began = int(newest.at[since])
    elif moved.any():
        kind, began = Kind.DRIFT, int(newest.at[since_moved[moved].min()])
    if kind is Kind.NONE:
        return Drift(machine, model, kind, "as its model knows it", now, until=until,
                     score=10**score, usual=10**centre)  # fmt: skip
    parts = _parts(sensors, usual, newest, sizes, moved, grown=grown)
    text = _text(kind, parts, began, 10 ** (score - centre), rise, span)
    return Drift(machine, model, kind, text, now, began, until, 10**score, 10**centre, rise, parts)


def _too_few(usual: Course, newest: Course) -> str | None:
    if len(usual) < FEWEST_BLOCKS:
        return f"{len(usual)} blocks are known of what is usual, {FEWEST_BLOCKS} are needed"
    if len(newest) < FEWEST_NEWEST:
        return f"{len(newest)} blocks have come since the model was made, {FEWEST_NEWEST} are needed"
    return None


def _moved(
    usual: Course, newest: Course, least: float
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]]:
    """How far each sensor's level has moved in deviations, since which block, and whether that counts.

    Shape (F,) each.
    """
    width = usual.level.shape[1]
    sizes, since = np.full(width, np.nan), np.zeros(width, np.intp)
    counts = np.zeros(width, np.bool_)
    for column in range(width):
        known = usual.level[~np.isnan(usual.level[:, column]), column]
        there = np.flatnonzero(~np.isnan(newest.level[:, column]))
        if len(known) < FEWEST_BLOCKS or len(there) < FEWEST_NEWEST:
            continue
        deviation = float(np.sqrt(np.nanmean(usual.spread[:, column] ** 2) + known.var()))
        level = newest.level[there, column]
        size = float(np.median(level[-NEWEST:]) - np.median(known))
        if deviation == 0:  # a constant tells nothing of what would be a move
            continue
        sizes[column] = size / deviation
        sign = np.sign(size)
        edge = float(np.quantile(sign * known, 1 - EDGE))
        beyond = sign * level > edge
        counts[column] = abs(sizes[column]) >= least and beyond[-NEWEST:].mean() >= MOST_BEYOND
        within = np.flatnonzero(_smooth(sign * level) <= edge)
        since[column] = there[min(len(there) - 1, within[-1] + 1)] if len(within) else there[0]
    return sizes, since, counts


def _smooth(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each number and those around it, shape (B,)."""
    padded = np.pad(numbers, SMOOTHED // 2, mode="edge")
    smooth: NDArray[np.float64] = np.median(
        np.lib.stride_tricks.sliding_window_view(padded, SMOOTHED), axis=1
    )
    return smooth


def _onset(newest: Course, top: float, centre: float) -> int:
    """The block from which on the error has grown: after it was last as usual, before it left for good."""
    smooth = _smooth(newest.score)
    inside = np.flatnonzero(smooth <= top)
    left = int(inside[-1]) if len(inside) else 0
    usual = np.flatnonzero(smooth[: left + 1] <= centre)
    return min(len(newest) - 1, int(usual[-1]) + 1) if len(usual) else 0


def _level(newest: Course, since: int, policy: DriftPolicy) -> tuple[bool, float, int]:
    """Whether the error is level, by what factor it grows, and the milliseconds for which both is said."""
    end = int(newest.at[-1])
    # What has risen for three weeks is not level because of three days: it must be so for as long as it rose.
    span = max(policy.settled_after, (end - since) // 2)
    tail = newest.rows(newest.at >= max(since, end - span))
    growth = slope(tail.at, tail.score) * span
    rise = float(10 ** np.clip(growth, -6, 6))
    # Half of what counts as growth at all: what rises by less is level for people, too.
    steep = growth >= np.log10(policy.min_growth) / 2
    return end - since >= policy.settled_after and not (steep and rising(tail.score)), rise, span


def _parts(
    sensors: tuple[str, ...],
    usual: Course,
    newest: Course,
    sizes: NDArray[np.float64],
    moved: NDArray[np.bool_],
    *,
    grown: bool,
) -> tuple[Moved, ...]:
    """The sensors that show it: those to blame for the error first, or those that moved most."""
    recent = newest.rows(slice(-NEWEST, None))
    more = np.maximum(np.median(recent.share, axis=0) - np.median(usual.share, axis=0), 0)
    share = more / more.sum() if grown and more.sum() > 0 else np.zeros(len(sensors))
    order = np.lexsort((-np.nan_to_num(np.abs(sizes)), -share.round(2)))
    chosen = [column for column in order.tolist() if moved[column] or share[column] >= 1 / len(sensors)]

    def known(numbers: NDArray[np.float64], column: int) -> float | None:
        there = numbers[~np.isnan(numbers[:, column]), column]
        return float(np.median(there)) if len(there) else None

    return tuple(
        Moved(
            sensor=sensors[column],
            size=None if np.isnan(sizes[column]) else float(sizes[column]),
            before=known(usual.level, column),
            now=known(recent.level, column),
            share=float(share[column]),
        )
        for column in chosen[:TOLD]
    )


def _text(
    kind: Kind, parts: tuple[Moved, ...], began: int, growth: float, rise: float | None, span: int
) -> str:
    names, when = listed([part.sensor for part in parts]), moment(began)
    if kind is Kind.DRIFT:
        has = "has" if len(parts) == 1 else "have"
        return f"{names} {has} moved since {when}; the model explains them as well as before"
    of = f" of {names}" if names else ""
    error = f"the error{of} has grown {rounded(growth)} times since {when}"
    if kind is Kind.SETTLED:
        return f"{error} and has been level for {duration(span)}"
    if rise is not None and rise > 1:
        return f"{error} and is not level yet ({rounded(rise)} times in {duration(span)})"
    return f"{error} and is not level yet"
