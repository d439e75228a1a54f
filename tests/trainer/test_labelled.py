from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detector.history import ANOMALOUS
from tests.trainer.examples import pump, trained, with_values
from trainer.finishing import Trained
from trainer.labelled import Labelled


@pytest.fixture(scope="module")
def made() -> Trained:
    """Of a pump whose current fails twice: before the rows that are held back, and among them."""
    history = pump(600, label=True)
    assert history.label is not None
    values, label = history.values.copy(), history.label.copy()
    for fault in (slice(100, 130), slice(500, 540)):
        values[fault, 2] += 1.0
        label[fault] = ANOMALOUS
    return trained(replace(with_values(history, values), label=label))


def test_with_labels_each_candidate_says_what_it_finds(made: Trained) -> None:
    evidence, rows = made.manifest.threshold.evidence, made.labelled
    assert evidence is not None
    assert rows is not None
    for each in evidence.candidates:
        found = rows.at(each.value)
        assert (each.precision, each.recall, each.f1) == (found.precision, found.recall, found.f1)
        assert found.recall > 0.9
    assert evidence.of(made.manifest.threshold.method).f1 is not None


def test_normal_rows_from_which_anything_was_learned_do_not_count() -> None:
    history = pump(1200, label=True)
    assert history.label is not None
    history.label[1000:1040] = ANOMALOUS
    made = trained(history)
    assert made.parts.gate_apart
    assert made.labelled is not None
    assert int((~made.labelled.anomalous).sum()) == len(made.parts.gate[0]) == round(1160 * 0.3 / 3)


def test_where_no_rows_are_kept_for_the_gate_those_of_the_threshold_count(made: Trained) -> None:
    assert made.labelled is not None
    assert not made.parts.gate_apart
    held_back = 530 - round(530 * 0.7)
    assert int(made.labelled.anomalous.sum()) == 70
    assert int((~made.labelled.anomalous).sum()) == held_back


def test_without_labelled_anomalies_nothing_is_said_of_them() -> None:
    for history in (pump(300), pump(300, label=True)):
        found = trained(history)
        assert found.labelled is None
        evidence = found.manifest.threshold.evidence
        assert evidence is not None
        assert {(each.precision, each.recall, each.f1) for each in evidence.candidates} == {
            (None, None, None)
        }


def test_the_curve_goes_from_all_alarmed_to_none() -> None:
    rows = Labelled(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
    first, *_, last = rows.curve(points=50)
    assert (first.recall, first.precision, first.false_alarm_rate) == (1.0, 2 / 3, 0.5)
    assert (last.recall, last.precision, last.f1) == (0.0, None, 0.0)
    best = max(rows.curve(points=50), key=lambda each: each.f1)
    assert (best.precision, best.recall, best.f1, best.false_alarm_rate) == (1.0, 1.0, 1.0, 0.0)
    assert 2 <= best.threshold < 3
