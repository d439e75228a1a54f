"""What a run without faults says of the same readings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bench.soak.load import name, values
from config import load
from config.policies import alert_policy, stream_policy
from daemon import payloads
from detector.events import AlertChanged
from detector.pipeline import Pipeline
from detector.reading import Reading
from registry.champions import Registry
from tests import plant

CHUNK = 1000  # readings at once
Key = tuple[str, str, str]  # what tells an alert event from all others


def key_of(alert: dict[str, Any]) -> Key:
    """Its id, change and time."""
    return alert["id"], alert["change"], alert["at"]


def replayed(file: Path, machine_number: int, steps: int) -> list[Key]:
    """The alert events of a machine's first readings."""
    settings = load(file, {})
    champions, _ = Registry(settings.state_dir).load({})
    pipeline = Pipeline(champions, stream=stream_policy(settings), alerts=alert_policy(settings))
    keys: list[Key] = []
    for first in range(0, steps, CHUNK):
        numbers = np.arange(first, min(first + CHUNK, steps))
        readings = [
            Reading(name(machine_number), plant.START + 1000 * step, plant.SENSORS, row)
            for step, row in zip(numbers.tolist(), values(machine_number, numbers), strict=True)
        ]
        alerts = [event for event in pipeline.on_readings(readings) if isinstance(event, AlertChanged)]
        keys += [key_of(json.loads(payloads.alert(alert))) for alert in alerts]
    return keys
