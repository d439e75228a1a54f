from __future__ import annotations

import pytest

from trainer.wording import counted, duration


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1 s"),
        (420_768, "7.01 min"),
        (7_200_000, "2 h"),
        (9e8, "10.4 days"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_that_fits(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text


def test_one_is_no_plural() -> None:
    assert [counted(number, "alert") for number in (0, 1, 2)] == ["0 alerts", "1 alert", "2 alerts"]
