"""`python -m bench.stuck`: how often healthy sensors of recorded machines are called stuck, by margin.

Stretches are learned from the rows that a training learns from; sensors are judged on the later rows
that are labelled normal. Prints the table of docs/sensors.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from bench.detection.protocol import SETS, sources
from bench.results import Cell, Table
from detector.grid import Grid
from detector.health import CHANGES, LEAST, MARGIN
from detector.history import NORMAL
from detector.stretches import Groups, count, nothing
from trainer.stretches import longest_stretches

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
        learned, rows = history.rows(slice(start, stop)), history.rows(slice(first, last))
        assert rows.label is not None
        grid = Grid.learn(learned.at)
        spec = longest_stretches([learned], grid, MAX_GAP, ())
        watched = np.array(spec.changes) >= CHANGES
        groups = Groups.starting(np.zeros(1, np.intp), len(rows))
        same = count(rows.values, groups, nothing(1, len(rows.sensors))).same[:, watched]
        normal = (rows.label == NORMAL)[:, None]
        called = []
        for margin in MARGINS:
            # A stretch passes its bound in one sample.
            bound = np.maximum(LEAST, margin * np.array(spec.same)[watched])
            called.append(int(((same == bound + 1) & normal).sum()))
        yield source.of, int(normal.sum()) * int(watched.sum()) * grid.interval / WEEK, called


def main() -> None:
    """Prints the table."""
    weeks: defaultdict[str, float] = defaultdict(float)
    stuck: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(MARGINS))
    for of, more, called in judged():
        for name in (of, "**all**"):
            weeks[name] += more
            stuck[name] = [a + b for a, b in zip(stuck[name], called, strict=True)]
    columns = ("set", "weeks of sensors", *(f"called stuck, margin {margin}" for margin in MARGINS))
    names = [name for name in (*SETS, "**all**") if weeks[name]]
    rows: tuple[tuple[Cell, ...], ...] = tuple((name, weeks[name], *stuck[name]) for name in names)
    print(Table("stuck", columns, rows).markdown())


if __name__ == "__main__":
    main()
