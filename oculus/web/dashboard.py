"""The dashboard: the page, and its live part as a whole or in pieces.

All pages that show the same view share one `Feed`, so that what has changed is found and rendered once a
moment however many watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from oculus.errors import StorageError
from oculus.model import RuleState
from oculus.web import figures, inputs
from oculus.web.board import Board, Entry, panel_title
from oculus.web.services import Services
from oculus.web.templates import Templates
from oculus.web.view import SORTS, Selection, Shown, View, ordered

if TYPE_CHECKING:
    from oculus.web.pages import Alert

RECENT_SHOWN = 5  # alerts on the dashboard
RATE_OVER = 5.0  # seconds at least over which samples are counted for their rate

# A feed that nobody asked for this long is forgotten; so many are kept at most.
UNUSED = 60.0  # seconds
MOST_FEEDS = 64


@dataclass(frozen=True, slots=True)
class Choice:
    """A category that can be chosen."""

    category: str
    title: str


@dataclass(frozen=True, slots=True)
class HeadContext:
    """`fragments/head.html`: what holds for the whole dashboard. `rate` are the samples per second."""

    up: int
    down: int
    unknown: int
    series: int
    rate: str
    size: str
    firing: list[RuleState]
    pending: list[RuleState]
    not_ready: str


@dataclass(frozen=True, slots=True)
class RecentContext:
    """`fragments/recent.html`: the newest alerts."""

    recent: Sequence[Alert]


@dataclass(frozen=True, slots=True)
class MetricsContext(HeadContext):
    """`fragments/metrics.html`: the dashboard's live part; `seen` tells which rows it shows."""

    recent: Sequence[Alert]
    panels: list[Shown]
    view: View
    total: int
    number: int
    pages: int
    first: int
    last: int
    seen: str


@dataclass(frozen=True, slots=True)
class DashboardContext(MetricsContext):
    """`pages/dashboard.html`; `wall` is for a screen that nobody works at."""

    choices: list[Choice]
    sorts: tuple[str, ...]
    wall: bool


class Feed:
    """What one view shows at a `version` of the board; `ordered` is the one at which rows last came, went or
    changed places."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.selection = Selection([], 0, 1, 1)
        self.version = 0
        self.ordered = 0
        self.used = time.monotonic()
        self._order: tuple[object, ...] = ()

    def take(self, entries: Sequence[Entry], version: int) -> None:
        """Take in the rows as they are at a version of the board."""
        selection = self.selection = self.view.select(entries)
        self.version = version
        counts = [(panel.category, panel.count, panel.down) for panel in selection.panels]
        order = (selection.total, *counts, *(entry.row.symbol for entry in selection.entries))
        if order != self._order:
            self._order = order
            self.ordered = version


class Dashboard:
    """Builds the dashboard's contexts and renders them. `recent` reads the newest alerts of the store."""

    def __init__(
        self, services: Services, templates: Templates, recent: Callable[[int], Sequence[Alert]]
    ) -> None:
        self._services = services
        self._templates = templates
        self._read_recent = recent
        self.board = Board(services, templates)
        self._entries: list[Entry] = []
        self._feeds: dict[View, Feed] = {}
        self._recent: Sequence[Alert] = ()
        self._recent_of = -1  # the event that was the last when they were read
        self._counted = time.monotonic(), services.stored()  # when samples were counted, and how many
        self._rate = 0.0

    def page(self) -> str:
        """GET /"""
        metrics = self._metrics(self.look(View.of_request()))
        categories = ordered({entry.panel for entry in self._entries})
        context = DashboardContext(
            **{field.name: getattr(metrics, field.name) for field in fields(metrics)},
            choices=[Choice(category, panel_title(category)) for category in categories],
            sorts=SORTS,
            wall=inputs.given("kiosk"),
        )
        return self._templates.page("dashboard", context)

    def fragment(self) -> str:
        """GET /partials/metrics"""
        return self.whole(self.look(View.of_request()))

    # -- what open pages are kept up to date with ---------------------------------------------------------

    def knows(self, feed: Feed) -> bool:
        """Tell whether a feed is still brought up to date; being asked keeps it so."""
        feed.used = time.monotonic()
        return self._feeds.get(feed.view) is feed

    def look(self, view: View) -> Feed:
        """Return what a view shows now."""
        feed = self._feeds.get(view)
        if feed is None:
            while len(self._feeds) >= MOST_FEEDS:
                del self._feeds[min(self._feeds, key=lambda known: self._feeds[known].used)]
            feed = self._feeds[view] = Feed(view)
        feed.used = time.monotonic()
        self._entries = self.board.look()
        feed.take(self._entries, self.board.version)
        return feed

    def look_again(self) -> None:
        """Bring all feeds up to date, and forget those that nobody uses."""
        self._entries = self.board.look()
        at = time.monotonic()
        for view, feed in list(self._feeds.items()):
            if at - feed.used > UNUSED:
                del self._feeds[view]
            else:
                feed.take(self._entries, self.board.version)

    def stamp(self, feed: Feed) -> str:
        """Return what tells which rows a page of a feed has: of this process, and of which look."""
        return f"{self.board.name}.{feed.version}"

    def seen(self, version: str) -> int | None:
        """Return the board's version that a page has seen; None for another process's."""
        name, _, number = version.partition(".")
        return int(number) if name == self.board.name and number.isdecimal() else None

    def whole(self, feed: Feed) -> str:
        """Return the live part of a view."""
        return self._templates.fragment("metrics", self._metrics(feed))

    def head(self) -> str:
        """Return what holds for the whole dashboard."""
        return self._templates.fragment("head", HeadContext(**self._head()))

    def recent(self) -> str:
        """Return the newest alerts."""
        return self._templates.fragment("recent", RecentContext(self._newest_alerts()))

    # -- contexts -----------------------------------------------------------------------------------------

    def _metrics(self, feed: Feed) -> MetricsContext:
        selection = feed.selection
        return MetricsContext(
            **self._head(),
            recent=self._newest_alerts(),
            panels=selection.panels,
            view=feed.view,
            total=selection.total,
            number=selection.number,
            pages=selection.pages,
            first=selection.first,
            last=selection.last,
            seen=self.stamp(feed),
        )

    def _head(self) -> dict[str, Any]:
        services = self._services
        rules = services.rules()
        rows = [entry.row for entry in self._entries]
        return {
            "up": sum(row.state == "up" and not row.stale for row in rows),
            "down": sum(row.state == "down" and not row.stale for row in rows),
            "unknown": sum(row.state != "" and (row.state == "unknown" or row.stale) for row in rows),
            "series": len(services.latest),
            "rate": figures.rate_text(self._samples_per_second()),
            "size": figures.size_text(services.storage().size),
            "firing": [rule for rule in rules if rule.state == "firing"],
            "pending": [rule for rule in rules if rule.state == "pending"],
            "not_ready": services.not_ready(),
        }

    def _samples_per_second(self) -> float:
        at, count = time.monotonic(), self._services.stored()
        elapsed = at - self._counted[0]
        if elapsed >= RATE_OVER:
            self._rate = (count - self._counted[1]) / elapsed
            self._counted = at, count
        return self._rate

    def _newest_alerts(self) -> Sequence[Alert]:
        """Return the newest alerts, read again only after further events; what was read last while the store
        cannot be read: all else is in memory."""
        last = self._services.last_event()
        if last != self._recent_of or last < 0:
            try:
                self._recent = self._read_recent(RECENT_SHOWN)
                self._recent_of = last
            except StorageError:
                pass
        return self._recent
