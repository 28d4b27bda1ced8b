"""Numbers out of bodies: JSON by paths (RFC 9535), CSV by columns, text by a regular expression.

Bodies come from strangers: what is no number is a fault with its reason, never a guess; and whatever a body
holds, the hub is not held: what is long is read in a native thread, and searched in a process of its own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

from oculus.clock import iso, now
from oculus.collectors.extract.numerals import parse_number, parse_time, shown
from oculus.collectors.extract.paths import Fault, Path
from oculus.collectors.extract.search import search
from oculus.model import Micros, is_symbol, slug

# Elements of a list, each of which is a series: more are likelier a wrong path than a wish.
MAX_ELEMENTS = 1_000

# Longest regular expression: those of people are far shorter.
MAX_PATTERN = 500  # characters

# Longest body that is searched in the hub: a path takes about 20 µs for each KB of JSON at worst.
_HUB_BODY = 8 * 1024  # bytes

# Longest text that may be one number and nothing else.
_NUMBER_BODY = 200  # bytes

# A source's clock may go ahead of ours, and a date may be tomorrow's where the day begins earlier; a time
# further off would make all numbers that follow look old.
_AHEAD = 86_400 * 1_000_000  # microseconds


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of a body. `part` follows the symbol, empty for the only one; `ts` is its own time."""

    part: str
    value: float
    ts: Micros | None


@dataclass(slots=True)
class Found:
    """What a body has: its numbers, and for the parts that have none, why."""

    figures: list[Figure] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)

    def take(self, part: str, read: Callable[[], Figure]) -> None:
        """Add what `read` returns, or the fault that it raises."""
        try:
            self.figures.append(read())
        except Fault as fault:
            self.faults.append((part, str(fault)))


@dataclass(frozen=True, slots=True)
class Body:
    """An answer's body, as JSON too where that is what the reader wants, and the way to a native thread."""

    data: bytes
    document: Any
    snippet: str
    aside: Callable[..., Any]

    def run(self, work: Callable[..., Found], argument: Any) -> Found:
        """Return `work(argument)`: in the hub for a short body, else beside it."""
        if len(self.data) <= _HUB_BODY:
            return work(argument)
        found: Found = self.aside(work, argument)
        return found


