"""Everything that grows has a bound; what it costs is counted and said."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from daemon import bounds, hearing, opening, retention, sweep, upkeep
from daemon import store as stores
from daemon.announcing import Announcer
from daemon.bounds import Limits
from daemon.clock import now
from daemon.dead_letters import DeadLetters
from daemon.decoding import Refusal, RefusalReason
from daemon.hearing import Hearing
from daemon.intake import Message
from daemon.integrity import beside
from daemon.publisher import Publisher
from daemon.store import Store
from daemon.tally import Tally
from daemon.transaction import Transaction
from detector.alerts import AlertPolicy, AlertTracker, OpenAlert, OpenSilence, Severity
from detector.events import SilenceChanged
from detector.machine import Snapshot
from detector.pipeline import Champions, Pipeline
from detector.reading import Reading
from detector.stream import StreamPolicy
from tests.conftest import Setup
from tests.daemon.inside import running
from tests.daemon.wire import Wire, connected
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


def test_a_text_that_is_known_is_not_counted_again_once_there_are_too_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_TEXTS", 2)
    texts = {float(n): str(n) for n in range(3)}
    store.commit(Transaction(texts=texts))
    assert store._tally.counts["text_dropped", "too_many"] == 1
    store.commit(Transaction(texts={n: texts[n] for n in (0.0, 1.0)}))
    assert store._tally.counts["text_dropped", "too_many"] == 1


def effort(store: Store, operation: Callable[[], object]) -> int:
    """Instructions of SQLite's machine that an operation takes."""
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    store._database.set_progress_handler(count, 1)
    try:
        operation()
    finally:
        store._database.set_progress_handler(None, 0)
    return steps


def test_a_look_at_what_is_within_its_bounds_costs_the_same_however_much_it_is(store: Store) -> None:
    def fill(many: int) -> None:
        refusals = [Refusal(Message("t", b"x", AT, 1, 1, 1), RefusalReason.NOT_JSON, "")] * many
        store.commit(Transaction(outgoing=[event("opened")] * many, refusals=refusals))

    store.prune(LIMITS, now=AT)
    fill(1)
    one = effort(store, lambda: store.prune(LIMITS, now=AT))
    fill(2000)
    assert effort(store, lambda: store.prune(LIMITS, now=AT)) == one


def test_what_is_too_much_by_one_costs_the_same_however_much_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_many(waiting: int) -> int:
        store.commit(Transaction(outgoing=[event("opened", n) for n in range(waiting - store.outbox)]))
        store.prune(limits(max_outbox=waiting - 1), now=AT)
        store.commit(Transaction(outgoing=[event("updated")]))
        return effort(store, lambda: store.prune(limits(max_outbox=waiting - 1), now=AT))

    few = too_many(10)
    assert too_many(2000) == few
    changes = [change for change, _ in waiting(store)]
    assert changes == ["opened"] * 1999, "the repetition has gone, and of the others one"


def test_a_long_outbox_is_looked_through_a_step_at_a_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "STEP", 4)
    changes = [*["opened"] * 10, "updated", "opened"]
    store.commit(Transaction(outgoing=[event(change, n) for n, change in enumerate(changes)]))
    gone = [store.prune(limits(max_outbox=10), now=AT).outgoing for _ in range(4)]
    assert [len(each) for each in gone] == [0, 0, 1, 1], "no other goes before all repetitions are found"
    assert waiting(store) == [("opened", n) for n in (*range(1, 10), 11)]


def test_what_another_process_deletes_leaves_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "DEAD_BYTES", 350)
    store = Store(tmp_path / "store.sqlite")
    refusals = [Refusal(Message("t", b"x" * 99, AT, 1, 1, 1), RefusalReason.NOT_JSON, "")] * 3
    store.commit(Transaction(refusals=refusals))
    assert store.prune(LIMITS, now=AT).dead_letters == 0
    other = DeadLetters(store.path)
    other.drop([letter.number for letter in other.letters()])
    other.close()
    store.commit(Transaction(refusals=refusals))
    assert store.prune(LIMITS, now=AT).dead_letters == 0
    assert len(letters(store.path)) == 3
    store.close()


