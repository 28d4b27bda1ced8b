"""A stored step of an alert as the pages show it, with the values that decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oculus.clock import SECOND, iso
from oculus.storage.queries import StoredEvent
from oculus.web import figures, timeline


@dataclass(frozen=True, slots=True)
class Read:
    """Something that was read when a step was decided: as written, its value, and how old that was."""

    text: str
    value: str
    age: str


@dataclass(frozen=True, slots=True)
class Past:
    """A stored step of an alert. `again` tells that it fired already, and was told once more."""

    id: int
    state: str
    previous: str
    again: bool
    severity: str
    at: str
    label: str
    message: str
    lasted: str
    explanation: str
    operands: tuple[Read, ...]
    timers: tuple[tuple[str, str], ...]
    suppressed: str


def labels_of(event: StoredEvent) -> Mapping[str, str]:
    """Return the labels of a step."""
    return {str(name): str(value) for name, value in event.payload.get("labels", {}).items()}


def history(events: Sequence[StoredEvent]) -> Iterator[Past]:
    """Yield steps, each with what tells its alert from the others where there are several."""
    labels = [labels_of(event) for event in events]
    distinct = {tuple(sorted(one.items())) for one in labels}
    name = timeline.namer([dict(one) for one in distinct])
    for event, own in zip(events, labels, strict=True):
        yield past(event, "" if len(distinct) == 1 or name(own) in event.message else name(own))


def past(event: StoredEvent, label: str = "") -> Past:
    """Return a step."""
    payload = event.payload
    state, previous = str(payload.get("state", "")), str(payload.get("previous", ""))
    over = state in ("resolved", "inactive")
    return Past(
        id=event.id,
        state=state,
        previous=previous,
        again=state == previous,
        severity=event.severity,
        at=iso(event.ts),
        label=label,
        message=event.message,
        lasted=span(event.ts - payload.get("started_at", event.ts)) if over else "",
        explanation=str(payload.get("explanation", "")),
        operands=tuple(
            Read(
                str(text),
                "unknown" if value is None else number(value),
                "" if age is None else figures.span_text(round(age, 1 if age < 10 else 0)),
            )
            for text, value, age in payload.get("operands", ())
        ),
        timers=tuple(
            (str(name), figures.span_text(round(seconds, 1 if seconds < 10 else 0)))
            for name, seconds in payload.get("timers", {}).items()
            if seconds
        ),
        suppressed=str(payload.get("suppressed", "")),
    )


def span(micros: int) -> str:
    """Return how long something took, a second at least."""
    return figures.span_text(max(1, micros // SECOND))


def number(value: float) -> str:
    """Return a value with the digits that decided: one beside a threshold must not be rounded onto it."""
    return format(value, ".10g")
