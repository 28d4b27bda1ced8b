"""The expression language of conditions: parsed once, evaluated over the last values of symbols.

    condition := or            or   := and ("or" and)*        and := not ("and" not)*
    not       := "not" not | comparison
    comparison := sum [(">" | "<" | ">=" | "<=" | "==" | "!=") sum]
    sum       := product (("+" | "-") product)*
    product   := unary (("*" | "/") unary)*      unary := "-" unary | atom
    atom      := number | symbol | "(" or ")"

Logic has three values: true, false, and unknown (None) for what cannot be told because a symbol has no
fresh value. `and` and `or` are Kleene's: false and unknown is false, true or unknown is true. Unknown is
never a match. Pure: values come in through a function, nothing is read from outside.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from oculus.errors import ExpressionError

Lookup = Callable[[str], float | None]
Value = float | bool | None

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<symbol>(?:[a-z_][a-z0-9_]*)(?:\.[a-z0-9_]+)*)
      | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<operator>>=|<=|==|!=|[-+*/()<>])
    )""",
    re.VERBOSE,
)
_WORDS = frozenset({"and", "or", "not"})

# Nesting and length that a person writes stay far below these; they keep a condition that no person wrote
# from exhausting the stack.
_MAX_DEPTH = 50
_MAX_TOKENS = 1_000

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
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

    def evaluate(self, lookup: Lookup) -> Value:
        """Return the constant."""
        return self.value


@dataclass(frozen=True, slots=True)
class Symbol:
    """The last value of a series."""

    name: str

    def evaluate(self, lookup: Lookup) -> Value:
        """Return its fresh value, or None."""
        return lookup(self.name)


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`+ - * /` of two numbers; unknown when either is, or for a division by zero."""

    sign: str
    left: Node
    right: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """Return the result."""
        left, right = self.left.evaluate(lookup), self.right.evaluate(lookup)
        if left is None or right is None or (self.sign == "/" and not right):
            return None
        value = _ARITHMETIC[self.sign](left, right)
        return None if math.isnan(value) else value  # infinity less infinity


@dataclass(frozen=True, slots=True)
class Negative:
    """A number with its sign turned."""

    operand: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """Return the result."""
        value = self.operand.evaluate(lookup)
        return None if value is None else -value


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers compared; unknown when either is."""

    sign: str
    left: Node
    right: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """Return whether it holds."""
        left, right = self.left.evaluate(lookup), self.right.evaluate(lookup)
        return None if left is None or right is None else _COMPARE[self.sign](left, right)


@dataclass(frozen=True, slots=True)
class Both:
    """`and`."""

    left: Node
    right: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """False when either is false, else unknown when either is, else true."""
        left, right = self.left.evaluate(lookup), self.right.evaluate(lookup)
        if left is False or right is False:
            return False
        return None if left is None or right is None else True


@dataclass(frozen=True, slots=True)
class Either:
    """`or`."""

    left: Node
    right: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """True when either is true, else unknown when either is, else false."""
        left, right = self.left.evaluate(lookup), self.right.evaluate(lookup)
        if left is True or right is True:
            return True
        return None if left is None or right is None else False


@dataclass(frozen=True, slots=True)
class Not:
    """`not`; the contrary of unknown is unknown."""

    operand: Node

    def evaluate(self, lookup: Lookup) -> Value:
        """Return the contrary."""
        value = self.operand.evaluate(lookup)
        return None if value is None else not value


Node = Number | Symbol | Arithmetic | Negative | Comparison | Both | Either | Not
_LOGICAL = (Comparison, Both, Either, Not)


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition: its text, and the symbols that it names in the order of their mention."""

    text: str
    root: Node
    symbols: tuple[str, ...]

    def evaluate(self, lookup: Lookup) -> bool | None:
        """Return whether it holds, or None when that cannot be told. `lookup` gives fresh values or None."""
        value = self.root.evaluate(lookup)
        return None if value is None else bool(value)

    def explain(self, lookup: Lookup) -> str:
        """Return the text with each symbol's value behind it, as `net.http.site.rtt (1534) > 1000`."""

        def shown(match: re.Match[str]) -> str:
            name = match["symbol"]
            if name is None or name in _WORDS:
                return match[0]
            value = lookup(name)
            return f"{match[0]} ({'no fresh value' if value is None else format(value, '.12g')})"

        return _TOKEN.sub(shown, self.text).strip()


