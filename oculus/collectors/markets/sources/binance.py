"""Binance spot: the last trade of symbols, many in one request, and a stream. A dollar is a USDT there.

The host for market data alone needs no key and is open where the main one is not.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
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
    figures,
    millis_time,
    number,
    quotes,
)
from oculus.collectors.markets.wire import Message, StreamError, Tick, Wire

_UNKNOWN_SYMBOL = -1121
_BLOCKED = 451  # this place is not served; asking again changes nothing
_BLOCKED_PAUSE = 6 * 3_600.0  # seconds


class BinanceWire(Wire):
    """The streams `<symbol>@ticker`: a message each second."""

    name = "binance"
    url = "wss://data-stream.binance.vision/ws"
    capacity = 400  # of 1,024 that a connection may have
    silence = 60.0  # a ping comes every 20 s

    def __init__(self) -> None:
        self._ids = count(1)

    @classmethod
    def keys(cls, item: Pair) -> Mapping[str, str]:
        return {"": symbol(item)}

    def subscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield self._frame("SUBSCRIBE", keys)

    def unsubscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield self._frame("UNSUBSCRIBE", keys)

    def _frame(self, method: str, keys: Sequence[str]) -> str:
        params = [f"{key.lower()}@ticker" for key in keys]
        return json.dumps({"method": method, "params": params, "id": next(self._ids)})

    def read(self, text: str) -> Iterable[Message]:
        data = json.loads(text)
        data = data.get("data", data)
        kind = data.get("e")
        if kind in ("24hrTicker", "24hrMiniTicker"):
            price = number(data["c"], "the price")
            beside = figures(data, bid="b", ask="a", change_24h="P", volume_24h="v")
            yield Tick(data["s"], price, millis_time(data.get("E")), beside)
        elif kind == "trade":
            yield Tick(data["s"], number(data["p"], "the price"), millis_time(data.get("T")))
        elif kind == "serverShutdown":
            raise StreamError("the source closes its connections for a while")
        elif "code" in data and "msg" in data:
            raise StreamError(str(data["msg"])[:200])


class Binance(Source):
    """`/api/v3/ticker/24hr` for all symbols at once."""

    name = "binance"
    url = "https://data-api.binance.vision"
    # 6,000 a minute of weight; a request for up to 100 symbols weighs 40.
    rates = (Rate(120, 60.0),)
    batch = 100
    least = 1.0
    wire = BinanceWire

    def ask(self, items: Sequence[Pair]) -> Found:
        names = {pair: symbol(pair) for pair in items}
        wanted = json.dumps(list(dict.fromkeys(names.values())), separators=(",", ":"))
        params = {"symbol": names[items[0]]} if len(items) == 1 else {"symbols": wanted}
        data = self._checked(self.get("/api/v3/ticker/24hr", params))
        rows = data if isinstance(data, list) else [data]
        by_name = {row.get("symbol"): row for row in rows if isinstance(row, dict)}
        return {pair: _quotes(by_name.get(name), pair) for pair, name in names.items()}

    def _checked(self, answer: Answer) -> Any:
        if answer.status == 200:
            return answer.json()
        try:
            data = answer.any_json()
            code, told = data["code"], str(data["msg"])[:200]
        except (SourceError, TypeError, KeyError):
            code, told = 0, answer.snippet
        if code == _UNKNOWN_SYMBOL:
            raise UnknownItem("does not know the symbol")
        why = f"status {answer.status}: {told}"
        if answer.status == _BLOCKED:
            self.refuse(_BLOCKED_PAUSE, why)
        raise SourceError(why)


def symbol(pair: Pair) -> str:
    """Return the exchange's name of a pair. It has no US dollars: a USDT stands for one."""
    return f"{pair.base}{'usdt' if pair.quote == 'usd' else pair.quote}".upper()


def _quotes(row: Any, pair: Pair) -> Quotes | ItemError:
    if not isinstance(row, dict) or "lastPrice" not in row:
        return ItemError(f"the answer has no price of {pair}")
    try:
        price = number(row["lastPrice"], f"the price of {pair}")
    except ItemError as error:
        return error
    beside = figures(
        row, bid="bidPrice", ask="askPrice", change_24h="priceChangePercent", volume_24h="volume"
    )
    return Quotes(quotes(price, millis_time(row.get("closeTime")), **beside))
