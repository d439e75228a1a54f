"""What the detector does, by definition: slow, obvious, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from detector.categories import number_of
from detector.channels import Channel, embedding
from detector.grid import Grid
from detector.inputs import refinements
from detector.manifest import ErrorKind, Manifest, ScalerSpec
from detector.reading import Dropped, Reading
from detector.scoring import Autoencoder

Row = tuple[float, ...]


@dataclass
class Sampling:
    """Samples of one machine, worked out anew from all accepted readings after each one."""

    sensors: tuple[str, ...]
    grid: Grid
    lateness: int
    accepted: list[Reading] = field(default_factory=list)
    samples: list[tuple[int, Row]] = field(default_factory=list)

    def feed(self, reading: Reading) -> list[tuple[int, Row]] | Dropped:
        known = set(reading.sensors) & set(self.sensors)
        if not known:
            return Dropped.NO_KNOWN_SENSOR
        slot = self.slot(reading.at)
        if any(settled >= slot for settled, _ in self.samples):
            return Dropped.LATE
        if all(
            any(rank(old, name) <= rank(reading, name) for old in self.reports(slot, name)) for name in known
        ):
            return Dropped.DUPLICATE
        self.accepted.append(reading)
        before = len(self.samples)
        while (sample := self.next_sample()) is not None:
            self.samples.append(sample)
        return self.samples[before:]

    def slot(self, at: int) -> int:
        """The slot whose centre is nearest (the later one of two)."""
        return math.floor((at - self.grid.phase + self.grid.interval // 2) / self.grid.interval)

    def reports(self, slot: int, sensor: str) -> list[Reading]:
        return [r for r in self.accepted if self.slot(r.at) == slot and sensor in r.sensors]

    def next_sample(self) -> tuple[int, Row] | None:
        watermark = self.slot(max(r.at for r in self.accepted) - self.lateness)
        emitted = self.samples[-1][0] if self.samples else None
        waiting = sorted({self.slot(r.at) for r in self.accepted} - {slot for slot, _ in self.samples})
        if not waiting:
            return None
        slot = waiting[0]
        passed = slot < watermark
        complete = all(self.reports(slot, name) for name in self.sensors)
        nothing_before_can_come = emitted is None or slot == emitted + 1 or slot <= watermark
        if not (passed or (complete and nothing_before_can_come)):
            return None
        return slot, tuple(self.value(slot, name) for name in self.sensors)

    def value(self, slot: int, sensor: str) -> float:
        reports = self.reports(slot, sensor)
        if not reports:
            return math.nan
        return value_of(min(reports, key=lambda r: rank(r, sensor)), sensor)


def value_of(reading: Reading, sensor: str) -> float:
    return float(reading.values[reading.sensors.index(sensor)])


def rank(reading: Reading, sensor: str) -> tuple[bool, int, float]:
    """A value goes before none, an earlier one before a later one, a larger one before a smaller one."""
    value = value_of(reading, sensor)
    missing = math.isnan(value)
    return missing, reading.at, 0 if missing else -value


def counted(samples: Sequence[tuple[int, Row]], made: Manifest) -> list[tuple[int, Row]]:
    """What counters grew by since the slot before, in place of what they show."""
    shown = dict(samples)
    found = []
    for slot, row in samples:
        grown = []
        for i, name in enumerate(made.sensors):
            value = row[i]
            if name in made.channels and made.channels[name].kind == "counter":
                value -= shown[slot - 1][i] if slot - 1 in shown else math.nan
                value = math.nan if value < 0 else value
            grown.append(value)
        found.append((slot, tuple(grown)))
    return found


def strange(row: Row, made: Manifest) -> list[str]:
    """The sensors with a category that was not seen in training."""
    return [
        name
        for value, name in zip(row, made.sensors, strict=True)
        if name in made.channels
        and made.channels[name].kind == "category"
        and not math.isnan(value)
        and value not in map(number_of, made.channels[name].categories)
    ]


def known(row: Row, made: Manifest) -> Row:
    """The row without the categories that were not seen in training."""
    new = strange(row, made)
    return tuple(math.nan if n in new else value for value, n in zip(row, made.sensors, strict=True))


def columns(value: float, channel: Channel | None) -> list[float]:
    """The numbers that the autoencoder sees of a value."""
    if channel is None or channel.kind in {"binary", "counter"}:
        return [value]
    if channel.kind == "angle":
        turn = 2 * math.pi * value / channel.period
        return [math.sin(turn), math.cos(turn)]
    texts = channel.categories
    if math.isnan(value):
        return [math.nan] * min(len(texts), 16)
    text = next(text for text in texts if number_of(text) == value)
    if len(texts) <= 16:
        return [float(text == other) for other in texts]
    numbers: list[float] = embedding(text).tolist()
    return numbers


def said(numbers: Sequence[float], channel: Channel | None) -> float | str:
    """What a sensor's columns say."""
    if channel is None or channel.kind == "counter":
        return numbers[0]
    if channel.kind == "binary":
        return float(numbers[0] >= 0.5)
    if channel.kind == "angle":
        return math.atan2(numbers[0], numbers[1]) % (2 * math.pi) / (2 * math.pi) * channel.period
    likeness = {
        text: sum(a * b for a, b in zip(columns(number_of(text), channel), numbers, strict=True))
        for text in channel.categories
    }
    return max(channel.categories, key=lambda text: likeness[text])


