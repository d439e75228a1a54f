"""An autoencoder: its shape, and the weights that make it one machine's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from detector.manifest import ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of an autoencoder.

    Attributes:
        kind: One of `trainer.models.KINDS`.
        length: T, samples per window.
        width: F, sensors.
        code: Numbers in the bottleneck.
        units: Of the encoder's hidden layers; the decoder has them in reverse.
        activation: Of the hidden layers.
        binary: Which of the F sensors are either 0 or 1, also after scaling: what is reconstructed is
            the probability of a 1.
    """

    kind: str
    length: int
    width: int
    code: int
    units: tuple[int, ...]
    activation: str
    binary: tuple[int, ...] = ()

    @property
    def cells(self) -> int:
        """The numbers in a window."""
        return self.length * self.width

    @property
    def is_binary(self) -> NDArray[np.bool_]:
        """Of each sensor, shape (F,)."""
        return np.isin(np.arange(self.width), self.binary)


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """An architecture and its weights: of `dense` as `trainer.matrices` has them, of others as Keras has."""

    architecture: Architecture
    weights: tuple[NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Autoencoders of one architecture, one or more, whose mean reconstruction counts."""

    members: tuple[Autoencoder, ...]

    @property
    def architecture(self) -> Architecture:
        """That of each."""
        return self.members[0].architecture

    def spec(self, kind: str, begun: str = "") -> ModelSpec:
        """Its description for the manifest."""
        it = self.architecture
        parameters = sum(weight.size for member in self.members for weight in member.weights)
        return ModelSpec(kind, it.units, it.code, it.activation, parameters, len(self.members), begun)
