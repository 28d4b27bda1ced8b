"""What a market source is: a service that is asked for items and answers with quotes.

A source knows hosts, paths, shapes and published limits, and nothing of intervals, storage or rules. To add
one: its file, a line in the table of the package, its payloads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

from oculus.clock import LAST_TIME, SECOND
from oculus.collectors.base import CollectError
from oculus.collectors.fetch import MAX_BODY, Answer, Fetcher, Request, SourceError, rebased
from oculus.collectors.manners import Rate
from oculus.collectors.markets.wire import Wire
from oculus.collectors.network.http_request import url_secrets
from oculus.model import NO_TAGS, Micros

Item = Hashable

__all__ = ["Item", "ItemError", "Options", "Pair", "Quote", "Quotes", "Source", "SourceError", "UnknownItem"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A price of `base` in `quote`, both in lower case. `coin` is CoinGecko's id of the base, if given."""

    base: str
    quote: str
    coin: str = ""

    def __str__(self) -> str:
        return f"{self.base}_{self.quote}"


class ItemError(CollectError):
    """A source has no usable value for one item; the others are not concerned."""


class UnknownItem(SourceError):
    """A source refused a whole request since it does not know one of the items."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A number of a source. `part` follows the symbol: empty for the price itself, else `bid` or an outcome.

    `ts` is the source's own time of the number; None where it gives none.
    """

    value: float
    ts: Micros | None = None
    part: str = ""
    unit: str = ""
    tags: Mapping[str, str] = NO_TAGS


@dataclass(frozen=True, slots=True)
class Quotes:
    """What a source has for one item.

    Nothing new comes within `rest` seconds, if it tells that. `state` is a word for people about values that
    do not move, such as `closed`. `keys` are the names on the source's stream, by part of the symbol, where
    they are not known before.
    """

    quotes: tuple[Quote, ...]
    rest: float | None = None
    state: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)


Found = Mapping[Item, Quotes | ItemError]


@dataclass(frozen=True, slots=True)
class Options:
    """What a user may set for a source; collectors with equal options share its requests."""

    base_url: str = ""
    api_key: str = field(default="", repr=False)
    plan: str = ""
    timeout: float = 10.0  # seconds
    proxy: str = ""
    rate: Rate | None = None


class Source:
    """Base of the sources: how they are reached, and reading what services send."""

    name: ClassVar[str] = ""
    url: ClassVar[str] = ""  # scheme and host, with what stands before every path
    rates: ClassVar[tuple[Rate, ...]] = ()
    # Most items of one request; sources with more than one are asked for all collectors together.
    batch: ClassVar[int] = 1
    # Seconds for which an answer stays good: the source has nothing newer, or does not want to be asked.
    least: ClassVar[float] = 0.0
    # What it speaks over a WebSocket, if it has one.
    wire: ClassVar[type[Wire] | None] = None

    def __init__(self, options: Options, fetcher: Fetcher, now: Callable[[], Micros]) -> None:
        self.options = options
        self.now = now
        self._fetcher = fetcher

    def ask(self, items: Sequence[Any]) -> Found:
        """Return what the source has for each item; raises SourceError when the request failed as a whole.

        An item without a usable value is given an ItemError, never a number that the source did not send.
        """
        raise NotImplementedError

    def get(
        self,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        url: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_body: int = MAX_BODY,
    ) -> Answer:
        """Fetch a path of the source, or of another of its hosts; POST where there is a body."""
        return self._fetcher.fetch(self._request(path, params, url, headers, body, max_body))

    def refuse(self, seconds: float, why: str, url: str = "") -> None:
        """Ask nothing for some seconds: the source said so in a body. Always raises SourceError."""
        self._fetcher.refuse(self._request("", None, url, None, None, 0), seconds, why)

    def _request(
        self,
        path: str,
        params: Mapping[str, str] | None,
        url: str,
        headers: Mapping[str, str] | None,
        body: bytes | None,
        max_body: int,
    ) -> Request:
        options = self.options
        return Request(
            url=rebased(url or self.url, options.base_url) + path,
            params=tuple((params or {}).items()),
            method="GET" if body is None else "POST",
            headers=headers or {},
            body=body,
            timeout=options.timeout,
            max_body=max_body,
            rates=self.rates if options.rate is None else (options.rate,),
            proxy=options.proxy,
            secrets=(options.api_key, *url_secrets(options.proxy, options.base_url)),
        )


