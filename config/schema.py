"""The JSON Schema that editors complete from; its descriptions are the comments of `anomalyd.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from config import yaml_source
from config.options import Names
from config.quantities import format_duration
from config.section import Limits, Schema, Section, default_of, optional, parts
from config.settings import Settings

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of the configuration file."""
    return {
        "$schema": DRAFT,
        "title": "anomalyd.yaml",
        "description": "The configuration of anomalyd",
        "type": "object",
        **_section(Settings, (), comments_of(reference())),
    }


def reference() -> str:
    """The commented file that holds every option."""
    return Path(__file__).with_name("anomalyd.yaml").read_text(encoding="utf-8")


def comments_of(text: str) -> dict[Names, str]:
    """The comment right above each option and section that has one."""
    lines = text.splitlines()
    comments: dict[Names, str] = {}
    for location, number in yaml_source.parse(text, "anomalyd.yaml").lines.items():
        first = number - 1
        while first > 0 and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        words = [line.strip().lstrip("#").strip() for line in lines[first : number - 1]]
        if location and words:
            comments[tuple(map(str, location))] = " ".join(words)
    return comments


def plain(value: object) -> object:
    """Settings as a file may hold them: mappings, lists, texts and numbers."""
    if isinstance(value, Section):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _section(model: type[Section], names: Names, comments: Mapping[Names, str]) -> dict[str, Any]:
    properties = {}
    for field in msgspec.structs.fields(model):
        here = (*names, field.name)
        described: dict[str, Any] = {"description": comments.get(here, "")}
        if isinstance(field.default, Section):
            # null: a section whose options are all commented out
            described |= {"type": ["object", "null"], **_section(field.type, here, comments)}
        else:
            described |= {**_option(field.type), "default": plain(default_of(field))}
        properties[field.name] = described
    return {"additionalProperties": False, "properties": properties}


def _option(kind: object) -> dict[str, Any]:
    base, *marks = parts(kind)
    for mark in marks:
        if isinstance(mark, Schema):
            return mark.content
    if (inner := optional(base)) is not None:
        return {"anyOf": [_option(inner), {"type": "null"}]}
    if get_origin(base) is Literal:
        return {"type": "string", "enum": list(get_args(base))}
    if get_origin(base) is Mapping:
        return {"type": "object", "additionalProperties": _option(get_args(base)[1])}
    if get_origin(base) is tuple:
        return {"type": "array", "items": _option(get_args(base)[0])}
    limits = (mark for mark in marks if isinstance(mark, Limits))
    return PLAIN[base] | {
        LIMITS[name]: limit
        for each in limits
        for name, limit in msgspec.structs.asdict(each).items()
        if limit is not None
    }


PLAIN: dict[object, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Path: {"type": "string", "format": "path"},
}
LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
