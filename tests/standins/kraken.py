"""Kraken: Ticker and AssetPairs with Kraken's own names of pairs, errors with HTTP 200; WebSocket v2.

Over REST Bitcoin is XBT and answers come as XXBTZUSD; over WebSocket the same pair is BTC/USD.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import gevent

from tests.standins.base import Answer, Client, Request, StandIn, no_such
from tests.standins.text import fixed, iso, payload

# Kraken's old assets carry an X, and currencies a Z in pairs with them; newer ones have plain names.
OLD = {
    "btc": "XXBT",
    "eth": "XETH",
    "ltc": "XLTC",
    "xrp": "XXRP",
    "xmr": "XXMR",
    "etc": "XETC",
    "zec": "XZEC",
}
ALT = {"btc": "XBT", "doge": "XDG"}
NAMES = (
    {name: asset for asset, name in OLD.items()}
    | {name[1:]: asset for asset, name in OLD.items()}
    | {name: asset for asset, name in ALT.items()}
    | {"BTC": "btc", "DOGE": "doge"}
)
FIAT = ("USD", "EUR", "GBP", "JPY", "CAD", "CHF", "AUD")
QUOTES = ("USDT", "USDC", *FIAT, "XBT", "BTC", "ETH")
LISTED = (
    "btc",
    "eth",
    "sol",
    "xrp",
    "ada",
    "doge",
    "dot",
    "ltc",
    "link",
    "bch",
    "avax",
    "xmr",
    "trx",
    "usdt",
)
HEARTBEAT = 1.0  # seconds
STALE = 1.0  # seconds between two trades of a pair over REST


def pair_of(name: str) -> tuple[str, str] | None:
    """Return (base, quote) in Oculus's names of a pair as REST takes it; None when it is no known pair."""
    name = name.upper().replace("/", "")
    if no_such(name):
        return None
    for quote in QUOTES:
        base = name.removesuffix(quote)
        if base == name:
            continue
        if quote in FIAT and base.endswith("Z") and base[:-1] in OLD.values():
            base = base[:-1]
        if base:
            return NAMES.get(base, base.lower()), "btc" if quote == "XBT" else quote.lower()
    return None


def own_name(base: str, quote: str) -> str:
    """Return the key under which results come."""
    if base in OLD and quote.upper() in FIAT:
        return f"{OLD[base]}Z{quote.upper()}"
    return alt_name(base, quote)


def alt_name(base: str, quote: str) -> str:
    """Return the short name of a pair."""
    return ALT.get(base, base.upper()) + ALT.get(quote, quote.upper())


