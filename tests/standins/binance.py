"""Binance spot: ticker/price, ticker/24hr and klines with the weights of requests; WebSocket streams.

Pairs are quoted in USDT; there is none in USD. One unknown symbol fails a whole list.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import gevent

from tests.standins.base import Answer, Client, Request, StandIn, no_such
from tests.standins.market import DAY
from tests.standins.text import fixed, millis, payload

QUOTES = ("USDT", "USDC", "FDUSD", "EUR", "BTC", "ETH", "TRY")
LISTED = ("BTC", "ETH", "SOL", "XRP", "BNB", "ADA", "DOGE", "DOT", "LTC", "LINK", "AVAX", "TRX")
KINDS = frozenset({"ticker", "miniTicker", "trade"})  # of streams
INTERVALS = {"1s": 1, "1m": 60, "3m": 180, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "2h": 7200,
             "4h": 14_400, "6h": 21_600, "8h": 28_800, "12h": 43_200, "1d": 86_400}  # fmt: skip
FIRST_TRADE = 4_102_911_224
MOST_WEIGHT = 6000  # a minute
MOST_MESSAGES = 5  # a second, from one client


def asset_of(symbol: str) -> str | None:
    """Return Oculus's name of a symbol, `btc_usdt`; None when there is no such symbol."""
    for quote in QUOTES:
        base = symbol.removesuffix(quote)
        if base and base != symbol and symbol == symbol.upper() and symbol.isalnum() and not no_such(symbol):
            return f"{base}_{'usdt' if quote == 'FDUSD' else quote}".lower()
    return None


