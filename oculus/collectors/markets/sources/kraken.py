"""Kraken: the last trade of spot pairs; all pairs in one request, and a stream (version 2).

https://docs.kraken.com/api/docs/rest-api/get-ticker-information,
https://docs.kraken.com/api/docs/websocket-v2/ticker
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from oculus.clock import SECOND
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
    iso_time,
    number,
    quotes,
)
from oculus.collectors.markets.wire import Message, Refused, StreamError, Tick, Wire
from oculus.model import Micros

# Kraken's own names of what others call otherwise.
_OWN = {"btc": "XBT", "doge": "XDG"}

# What a body says about requests that came too fast, with a status of success.
_TOO_FAST = (
    "EAPI:Rate limit exceeded",
    "EService: Throttled",
    "EService:Throttled",
    "EGeneral:Temporary lockout",
)
_PAUSE = 30.0  # seconds: no time is given

_PAIRS_KEPT = 3_600 * SECOND


_BESIDE = {"bid": "bid", "ask": "ask", "change_24h": "change_pct", "volume_24h": "volume"}


class KrakenWire(Wire):
    """The `ticker` channel: an update with each trade."""

    name = "kraken"
    url = "wss://ws.kraken.com/v2"
    silence = 10.0  # a heartbeat comes each second

    @classmethod
    def keys(cls, item: Pair) -> Mapping[str, str]:
        return {"": f"{item.base}/{item.quote}".upper()}

    def subscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield _frame("subscribe", keys)

    def unsubscribe(self, keys: Sequence[str]) -> Iterable[str]:
        yield _frame("unsubscribe", keys)

    def read(self, text: str) -> Iterable[Message]:
        data = json.loads(text)
        if data.get("channel") == "ticker":
            for row in data["data"]:
                price, beside = number(row["last"], "the price"), figures(row, **_BESIDE)
                yield Tick(row["symbol"], price, iso_time(row.get("timestamp")), beside)
        elif data.get("method") == "subscribe" and not data.get("success", True):
            told = str(data.get("error", "refused"))
            if data.get("symbol"):
                yield Refused(str(data["symbol"]), told)
            else:
                raise StreamError(told)


def _frame(method: str, keys: Sequence[str]) -> str:
    params: dict[str, Any] = {"channel": "ticker", "symbol": list(keys)}
    if method == "subscribe":
        params |= {"event_trigger": "trades", "snapshot": True}
    return json.dumps({"method": method, "params": params})


class Kraken(Source):
    """`/0/public/Ticker` for all pairs at once. It gives no time: that of the answer stands for it."""

    name = "kraken"
    url = "https://api.kraken.com"
    rates = (Rate(1, 1.0), Rate(30, 60.0))
    batch = 100
    least = 2.0
    wire = KrakenWire

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._pairs: tuple[Micros, set[str]] | None = None  # when they were asked for, and their names

    def ask(self, items: Sequence[Pair]) -> Found:
        try:
            return self._ask(items)
        except UnknownItem:
            if len(items) == 1:
                raise
        # Which one it is, is not said; with a request a second, halving would take too long.
        served = self._served()
        known = [pair for pair in items if pair_name(pair) in served]
        found = dict(self._ask(known)) if known else {}
        for pair in set(items) - set(known):
            found[pair] = ItemError("does not know the pair")
        return found

    def _served(self) -> set[str]:
        """Return the names of all pairs; they are kept for an hour."""
        if self._pairs is None or self.now() - self._pairs[0] > _PAIRS_KEPT:
            data = self.get("/0/public/AssetPairs").json()
            result = data.get("result") if isinstance(data, dict) else None
            if not isinstance(result, dict) or not result:
                raise SourceError("the answer has no list of pairs")
            names = {str(row.get("altname")) for row in result.values() if isinstance(row, dict)}
            self._pairs = (self.now(), names)
        return self._pairs[1]

    def _ask(self, items: Sequence[Pair]) -> Found:
        answer = self.get("/0/public/Ticker", {"pair": ",".join(map(pair_name, items))})
        data = answer.json()
        errors = data.get("error") if isinstance(data, dict) else None
        for error in errors if isinstance(errors, list) else ():
            self._raise(str(error))
        result = data.get("result") if isinstance(data, dict) else None
        if not isinstance(result, dict):
            raise SourceError("the answer has no result")
        found: dict[Any, Quotes | ItemError] = {}
        for pair in items:
            row = _row(result, pair)
            if len(items) == 1 and row is None and len(result) == 1:
                row = next(iter(result.values()))
            found[pair] = _quotes(row, pair, answer.received)
        return found

    def _raise(self, error: str) -> None:
        if error.startswith("W"):  # a warning beside the result
            return
        if error.startswith("EQuery:Unknown asset pair"):
            raise UnknownItem("does not know the pair")
        if error.startswith(_TOO_FAST):
            self.refuse(_PAUSE, error)
        raise SourceError(error)


def pair_name(pair: Pair) -> str:
    """Return how a pair is asked for: XBTUSD."""
    return "".join(_OWN.get(name, name.upper()) for name in (pair.base, pair.quote))


def _row(result: Mapping[str, Any], pair: Pair) -> Any:
    """Return a pair's row.

    Old pairs are answered under names such as XXBTZUSD: a letter tells the kind of each half.
    """
    base, quote = (_OWN.get(name, name.upper()) for name in (pair.base, pair.quote))
    names = product(("", "X", "Z"), ("", "Z", "X"))
    return next((result[name] for b, q in names if (name := f"{b}{base}{q}{quote}") in result), None)


def _quotes(row: Any, pair: Pair, received: Any) -> Quotes | ItemError:
    try:
        price = number(row["c"][0], f"the price of {pair}")
        bid, ask = row["b"][0], row["a"][0]
    except ItemError as error:
        return error
    except (TypeError, KeyError, IndexError):
        return ItemError(f"the answer has no price of {pair}")
    return Quotes(quotes(price, received, bid=bid, ask=ask))
