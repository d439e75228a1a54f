"""`report.html`: one page for the person who decides whether to trust a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from trainer.charts import FLAT, Line, Spans, line_chart
from trainer.drawing import LINE, ONE, TWO
from trainer.fitting import best_epoch
from trainer.models import KINDS
from trainer.page import bullets, figure, key, lead, page, section, table, tiles, verdict
from trainer.report_model import code, comparison, importance, sensors
from trainer.report_score import score
from trainer.report_threshold import threshold
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from detector.alerts import AlertPolicy
    from detector.manifest import Manifest
    from trainer.calibration import Replayed
    from trainer.examination import Examined
    from trainer.fitting import Epoch
    from trainer.labelled import Labelled, Watched
    from trainer.verdict import Verdict

LINEAR = (
    "No epoch improved on the start, which is the best linear model: this one is a principal component "
    "analysis (PCA)."
)
ONE_STEP = (
    "Principal components are the best linear model of the windows and are found in one step, without epochs."
)
BRIEF = (
    "This is the brief report of a training of many machines, or of a retraining: trainer.report: full "
    "adds each sensor's course, what the model listens to, and the comparison with simpler methods."
)


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """All that the page shows.

    Attributes:
        manifest: Complete but for its `files`.
        verdict: What was found in the history.
        epochs: How the loss fell.
        replays: Of the rows that the threshold was learned from; then, where there are some, of those
            for the gate alone.
        alerts: When an alert opens.
        watched: Whole histories with labels; none without.
        labelled: What any threshold finds in them; None without labels.
        examined: The detector from all sides; None for a brief report.
        advice: What to try next.
    """

    manifest: Manifest
    verdict: Verdict
    epochs: Sequence[Epoch]
    replays: Sequence[Replayed]
    alerts: AlertPolicy
    watched: Sequence[Watched]
    labelled: Labelled | None
    examined: Examined | None
    advice: Sequence[str]


def report(it: Contents) -> str:
    """The page: what was learned from, how it went, what the threshold means, and what the model is worth."""
    body = [*_head(it), score(it), threshold(it), _loss(it)]
    if it.examined:
        found = it.examined
        body += [comparison(it, found), sensors(found), importance(found), code(found)]
    return page(it.manifest.id, [*body, _history(it), _fine_print(it.manifest)])


def _head(it: Contents) -> Iterator[str]:
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
    if it.advice:
        yield "<h3>Worth trying</h3>" + bullets(it.advice)


def _loss(it: Contents) -> str:
    if KINDS[it.manifest.model.kind].linear:
        return section("Fitting", ONE_STEP)
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
        bare=it.examined is None,
    )
    return section(
        "Fitting",
        "How far off the reconstruction is after each pass over the history. Good is when both lines fall "
        "and flatten out together; a validation line that rises again means learning by heart, and the "
        "weights of the best epoch (the grey line) are kept.",
        *([] if best.epoch else [lead(LINEAR)]),
        figure(
            drawn, f"Loss by epoch, best {best.validation_loss:.3g} in epoch {best.epoch}",
            key("fit windows", "one"), key("validation windows", "two"), kind="wide",
        ),
    )  # fmt: skip


COLUMNS = ("minimum", "maximum", "mean", "std", "missing", "longest unchanged, rows")


def _history(it: Contents) -> str:
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
