"""Every read of Oculus itself: blocking functions over a cursor, with bound parameters, to plain values.

Times go in and come out as microseconds: fetching a TIMESTAMPTZ makes a Python object of each, with a
time-zone library behind it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.model import Micros
from oculus.storage.ingest import read_marks
from oculus.storage.latest import HISTORY
from oculus.storage.tiers import HIGH, HOUR, LOW, MINUTE, OPEN, TABLES, TIERS, Part, floor, parts, shard_of

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

    def joined(self, later: Point) -> Point:
        """Return the bucket that holds this part of it and a later one."""
        count = self.count + later.count
        avg = (self.avg * self.count + later.avg * later.count) / count
        high, low = max(self.high, later.high), min(self.low, later.low)
        return Point(self.ts, self.open, high, low, later.close, avg, count)


@dataclass(frozen=True, slots=True)
class TableUsage:
    """A table's rows, its bytes in the file (blocks that it has a part in), and its first and last time."""

    table: str
    rows: int
    bytes: int
    first: Micros | None
    last: Micros | None


@dataclass(frozen=True, slots=True)
class Usage:
    """The file's bytes that are in use and that are free to be used again, and the tables' shares."""

    used: int = 0
    free: int = 0
    tables: tuple[TableUsage, ...] = ()


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


# Of `events`, for `stored_event`.
COLUMNS = "id, epoch_us(ts), source, type, severity, message, payload"

# Whether a text, in lower case, stands in the value of a label of an event.
HAS_LABEL = "contains(lower(array_to_string(payload->>'$.labels.*', ' ')), $text)"


def series(cursor: Cursor, since: Micros) -> list[Stored]:
    """Return every series: values of the history from `since` on, or its very last value if older."""
    rows = cursor.execute(
        """select symbol, epoch_us(max(ts)), arg_max(tags, ts), arg_max(value, ts),
            list_reverse(arg_max(value, ts, $history) filter (where ts >= make_timestamptz($since)))
        from metrics group by symbol""",
        {"since": since, "history": HISTORY},
    ).fetchall()
    return [
        Stored(symbol, Micros(ts), json.loads(tags or "{}"), history or [value])
        for symbol, ts, tags, value, history in rows
    ]


def values_before(cursor: Cursor, at: Micros) -> dict[str, float]:
    """Return each series' last value of the two hours up to `at`, from the 1-minute rollups."""
    rows = cursor.execute(
        """select symbol, arg_max(close, ts) from metrics_1m
        where ts >= make_timestamptz($1) and ts < make_timestamptz($2) group by symbol""",
        [at - 2 * HOUR, floor(at, MINUTE)],
    ).fetchall()
    return dict(rows)


def newest(
    cursor: Cursor, symbols: Collection[str], at: Micros
) -> dict[str, tuple[Micros, float, float | None]]:
    """Return the time and value of each series' newest sample up to `at`, and the value before it."""
    rows = cursor.execute(
        """select symbol, epoch_us(max(ts)), arg_max(value, ts, 2) from metrics
        where list_contains($symbols, symbol) and ts <= make_timestamptz($at)
            and value is not null and not isnan(value)
        group by symbol""",
        {"symbols": list(symbols), "at": at},
    ).fetchall()
    return {
        symbol: (Micros(ts), values[0], values[1] if len(values) > 1 else None) for symbol, ts, values in rows
    }


def last(cursor: Cursor, symbol: str) -> Stored | None:
    """Return the last value of a series that is no longer measured: of its samples, or of its rollups."""
    for relation, value, tags in (
        ("metrics", "value", "tags"),
        *((tier.view, "close", "'{}'") for tier in TIERS),
    ):
        row = cursor.execute(
            f"""select epoch_us(ts), {tags}, {value} from {relation}
            where symbol = $1 and shard in (0, shard_of($1)) order by ts desc limit 1""",
            [symbol],
        ).fetchone()
        if row is not None:
            return Stored(symbol, Micros(row[0]), json.loads(row[1] or "{}"), [row[2]])
    return None


def points(cursor: Cursor, symbol: str, start: Micros, end: Micros, step: int) -> list[Point]:
    """Return a series over [start, end) in buckets of `step` microseconds; empty buckets are left out.

    Rollups answer for what they can (`tiers.parts`), so that a year reads no more rows than a day.
    """
    cursor.execute("begin transaction read only")
    try:
        return points_of(cursor, symbol, parts(start, end, step, read_marks(cursor)), start, step)
    finally:
        cursor.execute("rollback")


