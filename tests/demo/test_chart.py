from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.chart import ALARM, CALM, chart
from demo.story import tell

STORY = tell(seed=0)


def lines(scores: list[tuple[float, float]], *, width: int = 80, height: int = 8) -> list[str]:
    return chart(scores, STORY, 100, width=width, height=height).plain.split("\n")


@given(
    scores=st.lists(st.tuples(st.integers(0, STORY.seconds - 1), st.floats(0, 1e12))),
    width=st.integers(20, 200),
    height=st.integers(4, 50),
)
def test_the_chart_fills_its_place_and_no_more(
    scores: list[tuple[float, float]], width: int, height: int
) -> None:
    drawn = lines(scores, width=width, height=height)
    assert len(drawn) == height
    assert all(len(line) <= width for line in drawn)


def test_the_threshold_is_a_line_across_the_plot() -> None:
    (line,) = (line for line in lines([]) if "┄" in line)
    assert line == "    1│" + "┄" * 74


@pytest.mark.parametrize(("score", "style"), [(0.99, CALM), (1.01, ALARM)])
def test_a_score_is_red_only_above_the_threshold(score: float, style: str) -> None:
    text = chart([(500, score)], STORY, 600, width=80, height=8)
    bars = {
        str(span.style) for span in text.spans if set(text.plain[span.start : span.end]) & set("▁▂▃▄▅▆▇█")
    }
    assert bars == {style}


def test_a_higher_score_is_a_higher_bar() -> None:
    heights = [
        sum("█" in line for line in lines([(500, score)], height=20)) for score in (0.3, 0.9, 3.0, 9.0)
    ]
    assert heights == sorted(set(heights))


def test_even_a_score_of_0_is_seen() -> None:
    assert any("▁" in line for line in lines([(500, 0.0)]))


def test_a_score_beyond_the_axis_fills_it() -> None:
    assert all("█" in line for line in lines([(500, 1e9)])[:-2])


def test_every_fault_is_named_where_there_is_room() -> None:
    assert lines([])[-1].split() == ["normal", "wear", "cavitation", "stuck", "silent"]
