"""Conditions on what a probe saw: comparisons, conditions on JSON, and regular expressions over hostile text.

Each is read from a text of the configuration (`parse` raises ValueError), and tells with `fault(value)` why
it does not hold, in words that follow the value's name; an empty text says that it does. A value that is
missing or of another kind is a fault with its reason: it is never taken for 0, and never passes unseen.
"""

from __future__ import annotations

import json
import math
import re
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from oculus.collectors.base import CollectError
from oculus.collectors.extract.numerals import shown
from oculus.collectors.extract.paths import Fault, Path
from oculus.collectors.extract.search import search
from oculus.collectors.network.probe import ProbeError

Literal = str | int | float | bool | None

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": lambda found, wanted: found < wanted,
    "<=": lambda found, wanted: found <= wanted,
    ">": lambda found, wanted: found > wanted,
    ">=": lambda found, wanted: found >= wanted,
    "==": lambda found, wanted: found == wanted,
    "!=": lambda found, wanted: found != wanted,
}
_NUMBER = r"[+-]?(?:\d{1,100}(?:\.\d{0,100})?|\.\d{1,100})(?:[eE][+-]?\d{1,3})?"
_LITERAL = rf"""{_NUMBER}|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|true|false|null"""
_COMPARISON = re.compile(rf"\s*(==|!=|<=|>=|<|>)\s*({_LITERAL})\s*", re.ASCII)
_PLAIN_NUMBER = re.compile(_NUMBER, re.ASCII)
_WORDS: dict[str, Literal] = {"true": True, "false": False, "null": None}

# What a comparison may be made with besides the value at a path.
_FUNCTION = re.compile(r"(length|count)\s*\((.*)\)", re.DOTALL)
_COUNTED = 100_000  # most matches that `count` goes through

# Longest condition: those of people are far shorter.
_LONGEST = 1_000  # characters

# Longest regular expression, likewise.
MAX_PATTERN = 500  # characters

# A text of this length is searched in the hub, and stopped after this time: where an expression is slow
# without much backtracking (`a+b` in many a's) Python looks for the timer rarely, and 64 KiB could
# hold the hub for a quarter of a second. A process of its own costs 25 ms of processor time for each search.
_HUB_TEXT = 8 * 1024  # bytes
_HUB_TIME = 0.005  # seconds of processor time
_ASIDE = 600.0  # seconds for which a pattern that was stopped is searched in a process


# -- comparisons --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator and a literal: `> 14`, `== 'up'`, `!= null`. Numbers are compared as numbers, floats too.

    A number may come as text, `"12.5"`. Any other value must be of the literal's kind; null goes with all.
    """

    operator: str
    wanted: Literal
    text: str = field(compare=False)

    @classmethod
    def parse(cls, text: str) -> Comparison:
        """Return the comparison that `text` describes; raises ValueError."""
        found = _COMPARISON.fullmatch(text) if len(text) <= _LONGEST else None
        if found is None:
            raise ValueError(f"{_cut(text)!r} is not a comparison (such as > 14, != 0 or == 'up')")
        return cls._of(found[1], found[2])

    @classmethod
    def _of(cls, operator: str, literal: str) -> Comparison:
        wanted = _literal(literal)
        if operator not in ("==", "!=") and (wanted is None or isinstance(wanted, bool)):
            raise ValueError(f"{literal} can only be compared by == and !=, not by {operator}")
        return cls(operator, wanted, f"{operator} {literal}")

    def __str__(self) -> str:
        return self.text

    def holds(self, value: Any) -> bool:
        """Tell whether it holds for a value of any kind; for what cannot be compared it does not."""
        return not self.fault(value)

    def fault(self, value: Any) -> str:
        """Return why it does not hold, to follow the value's name; an empty text where it does."""
        wanted, found, kind = self.wanted, value, ""
        if wanted is None:
            found = value is None
            wanted = True
        elif isinstance(wanted, bool):
            kind = "" if isinstance(value, bool) else "neither true nor false"
        elif isinstance(wanted, str):
            kind = "" if isinstance(value, str) else "no text"
        else:
            found = _number(value)
            kind = "" if found is not None else "no number"
        if kind:
            told = f"expected {self}" if self.operator == "==" else f"which is {kind}"
            return f"is {shown(value)}, {told}"
        return "" if _ORDER[self.operator](found, wanted) else f"is {shown(value)}, expected {self}"


def _literal(text: str) -> Literal:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "'\"":
        number = _number(text)
        if number is None:
            raise ValueError(f"{text} is not a finite number")
        return number
    inner = text[1:-1]
    if text[0] == "'":  # what JSON writes otherwise: both quotes
        inner = re.sub(r"\\.|\"", lambda found: {"\\'": "'", '"': '\\"'}.get(found[0], found[0]), inner)
    try:
        return cast("str", json.loads(f'"{inner}"'))
    except ValueError:
        raise ValueError(f"{_cut(text)} is not a text (a backslash is written twice)") from None


