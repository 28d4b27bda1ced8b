"""The altcoin season index by the definition of blockchaincenter.net, computed from CoinGecko's prices.

It is the share of the 50 largest coins that did better than bitcoin over 90 days, in percent; stablecoins
and tokens that stand for something else (wrapped, staked, gold) are left out. Each coin takes a request, so
it is gathered over several minutes, once a day.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from oculus.clock import DAY, SECOND
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    SourceError,
    optional,
)
from oculus.collectors.markets.sources.coingecko import CoinGecko, checked
from oculus.model import Micros

_COINS = 50
_FEWEST = 40  # coins with 90 days of prices: of fewer, the share says little
_LISTED = 100  # largest coins among which those are
_DAYS = 90

# Prices are compared at 00:00 UTC, so that it does not matter when each was asked for; some of them are
# known an hour later only.
_SETTLED = SECOND * 3_600

# Requests of one run: with prices asked for each minute that makes five, which is what CoinGecko allows
# without a key when it is busy.
_AT_ONCE = 4
_SOON = 60.0  # seconds until the next run while there is more to gather
_AT_MOST = 6 * 3_600.0  # seconds: longest rest
_AGAIN = 3_600.0  # seconds until another try when there was no index

_TRIES = 3  # of one coin; then it is not counted
_PEG = 0.03  # of a dollar: what stays this close to it for 90 days is a stablecoin

# What stands for dollars, or for a coin: usde, syrupusdc, wbtc, wsteth, jitosol …
_STAND_INS = re.compile(r".*usd.*|.+(btc|eth|sol|bnb)")
_STAND_IN_NAMES = re.compile(r"\b(wrapped|staked|restaked|bridged|binance-peg|tokenized)\b")
# Further ones that neither shows: dollars, euros, gold, shares of funds.
_OTHERS = frozenset({
    "dai", "gho", "frax", "lusd", "mim", "eurc", "eurs", "eurt", "paxg", "xaut", "kau", "buidl", "usyc",
    "ustb", "ousg", "jtrsy", "jlp", "glp", "figr_heloc",
})  # fmt: skip


class Season:
    """What was gathered for one day: the growth of coins, by id; None for one that is not counted."""

    def __init__(self, day: int, coins: Sequence[str]) -> None:
        self.day = day  # since 1970, at whose beginning the 90 days end
        self.waiting = deque(["bitcoin", *coins])
        self.growth: dict[str, float | None] = {}
        self._tries: dict[str, int] = {}

    @property
    def whole(self) -> bool:
        """Whether there is nothing more to gather."""
        return not self.waiting or len(self.growth) > _COINS

    def take(self, prices: dict[int, float]) -> None:
        """Take in the first waiting coin's prices, by day."""
        coin = self.waiting.popleft()
        days = [prices.get(day) for day in range(self.day - _DAYS, self.day + 1)]
        known = [price for price in days if price]
        if coin != "bitcoin" and known and all(abs(price - 1.0) < _PEG for price in known):
            return  # a stablecoin, whatever its name: the next coin takes its place
        before, after = days[0], days[-1]
        self.growth[coin] = after / before if before and after else None

    def fail(self) -> None:
        """Put the first waiting coin off; after some tries it is not counted. Bitcoin has to be."""
        if self.waiting[0] == "bitcoin":
            return
        coin = self.waiting.popleft()
        self._tries[coin] = self._tries.get(coin, 0) + 1
        if self._tries[coin] < _TRIES:
            self.waiting.append(coin)
        else:
            self.growth[coin] = None

    def index(self) -> float:
        """Return the index; raises ItemError when there are too few prices."""
        bitcoin = self.growth.get("bitcoin")
        if bitcoin is None:
            raise ItemError(f"altseason: there is no price of bitcoin {_DAYS} days ago")
        others = [growth for coin, growth in self.growth.items() if coin != "bitcoin" and growth is not None]
        if len(others) < _FEWEST:
            raise ItemError(f"altseason: only {len(others)} coins have prices of {_DAYS} days")
        return round(100.0 * sum(growth > bitcoin for growth in others) / len(others), 2)