def parse(text: str) -> Condition:
    """Parse a condition; raises ExpressionError that names the column (from 1) of the fault."""
    parser = _Parser(text)
    root = parser.disjunction(0)
    parser.end()
    if not isinstance(root, _LOGICAL):
        raise ExpressionError(f"{text!r} is a number, not a condition (compare it: {text.strip()} > 0)", 0)
    return Condition(text, root, tuple(dict.fromkeys(_symbols(root))))


def _symbols(node: Node) -> Iterator[str]:
    if isinstance(node, Symbol):
        yield node.name
    elif isinstance(node, Negative | Not):
        yield from _symbols(node.operand)
    elif not isinstance(node, Number):
        yield from _symbols(node.left)
        yield from _symbols(node.right)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._count = 0
        self._kind = self._token = ""
        self._start = 0
        self._advance()

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            rest = self._text[self._at :]
            self._start = self._at + len(rest) - len(rest.lstrip())
            if rest.strip():
                self._fail(f"{self._text[self._start]!r} is not part of the language")
            self._kind = self._token = ""
            return
        assert match.lastgroup is not None
        self._count += 1
        self._kind, self._token = match.lastgroup, match[match.lastgroup]
        self._start, self._at = match.start(match.lastgroup), match.end()
        if self._kind == "symbol" and self._token in _WORDS:
            self._kind = "word"
        if self._count > _MAX_TOKENS:
            self._fail(f"more than {_MAX_TOKENS} words and signs")

    def _fail(self, what: str, start: int | None = None) -> None:
        at = self._start if start is None else start
        raise ExpressionError(f"{what} at column {at + 1} of {self._text!r}", at)

    def _take(self, *tokens: str) -> str:
        """Pass over the present token if it is one of these, and return it; else return nothing."""
        if self._kind in ("operator", "word") and self._token in tokens:
            token = self._token
            self._advance()
            return token
        return ""

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self._kind:
            self._fail(f"{self._token!r} is not expected")

    def disjunction(self, depth: int) -> Node:
        """Parse what `or` joins."""
        if depth > _MAX_DEPTH:
            self._fail("nested too deeply")
        start = self._start
        node = self._conjunction(depth)
        while self._take("or"):
            node = Either(self._logical(start, node), self._logical(self._start, self._conjunction(depth)))
        return node

    def _conjunction(self, depth: int) -> Node:
        start = self._start
        node = self._negation(depth)
        while self._take("and"):
            node = Both(self._logical(start, node), self._logical(self._start, self._negation(depth)))
        return node

    def _negation(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            self._fail("nested too deeply")
        if self._take("not"):
            return Not(self._logical(self._start, self._negation(depth + 1)))
        return self._comparison(depth)

    def _comparison(self, depth: int) -> Node:
        start = self._start
        left = self._sum(depth)
        sign = self._take(*_COMPARE)
        if not sign:
            return left
        node = Comparison(sign, self._numeric(start, left), self._numeric(self._start, self._sum(depth)))
        if self._kind == "operator" and self._token in _COMPARE:
            self._fail("comparisons cannot be chained (join two with and)")
        return node

    def _sum(self, depth: int) -> Node:
        start = self._start
        node = self._product(depth)
        while sign := self._take("+", "-"):
            node = Arithmetic(
                sign, self._numeric(start, node), self._numeric(self._start, self._product(depth))
            )
        return node

    def _product(self, depth: int) -> Node:
        start = self._start
        node = self._unary(depth)
        while sign := self._take("*", "/"):
            node = Arithmetic(
                sign, self._numeric(start, node), self._numeric(self._start, self._unary(depth))
            )
        return node

    def _unary(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            self._fail("nested too deeply")
        if self._take("-"):
            return Negative(self._numeric(self._start, self._unary(depth + 1)))
        return self._atom(depth)

    def _atom(self, depth: int) -> Node:
        if self._take("("):
            node = self.disjunction(depth + 1)
            if not self._take(")"):
                self._fail('")" is missing')
            return node
        kind, token = self._kind, self._token
        if kind == "number":
            self._advance()
            return Number(float(token))
        if kind == "symbol":
            self._advance()
            return Symbol(token)
        self._fail(f"{token!r} is not expected" if token else "the condition ends too early")
        raise AssertionError

    def _logical(self, start: int, node: Node) -> Node:
        if not isinstance(node, _LOGICAL):
            self._fail("and, or and not join comparisons, not numbers", start)
        return node

    def _numeric(self, start: int, node: Node) -> Node:
        if isinstance(node, _LOGICAL):
            self._fail("a comparison cannot be used as a number", start)
        return node
