"""What the page of a series reads: its chart beside those of others, its rows, and alerts about it.

Blocking functions over a cursor, with bound parameters, to plain values.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from oculus.model import Micros
from oculus.storage.copies import text
from oculus.storage.ingest import read_marks
from oculus.storage.queries import COLUMNS, Cursor, Point, StoredEvent, points_of, stored_event
from oculus.storage.tiers import TIERS, Part, parts, shard_of, source_of


@dataclass(frozen=True, slots=True)
class Charts:
    """Series over one range by symbol, in buckets, and who answered for which part of it."""

    parts: tuple[Part, ...]
    points: dict[str, list[Point]]


@dataclass(frozen=True, slots=True)
class Row:
    """A sample as it was stored; a row that stands for an interval has `open`, `high` and `low`."""

    ts: Micros
    value: float | None
    open: float | None
    high: float | None
    low: float | None
    tags: dict[str, str]


def charts(cursor: Cursor, symbols: Collection[str], start: Micros, end: Micros, step: int) -> Charts:
    """Return series over [start, end) in buckets of `step` microseconds; empty buckets are left out."""
    cursor.execute("begin transaction read only")
    try:
        found = parts(start, end, step, read_marks(cursor))
        points = {symbol: points_of(cursor, symbol, found, start, step) for symbol in symbols}
    finally:
        cursor.execute("rollback")
    return Charts(tuple(found), points)


def rows(cursor: Cursor, symbol: str, before: Micros, limit: int) -> list[Row]:
    """Return the newest samples from before a moment, newest first."""
    found = cursor.execute(
        """select epoch_us(ts), value, open, high, low, tags from metrics
        where symbol = $symbol and shard in (0, $shard) and ts < make_timestamptz($before)
        order by ts desc limit $limit""",
        {"symbol": symbol, "shard": shard_of(symbol), "before": before, "limit": limit},
    ).fetchall()
    return [
        Row(Micros(ts), value, first, high, low, json.loads(tags or "{}"))
        for ts, value, first, high, low, tags in found
    ]


def alerts_about(
    cursor: Cursor, symbol: str, alerts: Sequence[str], start: Micros, end: Micros, limit: int
) -> list[StoredEvent]:
    """Return how alerts began to fire and ended in [start, end), newest first: those with these keys, under
    which the engine remembers them, and whatever else has the symbol as its label."""
    found = cursor.execute(
        f"""select {COLUMNS} from events
        where type = 'alert' and ts >= make_timestamptz($start) and ts < make_timestamptz($end)
            and (payload->>'symbol' = $symbol or list_contains($alerts::varchar[], payload->>'alert'))
            and payload->>'state' in ('firing', 'resolved')
            and payload->>'state' is distinct from payload->>'previous'
        order by id desc limit $limit""",
        {"symbol": symbol, "alerts": list(alerts), "start": start, "end": end, "limit": limit},
    ).fetchall()
    return [stored_event(row) for row in found]


def resolution(cursor: Cursor, start: Micros, end: Micros) -> list[Part]:
    """Return who has the finest rows of each part of a range."""
    return parts(start, end, 1, read_marks(cursor))


def export_query(symbol: str, found: Sequence[Part]) -> str:
    """Return the query of a download: the finest rows that are kept, oldest first, all with the same columns.

    `value` of a rollup is its last one.
    """
    return " union all ".join(_export(symbol, part) for part in found) + " order by ts"


def _export(symbol: str, part: Part) -> str:
    return f"""select ts, symbol, {_EXPORTED[part.relation]}, {text(source_of(part.relation))} as source,
            {"tags" if part.relation == "metrics" else "null::json as tags"}
        from {part.relation} where symbol = {text(symbol)} and shard in (0, {shard_of(symbol)})
            and ts >= make_timestamptz({part.start}) and ts < make_timestamptz({part.end})"""


_ROLLED_UP = "close as value, open, high, low, sum / count as mean, count::bigint as count"
_EXPORTED = {"metrics": "value, open, high, low, value as mean, 1::bigint as count"} | {
    tier.view: _ROLLED_UP for tier in TIERS
}
