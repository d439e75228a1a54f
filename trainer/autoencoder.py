"""The autoencoder in Keras: an encoder and a decoder of dense layers around a bottleneck.

Beside the dense layers both have a linear path. It starts as the principal components of the
fit windows and the dense layers start at zero, so that fitting begins at the best linear
reconstruction and can only improve on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA

from detector.manifest import ModelSpec
from trainer.keras_backend import KerasModel, Tensor, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config.training import Model as ModelSettings

EXPLAINED = 0.9  # share of the windows' variance that the code keeps; noise is in the rest
LARGEST_CODE = 64
MOST_WINDOWS = 5000  # principal components of more windows are the same, and take minutes
LEAST_UNITS, MOST_UNITS = 16, 128


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """Three Keras models that share their weights: `whole` is `decoder` after `encoder`."""

    encoder: KerasModel
    decoder: KerasModel
    whole: KerasModel
    spec: ModelSpec


def build(windows: NDArray[np.float32], settings: ModelSettings, *, seed: int) -> Autoencoder:
    """Builds an autoencoder for scaled windows of shape (N, T, F).

    Where the settings leave them open, the code is as wide as the principal components that hold
    `EXPLAINED` of the windows' variance (at most `LARGEST_CODE` and a quarter of T * F), and there
    is one hidden layer of two units per element of the code (`LEAST_UNITS` to `MOST_UNITS`).
    """
    keras, _ = load()
    keras.utils.clear_session()  # layers are numbered anew, so that the files are reproducible too
    keras.utils.set_random_seed(seed)
    length, width = windows.shape[1:]
    mean, components = _principal(windows, settings.code, seed)
    code = len(components)
    units = settings.units
    if units is None:
        units = (int(np.clip(2 * code, LEAST_UNITS, MOST_UNITS)),)

    layers = keras.layers
    given = keras.Input((length, width), name="window")
    flat = layers.Flatten()(given)
    short = layers.Dense(code, name="encoder_linear")
    hidden = _hidden(flat, units, settings.activation)
    bend = layers.Dense(code, kernel_initializer="zeros", name="encoder_code")
    encoder = keras.Model(given, layers.Add(name="code")([short(flat), bend(hidden)]), name="encoder")

    given_code = keras.Input((code,), name="code")
    back = layers.Dense(length * width, name="decoder_linear")
    hidden = _hidden(given_code, units[::-1], settings.activation)
    unbend = layers.Dense(length * width, kernel_initializer="zeros", name="decoder_output")
    rebuilt = layers.Add()([back(given_code), unbend(hidden)])
    decoder = keras.Model(given_code, layers.Reshape((length, width))(rebuilt), name="decoder")

    short.set_weights([components.T, -components @ mean])
    back.set_weights([components, mean])
    whole = keras.Model(given, decoder(encoder(given)), name="autoencoder")
    spec = ModelSpec(settings.kind, units, code, settings.activation, int(whole.count_params()))
    return Autoencoder(encoder, decoder, whole, spec)


def _hidden(given: Tensor, units: tuple[int, ...], activation: str) -> Tensor:
    keras, _ = load()
    for count in units:
        given = keras.layers.Dense(count, activation=activation)(given)
    return given


def _principal(
    windows: NDArray[np.float32], code: int | None, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean, shape (T * F,), and principal components, shape (code, T * F), of the flat windows."""
    flat = windows.reshape(len(windows), -1)
    flat = flat[:: -(-len(flat) // MOST_WINDOWS)]
    most = min(len(flat) - 1, flat.shape[1])
    wanted = max(1, min(code or min(LARGEST_CODE, flat.shape[1] // 4), most))
    fitted = PCA(wanted, svd_solver="randomized", random_state=seed).fit(flat)
    components = fitted.components_
    if code is None:
        held = np.cumsum(fitted.explained_variance_ratio_)
        components = components[: int(np.searchsorted(held, EXPLAINED)) + 1]
    elif wanted < code:  # fewer windows than elements of the code: the rest starts unused
        components = np.pad(components, ((0, code - wanted), (0, 0)))
    return fitted.mean_.astype(np.float32), components.astype(np.float32)
