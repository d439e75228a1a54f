"""A message becomes a command, or is refused with a reason and what to do; nothing is ever raised."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import msgspec

from config.problems import nearest, shown
from daemon.commands.command import COMMANDS, Command
from daemon.decoding import MAX_DEPTH, depth
from daemon.schema import UNREADABLE

MAX_BYTES = 262_144  # of a command: `MAX_LABELS` labels with a code each
WORDS = {
    "str": "text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}  # as people call what msgspec names
HERE = re.compile(r" - at `\$\.?(.*)`$")  # how msgspec names the place


class Reason(StrEnum):
    """Why a command is not obeyed; also the log field and the metric label."""

    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_COMMAND = "unknown_command"
    BAD_FIELD = "bad_field"
    TOPIC = "topic"  # no machine may have the name in it, or the command does not belong there
    RETAINED = "retained"
    UNKNOWN_MACHINE = "unknown_machine"
    UNKNOWN_ALERT = "unknown_alert"
    NOT_OPEN = "not_open"
    TOO_MANY = "too_many"
    NO_BUNDLE = "no_bundle"
    NOT_TAKEN = "not_taken"
    FAILED = "failed"  # the disk does not let us


class Refused(msgspec.Struct, frozen=True):
    """No command, or one that cannot be obeyed.

    Attributes:
        reason: In a word.
        text: In other words, with what to do.
        command: What it was to be, where that is known.
        ref: Comes back in the answer.
    """

    reason: Reason
    text: str
    command: str | None = None
    ref: str | int | None = None


def read(payload: bytes) -> Command | Refused:
    """The command, or why there is none."""
    if len(payload) > MAX_BYTES:
        return Refused(Reason.TOO_LARGE, f"must be at most {MAX_BYTES} bytes, got more")
    if depth(payload) > MAX_DEPTH:
        return Refused(Reason.NOT_JSON, f"must be nested at most {MAX_DEPTH} levels deep, got more")
    try:
        content = msgspec.json.decode(payload)
    except UNREADABLE as error:
        return Refused(Reason.NOT_JSON, f"must be JSON, and {error}")
    if not isinstance(content, dict):
        return Refused(Reason.NOT_AN_OBJECT, 'must be an object, such as {"command": "ack"}')
    return _command(content)


def _command(content: dict[str, Any]) -> Command | Refused:
    ref = content.get("ref")
    ref = ref if isinstance(ref, str | int) and not isinstance(ref, bool) and len(str(ref)) <= 256 else None
    name = content.get("command")
    if not isinstance(name, str):
        return Refused(Reason.UNKNOWN_COMMAND, f"command: must be one of {', '.join(COMMANDS)}", None, ref)
    kind = COMMANDS.get(name)
    if kind is None:
        near = nearest(name[:60], COMMANDS)
        known = f"did you mean {near}?" if near else f"known are {', '.join(COMMANDS)}"
        return Refused(
            Reason.UNKNOWN_COMMAND, f"command: {shown(name)} is not known; {known}", name[:60], ref
        )
    known_fields = ["command", *(each.encode_name for each in msgspec.structs.fields(kind))]
    for field in content:
        if field not in known_fields:
            near = nearest(field[:60], known_fields)
            hint = f"did you mean {near}?" if near else f"{name} has {', '.join(known_fields[1:])}"
            return Refused(Reason.BAD_FIELD, f"{shown(field)} is not a field of {name}; {hint}", name, ref)
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        return Refused(Reason.BAD_FIELD, _worded(str(error)), name, ref)


def _worded(problem: str) -> str:
    """A problem in msgspec's words, with the place in front: `labels[3].to: …`."""
    place = HERE.search(problem)
    what = HERE.sub("", problem)
    what = what.replace("Object missing required field", "must have a field").replace("`", "")
    what = what.replace("Invalid enum value", "there is no").replace("Expected", "must be")
    what = what.replace("int | float", "int").replace(" | ", " or ")
    what = re.sub(r"\b(str|int|float|bool|array|object)\b", lambda word: WORDS[word[0]], what)
    return f"{place[1]}: {what}" if place and place[1] else what
