"""Manifold: markets by slug. The money is play money.

A market's own answer has all about it, the time of its last bet too. Where several are asked for, one
request brings the probabilities of all, without a time; each market's answer is then looked at now and then,
for its time, new answers and the end.

https://docs.manifold.markets/api
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from oculus.clock import SECOND
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Quote,
    Quotes,
    Source,
    SourceError,
    field_of,
    millis_time,
    optional,
    probability,
)
from oculus.collectors.markets.sources.odds import (
    SETTLED,
    UNKNOWN,
    UNSETTLED,
    Bet,
    Moments,
    each,
    outcome_names,
    outcome_tag,
)
from oculus.model import Micros

_TOGETHER = 100  # markets of one request, as documented

# A market that is asked for together with others is looked at by itself this often.
_LOOK = 900 * SECOND  # microseconds


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a market's own answer told. `outcomes` are answers by id: name in the symbol, and text."""

    id: str
    at: Micros
    closes: Micros | None
    outcomes: Mapping[str, tuple[str, str]]  # none where it is a matter of yes or no


class Manifold(Source):
    """`/v0/slug/{slug}` for one market, `/v0/market-probs` for several."""

    name = "manifold"
    url = "https://api.manifold.markets"
    rates = (Rate(500, 60.0),)
    batch = _TOGETHER
    least = 1.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._seen: dict[Bet, _Seen] = {}  # open markets
        self._moments = Moments()
        self._takes_lists = True

    def ask(self, items: Sequence[Bet]) -> Found:
        found = self._together([item for item in items if self._is_known(item)])
        return {**found, **each(self._alone, [item for item in items if item not in found])}

    # -- several markets ------------------------------------------------------------------------------

    def _is_known(self, item: Bet) -> bool:
        """Whether a market is known, open, and need not be looked at now."""
        seen, present = self._seen.get(item), self.now()
        if seen is None or present - seen.at >= _LOOK:
            return False
        return seen.closes is None or present < seen.closes

    def _together(self, items: Sequence[Bet]) -> Found:
        if len(items) < 2 or not self._takes_lists:
            return {}
        query = urlencode([("ids", self._seen[item].id) for item in items])
        answer = self.get(f"/v0/market-probs?{query}")
        if answer.status in (400, 404):  # one of them is gone, or a server without this path
            self._takes_lists = answer.status != 404
            return {}
        data = answer.json()
        if not isinstance(data, dict):
            raise SourceError("the answer is not an object of markets")
        found: dict[Any, Quotes | ItemError] = {}
        for item in items:
            row = data.get(self._seen[item].id)
            if row is not None:  # else it is looked at by itself
                try:
                    found[item] = self._probabilities(item, row, answer.received)
                except ItemError as error:
                    found[item] = error
        return found

    def _probabilities(self, item: Bet, row: Any, received: Micros) -> Quotes:
        seen = self._seen[item]
        if not seen.outcomes:
            value = probability(field_of(row, "prob", str(item)), f"the probability of {item}")
            return self._quotes(item, {"": value}, seen.outcomes, None, received)
        told = field_of(row, "answerProbs", str(item))
        values = {
            key: probability(value, f"the probability of an answer of {item}")
            for key, value in (told.items() if isinstance(told, dict) else ())
            if key in seen.outcomes
        }
        if not values:
            raise ItemError(f"the answer has no probabilities of {item}")
        return self._quotes(item, values, seen.outcomes, None, received)

    # -- one market -----------------------------------------------------------------------------------

    def _alone(self, item: Bet) -> Quotes:
        self._seen.pop(item, None)
        answer = self.get(f"/v0/slug/{quote(item.id, safe='')}")
        if answer.status == 404:
            raise ItemError(f"has no market {item.id!r}", retry_in=UNKNOWN)
        market = answer.json()
        kind = field_of(market, "outcomeType", str(item))
        if kind == "PSEUDO_NUMERIC":
            raise ItemError(f"{item} is about a number and has no probability", retry_in=SETTLED)
        answers = market.get("answers")
        rows = [row for row in answers if _has_id(row)] if isinstance(answers, list) else []
        texts = {row["id"]: str(row.get("text", "")) for row in rows}
        names = outcome_names(texts)
        outcomes = {key: (names[key], texts[key]) for key in texts}
        over = market.get("isResolved") is True
        closes = millis_time(market.get("closeTime"))
        if over:
            values = _results(item, market, rows)
            told = millis_time(market.get("resolutionTime"))
        else:
            values = _odds(item, market, rows, str(kind))
            told = None
            if isinstance(market.get("id"), str):
                self._seen[item] = _Seen(market["id"], self.now(), closes, outcomes)
        if told is None:
            # The last bet moved the odds; comments and edits move the other time too.
            told = millis_time(market.get("lastBetTime")) or millis_time(market.get("lastUpdatedTime"))
        found = self._quotes(item, values, outcomes, told, answer.received)
        volume = optional(market.get("volume24Hours"))
        quotes = found.quotes
        if volume is not None:
            unit = str(market.get("token") or "MANA")[:20]
            quotes += (Quote(volume, quotes[0].ts, "volume_24h", unit),)
        if over:
            return Quotes(quotes, SETTLED, "closed")
        if closes is not None and closes <= self.now():
            return Quotes(quotes, UNSETTLED, "closed")
        return Quotes(quotes)

    def _quotes(
        self,
        item: Bet,
        values: Mapping[str, float],
        outcomes: Mapping[str, tuple[str, str]],
        told: Micros | None,
        received: Micros,
    ) -> Quotes:
        ts = self._moments.of(item, tuple(sorted(values.items())), told, received)
        if not outcomes:
            return Quotes((Quote(values[""], ts),))
        return Quotes(
            tuple(
                Quote(value, ts, outcomes[key][0], tags=outcome_tag(outcomes[key][1]))
                for key, value in values.items()
            )
        )


def _has_id(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("id"), str)


def _odds(
    item: Bet, market: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], kind: str
) -> dict[str, float]:
    """Return the probabilities of an open market by answer; of one without answers, that of yes."""
    if not rows:
        if kind != "BINARY" and "probability" not in market:  # polls, bounties, stocks …
            raise ItemError(f"{item} is of the type {kind[:40]} and has no probability", retry_in=SETTLED)
        return {"": probability(field_of(market, "probability", str(item)), f"the probability of {item}")}
    found = {}
    for row in rows:
        result = _result(row)
        what = f"the probability of an answer of {item}"
        found[row["id"]] = probability(field_of(row, "probability", what), what) if result is None else result
    return found


def _results(item: Bet, market: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return what became of a resolved market, as far as it is told."""
    if not rows:
        found = _result(market)
        if found is None:
            told = str(market.get("resolution"))[:40]
            raise ItemError(f"{item} ended without a probability ({told})", retry_in=SETTLED)
        return {"": found}
    results = {row["id"]: _result(row) for row in rows}
    winner = market.get("resolution")
    if winner in results:
        return {key: float(key == winner) for key in results}
    known = {key: value for key, value in results.items() if value is not None}
    if not known:
        raise ItemError(f"{item} ended without a result of its answers", retry_in=SETTLED)
    return known


def _result(found: Mapping[str, Any]) -> float | None:
    """Return what an outcome was settled at, from 0 to 1; None for one that was not."""
    resolution = found.get("resolution")
    if resolution in ("YES", "NO"):
        return 1.0 if resolution == "YES" else 0.0
    if resolution == "MKT":
        value = optional(found.get("resolutionProbability"))
        return value if value is not None and 0.0 <= value <= 1.0 else None
    return None
