"""multpl.com: pages with a ratio of the S&P 500, and its table by month."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from tests.standins.base import Answer, Request, StandIn
from tests.standins.faults import Fault
from tests.standins.sessions import INDEX, session
from tests.standins.text import payload

TITLES = {
    "s-p-500-pe-ratio": "S&amp;P 500 PE Ratio",
    "shiller-pe": "Shiller PE Ratio",
    "s-p-500-dividend-yield": "S&amp;P 500 Dividend Yield",
    "s-p-500-price-to-sales": "S&amp;P 500 Price to Sales Ratio",
}
NUMBER = re.compile(r"\d+\.\d\d(?= *(?:, a change|\n<span|</td>))")  # no other number of the pages


class Multpl(StandIn):
    """The ratio is the market's `sp_pe`, whatever the page; it changes when the exchange closes."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /{ratio}": "current",
        "GET /{ratio}/table/by-month": "table",
    }

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer("<html><body>Too Many Requests</body></html>", 429, headers, "text/html")

    def not_found(self, request: Request) -> Answer:
        return Answer("<html><body>Page not found</body></html>", 404, type="text/html")

    def spoiled(self, body: Any, fault: Fault) -> Any:
        if fault.kind == "renamed":
            return body.replace('id="current"', 'id="value"').replace("Current", "Today's")
        return NUMBER.sub("" if fault.kind == "null" else "NaN", body)

    def current(self, request: Request, ratio: str) -> Answer:
        """GET the page of a ratio."""
        if ratio not in TITLES:
            return self.not_found(request)
        at = self._closed(self.market.now())
        value, before = self._value(at), self._value(self._closed(at - 1))
        when = datetime.fromtimestamp(at, ZoneInfo(INDEX.zone))
        page = payload("multpl-current-page.txt").replace("S&amp;P 500 PE Ratio", TITLES[ratio])
        page = page.replace("29.41", f"{value:.2f}").replace("+0.09 (", f"{value - before:+.2f} (")
        page = page.replace("+0.09", f"{value - before:+.2f}").replace(
            "0.31%", f"{(value / before - 1) * 100:.2f}%"
        )
        page = page.replace("4:00 PM EDT, Wed Aug 19", f"4:00 PM {when:%Z, %a %b} {when.day}")
        return Answer(page, type="text/html; charset=utf-8")

    def table(self, request: Request, ratio: str) -> Answer:
        """GET the table by month: newest first, estimates with a mark."""
        if ratio not in TITLES:
            return self.not_found(request)
        now = self._closed(self.market.now())
        when = datetime.fromtimestamp(now, UTC)
        months = [when.year * 12 + when.month - 1 - back for back in range(24)]
        days = [when, *(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) for month in months)]
        rows = []
        for index, day in enumerate(days):
            mark = "&#x2020; " if index < 2 else ""
            style = "even" if index % 2 else "odd"
            value = self._value(day.timestamp())
            date = f"{day:%b} {day.day}, {day.year}"
            rows.append(f'<tr class="{style}"><td>{date}</td><td>{mark}{value:.2f}</td></tr>')
        head = '<html><body><table id="datatable">\n<tr><th>Date</th><th>Value</th></tr>\n'
        return Answer(head + "\n".join(rows) + "\n</table></body></html>\n", type="text/html; charset=utf-8")

    def _closed(self, now: float) -> float:
        """Return when the exchange last closed."""
        day = session(INDEX, now)
        return day.end if day.end <= now else session(INDEX, day.start - 1).end

    def _value(self, at: float) -> float:
        return self.market.price("sp_pe", at)