class Altseason(CoinGecko):
    """`/coins/markets` for the largest coins, then `/coins/…/market_chart` of each."""

    batch = 1
    least = 30.0
    _season: Season | None = None
    _last: Quotes | None = None  # of the newest index
    _failed: tuple[Micros, str] | None = None  # when there was no index, and why

    def ask(self, items: Sequence[Any]) -> Found:
        return dict.fromkeys(items, self._gather())

    def _gather(self) -> Quotes:
        present = self.now()
        day = (present - _SETTLED) // DAY
        season = self._season
        if self._last is not None and self._last.quotes[0].ts == day * DAY:
            left = ((day + 1) * DAY + _SETTLED - present) / SECOND
            return Quotes(self._last.quotes, min(left + _SOON, _AT_MOST))
        if self._failed and 0 <= present - self._failed[0] < _AGAIN * SECOND:
            raise ItemError(self._failed[1], retry_in=_AGAIN)
        started = time.monotonic()
        asked = 0
        if season is None or season.day != day:
            season = self._season = Season(day, self._largest())
            asked = 1
        while not season.whole and asked < _AT_ONCE and time.monotonic() - started < self.options.timeout / 2:
            self._ask_next(season)
            asked += 1
        if not season.whole:
            return Quotes(self._last.quotes if self._last else (), _SOON, "gathering")
        self._season = None
        try:
            index = season.index()
        except ItemError as error:
            self._failed = present, str(error)
            raise ItemError(str(error), retry_in=_AGAIN) from None
        self._failed = None
        self._last = Quotes((Quote(index, Micros(day * DAY)),))
        return self._gather()

    def _largest(self) -> list[str]:
        """Return the ids of the largest coins but bitcoin and what stands for others."""
        rows = self.fetch(
            "/coins/markets",
            {"vs_currency": "usd", "order": "market_cap_desc", "per_page": str(_LISTED), "page": "1"},
        )
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise SourceError("the answer is not a list of coins")
        return [str(row["id"]) for row in rows if row.get("id") and not stands_for_another(row)]

    def _ask_next(self, season: Season) -> None:
        """Ask for the next coin's prices."""
        coin = season.waiting[0]
        params = {"vs_currency": "usd", "days": str(_DAYS + 2), "interval": "daily"}
        try:
            answer = self.reach(f"/coins/{coin}/market_chart", params)
            prices = {} if answer.status == 404 else _by_day(checked(answer))
        except SourceError as error:
            if error.retry_in is None:  # else it is the host that wants a pause
                season.fail()
            raise
        season.take(prices)


def stands_for_another(row: dict[str, Any]) -> bool:
    """Whether a coin of the list is bitcoin itself, a stablecoin, or a token for another coin."""
    symbol, name = str(row.get("symbol", "")).lower(), str(row.get("name", "")).lower()
    return (
        row["id"] == "bitcoin"
        or symbol in _OTHERS
        or _STAND_INS.fullmatch(symbol) is not None
        or _STAND_IN_NAMES.search(name) is not None
    )


def _by_day(data: Any) -> dict[int, float]:
    """Return the prices at 00:00 UTC, by days since 1970; raises SourceError for what is no chart.

    The last point is the price of now, which belongs to no day.
    """
    points = data.get("prices") if isinstance(data, dict) else None
    if not isinstance(points, list):
        raise SourceError("the answer has no prices")
    found: dict[int, float] = {}
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            continue
        millis, price = optional(point[0]), optional(point[1])
        if millis is None or price is None or price <= 0:
            continue
        day, past = divmod(millis * 1_000, DAY)
        if past < _SETTLED:
            found.setdefault(math.floor(day), price)
    return found
