from __future__ import annotations

import re

import numpy as np
import pytest

from tests.trainer.pages import Page
from trainer.charts import (
    Limit,
    Line,
    Spans,
    bands,
    dots,
    heat_map,
    histogram,
    line_chart,
    moments,
    scatter,
    thinned,
)
from trainer.drawing import LINE, ONE, TWO


def test_a_chart_of_a_single_point_of_zeros_or_of_nothing_can_be_drawn() -> None:
    for x, y in (([1.0], [2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [1e-9, 1e9]), ([1.0], [np.nan])):
        drawn = line_chart([Line(ONE, np.array(x), np.array(y))], title="y", limits=[Limit("limit", 1.0)])
        assert "nan" not in drawn.replace("dominant", "")
        assert Page(drawn).open == []
    for values in ([1.0], [0.0, 0.0], [1e-9, 1e9]):
        assert Page(histogram([(ONE, np.array(values))], title="y")).open == []
    one = scatter(np.zeros((1, 2)), np.zeros(1), np.array([False]), title="y", colour_title="c")
    assert Page(one).open == []


def test_a_chart_is_one_line_of_svg_text_with_its_title_for_those_who_cannot_see_it() -> None:
    drawn = line_chart([Line(ONE, np.arange(3.0), np.arange(3.0))], title='a "b" <c>')
    page = Page(drawn)
    assert drawn.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;"')
    assert page.outside == set()
    assert "metadata" not in page.tags
    assert "text" in page.tags, "text is text, not outlines"
    assert "DejaVu" not in drawn
    assert drawn == line_chart([Line(ONE, np.arange(3.0), np.arange(3.0))], title='a "b" <c>')


def test_a_long_line_is_drawn_with_few_points_and_keeps_its_peak_and_its_breaks() -> None:
    y = np.random.default_rng(0).uniform(0.5, 1, 100_000)
    y[77_777] = 1.9
    y[5000:5003] = np.nan
    x, kept = thinned(np.arange(100_000.0), y, 880)
    assert len(kept) < 1500
    assert np.nanmax(kept) == 1.9
    assert x[np.nanargmax(kept)] == 77_777
    assert np.isnan(kept).sum() == 1
    assert (np.diff(x) > 0).all()
    same, _ = thinned(np.arange(100.0), y[:100], 880)
    assert len(same) == 100


def test_a_point_lies_where_its_numbers_say() -> None:
    at = moments(np.array([0, 86_400_000, 2 * 86_400_000]))
    drawn = line_chart(
        [Line(ONE, at, np.array([0.0, 10.0, 5.0]))],
        title="y",
        spans=[Spans(LINE, at[[0, 1]][None])],
    )
    points = re.findall(r'd="M ([\d. ]+) \nL ([\d. ]+) \nL ([\d. ]+) \n"', drawn)[-1]
    (x0, y0), (x1, y1), (x2, y2) = ([float(n) for n in point.split()] for point in points)
    assert x1 - x0 == pytest.approx(x2 - x1, rel=1e-3)
    assert y0 - y2 == pytest.approx(y2 - y1, rel=1e-3)
    assert y1 < y2 < y0, "up is more"


def test_many_dots_are_a_picture_within_the_chart_and_few_are_not() -> None:
    random = np.random.default_rng(0)
    for count, pictures in ((100, 0), (5000, 1)):
        drawn = scatter(
            random.normal(size=(count, 2)), random.uniform(1, 9, count), random.random(count) < 0.1,
            title="y", colour_title="c",
        )  # fmt: skip
        page = Page(drawn)
        assert page.outside == set()
        assert (page.tags.count("image") > 1) is bool(pictures)  # one is the bar of colours
        assert len(drawn) < 500_000


def test_a_heat_map_and_bands_name_their_rows() -> None:
    names = ["flow", "a very long name of a sensor that nobody can read", "<b>"]
    drawn = heat_map(np.array([[1, 0.5, np.nan], [0.5, 1, 0], [np.nan, 0, 1]]), names, title="y", borders=[2])
    page = Page(drawn)
    assert page.open == []
    assert "flow" in page.text
    assert "a very long name of a s…" in page.text
    assert "<b>" in page.text
    drawn = bands([[Spans(ONE, moments(np.array([[0, 5]])))], []], ["one", "two"], (0, 10), title="y")
    assert "two" in Page(drawn).text


def test_dots_have_their_colours_and_lie_over_names_numbers_or_decades() -> None:
    x, y = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.5, 0.4])
    named = dots(x, y, [ONE, ONE, TWO], title="score by scaling", names=["standard", "robust"])
    assert Page(named).open == []
    assert {"standard", "robust"} <= {*re.findall(r">([a-z]+)</text>", named)}
    assert (named.count("fill: var(--one)"), named.count("fill: var(--two)")) == (2, 1)
    assert Page(dots(10.0**x, y, [ONE] * 3, title="score", logarithmic=True)).open == []
    one = dots(x[:1], y[:1], [ONE], title="score", line=Line(ONE, x[:1], y[:1]))
    assert Page(one).open == []
    assert "nan" not in one.replace("dominant", "")
