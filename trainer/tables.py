"""One file of history as a table of columns, CSV (also .gz) or Parquet, before anything is asked of it.

A file may be larger than memory, so a table comes in blocks of rows. CSV is read by Arrow where it
is as plain as it should be; what Arrow refuses is read again by pandas, which says what is wrong.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from trainer.problems import Unreadable, Unusable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from io import BufferedIOBase
    from pathlib import Path

    from config.training import History as HistorySettings

SEPARATORS = ",;\t"
KINDS = (".csv", ".csv.gz", ".parquet")
MISSING = (  # what pandas takes for no value
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
BLOCK = 8 << 20  # bytes of text or of values: enough for all cores to read, little beside any memory
LONGEST = 2 * BLOCK  # bytes of quoted text; a quotation mark that is never closed must not take all memory
TIMES = (pa.float64(), pa.timestamp("ns", tz="UTC"), pa.timestamp("ns"))  # a column of times is one of these


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A block of a file's rows.

    Attributes:
        path: The file.
        frame: The rows; the index counts all rows of the file from 0, so it may have holes.
        is_text: Whether people see lines (CSV, the header is line 1) or rows (Parquet, from 1).
    """

    path: Path
    frame: pd.DataFrame
    is_text: bool

    def place(self, position: int) -> str:
        """Where the row at a position of `frame` is, as an editor or a spreadsheet shows it."""
        index = int(self.frame.index.to_numpy()[position])
        return f"line {index + 2}" if self.is_text else f"row {index + 1}"


def read_tables(
    path: Path, settings: HistorySettings, *, texts: Collection[str] = (), block: int = BLOCK
) -> Iterator[Table]:
    """Reads a file; a file without rows is one table without rows.

    Args:
        path: Its ending says what it is.
        settings: Names the column of times, in which no word stands for a missing cell, and that of
            machines, whose cells are names, so that `007` keeps its zeros.
        texts: More columns of which the cells are texts; `NA` and the like are some as well.
        block: Bytes of text or of values that are read at once.

    Raises:
        Unreadable: It is not there, or its bytes cannot be read.
        Unusable: It is no table.
    """
    name = path.name.lower()
    if not name.endswith(KINDS):
        raise Unusable(f"{path}: must be a .csv, .csv.gz or .parquet file, got {path.suffix or 'no ending'}")
    try:
        with path.open("rb") as file:
            if name.endswith(".parquet"):
                for frame in _parquet(file, block):
                    yield Table(path, _without_nameless(path, frame), is_text=False)
            else:
                text = gzip.GzipFile(fileobj=file) if name.endswith(".gz") else file
                for frame in _csv(path, text, settings, texts, block):
                    yield Table(path, _without_nameless(path, frame), is_text=True)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"{path}: cannot be read: {reason}") from error


def stem(path: Path) -> str:
    """The file's name without its ending: the machine's name where no column gives it."""
    for kind in (".csv.gz", *KINDS):
        if path.name.lower().endswith(kind):
            return path.name[: -len(kind)]
    return path.name


