"""Fitted autoencoders as files for LiteRT and Keras, compared with what was fitted before they are used.

TensorFlow needs seconds to convert a model. So one model of each architecture is converted, with
weights that cannot be mistaken for anything else, and those of a fitted one are put in their place.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from trainer.autoencoder import Autoencoder, weight_shapes
from trainer.keras_backend import KerasModel, Tensor, load, without_noise
from trainer.stack import answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from trainer.autoencoder import Architecture
    from trainer.preparation import Windows

TOLERANCE = 1e-4  # of the largest output, at least 1: windows are scaled, and LiteRT is off by 1e-6
MOST_COMPARED = 256
MOST_CONVERTED = 64  # architectures that are kept, of some hundred kB each
KERAS, WEIGHTS = "model.keras", "model.weights.h5"  # an archive, and its entry with the weights


class ExportDiffers(Exception):
    """An exported model does not answer as the fitted one does; it must not be used."""


def export(autoencoder: Autoencoder) -> dict[str, bytes]:
    """The contents of `model.tflite`, `encoder.tflite`, `decoder.tflite` and `model.keras`."""
    layers = _layers(autoencoder)
    files = {
        name: converted.with_weights(layers)
        for name, converted in _converted(autoencoder.architecture).items()
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        for name in [name for name in files if not name.endswith(".tflite")]:
            entries.writestr(zipfile.ZipInfo(name), files.pop(name))
    return files | {KERAS: archive.getvalue()}


def compare(autoencoder: Autoencoder, files: Mapping[str, bytes], windows: Windows) -> float:
    """Compares the exported models with the fitted one on some real windows.

    Returns:
        The largest difference of any output.

    Raises:
        ExportDiffers: A difference is above `TOLERANCE`, or an output is not finite.
    """
    some = windows.some(MOST_COMPARED)
    codes, rebuilt = answers(autoencoder, some)
    largest = 0.0
    for name, given, expected in (
        ("encoder.tflite", some, codes),
        ("decoder.tflite", codes, rebuilt),
        ("model.tflite", some, rebuilt),
    ):
        got = run(files[name], given)
        allowed = TOLERANCE * max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(got - expected).max()) if got.shape == expected.shape else np.inf
        if not difference <= allowed:
            raise ExportDiffers(
                f"{name}: must answer as the fitted model does, within {allowed:.2g}, "
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


@dataclass(frozen=True, slots=True)
class _Converted:
    """A file of one model, and where in it each weight lies: its offset, and whether it is transposed."""

    content: bytes
    places: Mapping[str, tuple[int, bool]]

    def with_weights(self, layers: Mapping[str, NDArray[np.float32]]) -> bytes:
        """The file of another model of this architecture."""
        written = bytearray(self.content)
        for name, (at, transposed) in self.places.items():
            value = np.ascontiguousarray(layers[name].T if transposed else layers[name])
            written[at : at + value.nbytes] = value.tobytes()
        return bytes(written)


@lru_cache(MOST_CONVERTED)
def _converted(architecture: Architecture) -> dict[str, _Converted]:
    """The files of a model with weights that occur nowhere else, those of `model.keras` one by one.

    Raises:
        ExportDiffers: A weight is not found: another release of TensorFlow stores it differently.
    """
    random = np.random.default_rng(0)
    shapes = weight_shapes(architecture)
    drawn = Autoencoder(architecture, tuple(random.normal(size=shape).astype(np.float32) for shape in shapes))
    layers = _layers(drawn)
    files = _convert(architecture, layers)
    with zipfile.ZipFile(io.BytesIO(files.pop(KERAS))) as archive:
        files |= {name: archive.read(name) for name in archive.namelist()}
    converted = {name: _Converted(content, _places(content, layers)) for name, content in files.items()}
    for name in ("model.tflite", WEIGHTS):
        lost = sorted(layers.keys() - converted[name].places.keys())
        if lost:
            raise ExportDiffers(
                f"{name}: must hold each weight once, got none or several of {', '.join(lost)}"
            )
    return converted


def _places(content: bytes, layers: Mapping[str, NDArray[np.float32]]) -> dict[str, tuple[int, bool]]:
    found = {}
    for name, value in layers.items():
        for transposed, stored in ((False, value.tobytes()), (True, value.T.tobytes())):
            if content.count(stored) == 1:
                found[name] = content.find(stored), transposed
                break
    return found


def _convert(architecture: Architecture, layers: Mapping[str, NDArray[np.float32]]) -> dict[str, bytes]:
    encoder, decoder, whole = _keras_models(architecture)
    for variable in whole.weights:
        variable.assign(layers[variable.path])
    files = {}
    with TemporaryDirectory() as folder, without_noise():
        for name, model in (("model", whole), ("encoder", encoder), ("decoder", decoder)):
            path = Path(folder) / f"{name}.tflite"
            model.export(str(path), format="litert", verbose=False)
            files[path.name] = path.read_bytes()
        path = Path(folder) / KERAS
        whole.save(str(path))
        files[path.name] = path.read_bytes()
    return files


def _keras_models(architecture: Architecture) -> tuple[KerasModel, KerasModel, KerasModel]:
    """Encoder, decoder, and the decoder after the encoder."""
    keras, _ = load()
    keras.utils.clear_session()
    layers, it = keras.layers, architecture
    cells = it.length * it.width

    def half(name: str, given: Tensor, units: Sequence[int], last: str, size: int) -> Tensor:
        hidden = given
        for number, count in enumerate(units, start=1):
            hidden = layers.Dense(count, it.activation, name=f"{name}_{number}")(hidden)
        straight = layers.Dense(size, name=f"{name}_linear")(given)
        return layers.Add()([straight, layers.Dense(size, use_bias=False, name=f"{name}_{last}")(hidden)])

    given = keras.Input((it.length, it.width), name="window")
    code = half("encoder", layers.Flatten()(given), it.units, "code", it.code)
    encoder = keras.Model(given, code, name="encoder")
    given_code = keras.Input((it.code,), name="code")
    rebuilt = half("decoder", given_code, it.units[::-1], "output", cells)
    decoder = keras.Model(given_code, layers.Reshape((it.length, it.width))(rebuilt), name="decoder")
    return encoder, decoder, keras.Model(given, decoder(encoder(given)), name="autoencoder")


def _layers(autoencoder: Autoencoder) -> dict[str, NDArray[np.float32]]:
    """The weights by the names that they have in Keras."""
    code, weights = autoencoder.architecture.code, autoencoder.weights
    added = 2 * len(autoencoder.architecture.units)  # place of `encoder_code/kernel`
    found = {
        "encoder_linear/kernel": weights[0][:, :code],
        "encoder_linear/bias": weights[1][0, :code],
        "encoder_1/kernel": weights[0][:, code:],
        "encoder_1/bias": weights[1][0, code:],
        "encoder_code/kernel": weights[added],
        "decoder_linear/kernel": weights[-2][:code],
        "decoder_linear/bias": weights[-1][0],
        "decoder_output/kernel": weights[-2][code:],
    }
    encoder, decoder = weights[2:added], weights[added + 1 : -2]
    for half, first, pairs in (("encoder", 2, encoder), ("decoder", 1, decoder)):
        for number, (kernel, bias) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), start=first):
            found |= {f"{half}_{number}/kernel": kernel, f"{half}_{number}/bias": bias[0]}
    return found
