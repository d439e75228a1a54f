"""Labels in CSV: every problem with its line."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cli.options import name_problem
from daemon.commands.command import Entry, read_time
from detector.labels import LabelKind

PLAIN = ("start", "end", "code")  # the columns of a file without headings
COLUMNS = (*PLAIN, "kind", "note", "machine")
MOST_PROBLEMS = 100  # that are named; more are another kind of file


def read_labels(file: Path, machine: str | None, kind: str) -> tuple[list[Entry], list[str]]:
    """Reads a file.

    Args:
        file: The CSV file.
        machine: Whose labels they are, where no column says so.
        kind: What they are, where no column says so.

    Returns:
        The labels, and what is wrong with the file.

    Raises:
        OSError: It cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        return [], [f"{file}: must be CSV in UTF-8: {error}"]
    if not rows:
        return [], []
    columns: Sequence[str] = PLAIN
    if "start" in (names := [cell.lower() for cell in rows[0][1]]):
        columns = names
        unknown = [name for name in names if name not in COLUMNS]
        if unknown or "end" not in names:
            must = f"headings must be start, end and any of {', '.join(COLUMNS[2:])}"
            return [], [f"{file}: line {rows[0][0]}: {must}, got {', '.join(names)}"]
        rows = rows[1:]
    given = {"machine": machine or "", "kind": kind}
    entries, problems = _entries(columns, rows, given)
    more = len(problems) - MOST_PROBLEMS
    named = [f"{file}: {problem}" for problem in problems[:MOST_PROBLEMS]]
    return entries, [*named, f"{file}: and {more} more"] if more > 0 else named


def _entries(
    columns: Sequence[str], rows: Iterable[tuple[int, Sequence[str]]], given: Mapping[str, str]
) -> tuple[list[Entry], list[str]]:
    entries, problems = [], []
    for line, cells in rows:
        try:
            if len(cells) > len(columns):
                raise ValueError(f"must have at most {len(columns)} cells, got {len(cells)}")  # noqa: TRY301
            told = {name: cell for name, cell in zip(columns, cells, strict=False) if cell}
            entries.append(_entry({**given, **told}))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    return entries, problems


def _entry(told: Mapping[str, str]) -> Entry:
    for name in ("start", "end"):
        if name not in told:
            raise ValueError(f"must have a {name}")
    machine = told["machine"]
    problem = name_problem(machine) if machine else "must be given, as a column or by --machine"
    if problem:
        raise ValueError(f"machine: {problem}")
    if told["kind"] not in [*LabelKind]:
        raise ValueError(f"kind: must be one of {', '.join(LabelKind)}, got {told['kind']}")
    return Entry(
        start=read_time(told["start"]),
        end=read_time(told["end"]),
        kind=LabelKind(told["kind"]),
        machine=machine,
        code=told.get("code", ""),
        note=told.get("note", ""),
    )
