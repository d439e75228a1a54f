"""A damaged store is set aside, never deleted, and the daemon goes on with what is still known."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from config import load
from daemon import integrity, recovery
from daemon.bounds import Limits
from daemon.intake import Message
from daemon.opening import StoreError
from daemon.schema import SCHEMA
from daemon.store import Store
from daemon.transaction import Transaction
from detector.alerts import AlertTracker, OpenAlert, OpenSilence, Severity
from detector.events import MachineState
from detector.machine import Snapshot
from detector.reading import Reading
from tests import plant
from tests.conftest import Setup
from tests.daemon import offline
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

AT = 1_735_725_600_000
PAGE = 4096
ALERTS, STATES, STATUS = "anomalyd/press/alert", "anomalyd/press/state", "anomalyd/status"
ALERT = OpenAlert("9f0c", AT, 2.5, Severity.WARNING, AT)
SNAPSHOT = Snapshot(None, None, None, None, AlertTracker(alert=ALERT), MachineState.ALERT, AT)
Ready = Callable[[], Daemon]


def readings(count: int) -> list[Reading]:
    return [Reading("press", AT + n, ("flow", "load"), np.ones(2)) for n in range(count)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store of 3 MB, more than SQLite keeps in memory, all of it in the file itself."""
    store = Store(tmp_path / "store.sqlite")
    store.commit(
        Transaction(
            readings=readings(100_000),
            snapshots={"press": SNAPSHOT},
            opened=[("press", ALERT.id, AT)],
            outgoing=[("a", b"1"), ("a", b"2")],
            texts={5.0: "run"},
        )
    )
    store.close()
    store.unsent()  # opens it again
    yield store
    store.close()


def spoil(file: Path, page: int, pages: int = 1) -> None:
    with file.open("r+b") as opened:
        opened.seek(page * PAGE)
        opened.write(b"\x5a" * PAGE * pages)


def garble(file: Path) -> None:
    file.write_bytes(b"no database " * 1000)


def halve(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2 + 100)


