"""Numbers in the words of people: `1 alert`, `7.2 min`."""

from __future__ import annotations

DAY = 86_400_000  # milliseconds
UNITS = ((DAY, "days"), (3_600_000, "h"), (60_000, "min"), (1000, "s"))


def counted(number: int, noun: str) -> str:
    """The number and the noun, in the plural if need be."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(milliseconds: float) -> str:
    """A time span in the largest unit of which it has one."""
    for size, unit in UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{milliseconds:.3g} ms"
