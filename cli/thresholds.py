"""What a training tells of its threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.tables import print_table
from trainer.wording import DAY, duration, rounded

if TYPE_CHECKING:
    from detector.manifest import Candidate, Evidence, Threshold


def expected(threshold: Threshold, evidence: Evidence) -> str:
    """How often normal operation is to be expected to open an alert, and how well that is known."""
    rate = evidence.of(threshold.method).alerts_per_day
    beyond = ", extrapolated" if threshold.value > evidence.quiet else ""
    return (
        f"{rounded(rate.expected)} false alerts a day of a machine{beyond}; the "
        f"{duration(evidence.days * DAY)} learned from show at least {rounded(rate.low)} "
        f"and at most {rounded(rate.high)} (each at 95 %)"
    )


def print_candidates(threshold: Threshold, evidence: Evidence) -> None:
    """What each method gives, a column for each, the chosen one marked; it fits into 80 columns."""
    candidates = evidence.candidates
    rows: list[tuple[str, list[str]]] = [
        ("threshold", [rounded(one.value) for one in candidates]),
        ("  at least", [_number(one.low) for one in candidates]),
        ("  at most", [_number(one.high) for one in candidates]),
        ("windows above", [f"{one.above:.2%}" for one in candidates]),
        ("alerts a day", [rounded(one.alerts_per_day.expected) for one in candidates]),
        ("  at least", [rounded(one.alerts_per_day.low) for one in candidates]),
        ("  at most", [rounded(one.alerts_per_day.high) for one in candidates]),
    ]
    if any(one.recall is not None for one in candidates):
        rows += [
            ("precision", [_number(one.precision) for one in candidates]),
            ("recall", [_number(one.recall) for one in candidates]),
            ("F1", [_number(one.f1) for one in candidates]),
        ]
    headings = [_heading(one, chosen=one.method == threshold.method) for one in candidates]
    print_table(("", *headings), [(name, *numbers) for name, numbers in rows])


def _heading(one: Candidate, *, chosen: bool) -> str:
    options = [text for name, value in one.options.items() for text in (name, f"{value:g}")]
    return "\n".join([f"{'* ' if chosen else ''}{one.method}", *options])


def _number(number: float | None) -> str:
    return "" if number is None else rounded(number)
