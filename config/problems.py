"""What is wrong with a configuration: every problem at once, each as one line that a person can act on."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 60  # characters of a value: enough to recognise it, short enough for one line

Location = tuple[str | int, ...]  # ("mqtt", "tls", "ca_file"), ("trainer", "model", "units", 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that must change before the configuration can be used.

    Attributes:
        path: The option (`mqtt.port`), the environment variable that is no option, or the file.
        value: What was there, shortened for people; None where it says nothing or may be a secret.
        line: Line of the file, from 1.
        column: Column of the file, from 1; only for broken YAML.
        variable: The environment variable that the value came from.
    """

    path: str
    message: str
    value: str | None = None
    hint: str | None = None
    line: int | None = None
    column: int | None = None
    variable: str | None = None

    def __str__(self) -> str:
        text = f"{self.path}: {self.message}"
        if self.value is not None:
            text += f", got {self.value}"
        if self.hint is not None:
            text += f"; {self.hint}"
        if self.variable is not None:
            return f"{text} ({self.variable})"
        if self.line is not None:
            column = "" if self.column is None else f", column {self.column}"
            return f"{text} (line {self.line}{column})"
        return text


class ConfigError(Exception):
    """The configuration cannot be used; `problems` says all that has to change."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class UnmetError(ValueError):
    """Raised by a validator of `settings`: what must hold, and what a person can do about it.

    Args:
        must: What must hold, to follow the option's name.
        at: The option at fault, relative to the section that was being checked.
        got: What was there; None shows the value itself, "" shows nothing.
    """

    def __init__(
        self, must: str, *, hint: str | None = None, at: Location = (), got: str | None = None
    ) -> None:
        super().__init__(must)
        self.must = must
        self.hint = hint
        self.at = at
        self.got = got


def dotted(location: Location) -> str:
    """Writes a location the way people do: `trainer.model.units[0]`."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part.isprintable() and 0 < len(part) <= SHOWN
            text += ("." if text else "") + (part if plain else shown(part))
    return text


def shown(value: object) -> str:
    """Writes a value the way YAML has it, shortened."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value, ensure_ascii=not str(value).isprintable(), default=str)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 2]}…{text[-1]}"


def nearest(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Finds the known word that `word` was probably meant to be."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=likeness)
    return by_lower[close[0]] if close else None
