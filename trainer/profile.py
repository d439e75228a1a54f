"""What a history looks like, sensor by sensor and over time, for people: read twice, kept small.

Quantiles and correlations are those of a sample of the rows, spread evenly; counts are of all.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainer.facts import MachineFacts, SensorFacts, Source
    from trainer.verdict import Verdict

PASSES = 2  # over the rows
MOST_SAMPLED = 20_000  # rows: a quantile or a correlation of more is the same to two digits
MOST_MACHINES = 8  # whose courses are kept; one for each machine would be as large as the history
MOST_HOLES = 200  # of one machine, the longest ones
BINS = 400  # of a course: about a pixel each
FAR_OUT = 3.0  # Tukey's for interquartile ranges: Exploratory data analysis (1977)


@dataclass(frozen=True, slots=True)
class Profile:
    """One sensor's values in all rows that are not labelled anomalous.

    Attributes:
        sensor: Its name.
        median, first_quartile, third_quartile: None without values.
        outliers: Values that are more than `FAR_OUT` interquartile ranges beyond the quartiles and
            more than `FAR_OUT` standard deviations from the mean: of a sensor that shows few different
            values, or two ways of running, one of the two alone would call half of them odd.
        outlier_share: Of all values; None without values.
        bounds: What lies outside of these is such a value.
    """

    sensor: str
    median: float | None
    first_quartile: float | None
    third_quartile: float | None
    outliers: int
    outlier_share: float | None
    bounds: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """One machine over time, in at most `BINS` stretches of equal length.

    Attributes:
        machine: Its name.
        start, end: First and last time, in milliseconds since the epoch.
        middles: Middle of each stretch, shape (B,).
        mean, low, high: Of each sensor in each stretch, shape (B, F); NaN where there is no value.
        holes: Stretches without a reading that windows do not bridge, the longest ones in order of
            time, shape (N, 2), in milliseconds since the epoch.
    """

    machine: str
    start: int
    end: int
    middles: NDArray[np.int64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    holes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """The answer of `profile`.

    Attributes:
        sensors: Per sensor.
        sample: Rows spread evenly, shape (N, F); NaN may occur.
        courses: Of the first machines.
    """

    sensors: tuple[Profile, ...]
    sample: NDArray[np.float64]
    courses: tuple[Course, ...]


def profile(
    sources: Sequence[Source],
    verdict: Verdict,
    names: tuple[str, ...],
    max_gap: int,
    advance: Callable[[int], None] = lambda _: None,
) -> Profiles:
    """Looks at histories of which `check_sources` knows the sensors and the grid.

    Args:
        sources: The same as for the verdict.
        verdict: What it says.
        names: The sensors that are looked at, F of them.
        max_gap: Samples that a window bridges.
        advance: Is told of each number of rows when they were read once more.
    """
    sample = _sample(sources, names, sum(facts.rows for facts in verdict.machines), advance)
    low, median, high = _quartiles(sample)
    bounds = _bounds(low, high, [facts for facts in verdict.sensors if facts.sensor in names])
    outliers, count = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    courses: list[Course] = []
    bridged = (max_gap + 1.5) * verdict.grid.interval if verdict.grid else np.inf
    for source, facts in zip(sources, verdict.machines, strict=True):
        tally = None
        if len(courses) < MOST_MACHINES and facts.rows:
            tally = _CourseTally(facts, len(names), bridged)
        for block in source.blocks():
            normal = block.normal().select(names)
            there = ~np.isnan(normal.values)
            with np.errstate(invalid="ignore"):
                outliers += ((normal.values < bounds[0]) | (normal.values > bounds[1])).sum(axis=0)
            count += there.sum(axis=0)
            if tally is not None:
                tally.add(normal.at, normal.values)
            advance(len(block))
        if tally is not None:
            courses.append(tally.course())
    sensors = []
    for i, name in enumerate(names):
        sensors.append(
            Profile(
                sensor=name,
                median=_known(median[i]),
                first_quartile=_known(low[i]),
                third_quartile=_known(high[i]),
                outliers=int(outliers[i]),
                outlier_share=float(outliers[i] / count[i]) if count[i] else None,
                bounds=(float(bounds[0][i]), float(bounds[1][i])),
            )
        )
    return Profiles(tuple(sensors), sample, tuple(courses))


def _bounds(
    low: NDArray[np.float64], high: NDArray[np.float64], facts: Sequence[SensorFacts]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What lies outside is far out, shapes (F,); NaN for sensors without values."""
    mean, std = (
        np.array([np.nan if number is None else number for number in numbers])
        for numbers in ([one.mean for one in facts], [one.std for one in facts])
    )
    reach = FAR_OUT * (high - low)
    return np.minimum(low - reach, mean - FAR_OUT * std), np.maximum(high + reach, mean + FAR_OUT * std)


