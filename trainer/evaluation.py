"""What a detector's scores and alerts are worth, where rows are labelled.

Rows labelled -1 are left out of everything, so a range is left out by labelling it so. A row
without a score (the window was warming up or had too few values) counts as not alarmed, and
ranks below every score.

An alert counts once, where it opened: in an event it has found the event, on a normal row it is
false, however long it stays open and whatever begins meanwhile. An alert that never closes
therefore finds no later event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import Change
from detector.events import AlertChanged, Scored
from detector.history import ANOMALOUS, NORMAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from detector.events import Event
    from detector.grid import Grid
    from detector.history import History

DAY = 86_400_000  # milliseconds


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
    assert history.label is not None
    mine = [event for event in events if isinstance(event, Scored | AlertChanged)]
    mine = [event for event in mine if event.machine == history.machine]
    windows = [event for event in mine if isinstance(event, Scored)]
    alerts = [event for event in mine if isinstance(event, AlertChanged)]
    openings = [alert.at for alert in alerts if alert.change is Change.OPENED]
    grid = grid.of_machine(int(history.at[0])) if len(history) else grid
    own, ends = grid.slots(history.at), grid.slots(np.array([w.at for w in windows], dtype=np.int64))
    newest = np.searchsorted(ends, own, side="right") - 1
    known = newest >= 0
    known[known] = own[known] - ends[newest[known]] < stride
    score, alarmed, opened = np.full(len(own), np.nan), np.zeros(len(own), bool), np.zeros(len(own), bool)
    score[known] = np.array([window.score for window in windows])[newest[known]]
    alarmed[known] = np.array([window.anomaly for window in windows])[newest[known]]
    opened[np.searchsorted(own, grid.slots(np.array(openings, dtype=np.int64)))] = True
    return Rows(history.at, history.label, score, alarmed, opened, grid.interval)


def evaluate(files: Sequence[Rows]) -> Evaluation:
    """Sums counts over files, then divides; no point adjustment."""
    label = np.concatenate([file.label for file in files])
    alarmed = np.concatenate([file.alarmed for file in files])
    positive, negative = label == ANOMALOUS, label == NORMAL
    hits, false = int((alarmed & positive).sum()), int((alarmed & negative).sum())
    anomalous, normal = int(positive.sum()), int(negative.sum())
    ranked = [_average_precision(file) for file in files]
    both = [(ap, random) for ap, random in ranked if ap is not None]
    delays = [delay for file in files for delay in _delays(file)]
    found = [delay for delay in delays if delay is not None]
    false_alerts = sum(int((file.opened & (file.label == NORMAL)).sum()) for file in files)
    days = sum(int((file.label == NORMAL).sum()) * file.interval for file in files) / DAY
    return Evaluation(
        files=len(files),
        rows=anomalous + normal,
        anomalous=anomalous,
        unscored=sum(int((np.isnan(file.score) & _known(file)).sum()) for file in files),
        precision=_share(hits, hits + false),
        recall=_share(hits, anomalous),
        f1=_share(2 * hits, hits + false + anomalous),
        far=_share(100 * false, normal),
        mar=_share(100 * (anomalous - hits), anomalous),
        auc_pr=float(np.mean([ap for ap, _ in both])) if both else None,
        auc_pr_random=float(np.mean([random for _, random in both])) if both else None,
        events=len(delays),
        events_found=len(found),
        delay_mean=float(np.mean(found)) if found else None,
        delay_median=float(np.median(found)) if found else None,
        false_alerts=false_alerts,
        false_alerts_per_day=_share(false_alerts, days),
    )


def runs(flags: NDArray[np.bool_]) -> list[slice]:
    """The stretches of neighbouring true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


def _known(file: Rows) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = (file.label == NORMAL) | (file.label == ANOMALOUS)
    return known


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _average_precision(file: Rows) -> tuple[float | None, float]:
    from sklearn.metrics import average_precision_score  # noqa: PLC0415 - a second, for evaluation alone

    known = _known(file)
    positive = file.label[known] == ANOMALOUS
    random = float(positive.mean()) if len(positive) else 0.0
    if positive.all() or not positive.any():
        return None, random
    return float(average_precision_score(positive, np.nan_to_num(file.score[known], nan=-1.0))), random


def _delays(file: Rows) -> list[float | None]:
    """Seconds until each event was found; None where it was not."""
    delays: list[float | None] = []
    for event in runs(file.label == ANOMALOUS):
        opened = np.flatnonzero(file.opened[event])
        at = file.at[event]
        delays.append(float(at[opened[0]] - at[0]) / 1000 if len(opened) else None)
    return delays
