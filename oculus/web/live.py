"""Server-sent events: open pages are told what has changed, instead of asking again and again.

One greenlet looks once a moment while anybody watches; each connection then sends what its page has not seen
yet. So a slow client holds nobody up and makes nothing pile up: it is sent less, and what is newest then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import gevent
from bottle import response
from gevent.event import Event
from loguru import logger

from oculus.clock import iso
from oculus.model import Micros, is_symbol
from oculus.web import inputs
from oculus.web.dashboard import Dashboard, Feed
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services
from oculus.web.view import View

TICK = 1.0  # seconds between two looks: as often as people can follow
# Something is sent at least this often, so that each side notices when the other is gone.
BEAT = 10.0  # seconds

MOST_VIEWERS = 200  # connections; further pages ask instead
MOST_SYMBOLS = 20  # of one chart

_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class Live:
    """The streams of events. `stop` ends the looking."""

    def __init__(self, services: Services, dashboard: Dashboard) -> None:
        self._services = services
        self._dashboard = dashboard
        self._looked = Event()  # set and cleared at each look
        self._looker: gevent.Greenlet[[], None] | None = None
        self._pieces: dict[tuple[int, int, int], bytes] = {}  # of the last look, for viewers of the same view
        self._head = self._recent = ""
        self.viewers = 0

    def dashboard(self) -> Iterator[bytes]:
        """GET /live: the dashboard's changes, from the version that `seen` or Last-Event-ID tells."""
        view = View.of_request()
        seen = self._dashboard.seen(inputs.header("Last-Event-ID") or inputs.query("seen"))
        return self._stream(self._changes(view, seen))

    def series(self) -> Iterator[bytes]:
        """GET /live/series: each new sample of the series that `symbol` names, once or more."""
        symbols = inputs.queries("symbol")
        if not 1 <= len(symbols) <= MOST_SYMBOLS or not all(map(is_symbol, symbols)):
            raise bad_request(f"name 1 to {MOST_SYMBOLS} series, each as symbol=…")
        return self._stream(self._samples(tuple(dict.fromkeys(symbols))))

    # -- connections ----------------------------------------------------------------------------------------

    def _stream(self, events: Iterator[bytes]) -> Iterator[bytes]:
        if self.viewers >= MOST_VIEWERS:
            told = "too many pages are open; ask again in a while"
            raise Problem(503, "too_many_viewers", told, retry_after=30)
        response.content_type = "text/event-stream; charset=utf-8"
        response.headers.update(_HEADERS)
        return self._watched(events)

    def _watched(self, events: Iterator[bytes]) -> Iterator[bytes]:
        self.viewers += 1
        try:
            if self._looker is None:
                self._looker = gevent.spawn(self._look)
            yield b"retry: 2000\n\n"
            yield from events
        finally:
            self.viewers -= 1

    def _waits(self) -> Iterator[bool]:
        """Wait for one look after the other; True: it is time for a beat."""
        told = time.monotonic()
        while True:
            self._looked.wait(BEAT)
            beat = time.monotonic() - told >= BEAT
            if beat:
                told = time.monotonic()
            yield beat

    def _changes(self, view: View, seen: int | None) -> Iterator[bytes]:
        dashboard = self._dashboard
        feed = dashboard.look(view)
        if seen is None or seen < feed.ordered:
            seen = feed.version
            yield _event("all", dashboard.whole(feed), dashboard.stamp(feed))
        # The page has been made by the moment it asks, or just before: its head may have changed since.
        head = recent = ""
        for beat in self._waits():
            if not dashboard.knows(feed):
                feed, seen = dashboard.look(view), -1
            out = []
            if seen < feed.ordered:
                out.append(self._piece(feed, -1))
                head, recent = self._head, self._recent
            elif seen < feed.version:
                out.append(self._piece(feed, seen))
            seen = feed.version
            if self._head != head:
                head = self._head
                out.append(_event("head", head))
            if self._recent != recent:
                recent = self._recent
                out.append(_event("recent", recent))
            if beat:
                out.append(_event("beat", ""))
            if data := b"".join(out):
                yield data

    def _piece(self, feed: Feed, seen: int) -> bytes:
        """Return the event of what has changed for a view since a version; -1: all of it."""
        stamp = self._dashboard.stamp(feed)
        key = id(feed), seen, feed.version
        known = self._pieces.get(key)
        if known is None:
            if seen < 0:
                known = _event("all", self._dashboard.whole(feed), stamp)
            else:
                rows = [entry.html for entry in feed.selection.entries if entry.version > seen]
                known = _event("rows", "".join(rows), stamp)
            self._pieces[key] = known
        return known

    def _samples(self, symbols: tuple[str, ...]) -> Iterator[bytes]:
        latest = self._services.latest
        seen: dict[str, Micros] = {}
        for symbol in symbols:
            series = latest.get(symbol)
            if series is not None:
                seen[symbol] = series.ts
        for beat in self._waits():
            out = []
            for symbol in symbols:
                series = latest.get(symbol)
                if series is not None and series.ts != seen.get(symbol):
                    seen[symbol] = series.ts
                    told = {"symbol": symbol, "ts": iso(series.ts), "value": series.value}
                    out.append(_event("sample", json.dumps(told)))
            if beat:
                out.append(_event("beat", ""))
            if out:
                yield b"".join(out)

    # -- the one that looks ---------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look as long as anybody watches."""
        try:
            while self.viewers:
                try:
                    self._dashboard.look_again()
                    self._pieces.clear()
                    self._head, self._recent = self._dashboard.head(), self._dashboard.recent()
                except Exception as error:  # the next look may go well, and the pages have their last one
                    logger.opt(exception=error).error("open pages could not be brought up to date")
                self._looked.set()
                self._looked.clear()
                gevent.sleep(TICK)
        finally:
            self._looker = None


def _event(name: str, text: str, version: str = "") -> bytes:
    """Return an event as it is sent; a line of data for each line of the text."""
    data = text.replace("\r", "").replace("\n", "\ndata: ")
    head = f"id: {version}\n" if version else ""
    return f"{head}event: {name}\ndata: {data}\n\n".encode()
