"""Sensors that move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

TOGETHER = 0.7  # rank correlation: half of what one sensor does is known from the other
FEWEST = 20  # rows: a correlation of fewer is chance


@dataclass(frozen=True, slots=True, eq=False)
class Correlations:
    """How sensors move together.

    Attributes:
        order: The sensors, those of a group beside each other, the largest group first.
        matrix: Rank correlations in this order, from -1 to 1, shape (F, F); NaN for a sensor that
            does not vary.
        groups: Of two or more sensors whose mean absolute correlation is at least `TOGETHER`.
    """

    order: tuple[str, ...]
    matrix: NDArray[np.float64]
    groups: tuple[tuple[str, ...], ...]


def correlations(names: Sequence[str], sample: NDArray[np.float64]) -> Correlations | None:
    """Spearman's rank correlations, and groups by average linkage; None of fewer than two sensors or rows.

    Args:
        names: Of the sensors.
        sample: Rows, shape (N, F); NaN, where a value is missing, counts as an ordinary one.
    """
    if len(names) < 2 or len(sample) < FEWEST:
        return None
    ranks = np.zeros(sample.shape)
    for column, values in enumerate(sample.T):
        there = ~np.isnan(values)
        if there.any():
            ranked = rankdata(values[there])
            ranks[there, column] = ranked - ranked.mean()
    length = np.sqrt(np.square(ranks).sum(axis=0))
    varies = length > 0
    unit = ranks / np.where(varies, length, 1)
    matrix = np.clip(unit.T @ unit, -1, 1)
    apart = 1 - np.abs(matrix)
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=len(names) <= 200)
    label = fcluster(tree, 1 - TOGETHER, "distance")
    leaves = leaves_list(tree)
    sizes = np.bincount(label)
    place = {group: at for at, group in reversed([*enumerate(label[leaves].tolist())])}
    order = sorted(leaves.tolist(), key=lambda i: (-sizes[label[i]], place[label[i]]))
    matrix[~varies] = np.nan
    matrix[:, ~varies] = np.nan
    groups: dict[int, list[str]] = {}
    for i in order:
        groups.setdefault(int(label[i]), []).append(names[i])
    return Correlations(
        order=tuple(names[i] for i in order),
        matrix=matrix[np.ix_(order, order)],
        groups=tuple(tuple(group) for group in groups.values() if len(group) > 1),
    )
