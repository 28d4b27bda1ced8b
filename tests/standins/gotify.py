"""Gotify: messages of an application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn
from tests.standins.text import payload

TOKEN = "AyWt0_Bf2hSvJeN"


class Gotify(StandIn):
    """`taken` are the messages that were taken."""

    ROUTES: ClassVar[Mapping[str, str]] = {"POST /message": "message", "POST /push/message": "message"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.taken: list[dict[str, Any]] = []

    def not_found(self, request: Request) -> Answer:
        return _error(404, "Not Found", "page not found")

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer("Too many requests", 429, type="text/plain")  # a proxy's: it has no limit itself

    def message(self, request: Request) -> Answer:
        """POST message: `message` is needed, the priority a whole number."""
        if request.headers.get("x-gotify-key") != TOKEN:
            return Answer(payload("gotify-error-401.json"), 401)
        try:
            found = request.json()
        except ValueError as error:
            return _error(400, "Bad Request", str(error))
        if not isinstance(found, dict) or not found.get("message"):
            return _error(400, "Bad Request", "Field 'message' is required")
        if not isinstance(found.get("priority", 0), int) or not isinstance(found.get("extras", {}), dict):
            return _error(400, "Bad Request", "json: cannot unmarshal into Go struct field")
        self.taken.append(found)
        answer = payload("gotify-message-success.json") | found
        return Answer(answer | {"id": len(self.taken), "appid": 5})


def _error(status: int, word: str, told: str) -> Answer:
    return Answer({"error": word, "errorCode": status, "errorDescription": told}, status)
