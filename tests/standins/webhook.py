"""A receiver of webhooks: takes any path, checks signatures, and tells a repetition by its key."""

from __future__ import annotations

import hmac
from typing import Any

from tests.standins.base import Answer, Request, StandIn


class Webhook(StandIn):
    """`taken` are the requests that were taken, each once. With `secret`, all must be signed with it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.secret = ""
        self.token = ""  # what Authorization must be
        self.taken: dict[str, Request] = {}

    def answer(self, request: Request) -> Answer:
        if request.method not in ("POST", "PUT", "PATCH"):
            return Answer({"error": "method not allowed"}, 405)
        if self.token and request.headers.get("authorization") != self.token:
            return Answer({"error": "who are you?"}, 401)
        if self.secret:
            told = request.headers.get("x-signature", "")
            right = f"sha256={hmac.new(self.secret.encode(), request.body, 'sha256').hexdigest()}"
            if not hmac.compare_digest(told, right):
                return Answer({"error": "the signature is wrong"}, 403)
        key = request.headers.get("idempotency-key")
        if not key:
            return Answer({"error": "there is no Idempotency-Key"}, 400)
        self.taken.setdefault(key, request)
        return Answer("", 204)
