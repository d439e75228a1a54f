"""A machine that sends texts, switches, angles and counters, from its history to retraining."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from daemon.assembly import STORE
from registry.champions import Registry
from tests import mill
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

ROWS = 400
FAULT, NEW = range(185, 195), range(100, 103)


def anomalyd(setup: Setup, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cli", *words, "--config", str(setup.file)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def stored(setup: Setup) -> int:
    with closing(sqlite3.connect(f"file:{setup.state}/{STORE}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])


def test_a_mill_is_learned_from_a_file_watched_over_mqtt_and_learned_anew_from_the_store(
    setup: Setup, client: Client, ready: Callable[[], Daemon], tmp_path: Path
) -> None:
    setup.write(
        readings={"channels": mill.DECLARED},
        trainer={**mill.TRAINER, "model": {"kind": "dense", "epochs": 3, "code": 8}},
        retrain={"min_readings": 100, "gate": {"max_error_ratio": 100, "max_alert_rate": 1}},
        alerts={"repeat_every": "off"},
    )
    anomalyd(setup, "train", str(mill.write(tmp_path / "mill.csv", mill.rows(ROWS))))
    seen = mill.rows(ROWS, fault=FAULT, new=NEW)
    replayed = anomalyd(setup, "replay", str(mill.write(tmp_path / "later" / "mill.csv", seen)))
    expected = [json.loads(line) for line in replayed.stdout.splitlines()]
    assert [alert["change"] for alert in expected] == ["opened", "closed"]
    said = {each["sensor"]: each["value"] for each in expected[0]["sensors"]}
    assert (said["mode"], said["open"]) == ("stop", 0)
    assert abs(said["energy"] - 2) < 0.2, "the increase"
    assert "3 new category" in replayed.stderr

    daemon = ready()
    sent = mill.messages(seen)
    for message in sent[:150]:
        client.publish(*message)
    client.publish("plant/mill/readings", b'{"mode": 3, "speed": 1}')
    client.publish("plant/mill/readings", b'{"mode": "run", "speed": "fast"}')
    client.publish("plant/mill/readings", b'{"open": "yes"}')
    for reason in ("not_a_category", "not_a_number", "not_binary"):
        daemon.wait("message_refused", reason=reason)
    daemon.wait("value_ignored", reason="new_category", machine="mill", sensor="mode")
    wait_until(lambda: stored(setup) == 150, "the readings in the store")
    daemon.kill()
    daemon = ready()
    for message in sent[150:]:
        client.publish(*message)
    wait_until(lambda: stored(setup) == ROWS, "all readings in the store")

    def alerts() -> list[dict[str, Any]]:
        return client.messages("anomalyd/mill/alert")

    wait_until(lambda: len(alerts()) == 2, "the alerts")
    assert alerts() == expected, "what a restart, texts and a counter in pieces change"

    (turn,) = json.loads(anomalyd(setup, "retrain", "--json").stdout)
    anomalyd(setup, "models", "promote", turn["bundle"])  # whatever the gate thinks of 3 epochs
    manifest = Registry(setup.state).read(turn["bundle"]).manifest
    assert manifest.channels["mode"].categories == ("clean", "run", "stop")
    daemon.wait("champions_swapped", machines=1)
