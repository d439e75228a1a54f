"""Everything that grows has a bound; what it costs is counted and said."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon import bounds, opening, sweep, upkeep
from daemon import store as stores
from daemon.bounds import Limits
from daemon.decoding import Refusal, RefusalReason
from daemon.intake import Message
from daemon.integrity import beside
from daemon.store import Store
from daemon.transaction import Transaction
from detector.alerts import AlertTracker
from detector.machine import Snapshot
from detector.reading import Reading
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.real_broker import Broker
from tests.real_client import Client
from tests.waiting import wait_until

AT = 1_735_725_600_000
DAY = 86_400_000
MANY = 10**12
LIMITS = Limits(keep=30 * DAY, max_size=MANY, max_outbox=MANY)
ALERTS = "anomalyd/press/alert"
SNAPSHOT = Snapshot(None, None, None, None, AlertTracker(), None, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def event(change: str, number: int = 0) -> tuple[str, bytes]:
    return ALERTS, json.dumps(
        {"machine": "press", "change": change, "n": number}, separators=(",", ":")
    ).encode()


def limits(**changed: int) -> Limits:
    return Limits(**{"keep": LIMITS.keep, "max_size": MANY, "max_outbox": MANY, **changed})


def waiting(store: Store) -> list[tuple[str, int]]:
    contents = [json.loads(payload) for _, _, payload in store.unsent()]
    return [(content["change"], content["n"]) for content in contents]


def letters(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as database:
        rows = database.execute("SELECT reason, detail FROM dead_letters ORDER BY id").fetchall()
    database.close()
    return rows


def test_an_outbox_that_is_too_long_loses_repetitions_first_and_then_the_oldest(store: Store) -> None:
    changes = ["opened", "updated", "updated", "closed", "opened", "updated"]
    numbers = store.commit(Transaction(outgoing=[event(change, n) for n, change in enumerate(changes)]))
    pruned = store.prune(limits(max_outbox=4), now=AT)
    assert pruned.outgoing == (numbers[1], numbers[2])
    assert waiting(store) == [("opened", 0), ("closed", 3), ("opened", 4), ("updated", 5)]
    pruned = store.prune(limits(max_outbox=2), now=AT)
    assert pruned.outgoing == (numbers[0], numbers[5])
    assert waiting(store) == [("closed", 3), ("opened", 4)]
    assert store.outbox == 2
    assert (
        letters(store.path)
        == [("outbox_full", "6 publications waited for the broker")] * 2
        + [("outbox_full", "4 publications waited for the broker")] * 2
    )


def test_an_outbox_of_too_many_bytes_loses_the_oldest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "OUTBOX_BYTES", 250)
    numbers = store.commit(Transaction(outgoing=[(ALERTS, b"x" * 100) for _ in range(5)]))
    assert store.prune(LIMITS, now=AT).outgoing == tuple(numbers[:3])
    assert len(store.unsent()) == 2


def test_dead_letters_of_too_many_bytes_lose_the_oldest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "DEAD_BYTES", 250)
    messages = [Message("t", b"x" * 99, AT, 1, 1, 1) for _ in range(5)]
    refusals = [Refusal(m, RefusalReason.NOT_JSON, str(n)) for n, m in enumerate(messages)]
    store.commit(Transaction(refusals=refusals))
    assert store.prune(LIMITS, now=AT).dead_letters == 3
    assert [detail for _, detail in letters(store.path)] == ["3", "4"]


def test_what_a_bound_costs_is_counted_when_it_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_TEXTS", 2)
    store.max_dead_letters = 3
    refusals = [Refusal(Message("t", b"", AT, 1, 1, 1), RefusalReason.NOT_JSON, str(n)) for n in range(5)]
    with capture_logs() as logs:
        store.commit(Transaction(refusals=refusals, texts={float(n): str(n) for n in range(5)}))
        store.commit(Transaction(refusals=refusals[:2]))
    said = [(line["event"], line["reason"], line["count"]) for line in logs]
    assert said == [("dead_letter_dropped", "too_many", 2), ("text_dropped", "too_many", 3)]
    assert store._tally.counts["dead_letter_dropped", "too_many"] == 4


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that has run for a day."""
    monkeypatch.setattr(stores, "SETTLING", 0.0)


def heard(store: Store, machine: str, *, days_ago: int, now: int) -> None:
    store._database.execute(
        "UPDATE machines SET heard_at = ? WHERE name = ?", (now - days_ago * DAY, machine)
    )


