"""`make soak`: readings at a steady rate, faults in random order, and in the end what was lost and what grew.

First come faults that also kill the daemon, then, for two thirds of the time, all others: there one process
lives, whose memory, files and threads are looked at. In the end all readings go through a pipeline once more,
and the alerts that subscribers have seen must be its alerts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import yaml

from bench.results import Table, filled, machine
from bench.soak.checking import Life, Stored, figures, quantiles
from bench.soak.faults import Faults, Nonsense
from bench.soak.load import publish
from bench.soak.replaying import Key, key_of, replayed
from bench.stage import progress
from tests import plant
from tests.proxy import Proxy
from tests.real_broker import OPEN, Broker
from tests.real_client import Client
from tests.real_daemon import Daemon
from tests.waiting import free_port

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
PUBLISHERS = 2
LOOK_EVERY = 5.0  # seconds
WARM = 0.25  # share of the last life after which it is warm
STILL = 60.0  # seconds without any progress after which what is missing counts as lost
MOST_GROWTH = 1.0  # MB an hour
LEAST_FOR_GROWTH = 600.0  # seconds of a warm life for its growth to say anything
MOST_FILES, MOST_THREADS = 8, 4  # more than when it was warm: connections that are being made and ended


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, how much and which faults."""

    minutes: float
    rate: float
    machines: int
    seed: int
    pause: float


