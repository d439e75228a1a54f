"""Histories and settings that the tests of the trainer share."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from config.checking import check
from config.settings import Settings
from config.streams import Range
from config.training import Model
from detector.history import History
from trainer.finishing import Trained
from trainer.jobs import Job
from trainer.training import train

START = 1_767_519_000_000
SECOND = 1_000
CREATED = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
ID = "2026-01-05T08-00-00Z-3f9c"

TINY: dict[str, Any] = {
    "window": 6,
    "smoothing": 0.5,
    "model": {
        "kind": "dense",
        "loss": "mse",
        "l2": 0,
        "epochs": 3,
        "code": 4,
        "units": (8,),
        "batch_size": 32,
    },
}


def dense(**options: Any) -> Model:  # noqa: ANN401 - options of any type
    """A model with layers, fitted by the mean square alone."""
    return Model(**{"kind": "dense", "loss": "mse", "l2": 0.0, **options})


def settings(**trainer: object) -> Settings:
    """A configuration with a small model."""
    checked, faults = check(Settings, {"trainer": {**TINY, **trainer}})
    assert checked is not None, faults
    return checked


def pump(
    rows: int = 300, *, seed: int = 0, machine: str = "pump-1", start: int = START, label: bool = False
) -> History:
    """A pump under a load that swings: flow, pressure and current follow, each with noise."""
    random = np.random.default_rng(seed)
    phase = np.arange(rows) / 12 + seed
    load = 2 + np.sin(phase) + 0.05 * random.normal(size=rows)
    values = np.column_stack(
        [
            3 * load + 0.1 * random.normal(size=rows),
            40 - load**2 + 0.2 * random.normal(size=rows),
            0.5 + 0.02 * load + 0.001 * random.normal(size=rows),
        ]
    )
    at = start + SECOND * np.arange(rows)
    labels = np.zeros(rows, dtype=np.int8) if label else None
    return History(machine, ("flow", "pressure", "current"), at, values, labels)


def with_values(history: History, values: NDArray[np.float64]) -> History:
    return History(history.machine, history.sensors, history.at, values, history.label)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def trained(*histories: History, machine: str | None = None, wishes: Settings | None = None) -> Trained:
    return train(
        Job(histories, machine, ("pump.csv",), ID), settings=wishes or settings(), created_at=CREATED
    )


@cache
def trained_pump() -> Trained:
    """One training for all tests that only look at what it made."""
    return trained(pump(300), machine="pump-1")


def limited(settings: Settings, limits: dict[str, Range]) -> Settings:
    """The same, with what sensors can show."""
    return replace(settings, sensors=replace(settings.sensors, limits=limits))
