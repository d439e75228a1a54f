"""The autoencoder: an encoder and a decoder of dense layers around a bottleneck.

Beside the dense layers both have a linear path. It starts as the principal components of the
fit windows and the dense layers start at zero, so that fitting begins at the best linear
reconstruction and can only improve on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from detector.manifest import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from config.training import Model as ModelSettings
    from trainer.preparation import Windows

EXPLAINED = 0.9  # share of the windows' variance that the code keeps; noise is in the rest
LARGEST_CODE = 64
FEW_COMPONENTS = 16  # enough for most machines; more are looked for only where these explain too little
MOST_WINDOWS = 5000  # principal components of more windows are the same
MOST_CELLS = 20_000_000  # numbers in those windows: 80 MB
ROUNDS, SPARE = 5, 8  # of the subspace iteration: components differ from the exact ones by less than noise
LEAST_UNITS, MOST_UNITS = 16, 128

WINDOW, CODE = 0, 1  # places in `Architecture.sizes`; the hidden layers follow
Axis: TypeAlias = tuple[int, ...]  # which of `Architecture.sizes` lie along it, one after the other; none: 1


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of an autoencoder.

    Attributes:
        length: T, samples per window.
        width: F, sensors.
        code: Numbers in the bottleneck.
        units: Of the encoder's hidden layers; the decoder has them in reverse.
        activation: Of the hidden layers.
    """

    length: int
    width: int
    code: int
    units: tuple[int, ...]
    activation: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """What the axes of the weights are made of: a window's numbers, the code, the hidden layers."""
        return (self.length * self.width, self.code, *self.units)


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """An architecture and its weights, one matrix for each of `axes`."""

    architecture: Architecture
    weights: tuple[NDArray[np.float32], ...]

    def spec(self, kind: str) -> ModelSpec:
        """Its description for the manifest."""
        it = self.architecture
        return ModelSpec(kind, it.units, it.code, it.activation, sum(map(np.size, self.weights)))


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
    return [_shape(*pair, architecture.sizes) for pair in axes(len(architecture.units))]


def initial(windows: Windows, settings: ModelSettings, *, seed: int) -> Autoencoder:
    """An autoencoder that reconstructs scaled windows as well as a linear one can, not fitted yet.

    Where the settings leave them open, the code is as wide as the principal components that hold
    `EXPLAINED` of the windows' variance (at most `LARGEST_CODE` and a quarter of T * F), and there
    is one hidden layer of two units per element of the code (`LEAST_UNITS` to `MOST_UNITS`).
    """
    random = np.random.default_rng(seed)
    mean, components = _principal(windows, settings.code, random)
    code = len(components)
    units = settings.units
    if units is None:
        units = (int(np.clip(2 * code, LEAST_UNITS, MOST_UNITS)),)
    architecture = Architecture(windows.length, windows.rows.shape[1], code, units, settings.activation)
    weights = [_drawn(*pair, architecture.sizes, random) for pair in axes(len(units))]
    weights[0][:, :code] = components.T
    weights[1][0, :code] = -components @ mean
    weights[-2][:] = 0
    weights[-2][:code] = components
    weights[-1][0] = mean
    return Autoencoder(architecture, tuple(weights))


def padded(autoencoder: Autoencoder, sizes: Sequence[int]) -> list[NDArray[np.float32]]:
    """Its weights among zeros, as those of a wider autoencoder that gives the same answers.

    What is added has no part in the answer, so that its gradient is zero and it stays zero however
    long is fitted, provided that the activation of zero is zero.
    """
    wide = []
    for axes_of_weight, places, weight in _placed(autoencoder.architecture, sizes, autoencoder.weights):
        added = np.zeros(_shape(*axes_of_weight, sizes), np.float32)
        added[places] = weight
        wide.append(added)
    return wide


def cropped(
    weights: Sequence[NDArray[np.float32]], architecture: Architecture, sizes: Sequence[int]
) -> Autoencoder:
    """The inverse of `padded`, as copies."""
    placed = _placed(architecture, sizes, weights)
    return Autoencoder(architecture, tuple(weight[places] for _, places, weight in placed))


def _placed(
    architecture: Architecture, sizes: Sequence[int], weights: Sequence[NDArray[np.float32]]
) -> Iterator[tuple[tuple[Axis, Axis], tuple[NDArray[np.intp], ...], NDArray[np.float32]]]:
    """Each weight with its axes, and where it lies among weights of other sizes."""
    for axes_of_weight, weight in zip(axes(len(architecture.units)), weights, strict=True):
        places = []
        for axis in axes_of_weight:
            starts = np.cumsum([0, *(sizes[i] for i in axis)]).tolist()
            blocks = [np.arange(architecture.sizes[i]) + at for i, at in zip(axis, starts, strict=False)]
            places.append(np.concatenate(blocks) if axis else np.zeros(1, np.intp))
        yield axes_of_weight, np.ix_(*places), weight


def _shape(rows: Axis, columns: Axis, sizes: Sequence[int]) -> tuple[int, int]:
    height, width = (sum(sizes[i] for i in axis) if axis else 1 for axis in (rows, columns))
    return height, width


def _drawn(
    rows: Axis, columns: Axis, sizes: Sequence[int], random: np.random.Generator
) -> NDArray[np.float32]:
    """As Keras draws the kernel of a dense layer; zeros for biases and what the encoder's layers add."""
    shape = _shape(rows, columns, sizes)
    if not rows or columns == (CODE,):
        return np.zeros(shape, np.float32)
    limit = np.sqrt(6 / (sizes[rows[-1]] + sizes[columns[-1]]))
    return random.uniform(-limit, limit, shape).astype(np.float32)


def _principal(
    windows: Windows, code: int | None, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean, shape (T * F,), and principal components, shape (code, T * F), of the flat windows."""
    cells = windows.length * windows.rows.shape[1]
    some = windows.some(min(MOST_WINDOWS, max(2, MOST_CELLS // cells)))
    centred = some.reshape(len(some), cells)
    mean = centred.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred -= mean
    most = min(code or min(LARGEST_CODE, cells // 4), len(centred) - 1, cells)
    if code is not None:
        _, components = _leading(centred, max(1, most), random)
        # with fewer windows than elements of the code, the rest starts unused
        return mean, np.pad(components, ((0, code - len(components)), (0, 0)))
    variance = float(np.einsum("ij,ij->", centred, centred, dtype=np.float64))
    for count in (min(FEW_COMPONENTS, most), most):
        variances, components = _leading(centred, max(1, count), random)
        held = np.cumsum(variances)
        if held[-1] >= EXPLAINED * variance:
            break
    return mean, components[: int(np.searchsorted(held, EXPLAINED * variance)) + 1]


def _leading(
    centred: NDArray[np.float32], count: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The largest principal components, shape (count, T * F), and the sums of squares along them.

    By subspace iteration: Halko, Martinsson, Tropp: Finding structure with randomness (2011).
    """
    cells = centred.shape[1]
    basis = random.normal(size=(cells, min(count + SPARE, cells))).astype(np.float32)
    for _ in range(ROUNDS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    within = (centred @ basis).astype(np.float64)
    variances, turn = np.linalg.eigh(within.T @ within)
    largest = slice(None, -count - 1, -1)
    return variances[largest], (basis @ turn[:, largest]).T.astype(np.float32)
