"""Conditions over sensors, such as `speed > 50 and not cleaning`."""

from __future__ import annotations

import ast
import math
import operator
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

from detector.categories import GOOD_CATEGORY, is_category, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST = 1000  # characters
DEEPEST = 50  # pieces inside each other: reading and evaluating take stack by their number
SHOWN = 40  # characters of a piece that is shown
NAME = 256  # characters of a sensor's name, as readings may have it
EQUALITIES = (ast.Eq, ast.NotEq)
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}

Values: TypeAlias = "Mapping[str, Any]"
Piece: TypeAlias = "Callable[[Values], Any]"


class ExpressionError(ValueError):
    """A text is no condition; says what about it, where and why, to follow "it"."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition over sensors.

    Attributes:
        text: As it was written.
        sensors: Whose values it needs.
        holds: From the values of these sensors, numbers or arrays of one shape without NaN, to whether
            it holds: a bool, or an array of them. Numbers that grow too large for a float are infinite.
    """

    text: str
    sensors: frozenset[str]
    holds: Piece = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        """Another process reads it anew."""
        return parse, (self.text,)


def parse(text: str) -> Expression:
    """Reads comparisons of sensors, numbers and texts, joined by `and`, `or` and `not`.

    A sensor is written as its name, or as `sensor["its name"]` where that is no plain word; alone it holds
    unless it is 0. Numbers may be added, subtracted and multiplied; a category is compared with its text by
    `==` and `!=`. It may take several lines. Nothing of it is ever run as a program.

    Raises:
        ExpressionError: It is anything else.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"is longer than {LONGEST} characters")
    if not text.strip():
        raise ExpressionError("is empty")
    reader = _Reader(text)
    holds = reader.condition(reader.tree(), DEEPEST)
    if not reader.sensors:
        raise ExpressionError("names no sensor")
    return Expression(text, frozenset(reader.sensors), holds)


class _Reader:
    """Makes functions of syntax trees, and notes the sensors in them."""

    def __init__(self, text: str) -> None:
        # In brackets a line may end anywhere.
        self._lines = ("(" + text.replace("\r\n", "\n").replace("\r", "\n") + "\n)").split("\n")
        self.sensors: set[str] = set()

    def tree(self) -> ast.expr:
        """What the text is, as Python reads it."""
        try:
            tree = ast.parse("\n".join(self._lines), mode="eval").body
        except SyntaxError as error:
            if error.lineno is None or error.lineno >= len(self._lines):
                raise ExpressionError("cannot be read at its end") from error
            place = self._before(error.lineno) + (error.offset or 1) - 1
            hint = ", where == may be meant" if "==" in error.msg else ""
            raise ExpressionError(f"cannot be read at character {max(place, 1)}{hint}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError("cannot be read") from error
        if isinstance(tree, ast.Tuple) and not tree.elts:
            raise ExpressionError("names no sensor")
        if (tree.lineno, tree.col_offset) == (1, 0) and not isinstance(tree, ast.Tuple | ast.GeneratorExp):
            raise ExpressionError("has brackets that do not match")
        return tree

    def condition(self, node: ast.expr, depth: int) -> Piece:
        """Of what holds or does not."""
        depth = _deeper(depth)
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return _joined(join, [self.condition(each, depth) for each in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand, depth)
            return lambda values: inner(values) ^ True  # of arrays too
        if isinstance(node, ast.Compare):
            return self._comparison(node, depth)
        if isinstance(node, ast.Name | ast.Subscript):
            sensor = self._sensor(node)
            return lambda values: sensor(values) != 0
        raise self._unknown(node)

    def _comparison(self, node: ast.Compare, depth: int) -> Piece:
        nodes = (node.left, *node.comparators)
        sides = [self._side(side, depth) for side in nodes]
        found: list[Piece] = []
        for i, kind in enumerate(node.ops):
            compare = COMPARISONS.get(type(kind))
            if compare is None:
                raise self._unknown(node)
            pair = nodes[i], nodes[i + 1]
            texts = [_is_text(each) for each in pair]
            if any(texts) and (all(texts) or not isinstance(kind, EQUALITIES) or not _is_sensor(*pair)):
                piece, place = self._at(node)
                raise ExpressionError(
                    f"has {piece} at character {place}: a text is compared with a sensor, by == or !="
                )
            found.append(_joined(compare, sides[i : i + 2]))
        return _joined(operator.and_, found)

    def _side(self, node: ast.expr, depth: int) -> Piece:
        """Of a side of a comparison: a number, which also stands for a category's text."""
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            return self._number(node, depth)
        if not is_category(node.value) or node.value != node.value.strip():
            piece, place = self._at(node)
            raise ExpressionError(f"has {piece} at character {place}, which is not {GOOD_CATEGORY}")
        number = number_of(node.value)
        return lambda _: number

    def _number(self, node: ast.expr, depth: int) -> Piece:
        depth = _deeper(depth)
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            sides = [self._number(node.left, depth), self._number(node.right, depth)]
            return _joined(ARITHMETIC[type(node.op)], sides)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self._number(node.operand, depth)
            return inner if isinstance(node.op, ast.UAdd) else lambda values: -inner(values)
        return self._sensor(node)

    def _constant(self, node: ast.Constant) -> Piece:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._unknown(node)
        try:
            number = float(node.value)
        except OverflowError:
            number = math.inf
        if math.isinf(number):
            piece, place = self._at(node)
            raise ExpressionError(f"has {piece} at character {place}, which is too large")
        return lambda _: number

    def _sensor(self, node: ast.expr) -> Piece:
        """Of the sensor that a piece names."""
        if isinstance(node, ast.Name):
            name = self._written(node)  # Python takes µ for μ; a sensor's name is as it is sent
        elif (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Name)
            and node.value.id == "sensor"
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            name = node.slice.value
        else:
            raise self._unknown(node)
        if not (0 < len(name) <= NAME and name.isprintable()):
            piece, place = self._at(node)
            raise ExpressionError(f"has {piece} at character {place}, which no sensor can be called")
        self.sensors.add(name)
        return operator.itemgetter(name)

    def _unknown(self, node: ast.expr) -> ExpressionError:
        piece, place = self._at(node)
        return ExpressionError(f"has {piece} at character {place}, which is no part of a condition")

    def _at(self, node: ast.expr) -> tuple[str, int]:
        """A piece as it is shown, and its place in the text, from 1."""
        written = " ".join(self._written(node).split())
        if len(written) > SHOWN:
            written = f"{written[: SHOWN - 1]}…"
        return repr(written), max(self._place(node.lineno, node.col_offset), 1)

    def _written(self, node: ast.expr) -> str:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._place(node.lineno, node.col_offset)
        return "\n".join(self._lines)[start : self._place(node.end_lineno, node.end_col_offset)]

    def _place(self, line: int, column: int) -> int:
        """Where that is in the text, in characters from 1; columns are bytes of UTF-8 from 0."""
        return self._before(line) + len(self._lines[line - 1].encode()[:column].decode())

    def _before(self, line: int) -> int:
        return sum(len(each) + 1 for each in self._lines[: line - 1])


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_sensor(*nodes: ast.expr) -> bool:
    """Whether one of them is a sensor and nothing else."""
    return any(isinstance(node, ast.Name | ast.Subscript) for node in nodes)


def _deeper(depth: int) -> int:
    if not depth:
        raise ExpressionError(f"has more than {DEEPEST} pieces inside each other")
    return depth - 1


def _joined(join: Callable[[Any, Any], Any], pieces: list[Piece]) -> Piece:
    """What is made of pieces, from the first to the last."""
    if len(pieces) == 1:
        return pieces[0]
    return lambda values: reduce(join, [piece(values) for piece in pieces])
