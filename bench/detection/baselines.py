"""Other detectors on the same rows, all treated alike: scaled windows, smoothed errors, a fixed rule.

The treatment is that of the causal PCA in the figures to reach. Sensors are scaled to mean 0 and
deviation 1 of the rows to fit on and clipped, windows are flattened, errors smoothed exponentially,
the threshold is mean + k·std of the held-back rows, and alerts open as anomalyd's do by default.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bench.detection.judging import Detector, Laid
from bench.detection.protocol import Recording
from bench.stage import ROOT
from detector.alerts import AlertPolicy, AlertTracker, Change
from detector.history import History
from trainer.evaluation import Rows

CLIP = 10.0  # deviations; without it AUC-PR is .09 lower on smd and .07 on asd
SMOOTHING = 0.9
PIECE = 4096  # windows scored at once
PYTHON = ROOT / ".venv-peers" / "pyod-river" / "bin" / "python"  # made by `make bench-peers`
PEERS = {"PyOD KNN": "knn", "PyOD AutoEncoder": "auto_encoder", "river HalfSpaceTrees": "half_space_trees"}

Values = NDArray[np.float64]
Errors = Callable[[Values, int, int], Values]
"""Scaled rows (N, F), how many windows to fit on, and a window's rows T, to errors (N - T + 1,)."""


def detectors() -> dict[str, Detector]:
    """Those that are there: of PCA both thresholds of the figures to reach, and peers if installed."""
    found: dict[str, Detector] = {
        "causal PCA, k = 3": Baseline(pca, 3),
        "causal PCA, k = 10": Baseline(pca, 10),
        "isolation forest, k = 3": Baseline(isolation_forest, 3),
    }
    if PYTHON.exists():
        found |= {f"{what}, k = 3": Baseline(partial(peer, name), 3) for what, name in PEERS.items()}
    return found


class Baseline:
    """Gives one kind of errors the treatment above."""

    def __init__(self, errors: Errors, k: float) -> None:
        self._errors = errors
        self._k = k

    def __call__(self, recording: Recording) -> Laid:
        """Scores every row from the first full window on."""
        history, window, fit = recording.history, recording.kind.window, recording.fit
        rows = history.values[fit.start :]
        mean, std = rows[: fit.stop - fit.start].mean(axis=0), rows[: fit.stop - fit.start].std(axis=0)
        scaled = ((rows - mean) / np.where(std > 1e-9, std, 1.0)).clip(-CLIP, CLIP)
        errors = smoothed(self._errors(scaled, fit.stop - fit.start - window + 1, window))
        score = np.full(len(history), np.nan)
        score[fit.start + window - 1 :] = errors
        known = score[recording.held_back]
        score /= known.mean() + self._k * known.std()
        return partial(laid, score=score, opened=openings(history, score))


def laid(labelled: History, *, score: Values, opened: NDArray[np.bool_]) -> Rows:
    """A score and what it opened at each row."""
    assert labelled.label is not None
    interval = int(np.median(np.diff(labelled.at)))
    return Rows(labelled.at, labelled.label, score, score > 1, opened, interval)


def openings(history: History, score: Values) -> NDArray[np.bool_]:
    """Where alerts open, by the default of `alerts:`."""
    tracker, policy = AlertTracker(), AlertPolicy()
    opened = np.zeros(len(score), dtype=np.bool_)
    for row in np.flatnonzero(~np.isnan(score)).tolist():
        changed = tracker.observe(history.machine, int(history.at[row]), float(score[row]), policy)
        opened[row] = changed is not None and changed[0] is Change.OPENED
    return opened


def smoothed(errors: Values) -> Values:
    """The exponential average that starts with the first error."""
    found, level = np.empty_like(errors), errors[0]
    for i, error in enumerate(errors.tolist()):
        level = SMOOTHING * level + (1 - SMOOTHING) * error
        found[i] = level
    return found


def pca(rows: Values, fitted: int, window: int) -> Values:
    """Mean squared error of what 90 % of the variance reconstructs."""
    from sklearn.decomposition import PCA

    windows = flattened(rows, window)
    model = PCA(0.9, svd_solver="full").fit(windows[:fitted])

    def error(piece: Values) -> Values:
        found: Values = np.square(piece - model.inverse_transform(model.transform(piece))).mean(axis=1)
        return found

    return in_pieces(error, windows)


def isolation_forest(rows: Values, fitted: int, window: int) -> Values:
    """How few splits isolate a window; scikit-learn's defaults."""
    from sklearn.ensemble import IsolationForest

    windows = flattened(rows, window)
    model = IsolationForest(random_state=0).fit(windows[:fitted])
    return in_pieces(lambda piece: -model.score_samples(piece), windows)


def peer(name: str, rows: Values, fitted: int, window: int) -> Values:
    """One of bench/peers/scoring.py, in the peers' environment.

    Raises:
        RuntimeError: It failed; with what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, scored = Path(folder) / "rows.npz", Path(folder) / "errors.npy"
        np.savez(given, rows=rows, fitted=fitted, window=window)
        command = [str(PYTHON), "-m", "bench.peers.scoring", name, str(given), str(scored)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
        errors: Values = np.load(scored)
        return errors


def flattened(rows: Values, window: int) -> Values:
    """All windows, as copies of shape (N - T + 1, T × F)."""
    return sliding_window_view(rows, window, axis=0).reshape(len(rows) - window + 1, -1)


def in_pieces(error: Callable[[Values], Values], windows: Values) -> Values:
    return np.concatenate([error(windows[start : start + PIECE]) for start in range(0, len(windows), PIECE)])
