"""What happens in the demonstration, in order: a normal stretch, then each fault and its recovery."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from demo.duty import SetPoint, ordinary_duty
from demo.faults import BearingWear, Cavitation, Fault, SilentSensor, StuckSensor

HISTORY = 7200  # seconds: two hours hold some forty changes of set-point and half a dozen start-ups


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the stream, `begin <= second < end`, counted from the stream's first reading.

    Attributes:
        label: one word, for the chart.
        title: what goes on, in plain words.
        fault: what is wrong with the pump, None where nothing is.
        culprits: the sensors that a maintenance engineer would look at first.
        unseen: seconds from the onset in which nothing looks wrong yet, whoever looks.
    """

    label: str
    title: str
    begin: int
    end: int
    fault: Fault | None = None
    culprits: tuple[str, ...] = ()
    unseen: int = 0

    def holds(self, second: float) -> bool:
        return self.begin <= second < self.end


@dataclass(frozen=True, slots=True)
class Story:
    """The stretches follow each other without a gap; `duty` and the faults count from the history's start."""

    stretches: tuple[Stretch, ...]
    duty: tuple[SetPoint, ...]

    @property
    def seconds(self) -> int:
        return self.stretches[-1].end

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(stretch.fault for stretch in self.stretches if stretch.fault is not None)

    @property
    def normal(self) -> Stretch:
        return self.stretches[0]

    def stretch_at(self, second: float) -> Stretch:
        """The stretch at that second; before the start the first, after the end the last."""
        begun = [stretch for stretch in self.stretches if stretch.begin <= second]
        return begun[-1] if begun else self.stretches[0]


NORMAL = 480
WEAR = 240
CAVITATION = 120
STUCK = 210
STUCK_UNSEEN = 50  # seconds in which a frozen reading is right by chance, as the pump keeps its speed
SILENT = 150
RECOVERY = 240  # the oldest faulty sample leaves the window, the smoothed score sinks, the bearing cools
LAST = 60


def tell(*, seed: int) -> Story:
    """The one story; the seed varies the set-points of the history and of the normal stretch."""
    ends = list(
        itertools.accumulate((NORMAL, WEAR, RECOVERY, CAVITATION, RECOVERY, STUCK, RECOVERY, SILENT, LAST))
    )
    normal, wear, well_1, cavitation, well_2, stuck, well_3, silent, last = ends
    at = HISTORY
    stretches = (
        Stretch("normal", "Normal running: set-points change, the pump stops and starts", 0, normal),
        Stretch(
            "wear",
            "FAULT: bearing wear. It shakes more with every turn, then runs warm",
            normal,
            wear,
            BearingWear(at + normal, at + wear),
            ("vibration", "bearing_temperature"),
        ),
        Stretch("", "Recovery: the bearing has been replaced", wear, well_1),
        Stretch(
            "cavitation",
            "FAULT: cavitation. The suction strainer clogs, the water boils",
            well_1,
            cavitation,
            Cavitation(at + well_1, at + cavitation),
            ("suction_pressure", "flow", "discharge_pressure", "vibration"),
        ),
        Stretch("", "Recovery: the strainer has been cleaned", cavitation, well_2),
        Stretch(
            "stuck",
            f"FAULT: the pressure gauge is stuck. It shows once the pump stops, after {STUCK_UNSEEN} s",
            well_2,
            stuck,
            StuckSensor(at + well_2, at + stuck, "discharge_pressure"),
            ("discharge_pressure",),
            STUCK_UNSEEN,
        ),
        Stretch("", "Recovery: the gauge has been replaced", stuck, well_3),
        Stretch(
            "silent",
            "FAULT: the water thermometer is silent. Detection must go on without it",
            well_3,
            silent,
            SilentSensor(at + well_3, at + silent, "fluid_temperature"),
            ("fluid_temperature",),
        ),
        Stretch("", "Recovery: the thermometer is back", silent, last),
    )
    asked = [point for point in ordinary_duty(at + normal, seed=seed) if point.second < at + normal - 90]
    asked += [
        SetPoint(at + normal - 90, 1300.0, 80.0),
        SetPoint(at + wear + 40, 1100.0, 75.0),
        SetPoint(at + well_1 - 60, 1420.0, 88.0),  # cavitation needs a high flow
        SetPoint(at + cavitation + 40, 1150.0, 75.0),
        SetPoint(at + well_2 - 60, 1350.0, 80.0),
        SetPoint(at + well_2 + STUCK_UNSEEN, 0.0, 80.0),
        SetPoint(at + stuck + 10, 1250.0, 75.0),
    ]
    return Story(stretches, tuple(asked))
