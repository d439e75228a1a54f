"""What can go wrong with the pump, and when: each fault has an onset and an end, when it is repaired.

Times are seconds after the pump's first reading; a fault acts at `onset <= second < until`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    onset: int
    until: int

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.until:
            raise ValueError(
                f"fault: must begin at 0 or later and end after it began, got {self.onset}..{self.until}"
            )

    def acts(self, second: int) -> bool:
        return self.onset <= second < self.until


@dataclass(frozen=True, slots=True)
class BearingWear(Span):
    """A raceway spalls: it vibrates at once and more with every turn, and the friction warms the bearing."""

    severity: float = 1.0

    def depth(self, second: int) -> float:
        """0 for a sound bearing, `severity` when the damage is complete."""
        if not self.acts(second):
            return 0.0
        return self.severity * float((second - self.onset) / (self.until - self.onset))


@dataclass(frozen=True, slots=True)
class Cavitation(Span):
    """The suction strainer clogs within half a minute; whether the water boils then follows from the NPSH."""

    clogging_loss: float = 13.0  # metres of head lost in the strainer at rated flow
    clogging_time: float = 30.0  # seconds

    def loss(self, second: int) -> float:
        """Metres of head that the strainer takes at rated flow, over what a clean one takes."""
        if not self.acts(second):
            return 0.0
        return self.clogging_loss * min(1.0, (second - self.onset + 1) / self.clogging_time)


@dataclass(frozen=True, slots=True)
class StuckSensor(Span):
    """The transmitter repeats the last value that it measured before the onset."""

    sensor: str


@dataclass(frozen=True, slots=True)
class SilentSensor(Span):
    """The transmitter is off the bus: its reading is null."""

    sensor: str


Fault = BearingWear | Cavitation | StuckSensor | SilentSensor
