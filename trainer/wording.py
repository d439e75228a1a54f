"""Numbers in the words of people: `1 alert`, `7.2 min`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 5  # names in a line that may be about hundreds
DAY = 86_400_000  # milliseconds
UNITS = ((DAY, "day"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural if need be: `1 alert`, `2,840 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def rounded(number: float) -> str:
    """The number with three significant digits, but never without those before the point: `2,840`."""
    return f"{number:,.0f}" if 100 <= abs(number) < 1e9 else f"{number:.3g}"


def listed(names: Sequence[str]) -> str:
    """The names, and of many the first ones: `a, b, c, d, e and 7 more`."""
    text = ", ".join(names[:FEW])
    return f"{text} and {len(names) - FEW} more" if len(names) > FEW else text


def duration(milliseconds: float) -> str:
    """A time span in the largest unit of which it has one."""
    for size, unit in UNITS:
        if milliseconds >= size:
            number = f"{milliseconds / size:.3g}"
            return f"{number} {unit}{'s' if unit == 'day' and number != '1' else ''}"
    return f"{milliseconds:.3g} ms"


def moment(at: float) -> str:
    """A time, given in milliseconds since the epoch, to the second."""
    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at):%Y-%m-%d %H:%M:%S}"
