"""Durations and sizes with their units."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import format_duration, parse_duration
from config.problems import UnmetError
from config.quantities import LONGEST, between, parse_duration_or_off, parse_size

MILLISECONDS = st.integers(min_value=0, max_value=LONGEST // timedelta(milliseconds=1))


@given(MILLISECONDS)
def test_a_duration_that_is_written_is_read_back(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@given(
    st.text().filter(lambda text: not text[:1].isdecimal())
    | st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.lists(st.text())
)
def test_anything_else_is_refused_with_words(value: object) -> None:
    with pytest.raises(UnmetError, match="must be a whole number with a unit of time"):
        parse_duration(value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("0s", 0),
        ("1s", 1),
        ("90 s", 90),
        ("5min", 300),
        ("5m", 300),
        ("24h", 86_400),
        ("7d", 604_800),
        ("36500d", 3_153_600_000),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.001, "1ms"),
        (1.5, "1500ms"),
        (60, "1min"),
        (90, "90s"),
        (3600, "1h"),
        (86_400, "1d"),
        (90_000, "25h"),
    ],
)
def test_a_duration_is_written_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    "text", ["", "s", "1", "1 ", "1  s", " 1s", "1s ", "1s\n", "+1s", "1.5h", "1H", "1sec", "1h30m", "١s"]
)
def test_a_duration_is_read_strictly(text: str) -> None:
    with pytest.raises(UnmetError):
        parse_duration(text)


@pytest.mark.parametrize("value", ["off", None])
def test_off_and_null_are_no_duration_where_that_is_allowed(value: object) -> None:
    assert parse_duration_or_off(value) is None


def test_a_range_holds_at_its_ends() -> None:
    check = between(timedelta(seconds=1), timedelta(seconds=3), step=timedelta(seconds=1))
    assert check(timedelta(seconds=1)) == timedelta(seconds=1)
    assert check(timedelta(seconds=3)) == timedelta(seconds=3)
    assert check(None) is None
    for outside in (0.999, 1.5, 3.001):
        with pytest.raises(UnmetError):
            check(timedelta(seconds=outside))


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (1, 1),
        ("1B", 1),
        ("256KiB", 262_144),
        ("256 KiB", 262_144),
        ("1kB", 1000),
        ("1KB", 1000),
        ("2GB", 2 * 10**9),
        ("2GiB", 2**31),
        ("1MB", 10**6),
        ("1MiB", 2**20),
    ],
)
def test_a_size_is_a_number_of_bytes_or_has_a_unit(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    "value", ["", "1", "KiB", "1kib", "1.5MB", "-1B", "0B", 0, True, 1.0, None, "1K", "1MB "]
)
def test_a_size_is_read_strictly(value: object) -> None:
    with pytest.raises(UnmetError):
        parse_size(value)
