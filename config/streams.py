"""What comes in, what goes out, and what is kept in between."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal, get_args

import msgspec

from config.addresses import Listen
from config.problems import UnmetError
from config.quantities import Duration, DurationOrAuto, DurationOrOff, Positive, PositiveOrAuto, Size
from config.section import After, AtLeastOne, Before, Limits, Schema, Section, Share, Text, rule
from config.topics import MachineTopic, PlainTopic
from detector.alerts import MAX_OPEN_WITHIN
from detector.expression import Expression, ExpressionError, parse
from detector.kinds import ChannelKind


def _check_dotted(path: str) -> str:
    if not all(path.split(".")):
        raise UnmetError("must be keys joined by single dots", hint="such as data or payload.values")
    return path


DottedPath = Annotated[str, After(_check_dotted)]


class Channel(Section, frozen=True):
    """What a sensor is that is no plain measurement."""

    kind: ChannelKind
    period: Annotated[float, Limits(gt=0)] | None = None

    @rule("period")
    @staticmethod
    def _only_angles_turn(period: float | None, before: Mapping[str, Any]) -> None:
        if period is not None and before.get("kind", "angle") != "angle":
            raise UnmetError("must be given for kind angle alone")

    @property
    def turn(self) -> float:
        """A full turn of an angle: 360, unless it is told otherwise."""
        return 360.0 if self.period is None else self.period


KINDS = list(get_args(ChannelKind))


def _read_channel(value: object) -> object:
    """Reads `category` as `{kind: category}`."""
    if isinstance(value, dict):
        return value
    if value not in KINDS:
        raise UnmetError(f"must be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    return {"kind": value}


ChannelOrKind = Annotated[
    Channel,
    Before(_read_channel),
    Schema(
        {
            "anyOf": [
                {"type": "string", "enum": KINDS},
                {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["kind"],
                    "properties": {
                        "kind": {"type": "string", "enum": KINDS},
                        "period": {"type": ["number", "null"], "exclusiveMinimum": 0},
                    },
                },
            ]
        }
    ),
]


class Readings(Section, frozen=True):
    """What the machines send."""

    topic: MachineTopic = "plant/{machine}/readings"
    time: Text = "ts"
    values: DottedPath | None = None
    ignore: tuple[Text, ...] = ()
    channels: Mapping[Text, ChannelOrKind] = {}
    interval: Annotated[DurationOrOff, Positive] = None
    lateness: Duration = timedelta(0)
    max_ahead: Duration = timedelta(hours=1)
    max_behind: DurationOrOff = None
    qos: Annotated[int, Limits(ge=0, le=1)] = 1  # a Literal would take true for 1
    max_payload: Size = 256 * 1024
    max_machines: AtLeastOne = 10_000


class Status(Section, frozen=True):
    """The daemon's own state, for all to see."""

    topic: PlainTopic = "anomalyd/status"


class State(Section, frozen=True):
    """The present state of each machine."""

    topic: MachineTopic = "anomalyd/{machine}/state"


class Scores(Section, frozen=True):
    """Every score, for those who plot them."""

    publish: bool = False
    topic: MachineTopic = "anomalyd/{machine}/score"


class Alerts(Section, frozen=True):
    """When an alert opens, is repeated and closes."""

    topic: MachineTopic = "anomalyd/{machine}/alert"
    open_after: AtLeastOne = 3
    open_within: Annotated[int, Limits(ge=1, le=MAX_OPEN_WITHIN)] = 5
    close_after: AtLeastOne = 5
    close_score: Share = 0.8
    critical_score: Annotated[float, Limits(gt=1)] = 3.0
    repeat_every: Annotated[DurationOrOff, Positive] = timedelta(hours=1)
    silent_after: Annotated[DurationOrOff, Positive] = timedelta(minutes=5)
    on_silence: bool = False

    @rule("open_within")
    @staticmethod
    def _the_run_fits(within: int, before: Mapping[str, Any]) -> None:
        after = before.get("open_after", 0)
        if within < after:
            raise UnmetError(f"must be at least alerts.open_after ({after})")

    @rule("on_silence")
    @staticmethod
    def _silence_is_noticed(wanted: bool, before: Mapping[str, Any]) -> None:  # noqa: FBT001 - as rules have it
        if wanted and before.get("silent_after", timedelta()) is None:
            raise UnmetError(
                "must be false while alerts.silent_after is off",
                hint="a machine is silent only after a time without readings",
            )


class Range(msgspec.Struct, frozen=True):
    """The values that a sensor can show; infinite where it has no end."""

    low: float
    high: float


def _read_range(value: object) -> object:
    """Reads `[lowest, highest]`, either of which may be null."""
    numbers = value if isinstance(value, list | tuple) else ()
    good = [n is None or (type(n) in {int, float} and math.isfinite(n)) for n in numbers]
    if len(good) != 2 or not all(good):
        raise UnmetError("must be the lowest and the highest value", hint="such as [-40, 200] or [0, null]")
    low, high = numbers
    found = Range(-math.inf if low is None else float(low), math.inf if high is None else float(high))
    if not found.low < found.high:
        got = f"[{found.low:g}, {found.high:g}]"
        raise UnmetError("must be two values of which the first is the lower one", got=got)
    return found


NUMBER_OR_NULL = {"type": ["number", "null"]}
RangeOfTwo = Annotated[
    Range,
    Before(_read_range),
    Schema({"type": "array", "items": NUMBER_OR_NULL, "minItems": 2, "maxItems": 2}),
]


class Sensors(Section, frozen=True):
    """When a sensor is stuck, silent or out of range, which is told apart from alerts."""

    topic: MachineTopic = "anomalyd/{machine}/sensor"
    stuck_after: Annotated[DurationOrAuto, PositiveOrAuto] = "auto"
    silent_after: Annotated[DurationOrAuto, PositiveOrAuto] = "auto"
    limits: Mapping[Text, RangeOfTwo] = {}
    ignore: tuple[Text, ...] = ()
    leave_out: bool = True


def _read_condition(value: object) -> object:
    if value is None or isinstance(value, Expression):
        return value
    if not isinstance(value, str):
        raise UnmetError("must be a condition in quotes", hint='such as "speed > 50"')
    try:
        return parse(value)
    except ExpressionError as error:
        raise UnmetError(
            f"must be a condition such as speed > 50 and not cleaning, but it {error}"
        ) from error


Condition = Annotated[Expression | None, Before(_read_condition), Schema({"type": ["string", "null"]})]


class Operation(Section, frozen=True):
    """When a machine runs; while it does not, nothing is scored and nothing learned."""

    running_when: Condition = None
    settle: Duration = timedelta(minutes=1)


class Store(Section, frozen=True):
    """What is kept on disk."""

    keep: Annotated[Duration, Positive] = timedelta(days=30)
    max_size: Size = 2 * 1024**3
    durability: Literal["full", "normal"] = "full"
    max_outbox: AtLeastOne = 100_000
    max_dead_letters: Annotated[int, Limits(ge=0)] = 10_000


class Metrics(Section, frozen=True):
    """Numbers for Prometheus."""

    listen: Listen = None


class Log(Section, frozen=True):
    """What the commands say on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"
