from __future__ import annotations

import re
from pathlib import Path

import pytest

from trainer.wording import DAY, counted, duration, rounded


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (420_768, "7.01 min"),
        (7_200_000, "2 h"),
        (DAY, "1 day"),
        (9e8, "10.4 days"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_that_fits(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_one_is_no_plural() -> None:
    numbers = (0, 1, 2, 2231)
    assert [counted(number, "alert") for number in numbers] == [
        "0 alerts",
        "1 alert",
        "2 alerts",
        "2,231 alerts",
    ]


def test_no_text_leaves_the_plural_to_its_reader() -> None:
    root = Path(__file__).parents[2]
    sources = [path for package in ("cli", "trainer") for path in (root / package).rglob("*.py")]
    assert len(sources) > 50
    assert [path for path in sources if re.search(r"} \w+\(s\)", path.read_text())] == []


def test_a_number_has_three_digits_and_all_before_the_point() -> None:
    numbers = (0, 0.01234, 0.3, 9.876, 123.4, 2840.4, 1.5e12)
    assert list(map(rounded, numbers)) == ["0", "0.0123", "0.3", "9.88", "123", "2,840", "1.5e+12"]
