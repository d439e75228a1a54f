"""`python -m bench.stuck`: how often healthy sensors of recorded machines are called stuck, by margin.

Stretches are learned from the rows that a training learns from; sensors are judged on the later rows
that are labelled normal. With `--detection` it trains, and compares what is detected with the health of
sensors watched and without it. Prints the tables of docs/sensors.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from bench.detection.ours import CREATED
from bench.detection.protocol import SETS, sources
from bench.results import Cell, Table
from config import Settings, Trainer
from config.policies import alert_policy, stream_policy
from detector.grid import Grid
from detector.health import CHANGES, LEAST, MARGIN, HealthPolicy
from detector.history import NORMAL
from detector.pipeline import Champions, Pipeline
from detector.replay import replay
from detector.stretches import Groups, count, nothing
from trainer.evaluation import Counts, counts, rows, summed
from trainer.jobs import Job
from trainer.stretches import longest_stretches
from trainer.training import train

MARGINS = (2, 3, MARGIN, 10)
WEEK = 7 * 86_400_000  # milliseconds
MAX_GAP = 5  # the default of trainer.max_gap


def judged() -> Iterator[tuple[str, float, list[int]]]:
    """Of each file the set, the weeks of its watched sensors, and by margin how many were called stuck."""
    for source in sources():
        history = source.read().history
        (start, stop), (first, last) = source.train, source.test
        if last <= first:
            continue
        learned, later = history.rows(slice(start, stop)), history.rows(slice(first, last))
        assert later.label is not None
        grid = Grid.learn(learned.at)
        spec = longest_stretches([learned], grid, MAX_GAP, ())
        watched = np.array(spec.changes) >= CHANGES
        groups = Groups.starting(np.zeros(1, np.intp), len(later))
        same = count(later.values, groups, nothing(1, len(later.sensors))).same[:, watched]
        normal = (later.label == NORMAL)[:, None]
        called = []
        for margin in MARGINS:
            # A stretch passes its bound in one sample.
            bound = np.maximum(LEAST, margin * np.array(spec.same)[watched])
            called.append(int(((same == bound + 1) & normal).sum()))
        yield source.of, int(normal.sum()) * int(watched.sum()) * grid.interval / WEEK, called


def detected() -> Table:
    """VUS-PR of the default configuration on each set, with and without a watch on sensors."""
    settings = Settings(trainer=Trainer(report="off"))
    policies = (HealthPolicy(), HealthPolicy(stuck_after=None, silent_after=None))
    found: defaultdict[str, tuple[list[Counts], list[Counts]]] = defaultdict(lambda: ([], []))
    for source in sources():
        if source.test[1] <= source.test[0]:
            continue
        recording = source.read()
        history = recording.history.rows(slice(source.train[0], recording.learned))
        job = Job([history], source.machine, (source.path,), "bench")
        trained = train(job, settings=settings, created_at=CREATED)
        window, grid = trained.manifest.window, trained.manifest.grid
        for policy, counted in zip(policies, found[source.of], strict=True):
            pipeline = Pipeline(
                Champions(shared=trained.detector),
                stream=stream_policy(settings),
                alerts=alert_policy(settings),
                health=policy,
            )
            events = list(replay([recording.history], pipeline))
            laid = rows(recording.tested(), events, grid=grid, stride=window.stride)
            counted.append(counts(laid, recording.kind.buffer))
    lines = []
    for of, pair in found.items():
        with_events = [[one for one in each if one.anomalous] for each in pair]
        if with_events[0]:
            lines.append((of, *(f"{summed(each).vus_pr:.4f}" for each in with_events)))
    return Table("detected", ("set", "VUS-PR", "no sensor watched"), tuple(lines))


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.stuck", description=__doc__)
    parser.add_argument("--detection", action="store_true", help="train, and compare what is detected")
    if parser.parse_args().detection:
        print(detected().markdown())
        return
    weeks: defaultdict[str, float] = defaultdict(float)
    stuck: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(MARGINS))
    for of, more, called in judged():
        for name in (of, "**all**"):
            weeks[name] += more
            stuck[name] = [a + b for a, b in zip(stuck[name], called, strict=True)]
    columns = ("set", "weeks of sensors", *(f"called stuck, margin {margin}" for margin in MARGINS))
    names = [name for name in (*SETS, "**all**") if weeks[name]]
    lines: tuple[tuple[Cell, ...], ...] = tuple((name, weeks[name], *stuck[name]) for name in names)
    print(Table("stuck", columns, lines).markdown())


if __name__ == "__main__":
    main()
