"""Prices, odds and indices that all stand-ins share: a random walk given by a seed, at any time asked for.

The walk is a function of item and time, so the same second has the same price at every service and in every
run, without any state. `freeze` sets the clock, `set` an exact value.
"""

from __future__ import annotations

import math
import time
import zlib
from dataclasses import dataclass

DAY = 86_400.0  # seconds

# What the better known items are worth, in US dollars (or points): where the walk starts from.
BASES = {
    "btc": 81_250.0, "eth": 2_981.44, "sol": 142.21, "xrp": 2.31, "bnb": 812.4, "ada": 0.62, "doge": 0.182,
    "dot": 4.11, "ltc": 96.2, "bch": 512.7, "link": 17.9, "xmr": 301.5, "avax": 24.1, "trx": 0.31,
    "usdt": 1.0, "usdc": 1.0, "dai": 1.0, "usd": 1.0, "eur": 1.158, "gbp": 1.342, "chf": 1.25, "jpy": 0.00667,
    "cad": 0.73, "aud": 0.66, "wbtc": 81_250.0, "steth": 2_981.44,
    "tsla": 412.36, "aapl": 251.9, "msft": 508.4, "nvda": 188.2, "amzn": 231.1, "goog": 281.0, "spy": 742.11,
    "qqq": 611.3, "^gspc": 7_421.18, "^ixic": 24_350.0, "^dji": 46_800.0, "^vix": 16.4, "vt": 141.2,
    "fng": 39.0, "mvrv": 1.5289, "mvrv_z": 1.3411, "altseason": 41.0, "sp_pe": 29.41,
}  # fmt: skip
MONEY = frozenset({"usd", "usdt", "usdc", "dai"})  # worth one dollar throughout
STEADY = MONEY | {"eur", "gbp", "chf", "jpy", "cad", "aud"}
LEVELS = frozenset({"fng", "altseason", "mvrv", "mvrv_z", "sp_pe"})  # neither a pair nor a stock
PERCENT = frozenset({"fng", "altseason"})  # of them, those from 0 to 100

CRYPTO, STOCK, CALM, MOOD = 0.03, 0.015, 0.003, 0.1  # typical move in a day, as a share of the price
ODDS = 0.6  # typical move of odds in a day, in logits

# Periods of the waves that the walk adds up, in seconds: 2 s, 8 s, … 6 days.
_PERIODS = tuple(2.0 * 4**power for power in range(10))
_WAVES = tuple(
    (period, math.sqrt(period / DAY), number * 0x632BE59BD9B4E019) for number, period in enumerate(_PERIODS)
)
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Quote:
    """What a venue says of one item. Prices in its currency, `at` in seconds since 1970."""

    value: float
    at: float
    previous: float  # a day before
    high: float
    low: float

    @property
    def change(self) -> float:
        """Percent against a day before."""
        return (self.value / self.previous - 1) * 100 if self.previous else 0.0

    @property
    def tick(self) -> float:
        """The smallest step of the price."""
        return float(10.0 ** -_places(self.value))

    @property
    def bid(self) -> float:
        """One step below."""
        return round(self.value - self.tick, 12)

    @property
    def ask(self) -> float:
        """One step above."""
        return round(self.value + self.tick, 12)


def no_such(item: str) -> bool:
    """Whether services know no such item: its name says so (`no-such-coin`, `NOSUCHUSDT`, `NOPE-USD`)."""
    return item.lower().lstrip("^").replace("-", "").replace("_", "").startswith(("nosuch", "nope"))


