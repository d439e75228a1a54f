from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from config.training import Threshold as ThresholdSettings
from detector.alerts import AlertPolicy
from detector.events import Scored
from detector.history import ANOMALOUS, NORMAL, UNKNOWN, History
from detector.litert import LiteRTModel
from detector.scoring import Detector
from tests import plant
from trainer.calibration import replay_rows
from trainer.comparison import compare
from trainer.inspection import Inspected, inspect
from trainer.labelled import watch
from trainer.parts import Parts, split
from trainer.rivals import Forest, Linear

FAULT = range(500, 540)
ALERTS = AlertPolicy()


def detector(threshold: float = 1.0) -> Detector:
    model = LiteRTModel(plant.model(), length=plant.LENGTH, width=3)
    return Detector(plant.manifest("one", None, threshold), model)


def labelled(rows: int = 600) -> History:
    history = plant.history(rows, faults=[FAULT])
    label = np.full(rows, NORMAL, np.int8)
    label[FAULT.start : FAULT.stop] = ANOMALOUS
    return replace(history, label=label)


def parts_of(history: History) -> Parts:
    return split([history.normal()], 0.3)


class Newest:
    """As odd as the newest pressure is far from the mean; a slow oracle can say the same."""

    name = "newest"

    def errors(self, seen: Inspected) -> NDArray[np.float64]:
        return np.abs(seen.windows[:, -1, 1]).astype(np.float64)


def test_windows_are_those_that_the_daemon_scores_with_the_same_errors() -> None:
    history = plant.history(300)
    values = history.values.copy()
    values[50:53, 1] = np.nan  # imputed
    values[100:102] = np.nan
    keep = np.ones(300, bool)
    keep[150:160] = False  # a hole that no window bridges
    history = History("press", history.sensors, history.at, values).rows(keep)
    manifest = plant.manifest("one", None, 1.0)
    unsmoothed = Detector(
        type(manifest)(
            **{name: getattr(manifest, name) for name in manifest.__struct_fields__ if name != "error"},
            error=type(manifest.error)("mse", 0.0),
        ),
        detector().model,
    )
    seen = inspect(unsmoothed, [history], most=10_000)
    assert seen is not None
    scored = replay_rows(unsmoothed, [history], ALERTS).scored
    assert seen.at.tolist() == [one.at for one in scored]
    assert seen.error == pytest.approx([one.error for one in scored], rel=1e-4)
    assert seen.fresh.tolist().count(True) == 2
    assert not np.isnan(seen.windows).any()
    assert (~seen.there).sum() > 0


def test_of_many_windows_some_are_looked_at_spread_evenly() -> None:
    history = plant.history(1003)
    seen = inspect(detector(), [history, history], most=100)
    assert seen is not None
    assert len(seen) == 100
    assert {*np.diff(seen.at[seen.history == 0]).tolist()} == {20_000}
    assert inspect(detector(), [plant.history(2)], most=5) is None


def test_a_whole_history_is_watched_and_the_rows_that_were_fitted_on_do_not_count() -> None:
    history = labelled()
    parts = parts_of(history)
    (watched,) = watch(detector(), [history], parts, ALERTS)
    fitted = len(parts.not_held_back[0])
    assert watched.history.label is not None
    assert watched.history.label.tolist() == [
        *[UNKNOWN] * fitted, *[NORMAL] * (500 - fitted), *[ANOMALOUS] * 40, *[NORMAL] * 60
    ]  # fmt: skip
    assert len([event for event in watched.events if isinstance(event, Scored)]) == 597
    assert len(watched.anomalous) == 40
    assert watched.fitted_until == parts.not_held_back[0].at[-1]


@pytest.mark.parametrize("labels", ["none", "normal"])
def test_without_anomalies_nothing_is_watched(labels: str) -> None:
    history = plant.history(600)
    if labels == "normal":
        history = replace(history, label=np.zeros(600, np.int8))
    assert watch(detector(), [history], parts_of(history), ALERTS) == ()


