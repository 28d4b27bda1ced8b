"""Yahoo Finance: the last regular price of a stock, index, fund or currency; one request for each.

The chart of `/v8/finance/chart`, which works without a key and is documented nowhere. Its head has the quote
and the hours of a session, so one bar is asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from urllib.parse import quote as encoded

from oculus.clock import SECOND
from oculus.collectors.fetch import Answer
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    UnknownItem,
    field_of,
    number,
    optional,
    seconds_time,
)
from oculus.collectors.markets.sources.hours import Session, Standing, same_time_later, standing
from oculus.model import Micros
from oculus.zones import zone

# Statuses that tell of the symbol, not of the service; the body then says so too.
_OF_THE_SYMBOL = frozenset({400, 404, 422})
_NOT_FOUND = 404

# After an opening the symbols are asked for within this time, each at its own moment.
SPREAD = 4.0  # seconds

_LONGEST = 2 * 86_400.0  # seconds: a session that lasts longer is none


class Yahoo(Source):
    """The chart of one day."""

    name = "yahoo"
    url = "https://query1.finance.yahoo.com"
    # No limit is published; users report that one request per symbol and minute is borne (`least`, and the
    # usual interval). This bounds what a start or an opening asks for at once.
    rates = (Rate(5, 1.0),)
    least = 60.0

    def ask(self, items: Sequence[str]) -> Found:
        return {ticker: self._ask(ticker) for ticker in items}

    def _ask(self, ticker: str) -> Quotes | ItemError:
        path = f"/v8/finance/chart/{encoded(ticker, safe='')}"
        answer = self.get(path, {"range": "1d", "interval": "1d"})
        try:
            meta = _meta(answer, ticker)
            price = number(field_of(meta, "regularMarketPrice", ticker), f"the price of {ticker}")
        except ItemError as error:
            return error
        ts = seconds_time(meta.get("regularMarketTime"))
        if ts is None:  # stamped with the present it would look fresh, be it of last week
            return ItemError(f"the price of {ticker} comes without its time")
        stands = market(meta, self.now() / SECOND, ts / SECOND)
        rest = None if stands.rest is None else stands.rest + moment(ticker)
        return Quotes(tuple(_quotes(meta, price, ts, stands, answer.received)), rest, stands.state)


def moment(ticker: str) -> float:
    """Return how long after an opening a symbol is asked for, in seconds: always the same."""
    return 0.5 + SPREAD * zlib.crc32(ticker.encode()) / 2**32


def market(meta: Mapping[str, Any], now: float, quoted: float) -> Standing:
    """Tell how a quote stands to the hours that came with it; times in seconds since 1970.

    Weekends and holidays may show the session before or the one to come.
    """
    periods = meta.get("currentTradingPeriod")
    if not isinstance(periods, dict):
        return Standing()
    opens, closes = _period(periods.get("regular"))
    if opens is None or closes is None or not opens < closes < opens + _LONGEST:
        return Standing()
    session = Session(opens, closes, _period(periods.get("pre"))[0], _period(periods.get("post"))[1])
    return standing(now, quoted, session, same_time_later(opens, now, _zone(meta)))


def _period(period: Any) -> tuple[float | None, float | None]:
    if not isinstance(period, dict):
        return None, None
    found = (seconds_time(period.get(key)) for key in ("start", "end"))
    first, last = (None if each is None else each / SECOND for each in found)
    return first, last


def _zone(meta: Mapping[str, Any]) -> tzinfo:
    try:
        return zone(meta["exchangeTimezoneName"])
    except (KeyError, ValueError, TypeError, OSError):
        offset = optional(meta.get("gmtoffset")) or 0.0
        return timezone(timedelta(seconds=offset)) if abs(offset) < 86_400.0 else UTC


def _meta(answer: Answer, ticker: str) -> Mapping[str, Any]:
    """Return the head of a chart; raises ItemError, UnknownItem or SourceError."""
    if answer.status not in _OF_THE_SYMBOL:
        answer.expect_success()
    data = answer.any_json()
    chart = data.get("chart") if isinstance(data, dict) else None
    if not isinstance(chart, dict):
        raise SourceError(f"status {answer.status}, and the answer is no chart: {answer.snippet}")
    error = chart.get("error")
    if error or answer.status != 200:
        told = error.get("description") if isinstance(error, dict) else None
        text = f"{ticker}: {str(told or 'no reason given')[:120]}"
        raise UnknownItem(text) if answer.status == _NOT_FOUND else ItemError(text)
    result = chart.get("result")
    if not isinstance(result, list) or not result or not isinstance(result[0], dict):
        raise ItemError(f"the chart of {ticker} is empty")
    meta = result[0].get("meta")
    if not isinstance(meta, dict):
        raise ItemError(f"the chart of {ticker} has no head")
    if meta.get("regularMarketPrice") is None and meta.get("regularMarketTime") is None:
        raise ItemError(f"has no quote of {ticker}; there may be no such symbol")
    return meta


def _quotes(
    meta: Mapping[str, Any], price: float, ts: Micros, stands: Standing, received: Micros
) -> list[Quote]:
    currency = meta.get("currency")
    # An index has points, whatever currency its shares are in.
    unit = currency if isinstance(currency, str) and meta.get("instrumentType") != "INDEX" else ""
    found = [Quote(price, ts, unit=unit[:10])]
    before = _previous(meta)
    if before:
        found.append(Quote((price / before - 1.0) * 100.0, ts, "change_day"))
    if stands.trading is not None:
        found.append(Quote(float(stands.trading), received, "market_open"))
    return found


def _previous(meta: Mapping[str, Any]) -> float | None:
    """Return the close of the session before: that before the chart is the same where it has one day."""
    before = optional(meta.get("previousClose"))
    if before is None and meta.get("range") == "1d":
        before = optional(meta.get("chartPreviousClose"))
    return before if before is not None and before > 0 else None
