"""What the plant asks of the pump: set-points of speed and valve over time, stops and start-ups included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPEEDS = (950.0, 1470.0)  # rpm; below, a variable-speed pump is switched off rather than throttled
VALVES = (55.0, 95.0)  # % open
HOLD = (90, 240)  # seconds between two changes
STOP_EVERY = 8  # changes; about one stop in 20 minutes, so that two hours hold several start-ups
STOP = (100, 180)  # seconds


@dataclass(frozen=True, slots=True)
class SetPoint:
    """From `second` on, the drive holds `speed` (rpm, 0 = switched off) and the valve is `valve` % open."""

    second: int
    speed: float
    valve: float


def ordinary_duty(seconds: int, *, seed: int) -> tuple[SetPoint, ...]:
    """A normal shift of `seconds`: changes every few minutes, now and then a stop and a start-up."""
    rng = np.random.default_rng(seed)
    points: list[SetPoint] = []
    second = 0
    while second < seconds:
        valve = float(rng.uniform(*VALVES))
        if len(points) % STOP_EVERY == STOP_EVERY // 2:
            points.append(SetPoint(second, 0.0, valve))
            second += int(rng.integers(*STOP))
        else:
            points.append(SetPoint(second, float(rng.uniform(*SPEEDS)), valve))
            second += int(rng.integers(*HOLD))
    return tuple(points)
