"""Finds the configuration file, lays the environment over it and checks the whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from config import yaml_source
from config.checking import Fault, check
from config.environment import CONFIG, Overrides, overrides
from config.options import Names
from config.problems import ConfigError, Location, Problem, dotted
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
        settings, faults = check(Settings, _merge(document.values, above.values))
        problems += [_problem(fault, document.lines, above) for fault in faults]
        if settings is not None and not problems:
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


def _problem(fault: Fault, lines: Mapping[Location, int], environment: Overrides) -> Problem:
    """Says where the value at fault came from."""
    # An item of a list or of a mapping belongs to it.
    option = tuple(part for part in fault.location if isinstance(part, str))
    within = (option[:length] for length in range(len(option), 0, -1))
    variable = next((environment.variables[each] for each in within if each in environment.variables), None)
    line = None if variable else lines.get(fault.location)
    value = fault.value
    if value is not None and line is None and variable is None:
        value += " by default"
    path = dotted(fault.location)
    return Problem(path, fault.must, value=value, hint=fault.hint, line=line, variable=variable)


def _place(problem: Problem) -> tuple[bool, int]:
    return problem.line is None, problem.line or 0
