"""A machine with sensors of every kind: a mill that runs and stops, turns, and counts its energy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from config.streams import Channel
from detector.categories import number_of
from detector.history import History

START = 1_735_725_600_000  # 2025-01-01T10:00:00Z
SENSORS = ("speed", "mode", "open", "heading", "energy")
DECLARED = {"mode": "category", "open": "binary", "heading": "angle", "energy": "counter"}
CHANNELS: Mapping[str, Channel] = {
    "mode": Channel("category"),
    "open": Channel("binary"),
    "heading": Channel("angle"),
    "energy": Channel("counter"),
}
TRAINER: dict[str, Any] = {
    "window": 6,
    "report": "off",
    "smoothing": 0.5,
    "model": {"kind": "dense", "epochs": 3, "code": 8, "units": (8,), "batch_size": 32},
    "threshold": {"method": "mean_std", "k": 10},
}


def rows(count: int, *, fault: range = range(0), new: range = range(0)) -> list[dict[str, Any]]:
    """One reading a second, as a machine sends it.

    Args:
        count: How many.
        fault: Where it says that it stands still and is closed, while it runs.
        new: Where it is in a mode that it never was in before.
    """
    random = np.random.default_rng(4)
    energy, found = 1e9, []
    for i in range(count):
        runs = (i // 15) % 2 == 0
        energy += (2.0 if runs else 0.1) + 0.02 * random.normal()
        said = "run" if runs and i not in fault else "stop"
        found.append(
            {
                "ts": START + 1000 * i,
                "speed": (50 if runs else 0) + random.normal(),
                "mode": "clean" if i in new else said,
                "open": not runs,
                "heading": (6 * i + random.normal()) % 360,
                "energy": energy,
            }
        )
    return found


def history(count: int, **odd: range) -> History:
    """`rows` as a history."""
    sent = rows(count, **odd)
    texts = {number_of(row["mode"]): row["mode"] for row in sent}
    values = [[row[name] if name != "mode" else number_of(row[name]) for name in SENSORS] for row in sent]
    at = START + 1000 * np.arange(count, dtype=np.int64)
    return History("mill", SENSORS, at, np.array(values, dtype=np.float64), None, texts)


def write(path: Path, sent: list[dict[str, Any]]) -> Path:
    """Writes a history as a file of text."""
    lines = [",".join(("timestamp", *SENSORS))]
    lines += [",".join([str(row["ts"]), *(str(row[name]) for name in SENSORS)]) for row in sent]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def messages(sent: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    """Readings as topics and payloads."""
    return [("plant/mill/readings", json.dumps(row).encode()) for row in sent]
