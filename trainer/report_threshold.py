"""The part of the report that says what the threshold means, and what others would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.calibration import together
from trainer.charts import FLAT, Limit, Line, Spans, histogram, line_chart
from trainer.drawing import INK, LIMIT, ONE, TWO
from trainer.openings import Openings
from trainer.page import figure, key, lead, section, table
from trainer.wording import duration, rounded

if TYPE_CHECKING:
    from detector.manifest import Candidate, Threshold
    from trainer.labelled import Labelled
    from trainer.report import Contents

GATE_APART = (
    "The threshold was learned from the first {} held-back windows; the gate judged by the {} after them, "
    "{:.2%} of which are above it."
)
GATE_NOT_APART = (
    "The history is too short to set windows aside for the gate: it judged by those from which the "
    "threshold was learned."
)
METHODS = (
    "In all {} of held-back normal time each method's threshold would have meant these false alerts. How "
    "many to expect in a day is told from the rows that the threshold was learned from, and extrapolated "
    "where they are too few; at least and at most are what these rows show for certain, each with a "
    "confidence of 95 %."
)


def threshold(it: Contents) -> str:
    """How often each error occurs, where the thresholds lie, and what each method gives."""
    manifest, held_back = it.manifest, together(it.replays)
    found = manifest.threshold
    candidates = found.evidence.candidates if found.evidence else ()
    judged = GATE_NOT_APART
    if len(it.replays) > 1:
        learned, gate = it.replays
        judged = GATE_APART.format(len(learned.scored), len(gate.scored), gate.above)
    time = len(held_back.scored) * manifest.window.stride * manifest.grid.interval
    openings = Openings(held_back.errors_by_machine, it.alerts)
    return section(
        "What the threshold means",
        "A threshold is good where normal operation opens few alerts: the fewer, the more is missed.",
        _histogram(it) if it.examined else "",
        lead(f"{judged} {METHODS.format(duration(time))}"),
        _table(candidates, found, [openings.count(one.value) for one in candidates]),
        _curve(it.labelled, found) if it.labelled and it.examined else "",
    )


def _histogram(it: Contents) -> str:
    found = it.manifest.threshold
    groups = [(ONE, together(it.replays).errors)]
    keys = [key("held-back normal windows", "one")]
    if it.labelled is not None:
        groups.append((LIMIT, it.labelled.errors[it.labelled.anomalous]))
        keys.append(key("rows labelled anomalous", "limit"))
    candidates = found.evidence.candidates if found.evidence else ()
    limits = [Limit(one.method, one.value, strong=one.method == found.method) for one in candidates]
    drawn = histogram(groups, title="how often each error occurs", limits=limits)
    return lead(
        "How often each reconstruction error occurs; each kind of window is drawn to its own highest bar. "
        "The threshold should lie right of all that is normal, with some room, and left of the rest."
    ) + figure(drawn, f"Reconstruction error ({it.manifest.error.kind}, smoothed)", *keys, kind="wide")


def _table(candidates: tuple[Candidate, ...], found: Threshold, alerts: list[int]) -> str:
    labelled = any(one.recall is not None for one in candidates)
    headings = ["method", "threshold", "windows above", "false alerts"]
    headings += ["expected a day", "at least", "at most"]
    if labelled:
        headings += ["precision", "recall", "F1"]
    rows = []
    for one, opened in zip(candidates, alerts, strict=True):
        rate = one.alerts_per_day
        row = [one.label, f"{one.value:.4g}", f"{one.above:.2%}", f"{opened}"]
        row += map(_rate, (rate.expected, rate.low, rate.high))
        if labelled:
            measures = (one.precision, one.recall, one.f1)
            row += ["–" if number is None else f"{number:.3f}" for number in measures]
        rows.append(row)
    chosen = next((i for i, one in enumerate(candidates) if one.method == found.method), None)
    return table(headings, rows, chosen=chosen)


def _rate(number: float) -> str:
    return "< 0.001" if 0 < number < 0.001 else rounded(number)


def _curve(labelled: Labelled, found: Threshold) -> str:
    """What each threshold finds, over thresholds as scores, so that 1 is the chosen one."""
    curve = labelled.curve()
    at = np.log10([max(one.threshold / found.value, 1e-3) for one in curve])
    lines = [
        Line(ONE, at, np.array([one.recall for one in curve])),
        Line(TWO, at, np.array([np.nan if one.precision is None else one.precision for one in curve])),
        Line(INK, at, np.array([one.f1 for one in curve])),
    ]
    drawn = line_chart(
        lines, title="precision, recall and F1 of each threshold", size=FLAT, decades=True,
        y_axis="linear",
        spans=[Spans(LIMIT, np.zeros((1, 2)))],
    )  # fmt: skip
    return lead(
        "With a higher threshold fewer rows are alarmed: more of the alarmed ones are anomalous "
        "(precision), and fewer of the anomalous ones are alarmed (recall). F1 is their harmonic mean; the "
        "red line is the threshold in use."
    ) + figure(
        drawn, "By threshold, as a multiple of the one in use", key("recall", "one"), key("precision", "two"),
        key("F1", "ink"), kind="wide",
    )  # fmt: skip
