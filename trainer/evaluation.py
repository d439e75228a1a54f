"""What a detector's scores and alerts are worth, where rows are labelled.

Rows labelled -1 are left out of everything, so a range is left out by labelling it so. A row
without a score (the window was warming up or had too few values) counts as not alarmed, and
ranks below every score.

An alert counts once, where it opened: in an event it has found the event, on a normal row it is
false, however long it stays open and whatever begins meanwhile. An alert that never closes
therefore finds no later event.

A history may be larger than memory: `Laying` and `Tally` take it block by block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import Change
from detector.events import AlertChanged, ReadingDropped, Scored
from detector.history import ANOMALOUS, NORMAL
from trainer.ranking import BUFFER, Ranked, Ranking
from trainer.wording import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from detector.events import Event
    from detector.grid import Grid
    from detector.history import History


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One labelled history and what was said about it; all arrays have the shape (N,).

    Attributes:
        at: Times in milliseconds since the epoch, ascending.
        label: 0 normal, 1 anomalous, -1 left out.
        score: Score of the newest window at each row; NaN where there is none.
        alarmed: Whether that score is above 1.
        opened: Whether the window that ended at the row opened an alert.
        interval: Time that one row stands for, in milliseconds.
    """

    at: NDArray[np.int64]
    label: NDArray[np.int8]
    score: NDArray[np.float64]
    alarmed: NDArray[np.bool_]
    opened: NDArray[np.bool_]
    interval: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The metrics over all files; None where nothing was there to divide by.

    Attributes:
        files: Labelled histories.
        rows: Rows labelled normal or anomalous.
        anomalous: Rows labelled anomalous.
        unscored: Rows without a score.
        precision: Share of the alarmed rows that are anomalous.
        recall: Share of the anomalous rows that are alarmed.
        f1: Their harmonic mean.
        far: False alarm rate: percentage of the normal rows that are alarmed.
        mar: Missed alarm rate: percentage of the anomalous rows that are not alarmed.
        auc_pr: Average precision, mean over the files with both labels.
        auc_pr_random: The same of random scores: the share of anomalous rows.
        vus_pr: The same with rows near an event as partly anomalous; see `trainer.ranking`.
        vus_pr_random: The same of random scores.
        roc_auc: Chance that an anomalous row's score is above a normal row's, mean over these files;
            random scores get 0.5.
        events: Runs of anomalous rows.
        events_found: Those in which an alert opened.
        delay_mean: Seconds from an event's first row to the one that opened its first alert, mean
            over the events found.
        delay_median: Their median.
        false_alerts: Alerts that opened on a normal row.
        false_alerts_per_day: The same per day of normal rows.
    """

    files: int
    rows: int
    anomalous: int
    unscored: int
    precision: float | None
    recall: float | None
    f1: float | None
    far: float | None
    mar: float | None
    auc_pr: float | None
    auc_pr_random: float | None
    vus_pr: float | None
    vus_pr_random: float | None
    roc_auc: float | None
    events: int
    events_found: int
    delay_mean: float | None
    delay_median: float | None
    false_alerts: int
    false_alerts_per_day: float | None


def rows(history: History, events: Iterable[Event], *, grid: Grid, stride: int) -> Rows:
    """Lays the pipeline's events over the rows of a labelled history.

    A score stands for the row that ended its window, for rows in the same slot of the grid, and
    with a stride for the rows until the next window is due.

    Args:
        history: With labels.
        events: Of this machine, in order; others are ignored.
        grid: The grid of the detector that scored.
        stride: Its stride.
    """
    return Laying(grid=grid, stride=stride, lateness=None).add(history, events)


class Laying:
    """Does what `rows` does, block by block, and holds back the rows of which more may be said."""

    def __init__(self, *, grid: Grid, stride: int, lateness: int | None) -> None:
        """Starts with the first row.

        Args:
            grid, stride: See `rows`.
            lateness: The pipeline's, in milliseconds: only after it a row's score is settled. None
                if no block follows, so that nothing is held back.
        """
        self._grid = grid
        self._stride = stride
        self._lateness = lateness
        self._of_machine: Grid | None = None  # until the first row
        self._at = np.empty(0, dtype=np.int64)  # of the rows held back
        self._label = np.empty(0, dtype=np.int8)
        self._said = _Said.of("", [], grid)

    def add(self, history: History, events: Iterable[Event]) -> Rows:
        """Takes the next rows with what the pipeline said when it got them; returns those settled."""
        assert history.label is not None
        if self._of_machine is None and len(history):
            self._of_machine = self._grid.of_machine(int(history.at[0]))
        grid = self._of_machine or self._grid
        self._said = self._said.then(_Said.of(history.machine, events, grid))
        self._at = np.concatenate([self._at, history.at])
        self._label = np.concatenate([self._label, history.label])
        if self._lateness is None or not len(self._at):
            return self.rest()
        return self._settle(grid, grid.slot(int(self._at[-1]) - self._lateness))

    def rest(self) -> Rows:
        """The rows held back, once the last block was taken."""
        return self._settle(self._of_machine or self._grid, None)

    def _settle(self, grid: Grid, before: int | None) -> Rows:
        """Lays what was said over the rows in slots before this one, or over all."""
        own, said = grid.slots(self._at), self._said
        if before is not None:
            own = own[: np.searchsorted(own, before)]
        newest = np.searchsorted(said.ends, own, side="right") - 1
        known = newest >= 0
        known[known] = own[known] - said.ends[newest[known]] < self._stride
        score, alarmed = np.full(len(own), np.nan), np.zeros(len(own), bool)
        score[known] = said.scores[newest[known]]
        alarmed[known] = said.anomalies[newest[known]]
        opened = np.zeros(len(own), bool)
        first = np.searchsorted(own, said.openings)
        opened[first[first < len(own)]] = True
        rows = Rows(self._at[: len(own)], self._label[: len(own)], score, alarmed, opened, grid.interval)
        self._at, self._label = self._at[len(own) :], self._label[len(own) :]
        if before is not None:
            self._said = said.since(before, self._stride)
        return rows


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """Events as arrays.

    Attributes:
        ends: Slot in which each window ends, ascending, shape (W,).
        scores: Its score, shape (W,).
        anomalies: Whether it is an anomaly, shape (W,).
        openings: Slots in which alerts opened, ascending.
    """

    ends: NDArray[np.int64]
    scores: NDArray[np.float64]
    anomalies: NDArray[np.bool_]
    openings: NDArray[np.int64]

    @classmethod
    def of(cls, machine: str, events: Iterable[Event], grid: Grid) -> _Said:
        mine = [
            event for event in events if not isinstance(event, ReadingDropped) and event.machine == machine
        ]
        windows = [event for event in mine if isinstance(event, Scored)]
        alerts = [event for event in mine if isinstance(event, AlertChanged)]
        opened = [alert.at for alert in alerts if alert.change is Change.OPENED]
        return cls(
            grid.slots(np.array([window.at for window in windows], dtype=np.int64)),
            np.array([window.score for window in windows], dtype=np.float64),
            np.array([window.anomaly for window in windows], dtype=np.bool_),
            grid.slots(np.array(opened, dtype=np.int64)),
        )

    def then(self, later: _Said) -> _Said:
        return _Said(
            np.concatenate([self.ends, later.ends]),
            np.concatenate([self.scores, later.scores]),
            np.concatenate([self.anomalies, later.anomalies]),
            np.concatenate([self.openings, later.openings]),
        )

    def since(self, slot: int, stride: int) -> _Said:
        """What may stand for rows from this slot on."""
        kept = slice(int(np.searchsorted(self.ends, slot - stride, side="right")), None)
        opened = self.openings[np.searchsorted(self.openings, slot) :]
        return _Said(self.ends[kept], self.scores[kept], self.anomalies[kept], opened)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one labelled history came to.

    Attributes:
        hits: Anomalous rows that are alarmed.
        false: Normal rows that are alarmed.
        anomalous, normal: Rows so labelled.
        unscored: Of them without a score.
        normal_time: Time that the normal rows stand for, in milliseconds.
        false_alerts: Alerts that opened on a normal row.
        delays: Seconds until each event was found; None where it was not.
        ranked: None without rows of both labels.
    """

    hits: int
    false: int
    anomalous: int
    normal: int
    unscored: int
    normal_time: int
    false_alerts: int
    delays: tuple[float | None, ...]
    ranked: Ranked | None


