"""The weights of a dense autoencoder as few large matrices, and among zeros as those of a wider one."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from trainer.autoencoder import Architecture, Autoencoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trainer.start import Start

WINDOW, CODE = 0, 1  # places in `sizes`; the hidden layers follow
Axis: TypeAlias = tuple[int, ...]  # which of `sizes` lie along it, one after the other; none: 1


def sizes(architecture: Architecture) -> tuple[int, ...]:
    """What the axes of the weights are made of: a window's numbers, the code, the hidden layers."""
    return (architecture.cells, architecture.code, *architecture.units)


def axes(hidden_layers: int) -> tuple[tuple[Axis, Axis], ...]:
    """What the rows and the columns of each weight stand for; a bias is a matrix of one row.

    The linear path and the first hidden layer of the encoder read the same window, and those of the
    decoder write into the same one, so that each pair is one matrix: the largest products are few.
    """
    hidden = tuple(range(2, 2 + hidden_layers))

    def chain(layers: Sequence[int]) -> Iterator[tuple[Axis, Axis]]:
        for given, wanted in pairwise(layers):
            yield from (((given,), (wanted,)), ((), (wanted,)))

    return (
        ((WINDOW,), (CODE, hidden[0])),
        ((), (CODE, hidden[0])),
        *chain(hidden),
        ((hidden[-1],), (CODE,)),
        *chain((CODE, *reversed(hidden))),
        ((CODE, hidden[0]), (WINDOW,)),
        ((), (WINDOW,)),
    )


def weight_shapes(architecture: Architecture) -> list[tuple[int, int]]:
    """The shape of each weight."""
    return [_shape(*pair, sizes(architecture)) for pair in axes(len(architecture.units))]


def drawn(start: Start, random: np.random.Generator) -> Autoencoder:
    """An autoencoder that answers as the linear path does, all hidden layers drawn at random but the last."""
    it, code = start.architecture, start.architecture.code
    weights = [_drawn(*pair, sizes(it), random) for pair in axes(len(it.units))]
    weights[0][:, :code], weights[1][0, :code] = start.encoder
    weights[-2][:] = 0
    weights[-2][:code], weights[-1][0] = start.decoder
    return Autoencoder(it, tuple(weights))


def padded(autoencoder: Autoencoder, wider: Sequence[int]) -> list[NDArray[np.float32]]:
    """Its weights among zeros, as those of a wider autoencoder that gives the same answers.

    What is added has no part in the answer, so that its gradient is zero and it stays zero however
    long is fitted, provided that the activation of zero is zero.
    """
    wide = []
    for axes_of_weight, places, weight in _placed(autoencoder.architecture, wider, autoencoder.weights):
        added = np.zeros(_shape(*axes_of_weight, wider), np.float32)
        added[places] = weight
        wide.append(added)
    return wide


def cropped(weights: Sequence[NDArray[np.float32]], architecture: Architecture) -> Autoencoder:
    """The inverse of `padded`, as copies."""
    added = 2 * len(architecture.units)  # place of the matrix from the encoder's hidden layers into the code
    code = weights[added].shape[1]
    hidden = (weights[1].shape[1] - code, *(bias.shape[1] for bias in weights[3:added:2]))
    placed = _placed(architecture, (weights[-1].shape[1], code, *hidden), weights)
    return Autoencoder(architecture, tuple(weight[places] for _, places, weight in placed))


def by_layer(autoencoder: Autoencoder) -> dict[str, NDArray[np.float32]]:
    """The weights by the paths that they have in Keras; see `trainer.models.halves`."""
    code, weights = autoencoder.architecture.code, autoencoder.weights
    added = 2 * len(autoencoder.architecture.units)  # place of `encoder_code/kernel`
    found = {
        "encoder_linear/kernel": weights[0][:, :code],
        "encoder_linear/bias": weights[1][0, :code],
        "encoder_1/kernel": weights[0][:, code:],
        "encoder_1/bias": weights[1][0, code:],
        "encoder_code/kernel": weights[added],
        "decoder_linear/kernel": weights[-2][:code],
        "decoder_linear/bias": weights[-1][0],
        "decoder_output/kernel": weights[-2][code:],
    }
    encoder, decoder = weights[2:added], weights[added + 1 : -2]
    for half, first, pairs in (("encoder", 2, encoder), ("decoder", 1, decoder)):
        for number, (kernel, bias) in enumerate(zip(pairs[::2], pairs[1::2], strict=True), start=first):
            found |= {f"{half}_{number}/kernel": kernel, f"{half}_{number}/bias": bias[0]}
    return found


def _placed(
    architecture: Architecture, wider: Sequence[int], weights: Sequence[NDArray[np.float32]]
) -> Iterator[tuple[tuple[Axis, Axis], tuple[NDArray[np.intp], ...], NDArray[np.float32]]]:
    """Each weight with its axes, and where it lies among weights of other sizes."""
    own = sizes(architecture)
    for axes_of_weight, weight in zip(axes(len(architecture.units)), weights, strict=True):
        places = []
        for axis in axes_of_weight:
            starts = np.cumsum([0, *(wider[i] for i in axis)]).tolist()
            blocks = [np.arange(own[i]) + at for i, at in zip(axis, starts, strict=False)]
            places.append(np.concatenate(blocks) if axis else np.zeros(1, np.intp))
        yield axes_of_weight, np.ix_(*places), weight


def _shape(rows: Axis, columns: Axis, lengths: Sequence[int]) -> tuple[int, int]:
    height, width = (sum(lengths[i] for i in axis) if axis else 1 for axis in (rows, columns))
    return height, width


def _drawn(
    rows: Axis, columns: Axis, lengths: Sequence[int], random: np.random.Generator
) -> NDArray[np.float32]:
    """As Keras draws the kernel of a dense layer; zeros for biases and what the encoder's layers add."""
    shape = _shape(rows, columns, lengths)
    if not rows or columns == (CODE,):
        return np.zeros(shape, np.float32)
    limit = np.sqrt(6 / (lengths[rows[-1]] + lengths[columns[-1]]))
    return random.uniform(-limit, limit, shape).astype(np.float32)
