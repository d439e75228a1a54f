"""What an operator may say: one type for each command, strict in what it takes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta, field

from config.policies import milliseconds
from config.problems import UnmetError, shown
from config.quantities import parse_duration
from daemon.decoding import moment
from detector.labels import LabelKind

MAX_LABELS = 5_000  # in one command

Short = Annotated[str, Meta(max_length=256)]
Text = Annotated[str, Meta(max_length=2_000)]
Moment = str | int | float
Where = Literal["machine", "both"]


class Command(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="command",
):
    """What every command may say.

    Attributes:
        by: Who says it, in their own words: the broker does not tell.
        note: Why.
        ref: Comes back in the answer; a command that repeats an earlier one with its `ref` is not executed
            again.
    """

    where: ClassVar[Where] = "machine"  # whether it is about one machine, or none in particular as well

    by: Short = ""
    note: Text = ""
    ref: Short | int | None = None


class Ack(Command, frozen=True, tag="ack"):
    """The open alert is known of; `alert` refuses it for another one."""

    alert: Short | None = None


class Shelve(Command, frozen=True, tag="shelve"):
    """No alert of the machine is published for a time."""

    lasting: Short = field(name="for")

    def __post_init__(self) -> None:
        duration(self.lasting)


class Unshelve(Command, frozen=True, tag="unshelve"):
    """Alerts are published again."""


class _Stretch(Command, frozen=True):
    """About an alert, or from one moment to another."""

    alert: Short | None = None
    start: Moment | None = field(name="from", default=None)
    end: Moment | None = field(name="to", default=None)

    def __post_init__(self) -> None:
        given = (self.start is not None, self.end is not None)
        if (self.alert is None) is not all(given) or any(given) is not all(given):
            raise ValueError("must have either alert, or from and to")
        if self.start is not None and self.end is not None:
            in_order(self.start, self.end)


class FalseAlarm(_Stretch, frozen=True, tag="false-alarm"):
    """It was normal: learned from, and to be scored lower."""


class Confirmed(_Stretch, frozen=True, tag="confirmed"):
    """It was an incident: never learned as normal, and to be found by every later model."""

    code: Short = ""


class Exclude(Command, frozen=True, tag="exclude"):
    """Nothing is to be learned from this stretch."""

    start: Moment = field(name="from")
    end: Moment = field(name="to")

    def __post_init__(self) -> None:
        in_order(self.start, self.end)


class Off(Command, frozen=True, tag="off"):
    """The machine is off: neither scored nor learned from."""


class Running(Command, frozen=True, tag="running"):
    """The machine is in operation again."""


class Maintenance(Command, frozen=True, tag="maintenance"):
    """The machine is being worked on: neither scored nor learned from, for a time or until told otherwise."""

    lasting: Short | None = field(name="for", default=None)

    def __post_init__(self) -> None:
        if self.lasting is not None:
            duration(self.lasting)


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One label of many; `machine` where the command is about no single one."""

    start: Moment = field(name="from")
    end: Moment = field(name="to")
    kind: LabelKind = LabelKind.CONFIRMED
    machine: Short | None = None
    code: Short = ""
    note: Text = ""

    def __post_init__(self) -> None:
        in_order(self.start, self.end)


class ImportLabels(Command, frozen=True, tag="label"):
    """Many labels at once."""

    where = "both"

    labels: Annotated[list[Entry], Meta(min_length=1, max_length=MAX_LABELS)]


class DropLabel(Command, frozen=True, tag="unlabel"):
    """The label of this kind and start holds no longer."""

    kind: LabelKind
    start: Moment = field(name="from")

    def __post_init__(self) -> None:
        milliseconds_of("from", self.start)


class Outside(Command, frozen=True):
    """About models: it changes what no transaction of the store can undo."""

    where = "both"


class Retrain(Outside, frozen=True, tag="retrain"):
    """A retraining turn is wanted."""

    reason: Text = ""


class Promote(Outside, frozen=True, tag="promote"):
    """A bundle is put into service."""

    bundle: Short


class Rollback(Outside, frozen=True, tag="rollback"):
    """The former champion is put back; with `bundle`, only from that one."""

    bundle: Short | None = None


class Pin(Outside, frozen=True, tag="pin"):
    """No training may replace the champion."""


class Unpin(Outside, frozen=True, tag="unpin"):
    """A training may replace the champion again."""


COMMANDS: dict[str, type[Command]] = {
    str(each.__struct_config__.tag): each
    for each in (
        Ack,
        Shelve,
        Unshelve,
        FalseAlarm,
        Confirmed,
        Exclude,
        Off,
        Running,
        Maintenance,
        ImportLabels,
        DropLabel,
        Retrain,
        Promote,
        Rollback,
        Pin,
        Unpin,
    )
}


def name_of(command: Command) -> str:
    """What it is called in a message."""
    return str(command.__struct_config__.tag)


def duration(text: str) -> int:
    """A time span as the configuration has it, in milliseconds, above 0.

    Raises:
        ValueError: It is none.
    """
    try:
        found = milliseconds(parse_duration(text))
    except UnmetError as unmet:
        hint = f"; {unmet.hint}" if unmet.hint else ""
        raise ValueError(f"for: {unmet.must}, got {shown(text)}{hint}") from unmet
    if not found:
        raise ValueError(f"for: must be more than 0s, got {shown(text)}")
    return found


def read_time(text: str) -> Moment:
    """A time as people type it, which may be a number."""
    try:
        return float(text)
    except ValueError:
        return text


def milliseconds_of(name: str, time: Moment) -> int:
    """A moment in milliseconds since the epoch.

    Raises:
        ValueError: It is none; the text begins with `name`.
    """
    at = moment(time)
    if at is None:
        must = "must be ISO 8601, or seconds or milliseconds since 1970"
        raise ValueError(f"{name}: {must}, got {shown(time)}")
    return at


def in_order(start: Moment, end: Moment) -> None:
    """Refuses two moments of which one is none, or the second comes first.

    Raises:
        ValueError: They are.
    """
    if milliseconds_of("to", end) < milliseconds_of("from", start):
        raise ValueError(f"to: must not be before from, got {shown(start)} to {shown(end)}")
