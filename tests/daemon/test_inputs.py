"""Whatever machines, strangers and clocks send, the daemon goes on and says what it left out."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon import assembly
from daemon import store as stores
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Ready = Callable[[], Daemon]
TOPIC = "plant/press/readings"
NONSENSE = [
    b"",
    b"\0",
    b"hello",
    b'{"flow": 1',
    b'{"fl\xf6w": 1}',
    b"\xff" * 300_000,
    b"x" * 10_000_000,
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b'{"ts": ' + b"[" * 900 + b"]" * 900 + b', "flow": 1}',
    b"[1, 2]",
    b"3",
    b"null",
    b"{}",
    b'{"ts": "yesterday", "flow": 1}',
    b'{"ts": -5, "flow": 1}',
    b'{"ts": 1e400, "flow": 1}',
    b'{"ts": true, "flow": 1}',
    b'{"flow": "1"}',
    b'{"flow": true}',
    b'{"flow": {"value": 1}}',
    b'{"flow": Infinity}',
    b'{"flow": 1e999}',
    b'{"flow": ' + b"9" * 10_000 + b"}",
    b'{"": 1}',
    b'{"\\ud800": 1}',
    b'{"flow\\u0000": 1}',
]


def dead_letters(setup: Setup) -> list[tuple[str, str, int]]:
    with sqlite3.connect(setup.state / "store.sqlite") as database:
        rows = database.execute(
            "SELECT topic, reason, length(payload) FROM dead_letters ORDER BY id"
        ).fetchall()
    database.close()
    return rows


def settled(client: Client, machine: str = "probe") -> None:
    """Waits until all that was published before has been dealt with."""
    before = len(client.messages(f"anomalyd/{machine}/state"))
    client.publish(f"plant/{machine}/readings", b'{"flow": 1, "pressure": 1, "temperature": 1}')
    wait_until(lambda: len(client.messages(f"anomalyd/{machine}/state")) > before, "the last message")


def test_nonsense_by_the_dozen_is_counted_and_kept_and_the_daemon_goes_on(
    setup: Setup, client: Client, ready: Ready
) -> None:
    daemon = ready()
    for payload in NONSENSE:
        client.publish(TOPIC, payload)
    client.publish("plant/" + "m" * 5_000 + "/readings", b'{"flow": 1}')
    client.publish("plant//readings", b'{"flow": 1}')
    settled(client)
    letters = dead_letters(setup)
    assert len(letters) == len(NONSENSE) + 2
    assert Counter(reason for _, reason, _ in letters) == {
        "not_json": 5, "too_deep": 3, "too_large": 2, "not_an_object": 3, "no_sensor": 1, "bad_time": 4,
        "not_a_number": 3, "not_finite": 3, "bad_name": 3, "topic": 2,
    }  # fmt: skip
    assert max(size for *_, size in letters) == 16_384
    assert {line["reason"] for line in daemon.said("message_refused")} == {reason for _, reason, _ in letters}
    assert daemon.running


def test_dead_letters_are_bounded(setup: Setup, client: Client, ready: Ready) -> None:
    setup.write(store={"max_dead_letters": 20})
    ready()
    for _ in range(300):
        client.publish(TOPIC, b"nonsense")
    settled(client)
    assert len(dead_letters(setup)) == 20


def test_readings_that_do_not_fit_in_time_are_counted_and_left_out(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    setup.write(scores={"publish": True})
    daemon = ready()
    good = plant.messages(plant.history(30))
    late = plant.messages(plant.history(1, start=plant.START - 60_000))[0]
    future = plant.messages(plant.history(1, start=(int(time.time()) + 86_400) * 1000))[0]
    stranger = (TOPIC, b'{"speed": 1}')
    for number, message in enumerate(good):
        client.publish(*message)
        if number % 10 == 5:
            for other in (message, late, future, stranger):
                client.publish(*other)
    wait_until(lambda: len(client.messages("anomalyd/press/score")) == 27, "the scores")
    settled(client)
    for reason in ("duplicate", "late", "future", "no_known_sensor"):
        daemon.wait("reading_dropped", reason=reason, machine="press")
    assert len(client.messages("anomalyd/press/score")) == 27


def test_new_combinations_of_sensors_are_refused_once_there_are_too_many(
    setup: Setup, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_NAMES", 2)
    daemon = assembly.Daemon(setup.file, setup.settings)

    def machine() -> None:
        wait_until(lambda: client.last("anomalyd/status"), "the connection")
        for payload in (b'{"a": 1, "b": 1}', b'{"b": 2, "a": 2}', b'{"a": 3, "c": 3}'):
            client.publish(TOPIC, payload)
            wait_until(lambda: client.last("anomalyd/press/state"), "the state")
        wait_until(lambda: dead_letters(setup), "the dead letter")

    with ThreadPoolExecutor(1) as other:
        done = other.submit(machine)
        done.add_done_callback(lambda _: daemon.stop())
        daemon.start()
        daemon.run()
        daemon.close()
        done.result()
    assert dead_letters(setup) == [(TOPIC, "too_many_layouts", 16)]


def test_more_machines_than_allowed_are_turned_away(setup: Setup, client: Client, ready: Ready) -> None:
    setup.write(readings={"max_machines": 3})
    daemon = ready()
    for number in range(10):
        client.publish(f"plant/press-{number}/readings", b'{"flow": 1}')
    daemon.wait("reading_dropped", reason="too_many_machines")
    wait_until(lambda: client.last("anomalyd/press-2/state"), "the third machine")
    assert client.last("anomalyd/press-3/state") is None


def test_a_machine_that_falls_silent_is_said(setup: Setup, client: Client, ready: Ready) -> None:
    plant.promote(setup.state)
    setup.write(alerts={"silent_after": "2s"})
    daemon = ready()
    client.publish(*plant.messages(plant.history(1))[0])
    daemon.wait("state_changed", machine="press", state="silent")
    wait_until(lambda: client.last("anomalyd/press/state")["state"] == "silent", "the state")
    client.publish(*plant.messages(plant.history(2))[1])
    wait_until(lambda: client.last("anomalyd/press/state")["state"] == "warming_up", "the state")


def test_readings_at_qos_0_are_taken_as_well(setup: Setup, client: Client, ready: Ready) -> None:
    setup.write(readings={"qos": 0})
    daemon = ready()
    client.publish(TOPIC, b'{"flow": 1}')
    daemon.wait("state_changed", machine="press")
