from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from detector.alerts import AlertPolicy
from detector.history import History
from detector.manifest import Manifest
from registry.bundle import load, read, write
from tests.trainer.examples import (
    CREATED,
    ID,
    SECOND,
    START,
    pump,
    settings,
    trained,
    trained_pump,
    with_values,
)
from trainer.calibration import replay_rows
from trainer.finishing import Trained, fingerprint
from trainer.jobs import Job
from trainer.problems import Unusable
from trainer.stages import Stage
from trainer.training import train


@pytest.fixture(scope="module")
def bundle() -> Trained:
    return trained_pump()


def test_the_manifest_describes_what_was_learned_from(bundle: Trained) -> None:
    manifest = bundle.manifest
    assert (manifest.id, manifest.machine, manifest.created_at) == (ID, "pump-1", "2026-01-05T08:00:00.000Z")
    assert manifest.sensors == ("flow", "pressure", "current")
    history = manifest.history
    assert (history.source, history.machines, history.rows) == (("pump.csv",), ("pump-1",), 300)
    assert (history.start, history.end) == ("2026-01-04T09:30:00.000Z", "2026-01-04T09:34:59.000Z")
    assert history.fit_windows == 210 - 6 + 1
    assert history.sha256 == fingerprint([pump(300)])
    assert manifest.model.code == 4
    assert set(manifest.libraries) == {"ai-edge-litert", "keras", "numpy", "scikit-learn", "tensorflow"}


def test_the_threshold_is_that_of_the_held_back_rows_as_the_daemon_scores_them(bundle: Trained) -> None:
    held_back = pump(300).rows(slice(210, None))
    np.testing.assert_array_equal(bundle.parts.calibration[0].values, held_back.values)
    errors = replay_rows(bundle.detector, [held_back], AlertPolicy()).errors
    found = bundle.manifest.threshold
    assert found.windows == len(errors) == 90 - 6 + 1
    assert found.mean == pytest.approx(errors.mean())
    assert found.std == pytest.approx(errors.std())
    fixed = trained(
        pump(300), machine="pump-1", wishes=settings(threshold={"method": "mean_std", "k": 7})
    ).manifest.threshold
    assert fixed.value == pytest.approx(found.mean + 7 * found.std)
    assert found.above == float((errors > found.value).mean())
    assert bundle.manifest.metrics["held_back_error_max"] == pytest.approx(errors.max())
    assert bundle.manifest.metrics["held_back_alerts"] == 0


def test_a_long_history_s_threshold_knows_nothing_of_the_rows_for_the_gate() -> None:
    history = pump(1100)
    made = trained(history)
    values = history.values.copy()
    values[990:] *= 100
    other = trained(with_values(history, values))
    assert other.files["model.tflite"] == made.files["model.tflite"]
    assert other.manifest.threshold == made.manifest.threshold
    assert made.manifest.threshold.windows == 220 - 6 + 1
    metrics = other.manifest.metrics
    assert (metrics["gate_windows"], metrics["gate_above"]) == (110 - 6 + 1, 1.0)
    assert metrics["held_back_windows"] == 215 + 105
    assert metrics["held_back_above"] == pytest.approx(105 / 320)
    assert metrics["held_back_alerts"] == 1
    assert made.manifest.metrics["gate_above"] == 0


