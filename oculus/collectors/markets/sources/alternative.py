"""alternative.me: the Fear & Greed index of crypto, 0 to 100, once a day.

https://alternative.me/crypto/fear-and-greed-index/#api
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oculus.collectors.fetch import Answer
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    field_of,
    optional,
    percent,
    seconds_time,
)

# The service tells in how many seconds the next value comes. It is looked for a little later, and within
# the hour whatever was told, so that a wrong hint does no harm.
_LATER, _AT_MOST = 60.0, 3_600.0  # seconds


class Alternative(Source):
    """`/fng/`: the newest value."""

    name = "alternative"
    url = "https://api.alternative.me"
    rates = (Rate(10, 60.0),)  # none is published
    least = 60.0

    def ask(self, items: Sequence[Any]) -> Found:
        quotes = _read(self.get("/fng/", {"limit": "1"}))
        return dict.fromkeys(items, quotes)


def _read(answer: Answer) -> Quotes:
    data = answer.json()
    about = data.get("metadata") if isinstance(data, dict) else None
    told = about.get("error") if isinstance(about, dict) else None
    if told:
        raise SourceError(str(told)[:200])
    rows = field_of(data, "data", "the answer")
    if not isinstance(rows, list) or not rows:
        raise ItemError("the answer has no value of fng")
    value = percent(field_of(rows[0], "value", "fng"), "fng")
    ts = seconds_time(rows[0].get("timestamp")) or answer.received
    left = optional(rows[0].get("time_until_update"))
    rest = None if left is None else min(max(left, 0.0) + _LATER, _AT_MOST)
    return Quotes((Quote(value, ts),), rest)
