"""The thresholds in a condition: with what constants it compares a series, as lines on the series' chart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oculus.rules.expression.nodes import (
    ARITHMETIC,
    Absolute,
    Call,
    Chain,
    Comparison,
    Names,
    Negative,
    Node,
    Not,
    Number,
    Symbol,
    children,
)

# Functions whose result is on the scale of their series.
_ON_SCALE = frozenset({"avg", "min", "max", "median", "quantile", "prev"})

_CROSSINGS = {"crosses_above": ">", "crosses_below": "<"}
_TURNED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_CONTRARY = {">": "<=", "<": ">=", ">=": "<", "<=": ">", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Level:
    """A series compared with a constant: the condition holds, as far as this goes, where `series sign value`.

    `function` is what is applied to the series before (`avg`), or nothing.
    """

    sign: str
    value: float
    function: str = ""


def levels(node: Node, symbol: str, names: Names) -> Iterator[Level]:
    """Yield the constants with which a tree compares a series, in the order of their mention."""
    yield from _levels(node, symbol, names, False)


def _levels(node: Node, symbol: str, names: Names, negated: bool) -> Iterator[Level]:
    if isinstance(node, Not):
        yield from _levels(node.operand, symbol, names, not negated)
        return
    found = _compared(node, symbol, names)
    if found is not None:
        yield Level(_CONTRARY[found.sign], found.value, found.function) if negated else found
        return
    for child in children(node):
        yield from _levels(child, symbol, names, negated)


def _compared(node: Node, symbol: str, names: Names) -> Level | None:
    if isinstance(node, Call) and node.name in _CROSSINGS and _named(node.series, names) == symbol:
        value = None if node.level is None else _constant(node.level)
        return None if value is None else Level(_CROSSINGS[node.name], value)
    if not isinstance(node, Comparison):
        return None
    for one, other, sign in ((node.left, node.right, node.sign), (node.right, node.left, _TURNED[node.sign])):
        value = _constant(other)
        if value is None:
            continue
        if isinstance(one, Symbol) and _named(one, names) == symbol:
            return Level(sign, value)
        if isinstance(one, Call) and one.name in _ON_SCALE and _named(one.series, names) == symbol:
            return Level(sign, value, one.name)
    return None


def _named(series: Symbol, names: Names) -> str:
    return names.get(series.name, series.name)


def _constant(node: Node) -> float | None:
    """Return the value of a tree that reads nothing, or None."""
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Negative | Absolute):
        value = _constant(node.operand)
        return None if value is None else -value if isinstance(node, Negative) else abs(value)
    if isinstance(node, Chain):
        total = _constant(node.first)
        for sign, operand in node.rest:
            value = _constant(operand)
            if total is None or value is None or (sign == "/" and not value):
                return None
            total = ARITHMETIC[sign](total, value)
        return total
    return None
