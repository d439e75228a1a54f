"""How well scores rank anomalous rows above normal ones, over all thresholds.

Average precision and the area under the ROC curve take each row by itself. VUS-PR also takes rows
shortly before and after an event as partly anomalous, as labels are never exact to the row, and
weighs by the share of events found: Paparrizos et al., "Volume Under the Surface: A New Accuracy
Evaluation Measure for Time-Series Anomaly Detection", VLDB 2022. The details follow the authors'
library TSB-AD 1.5 (`generate_curve`, version `opt`), so figures can be compared with theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BUFFER = 100
"""Default of the longest buffer, in rows: what TSB-AD takes if it is not told another."""

THRESHOLDS = 250
"""At which VUS-PR is computed, evenly over the ranks of the rows: TSB-AD's."""

NO_SCORE = -1.0
"""Stands for a missing score, below every score there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """What alarming at each score that occurred would give; all arrays have the shape (T,).

    Attributes:
        threshold: Descending; rows at or above it are alarmed.
        precision: Share of the alarmed rows that are anomalous.
        recall: Share of the anomalous rows that are alarmed.
        f1: Their harmonic mean.
        far: False alarm rate: share of the normal rows that are alarmed.
    """

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    far: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """How well a series is ranked; 1 is perfect.

    Attributes:
        auc_pr: Average precision.
        auc_pr_random: What random scores are expected to get.
        vus_pr: See the module.
        vus_pr_random: What random scores are expected to get.
        roc_auc: Random scores are expected to get 0.5.
    """

    auc_pr: float
    auc_pr_random: float
    vus_pr: float
    vus_pr_random: float
    roc_auc: float


class Ranking:
    """Takes scores block by block and keeps little: how often each score occurred, and rows near events.

    A score has few digits, so there are few different ones.
    """

    def __init__(self, buffer: int = BUFFER) -> None:
        """Starts with the first row.

        Args:
            buffer: The longest of VUS-PR's buffers, in rows; half of it lies on either side of an event.
        """
        self.buffer = buffer
        self.rows = self.anomalous = 0
        self._scores: NDArray[np.float64] = np.empty(0)  # that occurred, ascending
        self._rows_of_score = np.empty(0, dtype=np.int64)
        self._anomalous_of_score = np.empty(0, dtype=np.int64)
        self._near = _Near.of(0, np.empty(0), np.empty(0, dtype=np.bool_))

    def add(self, score: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> None:
        """Takes the next rows; a score may be NaN, which ranks below all others. Shapes (N,)."""
        score = np.nan_to_num(score, nan=NO_SCORE)
        rows = np.concatenate([self._rows_of_score, np.ones(len(score), dtype=np.int64)])
        hits = np.concatenate([self._anomalous_of_score, anomalous])
        self._scores, which = np.unique(np.concatenate([self._scores, score]), return_inverse=True)
        self._rows_of_score = np.bincount(which, rows).astype(np.int64)
        self._anomalous_of_score = np.bincount(which, hits).astype(np.int64)
        self._near = self._near.then(_Near.of(self.rows, score, anomalous))
        self.rows += len(score)
        self.anomalous += int(anomalous.sum())
        self._near = self._near.within(self.buffer // 2, self.rows)

    def ranked(self) -> Ranked | None:
        """All figures; None unless there were rows of both labels."""
        if not 0 < self.anomalous < self.rows:
            return None
        curve = self.curve()
        return Ranked(
            auc_pr=float(curve.precision @ np.diff(curve.recall, prepend=0)),
            auc_pr_random=self.anomalous / self.rows,
            vus_pr=self._vus_pr(),
            vus_pr_random=self._random_vus_pr(),
            roc_auc=float(np.trapezoid([0, *curve.recall], [0, *curve.far])),
        )

    def curve(self) -> Curve:
        """Precision, recall and false alarms at every threshold; there must be rows of both labels."""
        alarmed = self._rows_of_score[::-1].cumsum()
        hits = self._anomalous_of_score[::-1].cumsum()
        return Curve(
            threshold=self._scores[::-1],
            precision=hits / alarmed,
            recall=hits / self.anomalous,
            f1=2 * hits / (alarmed + self.anomalous),
            far=(alarmed - hits) / (self.rows - self.anomalous),
        )

    def _vus_pr(self) -> float:
        """Volume under precision, recall and the length of the buffer."""
        highest_first = self._rows_of_score[::-1].cumsum()
        ranks = np.linspace(0, self.rows - 1, THRESHOLDS).astype(int)
        which = np.searchsorted(highest_first, ranks, side="right")
        thresholds, alarmed = self._scores[::-1][which], highest_first[which]
        near = self._near
        alarm = np.searchsorted(-thresholds, -near.score)  # the first threshold that alarms the row

        hits = _counted(alarm[near.anomalous])
        volume = 0.0
        for weight, stretches in near.buffers(self.buffer):
            buffered = _counted(alarm, weight)
            found = np.minimum.reduceat(np.append(alarm, THRESHOLDS), stretches.ravel())[::2]
            # Positives are counted halfway between those labelled and those that the buffer adds.
            recall = np.minimum((hits + buffered) / (self.anomalous + buffered / 2), 1)
            recall *= _counted(found) / len(found)
            volume += float((hits + buffered) / alarmed @ np.diff(recall, prepend=0))
        return volume / (self.buffer + 1)

    def _random_vus_pr(self) -> float:
        """VUS-PR that random scores get: the share of rows that are anomalous, or in a buffer by part.

        That is their precision at every threshold, while recall grows from 0 to 1.
        """
        buffered = sum(float(weight.sum()) for weight, _ in self._near.buffers(self.buffer))
        return (self.anomalous + buffered / (self.buffer + 1)) / self.rows


def ranking(label: ArrayLike, score: ArrayLike, buffer: int = BUFFER) -> Ranking:
    """The ranking of one series.

    Args:
        label: 1 anomalous, 0 normal, shape (N,).
        score: Higher is more anomalous; NaN ranks below all, shape (N,).
        buffer: See `Ranking`.
    """
    found = Ranking(buffer)
    found.add(np.asarray(score, dtype=np.float64), np.asarray(label) == 1)
    return found


def _counted(alarm: NDArray[np.int64], weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """What is alarmed at each threshold, from the first that alarms each."""
    return np.bincount(alarm, weight, minlength=THRESHOLDS).cumsum().astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Near:
    """Rows in and near events; all arrays have the shape (R,).

    Attributes:
        position: How many rows came before, ascending.
        score: Without NaN.
        anomalous: Whether the row is in an event.
    """

    position: NDArray[np.int64]
    score: NDArray[np.float64]
    anomalous: NDArray[np.bool_]

    @classmethod
    def of(cls, start: int, score: NDArray[np.float64], anomalous: NDArray[np.bool_]) -> _Near:
        return cls(np.arange(start, start + len(score)), score, anomalous)

    def then(self, later: _Near) -> _Near:
        return _Near(
            np.concatenate([self.position, later.position]),
            np.concatenate([self.score, later.score]),
            np.concatenate([self.anomalous, later.anomalous]),
        )

    def within(self, reach: int, rows: int) -> _Near:
        """Leaves out rows that are farther from an event, and from the newest of all rows so far."""
        events = np.concatenate([[-reach - 1], self.position[self.anomalous], [rows + reach]])
        after = np.searchsorted(events, self.position)
        kept = (self.position - events[after - 1] <= reach) | (events[after] - self.position <= reach)
        kept |= self.position >= rows - reach
        return _Near(self.position[kept], self.score[kept], self.anomalous[kept])

    def buffers(self, longest: int) -> Iterator[tuple[NDArray[np.float64], NDArray[np.intp]]]:
        """For each length of the buffer from 0: how far it makes rows anomalous, and the stretches.

        Yields:
            weight: Of a normal row within half the length of an event, from 1 downwards; 0 of all
                others, those in events too, shape (R,).
            stretches: Where events with their buffers, joined where they overlap, start and stop,
                as indices of rows, shape (S, 2).
        """
        alone = np.diff(self.position, prepend=-2) != 1  # no neighbour before
        starts = self.anomalous & (alone | ~np.roll(self.anomalous, 1))
        stops = self.anomalous & (np.roll(alone, -1) | ~np.roll(self.anomalous, -1))
        first, last = self.position[starts], self.position[stops]
        row, distance = self._beside(first, last, longest // 2)
        for length in range(longest + 1):
            half = length // 2
            near = slice(np.searchsorted(distance, half, side="right"))
            lent = np.sqrt(1 - distance[near] / max(length, 1))
            weight = np.bincount(row[near], lent, minlength=len(self.position))
            apart = last[:-1] + half < first[1:] - half
            begin, end = first[np.append(True, apart)] - half, last[np.append(apart, True)] + half + 1
            stretches = np.searchsorted(self.position, np.stack([begin, end], axis=1))
            yield np.minimum(weight, 1), stretches

    def _beside(
        self, first: NDArray[np.int64], last: NDArray[np.int64], reach: int
    ) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Indices of the normal rows near each event, and how far they are, nearest first."""
        distance = np.arange(1, reach + 1)[:, None]
        position = np.concatenate([first - distance, last + distance], axis=1).ravel()
        distance = np.repeat(distance, 2 * len(first))
        row = np.searchsorted(self.position, position)
        row[row == len(self.position)] = 0  # past the last row; no position equals that of the first
        there = (self.position[row] == position) & ~self.anomalous[row]
        return row[there], distance[there]
