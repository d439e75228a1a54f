"""A damaged or deleted store gives way to a successor; whenever that is cut short, what was legible stays."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from daemon.store import Store
from daemon.transaction import Transaction
from detector.alerts import AlertTracker, OpenAlert, Severity
from detector.events import MachineState
from detector.machine import Snapshot
from detector.reading import Reading
from tests import plant
from tests.conftest import Setup
from tests.daemon.losses import assert_nothing_lost, stored
from tests.daemon.test_failpoints import SWAP
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

AT = 1_735_725_600_000
ALERTS, STATES, STATUS = "anomalyd/press/alert", "anomalyd/press/state", "anomalyd/status"
ALERT = OpenAlert("9f0c", AT, 2.5, Severity.WARNING, AT)
SNAPSHOT = Snapshot(None, None, None, None, AlertTracker(alert=ALERT), MachineState.ALERT, AT)
Ready = Callable[[], Daemon]


def damaged(path: Path) -> sqlite3.Connection:
    """Leaves a store whose file is sound but old, as its log holds what came later, and the damage.

    Returns:
        A reader, as a training is one; while it is open nobody takes the log into the file.
    """
    store = Store(path)
    store.commit(Transaction(outgoing=[(ALERTS, b'{"id": "sent"}')]))
    store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    reading = Reading("press", AT, ("flow",), np.ones(1))
    store.commit(
        Transaction(
            readings=[reading],
            snapshots={"press": SNAPSHOT},
            opened=[("press", ALERT.id, AT)],
            outgoing=[(ALERTS, b'{"id": "waits"}')],
            sent=[1],
        )
    )
    store._database.execute("UPDATE layouts SET sensors = 'none'")
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    reader.execute("SELECT count(*) FROM machines").fetchone()
    store.close()
    return reader


@pytest.mark.parametrize("name", SWAP)
def test_a_daemon_that_is_killed_while_a_damaged_store_gives_way_loses_nothing_legible_and_serves_nothing_old(
    setup: Setup, client: Client, ready: Ready, run_daemon: Callable[..., Daemon], name: str
) -> None:
    setup.state.mkdir()
    path = setup.state / "store.sqlite"
    reader = damaged(path)
    daemon = run_daemon(setup.file, ANOMALYD_FAILPOINT=name)
    assert daemon.code() == -signal.SIGKILL
    assert client.messages(ALERTS) == []
    daemon = ready()
    wait_until(lambda: client.messages(ALERTS), "what waited")
    assert daemon.wait("alerts_recovered")
    wait_until(lambda: client.last(STATES)["state"] == "alert", "the state")
    assert client.last(STATES)["alert"]["id"] == ALERT.id
    assert daemon.end() == 0
    reader.close()
    assert client.messages(ALERTS) == [{"id": "waits"}]
    names = sorted(each.name for each in setup.state.glob("store.sqlite*"))
    (aside, *beside) = [each for each in names if "corrupt" in each]
    assert f"{aside}-wal" in beside
    assert set(names) - {aside, *beside} == {"store.sqlite"}
    old = sqlite3.connect(setup.state / aside)
    assert old.execute("SELECT sensors FROM layouts").fetchall() == [("none",)]
    old.close()


def test_only_where_there_should_be_a_store_none_is_damage(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    assert (store.damage, store.recovering) == (None, False)
    store.close()
    store = Store(tmp_path / "store.sqlite", expected=True)
    assert (store.damage, store.recovering) == (None, False)
    store.close()
    store = Store(tmp_path / "other.sqlite", expected=True)
    assert store.damage is not None
    assert (store.damage.file, store.damage.reason, store.recovering) == ("", "it is gone", True)
    assert store.damage.problem(store.damage.at) is not None
    store.close()
    assert [each.name for each in tmp_path.iterdir() if "corrupt" in each.name] == []


def delete(path: Path) -> None:
    for part in ("", "-wal", "-shm"):
        Path(f"{path}{part}").unlink()


def delete_file(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    Store(other).close()
    other.rename(path)


@pytest.mark.parametrize("harm", [delete, delete_file, replace])
def test_a_store_that_is_deleted_or_replaced_while_it_is_in_use_is_written_again_and_nothing_lost(
    setup: Setup, client: Client, ready: Ready, harm: Callable[[Path], None]
) -> None:
    plant.promote(setup.state)
    readings = plant.history(300, faults=[range(20, 50), range(220, 250)])
    messages = plant.messages(readings)
    daemon = ready()
    client.stream(messages[:100]).join()
    wait_until(lambda: len(stored(setup)) == 100, "the first readings")
    harm(setup.state / "store.sqlite")
    said = daemon.wait("store_damaged")
    assert "while it was in use" in said["detail"]
    assert Path(said["file"]).is_file() == (harm is replace)
    client.stream(messages[100:200]).join()
    wait_until(lambda: len(stored(setup)) == 200, "the next readings")
    status = wait_until(lambda: client.last(STATUS)["status"] == "degraded" and client.last(STATUS), "status")
    assert status["problem"].startswith(f"the store was damaged ({said['detail']})")
    daemon.kill()
    daemon = ready()
    client.stream(messages[200:]).join()
    assert_nothing_lost(setup, client, readings)
    assert daemon.said("store_damaged") == daemon.said("alerts_recovered") == []


def test_damage_that_is_met_while_running_shows_in_the_status_and_costs_no_open_alert(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    silent, other = (plant.history(60, machine=name, faults=[range(20, 40)]) for name in ("press", "pump"))
    daemon = ready()
    client.stream(plant.messages(silent)[:30]).join()
    client.stream(plant.messages(other)[:10]).join()
    opened = wait_until(lambda: client.messages(ALERTS), "the alert")[0]
    wait_until(lambda: len(stored(setup)) == 30, "the readings")
    path = setup.state / "store.sqlite"
    spoil(path, "machines", "readings")
    client.stream(plant.messages(other)[10:20]).join()
    said = daemon.wait("store_damaged")
    daemon.wait("alerts_recovered")
    status = wait_until(lambda: client.last(STATUS)["status"] == "degraded" and client.last(STATUS), "status")
    assert status["problem"].startswith(f"the store was damaged ({said['detail']}): it is {said['file']} now")
    daemon.kill()
    ready()
    client.stream(plant.messages(silent)[30:]).join()
    wait_until(lambda: client.last(STATES)["state"] == "normal", "the end of the alert")
    changes = [(event["id"], event["change"]) for event in client.messages(ALERTS)]
    assert list(dict.fromkeys(changes)) == [(opened["id"], "opened"), (opened["id"], "closed")]


def spoil(path: Path, *tables: str) -> None:
    """Overwrites the first pages of tables below a daemon that runs, and makes it look at the file again."""
    database = sqlite3.connect(path, timeout=30, isolation_level=None)
    query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
    pages = [database.execute(query, (table,)).fetchone()[0] for table in tables]
    wait_until(lambda: database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0, "the log")
    with path.open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(b"\x5a" * 4096)
        os.fsync(file.fileno())
    database.execute("INSERT OR IGNORE INTO subscriptions VALUES ('test')")
    database.close()
