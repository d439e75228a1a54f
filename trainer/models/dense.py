"""Dense layers, which see the whole window at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.keras_backend import Tensor, load
from trainer.models.kind import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainer.autoencoder import Architecture

LEAST_UNITS, MOST_UNITS = 16, 128


def units(code: int, width: int) -> tuple[int, ...]:  # noqa: ARG001 - the width matters to other kinds
    """One layer of two units per element of the code."""
    return (min(max(2 * code, LEAST_UNITS), MOST_UNITS),)


def encode(windows: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    return _chain(keras.layers.Flatten(name=f"{name}_flat")(windows), it.units, it.activation, name)


def decode(code: Tensor, it: Architecture, name: str) -> Tensor:
    return _chain(code, it.units[::-1], it.activation, name)


def _chain(hidden: Tensor, sizes: Sequence[int], activation: str, name: str) -> Tensor:
    keras, _ = load()
    for number, size in enumerate(sizes, start=1):
        hidden = keras.layers.Dense(size, activation, name=f"{name}_{number}")(hidden)
    return hidden


KIND = Kind(units, "relu", encode, decode)
