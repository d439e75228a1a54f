"""Where fitting starts: at the best linear reconstruction, the principal components of the windows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.decomposition import PCA

from trainer import matrices
from trainer.autoencoder import Architecture, Autoencoder
from trainer.models import KINDS, halves

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from config.training import Model as ModelSettings
    from trainer.preparation import Windows

EXPLAINED = 0.8  # share of the windows' variance that the code keeps; noise is in the rest
LARGEST_CODE = 128
FEW_COMPONENTS = 16  # enough for most machines; more are looked for only where these explain too little
MOST_WINDOWS = 5000  # principal components of more windows are the same
MOST_CELLS = 20_000_000  # numbers in those windows: 80 MB
ROUNDS, SPARE = 5, 8  # of the subspace iteration: components differ from the exact ones by less than noise
SMALLEST = 1e-3  # deviation of a code that is not blown up
LOGIT = 4  # steepness of the logistic function's inverse at a half

Affine = tuple["NDArray[np.float32]", "NDArray[np.float32]"]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """An architecture, and the linear path from which fitting starts.

    Attributes:
        architecture: What is to be fitted.
        encoder: Matrix of shape (T * F, code) and bias of shape (code,), from flat windows to codes.
        decoder: The same from codes to flat windows, shapes (code, T * F) and (T * F,).
    """

    architecture: Architecture
    encoder: Affine
    decoder: Affine

    def draw(self, seed: int) -> Autoencoder:
        """An autoencoder that answers as the linear path does, its hidden layers drawn at random."""
        if self.architecture.kind == "dense":
            return matrices.drawn(self, np.random.default_rng(seed))
        return halves.drawn(self, seed)


def begin(windows: Windows, settings: ModelSettings, *, seed: int, binary: tuple[int, ...] = ()) -> Start:
    """Chooses the sizes that the settings leave open, and finds the linear path.

    The code is as wide as the principal components that hold `EXPLAINED` of the windows' variance, at
    most `LARGEST_CODE` and half of T * F where more is to be fitted than they.

    Args:
        windows: Scaled.
        settings: The wishes for the model.
        seed: Of the search for principal components.
        binary: See `Architecture`; those of a linear kind are treated as all others.
    """
    kind = KINDS[settings.kind]
    length, width = windows.length, windows.rows.shape[1]
    cells = length * width
    some = windows.some(min(MOST_WINDOWS, max(2, MOST_CELLS // cells)))
    flat = some.reshape(len(some), cells)
    if kind.linear:
        mean, components = _exact(flat, settings.code)
    else:
        mean, components = _principal(flat, settings.code, np.random.default_rng(seed))
    code = len(components)
    units = kind.units(code, width) if settings.units is None or kind.linear else settings.units
    # Nothing would fit what is bent to probabilities: a 0 would be answered by 0.12.
    bent = () if kind.linear else binary
    it = Architecture(settings.kind, length, width, code, units, settings.activation or kind.activation, bent)
    encoder = components
    if kind.variational:  # whose codes are held near the standard normal distribution
        spread = np.maximum(((flat - mean) @ components.T).std(axis=0), SMALLEST)[:, None]
        encoder, components = components / spread, components * spread
    return Start(it, (encoder.T, -encoder @ mean), _probabilities(it, components, mean))


def initial(windows: Windows, settings: ModelSettings, *, seed: int) -> Autoencoder:
    """An autoencoder that reconstructs scaled windows as well as a linear one can, not fitted yet."""
    return begin(windows, settings, seed=seed).draw(seed)


def _probabilities(it: Architecture, components: NDArray[np.float32], mean: NDArray[np.float32]) -> Affine:
    """The decoder's linear path, whose answers for binary sensors pass through the logistic function.

    Near a half, that of `LOGIT` * (p - 1/2) is p.
    """
    steep, shift = np.ones(it.cells, np.float32), np.zeros(it.cells, np.float32)
    steep.reshape(it.length, it.width)[:, list(it.binary)] = LOGIT
    shift.reshape(it.length, it.width)[:, list(it.binary)] = LOGIT / 2
    return components * steep, mean * steep - shift


def _exact(flat: NDArray[np.float32], code: int | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `_principal`, by scikit-learn and without a limit for the code."""
    wanted = EXPLAINED if code is None else min(code, *flat.shape)
    solver = "covariance_eigh" if len(flat) >= flat.shape[1] else "full"  # the quicker of the exact ones
    found = PCA(wanted, svd_solver=solver).fit(flat)
    return found.mean_.astype(np.float32), _filled(found.components_.astype(np.float32), code)


def _principal(
    flat: NDArray[np.float32], code: int | None, random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean, shape (T * F,), and principal components, shape (code, T * F), of flat windows, (N, T * F)."""
    count, cells = flat.shape
    mean = flat.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = flat - mean
    most = max(1, min(code or min(LARGEST_CODE, cells // 2), count - 1, cells))
    if code is not None:
        _, components = _leading(centred, most, random)
        return mean, _filled(components, code)
    variance = float(np.einsum("ij,ij->", centred, centred, dtype=np.float64))
    for few in (min(FEW_COMPONENTS, most), most):
        variances, components = _leading(centred, few, random)
        held = np.cumsum(variances)
        if held[-1] >= EXPLAINED * variance:
            break
    return mean, components[: int(np.searchsorted(held, EXPLAINED * variance)) + 1]


def _filled(components: NDArray[np.float32], code: int | None) -> NDArray[np.float32]:
    """With fewer windows than elements of the code, the rest starts unused."""
    return np.pad(components, ((0, (code or len(components)) - len(components)), (0, 0)))


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
