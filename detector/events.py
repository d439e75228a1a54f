"""What the pipeline says: one type per kind of event."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from detector.alerts import Acknowledged, Change, OpenAlert, OpenSilence, Reason, Severity, Shelf
from detector.blame import SensorShare
from detector.clock import ClockFault
from detector.health import Health, SensorState
from detector.modes import Mode, Ordered
from detector.reading import Dropped, Ignored, Reading


class NotScoredReason(StrEnum):
    """Why a window has no score; also the log field and the metric label."""

    WARMING_UP = "warming_up"
    LOW_COVERAGE = "low_coverage"
    NOT_FINITE = "not_finite"  # the model overflowed
    OFF = "off"  # or in maintenance


class MachineState(StrEnum):
    """The present state of a machine."""

    NO_MODEL = "no_model"
    LEARNING = "learning"
    WARMING_UP = "warming_up"
    NORMAL = "normal"
    ALERT = "alert"
    DEGRADED = "degraded"
    SILENT = "silent"
    OFF = "off"
    MAINTENANCE = "maintenance"


class ReadingDropped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A reading was left out."""

    reading: Reading
    reason: Dropped


class ClockFailed(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A machine's clock was set back or stands still, as this reading proves.

    The first that is taken after a clock was set back is this one.
    """

    reading: Reading
    reason: ClockFault

    @property
    def machine(self) -> str:
        """Whose clock it is."""
        return self.reading.machine

    @property
    def at(self) -> int:
        """What it shows."""
        return self.reading.at


class ValueIgnored(msgspec.Struct, frozen=True, gc=False):
    """A sample's value counts as missing; `at` is the sample's time."""

    machine: str
    at: int
    sensor: str
    reason: Ignored


class SensorChanged(msgspec.Struct, frozen=True, gc=False):
    """A sensor is not as healthy as it was, or is again.

    Attributes:
        at: Time of the sample that shows it, in milliseconds since the epoch.
        health: How it is now.
        was: How it was before.
        since: When it ceased to be healthy; the same in all events until it is healthy again.
        value: What it has shown last, a category's text, a counter's increase; None before the first value.
        samples: Samples in a row with that value, or without one where it is silent.
        limit: What is allowed: so many samples, or the lowest and the highest value; empty where it is ok.
        model: The bundle that serves the machine.
    """

    machine: str
    at: int
    sensor: str
    health: Health
    was: Health
    since: int
    value: float | str | None
    samples: int
    limit: tuple[float | None, ...]
    model: str


class NotScored(msgspec.Struct, frozen=True, gc=False):
    """A sample came, but no window could be scored; never a score of 0."""

    machine: str
    at: int
    reason: NotScoredReason


class Scored(msgspec.Struct, frozen=True, gc=False):
    """A window was scored.

    Attributes:
        at: Time of its newest sample, in milliseconds since the epoch.
        error: The smoothed reconstruction error.
        score: error / threshold, rounded to `SCORE_DIGITS` decimals.
        anomaly: Whether the score is above 1.
        coverage: Share of the window's values that were there.
        imputed: Sensors of which a value was imputed.
    """

    machine: str
    at: int
    error: float
    score: float
    anomaly: bool
    coverage: float
    imputed: tuple[str, ...]


class AlertChanged(msgspec.Struct, frozen=True, gc=False):
    """An alert opened, was updated or closed; `at` is the end of the window that caused it.

    One that closes since the machine is not watched any more (`mode`) was caused by no window: nothing is
    said of a score, an error, a coverage or sensors; without a bundle nothing of a threshold and a model.

    Attributes:
        reason: Why it opened: a window is none of the usual, or a value is beyond a limit.
    """

    id: str
    machine: str
    change: Change
    severity: Severity
    at: int
    opened_at: int
    score: float | None
    peak_score: float
    reconstruction_error: float | None
    threshold: float | None
    sensors: tuple[SensorShare, ...]
    coverage: float | None
    imputed: tuple[str, ...]
    model: str | None
    acknowledged: Acknowledged | None = None
    hidden: bool = False  # for subscribers have asked not to be told
    mode: Mode = Mode.RUNNING
    reason: Reason = Reason.ANOMALY


class SilenceChanged(msgspec.Struct, frozen=True, gc=False):
    """An alert about a machine that sends nothing opened, was updated or closed.

    Attributes:
        at: When, by this host's clock: a silent machine has no time of its own.
        opened_at: When it opened.
        model: The bundle that serves the machine; None without one.
        acknowledged, hidden: See `OpenSilence`.
    """

    id: str
    machine: str
    change: Change
    at: int
    opened_at: int
    model: str | None
    acknowledged: Acknowledged | None = None
    hidden: bool = False


class ModeOrdered(msgspec.Struct, frozen=True, gc=False):
    """Somebody has put a machine in another mode, or it goes on in it as its clock is set back.

    Attributes:
        at: When, by the machine's clock.
        ended: What was ordered before; None: nothing.
        begun: What is ordered now; None: it runs, as far as `running_when` says so.
    """

    machine: str
    at: int
    ended: Ordered | None
    begun: Ordered | None


class StateChanged(msgspec.Struct, frozen=True, gc=False):
    """A machine's present state, said when it, its open alert or a sensor's health has changed.

    Attributes:
        at: When it changed.
        state: The state.
        since: Since when the machine is in this state; `at`, unless only the alert changed.
        model: The bundle that serves the machine.
        alert: The open alert; that about silence where no other is open.
        sensors: Those that are not healthy, by name.
        shelf: For how long its alerts are shelved.
        ordered: The mode that somebody has put it in.
    """

    machine: str
    at: int
    state: MachineState
    since: int
    model: str | None
    alert: OpenAlert | OpenSilence | None
    sensors: tuple[SensorState, ...] = ()
    shelf: Shelf | None = None
    ordered: Ordered | None = None


Event = (
    ReadingDropped
    | ClockFailed
    | ValueIgnored
    | SensorChanged
    | NotScored
    | Scored
    | AlertChanged
    | SilenceChanged
    | ModeOrdered
    | StateChanged
)
