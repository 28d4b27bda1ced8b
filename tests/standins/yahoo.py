"""Yahoo Finance chart: a quote with its session, and bars.

Symbols that begin with `NO-SUCH` or `NOPE` are unknown (404), those with `PHANTOM` give the hollow 200.
Without a User-Agent, or with one that names a script, the service answers 429.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.market import DAY
from tests.standins.sessions import Exchange, Session, coming, exchange_of, session
from tests.standins.text import payload

DAYS = {"1d": 1, "5d": 5, "1mo": 22, "3mo": 65, "6mo": 130, "1y": 260, "2y": 520, "5y": 1300, "10y": 2600,
        "ytd": 200, "max": 2600}  # fmt: skip
STEPS = {"1m": 60, "2m": 120, "5m": 300, "15m": 900, "30m": 1800, "60m": 3600, "90m": 5400, "1h": 3600}
DAILY = frozenset({"1d", "5d", "1wk", "1mo", "3mo"})
SCRIPTS = ("python-requests", "python-urllib", "curl/", "go-http-client")
ETFS = frozenset({"SPY", "QQQ", "VT", "VOO", "IWM", "GLD"})
NAMES = {"TSLA": "Tesla, Inc.", "AAPL": "Apple Inc.", "SPY": "SPDR S&P 500 ETF Trust", "^GSPC": "S&P 500"}
EVERY = 5.0  # seconds between two trades


class Yahoo(StandIn):
    """`always_open` makes every hour of every day trading hours, so that a person sees prices move."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /v8/finance/chart/{symbol}": "chart"}
    PRICE_KEYS = frozenset({"regularMarketPrice", "close"})
    always_open = False
    picky = True  # whether a script's User-Agent is refused

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer(payload("yahoo-error-429.txt"), 429, type="text/html")

    def not_found(self, request: Request) -> Answer:
        return Answer("Not Found", 404, type="text/plain")

    def answer(self, request: Request) -> Answer:
        agent = request.headers.get("user-agent", "").lower()
        if self.picky and (not agent or agent.startswith(SCRIPTS)):
            return Answer(payload("yahoo-error-429-edge.txt"), 429, type="text/plain")
        return super().answer(request)

    def chart(self, request: Request, symbol: str) -> Answer:
        """GET chart/{symbol}: `range` or `period1` with `period2`, and `interval`."""
        symbol = symbol.upper()
        if no_such(symbol):
            return Answer(payload("yahoo-chart-unknown-symbol.json"), 404)
        if symbol.startswith("PHANTOM"):
            body = payload("yahoo-chart-phantom-symbol.json")
            body["chart"]["result"][0]["meta"]["symbol"] = symbol
            return Answer(body)
        span, interval = request.query.get("range", "1d"), request.query.get("interval", "1d")
        if span not in DAYS or (interval not in STEPS and interval not in DAILY):
            return Answer(payload("yahoo-error-bad-range.json"), 422)
        if interval == "1m" and DAYS[span] > 8:
            return Answer(payload("yahoo-error-bad-range.json"), 422)
        return Answer({"chart": {"result": [self._result(symbol, span, interval)], "error": None}})

    def _result(self, symbol: str, span: str, interval: str) -> dict[str, Any]:
        exchange, now = exchange_of(symbol), self.market.now()
        traded = self._session(exchange, now)
        at = self.market.set_at(symbol)
        at = traded.traded(now, EVERY) if at is None else at
        price = self.market.price(symbol, at)
        daily = interval in DAILY
        sessions = self._sessions(exchange, now, DAYS[span])
        if daily:
            times = [each.start for each in sessions[:-1]] + [at]
        else:
            step = STEPS[interval]
            first = max(traded.start, at - 390 * step)
            times = [first + step * index for index in range(int((at - first) // step))] + [at]
        closes = [self.market.price(symbol, each) for each in times]
        source = "yahoo-chart-daily-success.json" if daily else "yahoo-chart-intraday-open-success.json"
        result: dict[str, Any] = payload(source)["chart"]["result"][0]
        before = self.market.quote(symbol, at=at).previous
        if at == self.market.set_at(symbol):
            closes[-1] = price
        else:
            before = self.market.price(symbol, self._sessions(exchange, now, 2)[0].end)
        result["meta"] |= _meta(symbol, exchange, price, closes) | {
            "regularMarketTime": int(at),
            "gmtoffset": traded.offset,
            "timezone": traded.zone,
            "chartPreviousClose": before,
            "currentTradingPeriod": _periods(self._shown(exchange, now)),
            "dataGranularity": interval,
            "range": span,
        }
        quote: dict[str, list[Any]] = {
            "open": [round(close * 0.999, 4) for close in closes],
            "high": [round(close * 1.001, 4) for close in closes],
            "low": [round(close * 0.998, 4) for close in closes],
            "close": list(closes),
            "volume": [51_022] * len(closes),
        }
        if len(closes) >= 4:  # a minute or a day without a trade
            for row in quote.values():
                row[-2] = None
        result["timestamp"] = [int(each) for each in times]
        result["indicators"] = {"quote": [quote]}
        if daily:
            result["indicators"]["adjclose"] = [{"adjclose": list(quote["close"])}]
        else:
            regular = _periods(traded)["regular"]
            result["meta"] |= {"previousClose": before, "tradingPeriods": [[regular]]}
        return result

    def _session(self, exchange: Exchange, now: float) -> Session:
        return _whole_day(now) if self.always_open else session(exchange, now)

    def _shown(self, exchange: Exchange, now: float) -> Session:
        """Return the day that currentTradingPeriod tells: today's, also before it begins."""
        return _whole_day(now) if self.always_open else coming(exchange, now)

    def _sessions(self, exchange: Exchange, now: float, count: int) -> list[Session]:
        found = [self._session(exchange, now)]
        while len(found) < count:
            found.append(self._session(exchange, found[-1].start - 1))
        return found[::-1]


def _whole_day(now: float) -> Session:
    start = now - now % DAY
    return Session(start, start, start + DAY, start + DAY, 0, "UTC")


def _periods(day: Session) -> dict[str, Any]:
    common = {"timezone": day.zone, "gmtoffset": day.offset}
    return {
        "pre": {"start": int(day.pre), "end": int(day.start)} | common,
        "regular": {"start": int(day.start), "end": int(day.end)} | common,
        "post": {"start": int(day.end), "end": int(day.post)} | common,
    }


def _meta(symbol: str, exchange: Exchange, price: float, closes: list[float]) -> dict[str, Any]:
    kind = "INDEX" if symbol.startswith("^") else "ETF" if symbol in ETFS else "EQUITY"
    kind = "CRYPTOCURRENCY" if exchange.code == "CCC" else "CURRENCY" if exchange.code == "CCY" else kind
    name = NAMES.get(symbol, symbol)
    return {
        "symbol": symbol,
        "currency": exchange.currency,
        "exchangeName": exchange.code,
        "fullExchangeName": exchange.name,
        "exchangeTimezoneName": exchange.zone,
        "instrumentType": kind,
        "hasPrePostMarketData": exchange.pre != exchange.opens,
        "regularMarketPrice": price,
        "regularMarketDayHigh": max(price, *closes),
        "regularMarketDayLow": min(price, *closes),
        "fiftyTwoWeekHigh": round(price * 1.3, 2),
        "fiftyTwoWeekLow": round(price * 0.7, 2),
        "longName": name,
        "shortName": name,
    }
