"""The part of the report that shows the score over time, machine by machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import Change
from detector.events import AlertChanged, Scored
from detector.history import ANOMALOUS
from trainer.charts import Limit, Line, Spans, line_chart, moments
from trainer.drawing import FAULT, LINE, ONE, TWO
from trainer.evaluation import runs
from trainer.page import figure, key, lead, section

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainer.calibration import Replayed
    from trainer.labelled import Watched
    from trainer.report import Contents

MOST_DRAWN = 12  # machines: more charts than that nobody looks at
FOOT = 0.04  # height of the bars at the foot of a chart, a share of the chart's


def score(it: Contents) -> str:
    watched = it.watched
    keys = [key("score", "one"), key("threshold", "limit")]
    if watched:
        how = (
            "The whole history, replayed as the daemon would see it: the score is the error divided by the "
            "threshold, so that above 1 is an anomaly. Good is a line that rises above 1 where rows are "
            "labelled anomalous and nowhere else; what lies above the grey bar was fitted on."
        )
        keys += [
            key("labelled anomalous", "fault band"),
            key("alert open", "two band"),
            key("fitted on", "soft band"),
        ]
    else:
        how = (
            "The last part of the history, which was not fitted on, replayed as the daemon would see it: the "
            "score is the error divided by the threshold, so that above 1 is an anomaly. All of it is "
            "normal: good is a line that stays below 1."
        )
        if len(it.replays) > 1:
            keys.append(key("threshold learned from", "soft band"))
    courses = [_watched_course(one) for one in watched] or _held_back_courses(it.replays)
    courses.sort(key=lambda course: -course.highest)
    drawn = [
        figure(
            line_chart(
                [Line(ONE, moments(course.at), course.score)],
                title=f"score of {course.machine} over time",
                limits=[Limit("threshold", 1.0)],
                spans=course.spans,
                bare=it.examined is None,
            ),
            f"{course.machine}, {span_of(course.at)}, highest {course.highest:.3g}",
            *keys,
            kind="wide",
        )
        for course in courses[:MOST_DRAWN]
    ]
    if len(courses) > MOST_DRAWN:
        drawn.append(lead(f"The {MOST_DRAWN} of {len(courses)} machines with the highest scores are shown."))
    return section("Score over time", how, *drawn)


def span_of(at: NDArray[np.int64]) -> str:
    """From when to when, for people."""
    first, last = (moment.item() for moment in moments(at[[0, -1]]))
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A machine's score over time, NaN where its windows do not follow each other, and what is shaded."""

    machine: str
    at: NDArray[np.int64]
    score: NDArray[np.float64]
    spans: list[Spans]

    @classmethod
    def of(cls, machine: str, scored: Sequence[Scored], spans: list[Spans]) -> Course:
        at = np.array([one.at for one in scored], np.int64)
        score = np.array([one.score for one in scored], np.float64)
        steps = np.diff(at)
        breaks = np.flatnonzero(steps > 3 * np.median(steps)) + 1 if len(steps) else steps
        return cls(
            machine, np.insert(at, breaks, at[breaks - 1] + 1), np.insert(score, breaks, np.nan), spans
        )

    @property
    def highest(self) -> float:
        return float(np.nanmax(self.score, initial=0.0))


def _held_back_courses(replays: Sequence[Replayed]) -> list[Course]:
    machines: dict[str, list[list[Scored]]] = {}
    for place, replayed in enumerate(replays):
        for one in replayed.scored:
            machines.setdefault(one.machine, [[] for _ in replays])[place].append(one)
    courses = []
    for machine, parts in machines.items():
        spans = []
        if len(parts) > 1 and parts[0]:
            spans = [Spans(LINE, moments(np.array([[parts[0][0].at, parts[0][-1].at]])), FOOT)]
        courses.append(Course.of(machine, [one for part in parts for one in part], spans))
    return courses


def _watched_course(one: Watched) -> Course:
    history = one.history
    scored = [event for event in one.events if isinstance(event, Scored)]
    assert history.label is not None
    faults = [(history.at[run.start], history.at[run.stop - 1]) for run in runs(history.label == ANOMALOUS)]
    opened: dict[str, list[int]] = {}
    for event in one.events:
        if isinstance(event, AlertChanged):
            if event.change is Change.OPENED:
                opened[event.id] = [event.at, int(history.at[-1])]
            elif event.change is Change.CLOSED:
                opened[event.id][1] = event.at
    fitted = [] if one.fitted_until is None else [(history.at[0], one.fitted_until)]
    spans = [
        Spans(colour, moments(np.array(stretches, np.int64)), height)
        for colour, stretches, height in (
            (FAULT, faults, 1.0),
            (LINE, fitted, FOOT),
            (TWO, list(opened.values()), FOOT),
        )
        if stretches
    ]
    return Course.of(history.machine, scored, spans)
