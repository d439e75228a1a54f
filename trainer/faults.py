"""Synthetic faults: what failing sensors and machines do to the rows of normal operation.

Every fault changes one sensor in a run of neighbouring rows, which are labelled anomalous. A missing
value stays missing and no other value becomes missing, so that a detector can find a fault by what
was measured alone. The sensor is a plain measurement: a category, an angle or a counter fails in
other ways.

How strong a fault is, is counted in the sensor's own terms, so that faults of sensors with different
units are comparable: for what is added, in standard deviations of the sensor in normal operation; for
what takes the place of the sensor's values, as the share of them that is lost.

The kinds are those of surveys of sensor faults, such as Ni et al.: Sensor network data fault types
(2009), and of generators of synthetic anomalies, such as Wenig et al.: TimeEval (2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from detector.history import ANOMALOUS, NORMAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from detector.history import History

    Column: TypeAlias = NDArray[np.float64]


class Kind(StrEnum):
    """What happens to a sensor."""

    SPIKE = "spike"
    LEVEL_SHIFT = "level_shift"
    DRIFT = "drift"
    STUCK = "stuck"
    NOISE_BURST = "noise_burst"
    LOST_CORRELATION = "lost_correlation"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one sensor.

    Attributes:
        kind: What happens.
        sensor: To which sensor.
        start: The first row of the fault.
        stop: The row after its last one.
        strength: Above 0. Of a spike, a level shift, a drift and a noise burst: in standard
            deviations of the sensor. Of a stuck sensor and a lost correlation: the share of the
            sensor's own values that is lost, at most 1.
        seed: Of its sign, its noise and whatever else it draws.
    """

    kind: Kind
    sensor: str
    start: int
    stop: int
    strength: float
    seed: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(
                f"fault: must begin at row 0 or later and end after it began, got {self.start}..{self.stop}"
            )
        most = 1.0 if KINDS[self.kind].replaces else np.inf
        if not 0 < self.strength <= most:
            raise ValueError(f"{self.kind}: strength must be above 0 and at most {most}, got {self.strength}")


def inject(history: History, fault: Fault, deviation: float) -> History:
    """Rows with a fault in them, labelled: 1 in the rows of the fault, elsewhere as before, or 0.

    Args:
        history: Rows of normal operation; they are not changed.
        fault: What happens; it ends within the rows.
        deviation: The sensor's standard deviation in normal operation, in its own unit.

    Raises:
        ValueError: The sensor or the rows are not in the history.
    """
    if fault.sensor not in history.sensors or fault.stop > len(history):
        raise ValueError(
            f"{history.machine}: must hold sensor {fault.sensor} and rows up to {fault.stop}, "
            f"got {', '.join(history.sensors)} and {len(history)} rows"
        )
    rows, place = slice(fault.start, fault.stop), history.sensors.index(fault.sensor)
    values = history.values.copy()
    column = history.values[:, place]
    kind, random = KINDS[fault.kind], np.random.default_rng(fault.seed)
    changed = kind.change(column, rows, fault.strength * (1.0 if kind.replaces else deviation), random)
    own = column[rows]
    values[rows, place] = np.where(np.isnan(own) | np.isnan(changed), own, changed)
    label = np.full(len(history), NORMAL, np.int8) if history.label is None else history.label.copy()
    label[rows] = ANOMALOUS
    return replace(history, values=values, label=label)


