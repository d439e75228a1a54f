"""What a search found, beside what was configured: for people, and as a section of the configuration."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from trainer.space import shown, written
from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trainer.study import Outcome
    from trainer.tuning import Search

NOTHING_BETTER = "No trial is better than the configured options."
NO_FIGURE = "-"
FEW_ROWS = 1000  # docs/tuning.md has what the choice on fewer is worth


def headline(search: Search) -> str:
    """What came of it, in a sentence."""
    best, configured = search.best, search.configured
    if best is None or best.marks is None:
        return "No trial succeeded."
    trials = f"{best.marks.score:.3f}, the best of {counted(len(search.study.outcomes), 'trial')}"
    if configured is None or configured.marks is None:
        return f"Trial {best.number} has a score of {trials}; the configured options have none."
    if best.number == configured.number:
        return f"{NOTHING_BETTER} Their score is {trials}."
    before = f"{configured.marks.score:.3f}"
    return f"Trial {best.number} has a score of {trials}; the configured options have {before}."


def caution(search: Search) -> str | None:
    """What to bear in mind of the figures, if there is anything."""
    rows = search.exam.rows
    if rows >= FEW_ROWS:
        return None
    return f"{counted(rows, 'row')} to examine on are few: much of any difference is chance."


def changed(search: Search) -> list[tuple[str, str, str]]:
    """The options that the best trial changes: name, as configured, as found."""
    best = search.best
    options: Mapping[str, Any] = {} if best is None else best.options
    return [
        (name, shown(search.default[name]), shown(value))
        for name, value in options.items()
        if value != search.default[name]
    ]


def figures(search: Search) -> list[tuple[str, ...]]:
    """The marks under headings: name, of the configured options, and of the best trial where it is better."""
    columns = {"configured": _figures(search.configured)}
    if search.best != search.configured:
        columns["best"] = _figures(search.best)
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = ((name, *(column.get(name, NO_FIGURE) for column in columns.values())) for name in names)
    return [("in the same exam", *columns), *rows]


def _figures(outcome: Outcome | None) -> dict[str, str]:
    if outcome is None or outcome.marks is None:
        return {}
    marks = outcome.marks
    found = {
        "score": marks.score,
        "faults (AUC-PR)": marks.detection,
        **{f"  {kind.replace('_', ' ')}": precision for kind, precision in marks.faults.items()},
        "  random scores": marks.random,
        "labelled rows (AUC-PR)": marks.labelled,
        "variance unexplained": marks.unexplained,
    }
    return {name: f"{number:.3f}" for name, number in found.items() if number is not None}


def section(search: Search, *, made: str, history: str) -> str:
    """A file with the section `trainer:` alone, in which stands what is not the default.

    Args:
        search: In which a trial succeeded.
        made: When, for people.
        history: On what, for people.
    """
    rows = figures(search)
    width = max(len(name) for name, *_ in rows)
    comments = [
        f"Found by `anomalyd tune` on {history}, {made}.",
        headline(search),
        *filter(None, [caution(search)]),
        f"Searched: {', '.join(search.default)}.",
        "",
        *(f"{name:{width}}" + "".join(f"  {number:>10}" for number in numbers) for name, *numbers in rows),
    ]
    lines = [f"# {line}".rstrip() for line in comments]
    return "".join(f"{line}\n" for line in [*lines, *_yaml(search)])


def _yaml(search: Search) -> Iterator[str]:
    before = {name: value for name, value, _ in changed(search)}
    options = written(search.winner(), before)
    yield "trainer:" if options else "trainer: {}"
    for section_name, group in groupby(options, lambda option: option[0].rpartition(".")[0]):
        indent = "  "
        if section_name:
            yield f"{indent}{section_name}:"
            indent += "  "
        for name, value in group:
            if name in before:
                yield f"{indent}# configured: {before[name]}"
            yield f"{indent}{name.rpartition('.')[2]}: {shown(value)}"
