"""What there is to tell of a window of a series besides its chart: figures, thresholds, alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oculus.clock import SECOND, iso
from oculus.errors import StorageError
from oculus.model import Micros
from oculus.rules.expression.levels import Level
from oculus.rules.uses import Use
from oculus.storage import queries
from oculus.storage import series as stored
from oculus.storage.latest import Series
from oculus.storage.queries import StoredEvent
from oculus.web import figures, points
from oculus.web.services import Services
from oculus.web.steps import span
from oculus.web.summaries import Stat, stats

ALERTS_SHOWN = 100  # steps in the window, on the chart and in the list


@dataclass(frozen=True, slots=True)
class Mark:
    """A threshold: its rule and how bad that is, the comparison, and whether it ends the alert."""

    rule: str
    severity: str
    sign: str
    value: float
    text: str
    ends: bool


@dataclass(frozen=True, slots=True)
class Read:
    """An alert that reads the series."""

    rule: str
    severity: str
    state: str
    condition: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """An alert that began to fire, or ended. `ts` is in seconds."""

    id: int
    rule: str
    state: str
    severity: str
    message: str
    at: str
    ts: float
    lasted: str


@dataclass(frozen=True)
class WindowContext:
    """`fragments/window.html`: figures and alerts of the shown window."""

    symbol: str
    start: str
    end: str
    stats: tuple[Stat, ...]
    reads: tuple[Read, ...]
    turns: tuple[Turn, ...]
    more: bool
    unread: str


def window(services: Services, series: Series, start: Micros, end: Micros) -> WindowContext:
    """Return what is to be told of [start, end)."""
    symbol = series.symbol
    uses = services.uses(symbol)
    alerts = [use.alert for use in uses]
    found: tuple[Stat, ...] = ()
    events: list[StoredEvent] = []
    unread = ""
    try:
        found, events = services.readers.run(
            _read, series, points.state_of(services, symbol), alerts, start, end
        )
    except StorageError as error:
        unread = str(error)
    return WindowContext(
        symbol=symbol,
        start=iso(start),
        end=iso(end),
        stats=found,
        reads=tuple(_reads(uses, series.unit)),
        turns=tuple(map(_turn, events[:ALERTS_SHOWN])),
        more=len(events) > ALERTS_SHOWN,
        unread=unread,
    )


def _read(
    cursor: queries.Cursor,
    series: Series,
    state: tuple[str, float],
    alerts: Sequence[str],
    start: Micros,
    end: Micros,
) -> tuple[tuple[Stat, ...], list[StoredEvent]]:
    """Return the figures of a window and the alerts in it."""
    events = stored.alerts_about(cursor, series.symbol, alerts, start, end, ALERTS_SHOWN + 1)
    return tuple(stats(cursor, series, state, start, end)), events


def _reads(uses: Sequence[Use], unit: str) -> Iterator[Read]:
    for use in uses:
        marks = [_mark(use, level, unit, ends=False) for level in use.levels]
        marks += [_mark(use, level, unit, ends=True) for level in use.until]
        yield Read(use.rule, use.severity, use.state, use.condition, tuple(marks))


def _mark(use: Use, level: Level, unit: str, *, ends: bool) -> Mark:
    text = f"{level.function} {level.sign} {figures.full_text(level.value, unit)}".strip()
    return Mark(use.rule, use.severity, level.sign, level.value, text, ends)


def _turn(event: StoredEvent) -> Turn:
    payload = event.payload
    state, began = str(payload.get("state", "")), payload.get("started_at", event.ts)
    return Turn(
        id=event.id,
        rule=str(payload.get("rule", event.source)),
        state=state,
        severity=event.severity,
        message=event.message,
        at=iso(event.ts),
        ts=event.ts / SECOND,
        lasted=span(event.ts - began) if state == "resolved" else "",
    )