class Kraken(StandIn):
    """The spot exchange. `system` is what the status message says."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /0/public/Ticker": "ticker",
        "GET /0/public/AssetPairs": "asset_pairs",
    }
    WS_PATHS = ("/v2",)
    PRICE_KEYS = frozenset({"c"})
    system = "online"
    heartbeat = HEARTBEAT

    def native(self, item: str) -> str:
        base, _, quote = item.partition("_")
        return f"{base}/{quote}".upper() if quote else item

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer(payload("kraken-error-rate-limit.json"))

    def not_found(self, request: Request) -> Answer:
        return Answer({"error": ["EGeneral:Unknown method"]}, 404)

    def ticker(self, request: Request) -> Answer:
        """GET Ticker: one unknown pair fails the whole list."""
        names = request.query.get("pair", "")
        pairs = [pair_of(name) for name in names.split(",")] if names else [(base, "usd") for base in LISTED]
        if None in pairs:
            return Answer(payload("kraken-error-unknown-pair.json"))
        return Answer(
            {"error": [], "result": {own_name(*pair): self._ticker(*pair) for pair in pairs if pair}}
        )

    def asset_pairs(self, request: Request) -> Answer:
        """GET AssetPairs: those asked for, or the better known ones."""
        names = request.query.get("pair", "")
        listed = [(base, quote) for base in LISTED for quote in ("usd", "eur", "usdt")]
        pairs = [pair_of(name) for name in names.split(",")] if names else [*listed]
        if None in pairs:
            return Answer(payload("kraken-error-unknown-pair.json"))
        return Answer(
            {"error": [], "result": {own_name(*pair): _asset_pair(*pair) for pair in pairs if pair}}
        )

    def _ticker(self, base: str, quote: str) -> dict[str, Any]:
        found = self.market.quote(f"{base}_{quote}", STALE)
        places = 5 if found.value >= 1 else 10
        return {
            "a": [fixed(found.ask, places), "2", "2.000"],
            "b": [fixed(found.bid, places), "1", "1.000"],
            "c": [fixed(found.value, places), "0.00421100"],
            "v": ["612.44120033", "1380.91220110"],
            "p": [fixed(found.value, places), fixed(found.value, places)],
            "t": [18_211, 40_112],
            "l": [fixed(found.low, places)] * 2,
            "h": [fixed(found.high, places)] * 2,
            "o": fixed(found.previous, places),
        }

    # --- WebSocket v2

    def on_open(self, client: Client) -> None:
        status = payload("kraken-ws-v2-status.json")
        status["data"][0]["system"] = self.system
        client.send(json.dumps(status))

    def keep(self, client: Client) -> None:
        super().keep(client)
        while True:
            gevent.sleep(self.heartbeat)
            if client.items:
                client.send('{"channel":"heartbeat"}')

    def on_message(self, client: Client, text: str) -> None:
        try:
            asked = json.loads(text)
            method, params = asked.get("method"), asked.get("params") or {}
        except (ValueError, AttributeError):
            client.send('{"error":"Malformed request","success":false}')
            return
        times = {"time_in": iso(self.market.now()), "time_out": iso(self.market.now() + 0.00009)}
        extra = {"req_id": asked["req_id"]} if "req_id" in asked else {}
        if method == "ping":
            client.send(json.dumps({"method": "pong", **extra, **times}))
        elif method in {"subscribe", "unsubscribe"} and params.get("channel") == "ticker":
            for symbol in params.get("symbol", []):
                self._subscribe(client, method, symbol, params, extra | times)
        else:
            error = {"error": "Method(s) not found", "method": method, "success": False, **extra, **times}
            client.send(json.dumps(error))

    def _subscribe(
        self, client: Client, method: str, symbol: str, params: Any, extra: dict[str, Any]
    ) -> None:
        base, _, quote = symbol.partition("/")
        if not quote or symbol != symbol.upper() or base in ALT.values() or no_such(symbol):
            error = f"Currency pair not supported {symbol}"
            body = {"error": error, "method": method, "success": False, "symbol": symbol, **extra}
            client.send(json.dumps(body))
            return
        result = {"channel": "ticker", "symbol": symbol}
        if method == "subscribe":
            snapshot = params.get("snapshot", True)
            result |= {"event_trigger": params.get("event_trigger", "trades"), "snapshot": snapshot}
        client.send(json.dumps({"method": method, "result": result, "success": True, **extra}))
        if method == "unsubscribe":
            client.items.pop(symbol, None)
            return
        client.items[symbol] = True
        if result["snapshot"]:
            price = self.feed_price(symbol)
            client.send(json.dumps(self._message("snapshot", symbol, price, self.market.now())))

    def feed_price(self, item: str) -> float:
        return self.market.price(item.replace("/", "_"))

    def messages(self, client: Client, item: str, price: float, at: float) -> list[str]:
        return [json.dumps(self._message("update", item, price, at))]

    def _message(self, kind: str, symbol: str, price: float, at: float) -> dict[str, Any]:
        step = 0.1 if price >= 1000 else 0.001
        return {
            "channel": "ticker",
            "type": kind,
            "data": [
                {
                    "symbol": symbol,
                    "bid": round(price - step, 10),
                    "bid_qty": 1.00421,
                    "ask": round(price + step, 10),
                    "ask_qty": 2.0,
                    "last": float(price),
                    "volume": 1380.9122011,
                    "vwap": round(price * 1.004, 5),
                    "low": round(price * 0.98, 5),
                    "high": round(price * 1.02, 5),
                    "change": round(price * -0.0125, 5),
                    "change_pct": -1.25,
                    "timestamp": iso(at),
                }
            ],
        }


def _asset_pair(base: str, quote: str) -> dict[str, Any]:
    fiat = quote.upper() in FIAT
    return {
        "altname": alt_name(base, quote),
        "wsname": f"{ALT.get(base, base.upper())}/{ALT.get(quote, quote.upper())}",
        "aclass_base": "currency",
        "base": OLD.get(base, ALT.get(base, base.upper())),
        "aclass_quote": "currency",
        "quote": f"Z{quote.upper()}" if fiat else OLD.get(quote, quote.upper()),
        "pair_decimals": 5,
        "lot_decimals": 8,
        "status": "online",
    }
