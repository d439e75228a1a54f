"""Readings come twice, late, out of order, in floods, or not at all: what is scored stays the same."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from daemon.store import Store
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

ALERTS = "anomalyd/press/alert"
Ready = Callable[[], Daemon]


def stored(setup: Setup) -> list[int]:
    store = Store(setup.state / "store.sqlite", read_only=True)
    times = [reading.at for reading in store.readings("press", 0)]
    store.close()
    return times


def key(event: dict[str, Any]) -> tuple[str, str, str, float]:
    return event["id"], event["change"], event["at"], event["score"]


def test_duplicates_late_and_unordered_readings_and_a_gap_change_no_alert(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    setup.write(readings={"lateness": "3s"})
    whole = plant.history(1000, faults=[range(n, n + 30) for n in (100, 300, 800)])
    sent = [i for i in range(1000) if not 500 <= i < 600]  # a gap of 100 seconds
    readings = replace(whole, at=whole.at[sent], values=whole.values[sent])
    messages = plant.messages(readings)
    chance = random.Random(3)
    order = sorted(range(len(messages)), key=lambda i: i + (chance.random() * 3 if i else 0))
    daemon = ready()
    for place, i in enumerate(order):
        client.publish(*messages[i])
        if chance.random() < 0.3:  # again, as after a connection that broke
            for again in order[max(0, place - chance.randrange(20)) : place + 1]:
                client.publish(*messages[again])
        if place % 100 == 99:
            late = json.dumps({"ts": int(readings.at[i]) - 60_500, "flow": 1e6}).encode()
            client.publish("plant/press/readings", late)
    wait_until(lambda: stored(setup) == readings.at.tolist(), "all readings")
    expected = [key(event) for event in plant.expected(setup.settings, [readings])]
    wait_until(lambda: len(client.messages(ALERTS)) >= len(expected), "the alerts")
    assert [key(event) for event in client.messages(ALERTS)] == expected
    assert len(expected) >= 6
    for reason in ("duplicate", "late"):
        daemon.wait("reading_dropped", reason=reason)
    states = [each["state"] for each in client.messages("anomalyd/press/state")]
    assert states.count("warming_up") == 2  # at the start, and after the gap


def memory(daemon: Daemon) -> int:
    """The most that it has held so far, in kB."""
    with open(f"/proc/{daemon.pid}/status", encoding="ascii") as status:  # noqa: PTH123
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def test_a_daemon_that_stands_still_under_a_flood_takes_all_of_it_afterwards_in_bounded_memory(
    setup: Setup, client: Client, ready: Ready
) -> None:
    plant.promote(setup.state)
    readings = plant.history(20_000, faults=[range(n, n + 30) for n in range(100, 20_000, 1000)])
    note = b'{"note": "%s", ' % (b"x" * 3000)  # 60 MB of them
    messages = [(topic, payload.replace(b"{", note)) for topic, payload in plant.messages(readings)]
    setup.write(readings={"ignore": ["note"]})
    daemon = ready()
    for topic, payload in messages[:500]:
        client.publish(topic, payload)
    wait_until(lambda: len(stored(setup)) == 500, "the first readings")
    before = memory(daemon)
    daemon.send(signal.SIGSTOP)
    for topic, payload in messages[500:]:
        client.publish(topic, payload)
    wait_until(lambda: client.confirmed == 20_000, "the broker to have taken the flood")
    daemon.send(signal.SIGCONT)
    wait_until(lambda: len(stored(setup)) == 20_000, "all readings")
    assert memory(daemon) - before < 30_000
    expected = [key(event) for event in plant.expected(setup.settings, [readings])]
    wait_until(lambda: len(client.messages(ALERTS)) >= len(expected), "the alerts")
    assert [key(event) for event in client.messages(ALERTS)] == expected
    assert daemon.said("message_dropped") == daemon.said("broker_lost") == []
