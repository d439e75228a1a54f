"""Says in our words what pydantic found: which option, what must hold, what was there, where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from config.environment import PASSWORD, Overrides
from config.options import Names, suggest
from config.problems import Location, Problem, UnmetError, dotted, shown

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MUST = {
    "bool_type": "must be true or false",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_type": "must be a whole number",
    "is_instance_of": "must be a path",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "model_type": "must be a mapping of options",
    "string_type": "must be text",
    "string_unicode": "must be UTF-8 text",
    "tuple_type": "must be a list",
}
SECRETS = {"password", "passwd", "passphrase", "secret"}
NO_SECRETS = "must not be in this file, which is copied, backed up and shown to colleagues"
SECRETS_INSTEAD = (
    f"name a file by mqtt.password_file, or use the systemd credential mqtt-password or {PASSWORD}"
)


def problem(error: ErrorDetails, lines: Mapping[Location, int], environment: Overrides) -> Problem:
    """Turns one error of a validation into the problem to show.

    Args:
        error: What pydantic found.
        lines: The line of the file that each value stands on.
        environment: What was laid over the file.
    """
    unmet = error.get("ctx", {}).get("error")
    location: Location = error["loc"]
    if isinstance(unmet, UnmetError):
        location += unmet.at
    variable = environment.variables.get(_names(location))
    line = None if variable else lines.get(location)
    path = dotted(location)
    if error["type"] == "extra_forbidden":
        if _names(location)[-1].lower() in SECRETS:
            return Problem(path, NO_SECRETS, hint=SECRETS_INSTEAD, line=line)
        return Problem(path, f"unknown key, {suggest(_names(location))}", line=line)
    if isinstance(unmet, UnmetError):
        must, hint = unmet.must, unmet.hint
        value = shown(error["input"]) if unmet.got is None else unmet.got or None
    else:
        must, hint, value = _must(error), _hint(error), _value(error)
    if value is not None and line is None and variable is None:
        value += " by default"
    return Problem(path, must, value=value, hint=hint, line=line, variable=variable)


def _names(location: Location) -> Names:
    """The option that a location lies in: an item of a list belongs to the list."""
    return tuple(part for part in location if isinstance(part, str))


def _must(error: ErrorDetails) -> str:
    limits = {name: _number(limit) for name, limit in error.get("ctx", {}).items()}
    template = MUST.get(error["type"])
    return error["msg"] if template is None else template.format(**limits).replace("'", "")


def _number(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _hint(error: ErrorDetails) -> str | None:
    value = error["input"]
    if error["type"] == "string_type" and isinstance(value, int | float):
        return f'quote it: "{shown(value)}"'
    if error["type"] in {"int_type", "float_type"} and isinstance(value, str) and value.isdecimal():
        return "write it without quotes"
    if error["type"] == "model_type" and isinstance(value, str) and ":" in value:
        return "write a space after the colon"
    return None


def _value(error: ErrorDetails) -> str:
    value = error["input"]
    if error["type"] == "model_type" and not isinstance(value, list):
        return "a single value"
    return shown(value)
