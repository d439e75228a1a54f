from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import msgspec
import numpy as np
import pytest

from detector.alerts import AlertPolicy
from tests.trainer.examples import trained_pump
from trainer.calibration import replay_rows
from trainer.charts import Line, chart
from trainer.report import report


class Page(HTMLParser):
    """Which tags a page has, whether they are balanced, and what it refers to."""

    EMPTY = ("meta", "line")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.outside: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.outside += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.EMPTY:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> Page:
    """The report of a bundle whose names are out to break the page."""
    made = trained_pump()
    names = ("<script>", "pressure & co", "current")
    manifest = msgspec.structs.replace(
        made.manifest,
        sensors=names,
        history=msgspec.structs.replace(made.manifest.history, source=("pump<1>.csv",)),
    )
    facts = tuple(replace(f, sensor=n) for f, n in zip(made.verdict.sensors, names, strict=True))
    verdict = replace(made.verdict, sensors=facts, warnings=("sensor <b>: is odd",))
    replays = [replay_rows(made.detector, made.parts.calibration, AlertPolicy())]
    return Page(report(manifest, verdict, made.epochs, replays, AlertPolicy()))


def test_a_bundle_comes_with_its_report() -> None:
    assert trained_pump().files["report.html"].startswith(b"<!doctype html>")


def test_the_report_is_one_page_without_scripts_or_anything_from_outside(page: Page) -> None:
    assert page.open == []
    assert page.outside == []
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2
    assert page.tags.count("table") == 2


def test_the_report_says_what_was_learned_from_and_what_the_threshold_means(page: Page) -> None:
    for text in (
        "A model of normal behaviour for pump-1, fitted 2026-01-05T08:00:00.000Z on pump<1>.csv",
        "<script>",
        "pressure & co",
        "sensor <b>: is odd",
        "mean_std (k 10)",
        "calibrated (false_alerts_per_day 0.3)",
        "threshold",
        "In all 1.42 min of held-back normal time",
        "The history is too short to set windows aside for the gate",
        "validation windows",
    ):
        assert text in page.text


def test_the_report_tells_the_rows_for_the_gate_from_those_for_the_threshold() -> None:
    made = trained_pump()
    (rows,) = made.parts.calibration
    replays = [
        replay_rows(made.detector, [part], AlertPolicy())
        for part in (rows.rows(slice(0, 60)), rows.rows(slice(60, None)))
    ]
    page = Page(report(made.manifest, made.verdict, made.epochs, replays, AlertPolicy()))
    assert (
        "The threshold was learned from the first 55 windows; the gate judged by the 25 after them, 0.00% of "
        "which are above it." in page.text
    )
    assert "In all 1.33 min of held-back normal time" in page.text
    assert "threshold learned fromfor the gate alone" in page.text


def test_the_report_says_that_a_model_which_no_epoch_improved_on_is_a_pca() -> None:
    made = trained_pump()
    replays = [replay_rows(made.detector, made.parts.calibration, AlertPolicy())]
    start = replace(made.epochs[0], validation_loss=0.0)
    for epochs, said in ((made.epochs, False), ((start, *made.epochs[1:]), True)):
        page = Page(report(made.manifest, made.verdict, epochs, replays, AlertPolicy()))
        assert ("principal component analysis (PCA)" in page.text) is said


def test_a_chart_of_a_single_point_or_of_zeros_can_be_drawn() -> None:
    for x, y in (([1.0], [2.0]), ([1.0, 2.0], [0.0, 0.0]), ([1.0, 2.0], [1e-9, 1e9])):
        drawn = chart(
            [Line("l", "one", np.array(x), np.array(y))], x_label=str, y_title="y", limit=("limit", 1.0)
        )
        assert "nan" not in drawn
        assert Page(drawn).open == []


def test_a_long_line_is_drawn_with_few_points_and_keeps_its_peak() -> None:
    y = np.random.default_rng(0).uniform(0.5, 1, 100_000)
    y[77_777] = 1.9
    drawn = chart([Line("l", "one", np.arange(100_000.0), y)], x_label=str, y_title="y", limit=None)
    points = drawn.split('points="')[1].split('"')[0].split()
    assert len(points) < 1300
    heights = [float(point.split(",")[1]) for point in points]
    assert min(heights) < 40 < sorted(heights)[1]
