"""Processes are killed, disks are full, brokers go away: no reading and no alert is lost."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from daemon import publisher
from daemon.store import Store
from daemon.transaction import Transaction
from tests import plant
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.daemon.losses import ALERTS, assert_nothing_lost, confirmations, stored, unsent
from tests.real_broker import OPEN, SAVING, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

STATUS = "anomalyd/status"
Ready = Callable[[], Daemon]


@pytest.mark.slow
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_kills_in_mid_stream_lose_and_double_nothing(
    setup: Setup, client: Client, ready: Ready, broker: Broker, version: str
) -> None:
    plant.promote(setup.state)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "version": version})
    readings = plant.history(3000, faults=[range(n, n + 30) for n in range(100, 3000, 100)])
    daemon = ready()
    stream = client.stream(plant.messages(readings))
    for confirmed in (500, 1000, 1500, 2000, 2500):
        confirmations(client, confirmed)
        daemon.kill()
        daemon = ready()
        assert daemon.said("broker_connected")[0]["session_present"]
    stream.join()
    assert_nothing_lost(setup, client, readings)
    assert len(client.messages(ALERTS)) >= 58


@pytest.mark.slow
@pytest.mark.parametrize("broker", [f"{OPEN}\n{SAVING}"], ids=["saving"], indirect=True)
def test_a_broker_that_restarts_and_is_killed_costs_nothing(
    setup: Setup, client: Client, ready: Ready, broker: Broker
) -> None:
    plant.promote(setup.state)
    readings = plant.history(1500, faults=[range(n, n + 30) for n in range(50, 1500, 100)])
    messages = plant.messages(readings)
    daemon = ready()
    stream = client.stream(messages[:500], per_second=500)
    for confirmed in (150, 300):
        confirmations(client, confirmed)
        broker.stop()
        broker.start()
    stream.join()
    confirmations(client, 500)
    daemon.kill()
    client.stream(messages[500:1000]).join()
    confirmations(client, 1000)
    last = messages[999][1]
    saved = broker.folder / "mosquitto.db"
    wait_until(lambda: last in saved.read_bytes(), "the broker to have written all")
    broker.kill()
    broker.start()
    ready()
    client.stream(messages[1000:]).join()
    assert_nothing_lost(setup, client, readings)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_what_waits_in_the_outbox_reaches_the_broker_once_and_in_order(
    setup: Setup, run_daemon: Callable[..., Daemon], client: Client, broker: Broker, version: str
) -> None:
    setup.write(mqtt={"host": "localhost", "port": broker.port, "version": version})
    setup.state.mkdir()
    store = Store(setup.state / "store.sqlite")
    store.commit(Transaction(outgoing=[(ALERTS, json.dumps({"number": n}).encode()) for n in range(1500)]))
    store.close()
    broker.stop()
    daemon = run_daemon(setup.file)
    daemon.wait("broker_lost")
    broker.start()
    wait_until(lambda: unsent(setup) == 0, "the outbox to empty")
    wait_until(lambda: len(client.messages(ALERTS)) >= 1500, "the alerts")
    assert [message["number"] for message in client.messages(ALERTS)] == list(range(1500))


@pytest.mark.parametrize("broker", [f"{OPEN}\nmax_packet_size 2000"], ids=["small packets"], indirect=True)
def test_an_alert_that_is_larger_than_the_broker_takes_holds_up_no_other(
    setup: Setup, client: Client, ready: Ready
) -> None:
    largest = 2000 - 1 - 2 - 2 - len(ALERTS) - 2 - 1  # MQTT's header, its length, topic, number, properties
    setup.state.mkdir()
    store = Store(setup.state / "store.sqlite")
    texts = [json.dumps("x" * (largest + more - 2)).encode() for more in (0, 1, -1)]
    store.commit(Transaction(outgoing=[(ALERTS, text) for text in texts]))
    store.close()
    daemon = ready()
    wait_until(lambda: unsent(setup) == 0, "the outbox to empty")
    wait_until(lambda: len(client.messages(ALERTS)) == 2, "the others")
    assert [json.dumps(text).encode() for text in client.messages(ALERTS)] == [texts[0], texts[2]]
    (error,) = daemon.said("publication_too_large")
    assert (error["level"], error["topic"]) == ("error", ALERTS)
    assert (error["size"], error["limit"]) == (2001, 2000)
    with sqlite3.connect(setup.state / "store.sqlite") as database:
        letters = database.execute("SELECT topic, payload, reason, detail FROM dead_letters").fetchall()
    database.close()
    detail = "the broker takes packets of at most 2000 bytes, got 2001"
    assert letters == [(ALERTS, texts[1], "publication_too_large", detail)]
    client.publish("plant/press/readings", b'{"flow": 1}')
    wait_until(lambda: client.last("anomalyd/press/state"), "the state")


def test_what_the_broker_refuses_is_tried_again_in_order(
    tmp_path: Path,
    new_broker: Callable[..., Broker],
    new_client: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publisher, "RETRY_REFUSED", 0.5)
    permissions = tmp_path / "permissions"
    all_but = "topic readwrite #\nuser daemon\ntopic readwrite #\n"
    permissions.write_text(f"{all_but}topic deny {ALERTS}\n")
    permissions.chmod(0o600)
    broker = new_broker(f"{OPEN}\nacl_file {permissions}")
    client = new_client(broker.port, "anomalyd/#")
    setup = Setup(tmp_path, broker.port)
    setup.write(mqtt={"host": "localhost", "port": broker.port, "username": "daemon"})
    setup.state.mkdir()
    store = Store(setup.state / "store.sqlite")
    store.commit(Transaction(outgoing=[(ALERTS, b"%d" % n) for n in range(50)]))
    store.commit(Transaction(outgoing=[("anomalyd/pump/alert", b"0")]))
    store.close()
    with capture_logs() as logs, running(setup.file):

        def said(event: str) -> int:
            return sum(line["event"] == event for line in logs)

        wait_until(lambda: client.messages("anomalyd/pump/alert"), "what is allowed")
        wait_until(lambda: said("publication_refused") > 1, "another try")
        assert client.messages(ALERTS) == []
        refused = f"the broker refuses publications to {ALERTS}: Not authorized"
        wait_until(lambda: (client.last(STATUS) or {}).get("problem") == refused, "the status")
        permissions.write_text(all_but)
        broker.send(signal.SIGHUP)  # it reads them again
        wait_until(lambda: unsent(setup) == 0, "the outbox to empty")
        wait_until(lambda: client.last(STATUS)["status"] == "online", "the status")
    wait_until(lambda: len(client.messages(ALERTS)) >= 50, "the alerts")
    assert client.messages(ALERTS) == list(range(50))


def fill_disk(daemon: Daemon, setup: Setup) -> None:
    """No file of the daemon may grow beyond what the store's log of writes has now."""
    size = Path(f"{setup.state}/store.sqlite-wal").stat().st_size
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def empty_disk(daemon: Daemon) -> None:
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def test_a_full_disk_holds_readings_back_and_costs_none(
    setup: Setup, client: Client, ready: Ready, broker: Broker
) -> None:
    plant.promote(setup.state)
    readings = plant.history(600, faults=[range(100, 150)])
    messages = plant.messages(readings)
    daemon = ready()
    client.stream(messages[:200]).join()
    wait_until(lambda: len(stored(setup)) == 200, "the first readings")
    fill_disk(daemon, setup)
    client.stream(messages[200:400]).join()
    assert daemon.wait("store_failed", doing="commit")["reason"] in {"full", "ioerr"}
    degraded = wait_until(
        lambda: client.last(STATUS)["status"] == "degraded" and client.last(STATUS), "the status"
    )
    assert degraded["problem"].startswith("the store cannot be written: ")
    broker.stop()
    broker.start()
    wait_until(lambda: len(daemon.said("broker_connected")) == 2, "the connection")
    wait_until(lambda: client.last(STATUS)["status"] == "degraded", "the status on the new connection")
    empty_disk(daemon)
    daemon.wait("store_recovered")
    wait_until(lambda: client.last(STATUS)["status"] == "online", "the status")
    client.stream(messages[400:]).join()
    assert_nothing_lost(setup, client, readings)


def test_a_daemon_that_stops_on_a_full_disk_leaves_the_readings_to_the_broker(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    readings = plant.history(400, faults=[range(100, 150)])
    daemon = ready()
    client.stream(plant.messages(readings)[:200]).join()
    wait_until(lambda: len(stored(setup)) == 200, "the first readings")
    fill_disk(daemon, setup)
    client.stream(plant.messages(readings)[200:]).join()
    daemon.wait("store_failed")
    assert daemon.end() == 0
    wait_until(lambda: client.last(STATUS)["status"] == "offline", "the good-bye")
    ready()
    assert_nothing_lost(setup, client, readings)
