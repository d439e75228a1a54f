from __future__ import annotations

import numpy as np
import pytest

from config.training import Model
from detector.litert import LiteRTModel
from tests.trainer.test_fitting import LENGTH, WIDTH, swings
from trainer.autoencoder import Autoencoder, build
from trainer.export import ExportDiffers, compare, export, run

WINDOWS = swings(300)


@pytest.fixture(scope="module")
def exported() -> tuple[Autoencoder, dict[str, bytes]]:
    model = build(WINDOWS, Model(code=2, units=(8,)), seed=0)
    return model, export(model)


def test_the_files_answer_as_keras_does(exported: tuple[Autoencoder, dict[str, bytes]]) -> None:
    model, files = exported
    assert sorted(files) == ["decoder.tflite", "encoder.tflite", "model.keras", "model.tflite"]
    assert compare(model, files, WINDOWS) < 1e-5
    rebuilt = LiteRTModel(files["model.tflite"], length=LENGTH, width=WIDTH).reconstruct(WINDOWS)
    in_two_steps = run(files["decoder.tflite"], run(files["encoder.tflite"], WINDOWS))
    np.testing.assert_allclose(in_two_steps, rebuilt, atol=1e-5)


def test_a_file_whose_weights_were_changed_is_refused(
    exported: tuple[Autoencoder, dict[str, bytes]],
) -> None:
    model, files = exported
    kernel = next(w for w in model.decoder.weights if w.path.endswith("decoder_linear/kernel")).numpy()
    stored = kernel.T.tobytes() if kernel.T.tobytes() in files["model.tflite"] else kernel.tobytes()
    assert files["model.tflite"].count(stored) == 1
    broken = files["model.tflite"].replace(stored, np.zeros_like(kernel).tobytes())
    with pytest.raises(ExportDiffers) as caught:
        compare(model, files | {"model.tflite": broken}, WINDOWS)
    message = str(caught.value)
    assert message.startswith("model.tflite: must answer as Keras does, within 0.0001")
    assert "got a difference of" in message


def test_the_file_of_another_model_is_refused(exported: tuple[Autoencoder, dict[str, bytes]]) -> None:
    model, files = exported
    other = build(swings(300, 5), Model(code=2, units=(8,)), seed=1)
    with pytest.raises(ExportDiffers, match=r"^encoder\.tflite: must answer as Keras does"):
        compare(model, files | {"encoder.tflite": export(other)["encoder.tflite"]}, WINDOWS)