def points_of(cursor: Cursor, symbol: str, found: Sequence[Part], origin: Micros, step: int) -> list[Point]:
    """Return what these parts of a range hold of a series, in buckets that begin at `origin`.

    Call it in a transaction: the parts follow from marks that must hold still.
    """
    points: list[Point] = []
    for part in found:
        rows = cursor.execute(
            _POINTS[part.relation],
            {"symbol": symbol, "shard": shard_of(symbol), "origin": origin, "step": step,
             "start": part.start, "end": part.end},
        ).fetchall()  # fmt: skip
        for point in (Point(*row) for row in rows):
            if points and points[-1].ts == point.ts:  # where two parts meet in a bucket
                points[-1] = points[-1].joined(point)
            else:
                points.append(point)
    return points


def _points(relation: str, last: str, values: str) -> str:
    return f"""select $origin + (epoch_us(ts) - $origin) // $step * $step as bucket, {values} from {relation}
        where symbol = $symbol and shard in (0, $shard) and {last} is not null
            and ts >= make_timestamptz($start) and ts < make_timestamptz($end)
        group by bucket order by bucket"""


_OF_SAMPLES = f"""arg_min({OPEN}, ts), max({HIGH}), min({LOW}), arg_max(value, ts), avg(value),
    count(value)"""
_OF_ROLLUPS = """arg_min(open, ts), max(high), min(low), arg_max(close, ts), sum(sum) / sum(count),
    sum(count)::bigint"""

_POINTS = {tier.view: _points(tier.view, "close", _OF_ROLLUPS) for tier in TIERS} | {
    "metrics": _points("metrics", "value", _OF_SAMPLES)
}


def usage(cursor: Cursor) -> Usage:
    """Return where the space of the file goes."""
    row = cursor.execute(
        "select block_size * used_blocks, block_size * free_blocks, block_size from pragma_database_size()"
    ).fetchone()
    assert row is not None
    used, free, block = row
    tables = []
    for table in (*TABLES, "events"):
        # Small columns of several tables share a block; it counts for each of them in part.
        shares = cursor.execute(
            f"""select count(distinct block) from (
                select unnest([block_id] || additional_block_ids) as block from pragma_storage_info('{table}')
            ) where block >= 0"""
        ).fetchone()
        bounds = cursor.execute(
            f"select count(*), epoch_us(min(ts)), epoch_us(max(ts)) from {table}"
        ).fetchone()
        assert shares is not None
        assert bounds is not None
        rows, first, last = bounds
        tables.append(TableUsage(table, rows, shares[0] * block, first, last))
    return Usage(used, free, tuple(tables))


def events(
    cursor: Cursor,
    *,
    type: str | None = None,
    rule: str | None = None,
    severity: str | None = None,
    state: str | None = None,
    since: Micros | None = None,
    before: int | None = None,
    text: str | None = None,
    limit: int = 100,
) -> list[StoredEvent]:
    """Return events that fit every given filter, newest first; `before` is an id, and a `text` may stand in
    the message, the explanation, the name of the rule, or a label."""
    rows = cursor.execute(
        f"""select {COLUMNS} from events
        where ($type is null or type = $type)
            and ($rule is null or payload->>'rule' = $rule)
            and ($severity is null or severity = $severity)
            and ($state is null or payload->>'state' = $state)
            and ($since is null or ts >= make_timestamptz($since::bigint))
            and ($before is null or id < $before)
            and ($text is null or contains(lower(message), $text) or contains(lower(source), $text)
                or contains(lower(payload->>'explanation'), $text) or {HAS_LABEL})
        order by id desc limit $limit""",
        {"type": type, "rule": rule, "severity": severity, "state": state, "since": since, "before": before,
         "text": text.lower() if text else None, "limit": limit},
    ).fetchall()  # fmt: skip
    return [stored_event(row) for row in rows]


def stored_event(row: tuple[Any, ...]) -> StoredEvent:
    """Return the event of a row of COLUMNS."""
    id, ts, source, kind, level, message, payload = row
    return StoredEvent(id, Micros(ts), source, kind, level, message, json.loads(payload or "{}"))
