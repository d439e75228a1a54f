"""Recurrent layers: what they remember after the last sample is encoded, and unrolled from the code."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from trainer.keras_backend import Tensor, load
from trainer.models.kind import Kind

if TYPE_CHECKING:
    from trainer.autoencoder import Architecture

LEAST_UNITS, MOST_UNITS = 16, 64


def units(code: int, width: int) -> tuple[int, ...]:
    """One layer of twice as many units as there are sensors or elements of the code."""
    return (min(max(2 * code, 2 * width, LEAST_UNITS), MOST_UNITS),)


def encode(cell: str, windows: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    hidden, layer = windows, getattr(keras.layers, cell)
    for number, size in enumerate(it.units, start=1):
        last = number == len(it.units)
        hidden = layer(size, it.activation, return_sequences=not last, name=f"{name}_{number}")(hidden)
    return hidden


def decode(cell: str, code: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    hidden = keras.layers.RepeatVector(it.length, name=f"{name}_samples")(code)
    for number, size in enumerate(it.units[::-1], start=1):
        layer = getattr(keras.layers, cell)(
            size, it.activation, return_sequences=True, name=f"{name}_{number}"
        )
        hidden = layer(hidden)
    return hidden


def _kind(cell: str) -> Kind:
    return Kind(units, "tanh", partial(encode, cell), partial(decode, cell), one_by_one=True)


LSTM, GRU = _kind("LSTM"), _kind("GRU")
