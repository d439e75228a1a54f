"""Reads back what the daemon stored and published, and compares it with a run without any fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from daemon.store import Store
from detector.history import History
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.waiting import wait_until

ALERTS = "anomalyd/press/alert"
Key = tuple[str, str, str, float, float]


def stored(setup: Setup) -> list[int]:
    """The times of all stored readings, as another process sees them."""
    store = Store(setup.state / "store.sqlite", read_only=True)
    times = [reading.at for reading in store.readings("press", 0)]
    store.close()
    return times


def unsent(setup: Setup) -> int:
    """How many publications the broker has not taken yet."""
    store = Store(setup.state / "store.sqlite", read_only=True)
    count = len(store.unsent())
    store.close()
    return count


def confirmations(client: Client, count: int) -> None:
    """Waits until the broker has taken so many readings."""
    wait_until(lambda: client.confirmed >= count, "the stream")


def keys(alerts: Iterable[dict[str, Any]]) -> list[Key]:
    """Alert events, each once and in order of their first coming."""
    return list(dict.fromkeys(_key(alert) for alert in alerts))


def _key(event: dict[str, Any]) -> Key:
    return event["id"], event["change"], event["at"], event["score"], event["peak_score"]


def assert_no_alert_lost(setup: Setup, client: Client, expected: Sequence[Key]) -> None:
    """The alerts are the expected ones, in order, under the same ids; nothing waits any more."""
    wait_until(
        lambda: set(keys(client.messages(ALERTS))) == set(expected),
        f"all {len(expected)} alerts, no other",
    )
    assert keys(client.messages(ALERTS)) == list(expected)
    wait_until(lambda: unsent(setup) == 0, "the outbox to empty")


def assert_nothing_lost(setup: Setup, client: Client, readings: History) -> None:
    """All readings are stored; the alerts are those of an undisturbed run, in order, under the same ids."""
    times = readings.at.tolist()
    wait_until(lambda: stored(setup) == times, "all readings to be stored")
    assert_no_alert_lost(setup, client, keys(plant.expected(setup.settings, [readings])))
