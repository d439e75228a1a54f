"""Figures become the tables of docs/detection.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.detection.figures import COUNTED, DEFAULT, Reached, Results, goals, reached
from bench.detection.protocol import SETS
from bench.results import Cell, Table, filled, machine
from bench.stage import ROOT
from trainer.evaluation import Evaluation

DOCUMENT = ROOT / "docs" / "detection.md"
COLUMNS = (
    "detector", "VUS-PR", "AUC-PR", "ROC-AUC", "F1", "FAR %", "MAR %", "events found", "false alerts/day",
    "delay, min",
)  # fmt: skip


def write(results: Results, live: str, document: Path = DOCUMENT) -> None:
    """Fills the places of the document.

    Args:
        results: Of all sets and detectors; what is missing is left out of the tables.
        live: What comparing a real daemon with replay has found, in one line.
        document: The page.

    Raises:
        ValueError: The document has no place for a table.
    """
    page = document.read_text(encoding="utf-8")
    for name, content in contents(results, live).items():
        page = filled(page, name, content)
    document.write_text(page, encoding="utf-8")


def contents(results: Results, live: str) -> Mapping[str, str]:
    """Markdown by the name of its place."""
    found = reached(results)
    refused = sorted({f"- {one.detector}: {text}" for one in found for text in one.refused})
    return {
        "goals": _goals(found).markdown(),
        "overall": _overall(found).markdown(),
        **{name: _of_set(name, found).markdown() for name in SETS if name != "ims"},
        "ims": _to_failure(results).markdown(),
        "refused": "\n".join(refused) or "None.",
        "live": live,
        "machine": f"{machine()}.",
    }


def _goals(found: list[Reached]) -> Table:
    rows = tuple((one.what, one.floor, one.goal, one.found, one.met) for one in goals(found))
    return Table("goals", ("figure", "floor", "goal", "reached", "met"), rows)


def _overall(found: list[Reached]) -> Table:
    """Means over the sets that count, and false alerts on normal rows."""
    columns = (
        "detector", "VUS-PR", *(f"{name}" for name in COUNTED), "AUC-PR", "ROC-AUC", "F1",
        "alerts/day, held back", "alerts/day, never seen", "minutes",
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    ours = next(one for one in found if one.detector == DEFAULT)
    by_chance = [ours.by_set[name].vus_pr_random if name in ours.by_set else None for name in COUNTED]
    rows.append(
        (
            "random scores",
            ours.mean(lambda of: of.vus_pr_random),
            *by_chance,
            ours.mean(lambda of: of.auc_pr_random),
            0.5,
            *[None] * 4,
        )
    )
    rows += [
        (
            one.detector,
            one.mean(lambda of: of.vus_pr),
            *(one.by_set[name].vus_pr if name in one.by_set else None for name in COUNTED),
            one.mean(lambda of: of.auc_pr),
            one.mean(lambda of: of.roc_auc),
            one.mean(lambda of: of.f1),
            one.held_back.false_alerts_per_day,
            one.unseen.false_alerts_per_day if one.unseen else None,
            one.seconds / 60,
        )
        for one in found
    ]
    return Table("overall", columns, tuple(rows))


def _of_set(name: str, found: list[Reached]) -> Table:
    measured = [(one.detector, one.by_set[name]) for one in found if name in one.by_set]
    rows = [_row(detector, of) for detector, of in measured]
    if measured:
        of = measured[0][1]
        rows.insert(0, ("random scores", of.vus_pr_random, of.auc_pr_random, 0.5, *[None] * 6))
    return Table(name, COLUMNS, tuple(rows))


def _row(detector: str, of: Evaluation) -> tuple[Cell, ...]:
    delay = None if of.delay_median is None else of.delay_median / 60
    return (
        detector, of.vus_pr, of.auc_pr, of.roc_auc, of.f1, of.far, of.mar,
        f"{of.events_found} of {of.events}", of.false_alerts_per_day, delay,
    )  # fmt: skip


def _to_failure(results: Results) -> Table:
    """When alerts opened on the way to a failure that nobody labelled."""
    rows = [
        (
            work.detector,
            f"{100 * result.alerts[0]:.0f} %" if result.alerts else "none",
            sum(passed < 0.5 for passed in result.alerts),
            sum(passed >= 0.5 for passed in result.alerts),
        )
        for work, result in results.items()
        if work.source.of == "ims" and not result.problem
    ]
    columns = ("detector", "first alert after", "alerts in the first half", "in the second")
    return Table("ims", columns, tuple(rows))
