"""Polymarket's market WebSocket: the order books at first, then price changes and trades; PING as text."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any

from tests.standins.base import Client, StandIn
from tests.standins.text import fixed, millis

TRADE_EVERY = 5  # a trade comes with each so-manieth price change


class PolymarketFeed(StandIn):
    """The feed's half of the service. Clients subscribe to tokens; both outcomes come in one message."""

    WS_PATHS = ("/ws/market",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.resolved: dict[str, int] = {}  # slug → the outcome that won
        self._sent = 0
        super().__init__(*arguments, **options)

    @abstractmethod
    def token(self, slug: str, outcome: int = 0) -> str:
        """Return the id of an outcome's token."""

    @abstractmethod
    def item(self, token: str) -> tuple[str, int] | None:
        """Return a token's market and outcome."""

    @abstractmethod
    def odds(self, token: str, at: float | None = None) -> float:
        """Return the probability of a token's outcome."""

    @abstractmethod
    def outcomes(self, slug: str) -> list[str]:
        """Return the names of a market's outcomes."""

    @abstractmethod
    def condition(self, slug: str) -> str:
        """Return a market's id on the chain."""

    @abstractmethod
    def _book(self, token: str) -> dict[str, Any]: ...

    def on_message(self, client: Client, text: str) -> None:
        if text == "PING":
            client.send("PONG")
            return
        try:
            asked = json.loads(text)
            tokens = [str(token) for token in asked["assets_ids"]]
        except (ValueError, KeyError, TypeError):
            client.send("INVALID MESSAGE")
            return
        operation = asked.get("operation", "subscribe")
        if operation == "unsubscribe":
            for token in tokens:
                client.items.pop(token, None)
            return
        if "custom_feature_enabled" in asked:
            client.notes["custom"] = bool(asked["custom_feature_enabled"])
        new = [token for token in tokens if token not in client.items and self.item(token)]
        if not new:
            client.send("NO NEW ASSETS")
            return
        client.items |= dict.fromkeys(new, True)
        if asked.get("initial_dump", True):
            client.send(json.dumps([self._dump(token) for token in new]))

    def announce(self, slug: str, winner: int) -> None:
        """Tell that a market is resolved, those who asked for such messages, and end its ticks."""
        tokens = [self.token(slug, 0), self.token(slug, 1)]
        message = {
            "event_type": "market_resolved",
            "id": "1601234",
            "market": self.condition(slug),
            "assets_ids": tokens,
            "winning_asset_id": tokens[winner],
            "winning_outcome": self.outcomes(slug)[winner],
            "timestamp": str(millis(self.market.now())),
            "tags": ["crypto"],
        }
        for client in self.clients:
            known = [token for token in tokens if client.items.pop(token, None)]
            if known and client.notes.get("custom"):
                client.send(json.dumps(message))

    def count(self, item: str) -> None:
        self._sent += 1

    def feed_price(self, item: str) -> float:
        return self.odds(item)

    def messages(self, client: Client, item: str, price: float, at: float) -> list[str]:
        slug, outcome = self.item(item) or ("", 0)
        other = self.token(slug, 1 - outcome) if not slug.startswith("token-") else None
        changes = [_change(item, price, "BUY")]
        if other is not None and other in client.items:
            changes.append(_change(other, round(1 - price, 6), "SELL"))
        common = {"market": self.condition(slug), "timestamp": str(millis(at))}
        found: list[dict[str, Any]] = [{"event_type": "price_change", **common, "price_changes": changes}]
        if client.notes.get("custom"):
            best = {key: changes[0][key] for key in ("asset_id", "best_bid", "best_ask")}
            found.append({"event_type": "best_bid_ask", **common, **best, "spread": "0.01"})
        if self._sent % TRADE_EVERY == 0:
            trade = {"asset_id": item, "fee_rate_bps": "0", "price": changes[0]["best_ask"], "side": "BUY"}
            found.append({"event_type": "last_trade_price", **common, **trade, "size": "120.25"})
        return [json.dumps(each) for each in found]

    def _dump(self, token: str) -> dict[str, Any]:
        book = self._book(token)
        levels = {
            side: [level | {"price": level["price"].removeprefix("0")} for level in book[side]]
            for side in ("bids", "asks")
        }
        kept = {key: book[key] for key in ("asset_id", "market", "timestamp")}
        return {"event_type": "book", **kept, **levels, "hash": "0x0a1b2c3d4e5f6071"}


def _change(token: str, price: float, side: str) -> dict[str, str]:
    step = min(0.005, price / 2, (1 - price) / 2)
    bid, ask = fixed(round(price - step, 6), 2), fixed(round(price + step, 6), 2)
    return {
        "asset_id": token,
        "price": bid if side == "BUY" else ask,
        "size": "210",
        "side": side,
        "hash": "3cd4",
        "best_bid": bid,
        "best_ask": ask,
    }
