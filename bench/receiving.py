"""Readings per second through the whole daemon, beside paho alone on the same readings in the same run.

At QoS 1 the readings wait at the broker for both. Mosquitto keeps nothing at QoS 0 for those who are
away, so there they are published while each is connected, as fast as the broker takes them; its queue is
unbounded and all must arrive. The daemon's windows are full before: every reading that counts is scored.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

from bench import bare
from bench.inside import inside
from bench.results import Ratio, Result, Table, text
from bench.stage import ROOT, START, Plant, daemon, make_plant, messages, progress, wait_for
from bench.usage import cpu_seconds, resident
from bench.wire import flood, forget, publication

CLIENT, DAEMON = "bench-bare", "anomalyd"  # names of the sessions
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """What is sent and how; `readings` of all machines together."""

    readings: int
    machines: int = 1
    sensors: int = 8
    qos: int = 1
    version: str = "5"


SHORT = (Case(15_000), Case(15_000, machines=1000), Case(15_000, qos=0))
FULL = (
    Case(40_000),
    Case(40_000, machines=1000),
    Case(10_000, sensors=100),
    Case(40_000, qos=0),
    Case(40_000, machines=1000, qos=0),
    Case(10_000, sensors=100, qos=0),
    Case(20_000, version="3.1.1"),
)
ROUNDS = 5
GOAL, GOAL_WIDE = 0.6, 0.3  # of paho alone; with 100 sensors
LIMIT = 0.15
COLUMNS = (
    "QoS",
    "MQTT",
    "machines",
    "sensors",
    "paho, own loop /s",
    "paho, own thread /s",
    "anomalyd /s",
    "ratio (lowest – highest)",
    "paho CPU µs",
    "anomalyd CPU µs",
    "above paho, µs",
    "MiB",
)


def measure(plant: Plant, *, full: bool) -> Result:
    """All cases, in rounds that alternate between paho and the daemon."""
    plants = {plant.sensors: plant}
    rows: list[tuple[str | float, ...]] = []
    ratios = []
    for case in FULL if full else SHORT:
        if case.sensors not in plants:
            progress(f"receiving: training on {case.sensors} sensors")
            folder = plant.folder / f"sensors-{case.sensors}"
            plants[case.sensors] = make_plant(folder, plant.port, sensors=case.sensors)
        loop, thread, ours = compared(plants[case.sensors], case, ROUNDS if full else 1)
        each = [our["readings/s"] / its["readings/s"] for our, its in zip(ours, loop, strict=True)]
        ratio = middle(ours, "readings/s") / middle(loop, "readings/s")
        rows.append(
            (
                str(case.qos),
                case.version,
                case.machines,
                case.sensors,
                middle(loop, "readings/s"),
                middle(thread, "readings/s"),
                middle(ours, "readings/s"),
                f"{text(ratio)} ({text(min(each))} – {text(max(each))})",
                middle(loop, "cpu"),
                middle(ours, "cpu"),
                middle(ours, "cpu") - middle(loop, "cpu"),
                middle(ours, "MiB"),
            )
        )
        what = f"QoS {case.qos}, MQTT {case.version}, {case.machines} machine(s), {case.sensors} sensors"
        goal = GOAL if case.sensors == 8 else GOAL_WIDE
        ratios.append(Ratio(f"readings/s, anomalyd / paho alone: {what}", ratio, goal, LIMIT * goal / GOAL))
    return Result((Table("receiving", COLUMNS, tuple(rows)),), tuple(ratios))


def middle(rounds: list[Figures], name: str) -> float:
    """The median over rounds."""
    return median(figures[name] for figures in rounds)


def compared(plant: Plant, case: Case, rounds: int) -> tuple[list[Figures], list[Figures], list[Figures]]:
    """Figures of each round: paho with its loop in the main thread, in its own thread, and the daemon."""
    packets, store = prepared(plant, case)
    loop, thread, ours = [], [], []
    for number in range(1, rounds + 1):
        progress(f"receiving: {case}, round {number} of {rounds}")
        loop.append(alone(plant.port, case, packets, thread=False))
        ours.append(whole(plant, case, packets, store))
        thread.append(alone(plant.port, case, packets, thread=True))
    return loop, thread, ours


def prepared(plant: Plant, case: Case) -> tuple[list[bytes], Path]:
    """The readings as packets, and a store of machines whose windows are full."""
    mqtt = {"host": "127.0.0.1", "port": plant.port, "version": case.version}
    plant.configure(mqtt=mqtt, readings={"qos": case.qos})
    plant.forget()
    with inside(plant) as service:
        service.take(messages(plant.sensors, case.machines, range(plant.window)))
    steps = range(plant.window, plant.window + case.readings // case.machines)
    content = messages(plant.sensors, case.machines, steps)
    packets = [publication(topic, payload, 1 + i % 65_535) for i, (topic, payload) in enumerate(content)]
    return packets, plant.keep_store("receiving")


def alone(port: int, case: Case, packets: list[bytes], *, thread: bool) -> Figures:
    """What paho alone takes."""
    if case.qos:
        bare.hold(port, CLIENT, version=case.version)
        flood(port, packets)
    options = {"version": case.version, "qos": case.qos, "count": len(packets), "thread": thread}
    command = bare.command("receive", port=port, name=CLIENT, **options)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not case.qos:
            _ready(process.stdout)
            flood(port, packets)
        figures: Figures = json.loads(process.stdout.read().splitlines()[-1])
    forget(port, CLIENT)
    return figures


def whole(plant: Plant, case: Case, packets: list[bytes], filled: Path) -> Figures:
    """What the daemon takes, from the first reading that it stores to the last."""
    plant.forget()
    shutil.copy(filled, plant.store)
    store = sqlite3.connect(f"file:{plant.store}?mode=ro", uri=True)
    steps = plant.window + len(packets) // case.machines
    last = (f"machine-{case.machines - 1}", (START + steps - 1) * 1000)
    reading = "SELECT 1 FROM readings JOIN machines ON machines.id = machine WHERE name = ? AND at = ?"

    def stored() -> int:
        return int(store.execute("SELECT count(*) FROM readings").fetchone()[0])

    before = stored()
    if case.qos:
        bare.hold(plant.port, DAEMON, version=case.version)
        flood(plant.port, packets)
    with daemon(plant, online=not case.qos) as process:
        if not case.qos:
            flood(plant.port, packets)
        wait_for(lambda: stored() > before, "the first reading")
        started, first, used = time.monotonic(), stored(), cpu_seconds(process)
        wait_for(lambda: store.execute(reading, last).fetchone(), "the last reading")
        seconds, cpu = time.monotonic() - started, cpu_seconds(process) - used
        memory = resident(process)
        if stored() != before + len(packets):
            raise RuntimeError(
                f"receiving: all {len(packets)} readings must be stored, got {stored() - before}"
            )
    store.close()
    forget(plant.port, DAEMON)
    count = before + len(packets) - first
    return {"readings/s": count / seconds, "cpu": cpu / count * 1e6, "MiB": memory}


def _ready(output: IO[bytes]) -> None:
    while output.readline() != b"ready\n":
        pass