class Reader:
    """Base of the readers, which are made of settings; making one raises ValueError for a mistake in them."""

    wants_json: ClassVar[bool] = False

    def read(self, body: Body) -> Found:
        """Return what a body has; raises CollectError for what is no fault of the body."""
        try:
            found = self._read(body)
        except Fault as fault:
            found = Found(faults=[("", str(fault))])
        if not found.figures:  # what an answer without any says is most likely the reason
            told = f"; the answer is {body.snippet}"
            found.faults = [
                (part, text if body.snippet in text else text + told) for part, text in found.faults
            ]
        return found

    def _read(self, body: Body) -> Found:
        """Return what a body has; raises Fault when it is not of this kind at all."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Numerals:
    """How numbers that came as text are written: `decimal` is their decimal sign, empty when not known."""

    decimal: str = ""

    def figure(self, part: str, value: Any, where: str, time: Any = None, when: str = "") -> Figure:
        """Return a number with the time at `when`, if one is wanted; raises Fault for what is none."""
        try:
            number = parse_number(value, self.decimal)
        except ValueError as error:
            raise Fault(f"{where} {error}") from None
        if not when:
            return Figure(part, number, None)
        try:
            ts = parse_time(time)
        except ValueError as error:
            raise Fault(f"its time, {when}, {error}") from None
        if ts > now() + _AHEAD:
            raise Fault(f"its time, {when}, is {iso(ts)}, which is yet to come")
        return Figure(part, number, ts)


# -- JSON ---------------------------------------------------------------------------------------------


class JsonReader(Reader):
    """One value, several by name, or those of each element of a list."""

    wants_json = True

    def __init__(
        self, values: Mapping[str, str], list_: str, label: str, time: str, numerals: Numerals
    ) -> None:
        self._values = {part: Path(path) for part, path in values.items()}
        self._list = Path(list_) if list_ else None
        self._label = Path(label) if label else None
        self._time = Path(time) if time else None
        self._numerals = numerals

    def _read(self, body: Body) -> Found:
        return body.run(self._search, body.document)

    def _search(self, document: Any) -> Found:
        found = Found()
        if self._list is None:
            self._take(found, "", document)
            return found
        for label, element in _distinct(self._elements(document), found):
            self._take(found, label, element)
        return found

    def _take(self, found: Found, label: str, element: Any) -> None:
        for key, path in self._values.items():
            part = ".".join(filter(None, (label, key)))
            found.take(part, lambda part=part, path=path: self._figure(part, path, element))  # type: ignore[misc]

    def _figure(self, part: str, path: Path, element: Any) -> Figure:
        value = path.one(element)
        if isinstance(value, bool):  # in JSON a flag is a flag, whatever it is called
            value = int(value)
        where = "the element" if self._list is not None and path.text in ("$", "@") else path.text
        if self._time is None:
            return self._numerals.figure(part, value, where)
        return self._numerals.figure(part, value, where, self._time.one(element), self._time.text)

    def _elements(self, document: Any) -> Iterator[tuple[Any, Any]]:
        assert self._list is not None
        elements: Sequence[tuple[str | int, Any]]
        if self._list.singular:  # it names the list itself
            whole = self._list.one(document)
            if not isinstance(whole, list | dict):
                raise Fault(f"{self._list.text} is {shown(whole)}, which is no list")
            elements = list(whole.items() if isinstance(whole, dict) else enumerate(whole))
        else:
            elements = self._list.find(document, MAX_ELEMENTS + 1)
        _check_count(elements, self._list.text)
        for name, element in elements:
            yield (name if self._label is None else self._labelled(self._label, element)), element

    def _labelled(self, label: Path, element: Any) -> Any:
        try:
            return label.one(element)
        except Fault as fault:
            return fault


def _check_count(elements: Sequence[Any], what: str) -> None:
    if not elements:
        raise Fault(f"{what} has no elements")
    if len(elements) > MAX_ELEMENTS:
        raise Fault(f"{what} has more than {MAX_ELEMENTS} elements (choose those that are wanted)")


def _distinct(elements: Iterator[tuple[Any, Any]], found: Found) -> Iterator[tuple[str, Any]]:
    """Yield elements by the slugs of their labels; a label of several is a fault, and none of them counts."""
    by_label: dict[str, list[Any]] = {}
    for label, element in elements:
        if isinstance(label, Fault):
            found.faults.append(("", f"an element has no label, {label}"))
        elif not isinstance(label, str | int) or isinstance(label, bool) or slug(str(label)) == "_":
            found.faults.append(("", f"the label {shown(label)} has no letter or digit"))
        else:
            by_label.setdefault(slug(str(label)), []).append(element)
    for label, alike in by_label.items():
        if len(alike) > 1:
            found.faults.append((label, f"{len(alike)} elements have this label"))
        else:
            yield label, alike[0]


# -- CSV ----------------------------------------------------------------------------------------------


class CsvReader(Reader):
    """Columns of the first row, of the last, or of every row by the label in a column of it.

    A column is a name, or a number from 1. With a header the first row holds the names.
    """

    def __init__(
        self,
        values: Mapping[str, str],
        row: str,
        label: str,
        time: str,
        header: bool,
        delimiter: str,
        numerals: Numerals,
    ) -> None:
        for column in filter(None, (*values.values(), label, time)):
            if (column.isdecimal() and not int(column)) or not (header or column.isdecimal()):
                raise ValueError(
                    f"{column!r} is no column (a number from 1, or a name where there is a header)"
                )
        self._values, self._row, self._label, self._time = values, row, label, time
        self._header = header
        self._delimiter = delimiter
        self._numerals = numerals

    def _read(self, body: Body) -> Found:
        return body.run(self._search, body.data)

    def _search(self, data: bytes) -> Found:
        found = Found()
        names, rows = self._table(data)
        if not names and not rows:
            raise Fault("the table is empty")
        places = {
            column: self._place(column, names)
            for column in filter(None, (*self._values.values(), self._label, self._time))
        }
        if not rows:
            raise Fault("the table has no rows")
        if self._label:
            _check_count(rows, "the table")
            place = places[self._label]
            labelled = ((row[place] if place < len(row) else None, row) for row in rows)
            for label, row in _distinct(labelled, found):
                self._take(found, label, row, places)
        else:
            self._take(found, "", rows[0 if self._row == "first" else -1], places)
        return found

    def _table(self, data: bytes) -> tuple[list[str], list[list[str]]]:
        text = io.StringIO(data.decode("utf-8-sig", "replace"), newline="")
        lines = csv.reader(text, delimiter=self._delimiter, skipinitialspace=True)
        filled = (row for row in lines if any(cell.strip() for cell in row))
        try:
            names = [name.strip() for name in next(filled, [])] if self._header else []
            rows = list(islice(filled, MAX_ELEMENTS + 1 if self._label else 1))
            if not self._label and self._row != "first":
                for row in filled:
                    rows[0] = row
        except csv.Error as error:
            raise Fault(f"the answer is not CSV: {error}") from None
        return names, rows

    def _place(self, column: str, names: list[str]) -> int:
        count = names.count(column)
        if count == 1:
            return names.index(column)
        if column.isdecimal() and not count:
            return int(column) - 1
        have = shown(", ".join(names[:10]))
        raise Fault(f"{'more than one' if count else 'no'} column {column!r} (the first row is {have})")

    def _take(self, found: Found, label: str, row: list[str], places: Mapping[str, int]) -> None:
        for key, column in self._values.items():
            part = ".".join(filter(None, (label, key)))
            found.take(part, lambda part=part, column=column: self._figure(part, column, row, places))  # type: ignore[misc]

    def _figure(self, part: str, column: str, row: list[str], places: Mapping[str, int]) -> Figure:
        def cell(column: str) -> str:
            if places[column] >= len(row):
                raise Fault(f"the row has no column {column}")
            return row[places[column]]

        if not self._time:
            return self._numerals.figure(part, cell(column), f"column {column}")
        when = f"column {self._time}"
        return self._numerals.figure(part, cell(column), f"column {column}", cell(self._time), when)


# -- text ---------------------------------------------------------------------------------------------


class NumberReader(Reader):
    """The body is one number."""

    def __init__(self, numerals: Numerals) -> None:
        self._numerals = numerals

    def _read(self, body: Body) -> Found:
        found = Found()
        if len(body.data) > _NUMBER_BODY:
            raise Fault("the answer is no number")
        text = body.data.decode("utf-8-sig", "replace").strip()
        if len(text) > 1 and text[0] == text[-1] == '"':  # a JSON text
            text = text[1:-1]
        found.take("", lambda: self._numerals.figure("", text, "the answer"))
        return found


class RegexReader(Reader):
    """The first match of a regular expression: its only group, or the one named `value`."""

    def __init__(self, regex: str, time: str, numerals: Numerals) -> None:
        if len(regex) > MAX_PATTERN:
            raise ValueError(f"a regular expression of more than {MAX_PATTERN} characters")
        try:
            compiled = re.compile(regex)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"{regex!r} is not a regular expression: {error}") from None
        groups = compiled.groupindex
        if time and time not in groups:
            raise ValueError(f"{regex!r} has no group named {time!r} for the time (write (?P<{time}>…))")
        numbers = set(range(1, compiled.groups + 1)) - ({groups[time]} if time else set())
        if "value" in groups:
            numbers = {groups["value"]}
        if len(numbers) != 1:
            told = "more than one group" if numbers else "no group"
            raise ValueError(f"{regex!r} has {told} (one around the number, or one named (?P<value>…))")
        self._groups = [*numbers, *([groups[time]] if time else [])]
        self._pattern = regex
        self._when = f"group {time}" if time else ""
        self._numerals = numerals

    def _read(self, body: Body) -> Found:
        found = Found()
        groups = search(self._pattern, self._groups, body.data)
        if groups is None:
            raise Fault("the regular expression matches nothing")
        value, time = (*groups, None)[:2]
        found.take("", lambda: self._numerals.figure("", value, "the match", time, self._when))
        return found


def check_part(name: str) -> None:
    """Raise ValueError unless `name` can follow a symbol."""
    if not is_symbol(name):
        raise ValueError(f"{name!r} cannot be part of a symbol (lower-case letters, digits, _ and .)")
