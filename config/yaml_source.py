"""Reads YAML the way people mean it: `no` is text, `12:30:45` is text, `1e-3` is a number, nothing runs.

Nothing in here shows a value: it may be a secret in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import yaml

from config.problems import Location, Problem, dotted

MAX_BYTES = 262_144  # twenty times the commented reference
MAX_NODES = 10_000  # aliases counted each time: a few lines of them can stand for billions of values
MAX_DEPTH = 20  # settings nest four deep

_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str")}

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_INT = re.compile(r"[-+]?[0-9]{1,300}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

_HINTS = {
    "'\\t'": "indent with spaces, not tabs",
    "'<scalar>'": "quote a text that starts with a bracket, a brace or a quote",
    "<block end>": "the indentation does not fit the lines above",
    "could not find expected ':'": "a key needs a colon and a space",
    "mapping values are not allowed": "quote a text with a colon in it, or give the line above its colon",
    "expected ',' or": "quote a text that contains a bracket, a brace or a comma",
    "cannot start any token": "quote a text that starts with a special character",
    "undefined alias": "quote a text that starts with *",
}


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML text says; where it cannot be read at all, `values` is None and `problems` says why."""

    values: object
    lines: Mapping[Location, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def read(file: Path) -> Document:
    """Reads a configuration file; an empty one is an empty mapping."""
    where = str(file)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "name another by --config or ANOMALYD_CONFIG"
        return Document(None, problems=(Problem(where, f"must be a readable file: {reason}", hint=hint),))
    if len(data) > MAX_BYTES:
        return Document(None, problems=(Problem(where, f"must be at most {MAX_BYTES} bytes"),))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = Problem(where, "must be UTF-8 text", value=f"byte 0x{data[error.start]:02x}", line=line)
        return Document(None, problems=(problem,))
    document = parse(text, where)
    if document.values is None:
        return document if document.problems else Document({})
    if not isinstance(document.values, dict):
        kind = "a list" if isinstance(document.values, list) else "a single value"
        return Document(None, problems=(Problem(where, "must be a mapping of options", value=kind),))
    return document


def parse(text: str, where: str, location: Location = ()) -> Document:
    """Reads one YAML text; `where` names it in problems that concern it as a whole."""
    try:
        root = yaml.compose(text, Loader=_Loader)
        builder = _Builder(where)
        values = None if root is None else builder.build(root, location)
    except yaml.MarkedYAMLError as error:
        return Document(None, problems=(_syntax_problem(error, where),))
    except yaml.reader.ReaderError as error:
        problem = Problem(
            where,
            "must not contain control characters",
            value=f"U+{int(error.character):04X}",
            line=text.count("\n", 0, error.position) + 1,
        )
        return Document(None, problems=(problem,))
    except (ValueError, OverflowError):  # PyYAML turns "\\UFFFFFFFF" into a character unchecked
        reason = "must be valid YAML: a character is written by a number that none has"
        return Document(None, problems=(Problem(where, reason),))
    except (_TooMuchError, RecursionError):
        limit = f"must hold at most {MAX_NODES} values, aliases counted each time, and {MAX_DEPTH} levels"
        return Document(None, problems=(Problem(where, limit),))
    values = None if values is _Refused.VALUE else values
    return Document(values, builder.lines, tuple(builder.problems))


def _syntax_problem(error: yaml.MarkedYAMLError, where: str) -> Problem:
    reason = error.problem or "it ends too early"
    if "alias" in reason or "anchor" in reason or "tag" in reason:
        reason = re.sub(r" ['\"].*", "", reason)  # the name could be the start of an unquoted secret
    if reason.startswith("but "):
        reason = f"{error.context}, {reason}"
    mark, start = error.problem_mark, error.context_mark
    elsewhere = mark is not None and start is not None and start.line != mark.line
    if start is not None and elsewhere and (error.context or "").startswith("while "):
        reason += f" {error.context} that starts on line {start.line + 1}"
    return Problem(
        where,
        f"must be valid YAML: {reason}",
        hint=next((hint for sign, hint in _HINTS.items() if sign in reason), None),
        line=None if mark is None else mark.line + 1,
        column=None if mark is None else mark.column + 1,
    )


class _Loader(yaml.SafeLoader):
    """Composes nodes and leaves the meaning of plain words to `_Builder`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - typed by the class above

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:  # noqa: ANN401 - as PyYAML has it
        tagged = self.peek_event().tag is not None  # type: ignore[no-untyped-call]
        node = super().compose_scalar_node(anchor)
        if tagged:  # `!!str 5` is text, as '5' is
            node.style = "'"
        return node


class _TooMuchError(Exception):
    pass


class _Refused(Enum):
    """Stands for a value that a problem was written about."""

    VALUE = auto()


class _Builder:
    """Turns nodes into values and remembers the line of each."""

    def __init__(self, where: str) -> None:
        self.lines: dict[Location, int] = {}
        self.problems: list[Problem] = []
        self._where = where
        self._nodes = 0

    def build(self, node: yaml.Node, location: Location) -> object:
        self._nodes += 1
        if self._nodes > MAX_NODES or len(location) > MAX_DEPTH:
            raise _TooMuchError
        line = self.lines.setdefault(location, node.start_mark.line + 1)
        if node.tag not in _PLAIN_TAGS:
            return self._refuse(location, line, "must not carry a YAML tag")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            items = [self.build(item, (*location, number)) for number, item in enumerate(node.value)]
            return _Refused.VALUE if _Refused.VALUE in items else items
        assert isinstance(node, yaml.ScalarNode)  # there is no fourth kind
        if node.style is not None:
            return node.value
        if _LEADING_ZERO.fullmatch(node.value):
            hint = "some programs read it as octal; quote it if it is text"
            return self._refuse(location, line, "must not start with a zero", hint)
        return _plain(node.value)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(location, line, "must have plain words as keys")
                continue
            here = (*location, key_node.value)
            if here in self.lines:
                self._refuse(here, line, f"given twice, first on line {self.lines[here]}")
                continue
            self.lines[here] = line
            value = self.build(value_node, here)
            if value is not _Refused.VALUE:
                values[key_node.value] = value
        return values

    def _refuse(self, location: Location, line: int, message: str, hint: str | None = None) -> _Refused:
        self.problems.append(Problem(dotted(location) or self._where, message, hint=hint, line=line))
        return _Refused.VALUE


def _plain(word: str) -> object:
    """The meaning of an unquoted word, by YAML 1.2's core schema."""
    if _NULL.fullmatch(word):
        return None
    if _TRUE.fullmatch(word):
        return True
    if _FALSE.fullmatch(word):
        return False
    if _INT.fullmatch(word):
        return int(word)
    if _FLOAT.fullmatch(word):
        return float(word)
    if _INFINITE.fullmatch(word):
        return float(word.lower().replace(".", ""))
    return word
