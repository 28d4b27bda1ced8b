"""What crypto, stocks and predictions share: settings, choice of source with fallbacks, and quote → sample.

A collector asks a feed, which asks the source for all collectors at once; or it takes what a stream has
brought since the last run, and asks the feed only while the stream is down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.fetch import check_base_url, check_proxy, redact
from oculus.collectors.manners import Rate
from oculus.collectors.markets.candles import Live
from oculus.collectors.markets.feed import Feed
from oculus.collectors.markets.sources import KEYED, SOURCES, STREAMS, source_class
from oculus.collectors.markets.sources.base import Item, ItemError, Options, Quote, Quotes, SourceError
from oculus.collectors.markets.stream import Streams
from oculus.collectors.markets.wire import Wire
from oculus.config.decode import Seconds, between, did_you_mean, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings, CollectorSpec, check_symbol
from oculus.model import NO_TAGS, Sample, Tags

# Figures beside the price, which become series of their own when they are asked for.
Extra = Literal["bid", "ask", "change_24h", "change_day", "volume_24h", "market_open"]
EXTRAS = frozenset(get_args(Extra))
_EXTRA_UNITS = {"change_24h": "%", "change_day": "%", "market_open": "bool"}

INTERVAL = 60.0  # seconds; indicators that change once a day are asked for each hour
SLOW = 3_600.0  # seconds


def check_ws_url(url: str) -> None:
    """Raise ValueError unless `url` can stand in place of a stream's own address."""
    if url and not url.startswith(("ws://", "wss://")):
        raise ValueError(f"{url!r} is not the URL of a WebSocket (such as wss://proxy.local)")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteSettings(CollectorSettings):
    """What every collector of quotes can be told."""

    source: str = setting("", help="service that is asked")
    fallback: tuple[str, ...] = setting((), help="services that are asked, in turn, while that one fails")
    interval: Seconds = setting(
        Seconds(0.0),
        help="time from start to start; a minute, or an hour for what changes once a day",
        check=between(SHORTEST, LONGEST, "s"),
    )
    stream: bool = setting(False, help="take prices as they come over a WebSocket, one row per interval")
    extras: tuple[Extra, ...] = setting((), help="figures that become series of their own")
    symbol: str = setting("", help="name of the series, instead of the usual one", check=check_symbol)
    api_key: str = setting("", help="key of the service", secret=True)
    rate: Rate | None = setting(None, help="most requests, instead of the service's published limit")
    base_url: str = setting("", help="replaces scheme and host of all requests", check=check_base_url)
    ws_url: str = setting("", help="replaces scheme and host of its stream", check=check_ws_url)
    proxy: str = setting("", help="HTTP proxy; else that of the environment", check=check_proxy, secret=True)

    def __post_init__(self) -> None:
        wanted, known = self.wanted, SOURCES[self.wanted]
        for name in (self.source, *self.fallback):
            if name and name not in known:
                raise ValueError(f'unknown source "{name}"{did_you_mean(name, known)}')
        object.__setattr__(self, "source", self.source or next(iter(known)))
        if not self.interval:
            object.__setattr__(self, "interval", Seconds(SLOW if "/" in wanted else INTERVAL))
        if self.stream and self.source not in STREAMS:
            have = ", ".join(name for name in known if name in STREAMS) or "no source of this kind"
            raise ValueError(f'the source "{self.source}" has no stream ({have} has)')
        if self.source in KEYED and not self.api_key:
            raise ValueError(f'the source "{self.source}" needs an api_key')

    @property
    def wanted(self) -> str:
        """What is asked for, as the table of sources names it."""
        raise NotImplementedError

    def longest_run(self) -> float:
        """Each source may wait for its turn and then for its answer."""
        return (1 + len(self.fallback)) * (2 * self.timeout + 1.0)

    def options(self, source: str) -> Options:
        """Return what a source is told; the key and its limit are those of the first source alone."""
        if source != self.source:
            return Options(self.base_url, timeout=self.timeout, proxy=self.proxy)
        return Options(self.base_url, self.api_key, self.plan_name(), self.timeout, self.proxy, self.rate)

    def plan_name(self) -> str:
        """Return what the key is good for, for services that have several kinds."""
        return ""


