"""ntfy: messages published as JSON at the server's root."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn
from tests.standins.text import payload

LONGEST = 4_096  # bytes of a message; the whole JSON may have twice that
TYPES = {
    "topic": str, "title": str, "message": str, "priority": int, "tags": list, "click": str,
    "sequence_id": str,
}  # fmt: skip


class Ntfy(StandIn):
    """`shown` are the messages as an app shows them, by topic and sequence; `files` what it made files of."""

    ROUTES: ClassVar[Mapping[str, str]] = {"POST /": "publish"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.token = ""  # which then all must give
        self.user = ""  # NAME:PASSWORD, likewise
        self.readers: set[str] = set()  # topics that nobody may write to
        self.shown: dict[tuple[str, str], dict[str, Any]] = {}
        self.files: list[str] = []

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer(payload("ntfy-error-429.json"), 429)  # it names no time

    def not_found(self, request: Request) -> Answer:
        return _error(40401, "page not found")

    def publish(self, request: Request) -> Answer:
        """POST /: a message as JSON."""
        if len(request.body) > 2 * LONGEST:
            return _error(41303, "JSON body too large")
        try:
            found = request.json()
        except ValueError:
            return _error(40024, "invalid request: request body must be valid JSON")
        if not isinstance(found, dict) or any(
            name in found and not isinstance(found[name], kind) for name, kind in TYPES.items()
        ):
            return _error(40017, "invalid request: request body must be message JSON")
        topic = found.get("topic", "")
        if not re.fullmatch(r"[-_A-Za-z0-9]{1,64}", topic):
            return _error(40009, "invalid request: topic invalid")
        if not 0 <= found.get("priority", 3) <= 5:
            return _error(40007, "invalid priority parameter")
        if not re.fullmatch(r"[-_A-Za-z0-9]{0,64}", found.get("sequence_id", "")):
            return _error(40049, "invalid request: sequence ID invalid")
        wanted = {f"Bearer {self.token}"} if self.token else set()
        if self.user:
            wanted.add("Basic " + base64.b64encode(self.user.encode()).decode())
        given = request.headers.get("authorization", "")
        if given and given not in wanted:
            return _error(40101, "unauthorized")
        if (wanted and not given) or topic in self.readers:
            return Answer(payload("ntfy-error-403.json"), 403)
        if len(found.get("message", "").encode()) > LONGEST:
            self.files.append(found["message"])
            found["message"] = "You received a file: attachment.txt"
        identifier = f"msg{len(self.requests):09d}"
        message = {name: found[name] for name in TYPES if name in found}
        self.shown[topic, message.get("sequence_id") or identifier] = message
        return Answer(payload("ntfy-publish-success.json") | message | {"id": identifier})


def _error(code: int, told: str) -> Answer:
    """Return an error as the server writes them: the first three digits of its code are the status."""
    return Answer({"code": code, "http": code // 100, "error": told}, code // 100)
