"""Polymarket over REST: gamma (what markets there are) and clob (prices), at one address.

Any slug is a market with the outcomes Yes and No, except: `no-such…` is unknown; `closed-…` is resolved to
No; `up-or-down…` has the outcomes Up and Down; `event-…` is an event of several markets, no market itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, no_such
from tests.standins.polymarket_feed import PolymarketFeed
from tests.standins.text import fixed, iso, millis, payload

EVENT_MARKETS = ("alice", "bob", "carol")  # what an event's markets are called after it
SHORTEST_TOKEN = 60  # digits; a real one has about 77
INTERVALS = {"1h": 3600, "6h": 21_600, "1d": 86_400, "1w": 604_800, "1m": 2_592_000, "max": 7_776_000,
             "all": 7_776_000}  # fmt: skip


class Polymarket(PolymarketFeed):
    """`event_markets` names an event's markets by their slugs, where a test wants others."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /markets": "markets",
        "GET /markets/slug/{slug}": "market_by_slug",
        "GET /markets/{number}": "market_by_id",
        "GET /events": "events",
        "GET /events/slug/{slug}": "event_by_slug",
        "GET /midpoint": "midpoint",
        "GET /price": "price",
        "GET /spread": "spread",
        "GET /last-trade-price": "last_trade_price",
        "GET /book": "book",
        "GET /prices-history": "prices_history",
        "POST /midpoints": "midpoints",
        "POST /prices": "prices",
        "POST /spreads": "spreads",
        "POST /books": "books",
    }
    PRICE_KEYS = frozenset({"mid", "price", "outcomePrices"})
    mid_key = "mid"  # the newer documents say mid_price

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.event_markets: dict[str, list[str]] = {}
        self._slugs: dict[str, str] = {}  # a market's number → its slug
        self._tokens: dict[str, tuple[str, int]] = {}
        super().__init__(*arguments, **options)

    def native(self, item: str) -> str:
        return item if item.isdigit() else self.token(item)

    def is_price(self, key: str) -> bool:
        return super().is_price(key) or (key.isdigit() and len(key) >= SHORTEST_TOKEN)

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer({"error": "Too Many Requests"}, 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer("404 page not found\n", 404, type="text/plain")

    # --- what tests ask

    def token(self, slug: str, outcome: int = 0) -> str:
        """Return the id of an outcome's token."""
        digest = hashlib.sha256(f"{slug}/{outcome}".encode()).hexdigest()
        found = str(10**76 + int(digest, 16) % (9 * 10**76))  # 77 digits
        self._tokens[found] = (slug, outcome)
        return found

    def close(self, slug: str, winner: int = 1) -> None:
        """Resolve a market to one of its outcomes, and tell the feed's clients."""
        self.resolved[slug] = winner
        self.announce(slug, winner)

    def outcomes(self, slug: str) -> list[str]:
        """Return the names of a market's outcomes."""
        return ["Up", "Down"] if slug.startswith("up-or-down") else ["Yes", "No"]

    def condition(self, slug: str) -> str:
        return "0x" + hashlib.sha256(slug.encode()).hexdigest()

    def winner(self, slug: str) -> int | None:
        """Return the outcome that a market is resolved to, if it is."""
        return self.resolved.get(slug, 1 if slug.startswith("closed-") else None)

    def item(self, token: str) -> tuple[str, int] | None:
        """Return a token's market and outcome; None when there is no order book for it."""
        if len(token) < SHORTEST_TOKEN or token.startswith("000"):
            return None
        slug, outcome = self._tokens.setdefault(token, (f"token-{token[:12]}", 0))
        return (slug, outcome) if self.winner(slug) is None else None

    def odds(self, token: str, at: float | None = None) -> float:
        """Return the probability of a token's outcome."""
        slug, outcome = self._tokens.get(token, (f"token-{token[:12]}", 0))
        first = self.market.probability(slug, at)
        return round(1 - first, 6) if outcome else first

    # --- gamma

    def markets(self, request: Request) -> Answer:
        """GET /markets: a list, empty when there is no such slug."""
        if int(request.query.get("offset") or 0) > 10_000:
            return Answer(payload("polymarket-gamma-422.json"), 422)
        slugs = request.values("slug") or [
            self._slugs.get(number, "no-such") for number in request.values("id")
        ]
        slugs = slugs or [
            f"market-{number}" for number in range(min(100, int(request.query.get("limit") or 20)))
        ]
        wanted = request.query.get("closed")
        found = [slug for slug in slugs if self._is_market(slug)]
        found = [
            slug for slug in found if wanted is None or (self.winner(slug) is not None) == (wanted == "true")
        ]
        return Answer([self._market(slug) for slug in found])

    def market_by_slug(self, request: Request, slug: str) -> Answer:
        """GET /markets/slug/{slug}: one object."""
        if slug != slug.strip() or " " in slug:
            return Answer(payload("polymarket-gamma-422.json"), 422)
        if not self._is_market(slug):
            return Answer(payload("polymarket-gamma-slug-path-404.json"), 404)
        return Answer(self._market(slug))

    def market_by_id(self, request: Request, number: str) -> Answer:
        """GET /markets/{id}: one object."""
        if number not in self._slugs:
            return Answer({"type": "not found error", "error": "id not found"}, 404)
        return Answer(self._market(self._slugs[number]))

    def events(self, request: Request) -> Answer:
        """GET /events: a list."""
        return Answer([self._event(slug) for slug in request.values("slug") if self._is_event(slug)])

    def event_by_slug(self, request: Request, slug: str) -> Answer:
        """GET /events/slug/{slug}: one object with its markets."""
        if not self._is_event(slug):
            return Answer(payload("polymarket-gamma-slug-path-404.json"), 404)
        return Answer(self._event(slug))

    def _is_market(self, slug: str) -> bool:
        return bool(slug) and not no_such(slug) and not self._names_event(slug)

    def _is_event(self, slug: str) -> bool:
        return self._names_event(slug) and not no_such(slug)

    def _names_event(self, slug: str) -> bool:
        if slug in self.event_markets:
            return True
        return slug.startswith("event-") and not slug.endswith(EVENT_MARKETS)

    def _event(self, slug: str) -> dict[str, Any]:
        body: dict[str, Any] = payload("polymarket-gamma-market-slug-path-success.json")["events"][0]
        slugs = self.event_markets.get(slug) or [f"{slug}-{name}" for name in EVENT_MARKETS]
        markets = [self._market(each) for each in slugs]
        for market in markets:
            del market["events"]
        title = slug.replace("-", " ").capitalize()
        return body | {"ticker": slug, "slug": slug, "title": title, "archived": False, "markets": markets}

    def _market(self, slug: str) -> dict[str, Any]:
        winner = self.winner(slug)
        source = "market-slug-path-success" if winner is None else "market-closed"
        read = payload(f"polymarket-gamma-{source}.json")
        body: dict[str, Any] = read if winner is None else read[0]
        number = str(1_600_000 + int(self.condition(slug)[2:8], 16))
        self._slugs[number] = slug
        first = self.market.probability(slug)
        prices = [fixed(first, 3), fixed(round(1 - first, 6), 3)]
        if winner is None:
            step = _step(first)
            before = self.market.probability(slug, self.market.now() - 86_400)
            body |= {
                "bestBid": round(first - step, 6),
                "bestAsk": round(first + step, 6),
                "spread": round(2 * step, 6),
                "lastTradePrice": round(first + step, 6),
                "oneDayPriceChange": round(first - before, 6),
            }
        else:
            prices = ["1" if index == winner else "0" for index in range(2)]
        return body | {
            "id": number,
            "question": slug.replace("-", " ").capitalize() + "?",
            "conditionId": self.condition(slug),
            "slug": slug,
            "outcomes": json.dumps(self.outcomes(slug)),
            "outcomePrices": json.dumps(prices),
            "clobTokenIds": json.dumps([self.token(slug, 0), self.token(slug, 1)]),
            "updatedAt": iso(self.market.now()),
        }

    # --- clob

    def midpoint(self, request: Request) -> Answer:
        """GET /midpoint."""
        return self._missing(request) or Answer({self.mid_key: self._mid(request.query["token_id"])})

    def price(self, request: Request) -> Answer:
        """GET /price: BUY is the best bid, SELL the best ask."""
        side = request.query.get("side", "")
        if side not in {"BUY", "SELL"}:
            return Answer({"error": "Invalid side"}, 400)
        return self._missing(request) or Answer({"price": self._side(request.query["token_id"], side)})

    def spread(self, request: Request) -> Answer:
        """GET /spread."""
        return self._missing(request) or Answer({"spread": self._spread(request.query["token_id"])})

    def last_trade_price(self, request: Request) -> Answer:
        """GET /last-trade-price: at the best ask."""
        if missing := self._missing(request):
            return missing
        return Answer({"price": self._side(request.query["token_id"], "SELL"), "side": "BUY"})

    def book(self, request: Request) -> Answer:
        """GET /book: bids ascend, asks descend, the best come last."""
        return self._missing(request) or Answer(self._book(request.query["token_id"]))

    def prices_history(self, request: Request) -> Answer:
        """GET /prices-history: empty for an unknown token."""
        token = request.query.get("market", "")
        if self.item(token) is None:
            return Answer(payload("polymarket-clob-prices-history-empty.json"))
        now = self.market.now()
        step = max(60, int(float(request.query.get("fidelity") or 60) * 60))
        start = float(
            request.query.get("startTs") or now - INTERVALS.get(request.query.get("interval", "1d"), 86_400)
        )
        end = float(request.query.get("endTs") or now)
        times = range(int(start), int(end) + 1, step)
        return Answer({"history": [{"t": at, "p": self.odds(token, at)} for at in times]})

    def midpoints(self, request: Request) -> Answer:
        """POST /midpoints: tokens without a book are left out."""
        return Answer({token: self._mid(token) for token, _ in self._asked(request)})

    def prices(self, request: Request) -> Answer:
        """POST /prices: by token and side."""
        found: dict[str, dict[str, str]] = {}
        for token, side in self._asked(request):
            for each in [side] if side else ["BUY", "SELL"]:
                found.setdefault(token, {})[each] = self._side(token, each)
        return Answer(found)

    def spreads(self, request: Request) -> Answer:
        """POST /spreads."""
        return Answer({token: self._spread(token) for token, _ in self._asked(request)})

    def books(self, request: Request) -> Answer:
        """POST /books: a list."""
        return Answer([self._book(token) for token, _ in self._asked(request)])

    def _asked(self, request: Request) -> list[tuple[str, str]]:
        asked = request.json()[:500]
        return [(each["token_id"], each.get("side", "")) for each in asked if self.item(each["token_id"])]

    def _missing(self, request: Request) -> Answer | None:
        token = request.query.get("token_id", "")
        if not token.isdigit():
            return Answer(payload("polymarket-clob-error-400.json"), 400)
        return None if self.item(token) else Answer(payload("polymarket-clob-error-404.json"), 404)

    def _mid(self, token: str) -> str:
        return fixed(self.odds(token), 3)

    def _side(self, token: str, side: str) -> str:
        odds = self.odds(token)
        return fixed(round(odds - _step(odds) if side == "BUY" else odds + _step(odds), 6), 2)

    def _spread(self, token: str) -> str:
        return fixed(round(2 * _step(self.odds(token)), 6), 2)

    def _book(self, token: str) -> dict[str, Any]:
        slug, _ = self.item(token) or ("", 0)
        odds = self.odds(token)
        step = _step(odds)
        bids = [round(odds - step - 0.01 * deep, 6) for deep in (2, 1, 0)]
        asks = [round(odds + step + 0.01 * deep, 6) for deep in (2, 1, 0)]
        body: dict[str, Any] = payload("polymarket-clob-book-success.json")
        for side, prices in (("bids", bids), ("asks", asks)):
            levels = zip(prices, body[side], strict=True)
            body[side] = [
                {"price": fixed(price, 2), "size": level["size"]} for price, level in levels if 0 < price < 1
            ]
        return body | {
            "market": self.condition(slug),
            "asset_id": token,
            "timestamp": str(millis(self.market.now())),
        }


def _step(odds: float) -> float:
    """Return half the spread: half a cent, less near 0 and 1."""
    return min(0.005, odds / 2, (1 - odds) / 2)
