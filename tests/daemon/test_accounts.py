"""Nothing disappears: a message is a stored reading, a dead letter, or counted with its reason."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import plant
from tests.conftest import Setup
from tests.daemon.nonsense import nonsense
from tests.daemon.test_hostile import rows
from tests.daemon.test_metrics import ask
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import free_port, wait_until

COUNT = 4000


def counted(port: int) -> Counter[str]:
    """What became of messages, by the metrics."""
    names = ("readings_stored", "messages_refused", "readings_dropped", "messages_dropped")
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(ask(port)):
        name = family.name.removeprefix("anomalyd_")
        if name in names:
            found[name] += sum(
                int(sample.value) for sample in family.samples if sample.name.endswith("_total")
            )
    return found


@pytest.mark.parametrize("seed", [1, 2])
def test_every_message_is_a_stored_reading_a_dead_letter_or_a_counted_drop(
    setup: Setup, client: Client, ready: Callable[[], Daemon], seed: int
) -> None:
    plant.promote(setup.state)
    port = free_port()
    setup.write(metrics={"listen": f"127.0.0.1:{port}"})
    daemon = ready()
    start = int(time.time()) * 1000 - 60_000
    for topic, payload in nonsense(seed, COUNT, start=start):
        client.publish(topic, payload)
    wait_until(lambda: counted(port).total() == COUNT, "an account of all")
    account = counted(port)
    merged = account["readings_stored"] - len(rows(setup, "SELECT 1 FROM readings"))
    assert 0 <= merged < 50  # some have come without a time in the same millisecond
    assert len(rows(setup, "SELECT 1 FROM dead_letters")) == account["messages_refused"]
    assert min(account["readings_stored"], account["messages_refused"], account["readings_dropped"]) > 100
    assert daemon.said("thread_failed") == []
    ((topic, payload),) = plant.messages(plant.history(1, machine="after"))
    client.publish(topic, payload)
    wait_until(lambda: client.messages("anomalyd/after/state"), "the next reading")
    assert daemon.end() == 0
