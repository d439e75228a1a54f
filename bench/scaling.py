"""What a reading costs and what the daemon's memory is, against machines, sensors and the window's length.

The daemon's own steps without the broker: decode, follow, score, store and commit, a hundred readings at
once, each of them scored. Every point runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context

from bench.charts import chart
from bench.results import Ratio, Result, Table
from bench.stage import Plant, make_plant, messages, progress
from bench.usage import resident

READINGS = 20_000  # of a point, of all machines together; at least `EACH` of every machine
EACH = 3
LARGE = 4_000_000  # values in all windows of a point: above, fewer readings are enough
NOISE = 2.0  # MiB by which two runs of one point differ
TOLERANCE = 0.2  # of an exponent: what caches, noise and a snapshot for each machine make of a straight line


@dataclass(frozen=True, slots=True)
class Axis:
    """What is varied, everything else being as in `Plant`.

    Attributes:
        name: One of machines, sensors, window.
        points: From small to large.
        total: Whether all of it costs as much as one reading does: of sensors and of a window's samples a
            reading costs what they cost together, while each machine sends readings of its own.
    """

    name: str
    points: tuple[int, ...]
    total: bool


AXES = (
    Axis("machines", (1, 10, 100, 1000, 10_000), total=False),
    Axis("sensors", (1, 8, 32, 100, 500), total=True),
    Axis("window", (1, 10, 30, 100, 500), total=True),
)
SHORT = (Axis("machines", (1, 1000), total=False),)


@dataclass(frozen=True, slots=True)
class Point:
    """Figures of one point: CPU µs per reading, resident MiB."""

    at: int
    cost: float
    memory: float


def measure(plant: Plant, *, full: bool) -> Result:
    """One table and two pictures for each axis."""
    tables, ratios, pictures = [], [], {}
    with get_context("spawn").Pool(1, maxtasksperchild=1) as processes:
        for axis in AXES if full else SHORT:
            points = []
            for value in axis.points:
                progress(f"scaling: {axis.name} {value}")
                changed, machines = _plant(plant, axis.name, value), value if axis.name == "machines" else 1
                points.append(Point(value, *processes.apply(cost, (changed, machines))))
            steps = _steps(axis, points)
            tables.append(_table(axis, points, steps))
            ratios.append(
                Ratio(
                    f"steepest step over {axis.name}, as a power of it (1: linear)",
                    max(steps),
                    1 + TOLERANCE,
                    2.0,
                    most=True,
                )
            )
            x = [point.at for point in points]
            title = f"CPU µs per reading against {axis.name}"
            pictures[f"cost-{axis.name}.svg"] = chart(title, x, [point.cost for point in points])
            title = f"resident MiB against {axis.name}"
            pictures[f"memory-{axis.name}.svg"] = chart(title, x, [point.memory for point in points])
    return Result(tuple(tables), tuple(ratios), pictures)


def _plant(plant: Plant, name: str, value: int) -> Plant:
    """A plant with a bundle of that shape; the given one where it has it."""
    if name == "machines" or getattr(plant, name) == value:
        return plant
    shape = {"sensors": plant.sensors, "window": plant.window, name: value}
    return make_plant(plant.folder / f"{name}-{value}", plant.port, **shape, epochs=1)


def cost(plant: Plant, machines: int) -> tuple[float, float]:
    """CPU µs per reading and resident MiB; runs in a process of its own."""
    from bench.inside import BATCH, inside

    at_once = max(1, 10 * BATCH // machines)  # steps whose messages are made together
    readings = min(READINGS, LARGE // (plant.sensors * plant.window))
    end = plant.window + max(EACH, readings // machines)
    plant.configure()
    plant.forget()
    used, count = 0.0, 0
    with inside(plant) as service:
        for begin, until in ((0, plant.window), (plant.window, end)):
            used, count = 0.0, 0  # the first turn fills the windows
            for step in range(begin, until, at_once):
                arriving = messages(plant.sensors, machines, range(step, min(step + at_once, until)))
                before = time.process_time()
                service.take(arriving)
                used += time.process_time() - before
                count += len(arriving)
        return used / count * 1e6, resident()


def _steps(axis: Axis, points: Sequence[Point]) -> list[float]:
    """The power of the axis with which the cost of all of it grows, from each point to the next."""
    found = []
    for one, two in pairwise(points):
        growth, cost = math.log(two.at / one.at), math.log(two.cost / one.cost)
        found.append(cost / growth + (0 if axis.total else 1))
    return found


def _table(axis: Axis, points: Sequence[Point], steps: Sequence[float]) -> Table:
    columns = (axis.name, "CPU µs per reading", "MiB resident", "KiB more for each", "power of the step")
    rows: list[tuple[float | None, ...]] = []
    for i, point in enumerate(points):
        before = points[max(i - 1, 0)]
        grown = point.memory - before.memory
        more = grown * 1024 / (point.at - before.at) if grown > NOISE else None
        rows.append((point.at, point.cost, point.memory, more, steps[i - 1] if i else None))
    return Table(f"scaling-{axis.name}", columns, tuple(rows))
