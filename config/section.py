"""What all sections have in common: they are frozen, and their annotations say what each option may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from config.problems import UnmetError


class Section(msgspec.Struct, frozen=True):
    """A group of options with their defaults; `config.checking` makes one of what a file holds."""


class Before(msgspec.Struct, frozen=True):
    """In `Annotated`: turns what a file holds into what the type wants; may raise `UnmetError`."""

    parse: Callable[[Any], object]


class After(msgspec.Struct, frozen=True):
    """In `Annotated`: passes a value of the right type on, or raises `UnmetError`."""

    check: Callable[[Any], object]


class Limits(msgspec.Struct, frozen=True):
    """In `Annotated`: the range of a number."""

    ge: int | None = None
    gt: int | None = None
    le: int | None = None
    lt: int | None = None


class Schema(msgspec.Struct, frozen=True):
    """In `Annotated`: the JSON Schema of what a file may hold, where the type does not tell."""

    content: dict[str, object]


class Rule(msgspec.Struct, frozen=True):
    """What some options must be beside others; see `rule`."""

    options: tuple[str, ...]
    check: Callable[[Any, Mapping[str, Any]], None]


def rule(*options: str) -> Callable[[Callable[[Any, Any], None]], Rule]:
    """Makes a rule of a static method of a section.

    It takes an option's value and the section's options before it, those that are wrong left out,
    and raises `UnmetError`.
    """
    return lambda check: Rule(options, check)


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """What an option is where it is not given; `msgspec.NODEFAULT` where it must be."""
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def parts(kind: object) -> tuple[object, ...]:
    """The type within `Annotated`, then its marks."""
    return get_args(kind) if get_origin(kind) is Annotated else (kind,)


def optional(base: object) -> object | None:
    """What stands beside None in `... | None`; None for any other type."""
    if get_origin(base) not in {Union, UnionType}:
        return None
    inner: object = next(each for each in get_args(base) if each is not type(None))
    return inner


def check_text(text: str) -> str:
    """Passes a text that says something and can be shown on one line."""
    if not text:
        raise UnmetError("must not be empty")
    if not text.isprintable():
        raise UnmetError("must not contain control characters")
    return text


def _parse_path(value: object) -> object:
    return Path(check_text(value)) if isinstance(value, str) else value


Text = Annotated[str, After(check_text)]
File = Annotated[Path, Before(_parse_path)]
AtLeastOne = Annotated[int, Limits(ge=1)]
Share = Annotated[float, Limits(gt=0, le=1)]
