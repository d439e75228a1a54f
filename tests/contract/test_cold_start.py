"""A daemon that knows nothing watches, learns and serves with a bundle of its own making."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

from daemon.assembly import STORE
from detector.history import History
from registry.champions import Registry
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

STATE, ALERT = "anomalyd/press/state", "anomalyd/press/alert"
TRAINER = {"window": plant.LENGTH, "model": {"kind": "pca"}}
LEARNING = {"at_least": "16min", "least": 300, "z": 4, "limits": {"pressure": [None, 3.5]}}
HIGH, FAR = range(100, 130), range(480, 510)
ENOUGH, ALL = 700, 1000  # what was in alert is not learned


def readings() -> History:
    """A pressure above its limit while little is known, later a flow that is far from where it was."""
    calm = plant.history(ALL)
    values = calm.values.copy()
    values[HIGH.start : HIGH.stop, 1] = 3.9
    values[FAR.start : FAR.stop, 0] += 30
    return dataclasses.replace(calm, values=values)


def stored(setup: Setup) -> int:
    with closing(sqlite3.connect(f"file:{setup.state}/{STORE}?mode=ro", uri=True)) as store:
        return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])


def test_without_bundle_and_history_a_machine_is_watched_and_learned_until_a_bundle_serves_it(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(trainer=TRAINER, learning=LEARNING, retrain={"min_readings": ENOUGH}, store={"keep": "30d"})
    daemon = ready()
    all_of_it = readings()
    messages = plant.messages(all_of_it)

    def send(start: int, stop: int) -> None:
        for topic, payload in messages[start:stop]:
            client.publish(topic, payload)

    def learning() -> dict[str, Any]:
        return (client.last(STATE) or {}).get("learning") or {}

    def alerts(change: str) -> list[dict[str, Any]]:
        return [told for told in client.messages(ALERT) if told["change"] == change]

    send(0, 90)
    wait_until(lambda: learning().get("watched_by") == "limits", "that limits are watched")
    assert client.last(STATE)["state"] == "learning"
    send(90, 200)
    wait_until(lambda: len(alerts("closed")) == 1, "the alert about the limit")
    limit = alerts("opened")[0]
    assert (limit["reason"], limit["provisional"]) == ("limit", True)
    assert limit["sensors"][0]["sensor"] == "pressure"
    assert limit["sensors"][0]["expected"] == 3.5

    send(200, 460)
    wait_until(lambda: learning().get("watched_by") == "z_score", "that sensors are compared")
    send(460, 600)
    wait_until(lambda: len(alerts("closed")) == 2, "the alert about what is far")
    far = alerts("opened")[1]
    assert (far["reason"], far["provisional"]) == ("anomaly", True)
    assert far["sensors"][0]["sensor"] == "flow"

    wait_until(lambda: learning()["readings"] == 600, "the progress")
    assert learning()["share"] == round(599 / (16 * 60), 4)
    assert (learning()["verdict"], learning()["needed"]) == ("good", ENOUGH)
    daemon.kill()
    daemon = ready()
    wait_until(lambda: learning().get("readings") == 600, "the progress after the restart")
    assert client.last(STATE)["state"] == "learning"
    assert client.last(STATE)["model"].startswith("provisional-")

    send(600, ALL - 20)
    turn = daemon.wait("retraining_decided")
    assert turn["promoted"] is True, turn
    daemon.wait("champions_swapped", machines=1)
    send(ALL - 20, ALL)
    bundle = Registry(setup.state).champion_of("press")
    wait_until(lambda: client.last(STATE)["state"] == "normal", "the bundle's state")
    assert client.last(STATE)["model"] == bundle
    assert "learning" not in client.last(STATE)
    wait_until(lambda: stored(setup) == ALL, "all readings in the store")
    daemon.end()
    daemon.words()  # those of the retraining
    assert list((setup.state / "learning").iterdir()) == []
    shares = [told["learning"]["share"] for told in client.messages(STATE) if "learning" in told]
    assert shares == sorted(shares), "it grows, also over a restart"
    assert len({*shares}) > 3


def test_where_learning_is_off_readings_are_stored_and_no_more(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(learning={"enabled": False, "limits": {"pressure": [None, 1.0]}})
    ready()
    for topic, payload in plant.messages(plant.history(50)):
        client.publish(topic, payload)
    wait_until(lambda: stored(setup) == 50, "the readings")
    wait_until(lambda: (client.last(STATE) or {}).get("state") == "no_model", "the state")
    assert not (setup.state / "learning").exists()


def test_a_bundle_is_not_trained_unasked_where_that_is_not_wanted(
    setup: Setup, client: Client, ready: Callable[[], Daemon]
) -> None:
    setup.write(learning={"auto": False, "at_least": "1min", "least": 50}, retrain={"min_readings": 100})
    daemon = ready()
    for topic, payload in plant.messages(plant.history(200)):
        client.publish(topic, payload)
    wait_until(
        lambda: ((client.last(STATE) or {}).get("learning") or {}).get("verdict") == "blocked", "the verdict"
    )
    told = client.last(STATE)["learning"]
    assert told["share"] == 1
    assert "anomalyd retrain" in told["text"]
    assert daemon.said("retraining_started") == []
