"""Files of history become histories, one per machine, or one list of all that is wrong with them."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from config.problems import nearest
from config.streams import Channel
from detector.categories import GOOD_CATEGORY, is_category, number_of
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from trainer.cells import BadCells, are_numbers, binaries, numbers_of
from trainer.problems import Unreadable, Unusable
from trainer.recording import Recorder
from trainer.tables import BLOCK, read_tables, stem
from trainer.times import TimeColumn
from trainer.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from config.training import History as HistorySettings
    from trainer.recording import Recording
    from trainer.tables import Table

IGNORE = "history.ignore_columns leaves it out"
DECLARE = f"readings.channels declares what is no plain number, {IGNORE}"
TIME_EXPECTED = "must hold times (ISO 8601, or epoch seconds or milliseconds)"
MACHINE_EXPECTED = "must hold the name of a machine"
LABEL_EXPECTED = "must hold 0 (normal), 1 (anomalous) or -1 (unknown)"
NUMBER_EXPECTED = "must hold finite numbers"
CATEGORY_EXPECTED = f"must hold {GOOD_CATEGORY}"
BINARY_EXPECTED = "must hold 0 and 1, or true and false"
NO_CHANNELS: Mapping[str, Channel] = MappingProxyType({})


def read_histories(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    channels: Mapping[str, Channel] = NO_CHANNELS,
    machine: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[History]:
    """Reads files and joins what they hold of each machine, in order of time.

    Args:
        paths: CSV, gzipped CSV or Parquet.
        settings: Names of the columns.
        channels: What sensors are that are no plain measurements.
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
    for piece in read_pieces(paths, settings, channels=channels, machine=machine):
        found[piece.machine].append(piece)
        advance(len(piece))
    return [_join(found.pop(name), note) for name in sorted(found)]


