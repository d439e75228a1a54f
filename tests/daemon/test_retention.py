from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from daemon import retention
from daemon.bounds import Limits
from daemon.store import Store
from daemon.transaction import Transaction
from detector.reading import Reading

AT = 1_735_725_600_000
DAY = 86_400_000
MANY = 10**12


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store.sqlite")
    yield store
    store.close()


def _reading(at: int, machine: str = "press") -> Reading:
    return Reading(machine, at, ("flow",), np.ones(1))


def _stored(store: Store, machine: str = "press") -> list[int]:
    return [reading.at for reading in store.readings(machine, 0)]


def _prune(store: Store, *, keep: int, max_size: int = MANY, now: int) -> int:
    pruned = store.prune(Limits(keep, max_size, MANY), now=now)
    return pruned.old + pruned.over


def test_a_machine_keeps_its_readings_as_long_as_its_own_newest_allows(store: Store) -> None:
    store.commit(Transaction(readings=[_reading(AT + day * DAY) for day in range(10)]))
    store.commit(Transaction(readings=[_reading(AT, "pump"), _reading(AT + DAY, "pump")]))
    assert _prune(store, keep=3 * DAY, max_size=MANY, now=AT + 20 * DAY) == 6
    assert _stored(store) == [AT + day * DAY for day in (6, 7, 8, 9)]
    assert len(_stored(store, "pump")) == 2
    assert _prune(store, keep=3 * DAY, max_size=MANY, now=AT + 20 * DAY) == 0


def test_a_reading_from_the_future_does_not_make_the_others_old(store: Store) -> None:
    store.commit(Transaction(readings=[_reading(AT), _reading(AT + DAY), _reading(AT + 9_999 * DAY)]))
    assert _prune(store, keep=3 * DAY, max_size=MANY, now=AT + DAY) == 0


def test_a_closed_alert_goes_with_the_last_reading_of_its_time(store: Store) -> None:
    store.commit(
        Transaction(
            readings=[_reading(AT + day * DAY, m) for m in ("press", "pump") for day in range(10)],
            opened=[
                ("press", "over", AT),
                ("press", "long", AT + 1),
                ("press", "open", AT + 2),
                ("pump", "other", AT + 3),
            ],
            closed=[("over", AT + 5), ("long", AT + 7 * DAY), ("other", AT + 5)],
        )
    )
    assert _prune(store, keep=30 * DAY, max_size=MANY, now=AT + 9 * DAY) == 0
    assert len(store.alerted("press")) == 3
    assert _prune(store, keep=3 * DAY, max_size=MANY, now=AT + 9 * DAY) > 0
    assert store.alerted("press") == [(AT + 1, AT + 7 * DAY), (AT + 2, None)]
    assert store.alerted("pump") == []


def test_a_file_that_is_too_large_loses_the_oldest_readings_of_every_machine(store: Store) -> None:
    store.commit(Transaction(readings=[_reading(AT + n, m) for n in range(5_000) for m in ("press", "pump")]))
    while gone := _prune(store, keep=MANY, max_size=200_000, now=AT + DAY):
        assert gone <= retention.STEP
    left = [len(_stored(store, machine)) for machine in ("press", "pump")]
    assert all(500 < count < 4_000 for count in left), left
    assert _stored(store)[-1] == AT + 4_999


def test_a_long_backlog_is_pruned_a_step_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "STEP", 40)
    store.commit(Transaction(readings=[_reading(AT + n, m) for n in range(100) for m in ("press", "pump")]))
    gone = [_prune(store, keep=9, max_size=MANY, now=AT + DAY) for _ in range(7)]
    assert sum(gone) == 180
    assert max(gone) == 40
    assert [len(_stored(store, machine)) for machine in ("press", "pump")] == [10, 10]
