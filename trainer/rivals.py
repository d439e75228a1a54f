"""Other ways to tell odd windows, which need no neural network: PCA and an isolation forest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.inspection import Inspected

MOST_FITTED = 3000  # windows: principal components and trees of more are the same
TREES = 100  # scikit-learn's default


class Rival(Protocol):
    """A way to tell odd windows that needs no neural network."""

    name: str

    def errors(self, seen: Inspected) -> NDArray[np.float64]:
        """How odd each window is, shape (N,), above 0."""


class Linear:
    """Principal components of the windows, as many as the code has numbers."""

    name = "PCA"

    def __init__(self, windows: NDArray[np.float32], code: int, *, seed: int) -> None:
        flat = windows.reshape(len(windows), -1)
        count = min(code, *flat.shape)
        solver = "full" if count == min(flat.shape) else "randomized"
        self._pca = PCA(count, svd_solver=solver, random_state=seed).fit(flat)

    def rebuild(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """The windows as the components describe them, shape (N, T, C)."""
        codes = self._pca.transform(windows.reshape(len(windows), -1))
        rebuilt: NDArray[np.float32] = self._pca.inverse_transform(codes).reshape(windows.shape)
        return rebuilt.astype(np.float32)

    def errors(self, seen: Inspected) -> NDArray[np.float64]:
        """Mean squared differences of the values that were there."""
        off = np.where(seen.there, self.rebuild(seen.windows) - seen.windows, 0).astype(np.float64)
        squared: NDArray[np.float64] = np.einsum("ntf,ntf->n", off, off)
        squared /= np.maximum(1, seen.there.sum(axis=(1, 2)))
        return squared


class Forest:
    """An isolation forest over the windows' values: Liu, Ting, Zhou: Isolation forest (2008)."""

    name = "isolation forest"

    def __init__(self, windows: NDArray[np.float32], *, seed: int) -> None:
        self._forest = IsolationForest(n_estimators=TREES, random_state=seed).fit(
            windows.reshape(len(windows), -1)
        )

    def errors(self, seen: Inspected) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = -self._forest.score_samples(seen.windows.reshape(len(seen), -1))
        return scores
