"""A centrifugal pump that circulates cooling water in a closed loop, one reading a second.

A 15 kW four-pole motor on a frequency converter drives a radial pump of 100 m³/h at 40 m. The formulas are
the textbook ones (Gülich, "Centrifugal Pumps"; Karassik, "Pump Handbook"), named where they are used; the
numbers are those of an ordinary pump of this size.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from demo.duty import SetPoint
from demo.faults import BearingWear, Cavitation, Fault, SilentSensor, StuckSensor

GRAVITY = 9.81  # m/s²
DENSITY = 996.0  # kg/m³, water at 30 °C
ATMOSPHERE = 1.013  # bar
BAR_PER_METRE = DENSITY * GRAVITY / 1e5

RATED_SPEED = 1480.0  # rpm: four poles at 50 Hz, less the slip
RATED_FLOW = 100.0  # m³/h, at the best efficiency point
RATED_POWER = 14.5  # kW at the shaft: 10.9 kW of hydraulic power at 75 % efficiency
SHUT_OFF_HEAD = 50.0  # m, at rated speed against a closed valve
PUMP_SLOPE = 1.0e-3  # m/(m³/h)²: 10 m less head at rated flow
PIPE_LOSS = 2.5e-3  # m/(m³/h)²
VALVE_LOSS = 1.5e-3  # m/(m³/h)², fully open; with the pipe 40 m at rated flow, so the curves meet there
SUCTION_LOSS = 1.0  # m at rated flow, with a clean strainer
FILL_PRESSURE = 0.30  # bar, kept by the expansion vessel at the suction side

SPEED_RAMP = 20.0  # rpm/s
VALVE_RAMP = 2.0  # %/s
WATER_LAG = 2.0  # s: inertia of the water in the pipe
BEARING_LAG = 240.0  # s
WINDING_LAG = 600.0  # s
WATER_HEAT_LAG = 900.0  # s: the volume of the loop

MAGNETISING_CURRENT = 12.0  # A
TORQUE_CURRENT = 27.0  # A at rated torque: 29.5 A together, as on the plate of a 15 kW motor at 400 V
PROCESS_NOISES = 5  # random numbers that the physics takes in a second
RATED_CURRENT = math.hypot(MAGNETISING_CURRENT, TORQUE_CURRENT)


@dataclass(frozen=True, slots=True)
class Sensor:
    """What a transmitter sends.

    Attributes:
        noise: a standard deviation, in `unit`.
        digits: how many follow the decimal point.
        lowest: the lower end of its range.
    """

    name: str
    unit: str
    noise: float
    digits: int
    lowest: float = 0.0


SENSORS = (
    Sensor("speed", "rpm", 1.5, 1),
    Sensor("valve", "%", 0.15, 1),
    Sensor("flow", "m³/h", 0.5, 1),
    Sensor("suction_pressure", "bar", 0.005, 3, lowest=-1.0),
    Sensor("discharge_pressure", "bar", 0.02, 3),
    Sensor("current", "A", 0.2, 2),
    Sensor("vibration", "mm/s", 0.02, 3),
    Sensor("bearing_temperature", "°C", 0.1, 2),
    Sensor("winding_temperature", "°C", 0.1, 2),
    Sensor("fluid_temperature", "°C", 0.05, 2),
)
NAMES = tuple(sensor.name for sensor in SENSORS)


@dataclass(frozen=True, slots=True)
class Reading:
    """What the pump reports at one instant; None where a sensor is silent."""

    at: datetime
    values: dict[str, float | None]

    def as_message(self) -> dict[str, str | float | None]:
        """The JSON object that goes to the broker."""
        return {"ts": iso(self.at), **self.values}


def iso(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Pump:
    """Call `readings` for what it sends from now on, as often as needed: the pump keeps running.

    The same seed gives the same noise whatever the faults, so two pumps differ only where a fault acts.

    Args:
        duty: the set-points in order of time; the first holds from the start.
        start: the time of the first reading.
    """

    def __init__(
        self, *, duty: Sequence[SetPoint], faults: Sequence[Fault] = (), seed: int, start: datetime
    ) -> None:
        if not duty:
            raise ValueError("pump: must have at least one set-point, got none")
        self._duty = tuple(sorted(duty, key=lambda point: point.second))
        self._faults = tuple(faults)
        self._rng = np.random.default_rng(seed)
        self._start = start.astimezone(UTC)
        self.second = 0
        self._speed = self._duty[0].speed
        self._valve = self._duty[0].valve
        self._room = 0.0  # K, the hall's draughts
        self._pulse = 0.0  # the slow part of the cavitation's noise
        self._flow = self._loop_flow(self._speed / RATED_SPEED, 0.0)
        self._last: dict[str, float | None] = {}
        # A history that began with a cold pump would spend an hour on warming up.
        self._water, self._bearing, self._winding = 36.0, 50.0, 65.0
        for _ in range(3600):
            self._advance(self._duty[0], np.zeros(PROCESS_NOISES), wear=0.0, clogging=0.0)

    def readings(self, seconds: int) -> Iterator[Reading]:
        for _ in range(seconds):
            yield self._next()

    def write_history(self, path: Path, seconds: int) -> None:
        """Writes the next readings as CSV: `timestamp`, then the sensors; a missing value is empty."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("timestamp", *NAMES))
            for reading in self.readings(seconds):
                cells = (reading.values[name] for name in NAMES)
                writer.writerow((iso(reading.at), *("" if cell is None else cell for cell in cells)))

    def _next(self) -> Reading:
        second = self.second
        # As many numbers at every step, so that a fault shifts none of them.
        noise = self._rng.standard_normal(PROCESS_NOISES + len(SENSORS))
        wear = sum(fault.depth(second) for fault in self._faults if isinstance(fault, BearingWear))
        clogging = sum(fault.loss(second) for fault in self._faults if isinstance(fault, Cavitation))
        true = self._advance(self._wanted(second), noise[:PROCESS_NOISES], wear=wear, clogging=clogging)
        measured: dict[str, float | None] = {
            sensor.name: round(max(sensor.lowest, value + sensor.noise * grain), sensor.digits)
            for sensor, value, grain in zip(SENSORS, true, noise[PROCESS_NOISES:].tolist(), strict=True)
        }
        reported = self._through_the_transmitters(second, measured)
        self._last = reported
        self.second += 1
        return Reading(self._start + timedelta(seconds=second), reported)

    def _wanted(self, second: int) -> SetPoint:
        return max((point for point in self._duty if point.second <= second), key=lambda point: point.second)

    def _advance(
        self, wanted: SetPoint, noise: np.ndarray, *, wear: float, clogging: float
    ) -> tuple[float, ...]:
        """One second of physics; returns the true values in the order of SENSORS."""
        self._speed += _limited(wanted.speed - self._speed, SPEED_RAMP)
        self._valve += _limited(wanted.valve - self._valve, VALVE_RAMP)
        ratio = self._speed / RATED_SPEED
        # Ventilation swings the hall by 1.5 K in an hour and a half; doors and sun add a slow random walk.
        self._room += -self._room / 600 + 0.3 * math.sqrt(2 / 600) * float(noise[0])
        ambient = 24.0 + 1.5 * math.sin(2 * math.pi * self.second / 5400) + self._room

        # NPSH (ISO 17769): what is there must exceed what the impeller needs, or vapour forms in its eye.
        fraction = self._flow / RATED_FLOW
        suction = FILL_PRESSURE - (SUCTION_LOSS + clogging) * fraction**2 * BAR_PER_METRE
        available = (suction + ATMOSPHERE - _vapour_pressure(self._water)) / BAR_PER_METRE
        needed = 1.5 + 2.5 * fraction**2
        # By definition 3 % of the head is lost where the two are equal; bubbles come before that.
        vapour = min(1.0, max(0.0, 0.5 - (available - needed) / 3.0))
        self._pulse += -self._pulse / 3 + math.sqrt(2 / 3) * float(noise[1])
        lost = min(0.6, vapour**3 * max(0.0, 0.25 + 0.15 * self._pulse))

        self._flow += (self._loop_flow(ratio, lost) - self._flow) / WATER_LAG
        head = max(0.0, SHUT_OFF_HEAD * ratio**2 * (1 - lost) - PUMP_SLOPE * self._flow**2)
        discharge = suction + head * BAR_PER_METRE

        # Affinity: power goes with the cube of the speed; a radial pump's power rises linearly with its flow.
        loading = self._flow / (RATED_FLOW * ratio) if ratio > 0.05 else 0.0
        loading = min(loading, 1.5)
        power = RATED_POWER * ratio**3 * (0.45 + 0.55 * loading) * (1 + 0.02 * wear)
        current = _current(power, ratio)

        # Unbalance goes with the square of the speed; away from the best point the flow recirculates. (For a
        # machine of this size ISO 20816-3 calls 2.8 mm/s good.) A spall adds impacts, vapour a broad hiss.
        smooth = 1.3 * ratio**2 * (1 + 0.8 * (1 - loading) ** 2)
        vibration = 0.05 + smooth * (1 + 0.03 * float(noise[2]))
        vibration += 4.0 * wear * ratio * (1 + 0.10 * abs(float(noise[3])))
        vibration += 2.2 * vapour * ratio * max(0.2, 1 + 0.35 * float(noise[4]))

        # Friction heat goes with speed and load; Newton's cooling makes every temperature a first-order lag.
        friction = 26.0 * ratio * (0.7 + 0.3 * power / RATED_POWER) + 16.0 * wear * ratio
        self._bearing += (ambient + 0.3 * (self._water - ambient) + friction - self._bearing) / BEARING_LAG
        # Copper losses go with the square of the current; the fan sits on the shaft and cools less when slow.
        copper = 55.0 * (current / RATED_CURRENT) ** 2 / (0.5 + 0.5 * ratio)
        self._winding += (ambient + copper - self._winding) / WINDING_LAG
        self._water += (ambient + 10.0 + 0.04 * self._valve - self._water) / WATER_HEAT_LAG
        return (
            self._speed, self._valve, self._flow, suction, discharge, current, vibration,
            self._bearing, self._winding, self._water,
        )  # fmt: skip

    def _loop_flow(self, ratio: float, lost: float) -> float:
        """Where the pump's curve meets the loop's, m³/h.

        Affinity laws: head H0·n² - a·Q² at the speed ratio n. In a closed loop all head is friction, k·Q², so
        Q goes with n and the head with n². `lost` is the share of the head that vapour takes.
        """
        opening = max(0.05, self._valve / 100)
        # A butterfly valve passes about the square of its opening, and its loss goes with the flow squared.
        friction = PIPE_LOSS + VALVE_LOSS / opening**4
        return ratio * math.sqrt(SHUT_OFF_HEAD * (1 - lost) / (PUMP_SLOPE + friction))

    def _through_the_transmitters(
        self, second: int, measured: dict[str, float | None]
    ) -> dict[str, float | None]:
        reported = dict(measured)
        for fault in self._faults:
            if not isinstance(fault, StuckSensor | SilentSensor) or not fault.acts(second):
                continue
            if isinstance(fault, SilentSensor):
                reported[fault.sensor] = None
            else:
                reported[fault.sensor] = self._last.get(fault.sensor, measured[fault.sensor])
        return reported


def _limited(step: float, most: float) -> float:
    return max(-most, min(most, step))


def _vapour_pressure(celsius: float) -> float:
    """Antoine's equation for water (1 to 100 °C), bar."""
    return float(10 ** (8.07131 - 1730.63 / (233.426 + celsius))) / 750.06


def _current(power: float, ratio: float) -> float:
    """An induction motor at constant flux: a constant magnetising current, the rest by torque; A."""
    if ratio < 0.01:
        return 0.0  # the converter is off
    torque = power / RATED_POWER / ratio
    return math.hypot(MAGNETISING_CURRENT, TORQUE_CURRENT * torque)
