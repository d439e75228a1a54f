from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from config.settings import Settings
from detector.history import History
from detector.manifest import ScalerSpec
from registry import bundle as bundles
from tests.trainer.examples import CREATED, ID, pump, settings, trained_pump
from trainer import warm
from trainer.autoencoder import Ensemble
from trainer.composition import Learned, Stored, compose
from trainer.finishing import Trained
from trainer.jobs import Job
from trainer.preparation import Windows
from trainer.stack import answers
from trainer.start import begin
from trainer.training import train

SIZES = {"kind": "dense", "epochs": 12, "code": None, "units": (8,), "batch_size": 32, "loss": "mse", "l2": 0}


def wishes(**model: object) -> Settings:
    return settings(report="off", model={**SIZES, **model})


def learned(history: History, config: Settings) -> Learned:
    return compose([Stored(history)], None, replace(config, retrain=replace(config.retrain, min_readings=1)))


def fitted(history: History, config: Settings, champion: warm.Champion | None = None) -> Trained:
    some = learned(history, config)
    job = Job(some.histories, history.machine, ("store",), ID, some, champion=champion)
    return train(job, settings=config, created_at=CREATED)


def written(folder: Path, made: Trained) -> warm.Champion:
    champion = warm.read(bundles.write(folder, made.manifest, made.files))
    assert champion is not None
    return champion


def windows(rows: int = 400) -> Windows:
    scaled = np.random.default_rng(0).normal(size=(rows, 3)).astype(np.float32)
    return Windows(scaled, np.arange(rows - 5, dtype=np.int32), 6)


@pytest.mark.parametrize("kind", ["dense", "convolutional"])
def test_weights_are_read_as_they_were_written(kind: str, tmp_path: Path) -> None:
    model = wishes(kind=kind, units=(4,), ensemble=2).trainer.model
    start = begin(windows(), model, seed=0)
    members, tried = (Ensemble((start.draw(seed), start.draw(seed + 1))) for seed in (0, 2))
    manifest = trained_pump().manifest
    described = replace(manifest, model=members.spec(kind))
    path = bundles.write(tmp_path, described, {**trained_pump().files, warm.FILE: warm.pack(members, tried)})
    champion = warm.read(path)
    assert champion is not None
    for before, after in zip(
        (*members.members, *tried.members),
        (*champion.model.members, *champion.tried.members),
        strict=True,
    ):
        assert after.architecture == before.architecture
        for one, other in zip(before.weights, after.weights, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_bundle_without_weights_or_with_broken_ones_has_none(tmp_path: Path) -> None:
    made = fitted(pump(600), wishes(epochs=1))
    whole = made.files.pop(warm.FILE)
    assert warm.read(bundles.write(tmp_path / "none", made.manifest, made.files)) is None
    for number, content in enumerate((b"", b"PK", whole[:-30])):
        files = {**made.files, warm.FILE: content}
        assert warm.read(bundles.write(tmp_path / str(number), made.manifest, files)) is None


def test_a_dense_model_answers_the_same_after_its_columns_were_scaled_in_another_way() -> None:
    random = np.random.default_rng(1)
    start = begin(windows(), wishes().trainer.model, seed=0)
    member = start.draw(0)
    member = dataclasses.replace(
        member,
        weights=tuple(
            weight + 0.1 * random.normal(size=weight.shape).astype(np.float32) for weight in member.weights
        ),
    )
    before = ScalerSpec("standard", (5.0, 36.0, 0.5), (2.0, 1.5, 0.02))
    after = ScalerSpec("standard", (6.0, 35.0, 0.52), (2.5, 1.0, 0.03))
    (moved,) = warm.rescaled(Ensemble((member,)), before, after)
    values = random.normal(size=(20, 6, 3)) * before.scale + before.offset
    _, old = answers(Ensemble((member,)), ((values - before.offset) / before.scale).astype(np.float32))
    _, new = answers(Ensemble((moved,)), ((values - after.offset) / after.scale).astype(np.float32))
    np.testing.assert_allclose(
        new * after.scale + after.offset, old * before.scale + before.offset, rtol=1e-4
    )


def test_a_retraining_begins_at_the_champion_s_weights_and_is_no_worse_for_it(tmp_path: Path) -> None:
    history = pump(3000)
    first = fitted(history.rows(slice(0, 2500)), wishes())
    champion = written(tmp_path, first)
    assert first.manifest.model.begun == (
        "anew, as the champion is not of a retraining that has kept its weights"
    )
    again, anew = fitted(history, wishes(), champion), fitted(history, wishes(warm_start="off"), champion)
    assert again.manifest.model.begun.startswith(f"at the weights of {ID}, of a validation loss of ")
    assert anew.manifest.model.begun == "anew, as trainer.model.warm_start is off"
    assert again.epochs[0].validation_loss < anew.epochs[0].validation_loss
    assert again.manifest.metrics["validation_loss"] < 1.02 * anew.manifest.metrics["validation_loss"]
    assert again.manifest.model.code == first.manifest.model.code


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"units": (9,)}, f"the size of the layers differs from {ID}'s"),
        ({"kind": "variational"}, f"the kind differs from {ID}'s"),
        ({"code": 2}, f"the size of the code differs from {ID}'s"),
        ({"ensemble": 2}, f"the ensemble differs from {ID}'s"),
        ({"kind": "pca"}, "pca finds its best weights at once"),
    ],
)
def test_what_keeps_fitting_from_beginning_at_the_champion_s_weights_is_said(
    change: dict[str, object], reason: str, tmp_path: Path
) -> None:
    champion = written(tmp_path, fitted(pump(600), wishes(epochs=1)))
    assert (
        fitted(pump(600), wishes(epochs=1, **change), champion).manifest.model.begun == f"anew, as {reason}"
    )


def test_a_training_on_recordings_keeps_no_weights_as_it_has_seen_what_a_retraining_holds_back() -> None:
    assert warm.FILE not in trained_pump().files


def test_fitting_begins_anew_where_the_machine_has_changed_too_much(tmp_path: Path) -> None:
    champion = written(tmp_path, fitted(pump(1500), wishes(epochs=1)))
    other = pump(1500)
    values = other.values.copy()
    values[:, 1] *= -1
    changed = fitted(dataclasses.replace(other, values=values), wishes(epochs=1), champion)
    assert changed.manifest.model.begun.startswith(
        f"anew, as the weights of {ID} are of a validation loss of "
    )
