"""A message becomes a reading, or a refusal with its reason; nothing is raised, whatever came."""

from __future__ import annotations

import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from detector.categories import GOOD_CATEGORY, is_category, number_of
from detector.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from config.streams import Channel
    from daemon.intake import Message


class RefusalReason(StrEnum):
    """Why a message is not a reading; also the log field and the metric label."""

    TOPIC = "topic"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    TOO_DEEP = "too_deep"
    NOT_AN_OBJECT = "not_an_object"
    BAD_TIME = "bad_time"
    RETAINED = "retained"
    NOT_A_NUMBER = "not_a_number"
    NOT_A_CATEGORY = "not_a_category"
    NOT_BINARY = "not_binary"
    NOT_FINITE = "not_finite"
    NO_SENSOR = "no_sensor"
    BAD_NAME = "bad_name"
    TOO_MANY_LAYOUTS = "too_many_layouts"
    SELF_TEST = "self_test"  # by `anomalyd doctor`; it is no machine, and nobody's mistake


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A message that is not a reading, and what was wrong with it."""

    message: Message
    reason: RefusalReason
    detail: str


class _Refused(Exception):
    def __init__(self, reason: RefusalReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


SELF_TEST = "anomalyd-doctor"  # no machine may have this name
# The same in history files.
SECONDS_BELOW = 1e11  # a number below is seconds (until the year 5138), one above milliseconds (from 1973)
LATEST = 1e14  # milliseconds: the year 5138; more is micro- or nanoseconds
MAX_NAME = 256  # characters of a machine or sensor; names become part of topics, rows and log lines
GOOD_NAME = f"1 to {MAX_NAME} printable characters"
MAX_SENSORS = 4_096  # of one reading; more are not a machine but a mistake
MAX_DEPTH = 64  # lists and objects inside each other; parsers differ in how many they bear
MAX_TOPICS = 20_000  # topics that are remembered
MAX_CATEGORIES = 10_000  # texts that are remembered
NUMBERS = {float, type(None)}
TEXT = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # one that does not end goes too: no second look at it
BRACKETS = np.array([{ord("{"): 1, ord("["): 1, ord("}"): -1, ord("]"): -1}.get(i, 0) for i in range(256)])
MAX_ORDERS = 1024  # orders of keys that are remembered; a sender that shuffles them has no end of them


class Decoder:
    """Decodes messages of one topic template.

    The usual payload, one flat object, takes one pass; anything else is looked at slowly to find
    out what is wrong with it, or that it holds a NaN, which JSON does not know but machines send.
    """

    def __init__(
        self,
        *,
        topic: str,
        time: str,
        values: str | None,
        max_payload: int,
        ignore: Iterable[str] = (),
        channels: Mapping[str, Channel] = MappingProxyType({}),
    ) -> None:
        """Prepares.

        Args:
            topic: The template, with `{machine}` as one level.
            time: Key of the timestamp.
            values: Dotted path to the object that holds the sensors; None for the top level.
            max_payload: Bytes above which a payload is refused unseen.
            ignore: Keys beside the sensors that are left out, whatever they hold.
            channels: Sensors that hold something else than numbers, or numbers of some kind.
        """
        before, _, after = topic.partition("{machine}")
        self._around = before, after
        self._time = time
        self._path = values.split(".") if values else []
        self._max_payload = max_payload
        self._ignore = tuple(ignore)
        self._names: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._machines: dict[str, str] = {}  # by topic
        kinds = {name: channel.kind for name, channel in channels.items()}
        readers = {"category": self._category, "binary": _binary}
        self._readers = {name: readers[kind] for name, kind in kinds.items() if kind in readers}
        self._numbers: dict[str, float] = {}  # by the text of a category
        self._texts: dict[float, str] = {}  # those that are new
        self._flat: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(
            dict[str, float | str | bool | None]
            if "binary" in kinds.values()
            else dict[str, float | str | None]
        )

    def decode(self, message: Message) -> Reading | Refusal:
        """The reading, or why there is none."""
        try:
            machine = self._machines.get(message.topic) or self._machine_of(message.topic)
            sensors, at = self._read(message)
            sent = tuple(sensors)
            names = self._names.get(sent) or self._check(sent)
        except _Refused as refused:
            return Refusal(message, refused.reason, refused.detail)
        values = np.array([sensors[name] for name in names], dtype=np.float64)  # None becomes NaN
        return Reading(machine, at, names, values, message.received_at)

    def _read(self, message: Message) -> tuple[dict[str, Any], int]:
        """The sensors and the time."""
        if len(message.payload) > self._max_payload:
            raise _Refused(RefusalReason.TOO_LARGE, f"must be at most {self._max_payload} bytes, got more")
        sensors: dict[str, Any] | None = None
        if not self._path:
            with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                sensors = self._flat.decode(message.payload)
        if sensors is None:
            sensors, at = self._look(message)
        else:
            at = self._at(sensors, message)
            self._leave_out(sensors)
            for name, read in self._readers.items():
                if name in sensors:
                    sensors[name] = read(name, sensors[name])
            if not NUMBERS.issuperset(map(type, sensors.values())):
                for name, value in sensors.items():
                    _number(name, value)
        return sensors, at

    def _check(self, sent: tuple[str, ...]) -> tuple[str, ...]:
        """The sensors in the order of their names, since some senders shuffle their keys."""
        if not sent:
            raise _Refused(RefusalReason.NO_SENSOR, "holds no sensor")
        if len(sent) > MAX_SENSORS:
            detail = f"must have at most {MAX_SENSORS} sensors, got {len(sent)}"
            raise _Refused(RefusalReason.TOO_LARGE, detail)
        if not all(map(good_name, sent)):
            wrong = _short(next(name for name in sent if not good_name(name)))
            raise _Refused(RefusalReason.BAD_NAME, f"a sensor's name must be {GOOD_NAME}, got {wrong}")
        if len(self._names) >= MAX_ORDERS:
            self._names.clear()
        return self._names.setdefault(sent, tuple(sorted(sent)))

    def _machine_of(self, topic: str) -> str:
        before, after = self._around
        machine = topic.removeprefix(before).removesuffix(after)
        if "/" in machine or len(topic) != len(before) + len(machine) + len(after):
            raise _Refused(RefusalReason.TOPIC, f"must look like {before}{{machine}}{after}")
        if not good_name(machine):
            detail = f"a machine's name must be {GOOD_NAME}, got {_short(machine)}"
            raise _Refused(RefusalReason.TOPIC, detail)
        if machine == SELF_TEST:
            raise _Refused(RefusalReason.SELF_TEST, "comes from anomalyd doctor")
        if len(self._machines) >= MAX_TOPICS:
            self._machines.clear()
        return self._machines.setdefault(topic, machine)

    def _look(self, message: Message) -> tuple[dict[str, Any], int]:
        """Decodes slowly; returns the sensors and the time."""
        if depth(message.payload) > MAX_DEPTH:
            detail = f"must be nested at most {MAX_DEPTH} levels deep, got more"
            raise _Refused(RefusalReason.TOO_DEEP, detail)
        try:
            # Some senders begin with a byte order mark; an integer of a thousand digits is infinite.
            whole = json.loads(message.payload.decode("utf-8-sig"), parse_int=float)
        except UnicodeDecodeError as error:
            raise _Refused(RefusalReason.NOT_JSON, "is not UTF-8") from error
        except ValueError as error:
            raise _Refused(RefusalReason.NOT_JSON, str(error)) from error
        if not isinstance(whole, dict):
            raise _Refused(RefusalReason.NOT_AN_OBJECT, f"must be an object, got {_kind(whole)}")
        at = self._at(whole, message)
        sensors: Any = whole
        for key in self._path:
            sensors = sensors.get(key) if isinstance(sensors, dict) else None
        if not isinstance(sensors, dict):
            raise _Refused(
                RefusalReason.NOT_AN_OBJECT, f"{'.'.join(self._path)} must be an object, got {_kind(sensors)}"
            )
        self._leave_out(sensors)
        return {name: self._readers.get(name, _number)(name, value) for name, value in sensors.items()}, at

    def _category(self, name: str, value: object) -> float | None:
        """The number that stands for a category; an empty text is missing, as an empty cell is."""
        if not isinstance(value, str):
            if value is None or (isinstance(value, float) and math.isnan(value)):
                return None
            raise _Refused(RefusalReason.NOT_A_CATEGORY, f"{_short(name)} must be text, got {_kind(value)}")
        number = self._numbers.get(value)
        if number is not None:
            return number
        text = value.strip()
        if not text:
            return None
        if not is_category(text):
            detail = f"{_short(name)} must be {GOOD_CATEGORY}, got {_short(text)}"
            raise _Refused(RefusalReason.NOT_A_CATEGORY, detail)
        if len(self._numbers) >= MAX_CATEGORIES:
            self._numbers.clear()
        number = number_of(text)
        self._numbers[value], self._texts[number] = number, text
        return number

    def new_texts(self) -> dict[float, str]:
        """The texts of categories, by their numbers, that were not seen before or are forgotten."""
        new, self._texts = self._texts, {}
        return new

    def _leave_out(self, sensors: dict[str, Any]) -> None:
        for key in self._ignore:
            sensors.pop(key, None)

    def _at(self, payload: dict[str, Any], message: Message) -> int:
        """Takes the time out of the payload."""
        if self._time not in payload:
            if message.retained:
                detail = f"a retained message must have a {self._time}: nobody knows when it was sent"
                raise _Refused(RefusalReason.RETAINED, detail)
            return message.received_at
        time = payload.pop(self._time)
        at = moment(time) if isinstance(time, str | float) else None
        if at is None:
            got = _short(time) if isinstance(time, str | float) else _kind(time)
            raise _Refused(
                RefusalReason.BAD_TIME,
                f"{self._time} must be ISO 8601, or seconds or milliseconds since 1970, got {got}",
            )
        return at


def moment(time: str | float) -> int | None:
    """Milliseconds since the epoch of ISO 8601 (in UTC unless it says otherwise), seconds or milliseconds."""
    at: float | None = None
    if isinstance(time, str):
        with suppress(ValueError):
            read = datetime.fromisoformat(time)
            at = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp() * 1000
    else:
        at = time * 1000 if time < SECONDS_BELOW else time
    return None if at is None or not 0 <= at < LATEST else round(at)


def depth(payload: bytes) -> int:
    """How many lists and objects are open at once, at most, before any of them is made."""
    if payload.count(b"{") + payload.count(b"[") <= MAX_DEPTH:
        return 0  # whatever is in texts
    steps = BRACKETS[np.frombuffer(TEXT.sub(b"", payload), dtype=np.uint8)]
    return int(steps.cumsum().max(initial=0))


def good_name(name: str) -> bool:
    return 0 < len(name) <= MAX_NAME and name.isprintable()


def _number(name: str, value: object) -> float | None:
    if value is None:
        return None
    if not isinstance(value, float):
        raise _Refused(RefusalReason.NOT_A_NUMBER, f"{_short(name)} must be a number, got {_kind(value)}")
    if math.isinf(value):
        raise _Refused(RefusalReason.NOT_FINITE, f"{_short(name)} must be finite")
    return value


def _binary(name: str, value: object) -> float | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or value in {0.0, 1.0}:
        return float(value)
    got = _short(value) if isinstance(value, float) else _kind(value)
    raise _Refused(RefusalReason.NOT_BINARY, f"{_short(name)} must be true or false (or 1 or 0), got {got}")


def _kind(value: object) -> str:
    """What a value is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"


def _short(value: str | float) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
