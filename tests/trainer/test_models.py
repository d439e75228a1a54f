"""What holds for every kind of autoencoder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from config.training import Model
from detector.alerts import AlertPolicy
from detector.litert import LiteRT, LiteRTModel
from registry.bundle import load as load_bundle
from registry.bundle import read, write
from tests.trainer.examples import CREATED, ID, START, TINY, pump, settings, trained, with_values
from tests.trainer.test_fitting import LENGTH, WIDTH, apart, copies, swings
from trainer.autoencoder import Autoencoder, Ensemble
from trainer.calibration import replay_rows
from trainer.export import compare, export
from trainer.finishing import Trained
from trainer.fitting import best_epoch, fit
from trainer.jobs import Job
from trainer.keras_backend import load
from trainer.models import KINDS
from trainer.preparation import Windows
from trainer.problems import Unusable
from trainer.stack import answers
from trainer.start import begin, initial
from trainer.training import train_each

every_kind = pytest.mark.parametrize("kind", KINDS)
every_fitted_kind = pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if not kind.linear])
# one network for two tests: compiling it is what takes time
CIRCLE: dict[str, Any] = {
    "code": 1,
    "units": (16,),
    "noise": 0.01,
    "dropout": 0.05,
    "l2": 1e-6,
    "learning_rate": 0.01,
}


def wishes(kind: str, **others: Any) -> Model:  # noqa: ANN401 - options of any type
    small: dict[str, Any] = {
        "kind": kind,
        "loss": "mse",
        "l2": 0,
        "code": 2,
        "units": (8,),
        "epochs": 2,
        "batch_size": 32,
    }
    checked = settings(model={**small, **others})
    return checked.trainer.model


@cache
def bundle(kind: str) -> Trained:
    model = {**TINY["model"], "kind": kind}
    return trained(pump(300), machine="pump-1", wishes=settings(model=model))


def fitted(windows: Windows, model: Model, *, seed: int = 0) -> Autoencoder:
    start = initial(windows, model, seed=seed)
    ((found, _),) = fit([start], [windows], [windows], model, seeds=[seed], progress=lambda _: None)
    return found


def rebuilt(autoencoder: Autoencoder, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    return answers(Ensemble((autoencoder,)), windows)[1]


def shaken(autoencoder: Autoencoder, seed: int) -> Autoencoder:
    """The same with no weight at zero."""
    random = np.random.default_rng(seed)
    weights = (weight + random.normal(scale=0.1, size=weight.shape) for weight in autoencoder.weights)
    return Autoencoder(autoencoder.architecture, tuple(weight.astype(np.float32) for weight in weights))


def test_every_kind_can_be_asked_for() -> None:
    assert [settings(model={"kind": kind}).trainer.model.kind for kind in KINDS] == list(KINDS)


@every_kind
def test_each_starts_at_the_principal_components(kind: str) -> None:
    windows = swings(200)
    flat = copies(windows).reshape(200, -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, _, components = np.linalg.svd(flat - mean, full_matrices=False)
    expected = mean + (flat - mean) @ components[:2].T @ components[:2]
    found = rebuilt(initial(windows, wishes(kind), seed=0), copies(windows))
    np.testing.assert_allclose(found.reshape(200, -1), expected, atol=2e-4)


@every_kind
def test_a_bundle_answers_as_it_was_fitted_whatever_the_batch(kind: str) -> None:
    made = bundle(kind)
    assert made.manifest.metrics["export_difference"] < 1e-4
    assert (made.manifest.model.kind, made.manifest.model.code) == (kind, 4)
    model = LiteRTModel(made.files["model.tflite"], length=6, width=3)
    windows = np.random.default_rng(0).normal(size=(40, 6, 3)).astype(np.float32)
    together = model.reconstruct(windows)
    for count in (1, 7, 1):
        np.testing.assert_allclose(model.reconstruct(windows[:count]), together[:count], atol=1e-5)
    codes = LiteRT(made.files["encoder.tflite"]).run(windows)
    assert codes.shape == (40, 4)
    np.testing.assert_allclose(LiteRT(made.files["decoder.tflite"]).run(codes), together, atol=1e-4)


@every_kind
def test_the_keras_file_answers_the_same_without_code_of_ours(kind: str, tmp_path: Path) -> None:
    keras, _ = load()
    path = tmp_path / "model.keras"
    path.write_bytes(bundle(kind).files["model.keras"])
    windows = np.random.default_rng(0).normal(size=(9, 6, 3)).astype(np.float32)
    expected = LiteRT(bundle(kind).files["model.tflite"]).run(windows)
    np.testing.assert_allclose(np.asarray(keras.saving.load_model(str(path))(windows)), expected, atol=1e-4)


@every_kind
def test_the_daemon_s_detector_finds_a_fault_and_is_quiet_on_a_normal_day(kind: str, tmp_path: Path) -> None:
    made = bundle(kind)
    write(tmp_path, made.manifest, made.files)
    detector = load_bundle(read(tmp_path / ID))
    normal = pump(200, seed=0, start=START + 10_000_000)
    assert replay_rows(detector, [normal], AlertPolicy()).above == 0
    values = normal.values.copy()
    values[100:, 1] += 15
    assert replay_rows(detector, [with_values(normal, values)], AlertPolicy()).opened == 1


def circle() -> Windows:
    """Windows of two sensors on a circle, which has one dimension but no direction."""
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, size=(200, 1, 1))
    around = np.concatenate([np.cos(angle), np.sin(angle)], axis=2)
    return apart(around.repeat(4, axis=1).astype(np.float32))


@every_fitted_kind
def test_each_learns_what_a_linear_code_cannot(kind: str) -> None:
    model = wishes(kind, **CIRCLE, epochs=60, patience=60)
    start = initial(circle(), model, seed=0)
    ((_, epochs),) = fit([start], [circle()], [circle()], model, seeds=[0], progress=lambda _: None)
    assert best_epoch(epochs).validation_loss < 0.8 * epochs[0].validation_loss


@every_fitted_kind
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(kind: str) -> None:
    """Also where noise is drawn, and what is dropped out."""
    model = wishes(kind, **CIRCLE)
    first, second, third = (fitted(circle(), model, seed=seed).weights for seed in (7, 7, 8))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, other) for one, other in zip(first, third, strict=True))


def test_principal_components_are_not_fitted_further() -> None:
    windows = swings(100)
    start = initial(windows, wishes("pca"), seed=0)
    ((model, epochs),) = fit([start], [windows], [windows], wishes("pca"), seeds=[0], progress=lambda _: None)
    assert model is start
    assert len(epochs) == 1


@every_kind
def test_short_windows_of_one_sensor_and_several_layers_are_exported(kind: str) -> None:
    windows = apart(np.random.default_rng(0).normal(size=(30, 3, 1)).astype(np.float32))
    units = (5, 3) if kind != "pca" else None
    model = wishes(kind, code=1, units=units)
    ensemble = Ensemble((shaken(initial(windows, model, seed=0), 1),))
    assert compare(ensemble, export(ensemble), windows) < 1e-4


@pytest.mark.parametrize("kind", ["dense", "convolutional", "lstm"])
def test_an_ensemble_is_one_file_that_answers_the_mean_of_its_members(kind: str, tmp_path: Path) -> None:
    windows = swings(60)
    members = tuple(shaken(initial(windows, wishes(kind), seed=seed), seed) for seed in (1, 2, 3))
    ensemble = Ensemble(members)
    files = export(ensemble)
    assert compare(ensemble, files, windows) < 1e-4
    given = copies(windows)
    mean = np.mean([rebuilt(member, given) for member in members], axis=0)
    np.testing.assert_allclose(LiteRT(files["model.tflite"]).run(given), mean, atol=1e-4)
    keras, _ = load()
    path = tmp_path / "model.keras"
    path.write_bytes(files["model.keras"])
    np.testing.assert_allclose(np.asarray(keras.saving.load_model(str(path))(given)), mean, atol=1e-4)


def test_an_ensemble_is_trained_and_described() -> None:
    made = trained(pump(300), wishes=settings(model={**TINY["model"], "ensemble": 2}))
    spec = made.manifest.model
    assert (spec.ensemble, spec.code) == (2, 4)
    assert spec.parameters == 2 * bundle("dense").manifest.model.parameters
    assert made.epochs[-1].epoch == len(made.epochs) - 1
    assert LiteRT(made.files["encoder.tflite"]).run(np.zeros((1, 6, 3), np.float32)).shape == (1, 8)


@pytest.mark.parametrize("kind", ["dense", "gru"])
def test_binary_sensors_are_reconstructed_as_probabilities(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    on = random.random((300, 1, 1)) < 0.5
    load_ = np.where(on, 1.5, -0.5) + 0.1 * random.normal(size=(300, LENGTH, 1))
    windows = apart(np.concatenate([load_, on.repeat(LENGTH, axis=1)], axis=2).astype(np.float32))
    model = wishes(kind, code=1, epochs=20, learning_rate=0.01)
    start = begin(windows, model, seed=0, binary=(1,)).draw(0)
    ((found, epochs),) = fit([start], [windows], [windows], model, seeds=[0], progress=lambda _: None)
    assert best_epoch(epochs).validation_loss < epochs[0].validation_loss / 2
    ensemble = Ensemble((found,))
    answer = rebuilt(found, copies(windows))
    assert 0 <= answer[:, :, 1].min() < 0.1
    assert 0.9 < answer[:, :, 1].max() <= 1
    assert answer[:, :, 0].max() > 1
    files = export(ensemble)
    assert compare(ensemble, files, windows) < 1e-4
    keras, _ = load()
    path = tmp_path / "model.keras"
    path.write_bytes(files["model.keras"])
    loaded = keras.saving.load_model(str(path))
    np.testing.assert_allclose(np.asarray(loaded(copies(windows))), answer, atol=1e-4)


def test_principal_components_of_rare_events_are_no_probabilities() -> None:
    on = (np.random.default_rng(0).random((300, LENGTH, 2)) < 0.02).astype(np.float32)
    found = begin(apart(on), wishes("pca", code=2 * LENGTH), seed=0, binary=(0, 1)).draw(0)
    np.testing.assert_allclose(rebuilt(found, on), on, atol=1e-4)


@every_kind
def test_sizes_follow_the_data_unless_they_are_given(kind: str) -> None:
    noise = apart(np.random.default_rng(0).normal(size=(300, LENGTH, WIDTH)).astype(np.float32))
    found = begin(noise, Model(kind=wishes(kind).kind), seed=0).architecture
    assert 1 <= found.code <= LENGTH * WIDTH
    assert found.activation == KINDS[kind].activation
    assert found.units == KINDS[kind].units(found.code, WIDTH)
    given = begin(noise, wishes(kind, code=3, units=(6, 5), activation="elu"), seed=0).architecture
    assert given.code == 3
    if kind != "pca":
        assert (given.units, given.activation) == ((6, 5), "elu")


def test_a_fleet_of_another_kind_is_trained_machine_by_machine() -> None:
    wish = settings(model={**TINY["model"], "kind": "pca"})
    jobs = [Job((pump(300, seed=seed),), f"pump-{seed}", (), ID) for seed in (0, 1)]
    made = dict(train_each(jobs, settings=wish, created_at=CREATED))
    for seed, job in enumerate(jobs):
        own = trained(pump(300, seed=seed), machine=job.machine, wishes=wish)
        one = made[job]
        assert isinstance(one, Trained)
        assert one.files["model.tflite"] == own.files["model.tflite"]


def test_a_fit_that_runs_away_stops_and_names_the_sensor() -> None:
    history = pump(300)
    values = history.values.copy()
    values[100:103, 2] = 1e4
    wild = {**TINY["model"], "optimizer": "sgd", "learning_rate": 1.0, "epochs": 50}
    with pytest.raises(Unusable, match=r"^history: must keep the loss finite, got .*; current exploded"):
        trained(with_values(history, values), wishes=settings(model=wild, scaling="robust"))
