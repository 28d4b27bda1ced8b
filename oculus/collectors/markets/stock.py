"""Stocks, indices and funds: their last price, and the valuation of the market as a whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from oculus.collectors.markets.quotes import QuoteCollector, QuoteSettings
from oculus.collectors.markets.sources.base import Item
from oculus.collectors.markets.sources.hours import QUIET
from oculus.config.decode import setting
from oculus.model import Sample, slug

Kind = Literal["stock", "index", "etf"]
Indicator = Literal["", "sp_pe"]

_STEMS = {"stock": "stock.price", "index": "stock.index", "etf": "stock.etf"}
_SYMBOLS = {"sp_pe": "market.valuation.sp_pe"}

# While a market is closed its source is asked this often, should the calendar be wrong …
SLOW = 900.0  # seconds
# … and this often on a day that looks like a holiday but may be a late start.
DOUBTFUL = 300.0  # seconds


def _check_ticker(text: str) -> None:
    if text and not re.fullmatch(r"\^?[A-Za-z0-9][A-Za-z0-9.&=_-]{0,29}", text):
        raise ValueError(f"{text!r} is not a ticker (such as TSLA, BRK-B, ^GSPC or VOD.L)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StockSettings(QuoteSettings):
    """Settings of `type: stock`."""

    ticker: str = setting("", help="symbol at the exchange, as Yahoo writes it: TSLA", check=_check_ticker)
    kind: Kind = setting("stock", help="stock, index or etf: the second part of the series' name")
    indicator: Indicator = setting("", help="instead of a ticker: sp_pe")

    def __post_init__(self) -> None:
        if bool(self.ticker) == bool(self.indicator):
            raise ValueError("needs a ticker (such as TSLA) or an indicator (sp_pe)")
        # Named, since `super()` does not work in a class with slots.
        QuoteSettings.__post_init__(self)

    @property
    def wanted(self) -> str:
        return f"stock/{self.indicator}" if self.indicator else "stock"

    def default_name(self) -> str:
        """The name is the ticker's slug, or the indicator."""
        return self.indicator or slug(self.ticker)


class Stock(QuoteCollector):
    """Asks for one ticker or indicator; slowly while its market is closed, and again when it opens."""

    type = "stock"
    Settings = StockSettings

    def stem(self) -> str:
        assert isinstance(self.spec.settings, StockSettings)
        settings = self.spec.settings
        return _SYMBOLS.get(settings.indicator) or f"{_STEMS[settings.kind]}.{slug(settings.ticker)}"

    def item(self) -> Item:
        assert isinstance(self.spec.settings, StockSettings)
        settings = self.spec.settings
        return settings.indicator or settings.ticker.upper()

    def collect(self) -> Iterator[Sample]:
        yield from super().collect()
        if not self.quote_settings.stream:
            self.rest = next_run(self.rest, self.state, self.quote_settings.interval)


def next_run(rest: float | None, state: str, interval: float) -> float | None:
    """Return the seconds to the next run, given those within which a source expects nothing; None is the
    interval."""
    if rest is None:
        return max(DOUBTFUL, interval) if state == QUIET else None
    slow = max(SLOW, interval)
    # One longer pause rather than a short one just before the opening.
    return rest if rest < 1.5 * slow else slow
