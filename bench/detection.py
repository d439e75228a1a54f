"""`make bench-detection`: recorded machines through a real broker, a real daemon, and replay.

Each file trains on its own `train_range`, with one configuration for all; then the whole file is
streamed and replayed. The alerts must be the same, event by event; the figures are those of the
rows in `test_range`, without point adjustment.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.stage import Plant, daemon, wait_for
from config import Settings, load
from config.policies import alert_policy, stream_policy
from daemon import payloads
from demo.broker import broker
from detector.events import AlertChanged
from detector.history import UNKNOWN, History
from detector.pipeline import Pipeline
from detector.replay import readings, replay
from registry.champions import Registry
from trainer.evaluation import Evaluation, evaluate, rows
from trainer.history_files import read_histories
from trainer.turn import take_turn

DATA = Path(os.environ.get("ANOMALYD_DATA", Path(__file__).parents[2] / "shared" / "data"))
SET = "skab"


@dataclass(frozen=True, slots=True)
class Recording:
    """One file of the manifest with its rows, and which of them train and test."""

    name: str
    history: History
    train: slice
    test: slice


def recordings(limit: int | None = None) -> list[Recording]:
    """The set's files that have both a part to train on and one to test on."""
    found = []
    for entry in json.loads((DATA / "manifest.json").read_text())["files"]:
        if entry["dataset"] == SET and entry["test_range"][0] < entry["test_range"][1]:
            (history,) = read_histories([DATA / entry["file"]], Settings().history, machine=entry["machine"])
            train, test = slice(*entry["train_range"]), slice(*entry["test_range"])
            found.append(Recording(entry["machine"], history, train, test))
    return found[:limit]


def train(plant: Plant, files: list[Recording]) -> None:
    """A bundle of its own for each machine, from its training rows."""
    settings, registry = load(plant.config, {}), Registry(plant.folder / "state")
    for i, file in enumerate(files, 1):
        print(f"\rtraining {i} of {len(files)}: {file.name:12}", end="", file=sys.stderr, flush=True)
        take_turn(
            [file.history.rows(file.train)],
            settings=settings,
            registry=registry,
            machine=file.name,
            source=(file.name,),
            now=datetime.now(UTC),
        )
    print(file=sys.stderr)


def live(plant: Plant, files: list[Recording]) -> list[dict[str, Any]]:
    """Alert events of the real daemon, to which all files are published at QoS 1."""
    heard: list[dict[str, Any]] = []
    status: dict[str, str] = {}
    confirmed = 0

    def on_message(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        content = json.loads(message.payload)
        if message.topic == "anomalyd/status":
            status["is"] = content["status"]
        else:
            heard.append(content)

    def on_publish(*_: object) -> None:
        nonlocal confirmed
        confirmed += 1

    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.on_message, client.on_publish = on_message, on_publish
    client.connect("127.0.0.1", plant.port)
    client.subscribe([("anomalyd/status", 1), ("anomalyd/+/alert", 1)])
    client.loop_start()
    with daemon(plant):
        wait_for(lambda: status.get("is") == "online", "the daemon's start")
        sent = 0
        for file in files:
            for reading in readings(file.history):
                content = {
                    "ts": reading.at,
                    **dict(zip(reading.sensors, reading.values.tolist(), strict=True)),
                }
                client.publish(f"plant/{file.name}/readings", json.dumps(content), qos=1)
                sent += 1
        wait_for(lambda: confirmed >= sent, "the broker's last confirmation")
        store = sqlite3.connect(f"file:{plant.store}?mode=ro", uri=True)
        stored = "SELECT count(*) FROM readings"
        wait_for(lambda: store.execute(stored).fetchone()[0] >= sent, "the last reading's storing")
        store.close()
    # The daemon has stopped: what it had to say is at the broker, and `offline` came after it.
    wait_for(lambda: status.get("is") == "offline", "the daemon's good-bye")
    client.disconnect()
    client.loop_stop()
    return heard


def replayed(plant: Plant, files: list[Recording]) -> tuple[list[dict[str, Any]], Evaluation]:
    """Alert events and metrics of the same files in replay."""
    settings = load(plant.config, {})
    champions, refused = Registry(plant.folder / "state").load({})
    assert not refused, refused
    alerts, laid = [], []
    for file in files:
        pipeline = Pipeline(champions, stream=stream_policy(settings), alerts=alert_policy(settings))
        events = list(replay([file.history], pipeline))
        alerts += [json.loads(payloads.alert(event)) for event in events if isinstance(event, AlertChanged)]
        label = np.full(len(file.history), UNKNOWN, dtype=np.int8)
        assert file.history.label is not None
        label[file.test] = file.history.label[file.test]
        tested = dataclasses.replace(file.history, label=label)
        manifest = champions.own[file.name].manifest
        laid.append(rows(tested, events, grid=manifest.grid, stride=manifest.window.stride))
    return alerts, evaluate(laid)


def compare(limit: int | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Evaluation]:
    """Alerts live, alerts in replay, and the metrics."""
    files = recordings(limit)
    with tempfile.TemporaryDirectory() as name, broker(Path(name), kind="mosquitto") as address:
        plant = Plant(Path(name), address.port)
        plant.config.write_text(
            json.dumps(
                {
                    "state_dir": str(plant.folder / "state"),
                    "mqtt": {"host": "127.0.0.1", "port": address.port},
                    "log": {"level": "error"},
                }
            )
        )
        train(plant, files)
        heard = live(plant, files)
        alerts, evaluation = replayed(plant, files)
    order = {file.name: i for i, file in enumerate(files)}
    return sorted(heard, key=lambda alert: order[alert["machine"]]), alerts, evaluation


def main() -> int:
    """Prints the comparison and the figures; fails if live and replay differ."""
    heard, alerts, result = compare()
    print(f"{SET}: {result.files} files, {result.rows} test rows, {result.anomalous} of them anomalous")
    same = heard == alerts
    print(f"alert events live {len(heard)}, in replay {len(alerts)}: {'identical' if same else 'DIFFERENT'}")
    for name, number in dataclasses.asdict(result).items():
        print(f"  {name:22} {number if not isinstance(number, float) else round(number, 4)}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
