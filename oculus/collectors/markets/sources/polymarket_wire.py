"""Polymarket's stream of order books and trades.

https://docs.polymarket.com/market-data/websocket/market-channel
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from oculus.collectors.markets.sources.base import millis_time, number, optional, probability
from oculus.collectors.markets.sources.odds import Bet
from oculus.collectors.markets.wire import Message, Refused, Tick, Wire
from oculus.model import Micros

# Texts that are no JSON.
_WORDS = frozenset({"PONG", "PING", "NO NEW ASSETS"})

# Widest spread whose midpoint tells the odds; beyond it the last trade does, as on Polymarket's pages.
_WIDE = 0.10


class _Book:
    """The two sides of a token's book (price → size), the best of each, and the last trade."""

    __slots__ = ("ask", "asks", "bid", "bids", "last")

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.bid: float | None = None  # none on an empty side
        self.ask: float | None = None
        self.last: float | None = None

    def find_best(self) -> None:
        """Take the best prices from the levels, whatever their order was."""
        self.bid = max(self.bids, default=None)
        self.ask = min(self.asks, default=None)

    def told_best(self, bid: Any, ask: Any) -> None:
        """Take the best prices as they are told; an empty side is told as 0 or 1, or not at all."""
        best_bid, best_ask = optional(bid), optional(ask)
        self.bid = best_bid if best_bid is not None and best_bid > 0.0 else None
        self.ask = best_ask if best_ask is not None and best_ask < 1.0 else None

    @property
    def odds(self) -> float | None:
        """The probability that the book stands for; None where it does not tell."""
        if self.bid is not None and self.ask is not None and self.ask - self.bid <= _WIDE + 1e-9:
            return round((self.bid + self.ask) / 2, 6)  # the shortest step of a price is 0.0001
        return self.last


class PolymarketWire(Wire):
    """The `market` channel. Keys are tokens; gamma tells those of a slug."""

    name = "polymarket"
    url = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
    capacity = 200
    silence = 30.0  # a PONG comes every ten seconds
    ping = ("PING", 10.0)

    def __init__(self) -> None:
        self._books: dict[str, _Book] = {}
        self._begun = False

    @classmethod
    def keys(cls, item: Bet) -> Mapping[str, str]:
        return {"": item.id} if item.kind == "token" else {}

    def subscribe(self, keys: Sequence[str]) -> Iterable[str]:
        if self._begun:
            yield json.dumps({"assets_ids": list(keys), "operation": "subscribe"})
            return
        self._begun = True
        # The custom features are, among others, the message that a market is resolved.
        asked = {"assets_ids": list(keys), "type": "market"}
        yield json.dumps({**asked, "initial_dump": True, "custom_feature_enabled": True})

    def unsubscribe(self, keys: Sequence[str]) -> Iterable[str]:
        for key in keys:
            self._books.pop(key, None)
        yield json.dumps({"assets_ids": list(keys), "operation": "unsubscribe"})

    def read(self, text: str) -> Iterable[Message]:
        if text.strip() in _WORDS:
            return
        data = json.loads(text)
        for message in data if isinstance(data, list) else (data,):
            yield from self._read(message)

    def _read(self, message: Mapping[str, Any]) -> Iterator[Message]:
        kind = message.get("event_type")
        ts = millis_time(message.get("timestamp"))
        if kind == "price_change":
            for change in message["price_changes"]:
                yield from self._changed(change, ts)
        elif kind == "book":
            key = str(message["asset_id"])
            book = self._books.setdefault(key, _Book())
            book.bids, book.asks = (_levels(message[side]) for side in ("bids", "asks"))
            book.find_best()
            if message.get("last_trade_price"):
                book.last = probability(message["last_trade_price"], "the last trade")
            yield from _ticks(key, book, ts)
        elif kind == "last_trade_price":
            key = str(message["asset_id"])
            book = self._books.setdefault(key, _Book())
            book.last = probability(message["price"], "the last trade")
            yield from _ticks(key, book, ts)
        elif kind == "best_bid_ask":
            key = str(message["asset_id"])
            book = self._books.setdefault(key, _Book())
            book.told_best(message["best_bid"], message["best_ask"])
            yield from _ticks(key, book, ts)
        elif kind == "market_resolved":
            for key in message["assets_ids"]:
                yield Refused(str(key), "the market is resolved")

    def _changed(self, change: Mapping[str, Any], ts: Micros | None) -> Iterator[Message]:
        key = str(change["asset_id"])
        book = self._books.get(key)
        told = "best_bid" in change and "best_ask" in change
        if book is None:
            if not told:  # one level of a book that was never seen says nothing
                return
            book = self._books[key] = _Book()
        side = book.bids if change["side"] == "BUY" else book.asks
        price, size = probability(change["price"], "a price"), number(change["size"], "a size")
        if size:
            side[price] = size
        else:
            side.pop(price, None)
        if told:
            book.told_best(change["best_bid"], change["best_ask"])
        else:
            book.find_best()
        yield from _ticks(key, book, ts)


def _levels(levels: Iterable[Mapping[str, Any]]) -> dict[float, float]:
    found = {probability(level["price"], "a price"): number(level["size"], "a size") for level in levels}
    return {price: size for price, size in found.items() if size}


def _ticks(key: str, book: _Book, ts: Micros | None) -> Iterator[Tick]:
    odds = book.odds
    if odds is not None:
        best = {"bid": book.bid, "ask": book.ask}
        figures = {part: value for part, value in best.items() if value is not None}
        yield Tick(key, probability(odds, "the midpoint"), ts, figures)
