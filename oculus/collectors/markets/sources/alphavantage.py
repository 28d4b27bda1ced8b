"""Alpha Vantage: the last price of a stock or fund, for a key; free ones are of the day before, or late.

https://www.alphavantage.co/documentation/#latestprice. Every problem comes as a sentence with a status of
success, some with the key in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from oculus.clock import SECOND
from oculus.collectors.fetch import Answer, redact
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources import hours
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    field_of,
    number,
    optional,
)
from oculus.collectors.markets.sources.hours import NEW_YORK, Exchange
from oculus.model import Micros
from oculus.zones import zone

# Its names of exchanges whose usual ones are Yahoo's.
_SUFFIXES = {"L": "LON", "DE": "DEX", "TO": "TRT"}
_EXCHANGES = {"LON": hours.LONDON, "DEX": hours.FRANKFURT}

_SENTENCES = ("Information", "Note", "Error Message")

_BURST, _MINUTE, _HOUR = 1.0, 60.0, 3_600.0  # seconds of silence

_FORGOTTEN = 2 * 86_400.0  # seconds after which a ticker no longer counts as one of those asked for
_SPREAD = 1.0  # seconds after an opening


class AlphaVantage(Source):
    """GLOBAL_QUOTE, one request for each ticker.

    The few requests of a day are shared out: with three tickers and 25 a day each is asked for every
    third hour, whatever its interval, and has its last quote in between.
    """

    name = "alphavantage"
    url = "https://www.alphavantage.co"
    rates = (Rate(25, 86_400.0), Rate(1, 1.0))
    least = 10.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._had: dict[str, tuple[Micros, Mapping[str, Any] | ItemError]] = {}
        self._times: dict[str, tuple[tuple[str, str, str], Micros]] = {}

    def ask(self, items: Sequence[str]) -> Found:
        return {ticker: self._ask(ticker) for ticker in items}

    def _ask(self, ticker: str) -> Quotes | ItemError:
        row = self._row(ticker)
        if isinstance(row, ItemError):
            return row
        try:
            return self._quotes(row, ticker)
        except ItemError as error:
            return error

    def _row(self, ticker: str) -> Mapping[str, Any] | ItemError:
        """Return the last quote while no new one is due, else that of a request."""
        present = self.now()
        if ticker in self._had:
            at, row = self._had[ticker]
            turn = self._turn(present)
            if isinstance(row, ItemError):
                turn = min(turn, _HOUR)
            if 0 <= present - at < turn * SECOND or self._final(ticker, at, row, present):
                return row
        answer = self.get(
            "/query",
            {"function": "GLOBAL_QUOTE", "symbol": symbol_name(ticker), "apikey": self.options.api_key},
        )
        row = self._checked(answer, ticker)
        if not isinstance(row, ItemError) and optional(row.get("05. price")) is None:
            row = ItemError(f"the quote of {ticker} has no price")
        self._had[ticker] = (present, row)
        return row

    def _turn(self, present: Micros) -> float:
        """Return the seconds from one request for a ticker to the next that the rates leave."""
        asked = sum(present - at < _FORGOTTEN * SECOND for at, _ in self._had.values())
        rates = self.rates if self.options.rate is None else (self.options.rate,)
        return max(asked * rate.seconds / rate.requests for rate in rates)

    def _final(self, ticker: str, at: Micros, row: Mapping[str, Any] | ItemError, present: Micros) -> bool:
        """Tell whether a quote is the last one of the last session, with the next still to come."""
        exchange = exchange_of(ticker)
        if isinstance(row, ItemError) or exchange is None:
            return False
        then, now = at / SECOND, present / SECOND
        last = exchange.last(then)
        return (
            then > last.closes + hours.LATE
            and then <= now < exchange.reopens(then)
            and row.get("07. latest trading day") == str(exchange.day(last.opens))
        )

    def _checked(self, answer: Answer, ticker: str) -> Mapping[str, Any] | ItemError:
        data = answer.json()
        if not isinstance(data, dict):
            raise SourceError(f"the answer is no object: {answer.snippet}")
        for key in _SENTENCES:
            if key in data:
                return self._told(str(data[key]), ticker)
        row = data.get("Global Quote")
        if not isinstance(row, dict):
            raise SourceError(f"the answer has no quote: {answer.snippet}")
        return row or ItemError(f"does not know {ticker}")

    def _told(self, text: str, ticker: str) -> ItemError:
        """Heed a sentence; its own words are shown only where they are new, since they may hold the key."""
        said = text.lower()
        # The sentence about bursts names the limit of a day too.
        if "per second" in said or "spreading out" in said:
            self.refuse(_BURST, "more than one request in a second")
        if "per minute" in said:
            self.refuse(_MINUTE, "the key's limit of a minute is reached")
        if "per day" in said or "daily" in said:
            self.refuse(_until_midnight(self.now()), "the key's limit of a day is reached")
        if "premium" in said:
            self.refuse(_HOUR, "the key's plan has no quotes")
        if "apikey" in said or "api key" in said:
            self.refuse(_HOUR, "the api_key is not accepted")
        if "invalid api call" in said:
            return ItemError(f"does not know {ticker}")
        raise SourceError(redact(text, (self.options.api_key,))[:120])

    def _quotes(self, row: Mapping[str, Any], ticker: str) -> Quotes:
        present = self.now()
        exchange = exchange_of(ticker)
        price = number(row["05. price"], f"the price of {ticker}")
        try:
            day = date.fromisoformat(str(field_of(row, "07. latest trading day", ticker)))
        except ValueError:
            raise ItemError(f"the quote of {ticker} has no date") from None
        unit = "USD" if exchange is NEW_YORK else ""
        ts = self._time(row, ticker, day, present)
        found = [Quote(price, ts, unit=unit)]
        change = optional(row.get("10. change percent"))
        if change is not None:
            found.append(Quote(change, ts, "change_day"))
        if exchange is None:
            return Quotes(tuple(found))
        stands = exchange.standing(present / SECOND, ts / SECOND)
        if stands.state == hours.QUIET:  # its quotes may be of the day before, all day
            stands = hours.Standing()
        if stands.trading is not None:
            found.append(Quote(float(stands.trading), present, "market_open"))
        rest = None if stands.rest is None else stands.rest + _SPREAD
        return Quotes(tuple(found), rest, stands.state)

    def _time(self, row: Mapping[str, Any], ticker: str, day: date, present: Micros) -> Micros:
        """Return the time of a quote of which the day is known: the close, or when it was first seen."""
        mark = (str(day), str(row.get("05. price")), str(row.get("06. volume")))
        known = self._times.get(ticker)
        if known is not None and known[0] == mark:
            return known[1]
        session = (exchange_of(ticker) or NEW_YORK).session_on(day)
        # A day that should have none had one: the calendar is the one in error.
        closes = session.closes if session else _end(day)
        ts = Micros(min(int(closes * SECOND), present))
        self._times[ticker] = (mark, ts)
        return ts


def symbol_name(ticker: str) -> str:
    """Return Alpha Vantage's name of a ticker: `TSLA`, `VOD.LON`."""
    stem, dot, end = ticker.rpartition(".")
    return f"{stem}.{_SUFFIXES[end]}" if dot and end in _SUFFIXES else ticker


def exchange_of(ticker: str) -> Exchange | None:
    """Return the exchange of a ticker; None where its hours are not known."""
    _, dot, end = symbol_name(ticker).rpartition(".")
    if not dot or end in ("A", "B"):  # a class of shares
        return NEW_YORK
    return _EXCHANGES.get(end)


def _end(day: date) -> float:
    closes = datetime.combine(day, NEW_YORK.closes, zone(NEW_YORK.zone))
    return closes.timestamp()


def _until_midnight(now: Micros) -> float:
    """Return the seconds until the day ends in New York, where the service counts."""
    here = datetime.fromtimestamp(now / SECOND, zone(NEW_YORK.zone))
    tomorrow = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return tomorrow.timestamp() - now / SECOND
