"""What the benchmarks share: a broker, a trained bundle, a daemon, a flood of readings."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import paho.mqtt.client as paho
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SENSORS = tuple(f"sensor_{i}" for i in range(8))
START = 1_767_225_600  # 2026-01-01, seconds
WAIT = 300.0  # seconds after which a benchmark gives up


@dataclass(frozen=True, slots=True)
class Plant:
    """A folder with a configuration, and the port of its broker."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / "anomalyd.yaml"

    @property
    def store(self) -> Path:
        """The daemon's store."""
        return self.folder / "state" / "store.sqlite"

    def command(self, *arguments: str) -> list[str]:
        """`anomalyd ARGUMENTS` with this configuration."""
        return [sys.executable, "-m", "cli", *arguments, "--config", str(self.config)]


def values(rows: int, seed: int) -> NDArray[np.float64]:
    """Readings of machines at work: correlated sensors with noise, shape (rows, 8)."""
    mixing = np.random.default_rng(0).normal(size=(3, len(SENSORS)))
    drive = np.sin(np.arange(rows)[:, None] / np.array([7.0, 31.0, 113.0]))
    mixed: NDArray[np.float64] = drive @ mixing
    return mixed + np.random.default_rng(seed).normal(scale=0.1, size=mixed.shape)


def make_plant(folder: Path, port: int, **options: object) -> Plant:
    """Writes the configuration and trains a bundle on 4,000 rows."""
    plant = Plant(folder, port)
    settings = {
        "state_dir": str(folder / "state"),
        "mqtt": {"host": "127.0.0.1", "port": port},
        "log": {"level": "error"},
        "trainer": {"model": {"epochs": 5}},
        **options,
    }
    plant.config.write_text(json.dumps(settings))  # JSON is YAML
    history = folder / "history.csv"
    with history.open("w") as file:
        file.write(",".join(("timestamp", *SENSORS)) + "\n")
        for i, row in enumerate(values(4000, seed=1).tolist()):
            file.write(",".join(map(str, (START - 4000 + i, *row))) + "\n")
    subprocess.run(plant.command("train", str(history)), check=True, capture_output=True)
    return plant


@contextmanager
def daemon(plant: Plant) -> Iterator[subprocess.Popen[bytes]]:
    """`anomalyd run`, ended by SIGTERM."""
    process = subprocess.Popen(plant.command("run"), stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def subscriber(client_id: str) -> tuple[paho.Client, Properties]:
    """A client with a persistent session and manual acknowledgement, not connected yet."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, protocol=paho.MQTTv5, manual_ack=True
    )
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return client, properties


def flood(port: int, readings: int, machines: int) -> None:
    """Publishes readings at QoS 1, one second apart for each machine, and waits until the broker has all."""
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    done = Event()
    confirmed = 0

    def on_publish(*_: object) -> None:
        nonlocal confirmed
        confirmed += 1
        if confirmed == readings:
            done.set()

    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    steps = -(-readings // machines)
    rows = values(steps, seed=2).tolist()
    for i in range(readings):
        step, machine = divmod(i, machines)
        reading = {"ts": START + step, **dict(zip(SENSORS, rows[step], strict=True))}
        client.publish(f"plant/machine-{machine}/readings", json.dumps(reading), qos=1)
    if not done.wait(WAIT):
        raise TimeoutError(f"flood: the broker must confirm {readings} messages, got {confirmed}")
    client.disconnect()
    client.loop_stop()


def cpu_seconds(process: int) -> float:
    """CPU time that a process has used, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident(process: int) -> float:
    """Resident memory of a process in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 2**20


def wait_for(condition: object, what: str) -> float:
    """Polls a condition; returns the seconds it took to come true."""
    started = time.monotonic()
    while time.monotonic() - started < WAIT:
        if condition():  # type: ignore[operator]
            return time.monotonic() - started
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not happen within {WAIT:.0f} s")
