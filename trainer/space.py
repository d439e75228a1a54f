"""Which options of `trainer:` may be searched, and between what.

An option that is one of some words is searched over those words, as the configuration has them. Any
other takes a line in `RANGES`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args, get_origin

import msgspec

from config.checking import Fault, check
from config.problems import dotted
from config.schema import plain
from config.section import Section, optional, parts
from config.training import Trainer

Value: TypeAlias = Any
"""A value as YAML holds it: a number, a word, true or false, null, a list."""


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers from `low` to `high`.

    Attributes:
        low: The least.
        high: The largest.
        grid: Those that a grid search tries.
        logarithmic: Whether twice as much is always the same step.
        whole: Whether they are whole numbers.
    """

    low: float
    high: float
    grid: tuple[float, ...]
    logarithmic: bool = False
    whole: bool = False

    def including(self, value: Value) -> Span:
        """The same, and this number within."""
        grid = self.grid if value in self.grid else tuple(sorted((*self.grid, value)))
        return replace(self, low=min(self.low, value), high=max(self.high, value), grid=grid)

    def up_to(self, most: float) -> Span:
        """The same, without larger numbers."""
        grid = tuple(value for value in self.grid if value <= most)
        return replace(self, low=min(self.low, most), high=min(self.high, most), grid=grid)


@dataclass(frozen=True, slots=True)
class Choice:
    """Values without an order."""

    values: tuple[Value, ...]

    @property
    def grid(self) -> tuple[Value, ...]:
        """All of them."""
        return self.values

    def including(self, value: Value) -> Choice:
        """The same, and this value."""
        return self if value in self.values else Choice((*self.values, value))


Range: TypeAlias = Span | Choice

RANGES: Mapping[str, Range] = {
    "window": Span(2, 120, (5, 10, 20, 30, 60), logarithmic=True, whole=True),
    "smoothing": Span(0.0, 0.95, (0.0, 0.5, 0.7, 0.9)),
    "model.ensemble": Choice((1, 3, 5)),
    "model.units": Choice((None, [16], [32], [64], [128], [64, 32], [128, 64])),
    "model.code": Choice((None, 2, 4, 8, 16, 32)),
    "model.noise": Choice((0.0, 0.05, 0.1, 0.2)),
    "model.masking": Choice((0.0, 0.1, 0.2, 0.3)),
    "model.dropout": Choice((0.0, 0.1, 0.2)),
    "model.sparsity": Choice((0.0, 1e-4, 1e-3, 1e-2)),
    "model.contraction": Choice((0.0, 1e-4, 1e-3, 1e-2)),
    "model.l2": Choice((0.0, 1e-5, 1e-4, 1e-3)),
    "model.learning_rate": Span(1e-4, 1e-2, (3e-4, 1e-3, 3e-3), logarithmic=True),
    "model.batch_size": Choice((16, 32, 64, 128, 256)),
}
NO_MATTER = ("report", "threshold")  # words and sections that do not change the order of scores
USUAL = ("window", "smoothing", "scaling", "error", "sensor_errors", "model.code")
"""What is searched where nobody says what: what changes most of what a detector finds."""


def searchable() -> dict[str, Range]:
    """Every option that may be searched, by its name within `trainer:`."""
    found: dict[str, Range] = {}
    for name, kind in _options(Trainer):
        words = get_args(kind) if get_origin(kind) is Literal else (False, True) if kind is bool else ()
        if name in RANGES:
            found[name] = RANGES[name]
        elif len(words) > 1 and name.partition(".")[0] not in NO_MATTER:
            found[name] = Choice(words)
    return found


def _options(model: type[Section], within: str = "") -> Iterator[tuple[str, object]]:
    for field in msgspec.structs.fields(model):
        if isinstance(field.default, Section):
            yield from _options(type(field.default), f"{within}{field.name}.")
        else:
            base, *_ = parts(field.type)
            yield within + field.name, optional(base) or base


def value_of(trainer: Trainer, name: str) -> Value:
    """An option's value."""
    value: object = trainer
    for part in name.split("."):
        value = getattr(value, part)
    return plain(value)


def with_options(trainer: Trainer, options: Mapping[str, Value]) -> Trainer | list[Fault]:
    """The same wishes with other options; or what is wrong with them."""
    values: Any = plain(trainer)
    for name, value in options.items():
        *sections, last = name.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[last] = value
    checked, faults = check(Trainer, values)
    return faults if checked is None else checked


def described(faults: list[Fault]) -> tuple[str, ...]:
    """Faults as lines."""
    return tuple(f"trainer.{dotted(fault.location)}: {fault.must}, got {fault.value}" for fault in faults)


def written(trainer: Trainer, always: Collection[str]) -> list[tuple[str, Value]]:
    """The options that are not what they are by default, and those in `always`, with their values."""
    usual = Trainer()
    options = [(name, value_of(trainer, name)) for name, _ in _options(Trainer)]
    return [(name, value) for name, value in options if name in always or value != value_of(usual, name)]


def shown(value: Value) -> str:
    """A value as one would write it in YAML."""
    return value if isinstance(value, str) else json.dumps(value)
