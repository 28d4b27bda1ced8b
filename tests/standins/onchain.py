"""On-chain figures: Coin Metrics' community API, Glassnode (with a key), and BGeometrics.

All give the market's `mvrv` (a ratio) and `mvrv_z` (the Z-score); the value of a day comes after it closed.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import quote, urlencode

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.coingecko import SUPPLY
from tests.standins.market import DAY
from tests.standins.text import iso, midnight, payload

FIRST_DAY = 1_279_411_200  # 2010-07-18, where the series begin
METRICS = frozenset({"CapMVRVCur", "CapMrktCurUSD", "PriceUSD", "ReferenceRateUSD"})
PAID = frozenset({"CapRealUSD"})
GLASSNODE_KEY = "glassnode-key"
WINDOW, IN_WINDOW = 6.0, 10  # Coin Metrics' limit: requests in so many seconds
INTERVALS = {"10m": 600, "1h": 3600, "24h": 86_400, "1w": 604_800}


class CoinMetrics(StandIn):
    """`lag` is how many days the newest row is behind; the rate limit shows in the headers, and holds once
    `quota` is set."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /v4/timeseries/asset-metrics": "asset_metrics"}
    PRICE_KEYS = frozenset({"CapMVRVCur"})
    lag = 1

    def extra_headers(self, request: Request) -> Mapping[str, str]:
        now = time.monotonic()
        recent = sum(1 for each in self.requests if now - each.at < WINDOW)
        return _limits(max(0, IN_WINDOW - recent), round(WINDOW))

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        seconds = round(WINDOW) if retry_after is None else retry_after
        return Answer(payload("coinmetrics-error-429.json"), 429, _limits(0, seconds))

    def asset_metrics(self, request: Request) -> Answer:
        """GET asset-metrics: a page of days, oldest first, from the start of the series or from its end."""
        metrics = request.query.get("metrics", "").split(",")
        assets = request.query.get("assets", "").split(",")
        for metric in metrics:
            if metric in PAID:
                return Answer(payload("coinmetrics-error-403-forbidden.json"), 403)
            if metric not in METRICS:
                return _bad("metrics", metric)
        for asset in assets:
            if not asset or no_such(asset):
                return _bad("assets", asset)
        if (frequency := request.query.get("frequency", "1d")) != "1d":
            return _bad("frequency", frequency)
        last = midnight(self.market.now()) - self.lag * DAY
        start = _time(request.query.get("start_time"), FIRST_DAY)
        end = min(last, _time(request.query.get("end_time"), last))
        size = min(10_000, int(request.query.get("page_size") or 100))
        backwards = request.query.get("paging_from", "start") == "end"
        if token := request.query.get("next_page_token"):
            at = _time(base64.b64decode(token.partition(".")[2] + "==").decode(), start)
            start, end = (start, at - DAY) if backwards else (at + DAY, end)
        days = [start + DAY * index for index in range(int((end - start) // DAY) + 1)]
        page = days[-size:] if backwards else days[:size]
        body: dict[str, Any] = {"data": [self._row(asset, metrics, at) for asset in assets for at in page]}
        if len(page) < len(days):
            edge = iso(page[0] if backwards else page[-1], 0)
            token = "0." + base64.b64encode(edge.encode()).decode().rstrip("=")
            query = urlencode({**request.query, "next_page_token": token}, safe=",", quote_via=quote)
            body |= {"next_page_token": token, "next_page_url": f"{self.url}{request.path}?{query}"}
        return Answer(body)

    def _row(self, asset: str, metrics: list[str], at: float) -> dict[str, Any]:
        row: dict[str, Any] = {"asset": asset, "time": iso(at, 9)}
        price = self.market.price(f"{asset}_usd", at)
        for metric in metrics:
            values = {"CapMVRVCur": self.market.price("mvrv", at), "CapMrktCurUSD": price * SUPPLY}
            row[metric] = repr(values.get(metric, price))
        return row


class Glassnode(StandIn):
    """Wants GLASSNODE_KEY, in the header or in the query."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /v1/metrics/market/mvrv": "mvrv",
        "GET /v1/metrics/market/mvrv_z_score": "mvrv_z_score",
    }
    PRICE_KEYS = frozenset({"v"})

    def extra_headers(self, request: Request) -> Mapping[str, str]:
        return {"x-rate-limit-limit": "600", "x-rate-limit-remaining": "598", "x-rate-limit-reset": "41"}

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        seconds = 12 if retry_after is None else retry_after
        headers = {"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(seconds)}
        return Answer(payload("glassnode-error-429.txt"), 429, headers, "text/plain")

    def answer(self, request: Request) -> Answer:
        if (request.headers.get("x-api-key") or request.query.get("api_key")) != GLASSNODE_KEY:
            return Answer(payload("glassnode-error-401.txt"), 401, type="text/plain")
        return super().answer(request)

    def mvrv(self, request: Request) -> Answer:
        """GET mvrv: the ratio."""
        return self._series(request, "mvrv")

    def mvrv_z_score(self, request: Request) -> Answer:
        """GET mvrv_z_score."""
        return self._series(request, "mvrv_z")

    def _series(self, request: Request, item: str) -> Answer:
        step = INTERVALS.get(request.query.get("i", "24h"))
        if request.query.get("a", "").upper() not in {"BTC", "ETH"} or step is None:
            return Answer("invalid parameter", 400, type="text/plain")
        now = self.market.now()
        first = float(request.query.get("s") or FIRST_DAY)
        last = min(now - step, float(request.query.get("u") or now))  # the running interval is not given
        start, end = -(-int(first) // step), int(last) // step
        humanized = request.query.get("timestamp_format") == "humanized"
        times = [index * step for index in range(start, end + 1)]
        return Answer(
            [{"t": iso(at, 0) if humanized else at, "v": self.market.price(item, at)} for at in times]
        )


class BGeometrics(StandIn):
    """Without a key."""

    ROUTES: ClassVar[Mapping[str, str]] = {"GET /v1/mvrv-zscore/last": "last", "GET /v1/mvrv-zscore": "all"}
    PRICE_KEYS = frozenset({"mvrvZscore"})

    def last(self, request: Request) -> Answer:
        """GET last: yesterday's value."""
        return Answer(self._row(midnight(self.market.now()) - DAY))

    def all(self, request: Request) -> Answer:
        """GET the last year, oldest first."""
        last = midnight(self.market.now()) - DAY
        return Answer([self._row(last - DAY * back) for back in range(364, -1, -1)])

    def _row(self, at: float) -> dict[str, Any]:
        value = self.market.price("mvrv_z", at)
        return {
            "d": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d"),
            "unixTs": int(at),
            "mvrvZscore": value,
        }


def _limits(remaining: int, reset: int) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(IN_WINDOW),
        "x-ratelimit-remaining": str(remaining),
        "x-ratelimit-reset": str(reset),
        "x-ratelimit-plan": "community",
    }


def _bad(name: str, value: str) -> Answer:
    body = payload("coinmetrics-error-400-bad-parameter.json")
    body["error"]["message"] = f"Bad parameter '{name}'. Value '{value}' is not supported."
    return Answer(body, 400)


def _time(text: str | None, default: float) -> float:
    """Return a day's start from `2026-08-19` or a full time."""
    found = re.match(r"\d{4}-\d\d-\d\d", text or "")
    return datetime.fromisoformat(found.group()).replace(tzinfo=UTC).timestamp() if found else default
