from __future__ import annotations

import math
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from daemon import bounds
from daemon import store as stores
from daemon.decoding import Refusal, RefusalReason
from daemon.intake import Message
from daemon.opening import StoreError
from daemon.schema import SCHEMA
from daemon.store import Store
from daemon.transaction import Transaction
from detector.alerts import AlertTracker, OpenAlert, Severity
from detector.categories import number_of
from detector.events import MachineState
from detector.grid import Grid
from detector.machine import Snapshot
from detector.reading import Reading

AT = 1_735_725_600_000


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    store = Store(file)
    yield store
    store.close()


@contextmanager
def reopened(store: Store, *, read_only: bool = False) -> Iterator[Store]:
    """What another process sees, or this one after a restart."""
    other = Store(store.path, read_only=read_only)
    yield other
    other.close()


def reading(at: int, machine: str = "press", **values: float) -> Reading:
    numbers = np.array(list(values.values()) or [1.0], dtype=np.float64)
    return Reading(machine, at, tuple(values) or ("flow",), numbers)


def stored(store: Store, machine: str = "press", since: int = 0) -> list[tuple[int, dict[str, float]]]:
    return [
        (r.at, dict(zip(r.sensors, r.values.tolist(), strict=True))) for r in store.readings(machine, since)
    ]


def refusal(number: int, payload: bytes = b"x") -> Refusal:
    message = Message("plant/press/readings", payload, AT + number, 1, 1, 1)
    return Refusal(message, RefusalReason.NOT_JSON, f"detail {number}")


def dead_letters(store: Store) -> list[tuple[int, str, bytes, str, str]]:
    with sqlite3.connect(store.path) as database:
        rows = database.execute(
            "SELECT received_at, topic, payload, reason, detail FROM dead_letters ORDER BY id"
        ).fetchall()
    database.close()
    return rows


SNAPSHOT = Snapshot(
    model="bundle-1",
    grid=Grid(1000, 5),
    emitted=17,
    smoothed=(0.1, 0.2),
    alerts=AlertTracker((1.5, 0.25), 2, OpenAlert("9f0c", AT, 2.5, Severity.WARNING, AT)),
    state=MachineState.ALERT,
    since=AT,
)
WHOLE = Transaction(
    readings=[reading(AT, flow=1.5, load=math.inf), reading(AT, "pump", level=-0.0)],
    snapshots={"press": SNAPSHOT},
    opened=[("press", "9f0c", AT)],
    outgoing=[("a/press", b"one"), ("a/press", b"two")],
    refusals=[refusal(1)],
)


def test_a_batch_is_there_after_a_restart(store: Store) -> None:
    assert store.commit(WHOLE) == [1, 2]
    for read_only in (True, False):
        with reopened(store, read_only=read_only) as after:
            assert stored(after) == [(AT, {"flow": 1.5, "load": math.inf})]
            assert stored(after, "pump") == [(AT, {"level": -0.0})]
            assert dict(after.snapshots()) == {"press": SNAPSHOT}
            assert after.unsent() == [(1, "a/press", b"one"), (2, "a/press", b"two")]
            assert after.alerted("press") == [(AT, None)]
            assert set(after.machines()) == {"press", "pump"}
    assert dead_letters(store) == [(AT + 1, "plant/press/readings", b"x", "not_json", "detail 1")]


def test_a_reading_that_comes_again_is_stored_once_and_as_the_sampler_counts_it(store: Store) -> None:
    store.commit(Transaction(readings=[reading(AT, flow=1), reading(AT, flow=2)]))
    store.commit(Transaction(readings=[reading(AT, flow=3), reading(AT + 1, flow=4)]))
    assert stored(store) == [(AT, {"flow": 3.0}), (AT + 1, {"flow": 4.0})]


def test_what_was_sent_is_gone_and_its_number_is_not_used_again(store: Store) -> None:
    numbers = store.commit(Transaction(outgoing=[("a", b"1"), ("a", b"2"), ("b", b"3")]))
    store.commit(Transaction(sent=[numbers[0], numbers[2]]))
    assert store.unsent() == [(numbers[1], "a", b"2")]
    store.commit(Transaction(sent=[numbers[1]]))
    with reopened(store) as after:
        assert after.commit(Transaction(outgoing=[("a", b"4")])) == [4]


def test_what_can_never_be_sent_moves_from_the_outbox_to_the_dead_letters(file: Path) -> None:
    store = Store(file, max_dead_letters=2)
    numbers = store.commit(Transaction(outgoing=[("a", b"1"), ("b", b"2" * 100_000), ("c", b"3")]))
    store.commit(Transaction(refusals=[refusal(1), refusal(2)]))
    store.commit(Transaction(undeliverable=[(numbers[1], "why")]))
    assert store.unsent() == [(numbers[0], "a", b"1"), (numbers[2], "c", b"3")]
    letters = [letter[1:] for letter in dead_letters(store)]
    assert [reason for *_, reason, _ in letters] == ["not_json", "publication_too_large"]
    assert letters[-1] == ("b", b"2" * bounds.KEPT_PAYLOAD, "publication_too_large", "why")
    store.close()


def test_subscriptions_are_known_until_they_have_ended(store: Store) -> None:
    assert store.subscribed("one") == ()
    assert store.subscribed("one") == ()
    assert store.subscribed("two") == ("one",)
    with reopened(store) as after:
        assert after.subscribed("three") == ("one", "two")
        after.unsubscribed(["one", "two"])
        assert after.subscribed("three") == ()


