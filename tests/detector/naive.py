"""What the detector does, by definition: slow, obvious, one number at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detector.grid import Grid
from detector.manifest import ErrorKind, Manifest
from detector.reading import Dropped, Reading
from detector.scoring import REFINEMENTS, Autoencoder

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


def shares(rows: Sequence[Row], made: Manifest, model: Autoencoder) -> tuple[list[float], list[float]]:
    """Each sensor's part of a window's error, and what the model expected of its newest sample."""
    columns = [
        impute([row[i] for row in rows], made.imputer.method, made.imputer.fallback[i])
        for i in range(len(made.sensors))
    ]
    offset, scale = made.scaler.offset, made.scaler.scale
    scaled = [[(v - offset[i]) / scale[i] for v in column] for i, column in enumerate(columns)]
    rebuilt = model.reconstruct(np.array(scaled, dtype=np.float32).T[None])[0]
    if any(math.isnan(v) for row in rows for v in row):
        for _ in range(REFINEMENTS):  # what the model expects takes the place of what is missing
            scaled = [
                [float(rebuilt[t, i]) if math.isnan(rows[t][i]) else v for t, v in enumerate(column)]
                for i, column in enumerate(scaled)
            ]
            rebuilt = model.reconstruct(np.array(scaled, dtype=np.float32).T[None])[0]
    there = sum(not math.isnan(v) for row in rows for v in row)
    parts = []
    for i, column in enumerate(scaled):
        part = 0.0
        for t, value in enumerate(column):
            if not math.isnan(rows[t][i]):
                difference = abs(float(rebuilt[t, i]) - value)
                part += difference if made.error.kind == "mae" else difference**2
        parts.append(part / max(there, 1))
    return parts, [float(rebuilt[-1, i]) * scale[i] + offset[i] for i in range(len(offset))]


def total(parts: Sequence[float], kind: ErrorKind) -> float:
    return math.sqrt(sum(parts)) if kind == "rmse" else sum(parts)
