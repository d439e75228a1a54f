"""Rows per second through the pipeline, beside LiteRT alone on the same windows in batches of 64."""

from __future__ import annotations

import time

import numpy as np

from bench.stage import SENSORS, START, Plant, values
from config import load
from config.policies import alert_policy, stream_policy
from detector.events import Scored
from detector.history import History, segments, windows
from detector.pipeline import Pipeline
from detector.replay import replay
from detector.scoring import Detector
from registry.champions import Registry

ROWS = 30_000
BATCH = 64


def rates(plant: Plant) -> dict[str, float]:
    """Rows per second of the pipeline and of the bare model, and their ratio."""
    registry = Registry(plant.folder / "state")
    champions, _ = registry.load({})
    assert champions.shared is not None
    history = History("m", SENSORS, (START + np.arange(ROWS)) * 1000, values(ROWS, seed=3))
    settings = load(plant.config, {})
    pipeline = Pipeline(champions, stream=stream_policy(settings), alerts=alert_policy(settings))
    started = time.process_time()
    scored = sum(isinstance(event, Scored) for event in replay([history], pipeline))
    ours = time.process_time() - started
    bare = _bare(champions.shared, history)
    return {"rows/s": ROWS / ours, "LiteRT alone/s": scored / bare, "ratio": bare / ours}


def _bare(detector: Detector, history: History) -> float:
    manifest = detector.manifest
    (segment,) = segments(history, manifest.grid, manifest.window.max_gap)
    batches = windows(segment, manifest.window).astype(np.float32)
    started = time.process_time()
    for start in range(0, len(batches) - BATCH + 1, BATCH):
        detector.model.reconstruct(np.ascontiguousarray(batches[start : start + BATCH]))
    return time.process_time() - started
