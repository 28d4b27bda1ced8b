"""What a visitor wants to see of the dashboard: filter, order and page, as they stand in the URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from oculus.web import inputs
from oculus.web.board import TITLES, Entry, panel_title

# Rows to a page: what a phone still scrolls through smoothly. A wall screen has more, small ones.
ROWS = 240

SHOWN = ("failing", "up", "down", "unknown", "stale")
SORTS = ("name", "value", "change", "age")

MAX_TEXT = 200  # characters of a filter

_ORDER = {category: place for place, category in enumerate(TITLES)}

_KEYS: dict[str, Callable[[Entry], Any]] = {
    # What fails stands first unless another order is asked for.
    "": lambda entry: (not entry.failing, entry.row.state != "down", entry.row.symbol),
    "name": lambda entry: entry.row.symbol,
    "value": lambda entry: (-entry.row.value, entry.row.symbol),
    "change": lambda entry: (-abs(entry.row.moved), entry.row.symbol),
    "age": lambda entry: (entry.row.ts, entry.row.symbol),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A category with those of its rows that stand on a page; `count` and `down` are of all that fit."""

    category: str
    entries: list[Entry]
    count: int
    down: int

    @property
    def title(self) -> str:
        """What it is called."""
        return panel_title(self.category)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a view shows: rows by category, out of `total` that fit. `number` is the page's, `first` and
    `last` count its rows from 1."""

    panels: list[Shown]
    total: int
    number: int
    pages: int

    @property
    def first(self) -> int:
        """The number of the first row on the page."""
        return (self.number - 1) * ROWS + 1

    @property
    def last(self) -> int:
        """The number of the last row on the page."""
        return min(self.number * ROWS, self.total)

    @property
    def entries(self) -> list[Entry]:
        """The rows on the page, in order."""
        return [entry for panel in self.panels for entry in panel.entries]


@dataclass(frozen=True, slots=True)
class View:
    """A filter by text, category and state, an order, and a page from 1 on; empty texts ask for nothing."""

    text: str = ""
    category: str = ""
    state: str = ""
    sort: str = ""
    page: int = 1
    dense: bool = False

    @classmethod
    def of_request(cls) -> View:
        """Return the view that a request asks for; what it does not understand is left out."""
        state, sort, page = inputs.query("state"), inputs.query("sort"), inputs.query("page")
        return cls(
            text=inputs.query("q").strip().lower()[:MAX_TEXT],
            category=inputs.query("category")[:MAX_TEXT],
            state=state if state in SHOWN else "",
            sort=sort if sort in SORTS else "",
            page=int(page) if page.isdecimal() and 1 <= len(page) <= 6 and int(page) else 1,
            dense=bool(inputs.query("dense")),
        )

    def url(self, **changed: object) -> str:
        """Return the parameters of this view, or of one that differs from it, with their question mark."""
        values: dict[str, object] = {
            "q": self.text, "category": self.category, "state": self.state, "sort": self.sort,
            "page": self.page if self.page > 1 else "", "dense": "1" if self.dense else "",
        } | changed  # fmt: skip
        query = urlencode({name: value for name, value in values.items() if value})
        return f"?{query}" if query else ""

    @property
    def asks(self) -> bool:
        """Whether some rows are left out by it."""
        return bool(self.text or self.category or self.state)

    def select(self, entries: Sequence[Entry]) -> Selection:
        """Return what it shows of all rows."""
        by_panel: dict[str, list[Entry]] = {}
        total = 0
        for entry in entries:
            if self._fits(entry):
                by_panel.setdefault(entry.panel, []).append(entry)
                total += 1
        pages = max(1, -(-total // ROWS))
        number = min(self.page, pages)
        start = (number - 1) * ROWS
        end, at = start + ROWS, 0
        shown = []
        for category in ordered(by_panel):
            fitting = by_panel[category]
            if start < at + len(fitting) and at < end:
                part = sorted(fitting, key=_KEYS[self.sort])[max(0, start - at) : end - at]
                down = sum(entry.row.state == "down" for entry in fitting)
                shown.append(Shown(category, part, len(fitting), down))
            at += len(fitting)
        return Selection(shown, total, number, pages)

    def _fits(self, entry: Entry) -> bool:
        row = entry.row
        if self.category and entry.panel != self.category:
            return False
        if self.state == "failing":
            if not entry.failing:
                return False
        elif self.state == "stale":
            if not row.stale:
                return False
        elif self.state and (row.state != self.state or row.stale):
            return False
        return not self.text or self.text in row.symbol or self.text in row.title.lower()


def ordered(categories: Iterable[str]) -> list[str]:
    """Return categories in the order of the page."""
    return sorted(categories, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
