"""The cells of a file's columns: what they say, and which of them say nothing that can be used."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from config.problems import shown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class BadCells:
    """What is wrong with a column: its first bad cell, with the number of all of them."""

    column: str
    must: str
    cell: Any
    row: int
    place: str
    hint: str
    number: int

    @classmethod
    def together(cls, found: Sequence[BadCells]) -> BadCells:
        """Of one column, from several machines or blocks."""
        first = min(found, key=lambda cells: cells.row)
        return dataclasses.replace(first, number=sum(cells.number for cells in found))

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


def numbers_of(cells: pd.Series[Any]) -> tuple[NDArray[np.float64], pd.Series[bool]]:
    """A sensor's values, and which cells are neither a finite number nor empty."""
    if pd.api.types.is_bool_dtype(cells) or cells.dtype.kind in "mM":
        numbers = pd.Series(np.nan, index=cells.index)
    else:
        numbers = pd.to_numeric(cells, errors="coerce").astype("float64")
    return np.asarray(numbers, dtype=np.float64), cells.notna() & ~np.isfinite(numbers)


def are_numbers(cells: pd.Series[Any]) -> bool:
    """Whether all cells of a column are numbers, though some may not be finite."""
    return pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells)


def binaries(cells: pd.Series[Any]) -> tuple[NDArray[np.float64], pd.Series[bool]]:
    """A binary sensor's values, and which cells are neither one nor empty."""
    if not are_numbers(cells):
        words = cells.astype("str").str.strip().str.lower()
        cells = words.replace(BINARY_WORDS).where(cells.notna() & (words != ""))
    numbers, bad = numbers_of(cells)
    return numbers, bad | (cells.notna() & ~np.isin(numbers, [0, 1]))


BINARY_WORDS = {"true": "1", "false": "0"}
