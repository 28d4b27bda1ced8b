"""Prediction markets: the probability of each outcome, from 0 to 1."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from oculus.collectors.base import CollectError
from oculus.collectors.markets.quotes import QuoteCollector, QuoteSettings
from oculus.collectors.markets.sources.base import Item, Quotes
from oculus.collectors.markets.sources.odds import LONGEST_MARKET, Bet, shortened
from oculus.config.decode import setting
from oculus.model import Sample, slug

# While its stream brings prices, a market is still looked at this often: an event may have more markets, and
# one that is over may end without a word.
_LOOK = 3_600.0  # seconds

_TARGETS = ("slug", "token_id", "ticker", "event")
_KALSHI = ("ticker", "event")


def _check_slug(text: str) -> None:
    if text and not re.fullmatch(r"[^\s/?#%&]{1,250}", text):
        raise ValueError(
            f"{text[:60]!r} is not a slug (the last part of the market's address, such as will-it-rain)"
        )


def _check_token(text: str) -> None:
    if text and not re.fullmatch(r"[0-9]{1,78}", text):
        raise ValueError(
            f"{text[:20]!r} is not a token (a number of some 77 digits, one of the market's clobTokenIds)"
        )


def _check_ticker(text: str) -> None:
    if text and not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", text):
        raise ValueError(f"{text[:60]!r} is not a ticker (such as KXBTCMAX100-26)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSettings(QuoteSettings):
    """Settings of `type: prediction`."""

    slug: str = setting("", help="market as its address names it, such as will-it-rain", check=_check_slug)
    token_id: str = setting("", help="outcome of a Polymarket market, by its token", check=_check_token)
    ticker: str = setting("", help="market of Kalshi, such as KXBTCMAX100-26", check=_check_ticker)
    event: str = setting("", help="event of Kalshi: all its markets", check=_check_ticker)

    def __post_init__(self) -> None:
        given = [name for name in _TARGETS if getattr(self, name)]
        if len(given) != 1:
            told = f"not {' and '.join(given)}" if given else "such as slug: will-it-rain"
            raise ValueError(f"needs one of slug, token_id, ticker and event ({told})")
        if self.fallback:
            raise ValueError("takes no fallback: other sources have other markets")
        if not self.source and given[0] in _KALSHI:
            object.__setattr__(self, "source", "kalshi")
        # Named, since `super()` does not work in a class with slots.
        QuoteSettings.__post_init__(self)
        owner = "kalshi" if given[0] in _KALSHI else "polymarket" if self.token_id else self.source
        if self.source != owner:
            told = f'the source "{self.source}" has no {given[0]}, {owner} has'
            raise ValueError(f"{told} (slug: works for all sources)")
        if self.source == "kalshi" and self.slug:
            _check_ticker(self.slug)

    @property
    def wanted(self) -> str:
        return "prediction"

    @property
    def target(self) -> str:
        """The slug, token or ticker."""
        return self.slug or self.token_id or self.ticker or self.event

    def default_name(self) -> str:
        """The name is the target's slug."""
        return shortened(slug(self.target), LONGEST_MARKET, self.target)


class Prediction(QuoteCollector):
    """Asks for one market, event or token."""

    type = "prediction"
    Settings = PredictionSettings

    _looked = 0.0  # monotonic: when the source was last asked, beside the stream

    def stem(self) -> str:
        # Polymarket's slugs name their series: what the market is called, whatever the collector is.
        return "pred.poly" if self._by_slug else f"pred.prob.{self.spec.name}"

    def item(self) -> Item:
        settings = self._settings
        if settings.token_id:
            return Bet(settings.token_id, "token")
        return Bet(settings.event, "event") if settings.event else Bet(settings.target)

    def describe(self) -> Mapping[str, str]:
        return {"source": self._settings.source, "unit": "probability"}

    def symbol_of(self, part: str) -> str:
        if self._by_slug and self._settings.symbol:
            part = part.removeprefix(f"{self._settings.default_name()}.")
        return super().symbol_of(part)

    def collect(self) -> Iterator[Sample]:
        yield from super().collect()
        if self._live and time.monotonic() - self._looked > _LOOK:
            try:
                yield from self._collect_quotes()
            except CollectError:
                self._looked = time.monotonic()  # the stream has the prices; the feed has told

    @property
    def _settings(self) -> PredictionSettings:
        assert isinstance(self.spec.settings, PredictionSettings)
        return self.spec.settings

    @property
    def _by_slug(self) -> bool:
        return self._settings.source == "polymarket" and bool(self._settings.slug)

    def _ask(self) -> tuple[str, Quotes]:
        """Ask, and leave the streams of what is over."""
        name, quotes = super()._ask()
        self._looked = time.monotonic()
        gone = [self._live.pop(part) for part in list(self._live) if part not in quotes.keys]
        if gone:
            self._streams.unwatch(*gone)
        return name, quotes
