"""One detector's errors of recorded rows: `python -m bench.peers.scoring NAME ROWS.npz ERRORS.npy`.

Runs in the peers' own environment, so nothing of anomalyd is imported. The first file holds `rows`,
scaled, shape (N, F); `fitted`, on how many windows to fit; `window`, their length T. The second gets
one error per window, shape (N - T + 1,). Each is used with its library's defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

PIECE = 4096  # windows scored at once
Values = NDArray[np.float64]


def knn(rows: Values, fitted: int, window: int) -> Values:
    """The distance of a window to its fifth-nearest among those fitted on."""
    from pyod.models.knn import KNN

    windows = flattened(rows, window)
    return in_pieces(KNN().fit(windows[:fitted]).decision_function, windows)


def auto_encoder(rows: Values, fitted: int, window: int) -> Values:
    from pyod.models.auto_encoder import AutoEncoder

    windows = flattened(rows, window)
    model = AutoEncoder(verbose=0, random_state=0)
    model.fit(windows[:fitted])
    return in_pieces(model.decision_function, windows)


def half_space_trees(rows: Values, fitted: int, window: int) -> Values:
    """The forest of river, with the scaler that its documentation puts before it; it scores, then learns.

    It looks at single rows, and goes on learning from those that it judges, as it is made to.
    """
    from river.anomaly import HalfSpaceTrees
    from river.preprocessing import MinMaxScaler

    del fitted
    model = MinMaxScaler() | HalfSpaceTrees(seed=0)
    names = [f"sensor_{i}" for i in range(rows.shape[1])]
    errors = np.empty(len(rows))
    for i, row in enumerate(rows.tolist()):
        reading = dict(zip(names, row, strict=True))
        errors[i] = model.score_one(reading)
        model.learn_one(reading)
    return errors[window - 1 :]


DETECTORS: dict[str, Callable[[Values, int, int], Values]] = {
    "knn": knn,
    "auto_encoder": auto_encoder,
    "half_space_trees": half_space_trees,
}


def flattened(rows: Values, window: int) -> Values:
    return sliding_window_view(rows, window, axis=0).reshape(len(rows) - window + 1, -1)


def in_pieces(error: Callable[[Values], Values], windows: Values) -> Values:
    return np.concatenate([error(windows[start : start + PIECE]) for start in range(0, len(windows), PIECE)])


def main() -> None:
    name, given, scored = sys.argv[1:]
    content = np.load(given)
    errors = DETECTORS[name](content["rows"], int(content["fitted"]), int(content["window"]))
    np.save(scored, errors)


if __name__ == "__main__":
    main()
