"""Figures of one series over a window: extremes, mean, p95, and for a state the share of time that it held.

Blocking functions over a cursor. Rollups answer where they are exact; what they cannot tell is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.storage.ingest import read_marks
from oculus.storage.latest import OLD_INTERVALS, OLD_PUSHED
from oculus.storage.queries import Cursor, points_of
from oculus.storage.tiers import HOUR, MINUTE, TIERS, Marks, Part, floor, parts, shard_of, source_of

QUANTILE = 0.95

# The time of a state is read from samples up to this window, from 1-minute rollups beyond it.
FINE = 6 * HOUR


@dataclass(frozen=True, slots=True)
class Summary:
    """What a series did in a window; all figures are None without a sample.

    `p95` is of the samples, or of the means of the rollups that `p95_source` names where samples are gone.
    """

    count: int
    first: float | None
    last: float | None
    low: float | None
    high: float | None
    mean: float | None
    p95: float | None
    p95_source: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Uptime:
    """The seconds of a window in which a target was up, was down, and in which nobody looked."""

    up: float
    down: float
    unknown: float

    @property
    def percent(self) -> float | None:
        """The share of the known time in which it was up, or None when nothing is known."""
        known = self.up + self.down
        return self.up / known * 100 if known else None


def summary(cursor: Cursor, symbol: str, start: Micros, end: Micros) -> Summary:
    """Return the figures of [start, end)."""
    cursor.execute("begin transaction read only")
    try:
        marks = read_marks(cursor)
        found = _exact(start, end, marks)
        whole = points_of(cursor, symbol, found, start, end - start)
        table, source = _finest(start, marks)
        p95 = _quantile(cursor, symbol, table, start, end) if whole else None
    finally:
        cursor.execute("rollback")
    if not whole:
        return Summary(0, None, None, None, None, None, None, source, tuple(found))
    (point,) = whole
    return Summary(
        point.count, point.open, point.close, point.low, point.high, point.avg, p95, source, tuple(found)
    )


def _exact(start: Micros, end: Micros, marks: Marks) -> list[Part]:
    """Return who answers for a window: whole hours from rollups, its beginning and end from what is finer."""
    first, last = floor(Micros(start + HOUR - 1), HOUR), floor(end, HOUR)
    if first >= last:
        return parts(start, end, 1, marks)
    found = parts(start, first, 1, marks) if first > start else []
    found += parts(first, last, HOUR, marks)
    return found + (parts(last, end, 1, marks) if end > last else [])


def _finest(start: Micros, marks: Marks) -> tuple[str, str]:
    """Return the finest relation that is whole from `start` on, and what it is called."""
    for table, relation in (("metrics", "metrics"), (TIERS[0].table, TIERS[0].view)):
        if start >= marks.kept[table]:
            return relation, source_of(relation)
    return TIERS[1].view, source_of(TIERS[1].view)


def _quantile(cursor: Cursor, symbol: str, relation: str, start: Micros, end: Micros) -> float | None:
    value = "value" if relation == "metrics" else "sum / count"
    row = cursor.execute(
        f"""select quantile_cont({value}, {QUANTILE}) from {relation} where {_WITHIN}""",
        _bound(symbol, start, end),
    ).fetchone()
    return None if row is None else row[0]


_WITHIN = """symbol = $symbol and shard in (0, $shard)
    and ts >= make_timestamptz($start) and ts < make_timestamptz($end)"""


def _bound(symbol: str, start: Micros, end: Micros) -> dict[str, Any]:
    return {"symbol": symbol, "shard": shard_of(symbol), "start": start, "end": end}


# -- how long a state held ----------------------------------------------------------------------------------


def uptime(cursor: Cursor, symbol: str, start: Micros, end: Micros, held: float) -> Uptime:
    """Return the times of a state (1: up, 0: down) over [start, end), but not those before its first sample.

    A sample tells of the time up to the next one, but of no more than `held` seconds; 0 when nobody knows how
    often there is one: then its usual distance decides. A window of more than FINE is read by whole minutes,
    and a rollup of an hour tells of all of it.
    """
    step = 1 if end - start <= FINE else MINUTE
    first = floor(start, step)
    cursor.execute("begin transaction read only")
    try:
        found = parts(first, end, step, read_marks(cursor))
        hold = int(held * SECOND) or _usual(cursor, symbol, found)
        rows, bound = _states(symbol, found, hold)
        row = cursor.execute(
            f"""with spans as (
                select share, greatest(ts, $from) as since, least(ts + greatest(width, $hold), $to,
                    coalesce(lead(ts) over (order by ts), $to)) as until
                from ({rows})
            )
            select sum((until - since) * share), sum(until - since), min(since) from spans
            where until > since""",
            bound | {"from": start, "to": end, "hold": hold},
        ).fetchone()
        before = _any_before(cursor, symbol, start)
    finally:
        cursor.execute("rollback")
    assert row is not None
    up, known, first = (0, 0, end) if row[1] is None else row
    whole = end - (start if before else Micros(first))
    return Uptime(up / SECOND, (known - up) / SECOND, (whole - known) / SECOND)


def _any_before(cursor: Cursor, symbol: str, at: Micros) -> bool:
    for relation in ("metrics", TIERS[-1].view):
        row = cursor.execute(
            f"""select 1 from {relation} where symbol = $symbol and shard in (0, $shard)
                and ts < make_timestamptz($at) limit 1""",
            {"symbol": symbol, "shard": shard_of(symbol), "at": at},
        ).fetchone()
        if row is not None:
            return True
    return False


def _usual(cursor: Cursor, symbol: str, found: list[Part]) -> int:
    """Return how long a sample counts of which nobody knows when the next is due, in microseconds."""
    rows, bound = _states(symbol, found, 0)
    row = cursor.execute(
        f"select median(gap) from (select lead(ts) over (order by ts) - ts as gap from ({rows}))", bound
    ).fetchone()
    usual = 0 if row is None or row[0] is None else int(row[0])
    return max(int(OLD_PUSHED * SECOND), OLD_INTERVALS * usual)


def _states(symbol: str, found: list[Part], before: int) -> tuple[str, dict[str, Any]]:
    """Return a query for the rows of the parts, and its values; those of a time `before` are there as well.

    Each row has the share of its width in which the target was up; a sample has no width.
    """
    bound: dict[str, Any] = {"symbol": symbol, "shard": shard_of(symbol)}
    selects = []
    for number, (part, reach) in enumerate(zip(found, _reaches(before), strict=False)):
        bound |= {f"start{number}": part.start - reach, f"end{number}": part.end}
        selects.append(
            f"""select epoch_us(ts) as ts, {_SHARES[part.relation]} as share,
                {_WIDTHS[part.relation]} as width
            from {part.relation} where symbol = $symbol and shard in (0, $shard)
                and ts >= make_timestamptz($start{number}) and ts < make_timestamptz($end{number})"""
        )
    return " union all ".join(selects), bound


def _reaches(before: int) -> Iterator[int]:
    """Yield how far back each part is read beyond its start."""
    yield before
    while True:
        yield 0


_SHARES = {"metrics": "(value >= 0.5)::double"} | {
    tier.view: "least(greatest(sum / count, 0), 1)" for tier in TIERS
}
_WIDTHS = {"metrics": 0} | {tier.view: tier.width for tier in TIERS}
