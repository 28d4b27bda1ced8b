"""The dashboard's rows: one for each target, and one for each series that belongs to none.

A row is made anew, and its HTML with it, only when something of it has changed; so a page, and the next
moment of all pages that are open, cost what has changed and not what there is.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from gevent.lock import BoundedSemaphore
from markupsafe import Markup

from oculus.clock import iso
from oculus.cooperate import slices
from oculus.model import Micros
from oculus.storage.latest import Series
from oculus.web import figures
from oculus.web.services import Services
from oculus.web.templates import Templates
from oculus.web.yesterday import Yesterday

# What the categories are called, in the order of the page; others follow by name.
TITLES = {
    "net.http": "HTTP",
    "net.tcp": "TCP",
    "net.ping": "Ping",
    "net.dns": "DNS",
    "net.tls": "Certificates",
    "crypto.price": "Crypto",
    "crypto.sentiment": "Crypto sentiment",
    "crypto.onchain": "Crypto on-chain",
    "stock.price": "Stocks",
    "stock.index": "Indices",
    "stock.etf": "ETFs",
    "market.valuation": "Valuation",
    "pred.poly": "Predictions",
    "pred.prob": "Probabilities",
    "custom": "Custom",
    "heartbeat": "Heartbeats",
    "exec": "Commands",
    "host": "Host",
    "oculus": "Oculus",
}

# Kinds with few series to a category: they share one panel, since one for each would fill the page.
_SHARED = frozenset({"heartbeat", "exec", "host", "oculus"})

# Of a target's series, the one that is shown large, and those that stand small beside it.
_MAIN = ("rtt", "up")
_FACTS = ("status", "loss", "cert_days", "dns", "connect", "tls", "ttfb", "duration")
_FACT_NAMES = {"cert_days": "cert", "ttfb": "first byte", "volume_24h": "volume"}

# What stands beside a price, in series of its own; the first that is there is its change.
_CHANGES = ("change_24h", "change_day")
_FIGURES = (*_CHANGES, "bid", "ask", "volume_24h", "market_open")
_QUOTED = ("crypto.", "stock.", "market.", "pred.")

DAY_CHANGE, SHORT_CHANGE = "in 24 hours", "since the line beside it begins"


@dataclass(frozen=True, slots=True)
class Fact:
    """A small figure beside a target's main one."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One target, or one series that belongs to none. `state` is up, down, unknown, or empty where none fits.

    `note` is a word about a value that does not move, such as `closed`; `over` is what `change` is measured
    over. `value`, `moved` (percent) and `ts` are what rows are sorted by.
    """

    symbol: str
    title: str
    state: str
    text: str
    unit: str
    trend: str
    change: str
    over: str
    spark: str
    facts: list[Fact]
    reason: str
    at: str
    stale: bool
    note: str
    value: float
    moved: float
    ts: Micros


@dataclass(frozen=True, slots=True)
class RowContext:
    """`fragments/row.html`: one row."""

    row: Row


class Entry:
    """A row with the panel that it stands in. `version` is the board's when it was made."""

    __slots__ = ("_html", "_templates", "panel", "row", "seen", "version")

    def __init__(
        self, panel: str, row: Row, seen: tuple[object, ...], version: int, templates: Templates
    ) -> None:
        """`seen` is what the row was made of: as long as that is the same, so is the row."""
        self.panel = panel
        self.row = row
        self.seen = seen
        self.version = version
        self._templates = templates
        self._html: Markup | None = None

    @property
    def html(self) -> Markup:
        """The row as it stands on the page."""
        if self._html is None:
            self._html = Markup(self._templates.fragment("row", RowContext(self.row)))  # noqa: S704
        return self._html

    @property
    def failing(self) -> bool:
        """Whether somebody should look at it."""
        return self.row.state == "down" or self.row.stale


