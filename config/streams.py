"""What comes in, what goes out, and what is kept in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from config.problems import UnmetError
from config.quantities import Duration, DurationOrOff, Positive, Size
from config.section import AtLeastOne, ListToTuple, Section, Share, Text
from config.topics import MachineTopic, PlainTopic
from detector.alerts import MAX_OPEN_WITHIN


def _check_dotted(path: str) -> str:
    if not all(path.split(".")):
        raise UnmetError("must be keys joined by single dots", hint="such as data or payload.values")
    return path


DottedPath = Annotated[str, AfterValidator(_check_dotted)]


class Readings(Section):
    """What the machines send."""

    topic: MachineTopic = "plant/{machine}/readings"
    time: Text = "ts"
    values: DottedPath | None = None
    ignore: Annotated[tuple[Text, ...], ListToTuple] = ()
    interval: Annotated[DurationOrOff, Positive] = None
    lateness: Duration = timedelta(0)
    max_ahead: Duration = timedelta(hours=1)
    qos: Annotated[int, Field(ge=0, le=1)] = 1  # a Literal would take true for 1
    max_payload: Size = 256 * 1024
    max_machines: AtLeastOne = 10_000


class Status(Section):
    """The daemon's own state, for all to see."""

    topic: PlainTopic = "anomalyd/status"


class State(Section):
    """The present state of each machine."""

    topic: MachineTopic = "anomalyd/{machine}/state"


class Scores(Section):
    """Every score, for those who plot them."""

    publish: bool = False
    topic: MachineTopic = "anomalyd/{machine}/score"


class Alerts(Section):
    """When an alert opens, is repeated and closes."""

    topic: MachineTopic = "anomalyd/{machine}/alert"
    open_after: AtLeastOne = 3
    open_within: int = Field(5, ge=1, le=MAX_OPEN_WITHIN)
    close_after: AtLeastOne = 5
    close_score: Share = 0.8
    critical_score: float = Field(3.0, gt=1)
    repeat_every: Annotated[DurationOrOff, Positive] = timedelta(hours=1)
    silent_after: Annotated[DurationOrOff, Positive] = timedelta(minutes=5)

    @field_validator("open_within")
    @classmethod
    def _the_run_fits(cls, within: int, info: ValidationInfo) -> int:
        after = info.data.get("open_after", 0)
        if within < after:
            raise UnmetError(f"must be at least alerts.open_after ({after})")
        return within


class Store(Section):
    """What is kept on disk."""

    keep: Annotated[Duration, Positive] = timedelta(days=30)
    max_size: Size = 2 * 1024**3
    durability: Literal["full", "normal"] = "full"
    max_dead_letters: int = Field(10_000, ge=0)


class Log(Section):
    """What the commands say on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
