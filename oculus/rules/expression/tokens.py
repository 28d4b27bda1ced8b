"""The words of an expression: numbers with units, names and patterns of series, signs, guards.

A `*` is a product or a wildcard. What stands before it decides: after a number, a `)` or a blank behind an
operand it is a product; where an operand must begin it is a wildcard. Right behind a name, with no blank, it
belongs to the name, unless a number or `(` follows at once; between two letters or digits (`a*b`) it could
be either, and is refused.
"""

from __future__ import annotations

import math
import re
from typing import Literal, NamedTuple, NoReturn

from oculus.config.decode import parse_duration
from oculus.errors import ExpressionError

Kind = Literal["number", "duration", "symbol", "word", "sign", "time", "weekday", "end"]

# A condition that a person writes stays far below; see also the parser's limit on nesting.
MAX_TOKENS = 1_000

WORDS = frozenset({"and", "or", "not"})
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_BLANKS = re.compile(r"\s*")
_SIGN = re.compile(r">=|<=|==|!=|[-+*/(),<>]")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:us|ms|[smhdw]))+(?![A-Za-z0-9_%])")
_UNIT = re.compile(r"[A-Za-z_%][A-Za-z0-9_%]*")
_FACTORS = {"": 1.0, "%": 1.0, "k": 1e3, "M": 1e6}
_NAME = re.compile(r"[a-z0-9_]+")
_STARS = re.compile(r"\*+")
# What follows a `*` without a blank, as far as it may be one number.
_RUN = re.compile(r"[A-Za-z0-9_.%]*")
_ONE_NUMBER = re.compile(rf"(?:{_NUMBER.pattern}[kM%]?|{_DURATION.pattern})")

_SPAN = re.compile(r"\s+(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)(?![\w:.])")
_DAY = f"(?:{'|'.join(DAYS)})"
_DAY_LIST = re.compile(
    rf"\s+({_DAY}(?:\s*-\s*{_DAY})?(?:\s*,\s*{_DAY}(?:\s*-\s*{_DAY})?)*)(?![\w.*])(?!\s*[-,(])"
)
_TIME_HINT = "a time of day is written as time 22:00-06:00"
_WEEKDAY_HINT = "days are written as weekday mon-fri, or weekday sat,sun"

# What people write who come from other languages.
_HINTS = {
    "=": " (compare with ==)",
    "&": " (write and)",
    "|": " (write or)",
    "!": " (write not, or != to compare)",
    "%": " (write 5% without a blank)",
    "~": " (a series is found by its name, or a pattern such as net.http.*.up)",
}


