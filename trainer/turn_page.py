"""The page of a turn: what was decided first, then why, and how both scores ran over the newest stream."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from detector.labels import LabelKind
from registry.turns import Outcome, Verdict
from trainer.charts import Limit, Line, Spans, line_chart, moments
from trainer.compositions import composed
from trainer.drawing import FAULT, LINE, ONE, TWO
from trainer.gate import shown
from trainer.page import bullets, cell, figure, key, lead, page, section, table, tiles, verdict
from trainer.report_score import span_of
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from registry.turns import Criterion, Record
    from trainer.judging import Judged, Newest
    from trainer.leaving_out import Span
    from trainer.measures import Course

MOST_DRAWN = 6  # machines: more charts than that nobody looks at
FOOT = 0.04  # height of the bars at the foot of a chart, a share of the chart's

HEADLINES = {
    Outcome.PROMOTED: "In service",
    Outcome.WAITS: "It waits",
    Outcome.REFUSED: "Not in service: the champion stays",
    Outcome.NONE: "No new bundle",
}
GOOD = {Outcome.PROMOTED: True, Outcome.WAITS: None, Outcome.REFUSED: False, Outcome.NONE: False}
WORDS = {
    Verdict.BETTER: "better",
    Verdict.AS_GOOD: "as good",
    Verdict.WORSE: "worse",
    Verdict.NOT_COMPARED: "not compared",
}


def turn_page(record: Record, judged: Judged | None) -> str:
    """The page of a turn; without `judged`, of one that ended before there was a challenger."""
    return page(f"Turn {record.id}", [*_head(record), _criteria(record), *_stream(judged), *_rest(record)])


def _head(record: Record) -> Iterator[str]:
    whose = record.machine or "all machines without a bundle of their own"
    yield f"<h1>{escape(record.bundle or f'Turn {record.id}')}</h1>"
    yield lead(f"A turn of retraining for {whose}, taken {record.at}. {_asked(record)}")
    yield verdict(
        HEADLINES[record.outcome],
        [record.text[:1].upper() + record.text[1:] + "."],
        good=GOOD[record.outcome],
    )
    figures = {"Reason": record.reason, "Champion": record.champion or "none"}
    figures |= {f"Time to {name}": duration(1000 * took) for name, took in record.seconds.items()}
    yield tiles(figures)


def _asked(record: Record) -> str:
    if record.asked is None:
        return "A person trained it from files."
    reason = f": {record.asked.reason}" if record.asked.reason else ""
    return f"Asked for by {record.asked.by}{reason}."


def _criteria(record: Record) -> str:
    if not record.criteria:
        return ""
    return section(
        "Challenger and champion",
        "Both looked at the same rows. The challenger must be worse in no line, beyond what is allowed, and "
        "better in one by as much.",
        table(
            ("criterion", "challenger", "champion", "allowed", "verdict"),
            [_row(each) for each in record.criteria],
        ),
    )


STYLES = {Verdict.BETTER: "one", Verdict.WORSE: "limit"}


def _row(one: Criterion) -> tuple[str, ...]:
    note = f"<br><small>{escape(one.note)}</small>" if one.note else ""
    numbers = (one.challenger, one.champion, one.allowed)
    style = STYLES.get(one.verdict, "")
    return (
        cell(escape(one.what) + note),
        *("–" if number is None else shown(number, one.unit) for number in numbers),
        cell(f'<span class="{style}">{WORDS[one.verdict]}</span>'),
    )


def _stream(judged: Judged | None) -> Iterator[str]:
    if judged is None or not judged.grounds.stream:
        return
    keys = [
        key("challenger", "one"), key("champion", "two"), key("threshold", "limit"),
        key("confirmed incident", "fault band"), key("left out, off or in maintenance", "soft band"),
    ]  # fmt: skip
    ranked = sorted(judged.grounds.stream, key=lambda one: -_highest(one.history.machine, judged))
    drawn = [_drawn(one, judged, keys) for one in ranked[:MOST_DRAWN]]
    if len(ranked) > MOST_DRAWN:
        drawn.append(lead(f"The {MOST_DRAWN} of {len(ranked)} machines with the highest scores are shown."))
    yield section(
        "The newest stream",
        "What was stored lately, alerts and all, replayed by both: the score is the error divided by the "
        "threshold, so that above 1 is an anomaly. The bars at the foot are the alerts that each would have "
        "opened.",
        *drawn,
    )


def _highest(machine: str, judged: Judged) -> float:
    both = (judged.challenger[machine], judged.champion[machine])
    return max(float(np.max(one.score, initial=0.0)) for one in both)


def _drawn(one: Newest, judged: Judged, keys: list[str]) -> str:
    machine, at = one.history.machine, one.history.at
    own, champion = judged.challenger[machine], judged.champion[machine]
    spans = [
        Spans(colour, _clipped(stretches, at), height)
        for colour, stretches, height in (
            (FAULT, _confirmed(one), 1.0),
            (LINE, [span for span in one.left_out if span not in _confirmed(one)], 1.0),
            (TWO, champion.alerts, 2 * FOOT),
            (ONE, own.alerts, FOOT),
        )
    ]
    alerts = f"{counted(len(own.alerts), 'alert')} against {len(champion.alerts)}"
    chart = line_chart(
        [_line(TWO, champion), _line(ONE, own)],
        title=f"scores of {machine} over time",
        limits=[Limit("threshold", 1.0)],
        spans=[each for each in spans if len(each.stretches)],
    )
    return figure(chart, f"{machine}, {span_of(at)}, {alerts}", *keys, kind="wide")


def _confirmed(one: Newest) -> list[Span]:
    return [(each.start, each.end) for each in one.labels if each.kind is LabelKind.CONFIRMED]


def _line(colour: str, course: Course) -> Line:
    steps = np.diff(course.at)
    breaks = np.flatnonzero(steps > 3 * np.median(steps)) + 1 if len(steps) else np.empty(0, np.intp)
    at = np.insert(course.at, breaks, course.at[breaks - 1] + 1)
    return Line(colour, moments(at), np.insert(course.score, breaks, np.nan))


def _clipped(spans: Sequence[Span], at: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Those that lie within the time of the rows, shape (N, 2)."""
    first, last = int(at[0]), int(at[-1])
    found = [
        (max(start, first), last if end is None else min(end, last))
        for start, end in spans
        if start <= last and (end is None or end >= first)
    ]
    return moments(np.array(found, np.int64).reshape(-1, 2))


def _rest(record: Record) -> Iterator[str]:
    if record.composition:
        lines = (f"{name}: {text}" for name, text in composed(record.composition))
        yield section("What was learned from", "", bullets(lines))
    elif record.source:
        yield section("What was learned from", ", ".join(record.source))
    if record.notes:
        yield section("Worth knowing", "", bullets(record.notes))
