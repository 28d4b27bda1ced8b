"""Coinbase Exchange: ticker, stats and candles; the WebSocket feed with ticker and heartbeat channels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import gevent

from tests.standins.base import Answer, Client, Request, StandIn, no_such
from tests.standins.text import fixed, iso, payload

CHANNELS = ("ticker", "ticker_batch", "heartbeat", "status", "matches")
FIRST_SEQUENCE, FIRST_TRADE = 131_880_220_114, 981_110_022
MOST_CANDLES = 300


class Coinbase(StandIn):
    """The exchange. A client that has not subscribed within `subscribe_within` seconds is cut off."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /products/{product}/ticker": "ticker",
        "GET /products/{product}/stats": "stats",
        "GET /products/{product}/candles": "candles",
    }
    WS_PATHS = ("/",)
    PRICE_KEYS = frozenset({"price", "last"})
    subscribe_within = 5.0
    heartbeat = 1.0  # seconds

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._trades: dict[str, int] = {}  # the last trade of each product
        super().__init__(*arguments, **options)

    def native(self, item: str) -> str:
        base, _, quote = item.partition("_")
        return f"{base}-{quote}".upper() if quote else item

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer(payload("coinbase-error-429.json"), 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer(payload("coinbase-error-unknown-product.json"), 404)

    def answer(self, request: Request) -> Answer:
        if "user-agent" not in request.headers:
            return Answer({"message": "User-Agent header is required."}, 400)
        return super().answer(request)

    def ticker(self, request: Request, product: str) -> Answer:
        """GET ticker: the last trade."""
        if not _known(product):
            return self.not_found(request)
        quote = self.market.quote(_asset(product))
        places = _places(quote.value)
        body = payload("coinbase-ticker-success.json") | {
            "trade_id": FIRST_TRADE + int(quote.at) % 1_000_000,
            "price": fixed(quote.value, places),
            "time": iso(quote.at),
            "bid": fixed(quote.bid, places),
            "ask": fixed(quote.ask, places),
        }
        return Answer(body)

    def stats(self, request: Request, product: str) -> Answer:
        """GET stats: the last 24 hours."""
        if not _known(product):
            return self.not_found(request)
        quote = self.market.quote(_asset(product))
        places = _places(quote.value)
        body = payload("coinbase-stats-success.json") | {
            "open": fixed(quote.previous, places),
            "high": fixed(quote.high, places),
            "low": fixed(quote.low, places),
            "last": fixed(quote.value, places),
        }
        return Answer(body)

    def candles(self, request: Request, product: str) -> Answer:
        """GET candles: newest first, low before high."""
        if not _known(product):
            return self.not_found(request)
        step = int(request.query.get("granularity") or 60)
        if step not in {60, 300, 900, 3600, 21_600, 86_400}:
            return Answer({"message": "Unsupported granularity"}, 400)
        last = int(self.market.now()) // step * step
        return Answer(
            [self._candle(_asset(product), last - step * back, step) for back in range(MOST_CANDLES)]
        )

    def _candle(self, item: str, start: int, step: int) -> list[float]:
        prices = [self.market.price(item, start + step * part / 4) for part in range(5)]
        return [start, min(prices), max(prices), prices[0], prices[-1], 3.4412]

    # --- the feed

    def skip_sequence(self, item: str, count: int = 1) -> None:
        """Lose messages of a product: the trades happen, with their numbers, and nobody is told."""
        product = self.native(item)
        self._trades[product] = self._trade(product) + count

    def count(self, item: str) -> None:
        self._trades[item] = self._trade(item) + 1

    def _trade(self, product: str) -> int:
        return self._trades.get(product, FIRST_TRADE)

    def _sequence(self, product: str) -> int:
        """Return the number of the last message: it counts orders too, so the ticker channel sees it jump."""
        return FIRST_SEQUENCE + 7 * (self._trade(product) - FIRST_TRADE)

    def keep(self, client: Client) -> None:
        super().keep(client)
        gevent.sleep(self.subscribe_within)
        if not client.notes.get("channels"):
            client.close(1008, "No subscribe message received")
            return
        while True:
            for product in client.notes.get("channels", {}).get("heartbeat", ()):
                client.send(json.dumps(self._heartbeat(product)))
            gevent.sleep(self.heartbeat)

    def on_message(self, client: Client, text: str) -> None:
        try:
            asked = json.loads(text)
            kind = asked.get("type")
        except (ValueError, AttributeError):
            client.send(_error("Malformed JSON", ""))
            return
        if kind not in {"subscribe", "unsubscribe"}:
            client.send(_error("Invalid message", f"{kind} is not a valid type"))
            return
        wanted = _channels(asked)
        for channel, products in wanted.items():
            if channel not in CHANNELS:
                client.send(_error("Failed to subscribe", f"{channel} is not a valid channel"))
                return
            if wrong := next((product for product in products if not _known(product)), ""):
                client.send(_error("Failed to subscribe", f"{wrong} is not a valid product"))
                return
        channels: dict[str, list[str]] = client.notes.setdefault("channels", {})
        for channel, products in wanted.items():
            here = channels.setdefault(channel, [])
            if kind == "subscribe":
                here += [product for product in products if product not in here]
            else:
                channels[channel] = [product for product in here if products and product not in products]
        listed = [
            {"name": name, "product_ids": products, "account_ids": None}
            for name, products in channels.items()
            if products
        ]
        client.send(json.dumps({"type": "subscriptions", "channels": listed}))
        tickers = dict.fromkeys(channels.get("ticker", []), True)
        new = [product for product in tickers if product not in client.items]
        client.items = dict(tickers)
        for product in new:  # the state at the time of subscribing
            quote = self.market.quote(_asset(product))
            client.send(self._ticker(product, quote.value, quote.at))

    def feed_price(self, item: str) -> float:
        return self.market.price(_asset(item))

    def messages(self, client: Client, item: str, price: float, at: float) -> list[str]:
        return [self._ticker(item, price, at)]

    def _ticker(self, item: str, price: float, at: float) -> str:
        places = _places(price)
        step = 0.01 if price >= 1 else 1e-8
        text = fixed(price, places)
        trade = self._trade(item)
        return json.dumps({
            "type": "ticker",
            "sequence": self._sequence(item),
            "product_id": item,
            "price": text,
            "open_24h": fixed(round(price * 1.0125, places), places),
            "volume_24h": "8120.44120331",
            "low_24h": fixed(round(price * 0.98, places), places),
            "high_24h": fixed(round(price * 1.02, places), places),
            "volume_30d": "281101.22010000",
            "best_bid": fixed(round(price - step, 10), places),
            "best_bid_size": "0.41020000",
            "best_ask": fixed(round(price + step, 10), places),
            "best_ask_size": "0.09000000",
            "side": "buy" if trade % 2 else "sell",
            "time": iso(at),
            "trade_id": trade,
            "last_size": "0.0031",
        })  # fmt: skip

    def _heartbeat(self, product: str) -> dict[str, Any]:
        return {
            "type": "heartbeat",
            "last_trade_id": self._trade(product),
            "product_id": product,
            "sequence": self._sequence(product),
            "time": iso(self.market.now()),
        }


def _asset(product: str) -> str:
    return product.lower().replace("-", "_")


def _known(product: str) -> bool:
    base, _, quote = product.partition("-")
    return bool(base and quote) and product == product.upper() and not no_such(product)


def _places(price: float) -> int:
    return 2 if price >= 1 else 8


def _error(message: str, reason: str) -> str:
    return json.dumps({"type": "error", "message": message, "reason": reason})


def _channels(asked: dict[str, Any]) -> dict[str, list[str]]:
    """Return channel → products: channels may be names, or objects with products of their own."""
    common = asked.get("product_ids") or []
    found: dict[str, list[str]] = {}
    for channel in asked.get("channels") or []:
        if isinstance(channel, dict):
            found[channel.get("name", "")] = channel.get("product_ids") or common
        else:
            found[channel] = list(common)
    return found
