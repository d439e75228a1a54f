"""A champion is replaced by one that was fitted on what its machine sent lately."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from daemon import due
from daemon.assembly import STORE
from daemon.retraining import Retraining
from daemon.store import Store
from daemon.tally import Tally
from daemon.transaction import Transaction
from detector.composition import Composition
from detector.labels import Label, LabelKind
from registry.champions import Registry
from registry.ledger import Ledger
from tests import plant
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

FAULT = range(300, 340)
QUICK = {"window": plant.LENGTH, "model": {"kind": "dense", "epochs": 2}}
# The plant's own model knows the machine perfectly: two epochs come near it, not up to it. But with this
# threshold it finds plain faults alone, so that a challenger with a threshold of its own is better.
LENIENT = {
    "min_readings": 500,
    "gate": {"max_error_ratio": 100, "alert_rate_margin": 0.05, "equal_alarms": False},
}
DULL = 5.0


def stored(setup: Setup) -> int:
    """How many readings the daemon has stored."""
    with closing(sqlite3.connect(f"file:{setup.state}/{STORE}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])


def test_a_daemon_that_is_stopped_while_it_retrains_ends_the_training_and_keeps_its_bundle(
    setup: Setup, client: Client, ready: Callable[[], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(due, "SETTLING", 1000)
    trainer = {"window": plant.LENGTH, "model": {"kind": "dense", "epochs": 100_000}}
    setup.write(trainer=trainer, retrain={**LENIENT, "every": "24h", "by": "child", "jitter": "off"})
    bundle = plant.promote(setup.state).name
    client.stream(plant.messages(plant.history(1000))).join()
    with capture_logs() as logs, running(setup.file):
        wait_until(lambda: any(line["event"] == "retraining_started" for line in logs), "the training")
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 5
    (child,) = (line["process"] for line in logs if line["event"] == "retraining_started")
    assert not Path(f"/proc/{child}").exists()
    assert any(line["event"] == "retraining_stopped" for line in logs)
    assert Ledger(setup.state).read().shared.failures == 0
    assert [path.name for path in (setup.state / "bundles").iterdir()] == [bundle]
    ready().wait("bundle_loaded", bundle=bundle)


def test_a_retraining_learns_from_stored_readings_less_alerts_and_the_daemon_takes_it_up(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(trainer=QUICK, retrain=LENIENT)
    plant.promote(setup.state, threshold=DULL)
    daemon = ready()
    readings = plant.history(1000, faults=[FAULT])
    for topic, payload in plant.messages(readings):
        client.publish(topic, payload)
    wait_until(lambda: (client.last("anomalyd/press/alert") or {}).get("change") == "closed", "closed")
    wait_until(lambda: stored(setup) == len(readings), "all readings in the store")

    command = [sys.executable, "-m", "cli", "retrain", "--config", str(setup.file), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (turn,) = json.loads(done.stdout)
    assert turn["promoted"] is True, turn
    assert turn["reason"] == "passed"
    manifest = Registry(setup.state).read(turn["bundle"]).manifest
    assert manifest.history.source == ("store",)
    alerted = len(FAULT) + plant.LENGTH
    assert 500 < manifest.history.rows < len(readings) - alerted

    daemon.wait("champions_swapped", machines=1)
    wait_until(
        lambda: client.last("anomalyd/press/state")["model"] == turn["bundle"], "the new model's state"
    )
    more = plant.history(60, start=int(readings.at[-1]) + 1000, faults=[range(20, 40)])
    for topic, payload in plant.messages(more):
        client.publish(topic, payload)
    wait_until(lambda: client.last("anomalyd/press/alert")["model"] == turn["bundle"], "its alert")
    assert "warming_up" not in [
        state["state"]
        for state in client.messages("anomalyd/press/state")
        if state["model"] == turn["bundle"]
    ], "the window carries over"


def test_what_people_say_of_alerts_decides_what_is_learned_and_a_false_alarm_is_not_raised_again(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    # Over the false alarm the threshold must rise, so that fewer faults are found; fewer alarms are better.
    gate = {"max_error_ratio": 100, "max_alert_rate": 1, "faults_margin": 1, "delay_margin": 1}
    setup.write(trainer=QUICK, retrain={**LENIENT, "gate": gate})
    plant.promote(setup.state)
    daemon = ready()
    readings = plant.history(1000, faults=[FAULT])
    values = readings.values.copy()
    values[700:720, 2] += 40
    readings = dataclasses.replace(readings, values=values)
    for topic, payload in plant.messages(readings):
        client.publish(topic, payload)
    wait_until(lambda: stored(setup) == len(readings), "all readings in the store")

    def alerts(change: str) -> list[dict[str, Any]]:
        return [told for told in client.messages("anomalyd/press/alert") if told["change"] == change]

    wait_until(lambda: len(alerts("closed")) == 2, "both alerts closed")
    daemon.end()
    (false, real) = [
        (plant.milliseconds(one["opened_at"]), plant.milliseconds(one["at"])) for one in alerts("closed")
    ]
    store = Store(setup.state / STORE)
    store.commit(
        Transaction(
            labels=[
                Label("press", LabelKind.FALSE_ALARM, *false, noted_at=false[1]),
                Label("press", LabelKind.CONFIRMED, *real, noted_at=real[1]),
            ]
        )
    )
    store.close()

    command = [sys.executable, "-m", "cli", "retrain", "--config", str(setup.file), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (turn,) = json.loads(done.stdout)
    assert turn["promoted"] is True, turn
    composition = Registry(setup.state).read(turn["bundle"]).manifest.composition
    assert composition is not None
    assert composition == msgspec.convert(turn["composition"], Composition)
    assert composition.labels == {"confirmed": 1, "false_alarm": 1}
    inside = (real[1] - real[0]) // 1000 + 1
    margin = plant.LENGTH + 5  # and the windows that may open an alert
    assert composition.left_out == {"confirmed": inside, "alert": 2 * margin}
    assert composition.vouched == (false[1] - false[0]) // 1000 + 1 + 2 * margin
    assert composition.rows == len(readings) - inside - 2 * margin

    ready().wait("bundle_loaded", bundle=turn["bundle"])
    before = len(alerts("closed"))
    a_hole = 60_000  # else the load would jump where the readings begin anew
    again = dataclasses.replace(readings, at=readings.at + 1000 * len(readings) + a_hole)
    for topic, payload in plant.messages(again):
        client.publish(topic, payload)
    wait_until(lambda: len(alerts("closed")) > before, "the real fault's alert closed")
    (opened,) = alerts("opened")[before:]
    assert 700 <= (plant.milliseconds(opened["opened_at"]) - int(again.at[0])) // 1000 <= 720


def test_a_retraining_does_not_learn_that_a_stuck_sensor_is_normal_and_it_stays_stuck(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(trainer=QUICK, retrain=LENIENT, sensors={"stuck_after": "20s"})
    plant.promote(setup.state, threshold=DULL)
    daemon = ready()
    readings = plant.history(1000)
    values = readings.values.copy()
    values[900:, 1] = values[900, 1]
    readings = dataclasses.replace(readings, values=values)
    for topic, payload in plant.messages(readings):
        client.publish(topic, payload)
    stuck = wait_until(lambda: client.last("anomalyd/press/sensor"), "the stuck sensor")
    assert (stuck["sensor"], stuck["health"]) == ("pressure", "stuck")
    wait_until(lambda: stored(setup) == len(readings), "all readings in the store")

    command = [sys.executable, "-m", "cli", "retrain", "--config", str(setup.file), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (turn,) = json.loads(done.stdout)
    assert turn["promoted"] is True, turn
    stretches = Registry(setup.state).read(turn["bundle"]).manifest.stretches
    assert stretches is not None
    assert stretches.same == (1, 1, 1)
    assert stretches.absent == (0, 100, 0)

    daemon.wait("champions_swapped", machines=1)
    state = wait_until(
        lambda: (
            client.last("anomalyd/press/state")["model"] == turn["bundle"]
            and client.last("anomalyd/press/state")
        ),
        "the new model's state",
    )
    assert state["sensors"] == [{"sensor": "pressure", "health": "stuck", "since": stuck["at"]}]
    more = plant.history(1000 + plant.LENGTH)
    again = dataclasses.replace(more.rows(slice(1000, None)))
    for topic, payload in plant.messages(again):
        client.publish(topic, payload)
    wait_until(lambda: client.last("anomalyd/press/sensor")["health"] == "ok", "its recovery")
    assert len(client.messages("anomalyd/press/sensor")) == 2


def test_the_daemon_s_child_retrains_and_its_decision_is_logged(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(trainer=QUICK, retrain={"every": "1h", **LENIENT})
    plant.promote(setup.state, threshold=DULL)
    daemon = ready()
    for topic, payload in plant.messages(plant.history(700)):
        client.publish(topic, payload)
    wait_until(lambda: stored(setup) == 700, "all readings in the store")
    daemon.end()

    later = plant.START + 10 * 365 * 86_400_000
    retraining = Retraining(
        setup.settings, Registry(setup.state), setup.file, Tally(time.monotonic), now=plant.START
    )
    with capture_logs() as log:

        def decided() -> dict[str, object] | None:
            retraining.tick(later)
            lines = [dict(line) for line in log if line["event"] == "retraining_decided"]
            return lines[0] if lines else None

        try:
            decision = wait_until(decided, "the child's decision", patience=120)
        finally:
            retraining.stop()
    assert decision["promoted"] is True
    assert decision["reason"] == "passed"
    assert Registry(setup.state).champion_of(None) == decision["bundle"]


def test_too_few_readings_are_no_failure_and_say_how_many_are_needed(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    for topic, payload in plant.messages(plant.history(5)):
        client.publish(topic, payload)
    wait_until(lambda: client.last("anomalyd/press/state"), "a reading's state")
    daemon.end()
    command = [sys.executable, "-m", "cli", "retrain", "--config", str(setup.file), "--json"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (turn,) = json.loads(done.stdout)
    assert turn["promoted"] is False
    assert turn["reason"] == "too_few_readings"
    assert turn["text"].startswith("no machine has 1000 readings to learn from (retrain.min_readings)")
