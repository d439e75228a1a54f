from __future__ import annotations

import msgspec
import numpy as np
import pytest

from cli.tables import print_lines
from cli.thresholds import expected, print_candidates
from config.training import Threshold as Settings
from detector.alerts import AlertPolicy
from detector.manifest import Evidence, Threshold
from trainer.labelled import Labelled, with_labels
from trainer.thresholds import HeldBack, threshold

ERRORS = np.r_[np.linspace(1.0, 2.0, 50), np.linspace(2.0, 1.0, 41)]


def found(settings: Settings) -> tuple[Threshold, Evidence]:
    """Of a minute and a half, a window each second."""
    made = threshold(HeldBack([ERRORS], len(ERRORS) / 86_400, AlertPolicy()), settings)
    assert made.evidence is not None
    return made, made.evidence


def test_how_little_a_short_calibration_shows_is_told() -> None:
    assert expected(*found(Settings(method="calibrated"))) == (
        "0.3 false alerts a day of a machine, extrapolated; the 1.52 min learned from show at least 0 and "
        "at most 2,844 (each at 95 %)"
    )
    assert "extrapolated" not in expected(*found(Settings(method="quantile", q=0.5)))


def test_each_method_has_a_column_and_the_chosen_one_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_candidates(*found(Settings(method="quantile", q=0.9)))
    methods, options, values, _, *lines = capsys.readouterr().out.splitlines()
    assert methods.split() == ["mean_std", "*", "quantile", "pot", "calibrated"]
    assert options.split() == ["k", "q", "false_alarm_rate", "false_alerts_per_day"]
    assert values.split() == ["10", "0.9", "0.0001", "0.3"]
    names = ["threshold", "at least", "at most", "windows above", "alerts a day", "at least", "at most"]
    assert [line[:13].strip() for line in lines] == names
    assert lines[0].split()[2] == "1.9"
    assert len(lines[1].split()) == 2 + 1, "only of a method that is to keep something"


def test_with_labels_it_says_what_each_finds(capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = found(Settings())
    told = with_labels(made, Labelled(np.array([1.0, 99.0]), np.array([False, True])))
    assert told.evidence is not None
    print_candidates(told, told.evidence)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-3:]] == [
        [name, *"1111"] for name in ("precision", "recall", "F1")
    ]
    assert msgspec.json.decode(msgspec.json.encode(told), type=Threshold) == told


def test_the_methods_fit_into_a_terminal_whatever_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    made = threshold(HeldBack([ERRORS * 1.2345e8], 1e-3, AlertPolicy()), Settings())
    told = with_labels(made, Labelled(np.array([1.0, 99.0]), np.array([False, True])))
    assert told.evidence is not None
    print_candidates(told, told.evidence)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_a_long_line_is_broken_between_words_under_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.tables.WIDE", 30)
    print_lines([("serves", "all machines without a bundle"), ("report", "/a/path/that/is/never-broken/up")])
    assert capsys.readouterr().out.splitlines() == [
        "serves      all machines",
        "            without a bundle",
        "report      /a/path/that/is/never-broken/up",
    ]
