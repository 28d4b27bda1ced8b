"""What a Nagios plugin prints: a line for people, and performance data behind a `|`.

    DISK OK - 72 GB free | /=29GB;243;257;0;270 'swap used'=3%;80;90
    long text
    more of it | inodes=4%

The first line may have performance data, and so may what follows: from the first later line with a `|` on,
everything behind it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# Values of one plugin: more are likelier a flood than a wish.
MAX_VALUES = 1_000

# Longest label and text that are kept.
_LONGEST_LABEL = 100  # characters
_LONGEST_TEXT = 200  # characters

# A label in quotes, in which two stand for one, or without; then what belongs to it up to a space.
_ITEM = re.compile(r"(?:'((?:[^']|'')+)'|([^\s='][^\s=]*))=(\S*)(?:\s+|$)")
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
# A unit that begins with a comma or a digit would be the rest of a number in another country's spelling.
_VALUE = re.compile(rf"({_NUMBER})((?:[^\d.,+-].*)?)", re.ASCII | re.DOTALL)
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER})?(:))?({_NUMBER})?", re.ASCII)

# Units to the base unit, and what they are multiplied by.
_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
_BYTES = re.compile(r"(?:([kKMGTPE])(i?))?B")
_POWERS = "kMGTPE"


@dataclass(frozen=True, slots=True)
class Performance:
    """A value with its label, in its base unit: seconds, bytes, or whatever the plugin wrote.

    `warn` and `crit` are ranges as Nagios writes them, in the same unit; empty where there is none that can
    be read.
    """

    label: str
    value: float
    unit: str
    warn: str = ""
    crit: str = ""


@dataclass(slots=True)
class Report:
    """What a plugin said. `faults` are items of its performance data that are none."""

    text: str = ""
    values: list[Performance] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def parse(output: str) -> Report:
    """Read the output of a plugin, whatever it is: what makes no sense is a fault."""
    lines = output.split("\n")
    first, _, performance = lines[0].partition("|")
    pieces = [performance]
    rest = iter(lines[1:])
    for line in rest:
        _, found, behind = line.partition("|")
        if found:
            pieces += [behind, *rest]
    report = Report(plain(first))
    for label, written in _items(" ".join(pieces), report):
        if len(report.values) + len(report.faults) >= MAX_VALUES:
            report.faults.append(f"more than {MAX_VALUES} values")
            break
        try:
            found_value = _performance(label, written)
        except ValueError as error:
            report.faults.append(f"{plain(label)} {error}")
        else:
            if found_value is not None:
                report.values.append(found_value)
    return report


def plain(text: str) -> str:
    """Return a text in one line of moderate length, without what cannot be printed."""
    start = text[: 10 * _LONGEST_TEXT]
    shown = " ".join("".join(sign if sign.isprintable() else " " for sign in start).split())
    return shown if len(shown) <= _LONGEST_TEXT else shown[:_LONGEST_TEXT] + "…"


def _items(text: str, report: Report) -> Iterator[tuple[str, str]]:
    """Yield labels with what stands behind their `=`."""
    text = text.strip()
    at = 0
    while at < len(text):
        found = _ITEM.match(text, at)
        if found is not None:
            at = found.end()
            quoted, bare, written = found.groups()
            yield (quoted.replace("''", "'") if quoted else bare), written
            continue
        word, _, _ = text[at : at + 10 * _LONGEST_LABEL].partition(" ")
        report.faults.append(f"{plain(word)!r} is no performance value (label=value)")
        if len(report.faults) > MAX_VALUES:
            return
        at += len(word)
        while at < len(text) and text[at].isspace():
            at += 1


def _performance(label: str, written: str) -> Performance | None:
    """Return a value, or None for one that the plugin does not know; raises ValueError."""
    number, warn, crit, *_ = [*written.split(";"), "", ""]
    if len(label) > _LONGEST_LABEL:
        raise ValueError("is too long for a label")
    if number == "U":
        return None
    found = _VALUE.fullmatch(number)
    if found is None:
        raise ValueError(f"is {plain(number)!r}, which is no number")
    unit, factor = _base(found[2])
    value = scaled(float(found[1]), factor)
    if not math.isfinite(value):
        raise ValueError(f"is {plain(number)!r}, which is no finite number")
    return Performance(label, value, unit, convert_range(warn, factor), convert_range(crit, factor))


def _base(unit: str) -> tuple[str, float]:
    """Return the base unit of a unit, and the factor to it."""
    if unit in _SECONDS:
        return "s", _SECONDS[unit]
    found = _BYTES.fullmatch(unit)
    if found is not None:
        prefix, binary = found.groups()
        power = _POWERS.index(prefix.replace("K", "k")) + 1 if prefix else 0
        return "B", float((1024 if binary else 1000) ** power)
    if unit == "c":  # a counter, which has no unit
        return "", 1.0
    return plain(unit)[:20], 1.0


def scaled(value: float, factor: float) -> float:
    """Return a product without the noise of binary fractions."""
    return value if factor == 1.0 else float(f"{value * factor:.15g}")


def convert_range(written: str, factor: float) -> str:
    """Return a range `[@][start:]end` whose ends are multiplied; empty for what is none.

    A value outside of it raises an alert, with `@` one inside; `10` is 0 to 10, `10:` has no end, and `~` is
    no start.
    """
    found = _RANGE.fullmatch(written.strip())
    if found is None or not (found[3] or found[4]):
        return ""
    inside, start, colon, end = found.groups()
    low = -math.inf if start == "~" else float(start or 0.0)
    high = math.inf if end is None else float(end)
    if low > high:
        return ""
    first = "~" if low == -math.inf else f"{scaled(low, factor):.15g}"
    last = "" if high == math.inf else f"{scaled(high, factor):.15g}"
    return f"{inside}{first}:{last}" if colon and (low or high == math.inf) else f"{inside}{last}"
