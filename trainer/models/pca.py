"""Principal components and nothing else: the baseline that every autoencoder has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models.kind import Kind

if TYPE_CHECKING:
    from trainer.autoencoder import Architecture
    from trainer.keras_backend import Tensor


def units(code: int, width: int) -> tuple[int, ...]:  # noqa: ARG001 - as of the other kinds
    """There are no hidden layers."""
    return ()


def no_layers(given: Tensor, it: Architecture, name: str) -> Tensor:  # noqa: ARG001 - as of the other kinds
    return None


KIND = Kind(units, "linear", no_layers, no_layers, linear=True)
