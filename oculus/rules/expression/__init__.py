"""The expression language of conditions and formulas: parsed once, bound to series, evaluated over a View.

A parsed expression may name series by patterns. Binding fills the wildcards in, for one alert instance, and
compiles the tree: evaluating is then a call of closures. Pure: every value comes from the view, and so does
the time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from oculus.errors import ExpressionError
from oculus.model import Micros, Operand
from oculus.rules.expression import patterns
from oculus.rules.expression.changes import next_change
from oculus.rules.expression.functions import FUNCTIONS, Reader, age
from oculus.rules.expression.levels import Level, levels
from oculus.rules.expression.nodes import (
    Call,
    Names,
    Node,
    Reading,
    Symbol,
    compiled,
    holds,
    readings,
)
from oculus.rules.expression.parser import LONGEST_WINDOW, Parser
from oculus.rules.view import View
from oculus.windowed import Window

__all__ = [
    "FUNCTIONS", "LONGEST_WINDOW", "Bound", "BoundFormula", "Condition", "Formula", "Operand", "parse",
    "parse_formula",
]  # fmt: skip

_NO_NAMES: Names = {}


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A parsed expression: its text, and the symbols and patterns as written, in order, each once."""

    text: str
    root: Node = field(repr=False)
    patterns: tuple[str, ...]
    _globs: tuple[re.Pattern[str], ...] = field(repr=False, compare=False)

    @property
    def wildcards(self) -> int:
        """How many wildcards each of its patterns has; 0 without patterns."""
        return self._globs[0].groups if self._globs else 0

    @property
    def is_glob(self) -> bool:
        """Whether it names series by patterns, so that there is an instance for each match."""
        return bool(self._globs)

    @property
    def passing(self) -> bool:
        """Whether its result can change as time passes, without a sample and without a value going stale."""
        return any(
            not isinstance(node, Symbol) and (not isinstance(node, Call) or node.function.passing)
            for node in readings(self.root)
        )

    def captures(self, symbol: str) -> tuple[tuple[str, ...], ...]:
        """Return what the wildcards stand for in each pattern that matches this symbol, each once."""
        found = (glob.fullmatch(symbol) for glob in self._globs)
        return tuple(dict.fromkeys(match.groups() for match in found if match))

    def _names(self, captured: tuple[str, ...]) -> Names:
        if not self._globs:  # one without patterns may stand beside one that has them
            return _NO_NAMES
        if len(captured) != self._globs[0].groups:
            raise ValueError(f"{self.text!r} has {self._globs[0].groups} wildcards, not {len(captured)}")
        return {name: patterns.filled(name, captured) for name in self.patterns if patterns.is_pattern(name)}


@dataclass(frozen=True, slots=True)
class Condition(_Parsed):
    """An expression that is true, false or unknown."""

    def bind(self, captured: tuple[str, ...] = ()) -> Bound:
        """Return the condition of one instance; raises ValueError for another number of wildcards."""
        names = self._names(captured)
        return Bound(self, names, compiled(self.root, names))


@dataclass(frozen=True, slots=True)
class Formula(_Parsed):
    """An expression that is a number or unknown."""

    def bind(self, captured: tuple[str, ...] = ()) -> BoundFormula:
        """Return the formula with its wildcards filled in; raises ValueError for another number of them."""
        names = self._names(captured)
        return BoundFormula(self, names, compiled(self.root, names))


