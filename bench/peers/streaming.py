"""One detector over readings, one at a time in one process: `python -m bench.peers.streaming NAME ROWS.npy`.

Runs in the peers' own environment, so nothing of anomalyd is imported. Prints figures as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.usage import installed, resident

TRAINING = 2000  # rows to fit on
WINDOW = 30
SECONDS = 6.0  # of CPU time: enough for a hundred of the slowest
Row = NDArray[np.float64]
Score = Callable[[Row], float]


def half_space_trees(training: Row) -> Score:
    """The forest of river, with the scaler that its documentation puts before it; it scores, then learns."""
    from river.anomaly import HalfSpaceTrees
    from river.preprocessing import MinMaxScaler

    model = MinMaxScaler() | HalfSpaceTrees(seed=0)
    names = [f"sensor_{i}" for i in range(training.shape[1])]

    def score(row: Row) -> float:
        reading = dict(zip(names, row.tolist(), strict=True))
        found = model.score_one(reading)
        model.learn_one(reading)
        return float(found)

    for row in training:
        score(row)
    return score


def ecod(training: Row) -> Score:
    from pyod.models.ecod import ECOD

    model = ECOD().fit(training)
    return lambda row: float(model.decision_function(row[None])[0])


def auto_encoder(training: Row) -> Score:
    from pyod.models.auto_encoder import AutoEncoder

    model = AutoEncoder(epoch_num=2, verbose=0)
    model.fit(training)
    return lambda row: float(model.decision_function(row[None])[0])


def vanilla_ae(training: Row) -> Score:
    """The autoencoder of numalogic over a window; called as it is, without its trainer's loop around."""
    import torch
    from numalogic.models.autoencoder.variants import VanillaAE

    model = VanillaAE(seq_len=WINDOW, n_features=training.shape[1]).eval()
    window = deque(training[-WINDOW:].astype(np.float32), maxlen=WINDOW)

    def score(row: Row) -> float:
        window.append(row.astype(np.float32))
        given = torch.from_numpy(np.stack(window)[None])
        with torch.no_grad():
            rebuilt = model(given)[1]
        return float(((rebuilt - given) ** 2).mean())

    return score


DETECTORS: dict[str, tuple[str, Callable[[Row], Score]]] = {
    "half_space_trees": ("river", half_space_trees),
    "ecod": ("pyod", ecod),
    "auto_encoder": ("pyod", auto_encoder),
    "vanilla_ae": ("numalogic", vanilla_ae),
}
BESIDE = {"auto_encoder": ("torch", "tqdm"), "vanilla_ae": ("torch", "pytorch-lightning")}  # undeclared needs


def main() -> None:
    name, rows = sys.argv[1], np.load(sys.argv[2])
    package, fitted = DETECTORS[name]
    score = fitted(rows[:TRAINING])
    count, started, used = 0, time.monotonic(), time.process_time()
    while time.process_time() - used < SECONDS:
        score(rows[TRAINING + count % (len(rows) - TRAINING)])
        count += 1
    seconds, cpu, memory = time.monotonic() - started, time.process_time() - used, resident()
    sizes = {
        part: size for each in (package, *BESIDE.get(name, ())) for part, size in installed(each).items()
    }
    figures = {"readings/s": count / seconds, "cpu": cpu / count * 1e6, "MiB": memory}
    print(json.dumps(figures | {"MB": sum(sizes.values())}))


if __name__ == "__main__":
    main()
