"""The names of all options and sections, and what the nearest known one is to a name that is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from config.problems import nearest
from config.section import Section, optional, parts
from config.settings import Settings

Names = tuple[str, ...]  # ("mqtt", "tls", "ca_file")


def walk(
    model: type[Section] = Settings, prefix: Names = ()
) -> Iterator[tuple[Names, Any, type[Section] | None]]:
    """Yields every section and option in the order of the settings, its type, and the section or None."""
    for field in msgspec.structs.fields(model):
        names, kind = (*prefix, field.name), field.type
        section = kind if isinstance(kind, type) and issubclass(kind, Section) else None
        yield names, kind, section
        if section is not None:
            yield from walk(section, names)


@cache
def options() -> Mapping[Names, Any]:
    """Every option with its type, without the sections that hold them."""
    return {names: kind for names, kind, section in walk() if section is None}


@cache
def sections() -> frozenset[Names]:
    """Every section."""
    return frozenset(names for names, _, section in walk() if section is not None)


def is_text(kind: object) -> bool:
    """Tells whether an option holds a name, a topic or a path, which are taken as they are written."""
    base = parts(optional(kind) or kind)[0]
    return base is str or base is Path


def suggest(names: Names, siblings: Sequence[str]) -> str:
    """Says what an unknown name was probably meant to be, in a section that knows `siblings`."""
    section, key = names[:-1], names[-1]
    known = {*options(), *sections()}
    if tuple(key.split(".")) in known:
        return f"write {key.rpartition('.')[2]} indented below {key.rpartition('.')[0]}"
    if (sibling := nearest(key, siblings)) is not None:
        return f"nearest known: {'.'.join((*section, sibling))}"
    elsewhere = {other[-1]: ".".join(other) for other in sorted(known, reverse=True)}
    if (cousin := nearest(key, elsewhere, likeness=0.8)) is not None:
        return f"nearest known: {elsewhere[cousin]}"
    return f"known here: {', '.join(sorted(siblings))}"
