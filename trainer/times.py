"""A column of times, written in whichever way, becomes milliseconds since the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from typing import Any

MILLISECONDS_FROM = 1e11  # as seconds it is the year 5138, as milliseconds 1973
AFTER_ALL = 1e14  # milliseconds: the year 5138; more is micro- or nanoseconds


def milliseconds(column: pd.Series[Any]) -> pd.Series[float]:
    """Reads ISO 8601 (without a zone it is UTC), or epoch seconds or milliseconds by their magnitude.

    Returns:
        Whole milliseconds since the epoch as float64, NaN where the cell is no time; same index.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _of_moments(pd.to_datetime(column, utc=True))
    if pd.api.types.is_bool_dtype(column):
        return pd.Series(np.nan, index=column.index)
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    if numbers.notna().sum() * 2 > column.notna().sum():
        whole = numbers.where(numbers.abs() >= MILLISECONDS_FROM, numbers * 1000).round()
        return whole.where((whole >= 0) & (whole < AFTER_ALL))
    text = column.astype("str").where(column.notna())
    return _of_moments(pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce"))


def _of_moments(moments: pd.Series[pd.Timestamp]) -> pd.Series[float]:
    known = moments.notna()
    whole = moments.dt.as_unit("ms").astype("int64").astype("float64")
    return whole.where(known)
