"""Where the CPU time of a reading goes: the daemon's steps of a hundred readings, timed call by call.

The steps run in this process, without a broker; what the whole daemon takes beyond them, with its network
thread and the hand-over between the threads, is receiving and acknowledging.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from multiprocessing import get_context
from typing import Any

from bench.inside import BATCH, inside
from bench.receiving import Case, alone, prepared, whole
from bench.results import Result, Table
from bench.stage import Plant, messages, progress
from daemon.clock import now
from daemon.intake import Message

MACHINES = (1, 1000)
READINGS = 30_000
COLUMNS = ("CPU µs per reading", "1 machine", "1,000 machines")


def measure(plant: Plant) -> Result:
    """One table: the parts, their sum, the whole daemon, and paho alone."""
    columns: list[dict[str, float]] = []
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for machines in MACHINES:
            progress(f"hot path: {machines} machine(s)")
            parts = processes.apply(_parts, (plant, machines))
            case = Case(READINGS, machines=machines)
            packets, store = prepared(plant, case)
            paho = alone(plant.port, case, packets, thread=False)["cpu"]
            daemon = whole(plant, case, packets, store)["cpu"]
            steps = sum(parts.values())
            rest = {
                "**all of it but the broker**": steps,
                "receiving and acknowledging": daemon - steps,
                "**the whole daemon**": daemon,
                "paho alone, receiving and acknowledging": paho,
            }
            columns.append(parts | rest)
    rows = tuple((name, columns[0][name], columns[1][name]) for name in columns[0])
    return Result((Table("hot-path", COLUMNS, rows),))


def _parts(plant: Plant, machines: int) -> dict[str, float]:
    """CPU µs per reading of each part; runs in a process of its own."""
    plant.configure()
    plant.forget()
    with inside(plant) as service:
        service.take(messages(plant.sensors, machines, range(plant.window)))
        end = plant.window + READINGS // machines
        content = messages(plant.sensors, machines, range(plant.window, end))
        arrived = [Message(topic, payload, now(), qos=0, mid=0, generation=0) for topic, payload in content]
        before = time.thread_time()
        for message in arrived:
            service.decoder.decode(message)
        decoding = (time.thread_time() - before) / len(content) * 1e6
        clock = _Clock()
        clock.watch(service.service, "step")
        clock.watch(service.pipeline, "on_readings")
        clock.watch(service.detector.model, "reconstruct")
        window = service.pipeline.machines()[0].window
        assert window is not None
        clock.watch(window.fleet.watch, "follow")
        clock.watch(service.store, "commit")
        clock.watch(service.announcer, "events")
        service.take(content)
    used = {name: seconds / len(content) * 1e6 for name, seconds in clock.seconds.items()}
    inner = decoding + used["on_readings"] + used["commit"] + used["events"]
    return {
        "decoding": decoding,
        "grid, window, scaling, score, alert": used["on_readings"] - used["reconstruct"] - used["follow"],
        "health of the sensors": used["follow"],
        "LiteRT": used["reconstruct"],
        f"SQLite, one commit for {BATCH}": used["commit"],
        "telling": used["events"],
        "the loop around them": used["step"] - inner,
    }


class _Clock:
    """Adds up the CPU time spent in watched methods; only for those that are called once a step or so."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def watch(self, owner: object, name: str) -> None:
        """Replaces a method of one object by itself with a clock around."""
        method: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - handed on
            before = time.thread_time()
            try:
                return method(*arguments, **options)
            finally:
                self.seconds[name] += time.thread_time() - before

        setattr(owner, name, timed)