class _Bound:
    """An expression over known series."""

    __slots__ = ("_first", "_names", "_parsed", "_read")

    def __init__(self, parsed: _Parsed, names: Names, read: Reader) -> None:
        self._parsed = parsed
        self._names = names
        self._read = read
        self._first: Reader | None = None

    @property
    def text(self) -> str:
        """The text with its wildcards filled in."""
        return self._written(0, len(self._parsed.text)).strip() if self._names else self._parsed.text

    @property
    def symbols(self) -> tuple[str, ...]:
        """The series that it reads in any way, in the order of their mention, each once."""
        return tuple(dict.fromkeys(self._names.get(name, name) for name in self._parsed.patterns))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The figures that it reads, each once."""
        calls = (node for node in readings(self._parsed.root) if isinstance(node, Call))
        return tuple(dict.fromkeys(window for call in calls for window in call.windows(self._names)))

    def levels(self, symbol: str) -> Iterator[Level]:
        """Yield the constants with which it compares a series."""
        return levels(self._parsed.root, symbol, self._names)

    def next_change(self, view: View, step: int) -> Micros | None:
        """Return when it may come to something else without a sample, and without a value going stale; None:
        never. Where that could be at any time it is `step` microseconds from now."""
        return next_change(self._parsed.root, view, self._names, step) if self._parsed.passing else None

    def value(self, view: View) -> float | None:
        """Return the first number that it reads, which an alert shows; None when it is unknown.

        That of a function that is true or false is the last value of its series.
        """
        if self._first is None:
            about = (node for node in readings(self._parsed.root) if isinstance(node, Symbol | Call))
            first = next(about, None)
            if isinstance(first, Call) and holds(first):
                first = first.series
            self._first = compiled(first, self._names) if first else lambda view: None
        return self._first(view)

    def explain(self, view: View) -> str:
        """Return the text with the value behind each thing it reads: `net.http.site.rtt (1534) > 1000`."""
        shown: dict[int, str] = {}
        for node in readings(self._parsed.root):
            value = compiled(node, self._names)(view)
            shown[node.end] = f" ({_shown(node, value, view, self._names)})"
        return self._written(0, len(self._parsed.text), shown).strip()

    def operands(self, view: View) -> list[Operand]:
        """Return what it reads with values and ages, in the order of mention, each text once."""
        found: dict[str, Operand] = {}
        for node in readings(self._parsed.root):
            text = " ".join(self._written(node.start, node.end).split())
            if text not in found:
                value = compiled(node, self._names)(view)
                symbol = _series(node, self._names)
                found[text] = Operand(
                    text,
                    None if value is None else float(value),
                    age(view, symbol) if symbol else None,
                )
        return list(found.values())

    def _written(self, start: int, end: int, shown: dict[int, str] | None = None) -> str:
        """Return a part of the text with patterns filled in and, by where each ends, values put behind."""
        text = self._parsed.text
        edits = [(at, at, told) for at, told in (shown or {}).items()]
        for node in readings(self._parsed.root):
            name = node if isinstance(node, Symbol) else node.series if isinstance(node, Call) else None
            if name is not None and name.name in self._names and start <= name.start < end:
                edits.append((name.start, name.end, self._names[name.name]))
        pieces = []
        for first, last, told in sorted(edits):
            pieces += [text[start:first], told]
            start = last
        return "".join(pieces) + text[start:end]


class Bound(_Bound):
    """A condition over known series: what one alert instance is about."""

    __slots__ = ()

    def evaluate(self, view: View) -> bool | None:
        """Return whether it holds, or None when that cannot be told."""
        return self._read(view)  # type: ignore[return-value]  # the tree of a condition gives no numbers


class BoundFormula(_Bound):
    """A formula over known series."""

    __slots__ = ()

    def evaluate(self, view: View) -> float | None:
        """Return the number, or None when it is unknown or not finite."""
        value = self._read(view)
        return value if value is not None and math.isfinite(value) else None


def parse(text: str, zone: tzinfo = UTC) -> Condition:
    """Parse a condition; raises ExpressionError. `zone` is that of `time` and `weekday`."""
    root = Parser(text, zone, "condition").parse()
    if not holds(root):
        shown = text.strip()
        raise ExpressionError(f"{shown!r} is a number, not a condition (compare it: {shown} > 0)", 0)
    return Condition(text, root, *_patterns(text, root))


def parse_formula(text: str, zone: tzinfo = UTC) -> Formula:
    """Parse a formula; raises ExpressionError. `zone` is that of `time` and `weekday`."""
    root = Parser(text, zone, "formula").parse()
    if holds(root):
        raise ExpressionError(f"{text.strip()!r} is true or false, not a number", 0)
    return Formula(text, root, *_patterns(text, root))


def _patterns(text: str, root: Node) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    """Return the names in a tree, and what matches its patterns, which all have as many wildcards."""
    names: dict[str, Symbol] = {}
    for node in readings(root):
        symbol = node if isinstance(node, Symbol) else node.series if isinstance(node, Call) else None
        if symbol is not None:
            names.setdefault(symbol.name, symbol)
    globs = [symbol for symbol in names.values() if patterns.is_pattern(symbol.name)]
    for symbol in globs:
        count, first = patterns.wildcards(symbol.name), patterns.wildcards(globs[0].name)
        if count != first:
            raise ExpressionError(
                f"{symbol.name} has {_counted(count)}, {globs[0].name} has {_counted(first)}:"
                " they stand for the same texts in each, so that each must have as many",
                symbol.start,
                text,
            )
    return tuple(names), tuple(patterns.compiled(symbol.name) for symbol in globs)


def _counted(count: int) -> str:
    return f"{count} wildcard{'s' if count > 1 else ''}"


def _series(node: Reading, names: Names) -> str | None:
    name = node.name if isinstance(node, Symbol) else node.series.name if isinstance(node, Call) else None
    return None if name is None else names.get(name, name)


def _shown(node: Reading, value: float | None, view: View, names: Names) -> str:
    if value is None:
        return "no fresh value" if isinstance(node, Symbol) else "unknown"
    if not holds(node):
        return format(value, ".12g")
    told = "true" if value else "false"
    if isinstance(node, Call) and node.level is not None:
        point = view.last(names.get(node.series.name, node.series.name))
        if point is not None and point.previous is not None:
            told += f", {point.previous:.12g} → {point.value:.12g}"
    return told
