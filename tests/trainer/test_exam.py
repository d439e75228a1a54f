from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from detector.manifest import ErrorSpec, ScalerSpec, WindowSpec
from detector.scoring import Autoencoder, Detector
from tests.detector.examples import manifest
from tests.trainer.examples import START, pump, with_values
from trainer import evaluation
from trainer.calibration import replay_rows
from trainer.exam import EACH, Exam, Marks, _said, exam
from trainer.faults import KINDS, Kind
from trainer.parts import split
from trainer.problems import Unusable

LONGEST = 20


def examined(*histories: History, seed: int = 0) -> Exam:
    return exam(histories, calibration_share=0.3, longest=LONGEST, smoothing=0.8, stride=1, seed=seed)


class Flow:
    """Knows that the flow follows the current, and reconstructs both from their mean."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        rebuilt = windows.copy()
        rebuilt[:, :, [0, 2]] = windows[:, :, [0, 2]].mean(axis=2, keepdims=True)
        return rebuilt


class Mean:
    """Always answers the mean."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.zeros_like(windows)


class Nothing:
    """Finds every window as it should be."""

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return windows.copy()


def detector(
    history: History, model: Autoencoder, *, length: int = 4, stride: int = 1, smoothing: float = 0.0
) -> Detector:
    values = history.values
    made = manifest(
        sensors=history.sensors, window=WindowSpec(length, stride), error=ErrorSpec("mse", smoothing)
    )
    scaler = ScalerSpec("standard", tuple(values.mean(axis=0)), tuple(values.std(axis=0)))
    return Detector(msgspec.structs.replace(made, scaler=scaler), model)


@pytest.mark.parametrize(("smoothing", "stride"), [(0.0, 1), (0.8, 1), (0.95, 1), (0.95, 3)])
def test_what_was_before_the_context_is_forgotten_where_rows_count(smoothing: float, stride: int) -> None:
    history = pump(1500)
    made = exam([history], calibration_share=0.3, longest=LONGEST, smoothing=smoothing, stride=stride, seed=0)
    case = made.faulty[Kind.SPIKE][-1]
    assert case.label is not None
    context = int((case.label == UNKNOWN).sum())
    wild = case.values.copy()
    wild[:stride] += 100  # in the first window alone, with whose error the average begins
    one = detector(history, Mean(), length=LONGEST, stride=stride, smoothing=smoothing)
    calm, shaken = (
        {scored.at: scored.error for scored in replay_rows(one, [rows], AlertPolicy()).scored}
        for rows in (case, with_values(case, wild))
    )
    counts = [at for at in calm if at >= case.at[context]]
    assert len(counts) > 50 // stride
    began, left = (max(shaken[at] - calm[at] for at in some) for some in (calm, counts))
    assert began > 10
    assert left <= 0.01 * began
    assert smoothing == 0 or left > 0.005 * began, "the context is no longer than it must be"


def test_the_rows_that_training_would_hold_back_have_no_part_in_it() -> None:
    history = pump(400)
    held_back = history.at >= split([history], 0.3).calibration[0].at[0]
    poisoned = with_values(history, np.where(held_back[:, None], 1e90, history.values))
    one, other = examined(history), examined(poisoned)
    assert one.deviations == other.deviations
    for rows, same in zip(
        [*one.fitted_on, *one.normal, *(case for some in one.faulty.values() for case in some)],
        [*other.fitted_on, *other.normal, *(case for some in other.faulty.values() for case in some)],
        strict=True,
    ):
        np.testing.assert_array_equal(rows.values, same.values)
        assert not np.isin(rows.at, history.at[held_back]).any()


def test_every_case_is_rows_that_do_not_count_then_normal_ones_then_a_fault_in_rows_never_fitted_on() -> None:
    history = pump(400)
    made = examined(history)
    assert len(history) == 400
    assert len(made.fitted_on[0]) == 280
    assert len(made.normal[0]) == 84
    for kind, cases in made.faulty.items():
        assert len(cases) == EACH * len(KINDS[kind].strengths)
        for case in cases:
            assert case.label is not None
            order = [UNKNOWN, NORMAL, ANOMALOUS]
            steps = [order.index(label) for label in case.label.tolist()]
            assert steps == sorted(steps)
            assert steps.count(0) == LONGEST + 21
            assert steps.count(1) >= steps.count(2) > 0
            counted = case.at[case.label != UNKNOWN]
            assert (counted >= made.normal[0].at[0]).all(), "none of them was fitted on"
            assert (counted <= made.normal[0].at[-1]).all()