def test_a_rival_is_measured_as_a_slow_oracle_measures_it() -> None:
    history, wishes = labelled(), ThresholdSettings(method="mean_std", k=4)
    parts, one = parts_of(history), detector()
    fitted = inspect(one, parts.not_held_back, most=10_000)
    assert fitted is not None
    replays = [replay_rows(one, parts.calibration, ALERTS)]
    watched = watch(one, [history], parts, ALERTS)
    own, found = compare(one, [Newest()], fitted, parts, replays, watched, wishes, ALERTS)

    def smoothed(rows: History) -> NDArray[np.float64]:
        pressure = np.abs(one.scale(rows.values)[:, 1].astype(np.float64))
        averages: list[float] = []
        for i in range(plant.LENGTH - 1, len(rows)):
            if not averages or rows.at[i] - rows.at[i - plant.LENGTH + 1] > 4000:
                before = pressure[i]
            averages.append(0.5 * before + 0.5 * pressure[i])
            before = averages[-1]
        return np.array(averages)

    (held_back,) = parts.calibration
    # The cut-out fault leaves a hole in the held-back rows, behind which windows begin anew.
    after = int(np.flatnonzero(np.diff(held_back.at) > 1000)[0]) + 1
    errors = np.concatenate(
        [smoothed(held_back.rows(slice(0, after))), smoothed(held_back.rows(slice(after, None)))]
    )
    limit = errors.mean() + 4 * errors.std()
    assert found.name == "newest"
    assert found.above == pytest.approx((errors > limit).mean())
    score = np.concatenate([np.full(plant.LENGTH - 1, -1.0), smoothed(history) / limit])
    label = watched[0].history.label
    assert label is not None
    known = label != UNKNOWN
    truth, alarmed = label[known] == ANOMALOUS, score[known] > 1
    evaluation = found.evaluation
    assert evaluation is not None
    assert evaluation.f1 == pytest.approx(2 * (truth & alarmed).sum() / (truth.sum() + alarmed.sum()))
    assert evaluation.far == pytest.approx(100 * (alarmed & ~truth).sum() / (~truth).sum())
    assert evaluation.mar == pytest.approx(100 * (~alarmed & truth).sum() / truth.sum())
    assert evaluation.auc_pr == pytest.approx(average_precision_score(truth, score[known]), abs=1e-3)
    assert evaluation.roc_auc == pytest.approx(roc_auc_score(truth, score[known]), abs=1e-3)
    assert own.above == replays[0].above
    assert own.evaluation is not None
    assert own.evaluation.rows == evaluation.rows


def test_a_rival_that_finds_all_windows_alike_has_no_figures() -> None:
    class Alike(Newest):
        def errors(self, seen: Inspected) -> NDArray[np.float64]:
            return np.ones(len(seen))

    history = plant.history(600)
    parts, one = parts_of(history), detector()
    fitted = inspect(one, parts.not_held_back, most=100)
    assert fitted is not None
    replays = [replay_rows(one, parts.calibration, ALERTS)]
    figures = compare(one, [Alike()], fitted, parts, replays, (), ThresholdSettings(), ALERTS)
    assert [figure.name for figure in figures] == ["this detector"]
    assert figures[0].evaluation is None


def test_pca_and_forest_find_what_breaks_the_correlation() -> None:
    random = np.random.default_rng(0)
    load = random.normal(size=(500, 4, 1))
    windows = (load * [1, 2, -1] + 0.01 * random.normal(size=(500, 4, 3))).astype(np.float32)
    odd = windows[:50].copy()
    odd[:, :, 1] *= -1

    def seen(some: NDArray[np.float32]) -> Inspected:
        number = np.zeros(len(some), np.int64)
        there = np.ones(some.shape, bool)
        return Inspected(number, number, number == 0, some, there, some, np.zeros(len(some)))

    linear = Linear(windows, 4, seed=0)
    assert linear.rebuild(windows) == pytest.approx(windows, abs=0.1)
    assert linear.errors(seen(odd)).min() > linear.errors(seen(windows)).max()
    forest = Forest(windows, seed=0)
    assert forest.errors(seen(odd * 3)).mean() > forest.errors(seen(windows)).mean()
