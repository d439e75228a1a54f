"""Milliseconds from the publishing of a reading to the arrival of its alert, beside a bare echo.

`FAULTY` machines send one reading a second each that is far off, and `alerts.repeat_every` is a second, so
that each of these readings makes one alert event, which tells the reading's time. The other readings are
normal. The echo is a paho client that takes the same readings from the same broker and publishes the
faulty ones again. One process with one clock publishes and receives, with a client of its own that costs
microseconds; the time is taken before a packet is handed to the kernel, and after it came from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from bench import bare
from bench.inside import inside
from bench.results import Ratio, Result, Table
from bench.stage import ROOT, Plant, daemon, messages, progress
from bench.usage import cpu_seconds
from bench.wire import Wire, forget, publication
from daemon.child import LOWEST_PRIORITY
from daemon.transaction import Transaction

FAULTY = 100  # machines, and readings a second
NORMAL = 49  # machines that send the rest
OFF = 1000.0  # added to a sensor: far beyond any threshold
RATES = (100, 5000)  # readings/s, multiples of `FAULTY`; the short version takes the first
STORED = 1200  # readings of each normal machine before: what the retraining learns from
WARM = 40  # readings of each faulty machine before: a full window and an open alert
ROUNDS = 3
SECONDS, SECONDS_SHORT = 15, 4  # of one measuring
DRAIN = 20.0  # seconds that the last answers may take
CATCH_UP = 20  # packets after which the probe listens though it is late
GOAL, LIMIT = 3.0, 300.0  # p99 / p99 of the echo: one hiccup of the host is a hundredfold
MIDDLE_GOAL, MIDDLE_LIMIT = 5.0, 50.0  # p50 / p50 of the echo
RETRAINING_GOAL, RETRAINING_LIMIT = 25.0, 40.0  # ms; and times that
BESIDE_GOAL, BESIDE_LIMIT = 2.0, 40.0  # latency with a retraining / without one
COLUMNS = ("readings/s", "what", "alerts", "p50, ms", "p99, ms", "max, ms", "p99 / echo's", "CPU, %")

Key = tuple[str, float]


class _Answer(msgspec.Struct):
    """An alert tells its time as `at`, a reading that was sent back as `ts`."""

    at: str | None = None
    ts: float = 0.0


def measure(plant: Plant, *, full: bool) -> Result:
    """At both rates: the echo, the daemon as it is, without fsync, and while a retraining runs."""
    store = _store(plant)
    contestants = {
        "bare echo": partial(_echo, plant),
        "anomalyd": partial(_daemon, plant, store),
        "anomalyd, durability: normal": partial(_daemon, plant, store, durability="normal"),
        "anomalyd while a retraining runs": partial(_retraining, plant, store),
    }
    if not full:
        del contestants["anomalyd, durability: normal"]
    rounds = ROUNDS if full else 1
    rows: list[tuple[str | float, ...]] = []
    ratios = []
    for rate in RATES if full else RATES[:1]:
        spans: dict[str, list[float]] = {what: [] for what in contestants}
        cpu: dict[str, list[float]] = {what: [] for what in contestants}
        for number in range(1, rounds + 1):
            for what, contestant in contestants.items():
                progress(f"latency: {rate} readings/s, {what}, round {number} of {rounds}")
                with contestant() as process:
                    found, share = _spans(plant, rate, process, SECONDS if full else SECONDS_SHORT)
                spans[what] += found
                cpu[what].append(share)
        p50, p99, most = (
            {what: float(np.percentile(found, percent)) for what, found in spans.items()}
            for percent in (50, 99, 100)
        )
        for what in contestants:
            times, share = p99[what] / p99["bare echo"], 100 * float(np.mean(cpu[what]))
            rows.append((rate, what, len(spans[what]), p50[what], p99[what], most[what], times, share))
        name = f"p99 latency at {rate} readings/s"
        ratios += [
            Ratio(
                f"{name}: anomalyd / bare echo", p99["anomalyd"] / p99["bare echo"], GOAL, LIMIT, most=True
            ),
            Ratio(
                f"p50 latency at {rate} readings/s: anomalyd / bare echo",
                p50["anomalyd"] / p50["bare echo"],
                MIDDLE_GOAL,
                MIDDLE_LIMIT,
                most=True,
            ),
            Ratio(
                f"{name} while a retraining runs / {RETRAINING_GOAL:.0f} ms",
                p99["anomalyd while a retraining runs"] / RETRAINING_GOAL,
                1.0,
                RETRAINING_LIMIT,
                most=True,
            ),
            *(
                Ratio(
                    f"{percent} latency at {rate} readings/s: with / without a retraining",
                    found["anomalyd while a retraining runs"] / found["anomalyd"],
                    BESIDE_GOAL,
                    BESIDE_LIMIT,
                    most=True,
                )
                for percent, found in (("p50", p50), ("p99", p99))
            ),
        ]
    return Result((Table("latency", COLUMNS, tuple(rows)),), tuple(ratios))


@contextmanager
def _echo(plant: Plant) -> Iterator[int]:
    command = bare.command("echo", port=plant.port, prefix="plant/faulty")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is subscribed
        yield process.pid
        process.terminate()
    forget(plant.port, bare.ECHO)


@contextmanager
def _daemon(plant: Plant, store: Path, durability: str = "full") -> Iterator[int]:
    plant.configure(
        alerts={"repeat_every": "1s", "critical_score": 1e12},
        store={"durability": durability},
        trainer={"window": plant.window, "model": {"epochs": 10_000, "patience": 10_000}},
    )
    plant.forget()
    shutil.copy(store, plant.store)
    with daemon(plant) as process:
        yield process
    forget(plant.port, "anomalyd")


@contextmanager
def _retraining(plant: Plant, store: Path) -> Iterator[int]:
    """The daemon beside `anomalyd retrain`, at the priority that it gives its child."""
    command = plant.command("retrain")
    with (
        _daemon(plant, store) as process,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child,
    ):
        os.setpriority(os.PRIO_PROCESS, child.pid, LOWEST_PRIORITY)
        os.sched_setscheduler(child.pid, os.SCHED_IDLE, os.sched_param(0))
        assert child.stderr is not None
        said = child.stderr.readline()  # it has read the store
        yield process
        if child.poll() is not None:
            said += child.stderr.read()
            raise RuntimeError(
                f"latency: the retraining must outlast the measuring, but ended: {said.decode()}"
            )
        child.terminate()


def _store(plant: Plant) -> Path:
    """What the daemon starts with: a history to learn from, full windows, open alerts that were published."""
    plant.configure()
    plant.forget()
    with inside(plant) as service:
        service.take(messages(plant.sensors, NORMAL, range(STORED)))
        warm = range(STORED - WARM, STORED)
        service.take(messages(plant.sensors, FAULTY, warm, name="faulty", off=OFF))
        service.store.commit(Transaction(sent=[row[0] for row in service.store.unsent()]))
    return plant.keep_store("latency")


def _spans(plant: Plant, rate: int, process: int, seconds: int) -> tuple[list[float], float]:
    """Milliseconds from publishing to answer of each faulty reading, and the CPU share of a process."""
    packets = _packets(plant, rate, seconds)
    probe = Wire(plant.port, "bench-probe")
    probe.subscribe("echo/+")
    probe.subscribe("anomalyd/+/alert")
    sent: dict[Key, float] = {}
    heard: list[tuple[float, str, bytes]] = []

    def listen(wait: float) -> None:
        arrived = probe.messages(wait)
        at = time.monotonic()
        heard.extend((at, topic, payload) for topic, payload in arrived)

    used, started = cpu_seconds(process), time.monotonic()
    for i, (key, packet) in enumerate(packets):
        due = started + i / rate
        if i % CATCH_UP == 0:
            listen(0)
        while (pause := due - time.monotonic()) > 0:
            listen(pause)
        if key is not None:
            sent[key] = time.monotonic()
        probe.socket.sendall(packet)
    share = (cpu_seconds(process) - used) / (time.monotonic() - started)
    until = time.monotonic() + DRAIN
    while time.monotonic() < until and len(heard) < len(sent):
        listen(0.1)
    probe.close()
    arrived = {_key(topic, payload): at for at, topic, payload in reversed(heard)}  # the first counts
    missing = len(sent.keys() - arrived.keys())
    if missing:
        raise RuntimeError(f"latency: all {len(sent)} faulty readings must be answered, got {missing} less")
    return [(arrived[key] - at) * 1000 for key, at in sent.items()], share


def _packets(plant: Plant, rate: int, seconds: int) -> list[tuple[Key | None, bytes]]:
    """What is published, evenly mixed, with machine and time of the faulty readings."""
    count, each = rate * seconds, rate // FAULTY
    live = range(STORED, STORED + seconds)
    faulty = iter(messages(plant.sensors, FAULTY, live, name="faulty", off=OFF))
    normal = iter(messages(plant.sensors, NORMAL, range(STORED, STORED + count // NORMAL + 1)))
    packets: list[tuple[Key | None, bytes]] = []
    for i in range(count):
        topic, payload = next(normal if i % each else faulty)
        packet = publication(topic, payload, 1 + i % 65_535)
        packets.append((None if i % each else _key(topic, payload), packet))
    return packets


def _key(topic: str, payload: bytes) -> Key:
    """Machine and time of a reading, or of the answer to one."""
    answer = msgspec.json.decode(payload, type=_Answer)
    return topic.split("/")[1], datetime.fromisoformat(answer.at).timestamp() if answer.at else answer.ts
