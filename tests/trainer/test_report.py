from __future__ import annotations

from dataclasses import replace
from functools import cache

import msgspec
import numpy as np
import pytest

from detector.alerts import AlertPolicy
from detector.history import History
from tests.trainer.examples import pump, settings, trained, trained_pump
from tests.trainer.pages import Page
from trainer.calibration import replay_rows
from trainer.examination import Examined, examine
from trainer.finishing import Trained
from trainer.preparation import Preparation
from trainer.report import Contents, report

SECTIONS = [
    "Score over time", "What the threshold means", "Fitting", "Beside simpler methods",
    "Actual against expected", "What the model listens to", "The code", "The history",
]  # fmt: skip
BRIEF = [*SECTIONS[:3], SECTIONS[-1]]


def labelled() -> History:
    """A pump whose current is far off for forty rows near the end, and then comes back."""
    history = pump(400, label=True)
    assert history.label is not None
    history.values[330:370, 2] += 0.5
    history.label[330:370] = 1
    return history


@cache
def made_of_labelled() -> Trained:
    return trained(labelled(), machine="pump-1")


def contents(made: Trained) -> Contents:
    replays = [replay_rows(made.detector, made.parts.calibration, AlertPolicy())]
    return Contents(made.manifest, made.verdict, made.epochs, replays, AlertPolicy(), (), None, None, ())


def examined(made: Trained) -> Examined:
    preparation = Preparation(made.manifest.grid, made.manifest.window, made.detector._inputs)
    return examine(
        made.detector,
        made.files["encoder.tflite"],
        parts=made.parts,
        windows=preparation.windows(made.parts.not_held_back),
        replays=contents(made).replays,
        watched=(),
        alerts=AlertPolicy(),
        wishes=settings().trainer,
    )


def test_the_report_of_a_bundle_is_one_page_without_scripts_or_anything_from_outside() -> None:
    for made in (trained_pump(), made_of_labelled()):
        text = made.files["report.html"].decode()
        page = Page(text)
        assert text.startswith("<!doctype html>")
        assert page.open == []
        assert page.outside == set()
        assert not {"script", "link", "iframe", "metadata"} & {*page.tags}
        assert page.headings == SECTIONS
        curve = made is not trained_pump()
        assert page.tags.count("svg") == 1 + 1 + curve + 1 + 3 + 1
        assert len(text) < 1_500_000


def test_the_colours_of_the_charts_follow_the_page_into_the_dark() -> None:
    text = trained_pump().files["report.html"].decode()
    drawn = text[text.index("<svg") :]
    assert "var(--one)" in drawn
    for colour in ("#2563a8", "#d97706", "#b42318", "#64748b"):
        assert colour not in drawn


@pytest.mark.parametrize(("wish", "expected"), [("brief", BRIEF), ("auto", SECTIONS), ("off", None)])
def test_the_settings_say_how_much_is_drawn(wish: str, expected: list[str] | None) -> None:
    made = trained(pump(300), wishes=settings(report=wish))
    drawn = made.files.get("report.html")
    assert (drawn and Page(drawn.decode()).headings) == expected
    assert ("error_to_pca" in made.manifest.metrics) is (wish == "auto")


def test_names_cannot_break_the_page() -> None:
    made = trained_pump()
    names = ("<script>", "pressure & co", "$current_{")
    manifest = msgspec.structs.replace(
        made.manifest,
        sensors=names,
        history=msgspec.structs.replace(made.manifest.history, source=("pump<1>.csv",)),
    )
    facts = tuple(replace(f, sensor=n) for f, n in zip(made.verdict.sensors, names, strict=True))
    verdict = replace(made.verdict, sensors=facts, warnings=("sensor <b>: is odd",))
    found = examined(made)
    errors = tuple(replace(one, sensor=name) for one, name in zip(found.errors, names, strict=True))
    shown = replace(contents(made), manifest=manifest, verdict=verdict)
    page = Page(report(replace(shown, examined=replace(found, errors=errors))))
    assert "script" not in page.tags
    assert page.open == []
    for text in ("<script>", "pressure & co", "$current_{", "sensor <b>: is odd", "on pump<1>.csv"):
        assert text in page.text


