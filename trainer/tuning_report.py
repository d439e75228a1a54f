"""A page about a search: what was found, how it went, and which options mattered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainer.charts import SMALL, WIDE, Line, dots
from trainer.drawing import INK, ONE, SOFT, TWO
from trainer.page import bar, cell, figure, key, lead, page, section, small_figure, table, tiles, verdict
from trainer.space import Span, shown
from trainer.winner import caution, changed, figures, headline
from trainer.wording import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from trainer.study import Outcome
    from trainer.tuning import Search

EXAM = (
    "Each trial fits a detector on the first part of the rows that are not held back for the threshold, and "
    "is examined on the rest: faults of every kind and strength are put into rows that it never saw. A "
    "figure is the area under precision and recall (AUC-PR) of the faulty rows among the normal ones: 1 is "
    "perfect, and random scores show what chance gets. Of the variance unexplained, less is better."
)
PROGRESS = (
    "Each dot is a trial, the line the best score so far. Where it has been level for long, more trials help "
    "little."
)
MATTERED = (
    "Share of each option in how much the scores differ, by PED-ANOVA, and the scores by its values. A cloud "
    "without a slope says that the option does not matter here, or that there were too few trials."
)
FEW = "How much each option matters is said after some more trials."
TRIALS = "The best first. A trial that failed made no detector; its reason stands beside it."


def tuning_report(search: Search, *, made: str, history: str) -> str:
    """The page.

    Args:
        search: In which a trial succeeded.
        made: When, for people.
        history: On what, for people.
    """
    outcomes = search.study.outcomes
    good = [outcome for outcome in outcomes if outcome.marks is not None]
    best, configured = search.best, search.configured
    improved = best != configured
    seconds = sum(outcome.seconds for outcome in outcomes)
    facts = {
        "Trials": f"{len(outcomes)}",
        "Of them failed": f"{len(outcomes) - len(good)}",
        "Options searched": f"{len(search.default)}",
        "Time of all trials": duration(seconds * 1000),
    }
    headings, *rows = figures(search)
    changes = [f"{name}: {value} instead of {before}" for name, before, value in changed(search)]
    body = [
        "<h1>anomalyd tune</h1>",
        lead(f"A search on {history}, {made}."),
        verdict(headline(search), [*filter(None, [caution(search)]), *changes], good=improved or None),
        tiles(facts),
        section(
            "The exam",
            EXAM,
            table(headings, [(name.replace("  ", "\u2003"), *numbers) for name, *numbers in rows]),
        ),
        section("How it went", PROGRESS, _progress(search, good)),
        section("Which options mattered", *_mattered(search, good)),
        section("All trials", TRIALS, _trials(search, outcomes)),
    ]
    return page("anomalyd tune", body)


def _colours(search: Search, outcomes: Iterable[Outcome]) -> list[str]:
    best, configured = search.best, search.configured
    return [TWO if outcome == best else INK if outcome == configured else ONE for outcome in outcomes]


KEYS = (key("trial", "one"), key("configured", "ink"), key("best", "two"))


def _last(search: Search, good: Sequence[Outcome]) -> list[Outcome]:
    """The same, with the configured trial and the best one drawn on top."""
    apart = [search.configured, search.best]
    return sorted(good, key=lambda outcome: apart.index(outcome) if outcome in apart else -1)


def _scores(outcomes: Iterable[Outcome]) -> NDArray[np.float64]:
    return np.array([outcome.marks.score for outcome in outcomes if outcome.marks is not None])


def _progress(search: Search, good: Sequence[Outcome]) -> str:
    number = np.array([outcome.number for outcome in good], dtype=np.float64)
    so_far = Line(SOFT, number, np.maximum.accumulate(_scores(good)))
    drawn = _last(search, good)
    at = np.array([outcome.number for outcome in drawn], dtype=np.float64)
    svg = dots(at, _scores(drawn), _colours(search, drawn), title="Score by trial", size=WIDE, line=so_far)
    return figure(svg, "Score by trial", *KEYS, kind="wide")


def _mattered(search: Search, good: Sequence[Outcome]) -> list[str]:
    importances = search.study.importances()
    names = list(importances) or list(search.default)
    charts = "".join(_by_value(search, name, good) for name in names)
    if not importances:
        return [FEW, f'<div class="many">{charts}</div>']
    largest = max(importances.values())
    bars = table(
        ("option", "share"),
        [(name, bar(share / largest, f"{share:.0%}")) for name, share in importances.items()],
    )
    return [MATTERED, bars, f'<div class="many">{charts}</div>', f"<figcaption>{''.join(KEYS)}</figcaption>"]


def _by_value(search: Search, name: str, good: Sequence[Outcome]) -> str:
    some, drawn = search.space[name], _last(search, good)
    values = [outcome.options[name] for outcome in drawn]
    names: list[str] = []
    logarithmic = False
    if isinstance(some, Span):
        at, logarithmic = np.array(values, dtype=np.float64), some.logarithmic
    else:
        names = [shown(value) for value in some.values]
        at = np.array([some.values.index(value) for value in values], dtype=np.float64)
    svg = dots(
        at,
        _scores(drawn),
        _colours(search, drawn),
        title=f"Score by {name}",
        size=SMALL,
        names=names,
        logarithmic=logarithmic,
    )
    return small_figure(name, svg, "")


def _trials(search: Search, outcomes: Sequence[Outcome]) -> str:
    """Every trial, and above all the best one."""
    ranked = sorted(
        outcomes, key=lambda outcome: -np.inf if outcome.marks is None else outcome.marks.score, reverse=True
    )
    rows = []
    for outcome in ranked:
        note = " (configured)" if outcome == search.configured else ""
        options = [shown(outcome.options[name]) for name in search.default]
        came = cell(outcome.problem or "", "text") if outcome.marks is None else f"{outcome.marks.score:.3f}"
        rows.append((f"{outcome.number}{note}", came, *options, duration(outcome.seconds * 1000)))
    return table(("trial", "score", *search.default, "time"), rows, chosen=0)
