"""Crypto: prices of assets, and indicators of the market as a whole."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from oculus.collectors.markets.quotes import QuoteCollector, QuoteSettings
from oculus.collectors.markets.sources.base import Item, Pair
from oculus.config.decode import setting
from oculus.model import slug

Indicator = Literal["", "fng", "mvrv", "altseason"]

_SYMBOLS = {
    "fng": "crypto.sentiment.fng",
    "mvrv": "crypto.onchain.mvrv",
    "altseason": "crypto.sentiment.altseason",
}


def parse_asset(text: str) -> tuple[str, str]:
    """Return base and quote of `btc_usd`, `BTC/USD` or `btc-usd`, in lower case; raises ValueError."""
    found = re.fullmatch(r"([a-z0-9][a-z0-9_-]*)[_/-]([a-z0-9]+)", text.strip().lower())
    if found is None:
        raise ValueError(f"{text!r} is not an asset (base and quote, such as btc_usd)")
    return found[1], found[2]


def _check_asset(text: str) -> None:
    if text:
        parse_asset(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class CryptoSettings(QuoteSettings):
    """Settings of `type: crypto`."""

    asset: str = setting("", help="base and quote, such as btc_usd", check=_check_asset)
    indicator: Indicator = setting("", help="instead of an asset: fng, mvrv or altseason")
    coin: str = setting("", help="CoinGecko's id of the base, where its short name is not the usual one's")
    plan: Literal["", "demo", "pro"] = setting("", help="what CoinGecko's api_key is for; demo when left out")

    def __post_init__(self) -> None:
        if bool(self.asset) == bool(self.indicator):
            raise ValueError("needs an asset (such as btc_usd) or an indicator (fng, mvrv or altseason)")
        # Named, since `super()` does not work in a class with slots.
        QuoteSettings.__post_init__(self)

    @property
    def wanted(self) -> str:
        return f"crypto/{self.indicator}" if self.indicator else "crypto"

    def default_name(self) -> str:
        """The name is the asset's slug, or the indicator."""
        return self.indicator or "_".join(map(slug, parse_asset(self.asset)))

    def plan_name(self) -> str:
        return self.plan or ("demo" if self.api_key else "")


class Crypto(QuoteCollector):
    """Asks for one asset or indicator."""

    type = "crypto"
    Settings = CryptoSettings

    def stem(self) -> str:
        assert isinstance(self.spec.settings, CryptoSettings)
        settings = self.spec.settings
        if settings.indicator:
            return _SYMBOLS[settings.indicator]
        return f"crypto.price.{settings.default_name()}"

    def item(self) -> Item:
        assert isinstance(self.spec.settings, CryptoSettings)
        settings = self.spec.settings
        if settings.indicator:
            return settings.indicator
        return Pair(*parse_asset(settings.asset), settings.coin)

    def describe(self) -> Mapping[str, str]:
        assert isinstance(self.spec.settings, CryptoSettings)
        settings = self.spec.settings
        told = {"source": settings.source}
        if settings.asset:
            told["unit"] = parse_asset(settings.asset)[1].upper()
        return told