class Board:
    """All rows by symbol, brought up to date when asked.

    `name` is of this process, `version` grows with each look that found a change.
    """

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates
        self._yesterday = Yesterday(services)
        self._groups: list[tuple[str, list[Series]]] = []
        self._members = -1  # the generation of the series that the groups are of
        self._entries: dict[str, Entry] = {}
        self._turn = BoundedSemaphore(1)
        self.name = secrets.token_hex(4)
        self.version = 0

    def look(self) -> list[Entry]:
        """Return all rows as they are now. One look at a time: a version is of one look alone."""
        with self._turn:
            return self._look()

    def _look(self) -> list[Entry]:
        latest = self._services.latest
        if self._members != latest.generation:
            self._members = latest.generation
            self._groups = [(stem, list(group)) for stem, group in groupby(slices(latest), key=_stem)]
            stems = {stem for stem, _ in self._groups}
            self._entries = {stem: entry for stem, entry in self._entries.items() if stem in stems}
            self.version += 1
        self._yesterday.refresh()
        version, changed = self.version + 1, False
        found = []
        for stem, group in slices(self._groups):
            entry = self._entries.get(stem)
            seen = self._seen(group)
            if entry is None or entry.seen != seen:
                panel, row = self._row(stem, group)
                if entry is None or (entry.panel, entry.row) != (panel, row):
                    entry = Entry(panel, row, seen, version, self._templates)
                    changed = True
                entry.seen = seen
                self._entries[stem] = entry
            found.append(entry)
        if changed:
            self.version = version
        return found

    def _seen(self, group: list[Series]) -> tuple[object, ...]:
        """Return what a row is made of, but for what is looked up with it."""
        newest = max(group, key=_ts)
        first = group[0]
        services = self._services
        return (
            newest.ts, first.ts, len(first.history), services.stale(newest), services.state(first.symbol),
            self._yesterday.version,
        )  # fmt: skip

    def _row(self, stem: str, group: list[Series]) -> tuple[str, Row]:
        by_part = {series.symbol[len(stem) + 1 :]: series for series in group}
        up = by_part.get("up")
        main = next((by_part[part] for part in _MAIN if part in by_part), group[0])
        state = "" if up is None else "up" if up.value >= 0.5 else "down"
        unknown = by_part.get("unknown")
        # What failed for a reason of ours says nothing about the target.
        doubted = unknown if unknown is not None and unknown.value >= 0.5 else None
        if doubted is not None:
            state = "unknown"
        newest = doubted or up or main
        stale = self._services.stale(newest)
        down = state == "down"
        shape = figures.shape(main.history)
        text, unit = figures.measure(main.value, main.unit)
        panel = panel_of(main.category)
        title = (stem if up or unknown else main.symbol).removeprefix(panel).lstrip(".") or stem
        # Odds are many to a market: the outcome is the title, and the market stands below.
        market, dot, outcome = title.rpartition(".") if panel.startswith("pred.") else ("", "", "")
        owner = [Fact("", market)] if dot else []
        title = outcome if dot else _spoken(panel, title)
        change, over = ("", "") if up else self._change(main, by_part, shape)
        direction = {"+": "up", "−": "down"}.get(change[:1], "flat")
        return panel, Row(
            symbol=main.symbol,
            title=title,
            state=state,
            text="unknown" if doubted else "down" if down else text,
            unit="" if down or doubted else unit,
            trend="flat" if down or doubted else shape.trend if up or not change else direction,
            change=change,
            over=over,
            spark=shape.spark,
            facts=[*owner, *(_facts(by_part, newest.ts) if up else _figures(by_part, newest.ts))],
            reason=up.tags.get("error", "") if up is not None and down else "",
            at=iso(newest.ts),
            stale=stale,
            note=doubted.tags.get("reason", "")
            if doubted
            else ""
            if stale
            else self._services.state(main.symbol),
            value=main.value,
            moved=figures.percent(change),
            ts=newest.ts,
        )

    def _change(self, main: Series, by_part: dict[str, Series], shape: figures.Shape) -> tuple[str, str]:
        """Return how much a value has moved, and over what: 24 hours where its source or the store knows."""
        told = next((by_part[part] for part in _CHANGES if part in by_part), None)
        if told is not None and told.ts == main.ts:
            return figures.percent_text(told.value), DAY_CHANGE
        before = self._yesterday.value(main.symbol)
        if before is not None:
            change = figures.change_text((before, main.value))
            if change:
                return change, DAY_CHANGE
        return shape.change, SHORT_CHANGE if shape.change else ""


def _ts(series: Series) -> Micros:
    return series.ts


def _spoken(panel: str, title: str) -> str:
    """Return a title as traders write it: `BTC/USD`, `TSLA`."""
    if panel == "crypto.price":
        return title.upper().replace("_", "/")
    return title.upper() if panel.startswith("stock.") else title


def panel_of(category: str) -> str:
    """Return the panel that a category stands in."""
    kind = category.partition(".")[0]
    return kind if kind in _SHARED else category


def panel_title(panel: str) -> str:
    """Return what a panel is called."""
    return TITLES.get(panel, panel)


def _stem(series: Series) -> str:
    """Return what the series of one target share; a series of no target stands alone."""
    stem, _, part = series.symbol.rpartition(".")
    if series.category.startswith(("net.", "heartbeat.")):
        return stem
    return stem if part in _FIGURES and series.category.startswith(_QUOTED) else series.symbol


def _figures(by_part: dict[str, Series], newest: Micros) -> Iterator[Fact]:
    """Yield what came with a quote; its change stands with the price."""
    for part in _FIGURES:
        series = by_part.get(part)
        if series is None or series.ts != newest or part == "market_open" or part in _CHANGES:
            continue
        yield Fact(_FACT_NAMES.get(part, part), figures.value_text(series.value, series.unit))


def _facts(by_part: dict[str, Series], newest: Micros) -> Iterator[Fact]:
    """Yield the small figures of the last run; what an older run measured is not shown beside it."""
    for part in _FACTS:
        series = by_part.get(part)
        if series is None or series.ts != newest or (part == "tls" and not series.value):
            continue
        if part == "loss" and not series.value:
            continue
        unit = "d" if part == "cert_days" else figures.unit_text(series.unit)
        value = round(series.value) if part == "cert_days" else series.value
        text = figures.value_text(value, series.unit) + (f" {unit}" if unit else "")
        yield Fact(_FACT_NAMES.get(part, part), text)
