"""Coinbase Exchange: the last trade of a product, one product a request, and a stream.

https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductticker
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from oculus.collectors.fetch import Answer
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Pair,
    Quotes,
    Source,
    SourceError,
    UnknownItem,
    field_of,
    figures,
    iso_time,
    number,
    optional,
    quotes,
)
from oculus.collectors.markets.wire import Message, Missed, Refused, StreamError, Tick, Wire


class CoinbaseWire(Wire):
    """The channels `ticker`, a message with each trade, and `heartbeat`, which tells its number."""

    name = "coinbase"
    url = "wss://ws-feed.exchange.coinbase.com"
    silence = 10.0  # a heartbeat comes each second for each product
    strict = True

    def __init__(self) -> None:
        self._sequences: dict[str, int] = {}
        self._trades: dict[str, int] = {}

    @classmethod
    def keys(cls, item: Pair) -> Mapping[str, str]:
        return {"": product(item)}

    def subscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield _frame("subscribe", keys)

    def unsubscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield _frame("unsubscribe", keys)

    def read(self, text: str) -> Iterable[Message]:
        data = json.loads(text)
        kind = data.get("type")
        if kind == "ticker":
            yield from self._ticker(data)
        elif kind == "heartbeat":
            yield from self._heartbeat(data)
        elif kind == "error":
            told = str(data.get("reason") or data.get("message") or "refused")
            key = next((word for word in told.split() if "-" in word), "")
            if not key:
                raise StreamError(told)
            yield Refused(key.upper(), told)

    def _ticker(self, data: Mapping[str, Any]) -> Iterable[Message]:
        key, sequence = data["product_id"], data.get("sequence")
        if isinstance(sequence, int):
            if sequence <= self._sequences.get(key, -1):
                return  # older than what was seen
            self._sequences[key] = sequence
        trade = optional(data.get("trade_id"))
        if trade is not None:
            self._trades[key] = int(trade)
        price, before = number(data["price"], "the price"), optional(data.get("open_24h"))
        beside = figures(data, bid="best_bid", ask="best_ask", volume_24h="volume_24h")
        if before:
            beside["change_24h"] = 100.0 * (price / before - 1.0)
        yield Tick(key, price, iso_time(data.get("time")), beside)

    def _heartbeat(self, data: Mapping[str, Any]) -> Iterable[Message]:
        """Tell a gap: the last trade that there was is not one that came."""
        key, last = data.get("product_id", ""), optional(data.get("last_trade_id"))
        seen = self._trades.get(key)
        if last is not None and seen is not None and last > seen:
            self._trades[key] = int(last)  # told once
            yield Missed(key)


def _frame(method: str, keys: Sequence[str]) -> str:
    return json.dumps({"type": method, "product_ids": list(keys), "channels": ["ticker", "heartbeat"]})


class Coinbase(Source):
    """`/products/{id}/ticker`."""

    name = "coinbase"
    url = "https://api.exchange.coinbase.com"
    rates = (Rate(10, 1.0),)
    least = 2.0
    wire = CoinbaseWire

    def ask(self, items: Sequence[Pair]) -> Found:
        (pair,) = items
        data = _checked(self.get(f"/products/{product(pair)}/ticker"))
        price = number(field_of(data, "price", "the answer"), f"the price of {pair}")
        beside = {name: data.get(key) for name, key in (("bid", "bid"), ("ask", "ask"))}
        found: dict[Any, Quotes | ItemError] = {}
        found[pair] = Quotes(quotes(price, iso_time(data.get("time")), **beside))
        return found


def product(pair: Pair) -> str:
    """Return the exchange's name of a pair: BTC-USD."""
    return f"{pair.base}-{pair.quote}".upper()


def _checked(answer: Answer) -> Any:
    if answer.status == 404:
        raise UnknownItem("does not know the product")
    if answer.status != 200:
        try:
            told = str(answer.any_json()["message"])[:200]
        except (SourceError, TypeError, KeyError):
            told = answer.snippet
        raise SourceError(f"status {answer.status}: {told}")
    return answer.json()
