"""alternative.me: the Fear & Greed index, one value a day, newest first; all values are texts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from tests.standins.base import Answer, Request, StandIn
from tests.standins.market import DAY
from tests.standins.text import midnight, payload

CLASSES = ((24, "Extreme Fear"), (44, "Fear"), (55, "Neutral"), (75, "Greed"), (100, "Extreme Greed"))
FIRST_DAY = 1_517_443_200  # 2018-02-01, where the index begins
FORMATS = {"us": "%m-%d-%Y", "cn": "%Y/%m/%d", "kr": "%Y/%m/%d", "world": "%d-%m-%Y"}


class AlternativeMe(StandIn):
    """The index is the market's `fng`."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /fng": "fng"}
    PRICE_KEYS = frozenset({"value"})

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer("Too Many Requests", 429, headers, "text/plain")

    def fng(self, request: Request) -> Answer:
        """GET fng: `limit` rows (1), all of them with 0."""
        body = payload("alternative-me-fng-success.json")
        try:
            limit = int(request.query.get("limit") or 1)
        except ValueError:
            return Answer(payload("alternative-me-fng-error.json"))
        now = self.market.now()
        today = midnight(now)
        days = int((today - FIRST_DAY) // DAY) + 1
        style = FORMATS.get(request.query.get("date_format", ""))
        rows = []
        for back in range(days if limit == 0 else min(limit, days)):
            at = today - back * DAY
            value = self.market.price("fng", at)
            rows.append({
                "value": str(int(value)),
                "value_classification": next(name for most, name in CLASSES if value <= most),
                "timestamp": datetime.fromtimestamp(at, UTC).strftime(style) if style else str(int(at)),
            })  # fmt: skip
        rows[0]["time_until_update"] = str(int(today + DAY - now))
        return Answer(body | {"data": rows})
