"""Clocks of machines and of this host: what is stored, what a restart goes on from, what is said."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from structlog.testing import capture_logs

from config import Settings, load
from daemon.bounds import Limits
from daemon.intake import Message
from daemon.store import Store
from daemon.transaction import Transaction
from detector.reading import Reading
from tests import plant
from tests.conftest import Setup
from tests.daemon.offline import serving
from tests.real_client import Client
from tests.real_daemon import ROOT, Daemon
from tests.waiting import wait_until

HOUR = 3_600_000
DAY = 24 * HOUR
MANY = 10**12


def sent(count: int, *, begin: int = 0, ahead: int = 0) -> list[Message]:
    """A reading a second, from `begin` seconds after the start, by a clock that is ahead of ours."""
    readings = plant.history(begin + count, faults=[range(60, 90), range(420, 440), range(520, 560)])
    messages = []
    for i, (topic, payload) in enumerate(plant.messages(readings)):
        at = plant.START + 1000 * i
        moved = payload.replace(b'"ts": %d' % at, b'"ts": %d' % (at + ahead))
        messages.append(Message(topic, moved, at, 0, i + 1, 1))
    return messages[begin:]


def settings(folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    file = folder / "anomalyd.yaml"
    file.write_text(f"state_dir: {folder}\n")
    plant.promote(folder)
    return load(file, {})


def kept(folder: Path) -> tuple[list[int], list[int], list[tuple[str, bytes]]]:
    """Times of the readings that a restart goes on from, of all that a training reads, and the alerts."""
    store = Store(folder / "store.sqlite", read_only=True)
    recent = [reading.at for reading in store.readings("press", 0)]
    found = recent, store.history("press", 0).at.tolist(), [row[1:] for row in store.unsent()]
    store.close()
    return found


@pytest.mark.parametrize("cuts", [(), (25, 330, 390), tuple(range(10, 700, 50))], ids=len)
def test_a_clock_that_was_set_back_costs_no_reading_that_is_stored_and_restarts_change_nothing(
    tmp_path: Path, cuts: tuple[int, ...]
) -> None:
    """Half an hour ahead for five minutes, and right again."""
    stream = sent(100) + sent(300, begin=100, ahead=HOUR // 2) + sent(300, begin=400)
    options = settings(tmp_path / "state")
    with capture_logs() as logs:
        for begin, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
            with serving(options) as daemon:
                daemon.take(stream[begin:end])
    assert [line["reason"] for line in logs if line["event"] == "clock_failed"] == ["set_back"]
    recent, all_of_it, alerts = kept(options.state_dir)
    second = [plant.START + 1000 * i for i in range(700)]
    ahead = [at + HOUR // 2 for at in second[100:400]]
    assert recent == second[460:]  # a minute of what came too late is what it takes to be sure
    assert all_of_it == sorted(second[:100] + ahead + second[460:])
    undisturbed = settings(tmp_path / "undisturbed")
    with serving(undisturbed) as daemon:
        daemon.take(stream)
    assert alerts == kept(undisturbed.state_dir)[2]
    assert len(alerts) >= 4


def test_of_time_that_came_twice_a_training_reads_what_came_last(tmp_path: Path) -> None:
    stream = sent(400) + sent(200, begin=400, ahead=-250_000)  # from 150 s on again
    options = settings(tmp_path / "state")
    with serving(options) as daemon:
        daemon.take(stream)
    recent, all_of_it, _ = kept(options.state_dir)
    begin = plant.START + 210_000
    assert recent == list(range(begin, begin + 140_000, 1000))
    assert all_of_it == [
        *range(plant.START, begin - 60_000, 1000),
        *recent,
        *range(begin + 200_000, plant.START + 400_000, 1000),
    ]


def _reading(at: int, flow: float = 1.0) -> Reading:
    return Reading("press", at, ("flow",), np.array([flow]))


def test_what_was_before_a_clock_was_set_back_ages_as_if_it_had_gone_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store.sqlite")
    ended = time.time_ns() // 1_000_000
    store.commit(
        Transaction(
            readings=[_reading(ended + day * DAY) for day in range(-3, 1)],
            opened=[("press", "a", 1)],
            closed=[("a", 2)],
        )
    )
    store.commit(
        Transaction(
            readings=[_reading(day * DAY) for day in range(4)], begins=[0], opened=[("press", "b", 1)]
        )
    )
    assert len(store.history("press", 0).at) == 8
    assert store.alerted("press") == [(1, 2), (1, None)]
    assert store.prune(Limits(5 * DAY, MANY, MANY), now=ended + DAY).old == 0
    assert store.prune(Limits(5 * DAY, MANY, MANY), now=ended + 4 * DAY + HOUR).old == 3
    assert store.prune(Limits(5 * DAY, MANY, MANY), now=ended + 6 * DAY).old == 1
    assert store.prune(Limits(5 * DAY, MANY, MANY), now=ended + 6 * DAY).old == 0
    assert store.history("press", 0).at.tolist() == [0, DAY, 2 * DAY, 3 * DAY]
    assert store.alerted("press") == [(1, None)]
    store.commit(Transaction(readings=[msgspec.structs.replace(_reading(1), machine="pump")]))
    assert [r.at for r in store.readings("pump", 0)] == [1]
    assert [r.at for r in store.readings("press", 0)] == [0, DAY, 2 * DAY, 3 * DAY]
    store.close()


class Clock:
    """The clock of a process, which the test sets."""

    def __init__(self, folder: Path, ahead: int) -> None:
        self._file = folder / "offset"
        self.set(ahead)
        paths = [str(ROOT / "tests" / "daemon" / "clock"), str(ROOT)]
        self.environ = {"OFFSET_OF_CLOCK": str(self._file), "PYTHONPATH": os.pathsep.join(paths)}

    def set(self, ahead: int) -> None:
        """Sets it so many seconds ahead of the real time."""
        other = self._file.with_suffix(".new")
        other.write_text(str(ahead), encoding="ascii")
        other.rename(self._file)


def _touched(file: Path, before: int) -> bool:
    return file.stat().st_mtime_ns != before


def looks(setup: Setup, times: int) -> None:
    """Waits until the daemon has looked at the clock so many times more."""
    alive = setup.state / "alive"
    for _ in range(times):
        before = alive.stat().st_mtime_ns
        wait_until(partial(_touched, alive, before), "a tick")


YEAR_1970 = -int(time.time()) + 100
YEAR_2106 = 4_291_747_200 - int(time.time())


@pytest.mark.parametrize(
    ("before", "after"),
    [(0, 3600), (0, -3600), (YEAR_1970, 0), (YEAR_2106, 0), (0, YEAR_2106), (0, YEAR_1970)],
    ids=["an hour ahead", "an hour back", "boot in 1970", "boot in 2106", "to 2106", "to 1970"],
)
def test_this_host_s_clock_may_be_set_and_the_daemon_goes_on_and_calls_no_machine_silent(
    setup: Setup, client: Client, run_daemon: Callable[..., Daemon], tmp_path: Path, before: int, after: int
) -> None:
    plant.promote(setup.state)
    clock = Clock(tmp_path, before)
    daemon = run_daemon(setup.file, **clock.environ)
    daemon.wait("broker_connected")
    begin = 1000 * (int(time.time()) - 200)  # the machines' clock is right

    def publish(second: int) -> None:
        for machine in ("press", "lathe"):
            ((topic, payload),) = plant.messages(
                plant.history(1, machine=machine, start=begin + 1000 * second)
            )
            client.publish(topic, payload)

    def stored() -> list[int]:
        store = Store(setup.state / "store.sqlite", read_only=True)
        times = [reading.at for reading in store.readings("lathe", 0)]
        store.close()
        return times

    for second in range(10):
        publish(second)
    wait_until(lambda: len(stored()) == 10, "the readings before")
    looks(setup, 2)  # so that no reading has come since the last look at the clock
    clock.set(after)
    (seconds,) = [daemon.wait("clock_stepped")["seconds"]]
    assert abs(seconds - (after - before)) < 2
    looks(setup, 2)
    for second in range(10, 20):
        publish(second)
    wait_until(lambda: len(stored()) == 20, "the readings after")
    for machine in ("press", "lathe"):
        states = [each["state"] for each in client.messages(f"anomalyd/{machine}/state")]
        assert states == ["warming_up", "normal"]
    assert daemon.end() == 0


def test_readings_that_come_a_second_time_as_this_host_s_clock_is_set_make_no_clock_suspect(
    setup: Setup, client: Client, run_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    plant.promote(setup.state)
    clock = Clock(tmp_path, 0)
    daemon = run_daemon(setup.file, **clock.environ)
    daemon.wait("broker_connected")
    begin = 1000 * (int(time.time()) - 400)
    messages = plant.messages(plant.history(301, start=begin))

    def stored() -> list[int]:
        store = Store(setup.state / "store.sqlite", read_only=True)
        times = [reading.at for reading in store.readings("press", 0)]
        store.close()
        return times

    client.stream(messages[:300]).join()
    wait_until(lambda: len(stored()) == 300, "the readings")
    client.stream(messages[100:120]).join()
    clock.set(3600)
    client.stream(messages[120:]).join()
    wait_until(lambda: begin + 300_000 in stored(), "the last reading")
    assert daemon.wait("clock_stepped")["reason"] == "forward"
    assert daemon.said("clock_failed") == []
    assert stored() == [begin + 1000 * i for i in range(301)]
