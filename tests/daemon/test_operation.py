"""A real daemon remembers what was ordered, and knows by its readings whether a machine runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from daemon.store import Store
from detector.history import History
from tests import plant
from tests.conftest import Setup
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import wait_until

Ready = Callable[[], Daemon]
ALERTS, ANSWERS, STATE = "anomalyd/press/alert", "anomalyd/press/answer", "anomalyd/press/state"


def say(client: Client, count: int, **command: str) -> dict[str, Any]:
    """Gives a command, the `count`-th; returns its answer."""
    client.publish("anomalyd/press/command", json.dumps(command).encode())
    answer: dict[str, Any] = wait_until(lambda: client.messages(ANSWERS)[count - 1 :], f"answer {count}")[0]
    return answer


def send(client: Client, history: History, begin: int, end: int) -> None:
    for topic, payload in plant.messages(history)[begin:end]:
        client.publish(topic, payload)


def told(client: Client) -> list[dict[str, Any]]:
    """The alert's events, each once: after a kill one may come again."""
    return list({(one["id"], one["change"], one["at"]): one for one in client.messages(ALERTS)}.values())


def test_who_knows_the_shelf_and_the_mode_survive_a_kill(setup: Setup, client: Client, ready: Ready) -> None:
    plant.promote(setup.state)
    setup.write(alerts={"repeat_every": "2s"})
    faulty = plant.history(200, faults=[range(20, 200)])
    daemon = ready()
    send(client, faulty, 0, 30)
    wait_until(lambda: client.last(ALERTS), "an alert")
    assert say(client, 1, command="ack", by="anna", note="on my way")["done"]
    assert say(client, 2, command="shelve", by="ben", **{"for": "8h"})["done"]
    daemon.kill()
    daemon = ready()
    send(client, faulty, 30, 60)
    assert say(client, 3, command="ack")["text"].find("by anna") > 0
    state = wait_until(lambda: client.last(STATE), "the machine's state")
    assert state["alert"]["acknowledged"]["note"] == "on my way"
    assert state["shelved_until"] is not None
    assert say(client, 4, command="unshelve")["reason"] == "done"
    send(client, faulty, 60, 70)
    assert say(client, 5, command="maintenance", by="cleo", **{"for": "8h"})["done"]
    wait_until(lambda: (client.last(ALERTS) or {}).get("change") == "closed", "the alert's end")
    daemon.kill()
    ready()
    send(client, faulty, 70, 100)
    assert say(client, 6, command="running")["reason"] == "done"
    wait_until(lambda: client.last(STATE)["mode"] is None, "the machine's state")
    assert client.last(STATE)["state"] == "maintenance", "until the next reading"
    *unknown, closed = told(client)
    assert all(plant.milliseconds(one["at"]) < plant.START + 30_000 for one in unknown), "no repetition"
    assert (closed["change"], closed["mode"], closed["acknowledged"]["by"]) == (
        "closed",
        "maintenance",
        "anna",
    )
    store = Store(setup.state / "store.sqlite", read_only=True)
    (label,) = store.labels("press")
    store.close()
    assert (label.start, label.end, label.by) == (plant.START + 69_000, plant.START + 99_000, "cleo")


@pytest.mark.parametrize("apart", [False, True], ids=["in its readings", "in messages of its own"])
def test_a_machine_that_stands_is_off_as_in_replay_though_the_daemon_is_killed(
    setup: Setup, client: Client, ready: Ready, *, apart: bool
) -> None:
    plant.promote(setup.state)
    setup.write(operation={"running_when": "speed > 50", "settle": "10s"})
    machine = plant.history(160, faults=[range(20, 130)])
    speed = np.where((np.arange(160) >= 40) & (np.arange(160) < 80), 0.0, 60.0)
    values = np.column_stack([machine.values, speed])
    whole = replace(machine, sensors=(*machine.sensors, "speed"), values=values)
    stands = whole.select(("speed",))
    daemon = ready()
    for begin, end in ((0, 60), (60, 160)):
        for place in range(begin, end):
            if apart:
                send(client, stands, place, place + 1)
            send(client, machine if apart else whole, place, place + 1)
        if end == 60:
            wait_until(lambda: (client.last(STATE) or {}).get("state") == "off", "its standing still")
            daemon.kill()
            ready()
    expected = plant.expected(setup.settings, [whole])
    assert [one["mode"] for one in expected] == ["running", "off", "running", "running"]
    wait_until(lambda: len(told(client)) >= len(expected), "all alerts")
    assert told(client) == expected
