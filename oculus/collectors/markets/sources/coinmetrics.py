"""Coin Metrics: MVRV of bitcoin (market value over realised value), once a day; free without a key.

https://docs.coinmetrics.io/api/v4/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oculus.clock import DAY, SECOND
from oculus.collectors.fetch import Answer, redact
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    field_of,
    iso_time,
    number,
)
from oculus.model import Micros

PAID_URL = "https://api.coinmetrics.io/v4"

_METRIC = "CapMVRVCur"
_DAYS = 5  # that are asked for: the newest may have no value yet

# Longest rest: the value of a day comes some hours after its end, and nobody tells when.
_AT_MOST = 6 * 3_600.0  # seconds


class CoinMetrics(Source):
    """`/timeseries/asset-metrics`: the newest day that has a value."""

    name = "coinmetrics"
    url = "https://community-api.coinmetrics.io/v4"
    rates = (Rate(10, 6.0),)
    least = 60.0

    def ask(self, items: Sequence[Any]) -> Found:
        params = {
            "assets": "btc",
            "metrics": _METRIC,
            "frequency": "1d",
            "page_size": str(_DAYS),
            "paging_from": "end",
        }
        key = self.options.api_key
        if key:
            params["api_key"] = key
        answer = self.get("/timeseries/asset-metrics", params, url=PAID_URL if key else "")
        quote = _newest(_checked(answer))
        return dict.fromkeys(items, Quotes((quote,), rest_of_day(quote.ts, self.now())))


def rest_of_day(ts: Micros | None, present: Micros) -> float | None:
    """Return the seconds for which a value of the day that began at `ts` stays the newest, at most 6 hours.

    That of the next day comes after that day's end; None when it is due.
    """
    left = 0.0 if ts is None else (ts + 2 * DAY - present) / SECOND
    return min(left, _AT_MOST) if left > 0 else None


def _checked(answer: Answer) -> Any:
    """Return what the answer holds; raises SourceError with the service's own words if there are any."""
    if answer.status == 200:
        return answer.json()
    try:
        told = answer.any_json()["error"]["message"]
    except (SourceError, LookupError, TypeError):
        told = answer.snippet
    raise SourceError(f"status {answer.status}: {redact(str(told), answer.secrets)[:200]}")


def _newest(data: Any) -> Quote:
    rows = field_of(data, "data", "the answer")
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise ItemError("the answer has no list of days")
    dated = [(ts, row) for row in rows if (ts := iso_time(row.get("time"))) is not None]
    for ts, row in sorted(dated, key=lambda pair: pair[0], reverse=True):
        value = field_of(row, _METRIC, "mvrv")
        if value is not None:
            return Quote(number(value, "mvrv"), ts)
    raise ItemError(f"mvrv has no value in the last {_DAYS} days")
