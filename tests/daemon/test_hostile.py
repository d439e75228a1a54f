"""Whatever is published, the daemon goes on: it says what it refused, keeps it, and takes what comes next."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from daemon.bounds import KEPT_PAYLOAD
from daemon.store import Store
from tests import plant
from tests.conftest import Setup
from tests.real_broker import Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

TOPIC = "plant/press/readings"
STATE = "anomalyd/press/state"
Ready = Callable[[], Daemon]
START = plant.START


def rows(setup: Setup, statement: str) -> list[Any]:
    """What another process reads in the daemon's store."""
    database = sqlite3.connect(f"file:{setup.state}/store.sqlite?mode=ro", uri=True, timeout=10)
    try:
        return database.execute(statement).fetchall()
    finally:
        database.close()


def letters(setup: Setup) -> list[tuple[str, bytes, str]]:
    """Topic, payload and reason of all dead letters, oldest first."""
    return rows(setup, "SELECT topic, payload, reason FROM dead_letters ORDER BY id")


def stored(setup: Setup, machine: str = "press") -> list[tuple[int, dict[str, float]]]:
    """Times and values of all stored readings, by time."""
    store = Store(setup.state / "store.sqlite", read_only=True)
    found = [
        (reading.at, dict(zip(reading.sensors, reading.values.tolist(), strict=True)))
        for reading in store.readings(machine, 0)
    ]
    store.close()
    return found


def good(second: int, **values: float | None) -> bytes:
    """A reading of all three sensors, or with other values."""
    sensors = dict(zip(plant.SENSORS, plant.OFFSET, strict=True)) | values
    return json.dumps({"ts": START + 1000 * second, **sensors}).encode()


def states(client: Client, machine: str, expected: list[str]) -> bool:
    """Whether a machine has been in these states."""
    return [each["state"] for each in client.messages(f"anomalyd/{machine}/state")] == expected


def connected(daemon: Daemon, times: int) -> bool:
    return len(daemon.said("broker_connected")) == times


FAULTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not_json"),
    "no JSON": (b"flow=1;pressure=2", "not_json"),
    "truncated": (good(1)[:-9], "not_json"),
    "no UTF-8": (b'{"fl\xf6w": 1}', "not_json"),
    "UTF-16": (good(1).decode().encode("utf-16"), "not_json"),
    "zeros": (b"\0" * 100, "not_json"),
    "two readings": (good(1) + good(2), "not_json"),
    "a list of readings": (b"[%s]" % good(1), "not_an_object"),
    "null alone": (b"null", "not_an_object"),
    "infinite": (b'{"flow": Infinity}', "not_finite"),
    "minus infinite": (b'{"flow": -Infinity}', "not_finite"),
    "1e999": (b'{"flow": 1e999}', "not_finite"),
    "a huge integer": (b'{"flow": %s}' % (b"9" * 5_000), "not_finite"),
    "true for a number": (b'{"flow": true}', "not_a_number"),
    "text for a number": (b'{"flow": "1.5"}', "not_a_number"),
    "a list for a number": (b'{"flow": [1, 2]}', "not_a_number"),
    "nested lists": (b"[" * 100_000, "too_deep"),
    "nested objects": (b'{"a":' * 40_000, "too_deep"),
    "10 MB": (b'{"flow": 1, "note": "%s"}' % (b"x" * 10_000_000), "too_large"),
    "5,000 sensors": (json.dumps({f"s{i}": 1 for i in range(5_000)}).encode(), "too_large"),
    "a time that is none": (b'{"ts": "noon", "flow": 1}', "bad_time"),
    "a time in nanoseconds": (b'{"ts": 1735725601500000000, "flow": 1}', "bad_time"),
    "a time alone": (b'{"ts": 1735725601500}', "no_sensor"),
    "a sensor without a name": (b'{"": 1}', "bad_name"),
    "a name with a line break": (b'{"a\\nb": 1}', "bad_name"),
    "half a surrogate": (b'{"\\ud800": 1}', "bad_name"),
}


