from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from config.training import Model
from detector.litert import LiteRTModel
from tests.trainer.examples import dense
from tests.trainer.test_fitting import LENGTH, WIDTH, copies, swings
from trainer.autoencoder import Autoencoder, Ensemble
from trainer.export import ExportDiffers, compare, export, run
from trainer.keras_backend import load
from trainer.stack import answers
from trainer.start import initial

WINDOWS = swings(300)


def shaken(settings: Model, seed: int) -> Ensemble:
    """An autoencoder no weight of which is zero."""
    start = initial(WINDOWS, settings, seed=0)
    random = np.random.default_rng(seed)
    weights = (
        weight + random.normal(scale=0.1, size=weight.shape).astype(np.float32) for weight in start.weights
    )
    return Ensemble((Autoencoder(start.architecture, tuple(weights)),))


@pytest.fixture(scope="module")
def exported() -> tuple[Ensemble, dict[str, bytes]]:
    model = shaken(dense(code=2, units=(8,)), 1)
    return model, export(model)


def test_the_files_answer_as_the_fitted_model_does(exported: tuple[Ensemble, dict[str, bytes]]) -> None:
    model, files = exported
    assert sorted(files) == ["decoder.tflite", "encoder.tflite", "model.keras", "model.tflite"]
    assert compare(model, files, WINDOWS) < 1e-5
    rebuilt = LiteRTModel(files["model.tflite"], length=LENGTH, width=WIDTH).reconstruct(copies(WINDOWS))
    in_two_steps = run(files["decoder.tflite"], run(files["encoder.tflite"], copies(WINDOWS)))
    np.testing.assert_allclose(in_two_steps, rebuilt, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [dense(code=2, units=(8,)), dense(code=1, units=(1,)), dense(code=3, units=(7, 6), activation="selu")],
)
def test_each_model_of_an_architecture_gets_files_of_its_own(settings: Model, tmp_path: Path) -> None:
    keras, _ = load()
    for seed in (2, 3):
        model = shaken(settings, seed)
        files = export(model)
        assert compare(model, files, WINDOWS) < 1e-4
        path = tmp_path / f"{seed}.keras"
        path.write_bytes(files["model.keras"])
        loaded = keras.saving.load_model(str(path))
        assert loaded.count_params() == model.spec("dense").parameters
        np.testing.assert_allclose(
            np.asarray(loaded(copies(WINDOWS))), answers(model, copies(WINDOWS))[1], atol=1e-4
        )


def test_a_file_whose_weights_were_changed_is_refused(
    exported: tuple[Ensemble, dict[str, bytes]],
) -> None:
    model, files = exported
    kernel = model.members[0].weights[-2][: model.architecture.code]
    stored = kernel.T.tobytes() if kernel.T.tobytes() in files["model.tflite"] else kernel.tobytes()
    assert files["model.tflite"].count(stored) == 1
    broken = files["model.tflite"].replace(stored, np.zeros_like(kernel).tobytes())
    with pytest.raises(ExportDiffers) as caught:
        compare(model, files | {"model.tflite": broken}, WINDOWS)
    message = str(caught.value)
    assert message.startswith("model.tflite: must answer as the fitted model does, within 0.0001")
    assert "got a difference of" in message


def test_the_file_of_another_model_is_refused(exported: tuple[Ensemble, dict[str, bytes]]) -> None:
    model, files = exported
    other = export(shaken(dense(code=2, units=(8,)), 4))
    with pytest.raises(ExportDiffers, match=r"^encoder\.tflite: must answer as the fitted model does"):
        compare(model, files | {"encoder.tflite": other["encoder.tflite"]}, WINDOWS)