class Token(NamedTuple):
    """A word of an expression, where it begins and ends, and the number that it stands for.

    A guard carries what it allows: for `time` the minutes of the day at which it begins and ends, for
    `weekday` the days (0 is Monday).
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: float = 0.0
    guard: tuple[int, ...] = ()

    @property
    def closes(self) -> bool:
        """Whether an operand ends with it, so that a `*` behind it is a product."""
        return self.text == ")" or self.kind not in ("sign", "word", "end")


class Scanner:
    """Gives the words of one text, one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._at = 0
        self._count = 0
        self._last = Token("end", "", 0, 0)

    def next(self) -> Token:
        """Return the next word, of the kind `end` when there is none; raises ExpressionError."""
        blanks = _BLANKS.match(self.text, self._at)
        at = blanks.end() if blanks else self._at
        self._count += 1
        if self._count > MAX_TOKENS + 1:
            self.fail(f"more than {MAX_TOKENS} words and signs", at)
        token = self._read(at)
        self._at, self._last = token.end, token
        return token

    def fail(self, told: str, at: int) -> NoReturn:
        """Raise ExpressionError for a fault at this offset."""
        raise ExpressionError(told, at, self.text)

    def _read(self, at: int) -> Token:
        text = self.text
        if at == len(text):
            return Token("end", "", at, at)
        first = text[at]
        if first in "0123456789" or (first == "." and text[at + 1 : at + 2] in tuple("0123456789")):
            return self._number(at)
        if "a" <= first <= "z" or first == "_" or (first == "*" and self._begins_pattern(at)):
            return self._name(at)
        sign = _SIGN.match(text, at)
        if sign is None:
            self.fail(f"{first!r} is not part of the language{_HINTS.get(first, '')}", at)
        return Token("sign", sign[0], at, sign.end())

    def _number(self, at: int) -> Token:
        text = self.text
        duration = _DURATION.match(text, at)
        if duration is not None:
            return self._finite("duration", at, duration.end(), parse_duration(duration[0]))
        number = _NUMBER.match(text, at)
        assert number is not None
        end = number.end()
        unit = _UNIT.match(text, end)
        suffix = unit[0] if unit and unit[0] not in WORDS else ""
        if suffix not in _FACTORS:
            hint = "k" if suffix == "K" else "k, M, %; durations: ms, s, m, h, d, w"
            self.fail(f"{suffix!r} is not a unit ({hint})", end)
        return self._finite("number", at, end + len(suffix), float(number[0]) * _FACTORS[suffix])

    def _finite(self, kind: Kind, at: int, end: int, value: float) -> Token:
        if not math.isfinite(value):
            self.fail("the number is too large", at)
        return Token(kind, self.text[at:end], at, end, value)

    def _begins_pattern(self, at: int) -> bool:
        """Tell whether a `*` that follows no name directly is a wildcard."""
        behind = _STARS.sub("", self.text[at : at + 3])[:1]
        return not self._last.closes and (behind in tuple("._") or _NAME.match(behind) is not None)

    def _name(self, at: int) -> Token:
        """Read a name or a pattern; words and guards look alike at first."""
        text, end = self.text, at
        while end < len(text):
            part = _NAME.match(text, end)
            if part is not None:
                end = part.end()
            elif text[end] == "." and end > at and text[end - 1] != ".":
                follows = text[end + 1 : end + 2]
                if follows != "*" and not _NAME.match(follows):
                    break
                end += 1
            elif text[end] == "*" and self._is_wildcard(at, end):
                stars = _STARS.match(text, end)
                assert stars is not None
                if len(stars[0]) > 2:
                    self.fail("a wildcard is * (within a part of the name) or ** (across dots)", end)
                end = stars.end()
            else:
                break
        name = text[at:end]
        if name in WORDS:
            return Token("word", name, at, end)
        if name == "time":
            return self._time(at, end)
        if name == "weekday":
            return self._weekday(at, end)
        return Token("symbol", name, at, end)

    def _is_wildcard(self, start: int, at: int) -> bool:
        """Tell whether the `*` at an offset belongs to the name that began at `start`."""
        text = self.text
        before = text[at - 1] if at > start else "."
        if before in "._":
            return True
        stars = _STARS.match(text, at)
        assert stars is not None
        run = _RUN.match(text, stars.end())
        following = run[0] if run else ""
        one = f"{text[start:at]}{stars[0]}"
        choice = f"could be a product or a pattern: write {text[start:at]} * … with blanks to multiply"
        if _ONE_NUMBER.fullmatch(following):
            if following.startswith("."):
                self.fail(f"{one}{following} {choice}", at)
            return False
        if following[:1] in ("", "%"):
            behind = text[stars.end() : stars.end() + 1]
            if behind == "-":
                self.fail(f"{one}- {choice}", at)
            return behind != "("
        if following[0] not in "._":
            self.fail(f"{one}{following} {choice}", at)
        return True

    def _time(self, at: int, end: int) -> Token:
        span = _SPAN.match(self.text, end)
        if span is None:
            if self._meant(end, r"\s*\d"):
                self.fail(_TIME_HINT, at)
            return Token("symbol", "time", at, end)
        hour, minute, last_hour, last_minute = (int(group) for group in span.groups())
        first, last = hour * 60 + minute, last_hour * 60 + last_minute
        if minute > 59 or last_minute > 59 or first >= 1440 or last > 1440:
            self.fail("there is no such time of day (00:00 to 24:00)", at)
        if first == last:
            self.fail("the time begins and ends at once (the whole day needs no guard)", at)
        return Token("time", self.text[at : span.end()], at, span.end(), guard=(first, last))

    def _weekday(self, at: int, end: int) -> Token:
        listed = _DAY_LIST.match(self.text, end)
        if listed is None:
            if self._meant(end, r"\s+(?!(?:and|or|not)\b)[A-Za-z0-9]"):
                self.fail(_WEEKDAY_HINT, at)
            return Token("symbol", "weekday", at, end)
        days: set[int] = set()
        for part in listed[1].split(","):
            first, _, last = part.partition("-")
            days.update(_days(first.strip(), last.strip()))
        return Token("weekday", self.text[at : listed.end()], at, listed.end(), guard=tuple(sorted(days)))

    def _meant(self, end: int, pattern: str) -> bool:
        return re.compile(pattern).match(self.text, end) is not None


def _days(first: str, last: str) -> list[int]:
    """Return the days from the first to the last, over Sunday if need be; without a last only the first."""
    start = DAYS.index(first)
    length = (DAYS.index(last) - start) % 7 if last else 0
    return [day % 7 for day in range(start, start + length + 1)]
