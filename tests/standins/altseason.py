"""The altcoin season index: CoinMarketCap's, and CoinGecko's prices to compute it from, at one address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn
from tests.standins.coingecko import CoinGecko
from tests.standins.market import DAY
from tests.standins.text import iso, midnight, payload

CMC_KEY = "cmc-key"
LATEST = "/v1/altcoin-season-index/latest"


class CoinMarketCap(StandIn):
    """The index is the market's `altseason`; without a key at /public-api, with CMC_KEY elsewhere."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        f"GET {LATEST}": "keyed",
        f"GET /public-api{LATEST}": "latest",
        "GET /v1/altcoin-season-index/historical": "historical",
    }
    PRICE_KEYS = frozenset({"altcoin_index"})
    hollow = False  # whether a 200 carries an error code instead of data

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return self._error(1008, "The per-minute request limit of this API Key was exceeded.", 429)

    def keyed(self, request: Request) -> Answer:
        """GET latest with a key."""
        return self._refusal(request) or self.latest(request)

    def latest(self, request: Request) -> Answer:
        """GET latest."""
        if self.hollow:
            return self._error(500, "An internal server error occurred", 200)
        body = payload("coinmarketcap-altseason-latest-success.json")
        body["data"]["altcoin_index"] = int(self.market.price("altseason", midnight(self.market.now())))
        body["status"]["timestamp"] = iso(self.market.now(), 3)
        return Answer(body)

    def historical(self, request: Request) -> Answer:
        """GET historical: a value a day, oldest first."""
        if refused := self._refusal(request):
            return refused
        days = int(request.query.get("time_period", "30d").rstrip("d"))
        today = midnight(self.market.now())
        times = [today - DAY * back for back in range(days - 1, -1, -1)]
        points = [
            {"timestamp": iso(at, 3), "altcoin_index": int(self.market.price("altseason", at))}
            for at in times
        ]
        status = payload("coinmarketcap-altseason-latest-success.json")["status"]
        return Answer(
            {"data": {"points": points}, "status": status | {"timestamp": iso(self.market.now(), 3)}}
        )

    def _refusal(self, request: Request) -> Answer | None:
        key = request.headers.get("x-cmc_pro_api_key") or request.headers.get("x-cmc-pro-api-key")
        if not key:
            return self._error(1002, "API key missing.", 401)
        return None if key == CMC_KEY else self._error(1001, "This API Key is invalid.", 401)

    def _error(self, code: int, message: str, status: int) -> Answer:
        body: dict[str, Any] = payload("coinmarketcap-error-401.json")
        body["status"] |= {
            "timestamp": iso(self.market.now(), 3),
            "error_code": code,
            "error_message": message,
        }
        return Answer(body, status)


class AltSeason(CoinGecko, CoinMarketCap):
    """Both services at one address: the collector takes one base_url for all it asks."""

    PRICE_KEYS = CoinGecko.PRICE_KEYS | CoinMarketCap.PRICE_KEYS

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        kind = CoinGecko if request.path.startswith("/api/v3/") else CoinMarketCap
        return kind.limited(self, request, retry_after)