class Binance(StandIn):
    """The market data host. `ping_every` and `pong_within` are in seconds."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /api/v3/ping": "ping",
        "GET /api/v3/time": "time",
        "GET /api/v3/ticker/price": "price",
        "GET /api/v3/ticker/24hr": "day",
        "GET /api/v3/klines": "klines",
    }
    WS_PATHS = ("/ws", "/stream")
    PRICE_KEYS = frozenset({"price", "lastPrice"})
    ping_every = 20.0
    pong_within = 60.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._weights: list[tuple[float, int]] = []
        self._trade = FIRST_TRADE
        super().__init__(*arguments, **options)

    def native(self, item: str) -> str:
        base, _, quote = item.partition("_")
        return f"{base}{'usdt' if quote == 'usd' else quote}".upper()

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer(payload("binance-error-429.json"), 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer("<html><body><h2>404 Not Found</h2></body></html>", 404, type="text/html")

    def extra_headers(self, request: Request) -> Mapping[str, str]:
        return {"X-MBX-USED-WEIGHT-1M": str(self.used_weight())}

    def used_weight(self) -> int:
        """Return the weight of the requests of the last minute."""
        start = time.monotonic() - 60
        self._weights = [(at, weight) for at, weight in self._weights if at > start]
        return sum(weight for _, weight in self._weights)

    def ping(self, request: Request) -> Answer:
        """GET ping."""
        return self._weighed(1, {})

    def time(self, request: Request) -> Answer:
        """GET time."""
        return self._weighed(1, {"serverTime": millis(self.market.now())})

    def price(self, request: Request) -> Answer:
        """GET ticker/price: one symbol, several, or all; no time in it."""
        symbols = _symbols(request)
        if isinstance(symbols, Answer):
            return symbols
        rows = [
            {"symbol": each, "price": fixed(self.market.price(asset), 8)} for each, asset in symbols.items()
        ]
        return self._weighed(
            2 if "symbol" in request.query else 4, rows[0] if "symbol" in request.query else rows
        )

    def day(self, request: Request) -> Answer:
        """GET ticker/24hr: one symbol, several, or all; FULL or MINI."""
        symbols = _symbols(request)
        if isinstance(symbols, Answer):
            return symbols
        mini = request.query.get("type") == "MINI"
        rows = [self._day(symbol, asset, mini) for symbol, asset in symbols.items()]
        listed = "symbol" in request.query or "symbols" in request.query
        weight = 80 if not listed or len(rows) > 100 else 40 if len(rows) > 20 else 2
        return self._weighed(weight, rows[0] if "symbol" in request.query else rows)

    def klines(self, request: Request) -> Answer:
        """GET klines: oldest first, the last one still open."""
        asset = asset_of(request.query.get("symbol", ""))
        step = INTERVALS.get(request.query.get("interval", ""))
        if asset is None:
            return _error("unknown-symbol")
        if step is None:
            return Answer({"code": -1120, "msg": "Invalid interval."}, 400)
        count = min(1000, int(request.query.get("limit") or 500))
        last = int(self.market.now()) // step * step
        starts = range(last - step * (count - 1), last + 1, step)
        return self._weighed(2, [self._kline(asset, start, step) for start in starts])

    def _kline(self, asset: str, start: int, step: int) -> list[Any]:
        prices = [self.market.price(asset, start + step * part / 4) for part in range(5)]
        figures = [prices[0], max(prices), min(prices), prices[-1]]
        rest = [(start + step) * 1000 - 1, "1154220.10221000", 2031, "7.10220000", "577180.20110000", "0"]
        return [start * 1000, *(fixed(each, 8) for each in figures), "14.20110000", *rest]

    def _day(self, symbol: str, asset: str, mini: bool) -> dict[str, Any]:
        quote = self.market.quote(asset)
        body: dict[str, Any] = payload(f"binance-ticker-24hr{'-mini' if mini else ''}-success.json")
        figures = {
            "symbol": symbol,
            "priceChange": fixed(round(quote.value - quote.previous, 8), 8),
            "priceChangePercent": f"{quote.change:.3f}",
            "weightedAvgPrice": fixed(quote.value, 8),
            "prevClosePrice": fixed(quote.previous, 8),
            "lastPrice": fixed(quote.value, 8),
            "bidPrice": fixed(quote.bid, 8),
            "askPrice": fixed(quote.ask, 8),
            "openPrice": fixed(quote.previous, 8),
            "highPrice": fixed(quote.high, 8),
            "lowPrice": fixed(quote.low, 8),
            "openTime": millis(quote.at - DAY),
            "closeTime": millis(quote.at),
        }
        return body | {key: value for key, value in figures.items() if key in body}

    def _weighed(self, weight: int, body: Any) -> Answer:
        self._weights.append((time.monotonic(), weight))
        return Answer(body)

    # --- streams

    def announce_shutdown(self, after: float = 1.0) -> None:
        """Tell all clients that the server goes down, and close their connections `after` so many seconds."""
        clients = list(self.clients)
        for client in clients:
            client.send(json.dumps({"e": "serverShutdown", "E": millis(self.market.now())}))

        def close() -> None:
            for client in clients:
                client.close(1001, "server shutdown")

        gevent.spawn_later(after, close)

    def on_open(self, client: Client) -> None:
        path, _, query = client.target.partition("?")
        client.notes["combined"] = path.startswith("/stream")
        names = query.removeprefix("streams=") if query else path.removeprefix("/ws").strip("/")
        for name in names.replace("%40", "@").replace("%2F", "/").split("/"):
            self._subscribe(client, name)

    def keep(self, client: Client) -> None:
        super().keep(client)
        while True:
            gevent.sleep(self.ping_every)
            pongs = client.pongs
            client.ping()
            end = time.monotonic() + self.pong_within
            while client.pongs == pongs and time.monotonic() < end:
                gevent.sleep(min(0.5, self.pong_within / 4))
            if client.pongs == pongs:
                client.drop()
                return

    def on_message(self, client: Client, text: str) -> None:
        now = time.monotonic()
        recent = [at for at in client.notes.get("messages", []) if at > now - 1] + [now]
        client.notes["messages"] = recent
        if len(recent) > MOST_MESSAGES:
            client.close(1008, "Too many requests")
            return
        try:
            asked = json.loads(text)
            method, number = asked.get("method"), asked.get("id")
        except (ValueError, AttributeError):
            client.send(json.dumps({"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}))
            return
        streams = asked.get("params") or []
        if method == "SUBSCRIBE":
            for name in streams:
                self._subscribe(client, name)
        elif method == "UNSUBSCRIBE":
            for name in streams:
                symbol, _, kind = name.upper().partition("@")
                kinds = client.items.get(symbol, {})
                for found in [each for each in kinds if each.upper() == kind]:
                    del kinds[found]
                if not kinds:
                    client.items.pop(symbol, None)
        elif method == "LIST_SUBSCRIPTIONS":
            names = [name for kinds in client.items.values() for name in kinds.values()]
            client.send(json.dumps({"result": names, "id": number}))
            return
        else:
            client.send(json.dumps(payload("binance-ws-error.json") | {"id": number}))
            return
        client.send(json.dumps({"result": None, "id": number}))

    def _subscribe(self, client: Client, name: str) -> None:
        """Note a stream; one of an unknown symbol or in upper case simply never sends."""
        symbol, _, kind = name.partition("@")
        if kind in KINDS and symbol == symbol.lower() and asset_of(symbol.upper()):
            client.items.setdefault(symbol.upper(), {})[kind] = name

    def count(self, item: str) -> None:
        self._trade += 1

    def feed_price(self, item: str) -> float:
        return self.market.price(asset_of(item) or "")

    def messages(self, client: Client, item: str, price: float, at: float) -> list[str]:
        found = []
        for kind, stream in client.items[item].items():
            body = self._message(kind, item, price, at)
            found.append(json.dumps({"stream": stream, "data": body} if client.notes["combined"] else body))
        return found

    def _message(self, kind: str, symbol: str, price: float, at: float) -> dict[str, Any]:
        text, sent = fixed(price, 8), millis(at)
        if kind == "trade":
            return {"e": "trade", "E": sent, "s": symbol, "t": self._trade, "p": text, "q": "0.00100000",
                    "T": sent, "m": True, "M": True}  # fmt: skip
        opened, high, low = (fixed(round(price * factor, 8), 8) for factor in (1.0125, 1.02, 0.98))
        volumes = {"v": "21880.41023000", "q": "1792051876.33120000"}
        if kind == "miniTicker":
            return {
                "e": "24hrMiniTicker",
                "E": sent,
                "s": symbol,
                "c": text,
                "o": opened,
                "h": high,
                "l": low,
                **volumes,
            }
        step = 0.01 if price >= 1 else 1e-8
        return {
            "e": "24hrTicker", "E": sent, "s": symbol,
            "p": fixed(round(price * -0.0125, 8), 8), "P": "-1.235",
            "w": fixed(round(price * 1.004, 8), 8), "x": opened, "c": text, "Q": "0.00412000",
            "b": fixed(round(price - step, 10), 8), "B": "3.10420000",
            "a": fixed(round(price + step, 10), 8), "A": "1.88200000",
            "o": opened, "h": high, "l": low, **volumes, "O": sent - 86_400_000, "C": sent,
            "F": FIRST_TRADE - 1_800_000, "L": self._trade, "n": 2_910_113,
        }  # fmt: skip


def _symbols(request: Request) -> dict[str, str] | Answer:
    """Return symbol → asset of a request, or the error."""
    one, several = request.query.get("symbol"), request.query.get("symbols")
    if one is not None and several is not None:
        return Answer({"code": -1128, "msg": "Combination of optional parameters invalid."}, 400)
    if one is None and several is None:
        names = [f"{base}USDT" for base in LISTED]
    elif several is None:
        names = [one or ""]
    else:
        try:
            names = [str(name) for name in json.loads(several)]
        except ValueError:
            names = []
        if not names or " " in several:
            msg = "Illegal characters found in parameter 'symbols'."
            return Answer({"code": -1100, "msg": msg}, 400)
    if names == [""]:
        return _error("missing-param")
    found = {name: asset for name in names if (asset := asset_of(name))}
    return found if len(found) == len(set(names)) else _error("unknown-symbol")


def _error(name: str) -> Answer:
    return Answer(payload(f"binance-error-{name}.json"), 400)