class Soak:
    """All that runs, and what is known of it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan = plan
        self.state = folder / "state"
        self.file = folder / "anomalyd.yaml"
        self.metrics = free_port()
        plant.promote(self.state)
        self.broker = Broker(folder / "broker", OPEN)
        self.broker.start()
        self.proxy = Proxy(self.broker.port)
        self._configure()
        self.client = Client(self.broker.port, "anomalyd/+/alert", name="soak-watcher")
        self.nonsense = Nonsense(self.client, plan.seed)
        self.faults = Faults(
            self._daemon, broker=self.broker, proxy=self.proxy, state=self.state, seed=plan.seed
        )
        self.faults.daemon.wait("broker_connected")
        self.stored = Stored(self.state / "store.sqlite", range(plan.machines))
        self.lives: list[Life] = []
        self.sent = 0
        self.late = 0.0
        self._looked = 0.0

    def _configure(self) -> None:
        options: dict[str, object] = {
            "state_dir": str(self.state),
            "mqtt": {"host": "127.0.0.1", "port": self.proxy.port, "keepalive": "5s"},
            "alerts": {"silent_after": "off"},
            "store": {"keep": "2h"},  # of the machines' clocks, which are faster than ours
            "metrics": {"listen": f"127.0.0.1:{self.metrics}"},
        }
        self.file.write_text(yaml.safe_dump(options), encoding="utf-8")

    def _daemon(self) -> Daemon:
        return Daemon(self.file)

    def look(self) -> None:
        """Takes a sample, once that is due."""
        daemon = self.faults.daemon
        assert daemon.running, f"the daemon ended by itself: {daemon.log[-20:]} {daemon.words()}"
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        if not self.lives or self.lives[-1].process != daemon.pid:
            self.lives.append(Life(daemon.pid))
        self.lives[-1].look()
        self.stored.look()
        self.nonsense.some()

    def run(self) -> list[int]:
        """Publishes and does faults for the time planned; returns the steps that each publisher has made."""
        plan = self.plan
        context = get_context("spawn")
        ends = context.Event()
        groups = [range(i, plan.machines, PUBLISHERS) for i in range(PUBLISHERS)]
        done = [context.Value("q", 0) for _ in groups]
        late = [context.Value("d", 0.0) for _ in groups]
        publishers = [
            context.Process(
                target=publish, args=(self.broker.port, group, plan.rate / PUBLISHERS, ends, steps, behind)
            )
            for group, steps, behind in zip(groups, done, late, strict=True)
        ]
        for publisher in publishers:
            publisher.start()
        try:
            self._do_faults()
        finally:
            self.late = max(behind.value for behind in late)
            ends.set()
            for publisher in publishers:
                publisher.join()
        self.sent = sum(steps.value * len(group) for steps, group in zip(done, groups, strict=True))
        return [steps.value for steps in done]

    def _do_faults(self) -> None:
        begun = time.monotonic()
        span = self.plan.minutes * 60
        following = begun + self.faults.pause(self.plan.pause)
        while (passed := time.monotonic() - begun) < span:
            self.look()
            if time.monotonic() >= following:
                fault = self.faults.one(deadly=passed < span / 3)
                progress(f"soak: {passed / 60:.1f} min, {fault}, {self.stored.stored} stored")
                following = time.monotonic() + self.faults.pause(self.plan.pause)
            time.sleep(0.2)

    def settle(self, expected: int, events: int) -> None:
        """Waits until so many readings and alert events are there, or nothing more comes."""
        moved = time.monotonic()
        before: object = None
        while time.monotonic() - moved < STILL:
            self.look()
            seen = (self.stored.stored + self.stored.lost, len(set(self.keys())))
            if seen[0] >= expected and seen[1] >= events:
                return
            if seen != before:
                before, moved = seen, time.monotonic()
            time.sleep(1)

    def keys(self) -> list[Key]:
        """The alert events that came of the machines whose clocks are right, in order."""
        found = []
        for _, payload in self.client.everything():
            alert: dict[str, Any] = json.loads(payload)
            if alert["machine"].startswith("machine-"):
                found.append(key_of(alert))
        return found

    def close(self) -> None:
        self.client.close()
        self.faults.daemon.end()
        self.faults.daemon.close()
        self.proxy.close()
        self.broker.kill()


def expected(soak: Soak, steps: Sequence[int]) -> list[Key]:
    """The alert events of all machines in a run without faults, worked out on all cores."""
    machines = range(soak.plan.machines)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        turns = [
            processes.submit(replayed, soak.file, number, steps[number % PUBLISHERS]) for number in machines
        ]
        return [key for turn in turns for key in turn.result()]


def in_order(seen: Sequence[Key], wanted: Sequence[Key]) -> bool:
    """Whether events come in the order in which they should, again and again though some may."""
    first = {key: number for number, key in reversed(list(enumerate(seen)))}
    by_alert: dict[str, list[int]] = {}
    for key in wanted:
        if key in first:
            by_alert.setdefault(key[0], []).append(first[key])
    return all(places == sorted(places) for places in by_alert.values())


def judged(soak: Soak) -> tuple[Table, list[str]]:
    """Runs it; what came of it, and the promises that were not kept."""
    steps = soak.run()
    progress("soak: replaying what was sent")
    wanted = expected(soak, steps)
    soak.settle(soak.sent, len(wanted))
    seen = soak.keys()
    life = max(soak.lives, key=Life.length)
    warm = life.warm(WARM * life.length())
    now = figures(soak.metrics)
    p50, p99, p999 = quantiles(now, "anomalyd_latency_seconds", (0.5, 0.99, 0.999))
    lost = soak.sent - soak.stored.stored
    missing, strange = len(set(wanted) - set(seen)), len(set(seen) - set(wanted))
    growth, error = warm.growth() if warm.length() >= LEAST_FOR_GROWTH else (math.nan, math.nan)
    rows: list[tuple[str, str | float]] = [
        ("minutes", soak.plan.minutes),
        ("readings sent", soak.sent),
        ("readings a second, machines", f"{soak.sent / soak.plan.minutes / 60:,.0f}, {soak.plan.machines}"),
        ("publishers behind their pace in the end, s", soak.late),
        ("messages that are no readings, or of wrong clocks", soak.nonsense.sent),
        ("faults", ", ".join(f"{what} {count}" for what, count in sorted(soak.faults.count.items()))),
        ("seed", soak.plan.seed),
        ("lives of the daemon", soak.faults.lives),
        ("**readings lost**", lost),
        ("alert events expected", len(wanted)),
        ("**alert events missing**", missing),
        ("alert events that no run without faults has", strange),
        ("alert events that came again", len(seen) - len(set(seen))),
        ("longest life, minutes", life.length() / 60),
        ("memory when warm and in the end, MiB", f"{warm.memory[0]:.1f}, {warm.memory[-1]:.1f}"),
        (
            "**memory growth once warm, MB/h**",
            "too short" if math.isnan(growth) else f"{growth:.2f} ± {error:.2f}",
        ),
        ("open files when warm, at most", f"{warm.files[0]}, {max(warm.files)}"),
        ("threads when warm, at most", f"{warm.threads[0]}, {max(warm.threads)}"),
        ("latency of the last life, s: 50 %, 99 %, 99.9 % below", f"{p50:g}, {p99:g}, {p999:g}"),
    ]
    promises = {
        f"readings: none may be lost, got {lost}": lost == 0,
        f"alert events: none may be missing, got {missing}": missing == 0,
        f"alert events: none may be made up, got {strange}": strange == 0,
        "alert events: those of an alert must come in order": in_order(seen, wanted),
        f"memory: must grow by less than {MOST_GROWTH:g} MB/h, got {growth:.2f} ± {error:.2f}": not (
            growth - 2 * error > MOST_GROWTH
        ),
        "open files: must not grow": max(warm.files) <= warm.files[0] + MOST_FILES,
        "threads: must not grow": max(warm.threads) <= warm.threads[0] + MOST_THREADS,
    }
    return Table("soak", ("what", "figure"), tuple(rows)), [
        text for text, kept in promises.items() if not kept
    ]


def main() -> int:
    """Prints the table; returns how many promises were not kept."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, default=10_000, help="readings a second of all machines")
    parser.add_argument("--machines", type=int, default=200)
    parser.add_argument("--pause", type=float, default=15, help="mean seconds from one fault to the next")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--write", action="store_true", help="into docs/reliability.md")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    plan = Plan(options.minutes, options.rate, options.machines, seed, options.pause)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), plan)
        try:
            table, broken = judged(soak)
        finally:
            soak.close()
    print(table.markdown())
    if options.write:
        page = filled(DOCUMENT.read_text(encoding="utf-8"), "soak", f"{machine()}\n\n{table.markdown()}")
        DOCUMENT.write_text(page, encoding="utf-8")
    for problem in broken:
        print(problem, file=sys.stderr)
    return len(broken)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
