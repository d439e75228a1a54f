"""Encoders and decoders in Keras: a linear path beside the hidden layers of a kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trainer.autoencoder import Architecture, Autoencoder
from trainer.keras_backend import KerasModel, Tensor, building, load
from trainer.models import KINDS

if TYPE_CHECKING:
    from trainer.start import Start

SPREAD = float(np.log(0.1))  # log variance of codes that start at a variance of about 1


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """Both halves of an autoencoder; their weights, those of `fitted` first, are those of the autoencoder.

    Attributes:
        encoder: Windows (N, T, F) to codes (N, code).
        fitted: The same with the logarithm of the codes' variances beside it where the kind is variational.
        decoder: Codes to windows.
    """

    encoder: KerasModel
    fitted: KerasModel
    decoder: KerasModel

    @property
    def variables(self) -> list[Tensor]:
        """What is fitted, in the order of the autoencoder's weights."""
        return [*self.fitted.trainable_variables, *self.decoder.trainable_variables]


def halves(it: Architecture, *, prefix: str = "", dropout: float = 0.0) -> Halves:
    """Builds both, with new weights.

    Args:
        it: The architecture.
        prefix: Of the names of all layers.
        dropout: Share of what the hidden layers found that is left out at random in fitting.
    """
    keras, _ = load()
    layers, kind = keras.layers, KINDS[it.kind]
    encoding, decoding = f"{prefix}encoder", f"{prefix}decoder"

    def added(hidden: Tensor, straight: Tensor, size: int, name: str, last: str) -> Tensor:
        """The linear path, and what the hidden layers add to it: nothing, to start with."""
        if dropout:
            hidden = layers.Dropout(dropout, name=f"{name}_dropout")(hidden)
        found = layers.Dense(size, use_bias=False, kernel_initializer="zeros", name=f"{name}_{last}")(hidden)
        if len(found.shape) > 2:
            found = layers.Flatten(name=f"{name}_{last}_flat")(found)
        return layers.Add(name=f"{name}_sum")([straight, found])

    window = keras.Input((it.length, it.width), name="window")
    flat = layers.Flatten(name=f"{encoding}_linear_flat")(window)
    code = layers.Dense(it.code, name=f"{encoding}_linear")(flat)
    hidden = kind.encode(window, it, encoding)
    if hidden is not None:
        code = added(hidden, code, it.code, encoding, "code")
    found = code
    if kind.variational:
        spread = layers.Dense(
            it.code,
            kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(SPREAD),
            name=f"{encoding}_spread",
        )
        found = [code, spread(hidden)]

    given = keras.Input((it.code,), name="code")
    rebuilt = layers.Dense(it.cells, name=f"{decoding}_linear")(given)
    hidden = kind.decode(given, it, decoding)
    if hidden is not None:
        of_each = it.cells if len(hidden.shape) == 2 else it.width
        rebuilt = added(hidden, rebuilt, of_each, decoding, "output")
    rebuilt = layers.Reshape((it.length, it.width), name=f"{decoding}_window")(rebuilt)
    if it.binary:
        rebuilt = bounded(rebuilt, it)
    return Halves(
        keras.Model(window, code, name=encoding),
        keras.Model(window, found, name=f"{encoding}_fitted"),
        keras.Model(given, rebuilt, name=decoding),
    )


def bounded(rebuilt: Tensor, it: Architecture) -> Tensor:
    """Makes probabilities of what is reconstructed of binary sensors; shape (..., F)."""
    keras, _ = load()
    return keras.ops.where(it.is_binary, keras.ops.sigmoid(rebuilt), rebuilt)


def drawn(start: Start, seed: int) -> Autoencoder:
    """An autoencoder that answers as the linear path does, its hidden layers drawn as Keras does."""
    keras, _ = load()
    with building:
        keras.utils.set_random_seed(seed)
        variables = halves(start.architecture).variables
    linear = {
        "encoder_linear/kernel": start.encoder[0],
        "encoder_linear/bias": start.encoder[1],
        "decoder_linear/kernel": start.decoder[0],
        "decoder_linear/bias": start.decoder[1],
    }
    weights = (linear.get(variable.path, variable.numpy()) for variable in variables)
    return Autoencoder(start.architecture, tuple(weights))
