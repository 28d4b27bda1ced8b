"""From the words of an expression to its tree, by precedence climbing.

The grammar is in the manual (docs/rules.md). What is wrong is told in one line, with the spot.
"""

from __future__ import annotations

from datetime import tzinfo
from typing import NoReturn

from oculus.config.decode import did_you_mean
from oculus.rules.expression import patterns
from oculus.rules.expression.functions import EXAMPLES, FUNCTIONS, Argument, Function, example
from oculus.rules.expression.nodes import (
    COMPARE,
    Absolute,
    Call,
    Chain,
    Comparison,
    Every,
    Negative,
    Node,
    Not,
    Number,
    Some,
    Symbol,
    TimeOfDay,
    Weekday,
    holds,
)
from oculus.rules.expression.tokens import Scanner, Token

# Nesting that a person writes stays far below; it keeps what no person wrote from exhausting the stack.
_MAX_DEPTH = 50

# A window that is longer than anything stored is a slip; 5 years with their leap days.
LONGEST_WINDOW = 1_827 * 86_400.0  # seconds

# How tightly each sign binds; an operand of one binds tighter.
_OR, _AND, _NOT, _COMPARISON, _SUM, _PRODUCT, _SIGN = range(1, 8)
_BINDS = {"or": _OR, "and": _AND, "+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT}
_BINDS |= dict.fromkeys(COMPARE, _COMPARISON)

_ABSOLUTE = "abs"

_CHAINED = "comparisons cannot be chained (join two with and)"
_NOT_LOGICAL = "and, or and not join comparisons, not numbers"
_NOT_NUMERIC = "a comparison cannot be used as a number"


class Parser:
    """Parses one text; `noun` is what messages call it."""

    def __init__(self, text: str, zone: tzinfo, noun: str) -> None:
        self._scanner = Scanner(text)
        self._zone = zone
        self._noun = noun
        self._before = self._token = Token("end", "", 0, 0)
        self._advance()

    def parse(self) -> Node:
        """Return the tree of the whole text; raises ExpressionError."""
        node = self._expression(_OR, 0)
        if self._token.kind != "end":
            self._unexpected()
        return node

    # -- words ----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        self._before, self._token = self._token, self._scanner.next()

    def _at(self, *texts: str) -> bool:
        return self._token.kind in ("sign", "word") and self._token.text in texts

    def _take(self, text: str) -> bool:
        """Pass over the present word if it is this one."""
        if not self._at(text):
            return False
        self._advance()
        return True

    def _fail(self, told: str, start: int | None = None) -> NoReturn:
        self._scanner.fail(told, self._token.start if start is None else start)

    def _unexpected(self) -> NoReturn:
        token = self._token
        if token.kind == "end":
            self._fail(f"the {self._noun} ends too early")
        told = f"{token.text!r} is not expected"
        if self._before.kind == "symbol" and self._before.text.endswith("*"):
            name = self._before.text.rstrip("*")
            told += f" behind a pattern (write {name} * … with blanks on both sides to multiply)"
        elif token.text == "," and self._before.kind != "sign":
            told += " (only a function's arguments are parted by commas)"
        self._fail(told)

    # -- operators ------------------------------------------------------------------------------------

    def _expression(self, least: int, depth: int) -> Node:
        """Parse operands joined by signs that bind at least so tightly."""
        if depth > _MAX_DEPTH:
            self._fail("nested too deeply")
        start = self._token.start
        node = self._operand(least, depth)
        while (binds := self._binds()) >= least:
            if binds <= _AND:
                node = self._logical_chain(node, start, binds, depth)
            elif binds == _COMPARISON:
                node = self._comparison(node, start, depth)
            else:
                node = self._numeric_chain(node, start, binds, depth)
        return node

    def _binds(self) -> int:
        return _BINDS.get(self._token.text, 0) if self._token.kind in ("sign", "word") else 0

    def _logical_chain(self, node: Node, start: int, binds: int, depth: int) -> Node:
        parts = [self._logical(node, start)]
        while self._binds() == binds:
            self._advance()
            start = self._token.start
            parts.append(self._logical(self._expression(binds + 1, depth), start))
        return Some(tuple(parts)) if binds == _OR else Every(tuple(parts))

    def _numeric_chain(self, node: Node, start: int, binds: int, depth: int) -> Node:
        first = self._numeric(node, start)
        rest = []
        while self._binds() == binds:
            sign = self._token.text
            self._advance()
            start = self._token.start
            rest.append((sign, self._numeric(self._expression(binds + 1, depth), start)))
        return Chain(first, tuple(rest))

    def _comparison(self, node: Node, start: int, depth: int) -> Node:
        sign = self._token.text
        left = self._numeric(node, start)
        self._advance()
        start = self._token.start
        right = self._numeric(self._expression(_SUM, depth), start)
        if self._binds() == _COMPARISON:
            self._fail(_CHAINED)
        return Comparison(sign, left, right)

    def _logical(self, node: Node, start: int) -> Node:
        if not holds(node):
            self._fail(_NOT_LOGICAL, start)
        return node

    def _numeric(self, node: Node, start: int) -> Node:
        if holds(node):
            self._fail(_NOT_NUMERIC, start)
        return node

    # -- operands -------------------------------------------------------------------------------------

    def _operand(self, least: int, depth: int) -> Node:
        token = self._token
        if least <= _NOT and self._take("not"):
            start = self._token.start
            return Not(self._logical(self._expression(_NOT, depth + 1), start))
        if self._take("-"):
            start = self._token.start
            return Negative(self._numeric(self._expression(_SIGN, depth + 1), start))
        if self._take("("):
            node = self._expression(_OR, depth + 1)
            self._close()
            return node
        if token.kind in ("sign", "word", "end"):
            self._unexpected()
        self._advance()
        if token.kind == "symbol":
            if self._at("(") and not set(token.text) & set(".*"):
                return self._call(token, depth)
            return self._symbol(token)
        if token.kind == "time":
            first, last = token.guard
            return TimeOfDay(first, last, self._zone, token.start, token.end)
        if token.kind == "weekday":
            return Weekday(frozenset(token.guard), self._zone, token.start, token.end)
        return Number(token.value)

    def _close(self) -> None:
        if not self._take(")"):
            self._fail('")" is missing')

    def _symbol(self, token: Token) -> Symbol:
        fault = patterns.fault(token.text)
        if fault:
            self._fail(fault, token.start)
        return Symbol(token.text, token.start, token.end)

    # -- functions ------------------------------------------------------------------------------------

    def _call(self, named: Token, depth: int) -> Node:
        name = named.text
        if name == _ABSOLUTE:
            self._advance()
            start = self._token.start
            inner = self._numeric(self._expression(_OR, depth + 1), start)
            self._close()
            return Absolute(inner)
        function = FUNCTIONS.get(name)
        if function is None:
            known = did_you_mean(name, [*FUNCTIONS, _ABSOLUTE])
            self._fail(f'unknown function "{name}"{known}', named.start)
        self._advance()
        series = self._series(name)
        seconds = parameter = 0.0
        level: Node | None = None
        for argument in function.arguments:
            written = example(name, series.name)
            if not self._take(","):
                self._missing(name, argument, written)
            if argument == "window":
                seconds = self._window(name, written)
            elif argument == "quantile":
                parameter = self._quantile(written)
            else:
                if self._at(")"):
                    self._missing(name, argument, written)
                start = self._token.start
                level = self._numeric(self._expression(_OR, depth + 1), start)
        if self._at(","):
            self._fail(f"{name} takes no more than {_listed(function)}: {example(name, series.name)}")
        self._close()
        return Call(name, function, series, seconds, parameter, level, named.start, self._before.end)

    def _series(self, name: str) -> Symbol:
        token = self._token
        if self._at(")", ",") or token.kind == "end":
            self._fail(f"{name} needs a series: {example(name, 'net.http.site.rtt')}")
        if self._at("*", "/", "+", ">", "<", ">=", "<=", "==", "!="):
            self._unexpected()
        self._advance()
        alone = self._at(")", ",") or self._token.kind != "sign"
        if token.kind != "symbol" or not alone:
            told = f"{name} is about one series, not an expression: {example(name, 'net.http.site.rtt')}"
            self._fail(f"{told} (make a derived value of the expression)", token.start)
        return self._symbol(token)

    def _window(self, name: str, written: str) -> float:
        token = self._token
        if self._at(")"):
            self._missing(name, "window", written)
        if token.kind == "number":
            self._fail(f"the window {token.text} has no unit: {_with_unit(token)}")
        if token.kind != "duration":
            self._fail(f"a window is a duration such as 5m, 1h or 7d: {written}")
        if not 0 < token.value <= LONGEST_WINDOW:
            self._fail("a window is longer than nothing, and at most 5 years")
        self._advance()
        return token.value

    def _quantile(self, written: str) -> float:
        token = self._token
        if token.kind != "number":
            self._fail(f"the quantile, a number from 0 to 1, goes before the window: {written}")
        if not 0 <= token.value <= 1:
            hint = f" ({token.value / 100:g})" if 1 < token.value <= 100 else ""
            self._fail(f"a quantile is a number from 0 to 1{hint}")
        self._advance()
        return token.value

    def _missing(self, name: str, argument: Argument, written: str) -> NoReturn:
        """Tell that an argument is missing at the present word, or that the word is not expected there."""
        if not self._at(")", ",") and self._token.kind != "end":
            self._fail(f'a comma or ")" is missing: {written}')
        what = "number from 0 to 1" if argument == "quantile" else argument
        self._fail(f"{name} needs a {what}: {written}")


def _listed(function: Function) -> str:
    """Return what a function takes, as words."""
    return " and ".join(["a series", *(f"a {argument}" for argument in function.arguments)])


def _with_unit(token: Token) -> str:
    if token.text.isdigit():
        return f"{token.text}s, or {token.text}m"
    return f"a duration such as {EXAMPLES['window']}"
