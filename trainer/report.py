"""`report.html`: one page for the person who decides whether to trust a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from trainer.calibration import count_alerts, together
from trainer.charts import FLAT, LIMIT, LINE, ONE, TWO, Limit, Line, Spans, histogram, line_chart
from trainer.fitting import best_epoch
from trainer.page import bullets, figure, key, lead, page, section, table, tiles, verdict
from trainer.report_model import code, comparison, importance, sensors
from trainer.report_score import score
from trainer.wording import DAY, counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.alerts import AlertPolicy
    from detector.manifest import Manifest
    from trainer.calibration import Replayed
    from trainer.examination import Examined
    from trainer.fitting import Epoch
    from trainer.verdict import Verdict

GATE_APART = (
    "The threshold was learned from the first {} held-back windows; the gate judged by the {} after them, "
    "{:.2%} of which are above it."
)
GATE_NOT_APART = (
    "The history is too short to set windows aside for the gate: it judged by those from which the "
    "threshold was learned."
)
LINEAR = (
    "No epoch improved on the start, which is the best linear model: this one is a principal component "
    "analysis (PCA)."
)
BRIEF = (
    "This is the brief report of a training of many machines, or of a retraining: trainer.report: full "
    "adds each sensor's course, what the model listens to, and the comparison with simpler methods."
)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """All that the page shows.

    Attributes:
        manifest: Complete but for its `files`.
        verdict: What was found in the history.
        epochs: How the loss fell.
        replays: Of the rows that the threshold was learned from; then, where there are some, of those
            for the gate alone.
        alerts: When an alert opens.
        examined: The detector from all sides; None for a brief report.
    """

    manifest: Manifest
    verdict: Verdict
    epochs: Sequence[Epoch]
    replays: Sequence[Replayed]
    alerts: AlertPolicy
    examined: Examined | None


def report(it: Evidence) -> str:
    """The page: what was learned from, how it went, what the threshold means, and what the model is worth."""
    body = [*_head(it), score(it), _threshold(it), _loss(it)]
    if it.examined:
        found = it.examined
        body += [comparison(found), sensors(found, it.manifest), importance(found), code(found)]
    return page(it.manifest.id, [*body, _history(it), _fine_print(it.manifest)])


def _head(it: Evidence) -> Iterator[str]:
    manifest, history = it.manifest, it.manifest.history
    yield f"<h1>{escape(manifest.id)}</h1>"
    yield lead(
        f"A model of normal behaviour for {manifest.machine or 'all machines'}, fitted {manifest.created_at} "
        f"on {', '.join(history.source) or 'readings'}, {history.start} to {history.end}."
    )
    if it.examined:
        found = it.examined.suitability
        yield verdict(found.headline, found.reasons, good=found.good)
    yield tiles(
        {
            "Rows used": f"{history.rows:,}",
            "Sensors": f"{len(manifest.sensors)}",
            "Interval": duration(manifest.grid.interval),
            "Window": f"{manifest.window.length} samples",
            "Code": counted(manifest.model.code, "number"),
            "Parameters": f"{manifest.model.parameters:,}",
            "Threshold": f"{manifest.threshold.value:.4g}",
            "False alerts a day": f"{manifest.metrics['held_back_alerts_per_day']:.2g}",
        }
    )
    if not it.examined:
        yield lead(BRIEF)
    if it.verdict.warnings:
        yield "<h3>Worth knowing about the history</h3>" + bullets(it.verdict.warnings)


def _threshold(it: Evidence) -> str:
    manifest, held_back = it.manifest, together(it.replays)
    found, days = manifest.threshold, _days(manifest, held_back)
    judged = GATE_NOT_APART
    if len(it.replays) > 1:
        learned, gate = it.replays
        judged = GATE_APART.format(len(learned.scored), len(gate.scored), gate.above)
    ks = sorted({3.0, 5.0, 10.0, found.k})
    values = [found.mean + k * found.std for k in ks]
    rows = []
    for k, value in zip(ks, values, strict=True):
        above = float((held_back.errors > value).mean())
        opened = count_alerts(held_back, it.alerts, value)
        rows.append((f"k = {k:g}", f"{value:.4g}", f"{above:.2%}", f"{opened}", f"{opened / days:.2g}"))
    limits = [Limit(f"k = {k:g}", value, strong=k == found.k) for k, value in zip(ks, values, strict=True)]
    groups, keys = [(ONE, held_back.errors)], [key("held-back normal windows", "one")]
    watched = it.examined.watched if it.examined else ()
    if watched:
        odd = np.concatenate([one.errors_of_anomalies for one in watched])
        if len(odd):
            groups.append((LIMIT, odd))
            keys.append(key("windows that end at a row labelled anomalous", "limit"))
    drawn = histogram(groups, title="how often each error occurs", limits=limits)
    return section(
        "What the threshold means",
        "How often each reconstruction error occurs; each kind of window is drawn to its own highest bar. A "
        "threshold is good where it lies right of all that is normal, with some room, and left of the rest.",
        figure(drawn, f"Reconstruction error ({manifest.error.kind}, smoothed)", *keys, kind="wide"),
        lead(
            f"{judged} The threshold is the mean of the errors that it was learned from plus k standard "
            f"deviations. In all {duration(days * DAY)} of held-back normal time, k would have given:"
        ),
        table(
            ("", "threshold", "windows above", "false alerts", "a day"), rows, chosen=ks.index(found.k)
        ),
    )  # fmt: skip


def _loss(it: Evidence) -> str:
    number = np.array([epoch.epoch for epoch in it.epochs], dtype=np.float64)
    best = best_epoch(it.epochs)
    drawn = line_chart(
        [
            Line(ONE, number, np.array([epoch.loss for epoch in it.epochs])),
            Line(TWO, number, np.array([epoch.validation_loss for epoch in it.epochs])),
        ],
        title="loss of each epoch",
        size=FLAT,
        spans=[Spans(LINE, np.array([[best.epoch, best.epoch]], np.float64))],
    )
    return section(
        "Fitting",
        "How far off the reconstruction is after each pass over the history. Good is when both lines fall "
        "and flatten out together; a validation line that rises again means learning by heart, and the "
        "weights of the best epoch (the grey line) are kept.",
        *([] if best.epoch else [lead(LINEAR)]),
        figure(
            drawn, "Loss (mean squared error of scaled values) by epoch", key("fit windows", "one"),
            key("validation windows", "two"), kind="wide",
        ),
    )  # fmt: skip


COLUMNS = ("minimum", "maximum", "mean", "std", "missing", "longest unchanged, rows")


def _history(it: Evidence) -> str:
    rows = []
    for facts in it.verdict.sensors:
        numbers = [
            "–" if number is None else f"{number:.4g}"
            for number in (facts.minimum, facts.maximum, facts.mean, facts.std)
        ]
        note = "" if facts.sensor in it.manifest.sensors else " (left out)"
        rows.append((f"{facts.sensor}{note}", *numbers, f"{facts.missing:.1%}", f"{facts.longest_stuck:,}"))
    return section(
        "The history",
        "What was in the rows that the model was learned from; anomalyd check-data says more.",
        table(("sensor", *COLUMNS), rows),
    )


def _fine_print(manifest: Manifest) -> str:
    libraries = ", ".join(f"{name} {number}" for name, number in manifest.libraries.items())
    seed = f"seed {manifest.metrics['seed']:.0f}"
    return lead(f"Fingerprint of the history {manifest.history.sha256[:16]}…, {seed}, {libraries}.")


def _days(manifest: Manifest, held_back: Replayed) -> float:
    """Days of normal time that the held-back windows stand for."""
    return len(held_back.scored) * manifest.window.stride * manifest.grid.interval / DAY