def test_a_machine_that_sends_nothing_for_long_is_forgotten_with_all_its_readings(
    tmp_path: Path, settled: None
) -> None:
    now = stores.now()
    before = Store(tmp_path / "store.sqlite")
    for name in ("old", "new", "open"):
        readings = [Reading(name, AT + n, ("flow",), np.ones(1)) for n in range(100)]
        before.commit(Transaction(readings=readings, snapshots={name: SNAPSHOT}))
        heard(before, name, days_ago=29 if name == "new" else 31, now=now)
    before.commit(Transaction(opened=[("old", "one", AT), ("open", "two", AT)], closed=[("one", AT + 1)]))
    assert before.prune(LIMITS, now=now).machines == ()  # it has heard them itself
    before.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.prune(LIMITS, now=now, forget=False).machines == ()
    pruned = store.prune(LIMITS, now=now)
    assert (pruned.old, pruned.machines) == (100, ("old",))
    assert set(store.machines()) == {"new", "open"}
    assert store.alerted("old") == []
    store.commit(
        Transaction(readings=[Reading("old", AT, ("flow",), np.ones(1))], snapshots={"old": SNAPSHOT})
    )
    assert len(list(store.readings("old", 0))) == 1
    store.close()


def test_a_clock_that_jumps_makes_no_machine_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(
        Transaction(readings=[Reading("press", AT, ("flow",), np.ones(1))], snapshots={"press": SNAPSHOT})
    )
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.prune(LIMITS, now=stores.now() + 999 * DAY).machines == ()
    store.close()


def test_combinations_of_sensors_that_no_reading_has_make_room_for_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_NAMES", 7)
    monkeypatch.setattr(sweep, "STEP", 3)

    def one(machine: str, at: int, *sensors: str) -> Reading:
        return Reading(machine, at, sensors, np.ones(len(sensors)))

    store.commit(Transaction(readings=[one("press", AT, "old", "load"), one("press", AT, "older", "load")]))
    kept = [one("press", AT + 40 * DAY + n // 2, "flow", *["load"] * (n % 2)) for n in range(12)]
    store.commit(Transaction(readings=[*kept, one("pump", AT, "level")]))
    assert not store.room_for(("new",))
    assert store.prune(LIMITS, now=AT + 50 * DAY).old == 2
    store.commit(Transaction(readings=[one("press", AT + 39 * DAY, "older", "load")]))  # used again
    while not (pruned := store.prune(LIMITS, now=AT + 50 * DAY)).layouts:
        pass
    assert len(pruned.layouts) == 1
    assert store.room_for(("new",))
    readings = [*store.readings("press", 0), *store.readings("pump", 0)]
    assert {reading.sensors for reading in readings} == {
        ("flow",),
        ("flow", "load"),
        ("level",),
        ("older", "load"),
    }
    store.commit(Transaction(readings=[one("press", AT + 41 * DAY, "old", "load")]))
    assert len(list(store.readings("press", AT + 41 * DAY))) == 1


def test_the_log_of_writes_stays_small(store: Store) -> None:
    for batch in range(60):
        readings = [Reading("press", AT + batch * 1000 + n, ("flow",), np.ones(1)) for n in range(1000)]
        store.commit(Transaction(readings=readings, outgoing=[("a", b"x" * 1_000_000)]))
    assert store.size() > 60_000_000
    assert beside(store.path, "-wal").stat().st_size < 2 * opening.CHECKPOINT * 4096


def test_a_broker_that_is_away_for_long_gets_what_the_outbox_could_hold(
    setup: Setup, broker: Broker, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "EVERY", 0.0)
    setup.write(store={"max_outbox": 3})
    setup.state.mkdir()
    store = Store(setup.state / "store.sqlite")
    changes = ["opened", "updated", "closed", "updated", "opened"]
    store.commit(Transaction(outgoing=[event(change, n) for n, change in enumerate(changes)]))
    store.close()
    broker.stop()
    with capture_logs() as logs, running(setup.file):
        wait_until(lambda: [line for line in logs if line["event"] == "publication_buried"], "the bound")
        broker.start()
        wait_until(lambda: len(client.messages(ALERTS)) == 3, "the others")
    assert [(m["change"], m["n"]) for m in client.messages(ALERTS)] == [
        ("opened", 0),
        ("closed", 2),
        ("opened", 4),
    ]


def test_the_broker_no_longer_retains_the_state_of_a_forgotten_machine(
    setup: Setup,
    client: Client,
    new_client: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    settled: None,
) -> None:
    monkeypatch.setattr(upkeep, "EVERY", 0.0)
    setup.write(alerts={"silent_after": "off"})
    with running(setup.file):
        wait_until(lambda: client.last("anomalyd/status"), "the connection")
        for name in ("old", "new"):
            client.publish(f"plant/{name}/readings", b'{"flow": 1}')
        wait_until(
            lambda: client.last("anomalyd/old/state") and client.last("anomalyd/new/state"), "the states"
        )
    with sqlite3.connect(setup.state / "store.sqlite") as database:
        database.execute("UPDATE machines SET heard_at = 5 WHERE name = 'old'")
    database.close()
    with capture_logs() as logs, running(setup.file):
        wait_until(lambda: client.emptied("anomalyd/old/state"), "the end of the state")
    assert [line["machine"] for line in logs if line["event"] == "machine_forgotten"] == ["old"]
    late = new_client(setup.settings.mqtt.broker_port, "anomalyd/+/state")
    wait_until(lambda: late.last("anomalyd/new/state"), "the state that is left")
    assert late.last("anomalyd/old/state") is None