def test_an_alert_is_stored_from_its_opening_to_its_closing(store: Store) -> None:
    store.commit(Transaction(readings=[reading(AT)], opened=[("press", "one", AT)]))
    store.commit(Transaction(readings=[reading(AT)], opened=[("press", "one", AT)]))
    store.commit(
        Transaction(closed=[("one", AT + 5)], readings=[reading(AT)], opened=[("press", "two", AT + 9)])
    )
    store.commit(Transaction(readings=[reading(AT)], opened=[("press", "one", AT)]))
    assert store.alerted("press") == [(AT, AT + 5), (AT + 9, None)]
    assert store.alerted("pump") == []


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """No file may grow beyond what the store's log of writes has now."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = file.with_name(file.name + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stores_nothing_and_the_same_batch_fits_once_there_is_room(store: Store) -> None:
    store.commit(Transaction(readings=[reading(AT - n) for n in range(1, 3000)], outgoing=[("a", b"0")]))
    before = stored(store)
    with full_disk(store.path):
        for _ in range(3):
            with pytest.raises(sqlite3.OperationalError, match="disk"):
                store.commit(WHOLE)
        assert stored(store) == before
        assert store.unsent() == [(1, "a", b"0")]
    assert store.commit(WHOLE) == [2, 3]
    assert stored(store) == [*before, (AT, {"flow": 1.5, "load": math.inf})]
    with reopened(store) as after:
        assert stored(after) == stored(store)
        assert stored(after, "pump") == [(AT, {"level": -0.0})]


def test_a_batch_with_something_impossible_in_it_is_refused_as_a_whole(store: Store) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.commit(Transaction(readings=[reading(AT)], outgoing=[("\ud800", b"")]))
    assert (stored(store), store.machines()) == ([], ())
    store.commit(Transaction(readings=[reading(AT)]))
    assert stored(store) == [(AT, {"flow": 1.0})]


def test_readings_are_read_from_a_time_on(store: Store) -> None:
    store.commit(Transaction(readings=[reading(AT + n) for n in (3, 1, 2)]))
    assert [at for at, _ in stored(store, since=AT + 2)] == [AT + 2, AT + 3]
    assert (store.newest("press"), store.newest("pump")) == (AT + 3, None)
    assert stored(store, "pump") == []


def test_partial_readings_of_one_instant_are_one_row_of_the_history(store: Store) -> None:
    nan = math.nan
    store.commit(Transaction(readings=[reading(AT, flow=1, load=nan), reading(AT + 1, load=5, flow=6)]))
    store.commit(Transaction(readings=[reading(AT, load=2, temperature=3), reading(AT, flow=nan, speed=4)]))
    history = store.history("press", 0)
    assert history.sensors == ("flow", "load", "speed", "temperature")
    assert history.at.tolist() == [AT, AT + 1]
    np.testing.assert_array_equal(history.values, [[1, 2, 4, 3], [6, 5, nan, nan]])
    assert len(store.history("press", AT + 2)) == len(store.history("pump", 0)) == 0


def test_dead_letters_are_bounded_in_number_and_size(file: Path) -> None:
    store = Store(file, max_dead_letters=3)
    store.commit(Transaction(refusals=[refusal(n, b"x" * 100_000) for n in range(7)]))
    assert [letter[4] for letter in dead_letters(store)] == ["detail 4", "detail 5", "detail 6"]
    assert len(dead_letters(store)[0][2]) == bounds.KEPT_PAYLOAD
    store.commit(Transaction(refusals=[refusal(7)]))
    assert [letter[4] for letter in dead_letters(store)] == ["detail 5", "detail 6", "detail 7"]
    store.max_dead_letters = 0
    store.commit(Transaction(refusals=[refusal(8)]))
    assert dead_letters(store) == []
    store.close()


def test_new_combinations_of_sensors_are_taken_until_there_are_too_many(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_NAMES", 3)
    store.commit(Transaction(readings=[reading(AT, flow=1), reading(AT, flow=1, load=1)]))
    with reopened(store) as after:
        for each in (store, after):
            assert each.room_for(("flow", "load"))
            assert not each.room_for(("load",))


def test_the_texts_of_categories_come_back_with_a_history(store: Store) -> None:
    run, stop = number_of("run"), number_of("stop")
    store.commit(Transaction(readings=[reading(AT, mode=run)], texts={run: "run"}))
    store.commit(Transaction(texts={run: "run", stop: "stop"}))
    history = store.history("press", 0)
    assert history.values.tolist() == [[run]]
    assert history.texts == {run: "run", stop: "stop"}


def test_a_text_is_worth_a_commit_though_its_reading_was_dropped() -> None:
    assert Transaction(texts={number_of("run"): "run"}).urgent()


def test_texts_are_taken_until_there_are_too_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_TEXTS", 2)
    texts = {number_of(text): text for text in ("a", "b", "c")}
    store.commit(Transaction(readings=[reading(AT, mode=1)], texts=texts))
    assert len(store.history("press", 0).texts) == 2


def test_a_store_that_the_daemon_has_not_taken_up_yet_is_not_trained_from(store: Store, file: Path) -> None:
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA user_version = 4")
    database.close()
    with pytest.raises(StoreError) as refused:
        Store(file, read_only=True)
    assert str(refused.value) == f"{file}: must have schema {SCHEMA}, got 4: start the daemon first"


def test_reading_a_store_that_is_not_there_makes_none(file: Path) -> None:
    with pytest.raises(StoreError) as refused:
        Store(file, read_only=True)
    assert str(refused.value) == f"{file}: cannot be used as the store: unable to open database file"
    assert not file.exists()


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_readings_of_one_time_the_values_that_count_are_kept(store: Store, order: int) -> None:
    two = [reading(AT, flow=1, load=math.nan, oil=5), reading(AT, flow=math.nan, load=2, oil=7)]
    for each in two[::order]:
        store.commit(Transaction(readings=[each]))
    (kept,) = store.readings("press", 0)
    assert kept.values.tolist() == [1, 2, 7]
