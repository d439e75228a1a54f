"""The soak would see a loss: its readings can be worked out again; holes, disorder and growth are told."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from bench.soak.__main__ import in_order
from bench.soak.checking import Life, Stored, quantiles
from bench.soak.load import EVERY, LASTS, name, payloads, values
from daemon.bounds import Limits
from daemon.store import Store
from daemon.transaction import Transaction
from detector.reading import Reading
from tests import plant


def test_what_is_published_can_be_worked_out_again_to_the_last_digit() -> None:
    for step, messages in enumerate(islice(payloads(range(1, 6, 2), 195), 10), 195):
        for machine, (topic, payload) in zip((1, 3, 5), messages, strict=True):
            reading = json.loads(payload)
            assert topic == f"plant/{name(machine)}/readings"
            assert reading.pop("ts") == plant.START + 1000 * step
            assert list(reading.values()) == values(machine, np.array([step]))[0].tolist()
            assert tuple(reading) == plant.SENSORS


def test_each_machine_has_a_fault_now_and_then() -> None:
    pressure = values(3, np.arange(3 * EVERY))[:, 1]
    assert 2 * LASTS <= np.sum(pressure > 3.45) <= 3 * LASTS


def test_a_reading_that_is_missing_between_others_is_lost_and_one_that_may_still_come_is_not(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store.sqlite")
    stored = Stored(store.path, range(2))

    def store_steps(machine: int, *steps: int) -> None:
        rows = zip(steps, values(machine, np.array(steps)), strict=True)
        readings = [Reading(name(machine), plant.START + 1000 * i, plant.SENSORS, row) for i, row in rows]
        store.commit(Transaction(readings=readings))
        stored.look()

    store_steps(0, 0, 1, 2)
    store_steps(1, 0, 1)
    assert (stored.stored, stored.lost) == (5, 0)
    store_steps(1, 2, 4)
    store_steps(0, 3)
    assert (stored.stored, stored.lost) == (8, 1)
    store.prune(Limits(keep=1000, max_size=2**40, max_outbox=1), now=plant.START + 10**6)
    store_steps(1, 5)
    assert (stored.stored, stored.lost) == (9, 1)
    store.close()


def test_the_events_of_one_alert_come_in_order_and_may_come_again() -> None:
    opened, closed, other = ("a", "opened", "1"), ("a", "closed", "2"), ("b", "opened", "0")
    wanted = [other, opened, closed]
    assert in_order([opened, closed, other], wanted)
    assert in_order([opened, opened, closed, opened, other], wanted)
    assert not in_order([closed, opened, other], wanted)


def test_growth_is_the_slope_of_memory_by_the_hour() -> None:
    times = list(np.arange(0.0, 3600.0, 5.0))
    memory = [50 + at / 3600 + (-1) ** i * 0.1 for i, at in enumerate(times)]  # MiB
    life = Life(1, times, memory, [0] * len(times), [0] * len(times)).warm(1800)
    slope, error = life.growth()
    assert life.at[0] == 1800
    assert slope == pytest.approx(1.048576, abs=3 * error)
    assert error < 0.1


def test_quantiles_are_the_bounds_of_a_histogram() -> None:
    buckets = {"0.1": 50, "0.5": 98, "+Inf": 100}
    now: dict[str, float] = {f'latency_bucket{{le="{bound}"}}': n for bound, n in buckets.items()}
    assert quantiles(now, "latency", (0.5, 0.9, 0.999)) == [0.1, 0.5, float("inf")]
