"""Stored history of many series, from its beginning on, for a backtest. Blocking calls over a cursor.

Samples are read as long as they are kept, rollups where they are gone or would be too many. It comes in
chunks of a bounded number of rows, each a query and a snapshot of its own: a transaction over all of them
would keep the writer from putting its log into the file. What the writer deletes meanwhile is missing.

A rollup is read as one row at the end of its bucket, when all of it was known: its last number, with the
lowest, the highest, the sum and the count of the samples behind it. A sample that came late is in the rollups
once these were built again, which is at the next step of the writer.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import duckdb

from oculus.clock import LAST_TIME, SECOND
from oculus.model import Micros
from oculus.storage.ingest import first_row, read_marks
from oculus.storage.tiers import HOUR, MINUTE, TABLES, TIERS, Marks, floor, parts, source_of
from oculus.storage.windows import among

Cursor = duckdb.DuckDBPyConnection

# A backtest of so many rows takes seconds, and the memory for a chunk of them is little.
MOST_ROWS = 2_000_000
CHUNK_ROWS = 200_000

# Intervals are told from so many of the newest samples of a series.
_NEWEST = 300

# The rows of a part are counted in so many stretches of time at most: their counts are fetched at once.
_STRETCHES = 20_000

# Rows become Python's objects so many at a time: nothing else in the process runs for these 2 ms.
_FETCHED = 4_000

# Where minutes are more than this share of the samples they save little: whole hours take the samples' place.
_SAVES = 0.7

_SAMPLES = "samples"
_RELATIONS = {_SAMPLES: "metrics"} | {tier.name: tier.view for tier in TIERS}
_WIDTHS = {tier.name: tier.width for tier in TIERS}

# When a row of a source was known, in microseconds, and its numbers as in `Columns`.
_MOMENTS = {_SAMPLES: "epoch_us(held.ts)"} | {
    tier.name: f"(epoch_us(held.ts) + {tier.width - 1})" for tier in TIERS
}
_VALUES = {_SAMPLES: "value, low, high"} | dict.fromkeys(_WIDTHS, "close, low, high, count, sum")


class Columns(NamedTuple):
    """Rows of one series, oldest first, as `Recorded.extend` takes them: times in microseconds, and numbers.

    `lows` and `highs` are there where a row stands for an interval. `counts` and `sums` are those of rollups:
    how many samples each stands for, and what they come to; None: each row is one sample.
    """

    ts: list[int]
    values: list[float]
    lows: list[float | None] | None = None
    highs: list[float | None] | None = None
    counts: list[int] | None = None
    sums: list[float] | None = None


class Part(NamedTuple):
    """A piece of a range, [start, end), and what answers for it: "samples", "1m" or "1h"."""

    source: str
    start: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class Chunk:
    """All rows of [start, end), by symbol; a series without any is not in it."""

    start: Micros
    end: Micros
    series: dict[str, Columns]


def begin(cursor: Cursor) -> Micros:
    """Return the time of the oldest row that is kept, LAST_TIME when there is none."""
    kept = read_marks(cursor).kept
    found = (first_row(cursor, table, kept[table]) for table in TABLES)
    return min((ts for ts in found if ts is not None), default=Micros(LAST_TIME))


def symbols(cursor: Cursor, since: Micros) -> dict[str, dict[str, str]]:
    """Return every series with rows from `since` on and its newest tags, {} where only rollups are left."""
    marks = read_marks(cursor)
    kept = marks.kept["metrics"]
    found: dict[str, dict[str, str]] = {}
    for tier in TIERS:
        first = max(since - tier.width + 1, marks.kept[tier.table])
        if since < kept and first < kept:
            rows = cursor.execute(
                f"select distinct symbol from {tier.table} where ts >= make_timestamptz($1)", [first]
            ).fetchall()
            found |= {symbol: {} for (symbol,) in rows}
    rows = cursor.execute(
        """select symbol, arg_max(tags, ts) from metrics
        where ts >= make_timestamptz($1) and value is not null and not isnan(value) group by symbol""",
        [max(since, kept)],
    ).fetchall()
    found |= {symbol: json.loads(tags or "{}") for symbol, tags in rows}
    return dict(sorted(found.items()))


def intervals(cursor: Cursor, symbols: Collection[str], since: Micros) -> dict[str, float]:
    """Return the seconds between samples of each series, the median of the newest ones from `since` on.

    It is 0 where it cannot be told: of fewer than two samples.
    """
    since = max(since, read_marks(cursor).kept[_RELATIONS[_SAMPLES]])
    rows, bound = _held(symbols, Part(_SAMPLES, since, Micros(LAST_TIME)))
    found = cursor.execute(
        f"""select symbol, list_aggregate(list_transform(range(1, len(newest)),
                lambda place: newest[place] - newest[place + 1]), 'median')
        from (select symbol, max(epoch_us(held.ts), {_NEWEST}) as newest {rows} group by symbol)""",
        bound,
    )
    medians = {symbol: median for symbol, median in found.fetchall() if median is not None}
    return {symbol: medians.get(symbol, 0.0) / SECOND for symbol in symbols}


def plan(
    cursor: Cursor, symbols: Collection[str], start: Micros, end: Micros, most_rows: int = MOST_ROWS
) -> list[Part]:
    """Return what to read [start, end) of these series from, in the order of time, without overlap.

    The finest that is kept of each time; but where that is more than `most_rows` in all, the oldest samples
    give way to minutes as far as it takes, then the oldest minutes to hours: whole hours, as far as
    they are rolled up. Parts without rows are left out.
    """
    marks = read_marks(cursor)
    counts: dict[str, _Count] = {}

    def rows(found: Part) -> int:
        if found.source not in counts:
            first = _first(found.source, start, marks)
            counts[found.source] = _counted(cursor, symbols, Part(found.source, first, end), HOUR)
        return counts[found.source].between(found.start, found.end)

    def total(cut: tuple[Micros, Micros]) -> int:
        return sum(map(rows, _parts(start, end, marks, *cut)))

    finest = _parts(start, end, marks)
    if sum(map(rows, finest)) <= most_rows:
        return [part for part in finest if rows(part)]
    # The ends of hours and of minutes, from the finest choice to the coarsest.
    begin = floor(max(start, Micros(min(count.first for count in counts.values()))), HOUR)
    built = min(end, marks.built[TIERS[0].table])
    edges = [Micros(edge) for edge in range(begin, max(begin, built) + 1, HOUR)]
    none = edges[0]
    minutes = [(none, edge) for edge in edges]
    if total(minutes[-1]) > _SAVES * total(minutes[0]):
        minutes = []
    cuts = minutes + [(edge, edges[-1] if minutes else edge) for edge in edges]
    place = bisect_left(cuts, True, key=lambda cut: total(cut) <= most_rows)
    return [part for part in _parts(start, end, marks, *cuts[min(place, len(cuts) - 1)]) if rows(part)]


def chunks(
    cursor: Cursor, symbols: Collection[str], parts: Sequence[Part], rows: int = CHUNK_ROWS
) -> Iterator[Chunk]:
    """Yield all rows of these parts in the order of time, about `rows` of them at once.

    Whatever is not in a chunk has no rows. Some more come at once where many fall into one minute, or of
    rollups into one hour.
    """
    for part in parts:
        finest = MINUTE if part.source == _SAMPLES else HOUR
        width = max(finest, -(-(part.end - part.start) // _STRETCHES // finest) * finest)
        counted = _counted(cursor, symbols, part, width)
        for start, end in counted.stretches(part, rows):
            yield Chunk(start, end, _read(cursor, symbols, Part(part.source, start, end)))


class _Count:
    """How many rows there are in each stretch of time of one length; stretches without any are left out."""

    def __init__(self, width: int, rows: Sequence[tuple[int, int]]) -> None:
        self._width = width
        self._starts = [start for start, _ in rows]
        self._before = [0, *accumulate(count for _, count in rows)]

    @property
    def first(self) -> int:
        """The start of the first stretch."""
        return min(self._starts, default=LAST_TIME)

    def between(self, start: Micros, end: Micros) -> int:
        """Return how many there are in [start, end), and in what has begun of a stretch before."""
        first = bisect_left(self._starts, floor(start, self._width))
        return self._before[max(first, bisect_left(self._starts, end))] - self._before[first]

    def stretches(self, part: Part, rows: int) -> Iterator[tuple[Micros, Micros]]:
        """Yield what [start, end) of a part to read at once, for about `rows` rows each."""
        start = part.start
        first, until = 0, len(self._starts)
        while first < until:
            place = max(first + 1, bisect_left(self._before, self._before[first] + rows + 1) - 1)
            end = Micros(self._starts[place]) if place < until else part.end
            yield start, end
            start, first = end, place


def _parts(
    start: Micros, end: Micros, marks: Marks, hours: Micros = Micros(0), minutes: Micros = Micros(0)
) -> list[Part]:
    """Return who answers for [start, end): rollups up to these times at least, where they are built."""
    minute = TIERS[0].table
    kept = {"metrics": max(marks.kept["metrics"], minutes), minute: max(marks.kept[minute], hours)}
    found = parts(start, end, 1, replace(marks, kept={**marks.kept, **kept}))
    sources = [Part(source_of(part.relation), part.start, part.end) for part in found]
    clipped = [part._replace(start=_first(part.source, part.start, marks)) for part in sources]
    return [part for part in clipped if part.start < part.end]


def _first(source: str, start: Micros, marks: Marks) -> Micros:
    """Return the time from which on rows of a source are kept as a whole, not before `start`."""
    table = next((tier.table for tier in TIERS if tier.name == source), "metrics")
    return max(start, marks.kept[table])


def _counted(cursor: Cursor, symbols: Collection[str], part: Part, width: int) -> _Count:
    """Return how many rows a part has in each stretch of this length."""
    rows, bound = _held(symbols, part)
    found = cursor.execute(
        f"""select {_MOMENTS[part.source]} // {width} * {width} as stretch, count(*) {rows}
        group by stretch order by stretch""",
        bound,
    )
    return _Count(width, found.fetchall())


def _read(cursor: Cursor, symbols: Collection[str], part: Part) -> dict[str, Columns]:
    """Return all rows of a part by symbol."""
    rows, bound = _held(symbols, part)
    # Samples of one moment are in the order of their arrival.
    order = "number, held.ts, held.rowid" if part.source == _SAMPLES else "number, held.ts"
    cursor.execute(
        f"select number, {_MOMENTS[part.source]}, {_VALUES[part.source]} {rows} order by {order}", bound
    )
    names: list[str] = bound["names"]
    found: dict[str, tuple[list[Any], ...]] = {}
    while fetched := cursor.fetchmany(_FETCHED):
        for number, group in groupby(fetched, itemgetter(0)):
            _, *columns = zip(*group, strict=True)
            known = found.setdefault(names[number], tuple([] for _ in columns))
            for column, more in zip(known, columns, strict=True):
                column.extend(more)
    return {symbol: _columns(*columns) for symbol, columns in found.items()}


def _columns(
    ts: list[int],
    values: list[float],
    lows: list[float | None],
    highs: list[float | None],
    counts: list[int] | None = None,
    sums: list[float] | None = None,
) -> Columns:
    """Return the columns, without lowest and highest numbers where no row has any."""
    bounded = any(low is not None for low in lows) or any(high is not None for high in highs)
    return Columns(ts, values, lows if bounded else None, highs if bounded else None, counts, sums)


def _held(symbols: Collection[str], part: Part) -> tuple[str, dict[str, Any]]:
    """Return a FROM clause with the rows of a part as `held`, and its values; `number` is a name's place."""
    names = sorted(symbols)
    back = _WIDTHS.get(part.source, 1) - 1
    numbers_only = "and value is not null and not isnan(value)" if part.source == _SAMPLES else ""
    return (
        f"""from {_RELATIONS[part.source]} as held join
            (select unnest($names::varchar[]) as name, unnest($numbers::integer[]) as number) as asked
            on held.symbol = asked.name
        where held.ts >= make_timestamptz($first) and held.ts < make_timestamptz($last)
            {among(names)} {numbers_only}""",
        {
            "names": names,
            "numbers": list(range(len(names))),
            "first": part.start - back,
            "last": part.end - back,
        },
    )