def test_a_transaction_that_fails_counts_for_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "OUTBOX_BYTES", 250)
    store.prune(LIMITS, now=AT)
    failing = Transaction(outgoing=[(ALERTS, b"x" * 100)] * 9, texts={0.0: None})  # type: ignore[dict-item]
    failing.refused_again = [(1, None, "")]  # type: ignore[list-item]
    store.commit(Transaction(refusals=[Refusal(Message("t", b"", AT, 1, 1, 1), RefusalReason.NOT_JSON, "")]))
    with pytest.raises(sqlite3.IntegrityError):
        store.commit(failing)
    store.commit(Transaction(outgoing=[(ALERTS, b"x" * 100)] * 2))
    assert store.prune(LIMITS, now=AT).outgoing == ()


def test_machines_are_looked_at_in_turn_some_at_a_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FEWEST", 20)
    names = [f"press-{n}" for n in range(600)]

    def fill(names: list[str]) -> None:
        readings = [Reading(name, AT + day * DAY, ("flow",), np.ones(1)) for name in names for day in (0, 40)]
        store.commit(Transaction(readings=readings))

    fill(names[:20])
    store.prune(LIMITS, now=AT + 40 * DAY)
    few = effort(store, lambda: store.prune(LIMITS, now=AT + 40 * DAY))
    fill(names)
    gone = [store.prune(LIMITS, now=AT + 40 * DAY).old for _ in range(30)]
    assert gone == [20] * 30
    assert effort(store, lambda: store.prune(LIMITS, now=AT + 40 * DAY)) == few


