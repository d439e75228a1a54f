"""A small plant: machines with three sensors that follow one load, and a detector that knows it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from config.policies import alert_policy, health_policy, operation_policy, stream_policy
from config.settings import Settings
from daemon import payloads
from detector.events import AlertChanged, Event, SensorChanged
from detector.grid import Grid
from detector.history import History
from detector.manifest import (
    SCHEMA,
    ErrorSpec,
    HistorySpec,
    ImputerSpec,
    Manifest,
    ModelSpec,
    ScalerSpec,
    Threshold,
    WindowSpec,
)
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from registry.bundle import load
from registry.champions import Registry
from tests.detector.tiny_model import linear_model

SENSORS = ("flow", "pressure", "temperature")
OFFSET, SCALE = (40.0, 3.0, 60.0), (2.0, 0.1, 1.0)
START = 1_735_725_600_000  # 2025-01-01T10:00:00Z
LENGTH = 4


@cache
def model() -> bytes:
    """A `.tflite` file that expects of each sensor the mean of all three at the same time."""
    matrix = np.kron(np.eye(LENGTH), np.full((3, 3), 1 / 3)).astype(np.float32)
    return linear_model(matrix, LENGTH, 3)


def manifest(name: str, machine: str | None, threshold: float) -> Manifest:
    return Manifest(
        schema=SCHEMA,
        id=name,
        created_at="2025-01-01T09:00:00Z",
        machine=machine,
        sensors=SENSORS,
        grid=Grid(1000),
        window=WindowSpec(LENGTH, max_gap=2),
        imputer=ImputerSpec("last", OFFSET),
        scaler=ScalerSpec("standard", OFFSET, SCALE),
        error=ErrorSpec("mse", 0.5),
        threshold=Threshold(threshold, "mean_std", 10, threshold, 0.1, 100, 0.0),
        model=ModelSpec("dense", (), 1, "linear", 12),
        history=HistorySpec(("plant.csv",), ("press",), 100, 100, "", "", ""),
        metrics={},
        libraries={},
        files={},
    )


def promote(
    state: Path,
    name: str = "2025-01-01T09-00-00Z-0001",
    *,
    machine: str | None = None,
    threshold: float = 1.0,
) -> Path:
    """Adds a bundle and makes it champion; returns its folder."""
    registry = Registry(state)
    bundle = registry.add(manifest(name, machine, threshold), {"model.tflite": model()})
    registry.promote(name)
    return bundle.path


def history(
    count: int, *, machine: str = "press", faults: Sequence[range] = (), start: int = START
) -> History:
    """One reading a second; within a fault, counted in readings, the pressure is six deviations off."""
    rows = []
    at_fault = {i for fault in faults for i in fault}
    for i in range(count):
        load = math.sin(i / 50)
        noise = [math.sin(i * step) / 10 for step in (1.0, 1.7, 2.3)]
        off = [0, 6 if i in at_fault else 0, 0]
        rows.append([o + s * (load + n + f) for o, s, n, f in zip(OFFSET, SCALE, noise, off, strict=True)])
    at = start + 1000 * np.arange(count, dtype=np.int64)
    return History(machine, SENSORS, at, np.array(rows).reshape(-1, 3))


def messages(history: History) -> list[tuple[str, bytes]]:
    """A history as topics and payloads."""
    return [
        (
            f"plant/{history.machine}/readings",
            json.dumps({"ts": at, **dict(zip(history.sensors, row, strict=True))}).encode(),
        )
        for at, row in zip(history.at.tolist(), history.values.tolist(), strict=True)
    ]


def expected(settings: Settings, histories: Iterable[History]) -> list[dict[str, Any]]:
    """The alerts of a run without any fault of process, disk or network, as subscribers would see them."""
    events = _said(settings, tuple(histories))
    return [json.loads(payloads.told(event)) for event in events if isinstance(event, AlertChanged)]


def expected_of_sensors(settings: Settings, histories: Iterable[History]) -> list[dict[str, Any]]:
    """What would be said of sensors in such a run."""
    events = _said(settings, tuple(histories))
    return [json.loads(payloads.told(event)) for event in events if isinstance(event, SensorChanged)]


def _said(settings: Settings, histories: Sequence[History]) -> Iterator[Event]:
    registry = Registry(settings.state_dir)
    champions = Champions(
        own={
            history.machine: load(registry.read(champion))
            for history in histories
            if (champion := registry.champion_of(history.machine)) is not None
        }
    )
    pipeline = Pipeline(
        champions,
        stream=stream_policy(settings),
        alerts=alert_policy(settings),
        health=health_policy(settings),
        operation=operation_policy(settings),
    )
    return replay(histories, pipeline)


def milliseconds(text: str) -> int:
    """The time of a published event."""
    return round(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)