class Tally:
    """Counts one labelled history block by block; little, however many rows it has."""

    def __init__(self, buffer: int = BUFFER) -> None:
        """Starts with the first row.

        Args:
            buffer: See `Ranking`.
        """
        self._hits = self._false = 0
        self._anomalous = self._normal = self._unscored = 0
        self._false_alerts = 0
        self._normal_time = 0
        self._delays: list[float | None] = []
        self._began: int | None = None  # the time at which the event began that goes on, if one does
        self._ranking = Ranking(buffer)

    def add(self, rows: Rows) -> None:
        """Takes the next rows."""
        positive, negative = rows.label == ANOMALOUS, rows.label == NORMAL
        self._hits += int((rows.alarmed & positive).sum())
        self._false += int((rows.alarmed & negative).sum())
        self._anomalous += int(positive.sum())
        self._normal += int(negative.sum())
        self._normal_time += int(negative.sum()) * rows.interval
        self._false_alerts += int((rows.opened & negative).sum())
        known = positive | negative
        self._unscored += int(np.isnan(rows.score[known]).sum())
        self._ranking.add(rows.score[known], positive[known])
        self._find_events(rows, positive)

    def counts(self) -> Counts:
        """What it came to so far."""
        return Counts(
            hits=self._hits,
            false=self._false,
            anomalous=self._anomalous,
            normal=self._normal,
            unscored=self._unscored,
            normal_time=self._normal_time,
            false_alerts=self._false_alerts,
            delays=tuple(self._delays),
            ranked=self._ranking.ranked(),
        )

    def _find_events(self, rows: Rows, positive: NDArray[np.bool_]) -> None:
        for event in runs(positive):
            if event.start > 0 or self._began is None:
                self._began = int(rows.at[event.start])
                self._delays.append(None)
            opened = np.flatnonzero(rows.opened[event])
            if self._delays[-1] is None and len(opened):
                self._delays[-1] = (int(rows.at[event][opened[0]]) - self._began) / 1000
        if len(positive) and not positive[-1]:
            self._began = None