def test_all_that_takes_time_is_said(bundle: Trained) -> None:
    told: list[Stage] = []
    wishes = settings()
    train(Job([pump(300)], None, (), ID), settings=wishes, created_at=CREATED, progress=told.append)
    best = round(bundle.manifest.metrics["best_epoch"])
    assert [stage.text.split(",")[0] for stage in told] == [
        "looking at the history",
        "loading TensorFlow",
        "compiling",
        *(f"epoch {number}/3" for number in range(1, 4)),
        *["again with the validation rows"] * best,
        "exporting",
        "calibrating",
        "drawing the report",
    ]
    assert [stage.done for stage in told[3:6]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert {stage.done for stage in (*told[:3], *told[-3:])} == {None}, "nobody knows how long they take"


def test_a_bundle_that_was_written_is_the_detector_that_was_calibrated(
    bundle: Trained, tmp_path: Path
) -> None:
    assert sorted(bundle.files) == [
        "decoder.tflite",
        "encoder.tflite",
        "learned.npz",
        "model.keras",
        "model.tflite",
        "report.html",
    ]
    write(tmp_path, bundle.manifest, bundle.files)
    detector = load(read(tmp_path / ID))
    again = replay_rows(detector, bundle.parts.gate, AlertPolicy())
    before = replay_rows(bundle.detector, bundle.parts.gate, AlertPolicy())
    assert again.scored == before.scored


def test_a_fault_is_found_and_a_normal_day_is_quiet(bundle: Trained) -> None:
    normal = pump(200, seed=0, start=START + 10_000_000)
    assert replay_rows(bundle.detector, [normal], AlertPolicy()).above == 0
    values = normal.values.copy()
    values[100:, 1] += 15
    replayed = replay_rows(bundle.detector, [with_values(normal, values)], AlertPolicy())
    assert replayed.opened == 1
    assert all(scored.anomaly == (scored.at >= normal.at[100]) for scored in replayed.scored)


def test_a_fault_in_the_history_that_nobody_has_labelled_does_not_hide_the_next_one() -> None:
    history = pump(300)
    values = history.values.copy()
    values[60:75, 1] += 15
    detector = trained(with_values(history, values), machine="pump-1").detector
    normal = pump(200, seed=0, start=START + 10_000_000)
    assert replay_rows(detector, [normal], AlertPolicy()).above == 0
    values = normal.values.copy()
    values[100:, 1] += 15
    assert replay_rows(detector, [with_values(normal, values)], AlertPolicy()).opened == 1


def comparable(manifest: Manifest) -> Manifest:
    """Without the time it took, and without what labels show."""
    metrics = {
        name: value
        for name, value in manifest.metrics.items()
        if name != "seconds" and not name.startswith("labelled_")
    }
    threshold = msgspec.structs.replace(manifest.threshold, evidence=None)
    return msgspec.structs.replace(manifest, metrics=metrics, threshold=threshold)


@pytest.mark.parametrize("kind", ["pca", "dense"])
def test_a_lone_sensor_that_creeps_to_a_level_never_seen_is_found(kind: str) -> None:
    random, time = np.random.default_rng(0), np.arange(1400)
    level = np.sin(time / 40) + np.clip((time - 1000) / 40, 0, 8)  # no faster than it always moved
    values = (20 + level + 0.05 * random.normal(size=1400))[:, None]
    history = History("oven-1", ("temperature",), START + SECOND * time, values, None)
    made = trained(history.rows(slice(0, 800)), wishes=settings(window=5, model={"kind": kind, "epochs": 5}))
    said = replay_rows(made.detector, [history], AlertPolicy())
    score = np.array([scored.score for scored in said.scored])
    assert score[:990].max() < 1
    assert (score[-60:] > 1).all()
    assert said.opened == 1


def test_the_same_seed_and_history_give_the_same_bundle(bundle: Trained) -> None:
    again = trained(pump(300), machine="pump-1")
    assert comparable(again.manifest) == comparable(bundle.manifest)
    for name in ("model.tflite", "encoder.tflite", "decoder.tflite"):
        assert again.files[name] == bundle.files[name]
    other = trained(pump(300), machine="pump-1", wishes=settings(seed=1))
    assert other.files["model.tflite"] != bundle.files["model.tflite"]


def test_rows_labelled_anomalous_teach_nothing(bundle: Trained) -> None:
    clean = pump(300)
    labelled = pump(330, label=True)
    assert labelled.label is not None
    values = np.vstack([clean.values[:100], np.full((30, 3), 1e6), clean.values[100:]])
    at = np.concatenate([clean.at[:100], clean.at[99] + 1 + np.arange(30), clean.at[100:]])
    label = np.concatenate([np.zeros(100), np.ones(30), np.zeros(200)]).astype(np.int8)
    found = trained(History("pump-1", clean.sensors, at, values, label), machine="pump-1")
    assert comparable(found.manifest) == comparable(bundle.manifest)


def test_machines_without_a_bundle_of_their_own_share_one_of_all_their_windows() -> None:
    found = trained(pump(200), pump(200, seed=1, machine="pump-2"))
    assert found.manifest.machine is None
    assert found.manifest.history.machines == ("pump-1", "pump-2")
    assert found.manifest.history.fit_windows == 2 * (140 - 6 + 1)
    assert found.manifest.threshold.windows == 2 * (60 - 6 + 1)
    assert [len(history) for history in found.parts.calibration] == [60, 60]


@pytest.mark.parametrize("error", ["rmse", "mae"])
def test_every_kind_of_error_and_imputation_makes_a_bundle(error: str) -> None:
    values = pump(300).values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    wishes = settings(error=error, imputation="mean", scaling="robust", stride=2)
    found = trained(with_values(pump(300), values), wishes=wishes)
    assert found.manifest.error.kind == error
    assert found.manifest.threshold.above == 0
    assert found.manifest.threshold.windows == pytest.approx(43, abs=1)


def test_a_history_that_cannot_carry_a_model_is_refused_with_all_reasons() -> None:
    with pytest.raises(Unusable) as caught:
        trained(with_values(pump(), np.full((300, 3), np.nan)))
    assert caught.value.problems == ("history: must hold values, got empty cells alone",)


def test_the_fingerprint_changes_with_every_value_time_and_name() -> None:
    history = pump(50)
    values = history.values.copy()
    values[49, 2] += 1e-9
    others = [
        with_values(history, values),
        pump(50, start=START + 1),
        pump(50, machine="pump-2"),
        pump(49),
        History("pump-1", ("flow", "current", "pressure"), history.at, history.values),
    ]
    prints = {fingerprint([other]) for other in [history, *others]}
    assert len(prints) == 6
    assert fingerprint([pump(50)]) in prints


def test_a_code_that_holds_the_whole_window_is_refused() -> None:
    with pytest.raises(
        Unusable, match=r"^trainer.model.code: must be smaller than a window, which has 18 num"
    ):
        trained(pump(300), wishes=settings(model={"code": 18}))
