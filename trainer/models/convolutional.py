"""Convolutions along time: each layer halves the number of samples, those of the decoder double it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from trainer.keras_backend import Tensor, load
from trainer.models.kind import Kind

if TYPE_CHECKING:
    from trainer.autoencoder import Architecture

SAMPLES = 5  # that a filter sees
LEAST_FILTERS, MOST_FILTERS = 16, 64


def units(code: int, width: int) -> tuple[int, ...]:  # noqa: ARG001 - the code matters to other kinds
    """Two layers of two filters per sensor."""
    return (min(max(2 * width, LEAST_FILTERS), MOST_FILTERS),) * 2


def encode(windows: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    hidden = windows
    for number, filters in enumerate(it.units, start=1):
        hidden = keras.layers.Conv1D(
            filters, SAMPLES, strides=2, padding="same", activation=it.activation, name=f"{name}_{number}"
        )(hidden)
    return keras.layers.Flatten(name=f"{name}_flat")(hidden)


def decode(code: Tensor, it: Architecture, name: str) -> Tensor:
    keras, _ = load()
    layers = keras.layers
    lengths = [it.length]
    for _ in it.units:
        lengths.append(-(-lengths[-1] // 2))
    lengths.reverse()
    hidden = layers.Dense(lengths[0] * it.units[-1], it.activation, name=f"{name}_0")(code)
    hidden = layers.Reshape((lengths[0], it.units[-1]), name=f"{name}_samples")(hidden)
    for number, (filters, (length, longer)) in enumerate(
        zip(it.units[::-1], pairwise(lengths), strict=True), start=1
    ):
        hidden = layers.UpSampling1D(2, name=f"{name}_double_{number}")(hidden)
        hidden = layers.Cropping1D((0, 2 * length - longer), name=f"{name}_crop_{number}")(hidden)
        hidden = layers.Conv1D(
            filters, SAMPLES, padding="same", activation=it.activation, name=f"{name}_{number}"
        )(hidden)
    return hidden


KIND = Kind(units, "relu", encode, decode)
