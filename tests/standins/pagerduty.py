"""PagerDuty's Events API v2: events that open incidents and close them, by their keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn
from tests.standins.text import payload

KEY = "R0123456789ABCDEFGHIJKLMNOPQRSTU"
LARGEST = 512_000  # bytes of an event


class PagerDuty(StandIn):
    """`events` are those that were taken; `open` the incidents that are, with the event that opened each."""

    ROUTES: ClassVar[Mapping[str, str]] = {"POST /v2/enqueue": "enqueue"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.events: list[dict[str, Any]] = []
        self.open: dict[str, dict[str, Any]] = {}

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        return Answer(payload("pagerduty-error-429.json"), 429)  # it names no time

    def enqueue(self, request: Request) -> Answer:
        """POST enqueue: an event; 202 when it is taken."""
        if len(request.body) > LARGEST:
            return _invalid("Event is too large")
        try:
            event = request.json()
        except ValueError:
            return _invalid("'payload' is missing or blank")
        errors = list(_wrong(event))
        if errors:
            return _invalid(*errors)
        self.events.append(event)
        key = event.get("dedup_key") or f"made-{len(self.events)}"
        if event["event_action"] == "trigger":
            self.open.setdefault(key, event)
        elif event["event_action"] == "resolve":
            self.open.pop(key, None)
        return Answer(payload("pagerduty-accepted.json") | {"dedup_key": key}, 202)


def _invalid(*errors: str) -> Answer:
    return Answer(payload("pagerduty-error-400.json") | {"errors": list(errors)}, 400)


def _wrong(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event."""
    found = []
    key = event.get("routing_key", "")
    if len(key) != 32:
        found.append("Length of 'routing_key' is incorrect (should be 32 characters)")
    elif key != KEY:
        found.append("'routing_key' is invalid")
    if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
        found.append("'event_action' is invalid")
    if len(event.get("dedup_key", "")) > 255:
        found.append("'dedup_key' is too long (should be at most 255 characters)")
    if event.get("event_action") != "trigger":
        return found if event.get("dedup_key") else [*found, "'dedup_key' is missing or blank"]
    inner = event.get("payload", {})
    found += [
        f"'payload.{name}' is missing or blank"
        for name in ("summary", "source", "severity")
        if not inner.get(name)
    ]
    if len(inner.get("summary", "")) > 1024:
        found.append("'payload.summary' is too long")
    if inner.get("severity") not in ("critical", "error", "warning", "info"):
        found.append("'payload.severity' is invalid (must be one of: critical, warning, error, info)")
    found += ["'links.href' is missing" for link in event.get("links", ()) if not link.get("href")]
    return found
