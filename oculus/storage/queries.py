"""Every read of Oculus itself: blocking functions over a cursor, with bound parameters, to plain values.

Times go in and come out as microseconds: fetching a TIMESTAMPTZ makes a Python object of each, with a
time-zone library behind it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.model import Micros
from oculus.storage.latest import HISTORY

Cursor = duckdb.DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds of a series: its last time and tags, and its newest values, oldest first."""

    symbol: str
    ts: Micros
    tags: dict[str, str]
    history: list[float]


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of a series: `ts` is the bucket's start, open and close are by time."""

    ts: Micros
    open: float
    high: float
    low: float
    close: float
    avg: float
    count: int


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of `events`."""

    id: int
    ts: Micros
    source: str
    type: str
    severity: str
    message: str
    payload: dict[str, Any]


def series(cursor: Cursor, since: Micros) -> list[Stored]:
    """Return every series: values of the history from `since` on, or its very last value if older."""
    rows = cursor.execute(
        """select symbol, epoch_us(max(ts)), arg_max(tags, ts), arg_max(value, ts),
            list(value order by ts) filter (where ts >= make_timestamptz($since))[-$history:]
        from metrics group by symbol""",
        {"since": since, "history": HISTORY},
    ).fetchall()
    return [
        Stored(symbol, Micros(ts), json.loads(tags or "{}"), history or [value])
        for symbol, ts, tags, value, history in rows
    ]


def points(cursor: Cursor, symbol: str, start: Micros, end: Micros, step: int) -> list[Point]:
    """Return a series over [start, end) in buckets of `step` microseconds; empty buckets are left out."""
    rows = cursor.execute(
        """select $start + (epoch_us(ts) - $start) // $step * $step as bucket,
            arg_min(value, ts), max(value), min(value), arg_max(value, ts), avg(value), count(value)
        from metrics
        where symbol = $symbol and ts >= make_timestamptz($start) and ts < make_timestamptz($end)
            and value is not null
        group by bucket order by bucket""",
        {"symbol": symbol, "start": start, "end": end, "step": step},
    ).fetchall()
    return [Point(*row) for row in rows]


def events(
    cursor: Cursor,
    *,
    type: str | None = None,
    rule: str | None = None,
    severity: str | None = None,
    state: str | None = None,
    since: Micros | None = None,
    limit: int = 100,
) -> list[StoredEvent]:
    """Return events that fit every given filter, newest first."""
    rows = cursor.execute(
        """select id, epoch_us(ts), source, type, severity, message, payload from events
        where ($type is null or type = $type)
            and ($rule is null or payload->>'rule' = $rule)
            and ($severity is null or severity = $severity)
            and ($state is null or payload->>'state' = $state)
            and ($since is null or ts >= make_timestamptz($since::bigint))
        order by id desc limit $limit""",
        {"type": type, "rule": rule, "severity": severity, "state": state, "since": since, "limit": limit},
    ).fetchall()
    return [
        StoredEvent(id, Micros(ts), source, kind, level, message, json.loads(payload or "{}"))
        for id, ts, source, kind, level, message, payload in rows
    ]
