"""Alpha Vantage GLOBAL_QUOTE: every problem is a 200."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar
from zoneinfo import ZoneInfo

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.sessions import NASDAQ, session
from tests.standins.text import fixed, payload

BURST = 60  # seconds: a limit that ends sooner is told as too many at once, else as the day's


class AlphaVantage(StandIn):
    """Takes any key."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /query": "query"}
    PRICE_KEYS = frozenset({"05. price"})
    always_open = False

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        if retry_after is not None and retry_after <= BURST:
            return Answer(payload("alphavantage-rate-limit-burst.json"))
        body = payload("alphavantage-rate-limit-daily.json")
        key = request.query.get("apikey", "")
        body["Information"] = body["Information"].replace("ABCD1234EFGH5678", key)  # it does echo the key
        return Answer(body)

    def query(self, request: Request) -> Answer:
        """GET query: GLOBAL_QUOTE only."""
        if not request.query.get("apikey"):
            return Answer(payload("alphavantage-error-missing-key.json"))
        function, symbol = request.query.get("function"), request.query.get("symbol", "").upper()
        if function != "GLOBAL_QUOTE" or not symbol:
            kind = "premium-endpoint" if function == "REALTIME_BULK_QUOTES" else "error-invalid-call"
            return Answer(payload(f"alphavantage-{kind}.json"))
        if no_such(symbol):
            return Answer(payload("alphavantage-unknown-symbol.json"))
        now = self.market.now()
        day = session(NASDAQ, now)
        at = self.market.set_at(symbol) or (now - now % 5 if self.always_open else day.traded(now))
        quote = self.market.quote(symbol, at=at)
        previous = quote.previous
        if self.market.set_at(symbol) is None and not self.always_open:
            previous = self.market.price(symbol, session(NASDAQ, day.start - 1).end)
        body = payload("alphavantage-global-quote-success.json")
        body["Global Quote"] |= {
            "01. symbol": symbol,
            "02. open": fixed(previous, 4),
            "03. high": fixed(max(previous, quote.value), 4),
            "04. low": fixed(min(previous, quote.value), 4),
            "05. price": fixed(quote.value, 4),
            "07. latest trading day": datetime.fromtimestamp(at, ZoneInfo(NASDAQ.zone)).strftime("%Y-%m-%d"),
            "08. previous close": fixed(previous, 4),
            "09. change": f"{quote.value - previous:.4f}",
            "10. change percent": f"{(quote.value / previous - 1) * 100:.4f}%",
        }
        return Answer(body)
