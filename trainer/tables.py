"""One file of history as a table of columns, CSV (also .gz) or Parquet, before anything is asked of it."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from trainer.problems import Unreadable, Unusable

if TYPE_CHECKING:
    from pathlib import Path

SEPARATORS = ",;\t"
KINDS = (".csv", ".csv.gz", ".parquet")
MISSING = (  # what pandas takes for no value
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A file's columns.

    Attributes:
        path: The file.
        frame: Its rows; the index counts all rows of the file from 0, so it may have holes.
        is_text: Whether people see lines (CSV, the header is line 1) or rows (Parquet, from 1).
    """

    path: Path
    frame: pd.DataFrame
    is_text: bool

    def place(self, position: int) -> str:
        """Where the row at a position of `frame` is, as an editor or a spreadsheet shows it."""
        index = int(self.frame.index.to_numpy()[position])
        return f"line {index + 2}" if self.is_text else f"row {index + 1}"


def read_table(path: Path, *, time_column: str, text_column: str) -> Table:
    """Reads a file.

    Args:
        path: Its ending says what it is.
        time_column: The column in which no word stands for a missing cell.
        text_column: The column whose cells are names, so that `007` keeps its zeros.

    Raises:
        Unreadable: It is not there, or its bytes cannot be read.
        Unusable: It is no table.
    """
    name = path.name.lower()
    if not name.endswith(KINDS):
        raise Unusable(f"{path}: must be a .csv, .csv.gz or .parquet file, got {path.suffix or 'no ending'}")
    try:
        content = path.read_bytes()
        if name.endswith(".gz"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Unreadable(f"{path}: cannot be read: {reason}") from error
    if name.endswith(".parquet"):
        frame = _parquet(path, content)
    else:
        frame = _csv(path, content, time_column, text_column)
    return Table(path, _without_nameless(path, frame), is_text=not name.endswith(".parquet"))


def stem(path: Path) -> str:
    """The file's name without its ending: the machine's name where no column gives it."""
    for kind in (".csv.gz", *KINDS):
        if path.name.lower().endswith(kind):
            return path.name[: -len(kind)]
    return path.name


def _parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(io.BytesIO(content))
    except (ValueError, OSError) as error:
        raise Unreadable(f"{path}: cannot be read: {error}") from error
    if frame.index.name is not None:
        frame = frame.reset_index()  # pandas writes a named index, often the times, as one
    frame.columns = pd.Index([str(name).strip() for name in frame.columns])
    return frame.reset_index(drop=True)


def _csv(path: Path, content: bytes, time_column: str, text_column: str) -> pd.DataFrame:
    try:
        header = content.split(b"\n", 1)[0].decode("utf-8-sig")
        separator = max(SEPARATORS, key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]
        if not any(names):
            raise Unusable(f"{path}: must begin with a line of column names, got an empty one")
        # pandas renames what occurs twice; numbers keep them apart
        columns = list(range(len(names)))
        missing: dict[Any, tuple[str, ...]]
        missing = {column: ("",) if names[column] == time_column else MISSING for column in columns}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.BytesIO(content),
                sep=separator,
                header=None,
                names=columns,
                skiprows=1,
                index_col=False,  # else a field too many in each line would shift all columns
                skip_blank_lines=False,  # else lines could not be counted
                low_memory=False,
                encoding="utf-8-sig",
                keep_default_na=False,
                na_values=missing,
                converters={column: str.strip for column in columns if names[column] == text_column},
            ).dropna(how="all")
        _check_lengths(content, separator, names, frame)
    except UnicodeDecodeError as error:
        raise Unusable(
            f"{path}: must be UTF-8 text, got {error.object[error.start : error.end]!r}"
        ) from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error) as error:
        message = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        if isinstance(error, pd.errors.ParserWarning):
            message = "more fields than names in every line"
        raise Unusable(
            f"{path}: must have a field for each of {len(names)} columns in every line, got: {message}"
        ) from error
    frame.columns = pd.Index(names)
    return frame


def _check_lengths(content: bytes, separator: str, names: list[str], frame: pd.DataFrame) -> None:
    """Finds lines with too few fields, which pandas fills up; only they and empty cells end in nothing."""
    width = max(i for i, name in enumerate(names, start=1) if name)
    if frame[width - 1].notna().all():
        return
    lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=separator)
    short = [(lines.line_num, len(fields)) for fields in lines if len(fields) < width and any(fields)]
    if short:
        line, fields = short[0]
        more = f" (and {len(short) - 1} more)" if short[1:] else ""
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
