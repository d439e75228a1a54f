"""The reference file and the schema hold every option, and no more."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

import config
from config import yaml_source
from config.options import Names, options, walk
from config.schema import comments_of, plain, reference

SCHEMA = resources.files("config").joinpath("anomalyd.schema.json")


def test_the_reference_loads_as_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "anomalyd.yaml"
    file.write_text(reference(), encoding="utf-8")
    assert config.load(file, {}) == config.Settings()


def test_the_reference_holds_every_option_in_the_order_of_the_settings() -> None:
    lines = yaml_source.parse(reference(), "reference").lines
    assert [location for location in lines if location] == [names for names, _, _ in walk()]


@pytest.mark.parametrize("names", [names for names, _, _ in walk()], ids=".".join)
def test_every_option_and_section_has_a_comment(names: Names) -> None:
    assert re.fullmatch(r"[^a-z ].*\.|[a-z0-9_]+: .*\.", comments_of(reference())[names])


def test_the_reference_fits_a_terminal_and_names_its_schema() -> None:
    lines = reference().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=anomalyd.schema.json"
    assert max(map(len, lines)) <= 100


def test_the_committed_schema_is_current() -> None:
    """If not: `python -m config > config/anomalyd.schema.json`."""
    text = json.dumps(config.json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text(encoding="utf-8") == text


def test_the_schema_describes_every_option_with_its_default() -> None:
    described: dict[Names, Any] = {}

    def collect(schema: dict[str, Any], names: Names) -> None:
        for name, child in schema["properties"].items():
            assert child["description"]
            if "properties" in child:
                assert child["additionalProperties"] is False
                collect(child, (*names, name))
            else:
                described[*names, name] = child["default"]

    schema = config.json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    collect(schema, ())
    assert list(described) == list(options())
    assert described["mqtt", "keepalive"] == "1min"
    assert described["retrain", "every"] is None


@pytest.mark.parametrize(
    ("option", "good", "bad"),
    [
        ("keepalive", ["1s", "500ms", "5 min"], ["30", "1.5s", "off", "s", "1s "]),
        ("repeat_every", ["off", "1h"], ["of", "3600", "1 hour"]),
        ("max_payload", ["256KiB", "1 MB"], ["256", "1kib", "1.5MB"]),
    ],
)
def test_the_schemas_patterns_take_what_the_settings_take(
    option: str, good: list[str], bad: list[str]
) -> None:
    sections = config.json_schema()["properties"].values()
    pattern = next(s["properties"][option]["pattern"] for s in sections if option in s.get("properties", {}))
    assert [text for text in good + bad if re.search(pattern, text)] == good


def test_what_settings_print_can_be_read_back(tmp_path: Path) -> None:
    settings = config.load(
        None, {"ANOMALYD_RETRAIN__EVERY": "90min", "ANOMALYD_TRAINER__MODEL__UNITS": "[8, 4]"}
    )
    file = tmp_path / "anomalyd.yaml"
    for written in (yaml.safe_dump(plain(settings)), json.dumps(plain(settings))):
        file.write_text(written, encoding="utf-8")
        assert config.load(file, {}) == settings
