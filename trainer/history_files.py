"""Files of history become histories, one per machine, or one list of all that is wrong with them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from config.problems import nearest, shown
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from trainer.problems import Unreadable, Unusable
from trainer.tables import Table, read_table, stem
from trainer.times import milliseconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from config.training import History as HistorySettings

IGNORE = "history.ignore_columns leaves it out"


def read_histories(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    machine: str | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[History]:
    """Reads files and joins what they hold of each machine, in order of time.

    Args:
        paths: CSV, gzipped CSV or Parquet.
        settings: Names of the columns.
        machine: Whose rows they are, for files without a column of machines; of files that have
            one, only this machine's rows are taken.
        note: Is told what was done to the rows that a person may want to know.

    Returns:
        One history per machine, by name.

    Raises:
        Unreadable: A file is not there or its bytes cannot be read.
        Unusable: A file is no table of times and sensors; all files' problems at once.
    """
    unreadable: list[str] = []
    problems: list[str] = []
    found: dict[str, list[tuple[Path, History]]] = defaultdict(list)
    for path in paths:
        try:
            for history in _histories(
                read_table(path, time_column=settings.time_column, text_column=settings.machine_column),
                settings,
                machine,
            ):
                found[history.machine].append((path, history))
        except Unreadable as error:
            unreadable += error.problems
        except Unusable as error:
            problems += error.problems
    if unreadable:
        raise Unreadable(*unreadable)
    for pieces in found.values():
        problems += _differences(pieces)
    if machine is not None and not problems and machine not in found:
        files = ", ".join(map(str, paths))
        problems.append(f"{files}: must hold rows of machine {machine}, got none")
    if problems:
        raise Unusable(*problems)
    return [_join([piece for _, piece in found[name]], note) for name in sorted(found)]


def _histories(table: Table, settings: HistorySettings, machine: str | None) -> Iterator[History]:
    """The histories of one file; each of their rows is where it was."""
    frame, path = table.frame, table.path
    if settings.time_column not in frame.columns:
        names = ", ".join(map(str, frame.columns))
        close = nearest(settings.time_column, map(str, frame.columns))
        hint = f"; is it {close}? history.time_column names it" if close else "; history.time_column names it"
        raise Unusable(f"{path}: must have a column {settings.time_column}, got {names}{hint}")
    if frame.empty:
        raise Unusable(f"{path}: must have rows, got none")
    special = {settings.time_column, settings.machine_column, settings.label_column}
    sensors = [name for name in frame.columns if name not in special | {*settings.ignore_columns}]
    at = milliseconds(frame[settings.time_column])
    machines = _machines(frame, settings.machine_column, machine or stem(path))
    labels = _labels(frame, settings.label_column)
    problems = [
        *_bad_cell(table, settings.time_column, at.isna(), TIME_EXPECTED),
        *_bad_cell(table, settings.machine_column, machines.isna(), "must hold the name of a machine"),
        *(_bad_cell(table, settings.label_column, labels.isna(), LABEL_EXPECTED)),
    ]
    if not sensors:
        problems.append(f"{path}: must have a column per sensor, got none beside {', '.join(frame.columns)}")
    numbers: dict[str, pd.Series] = {}
    for name in sensors:
        numbers[name], bad = _numbers(frame[name])
        problems += _bad_cell(table, name, bad, "must hold finite numbers", IGNORE)
    if problems:
        raise Unusable(*problems)
    values = np.column_stack([column.to_numpy() for column in numbers.values()])
    has_labels = settings.label_column in frame.columns
    for name in machines.unique():
        if machine is not None and name != machine:
            continue
        rows = (machines == name).to_numpy()
        yield History(
            machine=str(name),
            sensors=tuple(numbers),
            at=at.to_numpy()[rows].astype(np.int64),
            values=values[rows],
            label=labels.to_numpy()[rows].astype(np.int8) if has_labels else None,
        )


TIME_EXPECTED = "must hold times (ISO 8601, or epoch seconds or milliseconds)"
LABEL_EXPECTED = "must hold 0 (normal), 1 (anomalous) or -1 (unknown)"


def _machines(frame: pd.DataFrame, column: str, otherwise: str) -> pd.Series:
    """Each row's machine, missing where the cell is empty."""
    if column not in frame.columns:
        return pd.Series(otherwise, index=frame.index)
    names = frame[column].astype("str").str.strip()
    return names.where(frame[column].notna() & (names != ""))


