"""Finds the configuration file, lays the environment over it and checks the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from config import wording, yaml_source
from config.environment import CONFIG, overrides
from config.options import Names
from config.problems import ConfigError, Problem
from config.settings import Settings

DEFAULT_FILE = Path("/etc/anomalyd/anomalyd.yaml")


def find(option: Path | None, environ: Mapping[str, str]) -> Path:
    """The configuration file: what `--config` says, else `$ANOMALYD_CONFIG`, else the system's."""
    return option or Path(environ.get(CONFIG) or DEFAULT_FILE)


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """Reads and checks the configuration; without a file it is the defaults and the environment.

    Raises:
        ConfigError: With every problem of the file and the environment.
    """
    document = yaml_source.Document({}) if path is None else yaml_source.read(path)
    above = overrides(environ)
    problems = [*document.problems, *above.problems]
    if document.values is not None:
        try:
            settings = Settings.model_validate(_merge(document.values, above.values))
        except ValidationError as error:
            errors = error.errors(include_url=False)
            problems += [wording.problem(each, document.lines, above) for each in errors]
        else:
            if not problems:
                return settings
    raise ConfigError(tuple(sorted(problems, key=_place)))


def _merge(values: object, above: Mapping[Names, object]) -> object:
    for names, value in above.items():
        values = _put(values, names, value)
    return values


def _put(values: object, names: Names, value: object) -> object:
    """The values with one more, or as they are where a section is no mapping (which is a problem itself)."""
    if not names:
        return value
    if values is None:
        values = {}
    if not isinstance(values, dict):
        return values
    return {**values, names[0]: _put(values.get(names[0]), names[1:], value)}


def _place(problem: Problem) -> tuple[bool, int]:
    return problem.line is None, problem.line or 0
