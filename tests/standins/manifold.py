"""Manifold: markets by slug or id, and the probabilities of one or of many.

Slugs that begin with `no-such` are unknown, those with `which-` have several answers, those with `closed-`
are resolved.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.text import millis, payload

ANSWERS = ("A", "B", "C")


class Manifold(StandIn):
    """An answer's odds are the market's item `<slug>/<answer>`, shared out so that they add up to one."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /v0/slug/{slug}": "by_slug",
        "GET /v0/market/{number}": "by_id",
        "GET /v0/market/{number}/prob": "prob",
        "GET /v0/market-probs": "probs",
    }
    PRICE_KEYS = frozenset({"probability", "prob", "answerProbs"})

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._slugs: dict[str, str] = {}
        super().__init__(*arguments, **options)

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return Answer({"message": "Too many requests"}, 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer(payload("manifold-error-404.json"), 404)

    def number(self, slug: str) -> str:
        """Return a market's id."""
        digest = hashlib.sha256(slug.encode()).digest()
        found = base64.b64encode(digest, b"xy").decode()[:20]
        self._slugs[found] = slug
        return found

    def by_slug(self, request: Request, slug: str) -> Answer:
        """GET slug/{slug}."""
        return self.not_found(request) if no_such(slug) else Answer(self._market(slug))

    def by_id(self, request: Request, number: str) -> Answer:
        """GET market/{id}."""
        slug = self._slug(number)
        return Answer(self._market(slug)) if slug else self.not_found(request)

    def prob(self, request: Request, number: str) -> Answer:
        """GET market/{id}/prob."""
        slug = self._slug(number)
        return Answer(self._prob(slug)) if slug else self.not_found(request)

    def probs(self, request: Request) -> Answer:
        """GET market-probs: `ids` is given once for each market, up to 100."""
        numbers = request.values("ids")
        if not numbers or len(numbers) > 100:
            return Answer({"message": "Error validating request."}, 400)
        return Answer({each: self._prob(slug) for each in numbers if (slug := self._slug(each))})

    def _slug(self, number: str) -> str:
        """Return a market's slug; an id that no slug has given yet is a market of its own."""
        return "" if no_such(number) else self._slugs.get(number, number)

    def _answers(self, slug: str) -> dict[str, float]:
        odds = {text: self.market.probability(f"{slug}/{text}") for text in ANSWERS}
        total = sum(odds.values())
        return {text: round(value / total, 6) for text, value in odds.items()}

    def _prob(self, slug: str) -> dict[str, Any]:
        if not slug.startswith("which-"):
            return {"prob": self.market.probability(slug)}
        return {
            "answerProbs": {f"a{index}": odds for index, odds in enumerate(self._answers(slug).values(), 1)}
        }

    def _market(self, slug: str) -> dict[str, Any]:
        several = slug.startswith("which-")
        body: dict[str, Any] = payload(f"manifold-slug-{'multiple-choice' if several else 'success'}.json")
        now = millis(self.market.set_at(slug) or self.market.now() // 5 * 5)
        if several:
            found = enumerate(self._answers(slug).items(), 1)
            body["answers"] = [
                {"id": f"a{index}", "text": text, "probability": odds} for index, (text, odds) in found
            ]
        else:
            body["probability"] = self.market.probability(slug)
        if slug.startswith("closed-"):
            body |= {"isResolved": True, "resolution": "NO", "resolutionTime": now, "closeTime": now}
        return body | {
            "id": self.number(slug),
            "slug": slug,
            "question": slug.replace("-", " ").capitalize() + "?",
            "url": f"https://manifold.markets/someone/{slug}",
            "lastUpdatedTime": now,
            "lastBetTime": now,
        }