def scale(value: float, column: int, spec: ScalerSpec) -> float:
    """Along the straight line, or along the curve and beyond its ends the straight line's slope."""
    curve = spec.curves[column] if spec.curves else None
    if curve is None:
        return (value - spec.offset[column]) / spec.scale[column]
    for (a, b), (p, q) in zip(pairwise(curve.values), pairwise(curve.levels), strict=True):
        if a <= value <= b:
            return p + (value - a) / (b - a) * (q - p)
    end = 0 if value < curve.values[0] else -1
    return curve.levels[end] + (value - curve.values[end]) / spec.scale[column]


def restore(value: float, column: int, spec: ScalerSpec) -> float:
    curve = spec.curves[column] if spec.curves else None
    if curve is None:
        return value * spec.scale[column] + spec.offset[column]
    for (a, b), (p, q) in zip(pairwise(curve.values), pairwise(curve.levels), strict=True):
        if p <= value <= q:
            return a + (value - p) / (q - p) * (b - a)
    end = 0 if value < curve.levels[0] else -1
    return curve.values[end] + (value - curve.levels[end]) * spec.scale[column]


def stretches(samples: Sequence[tuple[int, Row]], max_gap: int) -> list[list[tuple[int, Row]]]:
    """Samples without a hole of more than `max_gap` slots between them."""
    found: list[list[tuple[int, Row]]] = []
    for slot, row in samples:
        if not found or slot - found[-1][-1][0] - 1 > max_gap:
            found.append([])
        found[-1].append((slot, row))
    return found


def window(stretch: Sequence[tuple[int, Row]], end: int, length: int) -> list[Row] | None:
    """The window of a stretch that ends in slot `end`; None if the stretch began too late for it."""
    if end - stretch[0][0] + 1 < length:
        return None
    rows = dict(stretch)
    empty = (math.nan,) * len(stretch[0][1])
    return [rows.get(slot, empty) for slot in range(end - length + 1, end + 1)]


def impute(column: Sequence[float], method: str, fallback: float) -> list[float]:
    """One sensor's values in a window, filled."""
    filled = []
    for i, value in enumerate(column):
        earlier = [v for v in column[:i] if not math.isnan(v)]
        later = [v for v in column[i + 1 :] if not math.isnan(v)]
        if not math.isnan(value):
            filled.append(value)
        elif method != "last":
            filled.append(fallback)
        else:
            filled.append(earlier[-1] if earlier else later[0] if later else fallback)
    return filled


def filled(rows: Sequence[Sequence[float]], made: Manifest) -> list[list[float]]:
    """Scaled samples without holes."""
    spec = made.imputer
    fallback = [scale(value, i, made.scaler) for i, value in enumerate(spec.fallback)]
    if spec.method not in {"knn", "iterative"}:
        by_column = [impute([row[i] for row in rows], spec.method, value) for i, value in enumerate(fallback)]
        return [list(row) for row in zip(*by_column, strict=True)]
    found = []
    for row in rows:
        there = [i for i, value in enumerate(row) if not math.isnan(value)]
        full = [fallback[i] if math.isnan(value) else value for i, value in enumerate(row)]
        holes = [i for i in range(len(row)) if i not in there]
        if spec.method == "iterative":
            for _ in range(10):
                for i in holes:
                    *slopes, intercept = spec.regressions[i]
                    full[i] = intercept + sum(s * v for s, v in zip(slopes, full, strict=True))
        elif there:
            near = sorted(spec.references, key=lambda one: sum((one[i] - row[i]) ** 2 for i in there))[:5]
            for i in holes:
                full[i] = sum(one[i] for one in near) / len(near)
        found.append(full)
    return found


def shares(rows: Sequence[Row], made: Manifest, model: Autoencoder) -> tuple[list[float], list[float | str]]:
    """Each sensor's part of a window's error, and what the model expected of its newest sample."""
    channels = [made.channels.get(name) for name in made.sensors]
    owner = [i for i, channel in enumerate(channels) for _ in columns(math.nan, channel)]
    encoded = [
        [n for v, channel in zip(row, channels, strict=True) for n in columns(v, channel)] for row in rows
    ]
    scaled = filled([[scale(v, i, made.scaler) for i, v in enumerate(row)] for row in encoded], made)

    def rebuild() -> NDArray[np.float32]:
        (window,) = model.reconstruct(np.array(scaled, dtype=np.float32)[None])
        answer: NDArray[np.float32] = window
        return answer

    rebuilt = rebuild()
    if any(math.isnan(v) for row in rows for v in row):
        for _ in range(refinements(made.imputer.method)):  # what the model expects instead of what is missing
            scaled = [
                [float(rebuilt[t, i]) if math.isnan(encoded[t][i]) else v for i, v in enumerate(row)]
                for t, row in enumerate(scaled)
            ]
            rebuilt = rebuild()
    there = sum(not math.isnan(v) for row in rows for v in row)
    parts = [0.0] * len(channels)
    for t, row in enumerate(scaled):
        for i, value in enumerate(row):
            if not math.isnan(encoded[t][i]):
                difference = abs(float(rebuilt[t, i]) - value)
                parts[owner[i]] += difference if made.error.kind == "mae" else difference**2
    last = [restore(float(value), i, made.scaler) for i, value in enumerate(rebuilt[-1])]
    expected = [
        said([value for place, value in zip(owner, last, strict=True) if place == i], channel)
        for i, channel in enumerate(channels)
    ]
    usual = made.error.usual or [1.0] * len(parts)
    return [part / (max(there, 1) * one) for part, one in zip(parts, usual, strict=True)], expected


def total(parts: Sequence[float], kind: ErrorKind) -> float:
    return math.sqrt(sum(parts)) if kind == "rmse" else sum(parts)
