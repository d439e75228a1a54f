"""What a kind of autoencoder says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.autoencoder import Architecture
    from trainer.keras_backend import Tensor


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of autoencoder: its hidden layers in Keras, each with a name of its own.

    Attributes:
        units: Sizes of the hidden layers that suit a code and F sensors.
        activation: What suits the hidden layers.
        encode: Adds the encoder's hidden layers, all named `<name>_...`, to windows (N, T, F);
            the result is (N, H).
        decode: The same for the decoder and codes; the result is (N, H), or (N, T, H) where each
            sample is made from a vector of its own.
        linear: Whether there are no hidden layers: nothing is left to fit by gradients.
        variational: Whether windows are encoded as distributions, and codes drawn from them in fitting.
        one_by_one: Whether LiteRT needs windows one at a time: it has no loop over a batch of unknown size.
    """

    units: Callable[[int, int], tuple[int, ...]]
    activation: str
    encode: Callable[[Tensor, Architecture, str], Tensor]
    decode: Callable[[Tensor, Architecture, str], Tensor]
    linear: bool = False
    variational: bool = False
    one_by_one: bool = False
