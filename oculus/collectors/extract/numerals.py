"""Numbers and times as services write them. What can be read in two ways is refused, never guessed."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from oculus.clock import LAST_TIME, parse_iso
from oculus.model import Micros

_LONGEST = 100  # characters of a text that may be a number or a time
_SHOWN = 40  # characters of a value that a message shows

_PLAIN = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
# Sign, currency, sign, digits with what separates them, currency or percent.
_AMOUNT = re.compile(r"([+-]?)([^\w.,\s+-]?)\s*([+-]?)([\d.,](?:.*[\d.,])?)\s*([^\w.,\s]?)")
_MINUS = "\N{MINUS SIGN}"
# Apostrophes and spaces that do not break a line, between groups of three digits, are nothing else; a plain
# space may stand between two numbers.
_GROUPED = re.compile(r"\d{1,3}(?:([\u00a0\u2009\u202f'’])\d{3})(?:\1\d{3})*(?:[.,]\d+)?", re.ASCII)
# By decimal sign, where the other sign stands between groups of three digits.
_SEPARATED = {
    ".": re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?", re.ASCII),
    ",": re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?|\d*,\d+|\d+,", re.ASCII),
}

# Times since 1970 are told apart by their size: the first second that counts is in 1973, since smaller
# numbers are dates such as 20261021, and a date in seconds has eleven digits until the year 5138.
_FIRST = 1e8
_UNITS = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0), (1e20, 0.001))  # below → microseconds


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and abs(value) > 10**_SHOWN:  # Python refuses to write very long ones
        return "a number of many digits"
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def parse_number(value: Any, decimal: str = "") -> float:
    """Return a finite number that came as one, or as text; raises ValueError, to follow the value's name.

    A text may have a sign, a currency sign, a percent sign and groups of three digits. `decimal` is its
    decimal sign; without it a point is one, and a comma where it cannot be anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"is {shown(value)}, which is no number")
    try:
        found = _text_number(value, decimal) if isinstance(value, str) else float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"is {shown(value)}, which is no finite number")
    return found


def _text_number(text: str, decimal: str) -> float:
    found = _AMOUNT.fullmatch(text.strip().replace(_MINUS, "-")) if len(text) <= _LONGEST else None
    if found is None:
        raise ValueError(f"is {shown(text)}, which is no number")
    sign, before, second, digits, after = found.groups()
    if (sign and second) or not (_is_currency(before) and (_is_currency(after) or after == "%")):
        raise ValueError(f"is {shown(text)}, which is no number")
    if _GROUPED.fullmatch(digits):
        digits = re.sub(r"[^\d.,]", "", digits)
    readings = _readings(digits, decimal)
    if len(readings) != 1:
        either = " or ".join(f"{reading:.15g}" for reading in readings)
        told = f"which may be {either} (set decimal to . or ,)" if either else "which is no number"
        raise ValueError(f"is {shown(text)}, {told}")
    return -readings[0] if "-" in (sign, second) else readings[0]


def _is_currency(sign: str) -> bool:
    return not sign or unicodedata.category(sign) == "Sc"


def _readings(digits: str, decimal: str) -> list[float]:
    """Return what digits with points and commas may mean."""
    if digits.isdecimal() or (decimal != "," and _PLAIN.fullmatch(digits)):
        return [float(digits)]
    readings = []
    for sign, other in ((".", ","), (",", ".")):
        if decimal in ("", sign) and _SEPARATED[sign].fullmatch(digits):
            readings.append(float(digits.replace(other, "").replace(sign, ".")))
    return readings


def parse_time(value: Any) -> Micros:
    """Return a time in ISO 8601, or since 1970 in s, ms, µs or ns by its size; raises ValueError likewise."""
    told = ValueError(f"is {shown(value)}, which is no time")
    number = value
    if isinstance(value, str):
        text = value.strip()
        if len(text) > _LONGEST:
            raise told
        number = float(text) if _PLAIN.fullmatch(text) else 0.0
        if number < _FIRST:
            try:
                return _checked(parse_iso(text), told)
            except (ValueError, OverflowError):
                raise told from None
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= _FIRST:
        raise told
    for below, micros in _UNITS:
        if number < below:
            return _checked(round(number * micros), told)
    raise told


def _checked(ts: int, told: ValueError) -> Micros:
    if not 0 < ts < LAST_TIME:
        raise told
    return Micros(ts)
