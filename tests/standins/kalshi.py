"""Kalshi: markets with prices in dollars as texts, or in cents as older answers had them.

Tickers that begin with `NOSUCH` are unknown, those with `CLOSED` are settled to no.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.text import iso, payload

EVENT_MARKETS = ("T80", "T100", "T120")  # the ends of an event's tickers
PRICES = frozenset({"last_price", "yes_bid", "yes_ask", "no_bid", "no_ask", "previous_price"})


class Kalshi(StandIn):
    """`cents` gives the older answers."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /trade-api/v2/markets": "markets",
        "GET /trade-api/v2/markets/{ticker}": "one",
        "GET /trade-api/v2/markets/{ticker}/orderbook": "orderbook",
    }
    PRICE_KEYS = PRICES | {f"{name}_dollars" for name in PRICES}
    cents = False

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.event_markets: dict[str, list[str]] = {}
        super().__init__(*arguments, **options)

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer({"error": {"code": "too_many_requests", "message": "too many requests"}}, 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer(payload("kalshi-error-404.json"), 404)

    def one(self, request: Request, ticker: str) -> Answer:
        """GET markets/{ticker}."""
        return self.not_found(request) if no_such(ticker) else Answer({"market": self._market(ticker)})

    def markets(self, request: Request) -> Answer:
        """GET markets: by tickers, or those of an event."""
        event = request.query.get("event_ticker", "")
        tickers = [each for each in request.query.get("tickers", "").split(",") if each]
        if event and not no_such(event):
            tickers = self.event_markets.get(event) or [f"{event}-{end}" for end in EVENT_MARKETS]
        found = [self._market(ticker, event) for ticker in tickers if not no_such(ticker)]
        return Answer({"cursor": "", "markets": found[: int(request.query.get("limit") or 100)]})

    def orderbook(self, request: Request, ticker: str) -> Answer:
        """GET orderbook: bids only, ascending."""
        if no_such(ticker):
            return self.not_found(request)
        odds = self.market.probability(ticker)
        sides = {}
        for side, best in (("yes", odds - 0.005), ("no", 1 - odds - 0.005)):
            sides[f"{side}_dollars"] = [[_dollars(best - 0.01), "820.00"], [_dollars(best), "444.32"]]
        return Answer({"orderbook_fp": sides})

    def _market(self, ticker: str, event: str = "") -> dict[str, Any]:
        odds = self.market.probability(ticker)
        closed = ticker.upper().startswith("CLOSED")
        if closed:
            odds = 0.005
        before = self.market.probability(ticker, self.market.now() - 86_400)
        prices = {
            "last_price": odds,
            "previous_price": before,
            "yes_bid": odds - 0.005,
            "yes_ask": odds + 0.005,
            "no_bid": 1 - odds - 0.005,
            "no_ask": 1 - odds + 0.005,
        }
        name = "legacy-cents" if self.cents else "success"
        body: dict[str, Any] = payload(f"kalshi-market-{name}.json")["market"]
        for key, value in prices.items():
            if self.cents and key in body:
                body[key] = round(value * 100)
            elif not self.cents:
                body[f"{key}_dollars"] = _dollars(value)
        if not self.cents:
            body["updated_time"] = iso(self.market.now())
        return body | {
            "ticker": ticker,
            "event_ticker": event or ticker,
            "title": f"{ticker}?",
            "status": "finalized" if closed else "active",
            "result": "no" if closed else "",
        }


def _dollars(value: float) -> str:
    return f"{max(0.0, value):.4f}"
