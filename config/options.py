"""The names of all options and sections, and what the nearest known one is to a name that is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from config.problems import nearest
from config.section import Section
from config.settings import Settings

Names = tuple[str, ...]  # ("mqtt", "tls", "ca_file")


def walk(
    model: type[BaseModel] = Settings, prefix: Names = ()
) -> Iterator[tuple[Names, FieldInfo, type[Section] | None]]:
    """Yields every section and option in the order of the settings, with the section's model or None."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        section = kind if isinstance(kind, type) and issubclass(kind, Section) else None
        yield (*prefix, name), field, section
        if section is not None:
            yield from walk(section, (*prefix, name))


@cache
def options() -> Mapping[Names, FieldInfo]:
    """Every option, without the sections that hold them."""
    return {names: field for names, field, section in walk() if section is None}


@cache
def sections() -> frozenset[Names]:
    """Every section."""
    return frozenset(names for names, _, section in walk() if section is not None)


def is_text(field: FieldInfo) -> bool:
    """Tells whether an option holds a name, a topic or a path, which are taken as they are written."""
    optional = get_origin(field.annotation) in {Union, UnionType}
    kinds = get_args(field.annotation) if optional else (field.annotation,)
    return any(getattr(kind, "__origin__", kind) in {str, Path} for kind in kinds)  # Annotated[str, ...]


def suggest(names: Names) -> str:
    """Says what an unknown name was probably meant to be."""
    section, key = names[:-1], names[-1]
    known = {*options(), *sections()}
    if tuple(key.split(".")) in known:
        return f"write {key.rpartition('.')[2]} indented below {key.rpartition('.')[0]}"
    siblings = [other[-1] for other in known if other[:-1] == section]
    if (sibling := nearest(key, siblings)) is not None:
        return f"nearest known: {'.'.join((*section, sibling))}"
    elsewhere = {other[-1]: ".".join(other) for other in sorted(known, reverse=True)}
    if (cousin := nearest(key, elsewhere, likeness=0.8)) is not None:
        return f"nearest known: {elsewhere[cousin]}"
    return f"known here: {', '.join(sorted(siblings))}"
