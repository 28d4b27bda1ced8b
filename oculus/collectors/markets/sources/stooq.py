"""Stooq: prices of a dozen exchanges as CSV, a quarter of an hour late; all tickers in one request.

Problems come as a line of text with a status of success. Times are Warsaw's.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from oculus.clock import SECOND
from oculus.collectors.fetch import Answer
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources import hours
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    UnknownItem,
    number,
)
from oculus.collectors.markets.sources.hours import Exchange
from oculus.model import Micros
from oculus.zones import zone

# Its names of indices whose usual ones are Yahoo's.
_INDICES = {
    "^gspc": "^spx", "^ixic": "^ndq", "^dji": "^dji", "^ndx": "^ndx", "^gdaxi": "^dax", "^ftse": "^ukx",
    "^n225": "^nkx", "^hsi": "^hsi",
}  # fmt: skip
# Likewise of exchanges.
_SUFFIXES = {"l": "uk", "de": "de", "t": "jp", "hk": "hk", "wa": "pl"}

_EXCHANGES = {
    ".us": hours.NEW_YORK, ".uk": hours.LONDON, ".de": hours.FRANKFURT, ".pl": hours.WARSAW,
    ".jp": hours.TOKYO, ".hk": hours.HONG_KONG,
}  # fmt: skip
_OF_INDICES = {
    "^spx": hours.NEW_YORK, "^ndq": hours.NEW_YORK, "^dji": hours.NEW_YORK, "^ndx": hours.NEW_YORK,
    "^dax": hours.FRANKFURT, "^ukx": hours.LONDON, "^nkx": hours.TOKYO, "^hsi": hours.HONG_KONG,
}  # fmt: skip

_WARSAW = "Europe/Warsaw"
_NEEDED = ("Symbol", "Date", "Time", "Close")
_KEYLESS = 3_600.0  # seconds: a key comes from the user, not with time
_SPREAD = 1.0  # seconds after an opening, the same for all, who share a request


class Stooq(Source):
    """`/q/l/` for all tickers at once."""

    name = "stooq"
    url = "https://stooq.com"
    # It has a limit of hits a day that it does not tell.
    rates = (Rate(1, 1.0), Rate(10, 60.0))
    batch = 50
    least = 60.0

    def ask(self, items: Sequence[str]) -> Found:
        params = {"s": "+".join(map(ticker_name, items)), "f": "sd2t2ohlcv", "h": "", "e": "csv"}
        if self.options.api_key:
            params["apikey"] = self.options.api_key
        answer = self.get("/q/l/", params)
        answer.expect_success()
        rows = self._rows(answer, len(items))
        now = self.now()
        return {item: _quotes(rows.get(ticker_name(item)), item, now) for item in items}

    def _rows(self, answer: Answer, asked: int) -> Mapping[str, Mapping[str, str]]:
        """Return the rows by its own name of the ticker; raises SourceError for a text that is no table."""
        text = answer.text.strip()
        told = text[:200].lower()
        if "exceeded the daily hits limit" in told:
            self.refuse(_until_midnight(self.now()), "its limit of hits a day is reached")
        if "get your apikey" in told:
            self.refuse(_KEYLESS, "it wants an api_key, which its site gives by hand")
        if told.startswith("no data"):
            raise UnknownItem("has no data of it")
        try:
            rows = list(csv.DictReader(text.splitlines()))
        except csv.Error as error:
            raise SourceError(f"no table of quotes ({error}): {answer.snippet}") from None
        missing = [name for name in _NEEDED if not rows or name not in rows[0]]
        if missing:
            raise SourceError(f"no table of quotes with {', '.join(missing)}: {answer.snippet}")
        # Half a table is not taken for a whole one, nor half a number for a price.
        if not answer.body.endswith(b"\n") and (len(rows) < asked or None in rows[-1].values()):
            raise SourceError(f"the table of quotes is cut off: {answer.snippet}")
        return {str(row["Symbol"]).strip().lower(): row for row in rows}


def ticker_name(ticker: str) -> str:
    """Return Stooq's name of a ticker: `tsla.us`, `brk-b.us`, `vod.uk`, `^spx`."""
    name = ticker.lower()
    if name.startswith("^"):
        return _INDICES.get(name, name)
    stem, dot, end = name.rpartition(".")
    if not dot:
        # Its currencies and metals (eurusd, xauusd) have six letters, Warsaw's indices digits.
        return f"{name}.us" if re.fullmatch(r"[a-z]{1,5}(-[a-z]{1,2})?", name) else name.removesuffix("=x")
    if end in _SUFFIXES:
        # Hong Kong's numbers are padded with zeros elsewhere.
        return f"{stem.lstrip('0') if end == 'hk' else stem}.{_SUFFIXES[end]}"
    return f"{stem}-{end}.us" if end in ("a", "b") else name


def exchange_of(name: str) -> Exchange | None:
    """Return the exchange of a ticker in Stooq's writing; None where its hours are not known."""
    return _OF_INDICES.get(name) or _EXCHANGES.get(name[name.rfind(".") :])


def _quotes(row: Mapping[str, str] | None, item: str, now: Micros) -> Quotes | ItemError:
    name = ticker_name(item)
    if row is None:
        return ItemError(f"the answer has no row of {item} ({name})")
    day, clock = row["Date"] or "", row["Time"] or ""
    if "N/D" in (day, clock, row["Close"]):
        return ItemError(f"has no quote of {item} ({name}); there may be no such ticker")
    try:
        price = number(row["Close"], f"the price of {item}")
        local = datetime.fromisoformat(f"{day.strip()}T{clock.strip()}").replace(tzinfo=zone(_WARSAW))
    except ItemError as error:
        return error
    except ValueError:
        return ItemError(f"the time of {item} is {f'{day} {clock}'[:40]!r}, which is no time")
    # Never later than now: the clock of a Pi may be slow, and so may be our notion of its zone.
    ts = Micros(min(int(local.timestamp()) * SECOND, now))
    unit = "USD" if name.endswith(".us") else ""
    exchange = exchange_of(name)
    if exchange is None:
        return Quotes((Quote(price, ts, unit=unit),))
    stands = exchange.standing(now / SECOND, ts / SECOND)
    found = [Quote(price, ts, unit=unit)]
    if stands.trading is not None:
        found.append(Quote(float(stands.trading), now, "market_open"))
    rest = None if stands.rest is None else stands.rest + _SPREAD
    return Quotes(tuple(found), rest, stands.state)


def _until_midnight(now: Micros) -> float:
    """Return the seconds until the day ends in Warsaw."""
    here = datetime.fromtimestamp(now / SECOND, zone(_WARSAW))
    tomorrow = datetime.combine(here.date() + timedelta(days=1), datetime.min.time(), here.tzinfo)
    return tomorrow.timestamp() - now / SECOND
