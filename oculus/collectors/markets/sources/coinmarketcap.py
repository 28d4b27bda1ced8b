"""CoinMarketCap: its own altcoin season index (of the top 100, over 90 days), 0 to 100; needs a key.

https://coinmarketcap.com/api/documentation/v1/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from oculus.collectors.fetch import Answer, redact
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    Quote,
    Quotes,
    Source,
    SourceError,
    field_of,
    iso_time,
    optional,
    percent,
)

# Silence after an error of that code, in seconds: the limit of a minute, a day, a month, an address.
_SILENCE = {1008: 60.0, 1009: 3_600.0, 1010: 3_600.0, 1011: 60.0}


class CoinMarketCap(Source):
    """`/v1/altcoin-season-index/latest`."""

    name = "coinmarketcap"
    url = "https://pro-api.coinmarketcap.com"
    rates = (Rate(30, 60.0),)
    least = 60.0

    def ask(self, items: Sequence[Any]) -> Found:
        headers = {"X-CMC_PRO_API_KEY": self.options.api_key}
        answer = self.get("/v1/altcoin-season-index/latest", headers=headers)
        data = answer.any_json() if answer.status == 200 else _any(answer)
        about = data.get("status") if isinstance(data, dict) else None
        self._check(answer, about if isinstance(about, dict) else {})
        found = field_of(data, "data", "the answer")
        value = percent(field_of(found, "altcoin_index", "altseason"), "altseason")
        # The index has no time of its own: it is the one of now.
        ts = iso_time(about.get("timestamp")) if isinstance(about, dict) else None
        return dict.fromkeys(items, Quotes((Quote(value, ts or answer.received),)))

    def _check(self, answer: Answer, about: dict[str, Any]) -> None:
        """Raise SourceError for an error, which may come with any status."""
        code = int(optional(about.get("error_code")) or 0)
        if not code:
            answer.expect_success()
            return
        message = redact(str(about.get("error_message") or "no reason given"), answer.secrets)[:200]
        if code in _SILENCE:
            self.refuse(_SILENCE[code], message)
        raise SourceError(f"error {code}: {message}")


def _any(answer: Answer) -> Any:
    """Return the JSON of a failure, or None where there is none."""
    try:
        return answer.any_json()
    except SourceError:
        return None