def _parquet(file: IO[bytes], block: int) -> Iterator[pd.DataFrame]:
    # Buffered: else all of a row group is read at once, and one may be all of the file.
    table = pa.parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    names = table.schema_arrow.names
    kept = [i for i, name in enumerate(names) if not re.fullmatch(r"__index_level_\d+__", name)]
    rows = max(1, block // (8 * max(1, len(kept))))
    start = 0
    batches = table.iter_batches(rows) if table.metadata.num_rows else [table.schema_arrow.empty_table()]
    for batch in batches:
        frame = batch.select(kept).to_pandas(ignore_metadata=True)
        frame.columns = pd.Index([names[i].strip() for i in kept])
        frame.index = pd.RangeIndex(start, start + len(frame))
        start += len(frame)
        yield frame


def _csv(
    path: Path, file: BufferedIOBase, settings: HistorySettings, texts: Collection[str], block: int
) -> Iterator[pd.DataFrame]:
    try:
        layout = _Layout.of(file.readline(), settings, texts)
        if not any(layout.names):
            raise Unusable(f"{path}: must begin with a line of column names, got an empty one")
        lines = None
        for lines in _whole_lines(file, block):
            frame = layout.plain(lines)
            yield layout.any(lines) if frame is None else frame
        if lines is None:
            yield pd.DataFrame(columns=pd.Index(layout.names))
    except UnicodeDecodeError as error:
        raise Unusable(
            f"{path}: must be UTF-8 text, got {error.object[error.start : error.end]!r}"
        ) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        message = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise Unusable(
            f"{path}: must have a field for each of {len(layout.names)} columns in every line, got: {message}"
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Whole lines of a file.

    Attributes:
        text: The lines.
        number: How many; of the last one in a file the line break may be missing.
        before: How many come before them.
    """

    text: bytes
    number: int
    before: int


def _whole_lines(file: BufferedIOBase, block: int) -> Iterator[_Lines]:
    """The lines after the header."""
    before, text = 1, b""
    while more := file.read(block):
        text += more
        end = _end_of_lines(text)
        if end:
            lines = _Lines(text[:end], text.count(b"\n", 0, end), before)
            yield lines
            before += lines.number
            text = text[end:]
    if text:
        yield _Lines(text, text.count(b"\n") + (not text.endswith(b"\n")), before)


def _end_of_lines(text: bytes) -> int:
    """Where the last whole line ends; a line break within quotes ends none."""
    if b'"' not in text or len(text) > LONGEST:
        return text.rfind(b"\n") + 1
    letters = np.frombuffer(text, dtype=np.uint8)
    breaks, quotes = np.flatnonzero(letters == ord("\n")), np.flatnonzero(letters == ord('"'))
    ends = breaks[np.searchsorted(quotes, breaks) % 2 == 0]
    return int(ends[-1]) + 1 if len(ends) else 0


class _Layout:
    """What the first line of a CSV file says, and the two ways to read the others."""

    def __init__(
        self, names: list[str], separator: str, settings: HistorySettings, texts: Collection[str]
    ) -> None:
        self.names = names
        self._separator = separator
        # pandas renames what occurs twice; numbers keep them apart
        self._columns = list(range(len(names)))
        self._times: Sequence[pa.DataType] = TIMES
        self._text, self._time = {settings.machine_column, *texts}, settings.time_column
        self._types: dict[str, pa.DataType] = {}
        for column, name in enumerate(names):
            kind = pa.float64()
            if name in self._text | {*settings.ignore_columns}:
                kind = pa.dictionary(pa.int32(), pa.string())
            elif not name:
                kind = pa.null()
            self._types[str(column)] = kind

    @classmethod
    def of(cls, header: bytes, settings: HistorySettings, texts: Collection[str]) -> _Layout:
        """Reads the first line."""
        text = header.decode("utf-8-sig")
        separator = max(SEPARATORS, key=text.count)
        names = [name.strip() for name in next(csv.reader([text], delimiter=separator), [])]
        return cls(names, separator, settings, texts)

    def plain(self, lines: _Lines) -> pd.DataFrame | None:
        """Reads lines that hold nothing but what they should; None where that is not all."""
        for kind in self._times:
            types = self._types | {str(i): kind for i, name in enumerate(self.names) if name == self._time}
            try:
                table = pa.csv.read_csv(
                    pa.BufferReader(lines.text),
                    pa.csv.ReadOptions(column_names=list(types)),
                    pa.csv.ParseOptions(delimiter=self._separator, newlines_in_values=b'"' in lines.text),
                    pa.csv.ConvertOptions(column_types=types, null_values=MISSING),
                )
            except pa.ArrowInvalid:
                continue
            # A column of numbers stays one: what else it has is to be shown as it was written.
            self._times = (
                sorted(TIMES[1:], key=lambda other: other is not kind) if kind in TIMES[1:] else [kind]
            )
            times = [i for i, name in enumerate(self.names) if name == self._time]
            # Empty lines would be counted wrongly, and words in place of times are not told from empty cells.
            if table.num_rows != lines.number or any(table.column(i).null_count for i in times):
                return None
            frame: pd.DataFrame = table.to_pandas()
            frame.columns = pd.Index(self.names)
            frame.index = pd.RangeIndex(lines.before - 1, lines.before - 1 + lines.number)
            return frame
        return None

    def any(self, lines: _Lines) -> pd.DataFrame:
        """Reads any lines.

        Raises:
            UnicodeDecodeError: They are no text.
            pd.errors.ParserError: A line has too many fields or too few, or a field never ends.
        """
        missing: dict[Any, tuple[str, ...]]
        missing = {i: ("",) if self.names[i] in self._text | {self._time} else MISSING for i in self._columns}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = pd.read_csv(
                    io.BytesIO(lines.text),
                    sep=self._separator,
                    header=None,
                    names=self._columns,
                    index_col=False,  # else a field too many in each line would shift all columns
                    skip_blank_lines=False,  # else lines could not be counted
                    low_memory=False,
                    keep_default_na=False,
                    na_values=missing,
                    converters={i: str.strip for i in self._columns if self.names[i] in self._text},
                )
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            unclosed = re.search(r"EOF inside string starting at row (\d+)", str(error))
            if unclosed:
                message = f"a quotation mark in line {lines.before + 1 + int(unclosed[1])} is never closed"
                raise pd.errors.ParserError(message) from error
            self._check_lengths(lines)
            raise
        frame.index += lines.before - 1
        frame = frame.dropna(how="all")
        width = max(i for i, name in enumerate(self.names, start=1) if name)
        if frame[width - 1].isna().any():  # pandas fills up lines with too few fields
            self._check_lengths(lines)
        frame.columns = pd.Index(self.names)
        return frame

    def _check_lengths(self, lines: _Lines) -> None:
        """Names the first line with too many fields, else the first with too few."""
        most = len(self.names)
        least = max(i for i, name in enumerate(self.names, start=1) if name)
        reader = csv.reader(io.StringIO(lines.text.decode(), newline=""), delimiter=self._separator)
        rows = [(lines.before + reader.line_num, cells) for cells in reader if cells]
        long = [(line, len(cells)) for line, cells in rows if len(cells) > most]
        short = [(line, len(cells)) for line, cells in rows if len(cells) < least and any(cells)]
        if lines.before == 1 and long and len(long) == len(rows):
            raise pd.errors.ParserError("more fields than names in every line")
        for odd, width in ((long, most), (short, least)):
            if odd:
                line, fields = odd[0]
                more = f" (and {len(odd) - 1} more)" if odd[1:] else ""
                raise pd.errors.ParserError(f"Expected {width} fields in line {line}, saw {fields}{more}")


def _without_nameless(path: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """The columns, once all names are known to be good; empty ones without a name are left away."""
    names = [str(name) for name in frame.columns]
    problems = [
        f"{path}: column {name}: must occur once, got {names.count(name)} of that name"
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]
    nameless = [i for i, name in enumerate(names) if not name]  # a separator at the end of each line
    problems += [
        f"{path}: column {i + 1}: must have a name, got none; pandas writes no row numbers with index=False"
        for i in nameless
        if frame.iloc[:, i].notna().any()
    ]
    if problems:
        raise Unusable(*problems)
    return frame.drop(columns="") if nameless else frame
