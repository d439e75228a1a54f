"""A column of times, written in whichever way, becomes milliseconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from typing import Any

MILLISECONDS_FROM = 1e11  # as seconds it is the year 5138, as milliseconds 1973
AFTER_ALL = 1e14  # milliseconds: the year 5138; more is micro- or nanoseconds


class TimeColumn:
    """Reads ISO 8601 (without a zone it is UTC), or epoch seconds or milliseconds by their magnitude.

    A column comes in blocks of rows. It is of numbers or of moments throughout: of what its first
    time is, wherever the borders of the blocks are.
    """

    def __init__(self) -> None:
        self._of_numbers: bool | None = None  # until the first time

    def milliseconds(self, cells: pd.Series[Any]) -> pd.Series[float]:
        """Takes the next block of the column.

        Returns:
            Whole milliseconds since the epoch as float64, NaN where the cell is no time; same index.
        """
        numbers = _numbers(cells)
        if self._of_numbers is None or not self._of_numbers:
            moments = _moments(cells) if numbers.isna().any() else _nothing(cells)
            times = numbers.notna() | moments.notna()
            if self._of_numbers is None and times.any():
                self._of_numbers = bool(numbers.notna().to_numpy()[times.to_numpy().argmax()])
            if not self._of_numbers:
                return moments
        whole = numbers.where(numbers.abs() >= MILLISECONDS_FROM, numbers * 1000).round()
        return whole.where((whole >= 0) & (whole < AFTER_ALL))


def _nothing(cells: pd.Series[Any]) -> pd.Series[float]:
    return pd.Series(np.nan, index=cells.index)


def _is_moments(cells: pd.Series[Any]) -> bool:
    return isinstance(cells.dtype, pd.DatetimeTZDtype) or cells.dtype.kind == "M"


def _numbers(cells: pd.Series[Any]) -> pd.Series[float]:
    if _is_moments(cells) or pd.api.types.is_bool_dtype(cells):
        return _nothing(cells)
    return pd.to_numeric(cells, errors="coerce").astype("float64")


def _moments(cells: pd.Series[Any]) -> pd.Series[float]:
    if pd.api.types.is_bool_dtype(cells):
        return _nothing(cells)
    if not _is_moments(cells):
        cells = cells.astype("str").where(cells.notna())
    moments = pd.to_datetime(cells, utc=True, format="ISO8601", errors="coerce")
    known = moments.notna()
    return moments.dt.as_unit("ms").astype("int64").astype("float64").where(known)
