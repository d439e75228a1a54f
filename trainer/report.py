"""`report.html`: one page for the person who decides whether to trust a bundle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from detector.alerts import AlertPolicy, AlertTracker, Change
from trainer.calibration import together
from trainer.charts import Line, chart
from trainer.fitting import best_epoch
from trainer.wording import counted, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from detector.manifest import Manifest
    from trainer.calibration import Replayed
    from trainer.fitting import Epoch
    from trainer.verdict import Verdict

STYLE = """
:root { --ink: #1c2733; --soft: #64748b; --line: #d9e0e8; --paper: #fff; --wash: #f5f7fa;
  --one: #2563a8; --two: #d97706; --limit: #b42318; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e9f0; --soft: #94a3b8; --line: #334155;
  --paper: #111820; --wash: #18222d; --one: #7cb4f0; --two: #f2b04f; --limit: #f97066; } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 920px; margin: 40px auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 0 } h2 { font-size: 17px; margin: 36px 0 8px }
.lead { color: var(--soft); margin: 4px 0 20px }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 }
dl div { background: var(--wash); border-radius: 8px; padding: 10px 14px }
dt { color: var(--soft); font-size: 13px } dd { margin: 0; font-size: 19px; font-weight: 600 }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500; font-size: 13px }
th:first-child, td:first-child { text-align: left }
tr.chosen td { font-weight: 600 }
figure { margin: 0 } svg { width: 100%; height: auto; background: var(--wash); border-radius: 8px }
svg text { font-size: 11px; fill: var(--soft) } svg text.limit { fill: var(--limit) }
polyline { fill: none; stroke-width: 1.6 }
polyline.one { stroke: var(--one) } polyline.two { stroke: var(--two) }
line.grid { stroke: var(--line) } line.limit { stroke: var(--limit); stroke-dasharray: 5 4 }
figcaption { color: var(--soft); font-size: 13px; padding: 4px 2px }
figcaption span { margin-left: 14px }
figcaption .one { color: var(--one) } figcaption .two { color: var(--two) }
@media (max-width: 640px) {
  .sensors tr { display: grid; grid-template-columns: repeat(3, 1fr); border-bottom: 1px solid var(--line) }
  .sensors tr:first-child { display: none }
  .sensors td { text-align: left; border: 0; overflow-wrap: anywhere }
  .sensors td:first-child { grid-column: 1 / -1; font-weight: 600; padding-bottom: 0 }
  .sensors td[title]::before { content: attr(title); display: block; color: var(--soft); font-size: 13px } }