def _number(value: Any) -> int | float | None:
    """Return a finite number that came as one or as text, or None."""
    if isinstance(value, str):
        text = value.strip() if len(value) <= 2 * _LONGEST else ""
        if not _PLAIN_NUMBER.fullmatch(text):
            return None
        value = float(text) if any(sign in text for sign in ".eE") else int(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"


# -- JSON ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JsonCondition:
    """A JSONPath (RFC 9535) and a comparison: `$.status == 'up'`, `length($.items) > 3`, `count($..x) == 0`.

    `length` is that of a text, a list or an object; `count` the number of matches, which may be none.
    """

    text: str
    function: str = field(compare=False)
    path: Path = field(compare=False, repr=False)
    comparison: Comparison = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> JsonCondition:
        """Return the condition that `text` describes; raises ValueError."""
        left, comparison = _split(text)
        found = _FUNCTION.fullmatch(left)
        path = Path((found[2] if found else left).strip())
        return cls(text.strip(), found[1] if found else "", path, comparison)

    def __str__(self) -> str:
        return self.text

    def fault(self, document: Any) -> str:
        """Return why it does not hold for a JSON document, with the value; an empty text where it does."""
        name = f"{self.function}({self.path.text})" if self.function else self.path.text
        try:
            if self.function == "count":
                value: Any = len(self.path.find(document, _COUNTED))
            else:
                value = self.path.one(document)
        except Fault as fault:
            return f"{fault}, expected {self.comparison}"
        if self.function == "length":
            if not isinstance(value, str | list | dict):
                return f"{self.path.text} is {shown(value)}, which has no length"
            value = len(value)
        told = self.comparison.fault(value)
        return f"{name} {told}" if told else ""


def _split(text: str) -> tuple[str, Comparison]:
    """Return the left side and the comparison; operators inside the path, as in filters, are left there."""
    if len(text) <= _LONGEST:
        for found in re.finditer(r"==|!=|<=|>=|<|>", text):
            right = _COMPARISON.fullmatch(text, found.start())
            if right is not None and found.start():
                return text[: found.start()].strip(), Comparison._of(right[1], right[2])
    hint = "such as $.status == 'up' or $.queue < 10; a text goes in quotes"
    raise ValueError(f"{_cut(text)!r} is not a condition on JSON ({hint})")


# -- regular expressions ------------------------------------------------------------------------------


class Pattern:
    """A regular expression that is searched in what strangers send. Equal texts are equal patterns.

    A short text is searched in the hub under a timer, since that is a thousand times cheaper; a long one, or
    any for a while when the timer has ended a search, in a process that is ended in time.
    """

    __slots__ = ("_aside_until", "_compiled", "text")

    def __init__(self, text: str) -> None:
        """Raise ValueError for what is no regular expression."""
        if len(text) > MAX_PATTERN:
            raise ValueError(f"a regular expression of more than {MAX_PATTERN} characters")
        try:
            self._compiled = re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from None
        self.text = text
        self._aside_until = 0.0  # monotonic

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Return the pattern that `text` describes; raises ValueError."""
        return cls(text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def found_in(self, data: bytes) -> bool:
        """Tell whether it matches anywhere in a text (UTF-8); raises ProbeError when it takes too long."""
        return self._search(data, ()) is not None

    def groups_in(self, data: bytes) -> list[str] | None:
        """Return the first match and its groups, of which some may be empty; None where there is no match.

        Raises ProbeError when it takes too long.
        """
        found = self._search(data, range(self._compiled.groups + 1))
        return None if found is None else [group or "" for group in found]

    def _search(self, data: bytes, groups: Sequence[int]) -> list[str | None] | None:
        if len(data) <= _HUB_TEXT and time.monotonic() >= self._aside_until:
            try:
                match = _search_quickly(self._compiled, data.decode("utf-8-sig", "replace"))
            except _TooSlow:
                self._aside_until = time.monotonic() + _ASIDE
            else:
                return None if match is None else [match[group] for group in groups]
        try:
            return search(self.text, groups, data)
        except CollectError as error:
            raise ProbeError(str(error)) from None


class _TooSlow(Exception):
    """A search in the hub was not done in time, or there is nothing to stop it by."""


class _Timer:
    """Whether a search goes on that the timer's signal is to end."""

    armed = False


def _stop(number: int, frame: object) -> None:
    if _Timer.armed:
        _Timer.armed = False
        raise _TooSlow


def _search_quickly(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the first match; raises _TooSlow where that is not known in time.

    Python looks for signals while it searches, and for nothing else: a timer's signal can end a search. It
    is the timer of processor time, since a machine that is busy with others makes no pattern slow.
    """
    try:
        before = signal.signal(signal.SIGVTALRM, _stop)
    except ValueError:  # another thread than the main one, which gets no signals
        raise _TooSlow from None
    if before not in (_stop, signal.SIG_DFL):  # somebody else's timer
        signal.signal(signal.SIGVTALRM, before)
        raise _TooSlow
    try:
        _Timer.armed = True
        signal.setitimer(signal.ITIMER_VIRTUAL, _HUB_TIME)
        found = pattern.search(text)
        _Timer.armed = False
    finally:
        _Timer.armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
    return found
