"""The fitted autoencoder as files for LiteRT, compared with Keras before anyone relies on them."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from trainer.keras_backend import KerasModel, without_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.autoencoder import Autoencoder

TOLERANCE = 1e-4  # of the largest output, at least 1: windows are scaled, and LiteRT is off by 1e-6
MOST_COMPARED = 256


class ExportDiffers(Exception):
    """An exported model does not answer as Keras does; it must not be used."""


def export(autoencoder: Autoencoder) -> dict[str, bytes]:
    """The contents of `model.tflite`, `encoder.tflite`, `decoder.tflite` and `model.keras`."""
    files = {}
    with TemporaryDirectory() as folder, without_noise():
        for name, model in _models(autoencoder).items():
            path = Path(folder) / name
            model.export(str(path), format="litert", verbose=False)
            files[name] = path.read_bytes()
        path = Path(folder) / "model.keras"
        autoencoder.whole.save(str(path))
        files[path.name] = path.read_bytes()
    return files


def compare(autoencoder: Autoencoder, files: dict[str, bytes], windows: NDArray[np.float32]) -> float:
    """Compares the exported models with Keras on real windows, shape (N, T, F).

    Returns:
        The largest difference of any output.

    Raises:
        ExportDiffers: A difference is above `TOLERANCE`, or an output is not finite.
    """
    some = windows[:: -(-len(windows) // MOST_COMPARED)]
    codes = np.asarray(autoencoder.encoder(some, training=False))
    largest = 0.0
    for name, model in _models(autoencoder).items():
        given = codes if name == "decoder.tflite" else some
        expected = np.asarray(model(given, training=False))  # `predict` would compile each once more
        got = run(files[name], given)
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else np.inf
        if not difference <= allowed:
            raise ExportDiffers(
                f"{name}: must answer as Keras does, within {allowed:.2g}, "
                f"got a difference of {difference:.2g}"
            )
        largest = max(largest, difference)
    return largest


def run(content: bytes, given: NDArray[np.float32]) -> NDArray[np.float32]:
    """What an exported model answers to a batch."""
    with without_noise():
        interpreter: Any = Interpreter(model_content=content, num_threads=1)
        index = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(index, given.shape)
        interpreter.allocate_tensors()
    interpreter.set_tensor(index, given)
    interpreter.invoke()
    answer: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return answer


def _models(autoencoder: Autoencoder) -> dict[str, KerasModel]:
    return {
        "model.tflite": autoencoder.whole,
        "encoder.tflite": autoencoder.encoder,
        "decoder.tflite": autoencoder.decoder,
    }
