"""Glassnode: MVRV of bitcoin (market value over realised value), once a day; needs a key of a paid plan.

https://docs.glassnode.com/basic-api/endpoints/market
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oculus.clock import DAY, SECOND
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    field_of,
    number,
    seconds_time,
)
from oculus.collectors.markets.sources.coinmetrics import rest_of_day

_DAYS = 5  # that are asked for: the newest may have no value yet


class Glassnode(Source):
    """`/v1/metrics/market/mvrv`: the newest day that has a value."""

    name = "glassnode"
    url = "https://api.glassnode.com"
    rates = (Rate(600, 60.0),)
    least = 60.0

    def ask(self, items: Sequence[Any]) -> Found:
        since = (self.now() - _DAYS * DAY) // SECOND
        answer = self.get(
            "/v1/metrics/market/mvrv",
            {"a": "BTC", "i": "24h", "s": str(since)},
            # Not as a parameter: addresses end in logs of proxies.
            headers={"X-Api-Key": self.options.api_key},
        )
        quote = _newest(answer.json())
        return dict.fromkeys(items, Quotes((quote,), rest_of_day(quote.ts, self.now())))


def _newest(rows: Any) -> Quote:
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ItemError("the answer is not a list of days")
    dated = [(ts, row) for row in rows if (ts := seconds_time(row.get("t"))) is not None]
    for ts, row in sorted(dated, key=lambda pair: pair[0], reverse=True):
        value = field_of(row, "v", "mvrv")
        if value is not None:
            return Quote(number(value, "mvrv"), ts)
    raise ItemError(f"mvrv has no value in the last {_DAYS} days")
