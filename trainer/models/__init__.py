"""The kinds of autoencoders: what is between a window and its code, and between the code and the window.

All have the same linear path, which starts as the principal components of the windows; a kind adds
hidden layers beside it, which start by adding nothing (see `trainer.models.halves`). So each contains
the principal components, begins at the best linear reconstruction and can only improve on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainer.models import attention, convolutional, dense, pca, recurrent, variational

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainer.models.kind import Kind

KINDS: Mapping[str, Kind] = {
    "dense": dense.KIND,
    "convolutional": convolutional.KIND,
    "lstm": recurrent.LSTM,
    "gru": recurrent.GRU,
    "variational": variational.KIND,
    "attention": attention.KIND,
    "pca": pca.KIND,
}
