"""Files of history become histories, one per machine, or one list of all that is wrong with them."""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from config.problems import nearest, shown
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from trainer.problems import Unreadable, Unusable
from trainer.recording import Recorder
from trainer.tables import BLOCK, read_tables, stem
from trainer.times import TimeColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from config.training import History as HistorySettings
    from trainer.recording import Recording
    from trainer.tables import Table

IGNORE = "history.ignore_columns leaves it out"
TIME_EXPECTED = "must hold times (ISO 8601, or epoch seconds or milliseconds)"
MACHINE_EXPECTED = "must hold the name of a machine"
LABEL_EXPECTED = "must hold 0 (normal), 1 (anomalous) or -1 (unknown)"
NUMBER_EXPECTED = "must hold finite numbers"


def read_histories(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    machine: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[History]:
    """Reads files and joins what they hold of each machine, in order of time.

    Args:
        paths: CSV, gzipped CSV or Parquet.
        settings: Names of the columns.
        machine: Whose rows they are, for files without a column of machines; of files that have
            one, only this machine's rows are taken.
        note: Is told what was done to the rows that a person may want to know.
        advance: Is told of each number of rows when they have been read.

    Returns:
        One history per machine, by name.

    Raises:
        Unreadable: A file is not there or its bytes cannot be read.
        Unusable: A file is no table of times and sensors; all files' problems at once.
    """
    found: dict[str, list[History]] = defaultdict(list)
    for piece in read_pieces(paths, settings, machine=machine):
        found[piece.machine].append(piece)
        advance(len(piece))
    return [_join(found.pop(name), note) for name in sorted(found)]


def read_each(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[list[tuple[History, tuple[Path, ...]]], dict[str, tuple[str, ...]]]:
    """The same for machines that have nothing to do with each other.

    Args:
        paths, settings, note, advance: See `read_histories`.

    Returns:
        One history per machine, by name, with its files; and what is wrong with those of any other.
    """
    found: dict[str, list[History]] = defaultdict(list)
    files: dict[str, dict[Path, None]] = defaultdict(dict)
    wrong: dict[str, dict[str, None]] = defaultdict(dict)
    for path in paths:
        machines: dict[str, None] = {}
        try:
            for piece in read_pieces([path], settings):
                name = piece.machine
                machines[name] = None
                found[name].append(piece)
                files[name][path] = None
                known = next(iter(files[name])), found[name][0].sensors
                wrong[name] |= dict.fromkeys(_difference(path, piece, *known))
                advance(len(piece))
        except (Unreadable, Unusable) as error:
            for name in machines or (stem(path),):
                wrong[name] |= dict.fromkeys(error.problems)
    problems = {name: tuple(texts) for name, texts in sorted(wrong.items()) if texts}
    good = sorted(found.keys() - problems.keys())
    return [(_join(found.pop(name), note), tuple(files[name])) for name in good], problems


def record_histories(
    paths: Sequence[Path],
    settings: HistorySettings,
    recorder: Recorder,
    *,
    machine: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Recording]:
    """The same on disk instead of in memory, for files that may be larger than memory.

    Args:
        recorder: Writes them.
        paths, settings, machine, note, advance: See `read_histories`.

    Returns:
        One recording per machine, by name.

    Raises:
        Unreadable, Unusable: See `read_histories`.
        OSError: The recording cannot be written.
    """
    for piece in read_pieces(paths, settings, machine=machine):
        recorder.write(piece)
        advance(len(piece))
    recordings = recorder.recordings()
    for recording in recordings:
        _note_sorting(recording.machine, recording.back, note)
    return recordings


def read_pieces(
    paths: Sequence[Path], settings: HistorySettings, *, machine: str | None = None, block: int = BLOCK
) -> Iterator[History]:
    """Reads files block by block; a block's rows of one machine are a piece of its history.

    Args:
        paths, settings, machine: See `read_histories`.
        block: See `read_tables`.

    Yields:
        Pieces in the order of the rows, which need not be that of time. They are worth something
        only if no error ends them: all is checked, and all problems are told at the end.

    Raises:
        Unreadable, Unusable: See `read_histories`.
    """
    unreadable: list[str] = []
    problems: list[str] = []
    first: dict[str, tuple[Path, tuple[str, ...]]] = {}
    differ: dict[str, None] = {}
    for path in paths:
        file = _File(path, settings, machine)
        try:
            for table in read_tables(path, settings, block=block):
                for piece in file.pieces(table):
                    known = first.setdefault(piece.machine, (path, piece.sensors))
                    differ |= dict.fromkeys(_difference(path, piece, *known))
                    yield piece
            problems += file.problems()
        except Unreadable as error:
            unreadable += error.problems
        except Unusable as error:
            problems += error.problems
    if unreadable:
        raise Unreadable(*unreadable)
    problems += differ
    if machine is not None and not problems and not first:
        files = ", ".join(map(str, paths))
        problems.append(f"{files}: must hold rows of machine {machine}, got none")
    if problems:
        raise Unusable(*problems)


class _File:
    """Takes a file's blocks and remembers what is wrong with each column."""

    def __init__(self, path: Path, settings: HistorySettings, machine: str | None) -> None:
        self._path = path
        self._settings = settings
        self._machine = machine
        self._time = TimeColumn()
        self._sensors: tuple[str, ...] | None = None  # until the first block
        self._rows = 0
        self._wrong: dict[str, _BadCells] = {}

    def pieces(self, table: Table) -> Iterator[History]:
        """The histories in a block, by machine; none once a problem was found.

        Raises:
            Unusable: The file has no column of times.
        """
        frame, settings = table.frame, self._settings
        if self._sensors is None:
            self._sensors = self._find_sensors(frame)
        self._rows += len(frame)
        at = self._time.milliseconds(frame[settings.time_column])
        self._check(table, settings.time_column, at.isna(), TIME_EXPECTED)
        machines = self._machines(table)
        label = self._labels(table)
        values = np.empty((len(frame), len(self._sensors)))
        for i, name in enumerate(self._sensors):
            numbers, bad = _numbers(frame[name])
            self._check(table, name, bad, NUMBER_EXPECTED, IGNORE)
            values[:, i] = numbers
        if self._wrong:
            return
        times = at.to_numpy().astype(np.int64)
        whole = History("", self._sensors, times, values, label)
        for name, rows in machines.items():
            if self._machine is None or name == self._machine:
                yield dataclasses.replace(whole.rows(rows), machine=name)

    def problems(self) -> list[str]:
        """All that is wrong with the file, once all its blocks were taken; one line a column."""
        if not self._rows or self._sensors is None:
            return [f"{self._path}: must have rows, got none"]
        special = (self._settings.time_column, self._settings.machine_column, self._settings.label_column)
        problems = [f"{self._path}: {self._wrong[name]}" for name in special if name in self._wrong]
        if not self._sensors:
            there = ", ".join(name for name in self._columns)
            problems.append(f"{self._path}: must have a column per sensor, got none beside {there}")
        problems += [f"{self._path}: {self._wrong[name]}" for name in self._sensors if name in self._wrong]
        return problems

    def _find_sensors(self, frame: pd.DataFrame) -> tuple[str, ...]:
        settings = self._settings
        self._columns = tuple(map(str, frame.columns))
        if settings.time_column not in self._columns:
            names = ", ".join(self._columns)
            close = nearest(settings.time_column, self._columns)
            hint = f"is it {close}? history.time_column names it" if close else "history.time_column names it"
            raise Unusable(f"{self._path}: must have a column {settings.time_column}, got {names}; {hint}")
        special = {settings.time_column, settings.machine_column, settings.label_column}
        return tuple(name for name in self._columns if name not in special | {*settings.ignore_columns})

    def _machines(self, table: Table) -> dict[str, slice | NDArray[np.intp]]:
        """The rows of each machine."""
        column = self._settings.machine_column
        if column not in self._columns:
            return {self._machine or stem(self._path): slice(None)}
        codes, cells = pd.factorize(table.frame[column])
        names = [name.strip() for name in cells.astype("str")]
        known = {name: i for i, name in enumerate(dict.fromkeys(filter(None, names)))}
        # The last one stands for the code -1, which is an empty cell's.
        machine = np.array([*(known.get(name, -1) for name in names), -1])[codes]
        self._check(table, column, pd.Series(machine < 0, index=table.frame.index), MACHINE_EXPECTED)
        order = np.argsort(machine, kind="stable")
        borders = np.searchsorted(machine[order], np.arange(len(known) + 1))
        return {name: order[borders[i] : borders[i + 1]] for name, i in known.items()}

    def _labels(self, table: Table) -> NDArray[np.int8] | None:
        """Each row's label, unknown where the cell is empty."""
        column = self._settings.label_column
        if column not in self._columns:
            return None
        cells = table.frame[column]
        labels = pd.Series(np.nan, index=cells.index)
        if not pd.api.types.is_bool_dtype(cells):
            labels = pd.to_numeric(cells, errors="coerce").astype("float64").where(cells.notna(), UNKNOWN)
        bad = ~labels.isin([NORMAL, ANOMALOUS, UNKNOWN])
        self._check(table, column, bad, LABEL_EXPECTED)
        return labels.where(~bad, UNKNOWN).to_numpy().astype(np.int8)

    def _check(self, table: Table, column: str, bad: pd.Series[bool], must: str, hint: str = "") -> None:
        if not bad.any():
            return
        number = int(bad.sum())
        if column in self._wrong:
            self._wrong[column].number += number
        else:
            position = int(bad.to_numpy().argmax())
            cell = table.frame[column].iloc[position]
            self._wrong[column] = _BadCells(column, must, cell, table.place(position), hint, number)


@dataclass(slots=True)
class _BadCells:
    """What is wrong with a column: its first bad cell, with the number of all of them."""

    column: str
    must: str
    cell: Any
    place: str
    hint: str
    number: int

    def __str__(self) -> str:
        cell, hint = self.cell, self.hint
        if isinstance(cell, str) and re.fullmatch(r"[-+]?\d+,\d+", cell):
            hint = "write numbers with a decimal point"
        if isinstance(cell, np.generic):
            cell = cell.item()
        if isinstance(cell, float) and cell.is_integer():  # a whole number in a column with empty cells
            cell = int(cell)
        got = "an empty cell" if cell == "" or pd.isna(cell) else shown(cell)
        also = f" (and {self.number - 1} more)" if self.number > 1 else ""
        end = f"; {hint}" if hint else ""
        return f"column {self.column}: {self.must}, got {got} in {self.place}{also}{end}"


def _numbers(cells: pd.Series[Any]) -> tuple[NDArray[np.float64], pd.Series[bool]]:
    """A sensor's values, and which cells are neither a finite number nor empty."""
    if pd.api.types.is_bool_dtype(cells) or cells.dtype.kind in "mM":
        numbers = pd.Series(np.nan, index=cells.index)
    else:
        numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    return np.asarray(numbers, dtype=np.float64), cells.notna() & ~np.isfinite(numbers)


def _difference(path: Path, piece: History, first_path: Path, sensors: tuple[str, ...]) -> list[str]:
    """What keeps a file from being joined to the first of its machine: sensors that only one of them has."""
    lacks, adds = sorted({*sensors} - {*piece.sensors}), sorted({*piece.sensors} - {*sensors})
    if not lacks and not adds:
        return []
    got = ", ".join([f"no {name}" for name in lacks] + [f"{name} too" for name in adds])
    text = f"{path}: must have the sensors of {first_path}, as both are of machine {piece.machine}, got {got}"
    return [f"{text}; history.ignore_columns leaves columns out"]


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
    joined = History(first.machine, first.sensors, at, values, label)
    back = int((np.diff(at) < 0).sum())
    _note_sorting(first.machine, back, note)
    return joined.rows(np.argsort(at, kind="stable")) if back else joined


def _note_sorting(machine: str, back: int, note: Callable[[str], None]) -> None:
    if back:
        times = f"{back} time{'s' if back > 1 else ''}"
        note(f"{machine}: rows were sorted by time, which went back {times}")
