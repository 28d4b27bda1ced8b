"""Rewriting closed rows in the order (shard, symbol, ts), slice by slice. Blocking calls.

In the order of arrival a series' rows are spread over the whole file: a chart of a week reads all of it,
and times next to each other share little. In order, a chart reads one stretch, and the regular times of a
series take a seventh of the space. A slice is a run of whole series, rewritten in one transaction of the
writer's thread, so that the process may end between any two, and no commit waits for more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from oculus.errors import StorageError
from oculus.model import Micros
from oculus.storage.ingest import transaction

# Rows of a slice, at least: one of DuckDB's row groups. Fewer would be put into the last group of the table,
# among new rows, and the writer waits while a slice is rewritten (figures: tests/bench).
SLICE = 245_760  # rows


@dataclass(frozen=True, slots=True)
class Slice:
    """Whole series that lie next to each other in the order, with the shard of each."""

    symbols: tuple[str, ...]
    shards: tuple[int, ...]
    rows: int


def plan(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    start: Micros,
    end: Micros,
    anew: bool = False,
    rows: int = SLICE,
) -> list[Slice]:
    """Return the slices of a table's rows in [start, end), each of `rows` or a little more.

    None when all of them are in order already, unless they are to be written `anew`.
    """
    found = connection.execute(
        f"""select shard_of(symbol) as place, symbol, rows, new from (
            select symbol, count(*) as rows, count(*) filter (shard = 0) as new from {table}
            where ts >= make_timestamptz($1) and ts < make_timestamptz($2) group by symbol)
        order by place, symbol""",
        [start, end],
    ).fetchall()
    if not found or not (anew or any(new for *_, new in found)):
        return []
    slices: list[Slice] = []
    run: list[tuple[str, int, int]] = []
    for place, symbol, count, _ in found:
        # Series of one shard stay together: a slice is a range of shards.
        if run and sum(item[2] for item in run) >= rows and run[-1][1] != place:
            slices.append(_slice(run))
            run = []
        run.append((symbol, place, count))
    slices.append(_slice(run))
    return slices


def _slice(run: list[tuple[str, int, int]]) -> Slice:
    symbols, shards, counts = zip(*run, strict=True)
    return Slice(symbols, shards, sum(counts))


def rewrite(
    connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, start: Micros, end: Micros
) -> None:
    """Put a slice's rows in [start, end) in order; raises StorageError, and then nothing was changed.

    Where tags are so long that a slice does not fit into memory, it is done in two halves.
    """
    try:
        _rewrite(connection, table, slice_, start, end)
    except StorageError as error:
        halves = _halves(slice_)
        if not halves or not isinstance(error.__cause__, duckdb.OutOfMemoryException):
            raise
        for half in halves:
            rewrite(connection, table, half, start, end)


def _halves(slice_: Slice) -> list[Slice]:
    """Return the slice as two, cut between two shards; nothing when it is of one shard."""
    middle = len(slice_.shards) // 2
    cuts = [
        place for place in range(1, len(slice_.shards)) if slice_.shards[place - 1] != slice_.shards[place]
    ]
    if not cuts:
        return []
    cut = min(cuts, key=lambda place: abs(place - middle))
    halves = (slice(0, cut), slice(cut, None))
    return [Slice(slice_.symbols[half], slice_.shards[half], slice_.rows // 2) for half in halves]


def _rewrite(
    connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, start: Micros, end: Micros
) -> None:
    those = f"""ts >= make_timestamptz($start) and ts < make_timestamptz($end) and
        ({table}.shard between $first and $last
        or ({table}.shard = 0 and symbol in (select symbol from place)))"""
    bounds = {"start": start, "end": end, "first": slice_.shards[0], "last": slice_.shards[-1]}
    with transaction(connection):
        connection.execute(
            "create temp table place as"
            " select unnest($1::varchar[]) as symbol, unnest($2::usmallint[]) as shard",
            [list(slice_.symbols), list(slice_.shards)],
        )
        newest = connection.execute(f"select max(rowid) from {table}").fetchone()
        connection.execute(
            f"""insert into {table} by name
            select {table}.* exclude (shard), place.shard from {table} join place using (symbol)
            where {those} order by place.shard, symbol, ts, {table}.rowid""",
            bounds,
        )
        # The new rows are behind the old ones.
        connection.execute(
            f"delete from {table} where {those} and rowid <= $newest",
            bounds | {"newest": newest[0] if newest else 0},
        )
        connection.execute("drop table place")
