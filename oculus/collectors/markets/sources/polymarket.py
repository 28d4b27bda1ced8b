"""Polymarket: markets and events by slug from gamma, tokens from the CLOB.

The number of a slug is gamma's `outcomePrices`, which is what Polymarket's pages show: the midpoint of the
book, or the last trade where the spread is wide. That of a token is the CLOB's midpoint.

https://docs.polymarket.com/api-reference/introduction
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from oculus.collectors.fetch import Answer
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
    optional,
    probability,
)
from oculus.collectors.markets.sources.odds import (
    LONGEST_MARKET,
    SETTLED,
    UNKNOWN,
    UNSETTLED,
    Bet,
    Moments,
    each,
    outcome_names,
    outcome_tag,
    shortened,
)
from oculus.collectors.markets.sources.polymarket_wire import PolymarketWire
from oculus.model import Micros, slug

CLOB_URL = "https://clob.polymarket.com"

# The forms in which gamma is asked for a slug, the surest first: of the second it is not known whether it
# finds closed markets. All but events can be asked for together in the second.
_FORMS = ("/markets/slug/{}", "/markets?slug={}", "/events/slug/{}")
_EVENT = _FORMS[2]

# There is no such slug, or it cannot be one.
_NOT_FOUND = frozenset({404, 422})

# Slugs of one request: their text has about 3,000 characters, which every server on the way takes.
_TOGETHER = 50
_LONGEST_QUERY = 6_000  # characters


class Polymarket(Source):
    """Open markets are asked for together; events, closed markets and what is new one by one."""

    name = "polymarket"
    url = "https://gamma-api.polymarket.com"
    rates = (Rate(300, 10.0),)
    batch = _TOGETHER
    least = 2.0
    wire = PolymarketWire

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._forms: dict[Bet, str] = {}  # that found an item
        self._moments = Moments()
        self._takes_lists = True  # of tokens, by POST

    def ask(self, items: Sequence[Bet]) -> Found:
        tokens = [item for item in items if item.kind == "token"]
        slugs = [item for item in items if item.kind != "token"]
        found = self._tokens(tokens)
        for item, (market, received) in self._listed(slugs).items():
            try:
                found[item] = self._market(item, market, received)
            except ItemError as error:
                found[item] = error
        return found | each(self._one, [item for item in slugs if item not in found])

    # -- slugs ----------------------------------------------------------------------------------------

    def _listed(self, items: Sequence[Bet]) -> Mapping[Bet, tuple[Any, Micros]]:
        """Return the markets that one request finds; none where it would be for one alone."""
        asked: dict[str, Bet] = {}
        length = 0
        for item in items:
            length += len(quote(item.id)) + len("&slug=")
            if self._forms.get(item) != _EVENT and length <= _LONGEST_QUERY:
                asked[item.id] = item
        if len(asked) < 2:
            return {}
        query = urlencode([("limit", len(asked)), *(("slug", name) for name in asked)])
        answer = self.get(f"/markets?{query}")
        markets = [] if answer.status in _NOT_FOUND else _unwrapped(answer)
        if not isinstance(markets, list):
            raise SourceError("the answer is not a list of markets")
        found = {}
        for market in markets:
            name = market.get("slug") if isinstance(market, dict) else None
            if isinstance(name, str) and name in asked:
                found[asked[name]] = (market, answer.received)
        return found

    def _one(self, item: Bet) -> Quotes:
        """Ask for one slug, in the form that found it before, else in all of them in turn."""
        known = self._forms.get(item)
        for form in sorted(_FORMS, key=lambda form: form != known):
            answer = self.get(form.format(quote(item.id, safe="")))
            data = None if answer.status in _NOT_FOUND else _unwrapped(answer)
            if isinstance(data, list):
                data = next(iter(data), None)
            if not data:
                continue
            self._forms[item] = form
            if form == _EVENT:
                return self._event(item, data, answer.received)
            return self._market(item, data, answer.received)
        self._forms.pop(item, None)
        raise ItemError(f"has neither a market nor an event {item.id!r}", retry_in=UNKNOWN)

    def _event(self, item: Bet, event: Any, received: Micros) -> Quotes:
        markets = field_of(event, "markets", f"the event {item}")
        slugs = {
            str(market["slug"]): market
            for market in (markets if isinstance(markets, list) else ())
            if isinstance(market, dict) and market.get("slug")
        }
        names = outcome_names({key: key for key in slugs}, LONGEST_MARKET)
        found: list[Quotes] = []
        errors: list[ItemError] = []
        for key, market in slugs.items():
            try:
                found.append(self._read(market, names[key], key, received))
            except ItemError as error:  # such as one of an old event whose result is not told
                errors.append(error)
        if not found:
            raise errors[0] if errors else ItemError(f"the event {item} has no markets", retry_in=UNKNOWN)
        over = all(quotes.state for quotes in found)
        rests = [quotes.rest for quotes in found if quotes.rest is not None]
        return Quotes(
            tuple(quote for quotes in found for quote in quotes.quotes),
            # An open event may still be given more markets.
            min(rests) if over and event.get("closed") is True else None,
            "closed" if over else "",
            {part: key for quotes in found for part, key in quotes.keys.items()},
        )

    def _market(self, item: Bet, market: Any, received: Micros) -> Quotes:
        return self._read(market, shortened(slug(item.id), LONGEST_MARKET, item.id), item.id, received)

    def _read(self, market: Any, name: str, key: str, received: Micros) -> Quotes:
        """Return the quotes of one market: those at the same place of three lists belong together."""
        outcomes = [str(text) for text in _texts(market, "outcomes", key)]
        prices = _texts(market, "outcomePrices", key)
        if len(outcomes) != len(prices) or not outcomes:
            raise ItemError(f"{key} has {len(outcomes)} outcomes and {len(prices)} prices")
        values = [
            probability(price, f"the price of {outcome[:40]!r} in {key}")
            for outcome, price in zip(outcomes, prices, strict=True)
        ]
        closed = market.get("closed") is True
        if not any(values):  # markets of the first years, and new ones
            told = "is closed, and its result is not told" if closed else "has no prices yet"
            raise ItemError(f"{key} {told}", retry_in=SETTLED if closed else None)
        ts = self._moments.of(key, tuple(values), iso_time(market.get("updatedAt")), received)
        names = outcome_names({f"{key}/{index}": text for index, text in enumerate(outcomes)})
        parts = [f"{name}.{outcome}" for outcome in names.values()]
        quotes = [
            Quote(value, ts, part, tags=outcome_tag(text))
            for value, part, text in zip(values, parts, outcomes, strict=True)
        ]
        volume = optional(market.get("volume24hr"))
        if volume is not None:
            quotes.append(Quote(volume, ts, f"{name}.volume_24h", "USD"))
        if closed:
            settled = set(values) <= {0.0, 1.0} or market.get("umaResolutionStatus") == "resolved"
            return Quotes(tuple(quotes), SETTLED if settled else UNSETTLED, "closed")
        for extra, figure in (("bid", market.get("bestBid")), ("ask", market.get("bestAsk"))):
            value = optional(figure)  # of the first outcome
            if value is not None and 0.0 < value < 1.0:
                quotes.append(Quote(value, ts, f"{parts[0]}.{extra}"))
        return Quotes(tuple(quotes), keys=_tokens_of(market, parts))

    # -- tokens ---------------------------------------------------------------------------------------

    def _tokens(self, items: Sequence[Bet]) -> dict[Any, Quotes | ItemError]:
        if len(items) > 1 and self._takes_lists:
            body = json.dumps([{"token_id": item.id} for item in items]).encode()
            headers = {"Content-Type": "application/json"}
            answer = self.get("/midpoints", url=CLOB_URL, body=body, headers=headers)
            if answer.status in (404, 405):
                self._takes_lists = False
            elif answer.status != 400:  # which one wrong token is enough for
                data = answer.json()
                if not isinstance(data, dict):
                    raise SourceError("the answer is not an object of midpoints")
                return {item: _midpoint(item, data.get(item.id), answer) for item in items}
        return each(self._token, items)

    def _token(self, item: Bet) -> Quotes:
        answer = self.get("/midpoint", {"token_id": item.id}, url=CLOB_URL)
        if answer.status == 400:
            raise ItemError(f"does not know the token {_brief(item)}", retry_in=UNKNOWN)
        found = _midpoint(item, None if answer.status == 404 else answer.json(), answer)
        if isinstance(found, ItemError):
            raise found
        return found


def _midpoint(item: Bet, told: Any, answer: Answer) -> Quotes | ItemError:
    """Return what is told of a token's book: a number, or an object with `mid` or `mid_price`."""
    if told is None:
        text = f"has no order book of the token {_brief(item)} (its market is closed, or it is no token)"
        return ItemError(text, retry_in=UNSETTLED)
    try:
        if isinstance(told, dict):
            told = told["mid_price"] if "mid_price" in told else field_of(told, "mid", "the midpoint")
        value = probability(told, f"the midpoint of {_brief(item)}")
    except ItemError as error:
        return error
    return Quotes((Quote(value, answer.received),), keys={"": item.id})


def _brief(item: Bet) -> str:
    return item.id if len(item.id) <= 20 else f"{item.id[:8]}…{item.id[-8:]}"


def _unwrapped(answer: Answer) -> Any:
    """Return an answer's JSON; some lists come as `data`."""
    data = answer.json()
    return data["data"] if isinstance(data, dict) and isinstance(data.get("data"), list) else data


def _texts(market: Any, key: str, name: str) -> list[Any]:
    """Return a list that comes as JSON inside a text."""
    found = field_of(market, key, name)
    if isinstance(found, str):
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list):
        raise ItemError(f"the {key} of {name} are no list")
    return found


def _tokens_of(market: Any, parts: Sequence[str]) -> Mapping[str, str]:
    """Return the tokens of an open market by part; none where it has no order book."""
    try:
        tokens = _texts(market, "clobTokenIds", "")
    except ItemError:
        return {}
    if len(tokens) != len(parts) or market.get("enableOrderBook") is False:
        return {}
    return {part: str(token) for part, token in zip(parts, tokens, strict=True) if token}