ul { padding-left: 20px } code { font-size: 13px }
"""
HELD_BACK = (
    "The last part of the history was not fitted on. Replayed as the daemon would see it, this is its "
    "reconstruction error. A window above the threshold counts as an anomaly. "
)
GATE_APART = (
    "The threshold was learned from the first {} windows; the gate judged by the {} after them, {:.2%} of "
    "which are above it."
)
GATE_NOT_APART = (
    "The history is too short to set windows aside for the gate: it judged by those from which the threshold "
    "was learned."
)
THRESHOLD = (
    "In all {} of held-back normal time, each method's threshold would have meant the false alerts below. "
    "How many to expect in a day is told from the rows that the threshold was learned from, and extrapolated "
    "where they are too few; in brackets is what they show for certain, each bound with a confidence of 95 %."
)
LINEAR = (
    "No epoch improved on the start, which is the best linear model: this one is a principal component "
    "analysis (PCA)."
)
LINES = (("threshold learned from", "one"), ("for the gate alone", "two"))
COLUMNS = ("minimum", "maximum", "mean", "std", "missing", "longest unchanged, rows")


def report(
    manifest: Manifest,
    verdict: Verdict,
    epochs: Sequence[Epoch],
    replays: Sequence[Replayed],
    alerts: AlertPolicy,
) -> str:
    """The page: what was learned from, how it went, and what the threshold means.

    Args:
        manifest: Complete but for its `files`.
        verdict: What was found in the history.
        epochs: How the loss fell.
        replays: Of the rows that the threshold was learned from; then, where there are some, of those
            for the gate alone.
        alerts: When an alert opens.
    """
    history, held_back = manifest.history, together(replays)
    judged = GATE_NOT_APART
    if len(replays) > 1:
        learned, gate = replays
        judged = GATE_APART.format(len(learned.scored), len(gate.scored), gate.above)
    figures = {
        "Rows used": f"{history.rows:,}",
        "Sensors": f"{len(manifest.sensors)}",
        "Interval": duration(manifest.grid.interval),
        "Window": f"{manifest.window.length} samples",
        "Code": counted(manifest.model.code, "number"),
        "Parameters": f"{manifest.model.parameters:,}",
        "Threshold": f"{manifest.threshold.value:.4g}",
        "False alerts a day": f"{manifest.metrics['held_back_alerts_per_day']:.2g}",
    }
    lead = (
        f"A model of normal behaviour for {manifest.machine or 'all machines'}, fitted {manifest.created_at} "
        f"on {', '.join(history.source) or 'readings'}, {history.start} to {history.end}."
    )
    libraries = ", ".join(f"{name} {number}" for name, number in manifest.libraries.items())
    seed = f"seed {manifest.metrics['seed']:.0f}"
    fine_print = f"Fingerprint of the history {history.sha256[:16]}…, {seed}, {libraries}."
    tiles = "".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in figures.items())
    body = [
        f"<h1>{escape(manifest.id)}</h1>",
        _small(lead),
        f"<dl>{tiles}</dl>",
        _warnings(verdict.warnings),
        "<h2>Held-back rows</h2>",
        _small(HELD_BACK + judged),
        _error_chart(manifest, replays),
        "<h2>What the threshold means</h2>",
        _small(THRESHOLD.format(duration(_time(manifest, held_back)))),
        _thresholds(manifest, held_back, alerts),
        "<h2>Fitting</h2>",
        *([] if best_epoch(epochs).epoch else [_small(LINEAR)]),
        _loss_chart(epochs),
        "<h2>Sensors</h2>",
        _sensors(manifest, verdict),
        _small(fine_print),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(manifest.id)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _small(text: str) -> str:
    return f'<p class="lead">{escape(text)}</p>'


def _warnings(texts: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<h2>Worth knowing about the history</h2><ul>{items}</ul>" if items else ""


def _error_chart(manifest: Manifest, replays: Sequence[Replayed]) -> str:
    lines = []
    for (name, style), replayed in zip(LINES, replays, strict=False):
        at = np.array([scored.at for scored in replayed.scored], dtype=np.float64)
        order = np.argsort(at, kind="stable")
        lines.append(Line(name, style, at[order], replayed.errors[order]))
    return chart(
        lines,
        x_label=_moment,
        y_title=f"Reconstruction error ({manifest.error.kind})",
        limit=("threshold", manifest.threshold.value),
    )


def _loss_chart(epochs: Sequence[Epoch]) -> str:
    number = np.array([epoch.epoch for epoch in epochs], dtype=np.float64)
    judged = np.array([epoch.validation_loss for epoch in epochs], dtype=np.float64)
    return chart(
        [
            Line("fit windows", "one", number, np.array([epoch.loss for epoch in epochs])),
            Line("validation windows", "two", number, judged),
        ],
        x_label=lambda epoch: f"epoch {epoch:.0f}",
        y_title="Mean squared error",
        limit=None,
    )


def _thresholds(manifest: Manifest, held_back: Replayed, alerts: AlertPolicy) -> str:
    found = manifest.threshold
    lines = []
    for each in found.evidence.candidates if found.evidence else ():
        chosen = ' class="chosen"' if each.method == found.method else ""
        above, rate = float((held_back.errors > each.value).mean()), each.alerts_per_day
        lines.append(
            f"<tr{chosen}><td>{each.label}</td><td>{each.value:.4g}</td><td>{above:.2%}</td>"
            f"<td>{count_alerts(held_back, each.value, alerts)}</td>"
            f"<td>{rate.expected:.2g} ({rate.low:.2g} to {rate.high:.2g})</td></tr>"
        )
    return (
        "<table><tr><th></th><th>threshold</th><th>windows above</th><th>false alerts</th>"
        f"<th>expected a day</th></tr>{''.join(lines)}</table>"
    )


def count_alerts(held_back: Replayed, threshold: float, policy: AlertPolicy) -> int:
    """Alerts that these errors would open at another threshold; holes in the data are not looked at."""
    trackers: dict[str, AlertTracker] = {}
    opened = 0
    for scored in held_back.scored:
        tracker = trackers.setdefault(scored.machine, AlertTracker())
        changed = tracker.observe(scored.machine, scored.at, scored.error / threshold, policy)
        opened += changed is not None and changed[0] is Change.OPENED
    return opened


def _sensors(manifest: Manifest, verdict: Verdict) -> str:
    lines = []
    for facts in verdict.sensors:
        numbers = [
            "–" if number is None else f"{number:.4g}"
            for number in (facts.minimum, facts.maximum, facts.mean, facts.std)
        ]
        columns = zip(COLUMNS, [*numbers, f"{facts.missing:.1%}", f"{facts.longest_stuck:,}"], strict=True)
        cells = "".join(f'<td title="{name}">{text}</td>' for name, text in columns)
        note = "" if facts.sensor in manifest.sensors else " (left out)"
        lines.append(f"<tr><td>{escape(facts.sensor)}{note}</td>{cells}</tr>")
    headings = "".join(f"<th>{name}</th>" for name in ("sensor", *COLUMNS))
    return f'<table class="sensors"><tr>{headings}</tr>{"".join(lines)}</table>'


def _time(manifest: Manifest, held_back: Replayed) -> float:
    """Milliseconds of normal time that the held-back windows stand for."""
    return len(held_back.scored) * manifest.window.stride * manifest.grid.interval


def _moment(at: float) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    return f"{moment:%Y-%m-%d %H:%M:%S}"
