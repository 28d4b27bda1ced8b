"""Stooq: quotes as CSV, in the order of `f=`, in Warsaw's time and a quarter of an hour late."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.faults import Fault
from tests.standins.market import DAY
from tests.standins.sessions import INDEX, NASDAQ, session
from tests.standins.text import payload

WARSAW = ZoneInfo("Europe/Warsaw")
FIELDS = {"s": "Symbol", "n": "Name", "d": "Date", "t": "Time", "o": "Open", "h": "High", "l": "Low",
          "c": "Close", "v": "Volume"}  # fmt: skip
INDICES = {"^spx": "^gspc", "^ndq": "^ixic", "^dji": "^dji"}  # its names → the market's
MARKETS = (".us", ".uk", ".de", ".jp")


class Stooq(StandIn):
    """`delay` is in seconds; `always_open` makes every hour trading hours."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /q/l": "quotes", "GET /q/d/l": "history"}
    delay = 900.0
    always_open = False

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer(payload("stooq-rate-limit.txt"), type="text/plain")

    def not_found(self, request: Request) -> Answer:
        return Answer("<html><body>404</body></html>", 404, type="text/html")

    def spoiled(self, body: Any, fault: Fault) -> Any:
        rows = list(csv.reader(io.StringIO(body)))
        if "Close" not in rows[0]:
            return body
        close = rows[0].index("Close")
        if fault.kind == "renamed":
            rows[0][close] = "Last"
        else:
            for row in rows[1:]:
                if not fault.only or fault.only.startswith("/") or row[0].lower() == fault.only.lower():
                    row[close] = "" if fault.kind == "null" else "nan"
        return _csv(rows)

    def quotes(self, request: Request) -> Answer:
        """GET /q/l/: a row for each symbol, N/D in all fields of an unknown one."""
        symbols = [each for each in re.split(r"[+ ,]", request.query.get("s", "").lower()) if each]
        fields = re.findall(r"([a-z])\d?", request.query.get("f", "sd2t2ohlcv"))
        rows = [[FIELDS.get(field, "") for field in fields]] if "h" in request.query else []
        for symbol in symbols:
            found = self._row(symbol)
            rows.append([found.get(field, "N/D") for field in fields])
        return Answer(_csv(rows), type="text/csv")

    def history(self, request: Request) -> Answer:
        """GET /q/d/l/: a year of days; wants a key."""
        symbol = request.query.get("s", "").lower()
        if not request.query.get("apikey"):
            return Answer(payload("stooq-apikey-required.txt").replace("tsla.us", symbol), type="text/plain")
        if _item(symbol) is None:
            return Answer(payload("stooq-no-data.txt"), type="text/plain")
        rows = [["Date", "Open", "High", "Low", "Close", "Volume"]]
        day = session(NASDAQ, self.market.now() - DAY)
        days = []
        for _ in range(250):
            days.append(day)
            day = session(NASDAQ, day.start - 1)
        for day in reversed(days):
            found = self._figures(_item(symbol) or "", day.start, day.end)
            date = datetime.fromtimestamp(day.start, ZoneInfo(NASDAQ.zone)).strftime("%Y-%m-%d")
            rows.append([date, *(found[field] for field in "ohlcv")])
        return Answer(_csv(rows), type="text/csv")

    def _row(self, symbol: str) -> dict[str, str]:
        item = _item(symbol)
        if item is None:
            return {"s": symbol.upper()}
        at = self.market.set_at(item)
        now = self.market.now() - self.delay
        day = session(INDEX if symbol.startswith("^") else NASDAQ, now)
        if at is None:
            at = now - now % 5 if self.always_open else day.traded(now)
        start = at - 6 * 3600 if self.always_open else day.start
        local = datetime.fromtimestamp(at, WARSAW)
        return self._figures(item, min(start, at), at) | {
            "s": symbol.upper(),
            "n": symbol.upper(),
            "d": local.strftime("%Y-%m-%d"),
            "t": local.strftime("%H:%M:%S"),
        }

    def _figures(self, item: str, start: float, end: float) -> dict[str, str]:
        prices = [self.market.price(item, start + (end - start) * part / 8) for part in range(9)]
        figures = {"o": prices[0], "h": max(prices), "l": min(prices), "c": prices[-1]}
        return {field: f"{value:.10g}" for field, value in figures.items()} | {"v": "41200311"}


def _item(symbol: str) -> str | None:
    """Return the market's name; None of an unknown symbol: a US share without .us is one."""
    if no_such(symbol):
        return None
    if symbol.startswith("^"):
        return INDICES.get(symbol)
    market = next((end for end in MARKETS if symbol.endswith(end)), "")
    return symbol.removesuffix(".us") if market and symbol != market else None


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()
