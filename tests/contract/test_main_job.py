"""The whole job as a stranger would do it who knows nothing but the documents."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

START = 1_767_520_800  # 2026-01-04T10:00:00Z, seconds
SENSORS = ("speed", "pressure", "temperature", "current")
FAULT = range(300, 360)


def readings(rows: int, seed: int) -> NDArray[np.float64]:
    """A machine whose sensors follow its load."""
    random = np.random.default_rng(seed)
    load = np.sin(np.arange(rows) / 40)[:, None] * np.array([200.0, 0.8, 6.0, 3.0])
    noise = random.normal(scale=(5, 0.02, 0.1, 0.05), size=(rows, 4))
    values: NDArray[np.float64] = np.array([1500.0, 4.0, 60.0, 12.0]) + load + noise
    return values


@pytest.fixture
def config(tmp_path: Path, broker: Broker) -> Path:
    """The smallest useful configuration, on a port of its own."""
    path = tmp_path / "anomalyd.yaml"
    path.write_text(
        f"""\
state_dir: {tmp_path}/state
mqtt:
  host: localhost
  port: {broker.port}
readings:
  topic: plant/{{machine}}/readings
  time: ts
  interval: 1s
alerts:
  topic: anomalyd/{{machine}}/alert
trainer:
  window: 30
  threshold: {{method: mean_std, k: 10}}
retrain:
  every: 24h
"""
    )
    return path


def test_a_fault_is_alerted_with_the_sensor_to_blame_and_the_alert_closes_after_it(
    tmp_path: Path, config: Path, client: Client, run_daemon: Callable[..., Daemon]
) -> None:
    normal = tmp_path / "normal.csv"
    lines = [
        f"2026-01-03T{i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}Z,{','.join(map(str, row))}"
        for i, row in enumerate(readings(3000, seed=1).tolist())
    ]
    normal.write_text("\n".join([f"timestamp,{','.join(SENSORS)}", *lines]) + "\n")
    command = [sys.executable, "-m", "cli", "train", str(normal), "--config", str(config), "--json"]
    trained = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    bundle = json.loads(trained.stdout)["bundle"]

    daemon = run_daemon(config)
    wait_until(lambda: (client.last("anomalyd/status") or {}).get("status") == "online", "online")
    assert client.last("anomalyd/status")["champions"]["shared"] == bundle
    stream = readings(700, seed=2)
    stream[FAULT, 1] += np.linspace(0, 2.0, len(FAULT))
    for i, row in enumerate(stream.tolist()):
        payload = {"ts": START + i, **dict(zip(SENSORS, row, strict=True))}
        client.publish("plant/press-7/readings", json.dumps(payload).encode())
    topic = "anomalyd/press-7/alert"
    wait_until(lambda: (client.last(topic) or {}).get("change") == "closed", "closed")
    alerts = client.messages(topic)
    opened, closed = alerts[0], alerts[-1]
    assert [alert["change"] for alert in alerts].count("opened") == 1
    assert opened["change"] == "opened"
    assert second(opened["at"]) in FAULT
    assert opened["at"] == opened["opened_at"]
    assert opened["sensors"][0]["sensor"] == "pressure"
    assert sum(part["contribution"] for part in opened["sensors"]) == pytest.approx(1, abs=1e-5)
    assert opened["sensors"][0]["value"] > opened["sensors"][0]["expected"]
    assert opened["score"] == pytest.approx(opened["reconstruction_error"] / opened["threshold"], abs=1e-3)
    assert opened["coverage"] == 1
    assert opened["imputed"] == []
    assert opened["model"] == bundle
    assert {alert["id"] for alert in alerts} == {opened["id"]}
    assert second(closed["at"]) > FAULT[-1]
    assert closed["peak_score"] >= opened["score"]
    # An alert comes before the state that it leads to.
    wait_until(lambda: len(states(client)) >= 4, "four states")
    assert states(client) == ["warming_up", "normal", "alert", "normal"]
    assert daemon.end() == 0
    wait_until(lambda: client.last("anomalyd/status")["status"] == "offline", "offline")


def states(client: Client) -> list[str]:
    """The states of the machine, from one to the next."""
    said = [state["state"] for state in client.messages("anomalyd/press-7/state")]
    return [state for i, state in enumerate(said) if i == 0 or state != said[i - 1]]


def second(time: str) -> int:
    """Which reading of the stream has this time."""
    hours, minutes, seconds = time.split("T")[1].rstrip("Z").split(":")
    return (int(hours) - 10) * 3600 + int(minutes) * 60 + round(float(seconds))
