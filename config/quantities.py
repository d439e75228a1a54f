"""Durations and sizes as people write them, always with their unit: `500ms`, `24h`, `256KiB`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Literal

from config.problems import UnmetError
from config.section import After, Before, Schema

MILLISECOND = timedelta(milliseconds=1)
LONGEST = timedelta(days=36_500)  # a century: more is a typing error, and sums with dates stay in range
OFF = "off"
AUTO: Literal["auto"] = "auto"

_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "min": 60_000, "s": 1000, "ms": 1, "m": 60_000}
_BYTES = {
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "KB": 1000,
    "kB": 1000,
    "B": 1,
}
_DURATION = r"[0-9]{1,15} ?(ms|s|min|m|h|d)"
_SIZE = rf"[0-9]{{1,15}} ?({'|'.join(_BYTES)})"


def parse_duration(value: object) -> timedelta:
    """Reads `500ms`, `1s`, `5min` (or `5m`), `24h`, `7d`."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(_DURATION, value) if isinstance(value, str) else None
    if not isinstance(value, str) or match is None:
        bare = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9
        hint = f"add a unit: {value}s" if bare else "such as 500ms, 30s, 5min, 24h or 7d"
        raise UnmetError("must be a whole number with a unit of time", hint=hint)
    milliseconds = int(value[: match.start(1)]) * _MILLISECONDS[match[1]]
    if milliseconds > LONGEST // MILLISECOND:
        raise UnmetError(f"must be at most {format_duration(LONGEST)}")
    return timedelta(milliseconds=milliseconds)


def parse_duration_or_off(value: object) -> timedelta | None:
    """Reads a duration, or None from `off` and `null`."""
    return None if value is None or value == OFF else parse_duration(value)


def parse_duration_or_auto(value: object) -> object:
    """Reads `auto`, or what `parse_duration_or_off` reads."""
    return AUTO if value == AUTO else parse_duration_or_off(value)


def format_duration(duration: timedelta) -> str:
    """Writes a duration in the largest unit that holds it exactly; `parse_duration` reads it back."""
    milliseconds = duration // MILLISECOND
    if milliseconds == 0:
        return "0s"
    return next(f"{milliseconds // n}{unit}" for unit, n in _MILLISECONDS.items() if milliseconds % n == 0)


def parse_size(value: object) -> int:
    """Reads `256KiB`, `2GB`, or a bare number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        size = value
    elif isinstance(value, str) and (match := re.fullmatch(_SIZE, value)):
        size = int(value[: match.start(1)]) * _BYTES[match[1]]
    else:
        raise UnmetError("must be a whole number with a unit of size", hint="such as 256KiB, 1MB or 2GiB")
    if size < 1:
        raise UnmetError("must be at least 1B")
    return size


def parse_size_or_off(value: object) -> int | None:
    """Reads a size, or None from `off` and `null`."""
    return None if value is None or value == OFF else parse_size(value)


def format_size(size: int) -> str:
    """Writes bytes for people: `1.5MiB`."""
    unit = next((name for name in ("GiB", "MiB", "KiB") if size >= _BYTES[name]), "B")
    return f"{size / _BYTES[unit]:.3g}{unit}"


def between(
    least: timedelta, most: timedelta = LONGEST, *, step: timedelta = MILLISECOND
) -> Callable[[timedelta | None], timedelta | None]:
    """Makes a validator for the range of a duration; None (off) passes."""

    def check(duration: timedelta | None) -> timedelta | None:
        if duration is None:
            return None
        if duration < least:
            raise UnmetError(f"must be at least {format_duration(least)}")
        if duration > most:
            raise UnmetError(f"must be at most {format_duration(most)}")
        if duration % step:
            raise UnmetError(f"must be a multiple of {format_duration(step)}")
        return duration

    return check


Duration = Annotated[
    timedelta,
    Before(parse_duration),
    Schema({"type": "string", "pattern": f"^{_DURATION}$"}),
]
DurationOrOff = Annotated[
    timedelta | None,
    Before(parse_duration_or_off),
    Schema({"type": ["string", "null"], "pattern": f"^({OFF}|{_DURATION})$"}),
]
DurationOrAuto = Annotated[
    timedelta | Literal["auto"] | None,
    Before(parse_duration_or_auto),
    Schema({"type": ["string", "null"], "pattern": f"^({OFF}|{AUTO}|{_DURATION})$"}),
]
Size = Annotated[
    int,
    Before(parse_size),
    Schema({"type": ["string", "integer"], "pattern": f"^{_SIZE}$", "minimum": 1}),
]
SizeOrOff = Annotated[
    int | None,
    Before(parse_size_or_off),
    Schema({"type": ["string", "integer", "null"], "pattern": f"^({OFF}|{_SIZE})$", "minimum": 1}),
]
Positive = After(between(MILLISECOND))
PositiveOrAuto = After(lambda wished: wished if wished == AUTO else between(MILLISECOND)(wished))
