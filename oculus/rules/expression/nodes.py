"""The tree of a parsed expression, and its compilation to functions of a View.

Each kind of node is compiled to a closure, once for each alert instance: `names` gives the symbol that a
pattern stands for in it. A closure that gives a truth returns True, False, or None for unknown, and joins by
Kleene's logic: false and unknown is false, true or unknown is true.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from oculus.rules.expression.functions import Function, Given, Reader, last, number
from oculus.rules.view import View, fresh
from oculus.windowed import Window

# Which symbol each pattern stands for; what is not in it stands for itself.
Names = Mapping[str, str]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Symbol:
    """The fresh last value of a series. Nodes that read carry where they stand in the text."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function of a series."""

    name: str
    function: Function
    series: Symbol
    seconds: float
    parameter: float
    level: Node | None
    start: int
    end: int

    def windows(self, names: Names) -> tuple[Window, ...]:
        """Return the figures that it reads."""
        symbol = names.get(self.series.name, self.series.name)
        return self.function.windows(symbol, self.seconds, self.parameter)


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """Whether the clock of a zone shows a time between two minutes of the day, past midnight if need be."""

    first: int
    last: int
    zone: tzinfo
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Weekday:
    """Whether the day is one of these in a zone; 0 is Monday."""

    days: frozenset[int]
    zone: tzinfo
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Terms joined by `+` and `-`, or by `*` and `/`, from left to right."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """A number with its sign turned."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Absolute:
    """A number without its sign: `abs(x)`."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers compared; unknown when either is."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Every:
    """Conditions joined by `and`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """Conditions joined by `or`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary; that of unknown is unknown."""

    operand: Node


Reading = Symbol | Call | TimeOfDay | Weekday
Node = Number | Reading | Chain | Negative | Absolute | Comparison | Every | Some | Not


def holds(node: Node) -> bool:
    """Tell whether a node is true or false, not a number."""
    if isinstance(node, Call):
        return node.function.holds
    return isinstance(node, Comparison | Every | Some | Not | TimeOfDay | Weekday)


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes right below, in the order of the text."""
    if isinstance(node, Call):
        return () if node.level is None else (node.level,)
    if isinstance(node, Chain):
        return (node.first, *(operand for _, operand in node.rest))
    if isinstance(node, Comparison):
        return (node.left, node.right)
    if isinstance(node, Every | Some):
        return node.parts
    if isinstance(node, Negative | Absolute | Not):
        return (node.operand,)
    return ()


def readings(node: Node) -> Iterator[Reading]:
    """Yield all that a tree reads, in the order of its mention."""
    if isinstance(node, Reading):
        yield node
    for child in children(node):
        yield from readings(child)


def compiled(node: Node, names: Names) -> Reader:
    """Return the function that evaluates a node; for a condition it returns True, False or None."""
    # The most frequent of all first, without an inner call.
    if isinstance(node, Comparison):
        return _comparison(node, names)
    if isinstance(node, Symbol):
        return last(names.get(node.name, node.name))
    if isinstance(node, Number):
        value = node.value
        return lambda view: value
    if isinstance(node, Call):
        level = None if node.level is None else compiled(node.level, names)
        symbol = names.get(node.series.name, node.series.name)
        return node.function.build(Given(symbol, node.windows(names), node.seconds, level))
    if isinstance(node, Chain):
        return _chain(node, names)
    if isinstance(node, Every | Some):
        return _joined([compiled(part, names) for part in node.parts], isinstance(node, Some))
    if isinstance(node, TimeOfDay):
        return _time(node)
    if isinstance(node, Weekday):
        return lambda view: local_time(view.now, node.zone).weekday() in node.days
    operand = compiled(node.operand, names)
    change = _CHANGES[type(node)]
    return lambda view: None if (value := operand(view)) is None else change(value)


_CHANGES: dict[type, Callable[[float], float]] = {
    Negative: operator.neg,
    Absolute: abs,
    Not: operator.not_,
}


def _comparison(node: Comparison, names: Names) -> Reader:
    test = COMPARE[node.sign]
    if isinstance(node.left, Symbol) and isinstance(node.right, Number):
        symbol, constant = names.get(node.left.name, node.left.name), node.right.value

        def simple(view: View) -> bool | None:
            point = fresh(view, symbol)
            if point is None or (value := point.value) != value:  # NaN
                return None
            return test(value, constant)

        return simple
    left, right = compiled(node.left, names), compiled(node.right, names)

    def compare(view: View) -> bool | None:
        one, other = left(view), right(view)
        return None if one is None or other is None else test(one, other)

    return compare


def _chain(node: Chain, names: Names) -> Reader:
    first = compiled(node.first, names)
    rest = [(sign == "/", ARITHMETIC[sign], compiled(operand, names)) for sign, operand in node.rest]

    def total(view: View) -> float | None:
        value = first(view)
        for divides, join, operand in rest:
            other = operand(view)
            if value is None or other is None or (divides and not other):
                return None
            value = join(value, other)
        return None if value is None else number(value)

    return total


def _joined(parts: list[Reader], decisive: bool) -> Reader:
    """Join conditions: the decisive truth of any part is that of all, else unknown is."""

    def together(view: View) -> bool | None:
        unknown = False
        for part in parts:
            truth = part(view)
            if truth is None:
                unknown = True
            elif bool(truth) is decisive:
                return decisive
        return None if unknown else not decisive

    return together


def local_time(at: int, zone: tzinfo) -> datetime:
    """Return what clocks in a zone show at a time in microseconds."""
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone)


def _time(node: TimeOfDay) -> Reader:
    first, last_, zone, past_midnight = node.first, node.last, node.zone, node.last <= node.first

    def within(view: View) -> bool:
        local = local_time(view.now, zone)
        minute = local.hour * 60 + local.minute
        return minute >= first or minute < last_ if past_midnight else first <= minute < last_

    return within