def _labels(frame: pd.DataFrame, column: str) -> pd.Series:
    """Each row's label, unknown where the cell is empty, missing where it is none of the three."""
    if column not in frame.columns:
        return pd.Series(NORMAL, index=frame.index)
    cells = frame[column]
    if pd.api.types.is_bool_dtype(cells):
        return pd.Series(np.nan, index=frame.index)
    labels = pd.to_numeric(cells, errors="coerce").astype("float64").where(cells.notna(), UNKNOWN)
    return labels.where(labels.isin([NORMAL, ANOMALOUS, UNKNOWN]))


def _numbers(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """A sensor's values, and which cells are neither a finite number nor empty."""
    if pd.api.types.is_bool_dtype(cells) or cells.dtype.kind in "mM":
        numbers = pd.Series(np.nan, index=cells.index)
    else:
        numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    return numbers, cells.notna() & ~np.isfinite(numbers)


def _bad_cell(table: Table, column: str, bad: pd.Series, must: str, hint: str = "") -> list[str]:
    """One line about the first bad cell of a column, with the number of further ones."""
    if not bad.any():
        return []
    position = int(bad.to_numpy().argmax())
    cell = table.frame[column].iloc[position]
    if isinstance(cell, str) and re.fullmatch(r"[-+]?\d+,\d+", cell):
        hint = "write numbers with a decimal point"
    got = "an empty cell" if cell == "" or pd.isna(cell) else shown(_plain(cell))
    more = int(bad.sum()) - 1
    also = f" (and {more} more)" if more else ""
    end = f"; {hint}" if hint else ""
    return [f"{table.path}: column {column}: {must}, got {got} in {table.place(position)}{also}{end}"]


def _plain(cell: object) -> object:
    return cell.item() if isinstance(cell, np.generic) else cell


def _differences(pieces: list[tuple[Path, History]]) -> list[str]:
    """What keeps files of one machine from being joined: sensors that only some of them have."""
    first_path, first = pieces[0]
    problems = []
    for path, piece in pieces[1:]:
        lacks = sorted({*first.sensors} - {*piece.sensors})
        adds = sorted({*piece.sensors} - {*first.sensors})
        if lacks or adds:
            got = [f"no {name}" for name in lacks] + [f"{name} too" for name in adds]
            problems.append(
                f"{path}: must have the sensors of {first_path}, as both are of machine {piece.machine}, "
                f"got {', '.join(got)}; history.ignore_columns leaves columns out"
            )
    return problems


def _join(pieces: list[History], note: Callable[[str], None]) -> History:
    """One machine's rows in order of time; rows of one time stay in the order of the files."""
    first = pieces[0]
    label = None
    if any(piece.label is not None for piece in pieces):
        label = np.concatenate(
            [np.full(len(p), UNKNOWN, dtype=np.int8) if p.label is None else p.label for p in pieces]
        )
    at = np.concatenate([piece.at for piece in pieces])
    columns = [piece.select(first.sensors) for piece in pieces]
    values = np.concatenate([piece.values for piece in columns])  # noqa: PD011 - a history is no DataFrame
    back = int((np.diff(at) < 0).sum())
    if back:
        times = f"{back} time{'s' if back > 1 else ''}"
        note(f"{first.machine}: rows were sorted by time, which went back {times}")
        order = np.argsort(at, kind="stable")
        at, values, label = at[order], values[order], None if label is None else label[order]
    return History(first.machine, first.sensors, at, values, label)