class Market:
    """All values. Items are written as Oculus does (`btc_usd`), tickers, slugs, or names of indices; case
    does not matter."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._frozen: float | None = None
        self._set: dict[str, tuple[float, float, float | None]] = {}
        self._hours: dict[tuple[str, int], float] = {}

    def now(self) -> float:
        """Seconds since 1970: the clock's, or the frozen time."""
        return time.time() if self._frozen is None else self._frozen

    def freeze(self, at: float | None) -> None:
        """Stop the clock at `at` (seconds since 1970), or let it run again."""
        self._frozen = at

    def set(self, item: str, value: float, at: float | None = None, previous: float | None = None) -> None:
        """Give an item an exact value from now on, last traded at `at` (default: now)."""
        self._set[item.lower()] = (value, self.now() if at is None else at, previous)

    def unset(self, item: str) -> None:
        """Let an item walk again."""
        self._set.pop(item.lower(), None)

    def price(self, item: str, at: float | None = None) -> float:
        """Return the price of a pair (`btc_usd`), of a stock, or an index."""
        item = item.lower()
        if fixed := self._fixed(item):
            return fixed[0]
        at = self.now() if at is None else at
        if item in PERCENT:
            return float(min(100, max(0, round(self._worth(item, at, MOOD)))))
        if item in LEVELS:
            return round(self._worth(item, at, STOCK), 4)
        base, _, currency = item.rpartition("_")
        return _rounded(
            self._coin(base, at) / self._coin(currency, at) if base else self._worth(item, at, STOCK)
        )

    def probability(self, item: str, at: float | None = None) -> float:
        """Return the odds of a market's first outcome, between 0.015 and 0.985, midway between two cents."""
        item = item.lower()
        if item in self._set:
            return self._set[item][0]
        code = self._code(item)
        start = math.log(1 / (0.15 + 0.7 * (code % 1000) / 1000) - 1)
        odds = 1 / (1 + math.exp(start + ODDS * self._walk(code, self.now() if at is None else at)))
        return round(min(0.98, max(0.01, math.floor(odds * 100) / 100)) + 0.005, 3)

    def quote(self, item: str, every: float = 1.0, at: float | None = None) -> Quote:
        """Return the quote at `at` (default: now) of a venue that makes a new one every so many seconds."""
        item = item.lower()
        at = self.now() if at is None else at
        if fixed := self._fixed(item):
            value, at, previous = fixed
            before = value if previous is None else previous
            return Quote(value, at, before, max(value, before), min(value, before))
        at -= at % every
        value = self.price(item, at)
        hour = int(at // 3600)
        hours = [self._hour(item, each) for each in range(hour - 23, hour + 1)]
        return Quote(value, at, self.price(item, at - DAY), max(value, *hours), min(value, *hours))

    def set_at(self, item: str) -> float | None:
        """Return when a set item was last traded; None when it walks."""
        found = self._fixed(item.lower())
        return None if found is None else found[1]

    def _fixed(self, item: str) -> tuple[float, float, float | None] | None:
        """Return what was set: for the item, or for the same coin in dollars."""
        if item in self._set:
            return self._set[item]
        base, _, currency = item.rpartition("_")
        if not base or (found := self._set.get(f"{base}_usd")) is None:
            return None
        value, at, previous = found
        rate = self._coin(currency, at)
        if rate == 1.0:
            return found
        return _rounded(value / rate), at, None if previous is None else _rounded(previous / rate)

    def _hour(self, item: str, hour: int) -> float:
        key = (item, hour)
        if key not in self._hours:
            self._hours[key] = self.price(item, hour * 3600.0)
        return self._hours[key]

    def _coin(self, name: str, at: float) -> float:
        """Return what one unit is worth in dollars; a price set in dollars holds in all currencies."""
        if name in MONEY:
            return 1.0
        found = self._set.get(f"{name}_usd")
        return found[0] if found else self._worth(name, at, CALM if name in STEADY else CRYPTO)

    def _worth(self, name: str, at: float, volatility: float) -> float:
        code = self._code(name)
        base = BASES.get(name) or 10 ** (code % 1000 / 250)  # 1 to 10,000
        return base * math.exp(volatility * self._walk(code, at))

    def _code(self, name: str) -> int:
        return zlib.crc32(name.encode(), self._seed)

    def _walk(self, code: int, at: float) -> float:
        """Return a sum of waves of noise whose steps over a time grow as its square root: in days."""
        total = 0.0
        for period, height, salt in _WAVES:
            index, part = divmod(at / period, 1.0)
            here, there = _noise(code + salt, int(index)), _noise(code + salt, int(index) + 1)
            total += height * (here + (there - here) * part)
        return total


def _noise(code: int, index: int) -> float:
    """Return a number between -1 and 1 that looks random and depends on nothing else."""
    mixed = (index * 0x9E3779B97F4A7C15 + code * 0xD1B54A32D192ED03) & _MASK
    mixed = ((mixed ^ (mixed >> 31)) * 0xBF58476D1CE4E5B9) & _MASK
    return ((mixed ^ (mixed >> 29)) >> 11) / (1 << 52) - 1.0


def _places(value: float) -> int:
    return 2 if value >= 10 else 4 if value >= 1 else 6 if value >= 0.01 else 10


def _rounded(value: float) -> float:
    return round(value, _places(value))
