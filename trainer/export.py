"""Fitted models as files for LiteRT and Keras, compared with what was fitted before they are used.

TensorFlow needs seconds to convert a model. So one model of each architecture is converted, with
weights that cannot be mistaken for anything else, and those of a fitted one are put in their place.
Where the converter keeps weights in another form, each model is converted by itself.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from detector.litert import LiteRT
from trainer.autoencoder import Architecture, Ensemble
from trainer.keras_backend import Compiled, KerasModel, building, load, without_noise
from trainer.matrices import by_layer
from trainer.models import KINDS
from trainer.models.halves import halves
from trainer.stack import answers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from trainer.preparation import Windows

TOLERANCE = 1e-4  # of the largest output, at least 1: windows are scaled, and LiteRT is off by 1e-6
MOST_COMPARED = 256
MOST_CONVERTED = 64  # architectures that are kept, of some hundred kB each
KERAS, WEIGHTS = "model.keras", "model.weights.h5"  # an archive, and its entry with the weights

Layers: TypeAlias = "Mapping[str, NDArray[np.float32]]"  # weights by their paths in Keras


class ExportDiffers(Exception):
    """An exported model does not answer as the fitted one does; it must not be used."""


def export(ensemble: Ensemble) -> dict[str, bytes]:
    """The contents of `model.tflite`, `encoder.tflite`, `decoder.tflite` and `model.keras`."""
    layers = _layers(ensemble)
    converted = _converted(ensemble.architecture, len(ensemble.members))
    if converted is None:
        files = _convert(ensemble.architecture, len(ensemble.members), layers)
    else:
        files = {name: one.with_weights(layers) for name, one in converted.items()}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as entries:
        for name in [name for name in files if not name.endswith(".tflite")]:
            entries.writestr(zipfile.ZipInfo(name), files.pop(name))
    return files | {KERAS: archive.getvalue()}


def compare(ensemble: Ensemble, files: Mapping[str, bytes], windows: Windows) -> float:
    """Compares the exported models with the fitted one on some real windows.

    Returns:
        The largest difference of any output.

    Raises:
        ExportDiffers: A difference is above `TOLERANCE`, or an output is not finite.
    """
    some = windows.some(MOST_COMPARED)
    codes, rebuilt = answers(ensemble, some)
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
        return LiteRT(content).run(given)


@dataclass(frozen=True, slots=True)
class _Converted:
    """A file of one model, and where in it each weight lies: its offset, and whether it is transposed."""

    content: bytes
    places: Mapping[str, tuple[int, bool]]

    def with_weights(self, layers: Layers) -> bytes:
        """The file of another model of this architecture."""
        written = bytearray(self.content)
        for name, (at, transposed) in self.places.items():
            value = np.ascontiguousarray(layers[name].T if transposed else layers[name])
            written[at : at + value.nbytes] = value.tobytes()
        return bytes(written)


@lru_cache(MOST_CONVERTED)
def _converted(it: Architecture, members: int) -> dict[str, _Converted] | None:
    """The files of a model with weights that occur nowhere else, those of `model.keras` one by one.

    None where one of these weights is not found in them as it is, and once.
    """
    random = np.random.default_rng(0)
    with building:
        variables = _keras_models(it, members)["model"].trainable_variables
    layers = {one.path: random.normal(size=one.shape).astype(np.float32) for one in variables}
    converted = {
        name: _Converted(content, _places(content, layers))
        for name, content in _convert(it, members, layers).items()
    }
    found = all(converted[name].places.keys() == layers.keys() for name in ("model.tflite", WEIGHTS))
    return converted if found else None


def _places(content: bytes, layers: Layers) -> dict[str, tuple[int, bool]]:
    found = {}
    for name, value in layers.items():
        for transposed, stored in ((False, value.tobytes()), (True, value.T.tobytes())):
            if content.count(stored) == 1:
                found[name] = content.find(stored), transposed
                break
    return found


def _convert(it: Architecture, members: int, layers: Layers) -> dict[str, bytes]:
    """The files, those of `model.keras` one by one."""
    batch = 1 if KINDS[it.kind].one_by_one else None
    with building, without_noise(), TemporaryDirectory() as folder:
        models = _keras_models(it, members)
        for variable in models["model"].trainable_variables:
            variable.assign(layers[variable.path])
        files = {f"{name}.tflite": _tflite(model, batch) for name, model in models.items()}
        path = Path(folder) / KERAS
        models["model"].save(str(path))
        with zipfile.ZipFile(path) as archive:
            return files | {name: archive.read(name) for name in archive.namelist()}


def _tflite(model: KerasModel, batch: int | None) -> bytes:
    """A Keras model, its weights as constants, for LiteRT."""
    _, tf = load()
    weights, states = (
        [tf.constant(variable.numpy()) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    )
    answering: Compiled = tf.function(
        lambda given: model.stateless_call(weights, states, given)[0],
        input_signature=[tf.TensorSpec((batch, *model.input_shape[1:]))],
        autograph=False,
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([answering.get_concrete_function()])
    content: bytes = converter.convert()
    return content


def _keras_models(it: Architecture, members: int) -> dict[str, KerasModel]:
    """The encoder, the decoder, and as `model` the decoder after the encoder.

    The code of an ensemble are those of its members, one beside the other.
    """
    keras, _ = load()
    layers = keras.layers
    each = [halves(it, prefix=prefix) for prefix in _prefixes(members)]
    encoder, decoder = each[0].encoder, each[0].decoder
    window = keras.Input((it.length, it.width), name="window")
    if members > 1:
        codes = layers.Concatenate(name="codes")([half.encoder(window) for half in each])
        encoder = keras.Model(window, codes, name="encoder")
        code = keras.Input((members * it.code,), name="code")
        of_each = layers.Reshape((members, it.code), name="members")(code)
        rebuilt = [half.decoder(of_each[:, number]) for number, half in enumerate(each)]
        decoder = keras.Model(code, layers.Average(name="mean")(rebuilt), name="decoder")
    whole = keras.Model(window, decoder(encoder(window)), name="autoencoder")
    return {"model": whole, "encoder": encoder, "decoder": decoder}


def _prefixes(members: int) -> list[str]:
    """Of the names of the layers of each member."""
    return [f"member_{number}_" for number in range(1, members + 1)] if members > 1 else [""]


def _layers(ensemble: Ensemble) -> dict[str, NDArray[np.float32]]:
    """The weights of all members by their paths in Keras."""
    found: dict[str, NDArray[np.float32]] = {}
    for prefix, member in zip(_prefixes(len(ensemble.members)), ensemble.members, strict=True):
        it = member.architecture
        names = by_layer(member) if it.kind == "dense" else dict(zip(_paths(it), member.weights, strict=True))
        found |= {f"{prefix}{path}": weight for path, weight in names.items()}
    return found


@lru_cache(MOST_CONVERTED)
def _paths(it: Architecture) -> list[str]:
    """Of the weights of an autoencoder that has them as Keras does."""
    with building:
        return [variable.path for variable in halves(it).variables]
