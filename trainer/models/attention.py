"""Transformer blocks: every sample looks at all others of its window.

Vaswani et al.: Attention is all you need (2017); normalised before each part, as that is steadier
(Xiong et al.: On layer normalization in the transformer architecture, 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.keras_backend import Tensor, load
from trainer.models.kind import Kind

if TYPE_CHECKING:
    from trainer.autoencoder import Architecture

HEADS = 4
LEAST_UNITS, MOST_UNITS = 16, 64


def units(code: int, width: int) -> tuple[int, ...]:  # noqa: ARG001 - the code matters to other kinds
    """One block of two numbers for each sensor of a sample."""
    return (min(max(2 * width, LEAST_UNITS), MOST_UNITS),)


def encode(windows: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    # a bias for each sample of the window is what tells it where it stands
    hidden = keras.layers.EinsumDense(
        "ntf,fh->nth", (it.length, it.units[0]), bias_axes="th", name=f"{name}_place"
    )(windows)
    for number, size in enumerate(it.units, start=1):
        hidden = _block(hidden, size, it.activation, f"{name}_{number}")
    return keras.layers.Flatten(name=f"{name}_flat")(hidden)


def decode(code: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    first = it.units[-1]
    hidden = keras.layers.Dense(it.length * first, name=f"{name}_place")(code)
    hidden = keras.layers.Reshape((it.length, first), name=f"{name}_samples")(hidden)
    for number, size in enumerate(it.units[::-1], start=1):
        hidden = _block(hidden, size, it.activation, f"{name}_{number}")
    return hidden


def _block(hidden: Tensor, size: int, activation: str, name: str) -> Tensor:
    """Attention, then two dense layers for each sample, both added to what comes in."""
    keras, _ = load()
    layers = keras.layers
    if hidden.shape[-1] != size:
        hidden = layers.Dense(size, name=f"{name}_resize")(hidden)
    seen = layers.LayerNormalization(name=f"{name}_normal_1")(hidden)
    heads = min(HEADS, size)
    seen = layers.MultiHeadAttention(heads, size // heads, name=f"{name}_attention")(seen, seen)
    hidden = layers.Add(name=f"{name}_add_1")([hidden, seen])
    thought = layers.LayerNormalization(name=f"{name}_normal_2")(hidden)
    thought = layers.Dense(2 * size, activation, name=f"{name}_wide")(thought)
    thought = layers.Dense(size, name=f"{name}_narrow")(thought)
    return layers.Add(name=f"{name}_add_2")([hidden, thought])


KIND = Kind(units, "gelu", encode, decode)
