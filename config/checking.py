"""Makes settings of what a file holds, or says everything that is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

import msgspec

from config.environment import PASSWORD
from config.options import suggest
from config.problems import Location, UnmetError, shown
from config.section import After, Before, Limits, Rule, Section, default_of, optional, parts

SECRETS = {"password", "passwd", "passphrase", "secret"}
NO_SECRETS = "must not be in this file, which is copied, backed up and shown to colleagues"
SECRETS_INSTEAD = (
    f"name a file by mqtt.password_file, or use the systemd credential mqtt-password or {PASSWORD}"
)


class Fault(msgspec.Struct, frozen=True):
    """A value that must not be; `value` is None where it says nothing or may be a secret."""

    location: Location
    must: str
    value: str | None = None
    hint: str | None = None


S = TypeVar("S", bound=Section)


class _Refused(Enum):
    """Stands for a value that a fault was written about."""

    VALUE = auto()


def check(model: type[S], values: object) -> tuple[S | None, list[Fault]]:
    """Reads plain values into a section; without one, there are faults, in the order of the options."""
    checker = _Checker()
    section = checker.value(model, values, ())
    return section if isinstance(section, model) else None, checker.faults


class _Checker:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def section(self, model: type[Section], values: object, at: Location) -> object:
        if values is None:
            values = {}  # a section whose options are all commented out
        if not isinstance(values, dict):
            hint = "write a space after the colon" if isinstance(values, str) and ":" in values else None
            got = shown(values) if isinstance(values, list) else "a single value"
            raise UnmetError("must be a mapping of options", got=got, hint=hint)
        rules = [each for each in vars(model).values() if isinstance(each, Rule)]
        fields = msgspec.structs.fields(model)
        good: dict[str, object] = {}
        for field in fields:
            here = (*at, field.name)
            raw = values.get(field.name, default_of(field))
            if raw is msgspec.NODEFAULT:
                self.faults.append(Fault(at, f"must have a {field.name}"))
                continue
            try:
                value = self._read(field.type, raw, here) if field.name in values else raw
                if value is not _Refused.VALUE:
                    for each in rules:
                        if field.name in each.options:
                            each.check(value, good)
                    good[field.name] = value
            except UnmetError as unmet:
                self._refuse(unmet, raw, here)
        unknown = [(*at, name) for name in values if name not in model.__struct_fields__]
        self.faults += [_unknown(location, model.__struct_fields__) for location in unknown]
        return _Refused.VALUE if unknown or len(good) < len(fields) else model(**good)

    def value(self, kind: object, raw: object, at: Location) -> object:
        """A value of this type, which may be a section or an item of a list."""
        try:
            return self._read(kind, raw, at)
        except UnmetError as unmet:
            self._refuse(unmet, raw, at)
            return _Refused.VALUE

    def _refuse(self, unmet: UnmetError, raw: object, at: Location) -> None:
        value = shown(raw) if unmet.got is None else unmet.got or None
        self.faults.append(Fault((*at, *unmet.at), unmet.must, value, unmet.hint))

    def _read(self, kind: object, raw: object, at: Location) -> object:
        base, *marks = parts(kind)
        for mark in marks:
            if isinstance(mark, Before):
                raw = mark.parse(raw)
        value = self._typed(base, raw, at)
        if value is _Refused.VALUE:
            return value
        for mark in marks:
            if isinstance(mark, After):
                value = mark.check(value)
            elif isinstance(mark, Limits) and isinstance(value, int | float):
                _check_limits(mark, value)
        return value

    def _typed(self, base: object, raw: object, at: Location) -> object:
        if (inner := optional(base)) is not None:
            return None if raw is None else self._read(inner, raw, at)
        if get_origin(base) is Literal:
            return _choice(get_args(base), raw)
        if get_origin(base) is tuple:
            if not isinstance(raw, list | tuple):
                raise UnmetError("must be a list")
            items = tuple(self.value(get_args(base)[0], item, (*at, i)) for i, item in enumerate(raw))
            return _Refused.VALUE if _Refused.VALUE in items else items
        if get_origin(base) is Mapping:
            if not isinstance(raw, dict):
                raise UnmetError("must be a mapping")
            word, kind = get_args(base)
            named = {self.value(word, key, (*at, key)): self.value(kind, raw[key], (*at, key)) for key in raw}
            return _Refused.VALUE if _Refused.VALUE in {*named, *named.values()} else named
        if isinstance(base, type) and issubclass(base, Section):
            return self.section(base, raw, at)
        return _READ[base](raw) if base in _READ else raw  # what `Before` made


def _unknown(location: tuple[str, ...], siblings: tuple[str, ...]) -> Fault:
    if location[-1].lower() in SECRETS:
        return Fault(location, NO_SECRETS, hint=SECRETS_INSTEAD)
    return Fault(location, f"unknown key, {suggest(location, siblings)}")


def _bool(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise UnmetError("must be true or false")
    return raw


def _int(raw: object) -> int:
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise UnmetError("must be a whole number", hint=_unquote(raw))
    return raw


def _float(raw: object) -> float:
    if not isinstance(raw, int | float) or isinstance(raw, bool):
        raise UnmetError("must be a number", hint=_unquote(raw))
    if not math.isfinite(raw):
        raise UnmetError("must be a finite number")
    return float(raw)


def _unquote(raw: object) -> str | None:
    return "write it without quotes" if isinstance(raw, str) and raw.isdecimal() else None


def _str(raw: object) -> str:
    if not isinstance(raw, str):
        raise UnmetError(
            "must be text", hint=f'quote it: "{shown(raw)}"' if isinstance(raw, int | float) else None
        )
    if any("\ud800" <= character <= "\udfff" for character in raw):  # escapes in YAML can write them
        raise UnmetError("must be UTF-8 text")
    return raw


def _path(raw: object) -> Path:
    if not isinstance(raw, Path):
        raise UnmetError("must be a path")
    return raw


_READ: dict[object, Callable[[object], object]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    Path: _path,
}


def _choice(words: tuple[str, ...], raw: object) -> str:
    if not isinstance(raw, str) or raw not in words:
        *first, last = words
        must = f"must be {', '.join(first)} or {last}" if first else f"must be {last}"
        raise UnmetError(must, got=shown(raw))  # what `Before` made of it
    return raw


def _check_limits(limits: Limits, value: float) -> None:
    if limits.ge is not None and value < limits.ge:
        raise UnmetError(f"must be at least {limits.ge}")
    if limits.gt is not None and value <= limits.gt:
        raise UnmetError(f"must be more than {limits.gt}")
    if limits.le is not None and value > limits.le:
        raise UnmetError(f"must be at most {limits.le}")
    if limits.lt is not None and value >= limits.lt:
        raise UnmetError(f"must be less than {limits.lt}")
