"""Conditions over sensors, such as `speed > 50 and not cleaning`."""

from __future__ import annotations

import ast
import operator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detector.channels import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST = 1000  # characters; parsing takes time and stack by their number
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


class ExpressionError(ValueError):
    """A text is no condition; says where and why."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition over sensors.

    Attributes:
        text: As it was written.
        sensors: Whose values it needs.
        holds: From the values of these sensors, numbers or arrays of one shape without NaN, to whether
            it holds: a bool, or an array of them.
    """

    text: str
    sensors: frozenset[str]
    holds: Callable[[Mapping[str, Any]], Any] = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        """Another process reads it anew."""
        return parse, (self.text,)


def parse(text: str) -> Expression:
    """Reads comparisons of sensors, numbers and texts, joined by `and`, `or` and `not`.

    A sensor is written as its name, or as `sensor["its name"]` where that is no plain word; alone it holds
    unless it is 0. Numbers may be added, subtracted and multiplied; a category is compared with its text.

    Raises:
        ExpressionError: It is anything else.
    """
    if len(text) > LONGEST:
        raise ExpressionError(f"must be at most {LONGEST} characters long")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        place = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise ExpressionError(f"cannot be read{place}") from error
    reader = _Reader()
    try:
        holds = reader.condition(tree)
    except RecursionError as error:
        raise ExpressionError("is nested too deeply") from error
    if not reader.sensors:
        raise ExpressionError("names no sensor")
    return Expression(text, frozenset(reader.sensors), holds)


class _Reader:
    """Makes functions of syntax trees, and notes the sensors in them."""

    def __init__(self) -> None:
        self.sensors: set[str] = set()

    def condition(self, node: ast.expr) -> Callable[[Mapping[str, Any]], Any]:
        """Of what holds or does not."""
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            first, *others = [self.condition(each) for each in node.values]
            for other in others:
                first = _both(join, first, other)
            return first
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.condition(node.operand)
            return lambda values: inner(values) ^ True  # of arrays too
        if isinstance(node, ast.Compare):
            return self._comparison(node)
        if isinstance(node, ast.Name | ast.Subscript):
            sensor = self.number(node)
            return lambda values: sensor(values) != 0
        raise _unknown(node)

    def _comparison(self, node: ast.Compare) -> Callable[[Mapping[str, Any]], Any]:
        sides = [self.number(side) for side in (node.left, *node.comparators)]
        found: Callable[[Mapping[str, Any]], Any] | None = None
        for left, right, kind in zip(sides, sides[1:], node.ops, strict=False):
            compare = COMPARISONS.get(type(kind))
            if compare is None:
                raise _unknown(node)
            one = _both(compare, left, right)
            found = one if found is None else _both(operator.and_, found, one)
        assert found is not None
        return found

    def number(self, node: ast.expr) -> Callable[[Mapping[str, Any]], Any]:
        """Of a number, which also stands for a category's text."""
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            return _both(ARITHMETIC[type(node.op)], self.number(node.left), self.number(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            inner = self.number(node.operand)
            return lambda values: -inner(values)
        name = _sensor(node)
        self.sensors.add(name)
        return operator.itemgetter(name)

    def _constant(self, node: ast.Constant) -> Callable[[Mapping[str, Any]], Any]:
        value = node.value
        if isinstance(value, str):
            number = number_of(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            number = float(value)
        else:
            raise _unknown(node)
        return lambda _: number


def _sensor(node: ast.expr) -> str:
    """The sensor that a piece names."""
    if isinstance(node, ast.Name):
        return node.id
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and node.value.id == "sensor"
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        return node.slice.value
    raise _unknown(node)


def _both(
    join: Callable[[Any, Any], Any],
    left: Callable[[Mapping[str, Any]], Any],
    right: Callable[[Mapping[str, Any]], Any],
) -> Callable[[Mapping[str, Any]], Any]:
    return lambda values: join(left(values), right(values))


def _unknown(node: ast.expr) -> ExpressionError:
    text, place = ast.unparse(node), node.col_offset + 1
    return ExpressionError(f"has {text!r} at character {place}, which is no part of a condition")
