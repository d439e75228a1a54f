"""The demonstration's pump over months, a reading every ten minutes: wear, a season, another set-point.

Between two readings the pump of `demo.pump` has long settled, so its formulas are taken where they are
constant; what swings within minutes is noise here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.drift.courses import Course
from demo import pump as physics
from detector.history import History

INTERVAL = 600_000  # milliseconds
A_DAY = 144  # readings
BEGIN = 1_767_225_600_000  # 2026-01-01
HALF_A_YEAR = 182.5
SEASON = 9.0  # K between the mean and the extremes of a year
AGEING = 0.05  # of the shaft's power, more after half a year: worn rings; nobody calls it a fault
FOULING = 0.25  # of the pipe's loss, more after half a year
SENSORS = ("speed", "valve", "flow", "suction_pressure", "discharge_pressure", "current", "vibration",
           "bearing_temperature", "winding_temperature", "fluid_temperature")  # fmt: skip
USUAL, MORE = ((950.0, 1250.0), (60.0, 90.0)), ((1250.0, 1520.0), (75.0, 100.0))  # rpm, % open

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pump:
    """One simulation; times in days.

    Attributes:
        seed: Of all that is random.
        fault: Whether the bearing wears out.
        days: How long it takes.
        learned: Of which the first model is learned from the first ones.
        set_point: From when on the process asks for more.
        wears_out: From when until when a bearing wears out; then it is replaced.
    """

    seed: int
    fault: bool
    days: int = 180
    learned: int = 30
    set_point: int = 75
    wears_out: tuple[int, int] = (130, 150)

    def course(self) -> Course:
        """Its time; labelled anomalous is what lies between the fault's onset and its repair."""
        rng = np.random.default_rng(self.seed)
        day = np.arange(self.days * A_DAY) / A_DAY
        speed, valve = duty(day >= self.set_point, rng)
        begin, end = self.wears_out
        acts = (day >= begin) & (day < end) if self.fault else np.zeros(len(day), np.bool_)
        wear = np.where(acts, (day - begin) / (end - begin), 0.0)
        values = steady(day, speed, valve, wear, rng)
        at = BEGIN + np.arange(len(day), dtype=np.int64) * INTERVAL
        history = History("pump", SENSORS, at, values, acts.astype(np.int8))
        learned = self.learned * A_DAY
        return Course(history, slice(0, learned), slice(learned, len(day)), 100)


def duty(more: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Values, Values]:
    """Set-points that hold for some hours, in rpm and % open; `more`: whether much is asked for."""
    speed, valve = np.empty(len(more)), np.empty(len(more))
    row = 0
    while row < len(more):
        (slow, fast), (closed, wide) = MORE if more[row] else USUAL
        hold = slice(row, row + int(rng.integers(6, 36)))
        speed[hold], valve[hold] = rng.uniform(slow, fast), rng.uniform(closed, wide)
        row = hold.stop
    return speed, valve


def steady(day: Values, speed: Values, valve: Values, wear: Values, rng: np.random.Generator) -> Values:
    """What the sensors show, shape (N, 10), where `demo.pump` has settled; `wear` of a bearing, 0 to 1."""
    noise = rng.standard_normal((len(day), len(SENSORS)))
    rough = rng.standard_normal(len(day))
    weather = np.empty(len(day))
    level = 0.0
    for row, shock in enumerate(rng.standard_normal(len(day)).tolist()):
        level += -level / 200 + 0.15 * shock  # warmer and colder days
        weather[row] = level
    ambient = 24.0 - SEASON * np.cos(2 * np.pi * day / 365) + 2.0 * np.sin(2 * np.pi * day) + weather
    age = day / HALF_A_YEAR
    ratio = speed / physics.RATED_SPEED
    opening = valve / 100
    friction = physics.PIPE_LOSS * (1 + FOULING * age) + physics.VALVE_LOSS / opening**4
    flow = ratio * np.sqrt(physics.SHUT_OFF_HEAD / (physics.PUMP_SLOPE + friction))
    fraction = flow / physics.RATED_FLOW
    suction = physics.FILL_PRESSURE - physics.SUCTION_LOSS * fraction**2 * physics.BAR_PER_METRE
    head = physics.SHUT_OFF_HEAD * ratio**2 - physics.PUMP_SLOPE * flow**2
    loading = (fraction / ratio).clip(max=1.5)
    power = physics.RATED_POWER * ratio**3 * (0.45 + 0.55 * loading) * (1 + AGEING * age + 0.02 * wear)
    current = np.hypot(
        physics.MAGNETISING_CURRENT, physics.TORQUE_CURRENT * power / physics.RATED_POWER / ratio
    )
    vibration = 0.05 + 1.3 * ratio**2 * (1 + 0.8 * (1 - loading) ** 2) * (1 + 0.03 * rough)
    vibration += 4.0 * wear * ratio
    water = ambient + 10.0 + 0.04 * valve
    rubbing = 26.0 * ratio * (0.7 + 0.3 * power / physics.RATED_POWER) + 16.0 * wear * ratio
    bearing = ambient + 0.3 * (water - ambient) + rubbing
    winding = ambient + 55.0 * (current / physics.RATED_CURRENT) ** 2 / (0.5 + 0.5 * ratio)
    true = np.column_stack(
        (speed, valve, flow, suction, suction + head * physics.BAR_PER_METRE, current, vibration, bearing,
         winding, water)
    )  # fmt: skip
    return true + noise * [sensor.noise for sensor in physics.SENSORS]
