"""The JSON Schema that editors complete from; its descriptions are the comments of `anomalyd.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from config import yaml_source
from config.options import Names
from config.settings import Settings

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of the configuration file."""
    generated = Settings.model_json_schema()
    describe = _Describer(generated.pop("$defs"), comments_of(reference()))
    return {
        "$schema": DRAFT,
        "title": "anomalyd.yaml",
        "description": "The configuration of anomalyd",
        "type": "object",
        **describe.section(generated, (), Settings().model_dump(mode="json")),
    }


def reference() -> str:
    """The commented file that holds every option."""
    return resources.files("config").joinpath("anomalyd.yaml").read_text(encoding="utf-8")


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


@dataclass(frozen=True, slots=True)
class _Describer:
    """Writes the generated schemas of the sections into each other, with descriptions and defaults."""

    sections: Mapping[str, Any]
    comments: Mapping[Names, str]

    def section(self, schema: dict[str, Any], names: Names, defaults: dict[str, Any]) -> dict[str, Any]:
        properties = {
            name: self._property(child, (*names, name), defaults[name])
            for name, child in schema["properties"].items()
        }
        return {"additionalProperties": False, "properties": properties}

    def _property(self, schema: dict[str, Any], names: Names, default: object) -> dict[str, Any]:
        description = {"description": self.comments.get(names, "")}
        if "$ref" in schema:
            inner = self.sections[schema["$ref"].removeprefix("#/$defs/")]
            assert isinstance(default, dict)
            # null: a section whose options are all commented out
            return {**description, "type": ["object", "null"], **self.section(inner, names, default)}
        return {**description, **{key: schema[key] for key in schema if key != "title"}, "default": default}
