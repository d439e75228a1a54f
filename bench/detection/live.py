"""Recorded machines through a real broker and a real daemon, and through replay: the same alerts.

Each file trains on its own rows to learn from; then the whole file is streamed and replayed.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.detection.protocol import Recording, sources
from bench.stage import Plant, daemon, wait_for
from config import load
from config.policies import alert_policy, health_policy, operation_policy, stream_policy
from daemon import payloads
from demo.broker import broker
from detector.events import AlertChanged
from detector.pipeline import Pipeline
from detector.replay import readings, replay
from registry.champions import Registry
from trainer.turn import take_turn

SET, FILES = "skab", 3


def recordings() -> list[Recording]:
    """A few files that have rows to judge."""
    judged = [source for source in sources() if source.of == SET and source.test[0] < source.test[1]]
    return [source.read() for source in judged[:FILES]]


def train(plant: Plant, files: list[Recording]) -> None:
    """A bundle of its own for each machine, from its training rows."""
    settings, registry = load(plant.config, {}), Registry(plant.folder / "state")
    for i, file in enumerate(files, 1):
        print(
            f"\rtraining {i} of {len(files)}: {file.source.machine:12}", end="", file=sys.stderr, flush=True
        )
        take_turn(
            [file.history.rows(slice(*file.source.train))],
            settings=settings,
            registry=registry,
            machine=file.source.machine,
            source=(file.source.path,),
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
                client.publish(f"plant/{file.source.machine}/readings", json.dumps(content), qos=1)
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


def replayed(plant: Plant, files: list[Recording]) -> list[dict[str, Any]]:
    """Alert events of the same files in replay."""
    settings = load(plant.config, {})
    champions, refused = Registry(plant.folder / "state").load({})
    assert not refused, refused
    alerts = []
    for file in files:
        pipeline = Pipeline(
            champions,
            stream=stream_policy(settings),
            alerts=alert_policy(settings),
            health=health_policy(settings),
            operation=operation_policy(settings),
        )
        events = replay([file.history], pipeline)
        alerts += [json.loads(payloads.alert(event)) for event in events if isinstance(event, AlertChanged)]
    return alerts


def compare() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Alerts live, and alerts in replay, machine by machine."""
    files = recordings()
    with tempfile.TemporaryDirectory() as name, broker(Path(name), kind="mosquitto") as address:
        plant = Plant(Path(name), address.port)
        plant.configure()
        train(plant, files)
        heard = live(plant, files)
        alerts = replayed(plant, files)
    order = {file.source.machine: i for i, file in enumerate(files)}
    return sorted(heard, key=lambda alert: order[alert["machine"]]), alerts


def said() -> tuple[bool, str]:
    """Whether they are the same, and the finding in a line."""
    heard, alerts = compare()
    same = heard == alerts
    return same, (
        f"{FILES} files of {SET} through a real Mosquitto and a real daemon, and through replay: "
        f"{len(heard)} and {len(alerts)} alert events, {'identical' if same else '**different**'}."
    )
