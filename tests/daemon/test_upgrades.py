"""Files that older versions wrote are taken up; those of newer ones are refused."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from daemon.schema import SCHEMA, STEPS
from daemon.store import Store
from daemon.tally import Tally
from registry.bundle import BundleError
from registry.champions import Registry
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

FIRST = Path(__file__).with_name("first_version")
BUNDLE = "2025-01-01T09-00-00Z-0001"
CLOSED = "3e271a6a19da03f10a4a246feb16b86e"
OPEN = "be0b6946e9823679d2d6baa47e320ee5"
ALERTS, STATES = "anomalyd/press/alert", "anomalyd/press/state"
Ready = Callable[[], Daemon]


def take(state: Path) -> None:
    shutil.copytree(FIRST, state)
    (state / "README.md").unlink()


def version(state: Path) -> int:
    with sqlite3.connect(state / "store.sqlite") as database:
        (number,) = database.execute("PRAGMA user_version").fetchone()
    database.close()
    return int(number)


def test_a_store_of_the_first_version_is_brought_forward_with_all_that_it_holds(tmp_path: Path) -> None:
    take(tmp_path / "state")
    assert version(tmp_path / "state") == 1
    store = Store(tmp_path / "state/store.sqlite")
    history = plant.history(60, faults=[range(20, 40), range(50, 60)])
    assert [r.at for r in store.readings("press", 0)] == history.at.tolist()
    assert store.history("press", 0).values.tolist() == history.values.tolist()
    ((name, snapshot),) = store.snapshots()
    assert name == "press"
    assert snapshot.alerts.alert is not None
    assert (snapshot.alerts.alert.id, snapshot.alerts.recent) == (OPEN, ())
    assert store.alerted("press") == [
        (plant.START + 23_000, plant.START + 49_000),
        (plant.START + 52_000, None),
    ]
    assert store.subscribed("plant/+/readings") == ()
    assert store.unsent() == []
    store.close()
    assert version(tmp_path / "state") == SCHEMA


@pytest.mark.parametrize(
    "content",
    [b"", b"\x05", b"\xa1\xff", b"\x91" * 100_000, msgspec.msgpack.encode({"alerts": {}})],
    ids=["empty", "number", "text", "deep", "partial"],
)
def test_a_state_that_cannot_be_read_costs_its_machine_alone(tmp_path: Path, content: bytes) -> None:
    take(tmp_path / "state")
    path = tmp_path / "state/store.sqlite"
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO machines VALUES (7, 'pump', ?)", (content,))
    database.close()
    tally = Tally(time.monotonic)
    store = Store(path, tally=tally)
    assert store.damage is None
    assert [name for name, _ in store.snapshots()] == ["press"]
    assert tally.counts["snapshot_unreadable", ""] == 1
    assert len(list(store.readings("press", 0))) == 60
    store.close()


@pytest.mark.parametrize("steps", range(1, SCHEMA))
def test_a_step_that_is_cut_short_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    take(tmp_path / "state")

    def cut(database: sqlite3.Connection) -> None:
        STEPS[steps](database)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("daemon.schema.STEPS", (*STEPS[:steps], cut))
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path / "state/store.sqlite")
    assert version(tmp_path / "state") == steps
    store = Store(tmp_path / "state/store.sqlite")
    assert len(list(store.readings("press", 0))) == 60
    store.close()


def test_a_bundle_of_the_first_version_is_read(tmp_path: Path) -> None:
    take(tmp_path / "state")
    registry = Registry(tmp_path / "state")
    champions, refused = registry.load({})
    assert refused == []
    assert champions.shared is not None
    assert champions.shared.manifest.id == BUNDLE
    (tmp_path / "state/bundles" / BUNDLE / "model.tflite").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.tflite was changed after it was written"):
        registry.read(BUNDLE)


def test_the_daemon_goes_on_where_the_first_version_stopped(
    setup: Setup, client: Client, ready: Ready
) -> None:
    take(setup.state)
    ready()
    wait_until(lambda: client.last(STATES), "the state")
    assert client.last(STATES)["alert"]["id"] == OPEN
    for topic, payload in plant.messages(plant.history(90, faults=[range(20, 40), range(50, 60)]))[60:]:
        client.publish(topic, payload)
    wait_until(lambda: client.last(STATES)["state"] == "normal", "the end of the alert")
    assert [(event["id"], event["change"]) for event in client.messages(ALERTS)] == [(OPEN, "closed")]
