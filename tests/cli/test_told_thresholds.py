from __future__ import annotations

import msgspec
import numpy as np
import pytest

from cli.train import expected, print_candidates
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


def test_each_method_has_a_line_and_the_chosen_one_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    print_candidates(*found(Settings(method="quantile", q=0.9)))
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "method",
        "threshold",
        "low",
        "high",
        "above",
        "alerts/day",
        "at",
        "least",
        "at",
        "most",
    ]
    assert [line.split()[0] for line in lines] == ["mean_std", "*", "pot", "calibrated"]
    assert lines[1].split()[:5] == ["*", "quantile", "(q", "0.9)", "1.9"]


def test_with_labels_it_says_what_each_finds(capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = found(Settings())
    told = with_labels(made, Labelled(np.array([1.0, 99.0]), np.array([False, True])))
    assert told.evidence is not None
    print_candidates(told, told.evidence)
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["precision", "recall", "F1"]
    assert {tuple(line.split()[-3:]) for line in lines} == {("1", "1", "1")}
    assert msgspec.json.decode(msgspec.json.encode(told), type=Threshold) == told