def test_what_is_no_reading_is_kept_with_its_reason_and_the_next_reading_is_taken(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    for payload, _ in FAULTS.values():
        client.publish(TOPIC, payload)
    client.publish(TOPIC, good(0))
    wait_until(lambda: client.last(STATE), "the state that the good reading leads to")
    kept = letters(setup)
    assert [(payload, reason) for _, payload, reason in kept] == [
        (payload[:KEPT_PAYLOAD], reason) for payload, reason in FAULTS.values()
    ]
    assert {topic for topic, _, _ in kept} == {TOPIC}
    assert [at for at, _ in stored(setup)] == [START]
    said = {line["reason"] for line in daemon.said("message_refused")}
    assert said == {reason for _, reason in FAULTS.values()}


def test_what_is_larger_than_memory_should_hold_stays_with_the_broker(
    setup: Setup, client: Client, ready: Ready
) -> None:
    daemon = ready()
    client.publish(TOPIC, b"x" * 40_000_000)
    client.publish(TOPIC, good(0))
    wait_until(lambda: stored(setup), "the next reading")
    assert letters(setup) == []
    assert daemon.said("broker_lost") == []


def test_null_nan_absent_and_extra_sensors_and_repeated_keys_make_a_reading_all_the_same(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    daemon = ready()
    flow, pressure, temperature = plant.OFFSET
    client.publish(TOPIC, good(0, pressure=None))
    client.publish(TOPIC, good(1).replace(b"40.0", b"NaN"))
    client.publish(TOPIC, json.dumps({"ts": START + 2000, "flow": flow, "pressure": pressure}).encode())
    client.publish(TOPIC, good(3, oil=7.5))
    client.publish(TOPIC, good(4).replace(b'"flow"', b'"flow": 1e3, "flow"'))
    client.publish(TOPIC, json.dumps({"ts": START + 5000, "oil": 1, "noise": 2}).encode())
    client.publish(TOPIC, good(6))
    wait_until(lambda: len(stored(setup)) == 6, "the readings")
    whole = {"flow": flow, "pressure": pressure, "temperature": temperature}
    expected = [
        {**whole, "pressure": None},
        {**whole, "flow": None},
        {"flow": flow, "pressure": pressure},
        {**whole, "oil": 7.5},
        whole,
        whole,
    ]
    seen = [{k: None if v != v else v for k, v in values.items()} for _, values in stored(setup)]  # noqa: PLR0124
    assert seen == expected
    daemon.wait("reading_dropped", reason="no_known_sensor", machine="press")
    wait_until(lambda: client.messages(STATE)[-1:] and client.last(STATE)["state"] == "normal", "a score")
    assert letters(setup) == []


HOSTILE = {
    "plant/../readings": "..",
    "plant/$SYS/readings": "$SYS",
    "plant/{machine}/readings": "{machine}",
    "plant/' OR 1=1; --/readings": "' OR 1=1; --",
    "plant/ポンプ 7/readings": "ポンプ 7",
    f"plant/{'m' * 256}/readings": "m" * 256,
}
REFUSED = [
    "plant//readings",
    f"plant/{'m' * 257}/readings",
    f"plant/{'m' * (65_535 - len('plant//readings'))}/readings",  # the longest topic of MQTT
]


def test_a_machine_s_name_is_a_name_whatever_it_looks_like_and_no_name_is_a_path(
    setup: Setup, client: Client, ready: Ready
) -> None:
    ready()
    for topic in [*REFUSED, *HOSTILE]:
        client.publish(topic, good(0))
    for name in HOSTILE.values():
        wait_until(partial(client.last, f"anomalyd/{name}/state"), f"the state of {name}")
        assert client.last(f"anomalyd/{name}/state")["machine"] == name
        assert [at for at, _ in stored(setup, name)] == [START]
    assert [(topic, reason) for topic, _, reason in letters(setup)] == [(each, "topic") for each in REFUSED]
    files = {path.name.split("-")[0] for path in setup.state.rglob("*")}
    assert files <= {
        "store.sqlite",
        "daemon.lock",
        "alive",
        "bundles",
        "champions.json",
        "retraining.json",
        "retraining.lock",
    }


def test_machine_names_without_end_take_a_bounded_amount_of_memory(
    setup: Setup, client: Client, ready: Ready
) -> None:
    setup.write(readings={"max_machines": 20})
    daemon = ready()

    def memory() -> int:
        with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:  # noqa: PTH123
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    for number in range(1000):
        client.publish(f"plant/machine-{number}/readings", good(0))
    daemon.wait("reading_dropped", reason="too_many_machines")
    before = memory()
    for number in range(1000, 30_000):
        client.publish(f"plant/machine-{number}/readings", good(0))
    client.publish("plant/machine-0/readings", good(1))
    wait_until(lambda: len(stored(setup, "machine-0")) == 2, "all that was published", patience=180)
    assert len(rows(setup, "SELECT name FROM machines")) == 20
    assert memory() - before < 40_000  # kB: topics are remembered, 20,000 at most


def test_a_machine_that_appears_at_run_time_is_followed_from_its_first_reading(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    ready()
    for machine in ("press", "lathe"):
        for topic, payload in plant.messages(plant.history(plant.LENGTH, machine=machine)):
            client.publish(topic, payload)
        wait_until(partial(states, client, machine, ["warming_up", "normal"]), machine)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_retained_reading_counts_once_however_often_the_daemon_subscribes(
    setup: Setup, broker: Broker, client: Client, ready: Ready, version: str
) -> None:
    """Without a time it does not count at all: it may be of any time."""
    setup.write(mqtt={"host": "localhost", "port": broker.port, "version": version})
    client.publish(TOPIC, good(0), retain=True)
    client.publish("plant/lathe/readings", b'{"flow": 1}', retain=True)
    wait_until(lambda: client.confirmed == 2, "the broker to have them")
    daemon = ready()
    for connections in (1, 2, 3):
        wait_until(partial(connected, daemon, connections), "the connection")
        client.publish(f"plant/mill-{connections}/readings", b'{"flow": 1}')
        # What comes from the daemon now says that it has acknowledged all that came before.
        wait_until(partial(client.last, f"anomalyd/mill-{connections}/state"), "the state")
        broker.stop()
        broker.start()
    assert [at for at, _ in stored(setup)] == [START]
    assert stored(setup, "lathe") == []
    kept = letters(setup)
    assert {(topic, reason) for topic, _, reason in kept} == {("plant/lathe/readings", "retained")}
    assert len(kept) == (1 if version == "5" else 3)