class QuoteCollector(Collector):
    """Base of crypto, stock and prediction."""

    quotes = True

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        assert isinstance(spec.settings, QuoteSettings)
        settings = self.quote_settings = spec.settings
        self._stem = settings.symbol or self.stem()
        names = dict.fromkeys((settings.source, *settings.fallback))
        self._feeds = {
            name: Feed.of(context, source_class(settings.wanted, name), settings.options(name))
            for name in names
        }
        self._source = settings.source
        for feed in self._feeds.values():
            feed.users += 1
        self._tags: dict[tuple[str, str], Tags] = {}  # by source and part of the symbol
        self._live: dict[str, Live] = {}  # by part, what the stream brings
        self._last: dict[str, Sample] = {}  # likewise, the last candle or quote
        self.aligned = settings.stream
        if settings.stream:
            make = source_class(settings.wanted, settings.source).wire
            assert make is not None
            self._streams = Streams.of(context, make, settings.ws_url, settings.proxy)
            self._wire: type[Wire] = make

    def stem(self) -> str:
        """Return the symbol of the main series, where the user gives none."""
        raise NotImplementedError

    def item(self) -> Item:
        """Return what sources are asked for."""
        raise NotImplementedError

    def describe(self) -> Mapping[str, str]:
        """Every sample tells its source."""
        assert isinstance(self.spec.settings, QuoteSettings)
        return {"source": self.spec.settings.source}

    @property
    def group(self) -> str:
        """Collectors of one source and interval run together, where one request can serve them."""
        settings = self.quote_settings
        feed = self._feeds[settings.source]
        if feed.source.batch < 2:
            return self.spec.id
        return f"{settings.wanted}/{settings.source}/{settings.base_url}/{settings.interval:g}"

    def collect(self) -> Iterator[Sample]:
        """Yield what is new."""
        if self.quote_settings.stream:
            yield from self._collect_stream()
        else:
            yield from self._collect_quotes()

    def close(self) -> None:
        """Leave the stream and the feeds."""
        for feed in self._feeds.values():
            feed.users -= 1
        if self._live:
            self._streams.unwatch(*self._live.values())
            self._live.clear()

    # -- REST -----------------------------------------------------------------------------------------

    def _collect_quotes(self) -> Iterator[Sample]:
        name, quotes = self._ask()
        self.rest, self.state = quotes.rest, quotes.state
        if self.quote_settings.stream and name == self.quote_settings.source:
            self._watch(quotes.keys)
        for quote in quotes.quotes:
            extra = quote.part.rpartition(".")[2]
            if extra not in EXTRAS or extra in self.quote_settings.extras:
                sample = Sample(self.symbol_of(quote.part), quote.value, quote.ts, self._tags_of(name, quote))
                if quote.part in self._live:
                    self._last[quote.part] = sample
                yield sample

    def _ask(self) -> tuple[str, Quotes]:
        """Return the first source's name and answer that there is; raises CollectError when there is none."""
        errors: list[CollectError] = []
        for name, feed in self._feeds.items():
            try:
                return name, feed.get(self.item(), self._stem)
            except (SourceError, ItemError) as error:
                errors.append(error)
        raise self._failure(errors)

    def _failure(self, errors: list[CollectError]) -> CollectError:
        # A feed has named its source where the failure is that of the whole source.
        named = (
            str(error) if error.told else f"{name}: {error}"
            for name, error in zip(self._feeds, errors, strict=True)
        )
        waits = [error.retry_in for error in errors if error.retry_in is not None]
        return CollectError(
            redact("; ".join(named), (self.quote_settings.api_key,)),
            retry_in=min(waits, default=None),
            told=all(error.told for error in errors),
        )

    def _tags_of(self, source: str, quote: Quote) -> Tags:
        """Return what a quote tells besides its number: one instance, as long as that stays the same."""
        told = dict(quote.tags)
        extra = quote.part.rpartition(".")[2]
        if quote.unit or extra in _EXTRA_UNITS:
            told["unit"] = quote.unit or _EXTRA_UNITS[extra]
        if source != self.quote_settings.source:
            told["source"] = source
        known = self._tags.get((source, quote.part))
        if known is None or known != told:
            known = self._tags[source, quote.part] = Tags(told)
        return known

    def symbol_of(self, part: str) -> str:
        """Return the symbol of a part of what a source has: the price itself has an empty one."""
        return f"{self._stem}.{part}" if part else self._stem

    # -- stream ---------------------------------------------------------------------------------------

    def _collect_stream(self) -> Iterator[Sample]:
        """Yield the candles since the last run; ask for quotes where the stream does not bring all.

        That is so at the first run too: nobody wants to wait for the end of an interval for the first value.
        """
        first = not self._live
        self._watch(self._wire.keys(self.item()))
        whole = not first
        for part, live in self._live.items():
            yield from self._candles(part, live)
            whole = whole and self._streams.alive(live) and not live.missed
            live.missed = False
        if not whole:
            yield from self._collect_quotes()
        # The next interval ends when the exchange's clock says so, which need not be when ours does.
        self.rest = min((self._streams.left(live) for live in self._live.values()), default=self.rest)

    def _candles(self, part: str, live: Live) -> Iterator[Sample]:
        symbol, tags = self.symbol_of(part), self._tags.get((self._source, part), NO_TAGS)
        for bucket in self._streams.take(live):
            self._last[part] = Sample(symbol, bucket.close, bucket.ts, tags, bucket.candle)
            yield self._last[part]
            for extra in self.quote_settings.extras:
                if extra in bucket.figures:
                    quote = Quote(bucket.figures[extra], bucket.ts, f"{part}.{extra}" if part else extra)
                    yield Sample(
                        self.symbol_of(quote.part), quote.value, quote.ts, self._tags_of(self._source, quote)
                    )
        if part in self._last and self._streams.alive(live):
            yield self._last[part]  # still the last price: the feed would have told another

    def _watch(self, keys: Mapping[str, str]) -> None:
        for part, key in keys.items():
            if part not in self._live:
                self._live[part] = self._streams.watch(key, self.quote_settings.interval)
