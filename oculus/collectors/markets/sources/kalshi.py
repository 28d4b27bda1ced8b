"""Kalshi: markets by ticker, and all markets of an event.

The number is the price of the last trade, which is what Kalshi's pages call the chance; bid and ask are
there as extras. Kalshi's `updated_time` is that of a market's description and not of its price, so the time
of the answer stands for it.

https://docs.kalshi.com/api-reference/market/get-markets
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

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
    optional,
    probability,
)
from oculus.collectors.markets.sources.odds import (
    SETTLED,
    UNKNOWN,
    UNSETTLED,
    Bet,
    Moments,
    each,
    outcome_names,
    outcome_tag,
)
from oculus.model import Micros

_TOGETHER = 100  # tickers of one request: about 3,000 characters
_PAGE = "1000"  # the most that a list holds
_MOST = 5_000  # markets of an event; the largest known have some hundred

# Nobody can trade any more. The result of those that are not final may still be disputed.
_OVER = frozenset({"closed", "determined", "disputed", "amended", "finalized", "settled"})
_FINAL = frozenset({"finalized", "settled"})


class Kalshi(Source):
    """All markets in one request; one for each event."""

    name = "kalshi"
    url = "https://api.elections.kalshi.com/trade-api/v2"
    rates = (Rate(10, 1.0),)
    batch = _TOGETHER
    least = 2.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._moments = Moments()

    def ask(self, items: Sequence[Bet]) -> Found:
        markets = [item for item in items if item.kind == "market"]
        together = markets if len(markets) > 1 else []
        alone = [item for item in items if item not in together]
        return {**self._together(together), **each(self._alone, alone)}

    def _together(self, items: Sequence[Bet]) -> Found:
        if not items:
            return {}
        tickers = dict.fromkeys(item.id.upper() for item in items)
        rows, received = self._list({"tickers": ",".join(tickers)})
        by_ticker = {row.get("ticker"): row for row in rows}
        found: dict[Any, Quotes | ItemError] = {}
        for item in items:
            row = by_ticker.get(item.id.upper())
            try:
                found[item] = _unknown(item) if row is None else self._read(row, received)
            except ItemError as error:
                found[item] = error
        return found

    def _alone(self, item: Bet) -> Quotes:
        if item.kind == "event":
            return self._event(item)
        answer = self.get(f"/markets/{quote(item.id.upper(), safe='')}")
        if answer.status == 404:
            raise _unknown(item)
        return self._read(field_of(answer.json(), "market", "the answer"), answer.received)

    def _event(self, item: Bet) -> Quotes:
        ticker = item.id.upper()
        rows, received = self._list({"event_ticker": ticker})
        if not rows:
            raise ItemError(f"has no event {ticker}, or it has no markets", retry_in=UNKNOWN)
        known = {str(row["ticker"]): row for row in rows if row.get("ticker")}
        # What follows the event's ticker names a market for good; its title may change.
        names = outcome_names({key: key.removeprefix(f"{ticker}-") for key in known})
        if list(known) == [ticker]:
            names = {ticker: ""}
        found: list[Quotes] = []
        errors: list[ItemError] = []
        for key, row in known.items():
            try:
                found.append(self._read(row, received, names[key]))
            except ItemError as error:  # such as one that was never traded
                errors.append(error)
        if not found:
            raise errors[0] if errors else ItemError(f"the markets of {ticker} have no tickers")
        over = not errors and all(quotes.state for quotes in found)
        return Quotes(
            tuple(each_quote for quotes in found for each_quote in quotes.quotes),
            min(quotes.rest for quotes in found if quotes.rest is not None) if over else None,
            "closed" if over else "",
        )

    def _list(self, params: Mapping[str, str]) -> tuple[list[dict[str, Any]], Micros]:
        """Return markets, of all pages; raises SourceError."""
        rows: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            answer = self.get("/markets", {**params, "limit": _PAGE, **more})
            data = answer.json()
            found = data.get("markets") if isinstance(data, dict) else None
            if not isinstance(found, list):
                raise SourceError("the answer has no list of markets")
            rows += [row for row in found if isinstance(row, dict)]
            cursor = str(data.get("cursor") or "")
            if not found or not cursor or cursor == more.get("cursor") or len(rows) > _MOST:
                return rows, answer.received
            more = {"cursor": cursor}

    def _read(self, market: Any, received: Micros, part: str = "") -> Quotes:
        """Return the quotes of one market: the chance of yes, and what stands beside it."""
        ticker = str(field_of(market, "ticker", "the answer"))
        over = market.get("status") in _OVER
        result = _result(market) if over else None
        ts = received
        if result is not None:
            ts = self._moments.of(ticker, result, iso_time(market.get("settlement_ts")), received)
        value = _last(market, ticker) if result is None else result
        title = market.get("yes_sub_title")
        tags = outcome_tag(title) if part and isinstance(title, str) and title else {}
        quotes = [Quote(value, ts, part, tags=tags)]
        prefix = f"{part}." if part else ""
        volume = _figure(market, "volume_24h_fp", "volume_24h", 1.0)
        if volume is not None:
            quotes.append(Quote(volume, ts, f"{prefix}volume_24h", "contracts"))
        if over:
            final = result is not None and market.get("status") in _FINAL
            return Quotes(tuple(quotes), SETTLED if final else UNSETTLED, "closed")
        for extra in ("bid", "ask"):
            figure = _figure(market, f"yes_{extra}_dollars", f"yes_{extra}", 100.0)
            if figure is not None and 0.0 < figure < 1.0:  # an empty side is shown as 0 or 1
                quotes.append(Quote(figure, ts, f"{prefix}{extra}"))
        return Quotes(tuple(quotes))


def _unknown(item: Bet) -> ItemError:
    return ItemError(f"has no market {item.id.upper()} (event: takes that of an event)", retry_in=UNKNOWN)


def _result(market: Mapping[str, Any]) -> float | None:
    """Return what a contract of yes is worth in the end; None as long as that is open."""
    result = market.get("result")
    if result in ("yes", "no"):
        return 1.0 if result == "yes" else 0.0
    value = _figure(market, "settlement_value_dollars", "settlement_value", 100.0) if result else None
    return value if value is not None and 0.0 <= value <= 1.0 else None


def _last(market: Mapping[str, Any], ticker: str) -> float:
    what = f"the last price of {ticker}"
    if market.get("last_price_dollars") is not None or "last_price" not in market:
        value = probability(field_of(market, "last_price_dollars", ticker), what)
    else:  # older answers have cents
        value = probability(number(market["last_price"], what) / 100.0, what)
    if not value:  # the lowest price is a tenth of a cent
        raise ItemError(f"{ticker} was not traded yet")
    return value


def _figure(market: Mapping[str, Any], name: str, older: str, share: float) -> float | None:
    """Return a figure, or what older answers have in its place, in `share` parts; None for what is none."""
    found = optional(market.get(name))
    if found is None:
        found = optional(market.get(older))
        return None if found is None else found / share
    return found