def read_each(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    channels: Mapping[str, Channel] = NO_CHANNELS,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> tuple[list[tuple[History, tuple[Path, ...]]], dict[str, tuple[str, ...]]]:
    """The same for machines that have nothing to do with each other.

    A cell is the matter of the machine in its row; what concerns a whole file, of all machines in it.

    Args:
        paths, settings, channels, note, advance: See `read_histories`.

    Returns:
        One history per machine, by name, with its files; and what is wrong with those of any other.
    """
    found: dict[str, list[History]] = defaultdict(list)
    files: dict[str, dict[Path, None]] = defaultdict(dict)
    wrong: dict[str, dict[str, None]] = defaultdict(dict)
    for path in paths:
        file = _File(path, settings, channels, None)
        whole: tuple[str, ...] = ()
        try:
            for table in read_tables(path, settings, texts=_texts(channels)):
                for piece in file.pieces(table):
                    name = piece.machine
                    found[name].append(piece)
                    files[name][path] = None
                    known = next(iter(files[name])), found[name][0].sensors
                    wrong[name] |= dict.fromkeys(_difference(path, piece, *known))
                    advance(len(piece))
        except (Unreadable, Unusable) as error:
            whole = error.problems
        for name in file.machines or (stem(path),):
            wrong[name] |= dict.fromkeys(whole or file.problems(name))
    problems = {name: tuple(texts) for name, texts in sorted(wrong.items()) if texts}
    good = sorted(found.keys() - problems.keys())
    return [(_join(found.pop(name), note), tuple(files[name])) for name in good], problems


def record_histories(
    paths: Sequence[Path],
    settings: HistorySettings,
    recorder: Recorder,
    *,
    channels: Mapping[str, Channel] = NO_CHANNELS,
    machine: str | None = None,
    note: Callable[[str], None] = lambda _: None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Recording]:
    """The same on disk instead of in memory, for files that may be larger than memory.

    Args:
        recorder: Writes them.
        paths, settings, channels, machine, note, advance: See `read_histories`.

    Returns:
        One recording per machine, by name.

    Raises:
        Unreadable, Unusable: See `read_histories`.
        OSError: The recording cannot be written.
    """
    for piece in read_pieces(paths, settings, channels=channels, machine=machine):
        recorder.write(piece)
        advance(len(piece))
    recordings = recorder.recordings()
    for recording in recordings:
        _note_sorting(recording.machine, recording.back, note)
    return recordings


def read_pieces(
    paths: Sequence[Path],
    settings: HistorySettings,
    *,
    channels: Mapping[str, Channel] = NO_CHANNELS,
    machine: str | None = None,
    block: int = BLOCK,
) -> Iterator[History]:
    """Reads files block by block; a block's rows of one machine are a piece of its history.

    Args:
        paths, settings, channels, machine: See `read_histories`.
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
        file = _File(path, settings, channels, machine)
        try:
            for table in read_tables(path, settings, texts=_texts(channels), block=block):
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


Rows: TypeAlias = "slice | NDArray[np.intp]"


class _File:
    """Takes a file's blocks and remembers what is wrong with each column.

    Attributes:
        machines: Whose rows were in them, in the order in which they came.
    """

    def __init__(
        self, path: Path, settings: HistorySettings, channels: Mapping[str, Channel], machine: str | None
    ) -> None:
        self._path = path
        self._settings = settings
        self._kinds = {name: channel.kind for name, channel in channels.items()}
        self._texts: dict[float, str] = {}
        self._machine = machine
        self._time = TimeColumn()
        self._sensors: tuple[str, ...] | None = None  # until the first block
        self._rows = 0
        self._wrong: dict[str | None, dict[str, BadCells]] = defaultdict(dict)  # by machine and column
        self.machines: dict[str, None] = {}

    def pieces(self, table: Table) -> Iterator[History]:
        """The histories in a block, by machine; none of a machine once a problem was found with it.

        Raises:
            Unusable: The file has no column of times.
        """
        frame, settings = table.frame, self._settings
        if self._sensors is None:
            self._sensors = self._find_sensors(frame)
        self._rows += len(frame)
        machines = self._find_machines(table)
        at = self._time.milliseconds(frame[settings.time_column])
        self._check(table, machines, settings.time_column, at.isna(), TIME_EXPECTED)
        label = self._labels(table, machines)
        values = np.empty((len(frame), len(self._sensors)))
        for i, name in enumerate(self._sensors):
            kind, cells = self._kinds.get(name), frame[name]
            if kind == "category":
                numbers, bad = self._categories(cells)
                self._check(table, machines, name, bad, CATEGORY_EXPECTED, IGNORE)
            elif kind == "binary":
                numbers, bad = binaries(cells)
                self._check(table, machines, name, bad, BINARY_EXPECTED, IGNORE)
            else:
                numbers, bad = numbers_of(cells)
                hint = IGNORE if kind or are_numbers(cells) else DECLARE
                self._check(table, machines, name, bad, NUMBER_EXPECTED, hint)
            values[:, i] = numbers
        times = at.fillna(0).to_numpy().astype(np.int64)
        whole = History("", self._sensors, times, values, label, self._texts)
        for machine, rows in machines.items():
            if machine is None or self._machine not in {None, machine}:
                continue
            if not self._wrong.keys() & {None, machine}:
                yield dataclasses.replace(whole.rows(rows), machine=machine)

    def problems(self, machine: str | None = None) -> list[str]:
        """All that is wrong with the file, once all its blocks were taken; one line a column.

        Args:
            machine: Other machines' cells are left out.
        """
        if not self._rows or self._sensors is None:
            return [f"{self._path}: must have rows, got none"]
        whose = self._wrong.keys() if machine is None else self._wrong.keys() & {None, machine}

        def cells(*columns: str) -> list[str]:
            found = (
                [self._wrong[name][column] for name in whose if column in self._wrong[name]]
                for column in columns
            )
            return [f"{self._path}: {BadCells.together(some)}" for some in found if some]

        problems = cells(
            self._settings.time_column, self._settings.machine_column, self._settings.label_column
        )
        if not self._sensors:
            there = ", ".join(name for name in self._columns)
            problems.append(f"{self._path}: must have a column per sensor, got none beside {there}")
        return problems + cells(*self._sensors)

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

    def _find_machines(self, table: Table) -> dict[str | None, Rows]:
        """The rows of each machine; None: those that name none."""
        column = self._settings.machine_column
        if column not in self._columns:
            name = self._machine or stem(self._path)
            self.machines[name] = None
            return {name: slice(None)}
        codes, cells = pd.factorize(table.frame[column])
        names = [name.strip() for name in cells.astype("str")]
        known = {name: i for i, name in enumerate(dict.fromkeys(["", *names]))}
        # The last one stands for the code -1, which is an empty cell's.
        machine = np.array([*(known[name] for name in names), 0])[codes]
        order = np.argsort(machine, kind="stable")
        borders = np.searchsorted(machine[order], np.arange(len(known) + 1))
        rows: dict[str | None, Rows] = {
            name or None: order[borders[i] : borders[i + 1]] for name, i in known.items()
        }
        self.machines |= dict.fromkeys(filter(None, known))
        nameless = pd.Series(machine == 0, index=table.frame.index)
        self._check(table, rows, column, nameless, MACHINE_EXPECTED)
        return rows

    def _categories(self, cells: pd.Series[Any]) -> tuple[NDArray[np.float64], pd.Series[bool]]:
        """The numbers that stand for a sensor's categories, and which cells are neither one nor empty."""
        codes, found = pd.factorize(cells)
        numbers, bad = np.full(len(found) + 1, np.nan), np.zeros(len(found) + 1, np.bool_)
        for i, cell in enumerate(found.tolist()):
            text = cell.strip() if isinstance(cell, str) else None
            bad[i] = text is None or not (text == "" or is_category(text))
            if text and not bad[i]:
                numbers[i] = number_of(text)
                self._texts[numbers[i]] = text
        return numbers[codes], pd.Series(bad[codes], index=cells.index)  # the last one is an empty cell's

    def _labels(self, table: Table, machines: Mapping[str | None, Rows]) -> NDArray[np.int8] | None:
        """Each row's label, unknown where the cell is empty."""
        column = self._settings.label_column
        if column not in self._columns:
            return None
        cells = table.frame[column]
        labels = pd.Series(np.nan, index=cells.index)
        if not pd.api.types.is_bool_dtype(cells):
            labels = pd.to_numeric(cells, errors="coerce").astype("float64").where(cells.notna(), UNKNOWN)
        bad = ~labels.isin([NORMAL, ANOMALOUS, UNKNOWN])
        self._check(table, machines, column, bad, LABEL_EXPECTED)
        return labels.where(~bad, UNKNOWN).to_numpy().astype(np.int8)

    def _check(
        self,
        table: Table,
        machines: Mapping[str | None, Rows],
        column: str,
        bad: pd.Series[bool],
        must: str,
        hint: str = "",
    ) -> None:
        if not bad.any():
            return
        positions, wrong = np.arange(len(bad)), bad.to_numpy()
        for machine, rows in machines.items():
            places = positions[rows][wrong[rows]].tolist()
            if not places:
                continue
            cell, row = table.frame[column].iloc[places[0]], int(table.frame.index[places[0]])
            found = BadCells(column, must, cell, row, table.place(places[0]), hint, len(places))
            before = self._wrong[machine].get(column)
            self._wrong[machine][column] = BadCells.together([before, found]) if before else found


def _texts(channels: Mapping[str, Channel]) -> set[str]:
    """The columns that hold texts."""
    return {name for name, channel in channels.items() if channel.kind in {"category", "binary"}}


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
    texts = {number: text for piece in pieces for number, text in piece.texts.items()}
    joined = History(first.machine, first.sensors, at, values, label, texts)
    back = int((np.diff(at) < 0).sum())
    _note_sorting(first.machine, back, note)
    return joined.rows(np.argsort(at, kind="stable")) if back else joined


def _note_sorting(machine: str, back: int, note: Callable[[str], None]) -> None:
    if back:
        note(f"{machine}: rows were sorted by time, which went back {counted(back, 'time')}")