def test_the_report_says_what_was_learned_from_and_what_the_threshold_means() -> None:
    page = Page(trained_pump().files["report.html"].decode())
    for text in (
        "A model of normal behaviour for pump-1, fitted 2026-01-05T08:00:00.000Z on pump.csv",
        "In all 1.42 min of held-back normal time",
        "The history is too short to set windows aside for the gate",
        "validation windows",
    ):
        assert text in page.text
    methods = [row[0] for row in page.rows if "(" in row[0]]
    assert methods[:2] == ["mean_std (k 10)", "quantile (q 0.999)"]
    assert "calibrated (false_alerts_per_day 0.3)" in methods


def test_the_report_tells_the_rows_for_the_gate_from_those_for_the_threshold() -> None:
    made = trained_pump()
    (rows,) = made.parts.calibration
    replays = [
        replay_rows(made.detector, [part], AlertPolicy())
        for part in (rows.rows(slice(0, 60)), rows.rows(slice(60, None)))
    ]
    page = Page(report(replace(contents(made), replays=replays)))
    assert (
        "The threshold was learned from the first 55 held-back windows; the gate judged by the 25 after "
        "them, 0.00% of which are above it." in page.text
    )
    assert "In all 1.33 min of held-back normal time" in page.text
    assert "threshold learned from" in page.text


def test_the_report_says_that_a_model_which_no_epoch_improved_on_is_a_pca() -> None:
    made = trained_pump()
    start = replace(made.epochs[0], validation_loss=0.0)
    for epochs, said in ((made.epochs, False), ((start, *made.epochs[1:]), True)):
        page = Page(report(replace(contents(made), epochs=epochs)))
        assert ("principal component analysis (PCA)" in page.text) is said


def test_the_report_of_a_pca_shows_no_epochs() -> None:
    made = trained(pump(300), wishes=settings(model={"kind": "pca"}, report="brief"))
    page = Page(made.files["report.html"].decode())
    assert "found in one step, without epochs" in page.text
    assert "Loss by epoch" not in page.text


def test_a_labelled_history_is_replayed_whole_and_shows_what_each_method_is_worth() -> None:
    page = Page(made_of_labelled().files["report.html"].decode())
    at = next(i for i, row in enumerate(page.rows) if "VUS-PR" in row)
    heading, *rows = page.rows[at : at + 4]
    assert heading[4:] == ["F1", "FAR", "MAR", "AUC-PR", "VUS-PR", "ROC-AUC"]
    assert [row[0] for row in rows] == ["this detector", "PCA", "isolation forest"]
    assert all(float(row[9]) > 0.9 for row in rows[:2]), rows
    assert "over 40 rows labelled anomalous" in page.text
    assert "precision" in page.text


def test_a_history_with_one_kind_of_label_is_compared_without_labels() -> None:
    made = trained(pump(300, label=True))
    page = Page(made.files["report.html"].decode())
    assert not any("AUC-PR" in row for row in page.rows)
    assert "All of it is normal" in page.text


def test_a_fleet_gets_brief_reports_and_a_few_machines_full_ones() -> None:
    found = examined(trained_pump())
    assert found.odd is None
    assert len(found.codes) == len(found.seen)
    assert np.isfinite(found.codes).all()
    assert found.stretch.actual.shape == found.stretch.expected.shape == (len(found.stretch.at), 3)
    assert len(found.stretch.at) > 40
    assert [one.sensor for one in found.errors] == ["flow", "pressure", "current"]


def test_the_largest_error_is_shown_where_its_slot_is_after_the_newest_row() -> None:
    made = trained_pump()
    (rows,) = made.parts.calibration
    at, values = rows.at.copy(), rows.values.copy()
    at[-1] -= 300  # late rows have been the usual ones: this one is early
    values[-1] += 5.0
    odd = replace(made.parts, calibration=(replace(rows, at=at, values=values),))
    if not made.parts.gate_apart:
        odd = replace(odd, gate=odd.calibration)
    stretch = examined(replace(made, parts=odd)).stretch
    assert stretch.at[-1] > at[-1]