def faults(
    sensors: Sequence[str], *, first: int, stop: int, lasting: int, each: int, seed: int
) -> list[Fault]:
    """Draws faults of every kind and strength, on random sensors at random rows.

    Args:
        sensors: Those that may fail; a fault of a sensor that never changes would mean nothing.
        first: The first row in which a fault may begin.
        stop: The row by which every fault is over.
        lasting: Rows that a fault lasts, at least 1; a spike is over after `SPIKE_ROWS`.
        each: How many of each kind and strength.
        seed: The same seed gives the same faults.

    Raises:
        ValueError: There is no sensor, or there are less than `lasting` rows.
    """
    if not sensors or not 1 <= lasting <= stop - first:
        raise ValueError(
            f"faults: must have a sensor and at least {max(lasting, 1)} rows, "
            f"got {len(sensors)} sensors and rows {first}..{stop}"
        )
    random = np.random.default_rng(seed)
    drawn = []
    for kind, does in KINDS.items():
        rows = min(lasting, does.most_rows or lasting)
        for strength in does.strengths:
            for _ in range(each):
                start = int(random.integers(first, stop - rows + 1))
                sensor = sensors[int(random.integers(len(sensors)))]
                drawn.append(Fault(kind, sensor, start, start + rows, strength, int(random.integers(2**32))))
    return drawn


def _offset(column: Column, rows: slice, amount: float, random: np.random.Generator) -> Column:
    """Adds the amount or takes it away."""
    return column[rows] + _sign(random) * amount


def _drift(column: Column, rows: slice, amount: float, random: np.random.Generator) -> Column:
    """Adds more with every row, the amount at last; or takes it away."""
    count = rows.stop - rows.start
    ramp: Column = np.arange(1, count + 1) / count
    return column[rows] + _sign(random) * amount * ramp


def _stick(column: Column, rows: slice, share: float, _: np.random.Generator) -> Column:
    """Holds the first value; with a share below 1 the sensor still follows, by what is left of it."""
    own = column[rows]
    there = own[~np.isnan(own)]
    return own if not len(there) else share * there[0] + (1 - share) * own


def _disturb(column: Column, rows: slice, amount: float, random: np.random.Generator) -> Column:
    """Adds white noise whose standard deviation is the amount."""
    own = column[rows]
    return own + random.normal(scale=amount, size=own.shape)


def _decouple(column: Column, rows: slice, share: float, random: np.random.Generator) -> Column:
    """Mixes in what the sensor showed at another time: as plausible as ever, but out of step with the rest.

    The other time is outside of the fault where there are as many rows outside as in it.
    """
    total, count = len(column), rows.stop - rows.start
    turned = total // 2 if total < 2 * count else int(random.integers(count, total - count + 1))
    elsewhere = np.roll(column, -turned)[rows]
    return share * elsewhere + (1 - share) * column[rows]


def _sign(random: np.random.Generator) -> float:
    return float(random.choice((-1, 1)))


SPIKE_ROWS = 2  # a single row may be no more than an odd reading, three are already a step

Change: TypeAlias = "Callable[[Column, slice, float, np.random.Generator], Column]"
"""From a sensor's values, shape (N,), the rows of the fault, and how much: the new values of those rows."""


@dataclass(frozen=True, slots=True)
class _Does:
    """What a kind of fault does.

    Attributes:
        change: How the values change.
        replaces: Whether something takes the place of the values, or is added to them.
        strengths: From hard to find to plain; see `Fault.strength`.
        most_rows: What it lasts at most; None: as long as any.
    """

    change: Change
    replaces: bool
    strengths: tuple[float, ...]
    most_rows: int | None = None


# Weaker ones are lost in the drift of most sensors: who ranks them well finds real faults no better.
KINDS: Mapping[Kind, _Does] = {
    Kind.SPIKE: _Does(_offset, replaces=False, strengths=(4, 8, 16), most_rows=SPIKE_ROWS),
    Kind.LEVEL_SHIFT: _Does(_offset, replaces=False, strengths=(2, 4, 8)),
    Kind.DRIFT: _Does(_drift, replaces=False, strengths=(4, 8, 16)),
    Kind.STUCK: _Does(_stick, replaces=True, strengths=(0.5, 0.8, 1)),
    Kind.NOISE_BURST: _Does(_disturb, replaces=False, strengths=(2, 4, 8)),
    Kind.LOST_CORRELATION: _Does(_decouple, replaces=True, strengths=(0.5, 0.8, 1)),
}