def test_a_machine_is_silent_for_the_time_in_which_it_could_be_heard() -> None:
    now = [0.0]
    heard = Hearing(lambda: now[0])

    def pass_by(seconds: int, *, connected: bool) -> None:
        for _ in range(seconds // 60):
            now[0] += 60
            heard.look(connected=connected)

    heard.note(["press"])
    pass_by(3600, connected=True)
    pass_by(36_000, connected=False)
    assert (heard.since("press"), heard.since("pump")) == (3600, None)
    now[0] += 36_000  # the loop was held up: nothing could be heard
    heard.look(connected=True)
    assert heard.since("press") == 3660
    heard.note(["press"])
    assert heard.since("press") == 0
    assert not heard.settled()
    pass_by(86_400, connected=True)
    assert heard.settled()


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that has run for a day."""
    monkeypatch.setattr(hearing, "SETTLING", 0.0)


def heard(store: Store, machine: str, *, days_ago: int, now: int) -> None:
    store._database.execute(
        "UPDATE machines SET heard_at = ? WHERE name = ?", (now - days_ago * DAY, machine)
    )


def test_a_machine_that_sends_nothing_for_long_is_forgotten_with_all_its_readings(
    tmp_path: Path, settled: None
) -> None:
    present = now()
    before = Store(tmp_path / "store.sqlite")
    for name in ("old", "new", "open"):
        readings = [Reading(name, AT + n, ("flow",), np.ones(1)) for n in range(100)]
        before.commit(Transaction(readings=readings, snapshots={name: SNAPSHOT}))
        heard(before, name, days_ago=29 if name == "new" else 31, now=present)
    before.commit(Transaction(opened=[("old", "one", AT), ("open", "two", AT)], closed=[("one", AT + 1)]))
    assert before.prune(LIMITS, now=present).machines == ()  # it has just heard them itself
    before.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.prune(LIMITS, now=present, connected=False).machines == ()
    pruned = store.prune(LIMITS, now=present)
    assert (pruned.old, pruned.machines) == (100, ("old",))
    assert set(store.machines()) == {"old", "new", "open"}, "who is to be told of it has not been told"
    store.commit(Transaction(forgotten={"old"}))
    assert set(store.machines()) == {"new", "open"}
    assert store.alerted("old") == []
    store.commit(
        Transaction(readings=[Reading("old", AT, ("flow",), np.ones(1))], snapshots={"old": SNAPSHOT})
    )
    assert len(list(store.readings("old", 0))) == 1
    store.close()


def test_a_machine_that_this_process_has_heard_long_ago_is_forgotten_too(tmp_path: Path) -> None:
    seconds = [0.0]
    store = Store(tmp_path / "store.sqlite", clock=lambda: seconds[0])
    readings = {name: Reading(name, AT, ("flow",), np.ones(1)) for name in ("once", "often")}
    store.commit(Transaction(readings=list(readings.values())))
    forgotten = []
    for _ in range(50):  # by the minute, as a step is never longer ago
        for _ in range(1440):
            seconds[0] += 60
            store._hearing.look(connected=True)
        store.commit(Transaction(readings=[readings["often"]]))
        forgotten.append(store.prune(LIMITS, now=now()).machines)
    assert forgotten == [()] * 30 + [("once",)] * 20
    store.close()


def test_a_clock_that_jumps_makes_no_machine_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.sqlite")
    store.commit(
        Transaction(readings=[Reading("press", AT, ("flow",), np.ones(1))], snapshots={"press": SNAPSHOT})
    )
    store.close()
    store = Store(tmp_path / "store.sqlite")
    assert store.prune(LIMITS, now=now() + 999 * DAY).machines == ()
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


def test_what_is_to_be_told_of_a_forgotten_machine_waits_for_the_next_start(
    setup: Setup,
    client: Client,
    new_client: Callable[..., Client],
    monkeypatch: pytest.MonkeyPatch,
    settled: None,
) -> None:
    setup.write(alerts={"silent_after": "1s", "on_silence": True})
    with running(setup.file):
        wait_until(lambda: client.last("anomalyd/status"), "the connection")
        client.publish("plant/press/readings", b'{"flow": 1}')
        opened = wait_until(lambda: client.last(ALERTS), "the alert about silence")
        wait_until(lambda: client.last("anomalyd/press/state")["state"] == "silent", "the state")
    with sqlite3.connect(setup.state / "store.sqlite") as database:
        database.execute("UPDATE machines SET heard_at = 5")
    database.close()
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(Publisher, "pump", lambda _: [])  # nothing reaches the broker
        with running(setup.file):
            wait_until(lambda: [line for line in logs if line["event"] == "machine_forgotten"], "its end")
    assert client.last("anomalyd/press/state")["state"] == "silent"
    store = Store(setup.state / "store.sqlite")
    assert store.machines() == ()
    assert store.outbox == 2
    store.close()
    with running(setup.file):
        wait_until(lambda: client.emptied("anomalyd/press/state"), "the end of the state")
        wait_until(lambda: client.last(ALERTS)["change"] == "closed", "the end of the alert")
    assert client.last(ALERTS)["id"] == opened["id"]
    late = new_client(setup.settings.mqtt.broker_port, "anomalyd/#")
    wait_until(lambda: late.last("anomalyd/status"), "what is retained")
    assert late.last("anomalyd/press/state") is None


def test_a_machine_that_comes_back_in_the_very_step_is_not_forgotten(
    setup: Setup, store: Store, settled: None
) -> None:
    store.commit(Transaction(readings=[Reading("press", AT, ("flow",), np.ones(1))]))
    store._hearing.forget(["press"])
    heard(store, "press", days_ago=31, now=now())
    keeper, pipeline = keeping(setup, store)
    again = Transaction(readings=[Reading("press", AT + 1, ("flow",), np.ones(1))])
    keeper.step(setup.settings.store, pipeline, again)
    assert (again.forgotten, again.outgoing) == (set(), [])


def test_a_machine_of_which_nothing_is_stored_is_forgotten_unless_an_alert_is_open(
    setup: Setup, store: Store
) -> None:
    keeper, pipeline = keeping(setup, store)
    pipeline.adopt("quiet", OpenSilence("one", 0, 0))
    pipeline.adopt("hot", OpenAlert("two", 0, 2.0, Severity.WARNING, 0))
    for machine in pipeline.machines():
        machine.silence.heard_at = 1
    transaction = Transaction()
    (closed,) = keeper.step(setup.settings.store, pipeline, transaction)
    assert isinstance(closed, SilenceChanged)
    assert (closed.id, closed.change) == ("one", "closed")
    assert transaction.forgotten == {"quiet"}
    assert transaction.outgoing == [("anomalyd/quiet/state", b"")]
    assert [machine.name for machine in pipeline.machines()] == ["hot"]


def keeping(setup: Setup, store: Store) -> tuple[upkeep.Upkeep, Pipeline]:
    """What keeps the store within its bounds, on a connection that stands."""
    wire, tally = Wire(), Tally(time.monotonic)
    publisher = Publisher(wire, tally, time.monotonic)
    publisher.restart(connected(), [])
    announcer = Announcer(setup.settings, publisher, tally, version="1")
    pipeline = Pipeline(Champions(), stream=StreamPolicy(), alerts=AlertPolicy())
    return upkeep.Upkeep(store, publisher, announcer, tally), pipeline
