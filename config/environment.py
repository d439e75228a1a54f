"""Options by environment variable: `ANOMALYD_MQTT__HOST=broker` is `mqtt.host: broker`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from config import yaml_source
from config.options import Names, is_text, options, sections
from config.problems import Problem, nearest

PREFIX = "ANOMALYD_"
CONFIG = "ANOMALYD_CONFIG"  # where the file is
PASSWORD = "ANOMALYD_MQTT__PASSWORD"  # noqa: S105 - the name of a variable; `secrets` reads it
# The last two are the tests' own.
NOT_OPTIONS = {CONFIG, PASSWORD, "ANOMALYD_DATA", "ANOMALYD_FAILPOINT"}


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the environment sets, and the name of the variable behind each option."""

    values: Mapping[Names, object] = field(default_factory=dict)
    variables: Mapping[Names, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def overrides(environ: Mapping[str, str]) -> Overrides:
    """Reads every variable that starts with `ANOMALYD_`, in any case, ordered by name."""
    known = {variable(names): names for names in options()}
    values: dict[Names, object] = {}
    variables: dict[Names, str] = {}
    problems: list[Problem] = []
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in NOT_OPTIONS:
            continue
        names = known.get(upper)
        if names is None:
            problems.append(_unknown(name))
        elif names in variables:
            problems.append(Problem(name, f"must be given once, {variables[names]} is the same option"))
        else:
            variables[names] = name
            document = _read(names, environ[name])
            problems += [replace(problem, line=None, variable=name) for problem in document.problems]
            if not document.problems:
                values[names] = document.values
    return Overrides(values, variables, tuple(problems))


def variable(names: Names) -> str:
    """The environment variable that sets an option."""
    return PREFIX + "__".join(names).upper()


def _read(names: Names, text: str) -> yaml_source.Document:
    where = ".".join(names)
    if any("\ud800" <= character <= "\udfff" for character in text):  # Python's stand-in for other bytes
        return yaml_source.Document(None, problems=(Problem(where, "must be UTF-8 text"),))
    if not is_text(options()[names]):
        return yaml_source.parse(text, where, names)
    # Taken as it is: `{machine}/readings` and `12` are good topics and names, whatever YAML makes of them.
    return yaml_source.Document(None if text in {"", "null"} else text)


def _unknown(name: str) -> Problem:
    word = name[len(PREFIX) :].lower()
    names = tuple(word.split("__"))
    if names in sections():
        example = next(variable(option) for option in options() if option[: len(names)] == names)
        return Problem(name, "names a section, not an option", hint=f"set its options, such as {example}")
    known = [variable(option)[len(PREFIX) :] for option in options()]
    close = nearest(word, [*known, CONFIG[len(PREFIX) :], PASSWORD[len(PREFIX) :]])
    return Problem(name, "unknown variable" + ("" if close is None else f", nearest known: {PREFIX}{close}"))