def spoil_the_end(file: Path) -> None:
    spoil(file, file.stat().st_size // PAGE - 1)


def replace_by_another(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as other:
        other.executescript("CREATE TABLE notes (text); PRAGMA user_version = 2;")
    other.close()


def empty(file: Path) -> None:
    os.truncate(file, 0)


@pytest.mark.parametrize("harm", [garble, halve, spoil_the_end, replace_by_another])
def test_a_damaged_store_is_set_aside_as_it_is_and_begun_anew(
    store: Store, harm: Callable[[Path], None]
) -> None:
    store.close()
    harm(store.path)
    harmed = store.path.read_bytes()
    with capture_logs() as logs:
        anew = Store(store.path)
    (said,) = [line for line in logs if line["event"] == "store_damaged"]
    aside = Path(said["file"])
    assert (said["log_level"], aside.name[:21]) == ("error", "store.sqlite.corrupt-")
    assert aside.read_bytes() == harmed
    assert anew.damage is not None
    assert (anew.damage.file, anew.damage.reason) == (said["file"], said["detail"])
    assert anew.recovering
    assert list(anew.readings("press", 0)) == []
    anew.commit(Transaction(readings=readings(3)))
    anew.recovered()
    anew.close()
    after = Store(store.path)
    assert len(list(after.readings("press", 0))) == 3
    assert (after.damage, after.recovering) == (anew.damage, False)
    after.close()


def test_what_is_legible_is_taken_over(store: Store) -> None:
    store.close()
    spoil_the_end(store.path)  # a page of readings
    anew = Store(store.path)
    assert anew.unsent() == [(1, "a", b"1"), (2, "a", b"2")]
    assert dict(anew.snapshots()) == {"press": SNAPSHOT}
    assert anew.alerted("press") == [(AT, None)]
    assert anew.history("press", 0).texts == {5.0: "run"}
    assert anew.commit(Transaction(outgoing=[("a", b"3")]))[0] > 2
    anew.close()


@pytest.mark.parametrize("sensors", ["5", "none", "x'ff'"])
def test_a_list_of_sensors_that_is_none_is_damage(store: Store, sensors: str) -> None:
    value = f"CAST({sensors} AS TEXT)" if sensors.startswith("x") else f"'{sensors}'"
    store._database.execute(f"UPDATE layouts SET sensors = {value}")  # noqa: S608 - ours
    store.close()
    anew = Store(store.path)
    assert anew.damage is not None
    assert dict(anew.snapshots()) == {"press": SNAPSHOT}
    anew.close()


def test_a_state_that_is_none_costs_its_machine_alone_where_a_store_is_damaged(store: Store) -> None:
    store.commit(Transaction(snapshots={"pump": SNAPSHOT}))
    store._database.execute("UPDATE machines SET snapshot = x'a1ff' WHERE name = 'pump'")
    store._database.execute("UPDATE layouts SET sensors = 'none'")
    store.close()
    anew = Store(store.path)
    assert dict(anew.snapshots()) == {"press": SNAPSHOT}
    anew.close()


def test_numbers_of_publications_on_their_way_are_not_given_again(store: Store) -> None:
    store.close()
    garble(store.path)
    anew = Store(store.path)
    assert anew.unsent() == []
    (number,) = anew.commit(Transaction(outgoing=[("a", b"3")], sent=[1, 2]))
    assert number > 2
    assert anew.unsent() == [(number, "a", b"3")]
    anew.close()


def test_nothing_that_was_set_aside_is_overwritten(store: Store, tmp_path: Path) -> None:
    contents = {b"first" * 1000, b"second" * 1000, b"third" * 1000}
    store.close()
    for content in contents:
        store.path.write_bytes(content)
        Store(store.path).close()
    kept = {
        file.read_bytes() for file in tmp_path.glob("store.sqlite.corrupt-*") if file.suffix[-4:] != "-wal"
    }
    assert contents <= kept


def test_the_log_of_writes_goes_with_its_file(store: Store, tmp_path: Path) -> None:
    names = ("store.sqlite", "store.sqlite-wal")
    store.commit(Transaction(readings=[Reading("press", AT - 1, ("flow",), np.ones(1))]))
    contents = [(tmp_path / name).read_bytes() for name in names]  # as a kill would leave them
    store.close()
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    os.truncate(store.path, 0)
    with capture_logs() as logs:
        Store(store.path).close()
    (said,) = [line for line in logs if line["event"] == "store_damaged"]
    assert said["detail"] == "it is empty, with a log of writes beside it"
    aside = Path(said["file"])
    assert aside.stat().st_size == 0
    assert integrity.beside(aside, "-wal").read_bytes() == contents[1]


def test_a_log_of_writes_that_lacks_its_end_costs_what_stood_there_alone(store: Store) -> None:
    log = integrity.beside(store.path, "-wal")
    kept = log.stat().st_size
    store.commit(Transaction(readings=[Reading("pump", AT, ("flow",), np.ones(1))]))
    middle = log.stat().st_size
    store.commit(Transaction(readings=[Reading("fan", AT, ("flow",), np.ones(1))]))
    file, written = store.path.read_bytes(), log.read_bytes()
    assert kept < middle < len(written)
    store.close()
    store.path.write_bytes(file)
    log.write_bytes(written[: middle + 100])
    after = Store(store.path)
    assert after.damage is None
    assert set(after.machines()) == {"press", "pump"}
    after.close()


def test_damage_that_is_met_while_running_costs_no_batch(store: Store) -> None:
    spoil(store.path, 200, 500)
    later = [Reading("press", AT + 100_000_000 + n, ("flow",), np.ones(1)) for n in range(3)]
    with capture_logs() as logs:
        limits = Limits(keep=1, max_size=10**12, max_outbox=10)
        while store.prune(limits, now=AT + 10**9).old:  # reads what is spoiled
            pass
        store.commit(Transaction(readings=later, outgoing=[("a", b"3")], closed=[(ALERT.id, AT + 9)]))
    assert [line["event"] for line in logs] == ["store_damaged", "store_begun_anew"]
    assert [reading.at for reading in store.readings("press", 0)] == [reading.at for reading in later]
    assert [payload for _, _, payload in store.unsent()] == [b"1", b"2", b"3"]
    assert store.alerted("press") == [(AT, AT + 9)]


def test_a_successor_that_the_disk_refuses_is_made_once_there_is_room(store: Store, tmp_path: Path) -> None:
    store.close()
    garble(store.path)
    unfinished = integrity.beside(store.path, ".unfinished")
    unfinished.mkdir()  # whatever keeps a file from being made
    content = store.path.read_bytes()
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            store.commit(Transaction(readings=readings(2)))
        assert store.path.read_bytes() == content
    unfinished.rmdir()
    store.commit(Transaction(readings=readings(2)))
    assert len(list(store.readings("press", 0))) == 2
    assert store.damage is not None
    assert len(list(tmp_path.glob("store.sqlite.corrupt-*"))) == 1


def test_a_store_of_a_newer_version_is_refused_and_left_as_it_is(store: Store, tmp_path: Path) -> None:
    store._database.execute("PRAGMA user_version = 99")
    store.close()
    content = store.path.read_bytes()
    with pytest.raises(StoreError) as refused:
        Store(store.path)
    assert str(refused.value) == (
        f"{store.path}: must have schema {SCHEMA} or an older one, got 99: made by a newer version, which "
        "alone can go on with it"
    )
    assert store.path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [store.path]


def test_a_large_store_is_looked_at_no_longer_than_a_start_may_take(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "CHECK_WITHIN", 0.0)
    monkeypatch.setattr(integrity, "STEPS", 10)
    store.close()
    spoil_the_end(store.path)
    Store(store.path).close()
    assert not list(store.path.parent.glob("store.sqlite.corrupt-*"))


@pytest.mark.parametrize("harm", [garble, replace_by_another, Path.unlink, empty])
def test_an_open_alert_is_taken_up_from_the_retained_state_and_closes_under_its_id(
    setup: Setup, client: Client, ready: Ready, harm: Callable[[Path], None]
) -> None:
    plant.promote(setup.state)
    messages = plant.messages(plant.history(120, faults=[range(20, 60)]))
    daemon = ready()
    client.stream(messages[:50]).join()
    opened = wait_until(lambda: client.messages(ALERTS), "the alert")[0]
    wait_until(lambda: client.last(STATES)["state"] == "alert", "the state")
    daemon.kill()
    client.stream(messages[50:]).join()  # a backlog, which must not be seen before the states
    harm(setup.state / "store.sqlite")
    for part in ("-wal", "-shm"):
        (setup.state / f"store.sqlite{part}").unlink(missing_ok=True)
    daemon = ready()
    assert daemon.wait("alerts_recovered")["machines"] == ["press"]
    status = wait_until(lambda: client.last(STATUS)["status"] == "degraded" and client.last(STATUS), "status")
    (said,) = daemon.said("store_damaged")
    place = f": it is {said['file']} now" if said["file"] else ", and made anew"
    assert status["problem"].startswith(f"the store was damaged ({said['detail']}){place}")
    wait_until(lambda: client.last(STATES)["state"] == "normal", "the end of the alert")
    changes = [(event["id"], event["change"]) for event in client.messages(ALERTS)]
    assert changes == [(opened["id"], "opened"), (opened["id"], "closed")]
    daemon.end()
    daemon = ready()
    assert daemon.said("alerts_recovered") == []
    wait_until(lambda: client.last(STATUS)["status"] == "degraded", "the status after a restart")


def test_retained_states_of_any_kind_are_borne(setup: Setup, client: Client, ready: Ready) -> None:
    setup.state.mkdir()
    garble(setup.state / "store.sqlite")
    good: dict[str, Any] = {
        "id": "9f0c",
        "opened_at": "2025-01-01T10:00:00.000Z",
        "severity": "critical",
        "peak_score": 7.5,
    }
    retained = {
        "good": json.dumps({"machine": "good", "state": "alert", "alert": good, "more": 1}),
        "mute": json.dumps({"machine": "mute", "alert": good | {"id": "5e1f", "peak_score": None}}),
        "calm": json.dumps({"machine": "calm", "alert": None}),
        "text": "x",
        "list": "[]",
        "time": json.dumps({"machine": "time", "alert": good | {"opened_at": 5}}),
        "early": json.dumps({"machine": "early", "alert": good | {"opened_at": "0001-01-01T00:00:00+14:00"}}),
        "last": json.dumps({"machine": "last", "alert": good | {"opened_at": "9999-12-31T23:59:59.9999Z"}}),
        "local": json.dumps({"machine": "local", "alert": good | {"opened_at": "2025-01-01T10:00:00"}}),
        "long": json.dumps({"machine": "long", "alert": good | {"id": "x" * 300}}),
        "other": json.dumps({"machine": "elsewhere", "alert": good}),
        "deep": "[" * 100_000,
    }
    for name, payload in retained.items():
        client.retain(f"anomalyd/{name}/state", payload.encode())
    wait_until(lambda: client.confirmed == len(retained), "the states")
    daemon = ready()
    assert sorted(daemon.wait("alerts_recovered")["machines"]) == ["good", "mute"]
    daemon.end()
    store = Store(setup.state / "store.sqlite", read_only=True)
    snapshots = dict(store.snapshots())
    assert set(snapshots) == {"good", "mute"}
    assert snapshots["mute"].silence == OpenSilence("5e1f", AT, AT)
    assert snapshots["good"].alerts.alert == OpenAlert("9f0c", AT, 7.5, Severity.CRITICAL, AT)
    assert store.alerted("good") == [(AT, None)]
    store.close()


def test_a_broker_that_does_not_answer_is_asked_again_before_any_reading_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text(f"state_dir: {tmp_path}\n")
    garble(tmp_path / "store.sqlite")
    answers = iter([None, None, {"press": ALERT}])
    with offline.serving(load(file, {}), retained_alerts=lambda: next(answers)) as daemon:
        for _ in range(4):  # of which the first hears that there is a connection
            assert daemon.service.pipeline.machine("press") is None
            daemon.service.step()
        machine = daemon.service.pipeline.machine("press")
        assert machine is not None
        assert machine.snapshot().alerts.alert == ALERT


def test_a_broker_that_never_answers_holds_readings_back_for_a_few_tries_and_the_next_start_asks_again(
    tmp_path: Path,
) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text(f"state_dir: {tmp_path}\n")
    settings = load(file, {})
    garble(tmp_path / "store.sqlite")
    with offline.serving(settings, retained_alerts=lambda: None) as daemon:
        message = Message("plant/press/readings", b'{"ts": 1735725600000, "flow": 1}', AT, 0, 1, 0)
        daemon.take([message])
        for _ in range(recovery.ASKED - 1):
            assert daemon.count("message_refused") == 0
            assert daemon.service.pipeline.machine("press") is None
            daemon.service.step()
        daemon.service.step()
        daemon.service.step()
        assert daemon.service.pipeline.machine("press") is not None
    again = Store(tmp_path / "store.sqlite")
    assert again.recovering
    again.close()


def test_damage_is_a_problem_for_a_day() -> None:
    damage = integrity.Damage(AT, "aside", "why")
    assert damage.problem(AT + integrity.SHOWN - 1) == (
        "the store was damaged (why): it is aside now, and begun anew at 2025-01-01T10:00:00.000Z"
    )
    assert damage.problem(AT + integrity.SHOWN) is None