def test_rows_of_unknown_state_count_neither_way_among_the_normal_ones() -> None:
    history = pump(400, label=True)
    unknown = np.zeros(400, np.int8)
    unknown[::2] = UNKNOWN
    made = examined(dataclasses.replace(history, label=unknown))
    for case in made.faulty[Kind.DRIFT]:
        assert case.label is not None
        normal = case.label == NORMAL
        assert ((case.at[normal] - START) // 1000 % 2 == 1).all()


def test_who_knows_the_machine_finds_the_faults_and_who_knows_nothing_finds_them_by_chance() -> None:
    history = pump(600)
    made = examined(history)
    knows, means, nothing = (made.judge(detector(history, model)) for model in (Flow(), Mean(), Nothing()))
    assert knows.faults.keys() == {str(kind) for kind in Kind}
    assert knows.detection > means.detection > nothing.detection
    assert nothing.detection == pytest.approx(nothing.random), "all scores are the same"
    assert knows.faults["level_shift"] > 0.6
    assert means.unexplained == pytest.approx(1, abs=0.1)
    assert nothing.unexplained == 0
    assert 0 < knows.unexplained < 0.1
    assert knows.labelled is None
    assert made.judge(detector(history, Flow())) == knows, "the same again"


@pytest.mark.parametrize("other", [{"length": 1}, {"length": LONGEST}, {"length": LONGEST, "stride": 3}])
def test_every_row_that_counts_has_a_score_whatever_the_window(other: dict[str, int]) -> None:
    history = pump(400)
    made = examined(history)
    some = detector(history, Flow(), **other)
    cases = [case for some in made.faulty.values() for case in some]
    said = _said(some, cases)
    for case in cases:
        laid = evaluation.rows(
            case, said[case.machine], grid=some.manifest.grid, stride=some.manifest.window.stride
        )
        assert not np.isnan(laid.score[laid.label != UNKNOWN]).any()


def test_small_errors_are_ranked_without_rounding() -> None:
    history = pump(600)
    made = examined(history)
    plain = detector(history, Flow())
    spec = plain.manifest.scaler
    scaler = msgspec.structs.replace(spec, scale=tuple(scale * 1024 for scale in spec.scale))
    tiny = Detector(msgspec.structs.replace(plain.manifest, scaler=scaler), Flow())
    assert made.judge(tiny).detection == pytest.approx(made.judge(plain).detection, abs=1e-3)


def labelled(rows: int, anomalous: range, *, seed: int = 0) -> History:
    """A pump whose flow is off in some rows, which are labelled."""
    history = pump(rows, seed=seed, label=True)
    values = history.values.copy()
    values[anomalous, 0] += 6
    assert history.label is not None
    label = history.label.copy()
    label[anomalous] = ANOMALOUS
    return History(history.machine, history.sensors, history.at, values, label)


@pytest.mark.parametrize("anomalous", [range(20, 60), range(250, 300), range(520, 600)])
def test_real_faults_count_wherever_they_are_and_no_row_that_training_would_hold_back(
    anomalous: range,
) -> None:
    history = labelled(600, anomalous)
    normal = np.setdiff1d(np.arange(600), anomalous)
    held_back = normal[len(normal) - round(len(normal) * 0.3) :]
    values = history.values.copy()
    values[held_back] = 1e90
    made, poisoned = examined(history), examined(with_values(history, values))
    (found,), (same,) = made.labelled, poisoned.labelled
    np.testing.assert_array_equal(found.values, same.values)
    assert found.label is not None
    assert (found.label == ANOMALOUS).sum() == len(anomalous)
    assert (found.label == NORMAL).sum() == len(made.normal[0])
    assert (np.diff(found.at) == 1000).all(), "no hole is left by what was taken out"
    marks = made.judge(detector(pump(600), Flow()))
    assert marks.labelled is not None
    assert marks.labelled > 0.9
    assert marks == poisoned.judge(detector(pump(600), Flow()))


def test_real_faults_count_half() -> None:
    faults = {"drift": 0.4, "spike": 0.6}
    without = Marks(faults=faults, random=0.3, labelled=None, unexplained=0.0)
    assert without.detection == without.score == pytest.approx(0.5)
    assert dataclasses.replace(without, labelled=0.9).score == pytest.approx(0.7)
    assert dataclasses.replace(without, unexplained=1.0).score < without.score


def test_many_machines_share_the_faults_among_those_with_the_most_rows() -> None:
    histories = [pump(300 + 10 * i, machine=f"pump-{i}", seed=i) for i in range(EACH + 2)]
    cases = [case for some in examined(*histories).faulty.values() for case in some]
    assert len({case.machine for case in cases}) == len(cases)
    assert {case.machine.partition(" ")[0] for case in cases} == {f"pump-{i}" for i in range(2, EACH + 2)}
    assert len(cases) == EACH * sum(len(does.strengths) for does in KINDS.values())


def test_a_sensor_that_is_no_plain_measurement_has_no_fault() -> None:
    made = exam(
        [pump(300)],
        calibration_share=0.3,
        longest=LONGEST,
        smoothing=0.8,
        stride=1,
        seed=0,
        channels=("flow",),
    )
    assert made.deviations.keys() == {"pressure", "current"}
    history = made.normal[0]
    for case in made.faulty[Kind.LEVEL_SHIFT]:
        place = np.searchsorted(history.at, case.at[-1])
        assert case.values[-1, 0] == history.values[place, 0]


def test_a_sensor_that_never_changes_has_no_fault() -> None:
    history = pump(300)
    values = history.values.copy()
    values[:, 1] = 40.0
    made = examined(with_values(history, values))
    assert made.deviations.keys() == {"flow", "current"}
    with pytest.raises(Unusable, match=r"^history: must hold a plain sensor whose value changes"):
        examined(with_values(history, np.ones_like(values)))