def number(value: Any, what: str) -> float:
    """Return a number that came as one or as text; raises ItemError for anything else.

    Null, NaN, `N/D`, an empty text and true are no numbers, whatever Python thinks.
    """
    if isinstance(value, str):
        text = value.strip().removesuffix("%")
        try:
            # Python reads 1_000, and words such as infinity.
            found = float(text) if text and not text.strip("+-.0123456789eE") else math.nan
        except ValueError:
            found = math.nan
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value) if abs(value) < 1e300 else math.nan
    else:
        found = math.nan
    if not math.isfinite(found):
        shown = "null" if value is None else repr(value)[:40]
        raise ItemError(f"{what} is {shown}, which is no number")
    return found


def probability(value: Any, what: str) -> float:
    """Return a number from 0 to 1; raises ItemError for anything else."""
    found = number(value, what)
    if not 0.0 <= found <= 1.0:
        raise ItemError(f"{what} is {found:g}, which is no probability")
    return found


def percent(value: Any, what: str) -> float:
    """Return a number from 0 to 100; raises ItemError for anything else."""
    found = number(value, what)
    if not 0.0 <= found <= 100.0:
        raise ItemError(f"{what} is {found:g}, which is not between 0 and 100")
    return found


def optional(value: Any) -> float | None:
    """Return a number, or None for what is none: for figures beside the one that was asked for."""
    try:
        return number(value, "")
    except ItemError:
        return None


def quotes(price: float, ts: Micros | None, **extras: Any) -> tuple[Quote, ...]:
    """Return a price, and of what came along (`bid=…`) that which is a number."""
    found = [Quote(price, ts)]
    for part, value in extras.items():
        figure = optional(value)
        if figure is not None:
            found.append(Quote(figure, ts, part))
    return tuple(found)


def figures(row: Mapping[str, Any], **names: str) -> dict[str, float]:
    """Return those of a row's fields that are numbers, under our names for them (`bid="bidPrice"`)."""
    found = {part: optional(row.get(name)) for part, name in names.items()}
    return {part: value for part, value in found.items() if value is not None}


def field_of(data: Any, key: str, what: str) -> Any:
    """Return `data[key]`; raises ItemError when the service has renamed it, or sent something else."""
    if not isinstance(data, dict) or key not in data:
        raise ItemError(f"{what} has no {key!r}")
    return data[key]


def seconds_time(value: Any) -> Micros | None:
    """Return a time given as seconds since 1970, a number or a text; None for what is none."""
    return _time(value, SECOND)


def millis_time(value: Any) -> Micros | None:
    """Return a time given as milliseconds since 1970, a number or a text; None for what is none."""
    return _time(value, SECOND // 1_000)


def _time(value: Any, unit: int) -> Micros | None:
    found = optional(value)
    if found is None or not 0 < found * unit < LAST_TIME:
        return None
    return Micros(int(found) * unit if found == int(found) else round(found * unit))


def iso_time(value: Any) -> Micros | None:
    """Return a time in RFC 3339, with up to nanoseconds; None for what is none."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    head, dot, tail = text.partition(".")
    if dot:
        digits = len(tail) - len(tail.lstrip("0123456789"))
        text = f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    micros = (since.days * 86_400 + since.seconds) * SECOND + since.microseconds
    return Micros(micros) if 0 < micros < LAST_TIME else None