def counts(rows: Rows, buffer: int = BUFFER) -> Counts:
    """Counts one labelled history."""
    tally = Tally(buffer)
    tally.add(rows)
    return tally.counts()


def evaluate(files: Sequence[Rows], buffer: int = BUFFER) -> Evaluation:
    """The metrics over all files; no point adjustment."""
    return summed([counts(file, buffer) for file in files])


def summed(files: Sequence[Counts]) -> Evaluation:
    """Sums counts over files, then divides; figures of ranking are means over files."""
    hits, false = sum(file.hits for file in files), sum(file.false for file in files)
    anomalous, normal = sum(file.anomalous for file in files), sum(file.normal for file in files)
    ranked = [file.ranked for file in files if file.ranked]
    delays = [delay for file in files for delay in file.delays]
    found = [delay for delay in delays if delay is not None]
    false_alerts = sum(file.false_alerts for file in files)
    return Evaluation(
        files=len(files),
        rows=anomalous + normal,
        anomalous=anomalous,
        unscored=sum(file.unscored for file in files),
        precision=_share(hits, hits + false),
        recall=_share(hits, anomalous),
        f1=_share(2 * hits, hits + false + anomalous),
        far=_share(100 * false, normal),
        mar=_share(100 * (anomalous - hits), anomalous),
        auc_pr=_mean([one.auc_pr for one in ranked]),
        auc_pr_random=_mean([one.auc_pr_random for one in ranked]),
        vus_pr=_mean([one.vus_pr for one in ranked]),
        vus_pr_random=_mean([one.vus_pr_random for one in ranked]),
        roc_auc=_mean([one.roc_auc for one in ranked]),
        events=len(delays),
        events_found=len(found),
        delay_mean=_mean(found),
        delay_median=float(np.median(found)) if found else None,
        false_alerts=false_alerts,
        false_alerts_per_day=_share(false_alerts, sum(file.normal_time for file in files) / DAY),
    )


def runs(flags: NDArray[np.bool_]) -> list[slice]:
    """The stretches of neighbouring true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
