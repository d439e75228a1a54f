from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from detector.alerts import AlertPolicy
from detector.history import History
from detector.scoring import Autoencoder, Detector
from tests import mill
from tests.trainer.test_mill import trained
from trainer.calibration import mean_errors, replay_rows
from trainer.finishing import Trained
from trainer.inspection import inspect
from trainer.preparation import Preparation
from trainer.scorable import scorable


@pytest.fixture(scope="module")
def made() -> Trained:
    return trained("last", "standard")


def strict(made: Trained, least: float, model: Autoencoder | None = None) -> Detector:
    """Scores a window only if that share of its values is there."""
    window = replace(made.manifest.window, min_coverage=least)
    error = replace(made.manifest.error, smoothing=0.0)
    return Detector(replace(made.manifest, window=window, error=error), model or made.detector.model)


def odd() -> History:
    """With a hole that no window bridges, some that they do, and a mode that the mill never was in before."""
    history = mill.history(160, new=range(50, 54))
    keep = np.ones(160, np.bool_)
    keep[[20, 21, *range(90, 100)]] = False
    return history.rows(keep)


def test_the_windows_are_those_that_the_daemon_scores(made: Trained) -> None:
    detector, history = strict(made, 0.95), odd()
    manifest = detector.manifest
    scored = replay_rows(detector, [history], AlertPolicy()).scored
    assert 50 < len(scored) < 130
    stretches = [*scorable(history, manifest.grid, manifest.window, detector)]
    ends = [stretch.at[stretch.starts + stretch.length - 1] for stretch in stretches]
    assert np.concatenate(ends).tolist() == [one.at for one in scored]
    seen = inspect(detector, [history], most=1000)
    assert seen is not None
    assert seen.at.tolist() == [one.at for one in scored]
    assert seen.error == pytest.approx([one.error for one in scored], rel=1e-4)
    shares = mean_errors(detector, [history])
    assert shares.mean() == pytest.approx(np.mean([one.error for one in scored]), rel=1e-4)
    inputs = detector._inputs
    assert len(Preparation(manifest.grid, manifest.window, inputs).windows([history])) == len(scored)


@dataclass
class Counting:
    """Says how many windows it was asked for."""

    model: Autoencoder
    asked: list[int] = field(default_factory=list)

    def reconstruct(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        self.asked.append(len(windows))
        return self.model.reconstruct(windows)


def test_each_window_that_is_inspected_is_reconstructed_once(made: Trained) -> None:
    counting = Counting(made.detector.model)
    history = mill.history(160)
    seen = inspect(strict(made, 1.0, counting), [history], most=1000)
    assert seen is not None
    assert sum(counting.asked) == len(seen) > 100
    np.testing.assert_array_equal(seen.rebuilt, made.detector.model.reconstruct(seen.windows))