def _known(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _sample(
    sources: Sequence[Source], names: tuple[str, ...], rows: int, advance: Callable[[int], None]
) -> NDArray[np.float64]:
    step = max(1, -(-rows // MOST_SAMPLED))
    parts, skip = [np.empty((0, len(names)))], 0
    for source in sources:
        for block in source.blocks():
            normal = block.normal()
            # A copy, as a view would keep all of the block.
            parts.append(normal.rows(slice(skip, None, step)).select(names).values.copy())
            skip = (skip - len(normal)) % step
            advance(len(block))
    return np.concatenate(parts)


def _quartiles(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape (3, F); NaN where a sensor has no value."""
    found = np.full((3, sample.shape[1]), np.nan)
    for i, column in enumerate(sample.T):
        there = column[~np.isnan(column)]
        if len(there):
            found[:, i] = np.quantile(there, [0.25, 0.5, 0.75])
    return found


class _CourseTally:
    """Sums up one machine's rows in stretches of time."""

    def __init__(self, facts: MachineFacts, width: int, bridged: float) -> None:
        assert facts.start is not None
        assert facts.end is not None
        self._machine, self._start, self._end = facts.machine, facts.start, facts.end
        self._bridged = bridged
        bins = int(np.clip(facts.rows // 2, 1, BINS))  # of few rows each stretch is to have some
        self._edges = np.linspace(facts.start, facts.end + 1, bins + 1)
        self._sum, self._count = np.zeros((bins, width)), np.zeros((bins, width), np.int64)
        self._low, self._high = np.full((bins, width), np.nan), np.full((bins, width), np.nan)
        self._newest: int | None = None
        self._holes: list[tuple[int, int, int]] = []  # a heap of length, first and last time

    def add(self, at: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        if not len(at):
            return
        self._find_holes(at)
        bins = np.searchsorted(self._edges, at, side="right") - 1
        firsts = np.flatnonzero(np.diff(bins, prepend=-1))
        which = bins[firsts]
        there = ~np.isnan(values)
        with np.errstate(over="ignore", invalid="ignore"):
            self._sum[which] += np.add.reduceat(np.where(there, values, 0), firsts, axis=0)
        self._count[which] += np.add.reduceat(there.astype(np.int64), firsts, axis=0)
        self._low[which] = np.fmin(self._low[which], np.fmin.reduceat(values, firsts, axis=0))
        self._high[which] = np.fmax(self._high[which], np.fmax.reduceat(values, firsts, axis=0))

    def _find_holes(self, at: NDArray[np.int64]) -> None:
        before = np.concatenate([[at[0] if self._newest is None else self._newest], at[:-1]])
        for place in np.flatnonzero(at - before > self._bridged).tolist():
            hole = int(at[place] - before[place]), int(before[place]), int(at[place])
            (heapq.heappush if len(self._holes) < MOST_HOLES else heapq.heappushpop)(self._holes, hole)
        self._newest = int(at[-1])

    def course(self) -> Course:
        mean = np.where(self._count > 0, self._sum / np.maximum(1, self._count), np.nan)
        middles = ((self._edges[:-1] + self._edges[1:]) / 2).astype(np.int64)
        holes = np.array(sorted((first, last) for _, first, last in self._holes), np.int64).reshape(-1, 2)
        return Course(self._machine, self._start, self._end, middles, mean, self._low, self._high, holes)
