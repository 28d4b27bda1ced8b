"""Rewriting closed rows in the order (shard, symbol, ts), slice by slice. Blocking calls.

In the order of arrival a series' rows are spread over the whole file: a chart of a week reads all of it,
and times next to each other share little. In order, a chart reads one stretch, and the regular times of a
series take a fifth of the space. A slice is rewritten in one transaction of the writer's thread, so that the
process may end between any two, and no commit waits for more than one.

A slice is one of DuckDB's row groups, to the row. Fewer rows would be put into the last group of the table,
among new ones. More would leave small groups behind, which a checkpoint merges by writing all that lies
around them again: ten times the table's size, through the disk where memory is short.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import duckdb

from oculus.clock import LAST_TIME
from oculus.errors import StorageError
from oculus.model import Micros
from oculus.storage.ingest import transaction

SLICE = 122_880  # rows: DuckDB's row group

END_OF_TIME = Micros(LAST_TIME)


@dataclass(frozen=True, slots=True)
class Slice:
    """Series that lie next to each other in the order, with the shard of each.

    Of the first one the rows from `since` on, of the last one those before `until`.
    """

    symbols: tuple[str, ...]
    shards: tuple[int, ...]
    rows: int
    since: Micros = Micros(0)
    until: Micros = END_OF_TIME


def plan(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    start: Micros,
    end: Micros,
    anew: bool = False,
    rows: int = SLICE,
) -> list[Slice]:
    """Return the slices of a table's rows in [start, end), each of `rows` but the last.

    None when all of them are in order already, unless they are to be written `anew`.
    """
    found = connection.execute(
        f"""select symbol, shard_of(symbol) as place, rows, new from (
            select symbol, count(*) as rows, count(*) filter (shard = 0) as new from {table}
            where ts >= make_timestamptz($1) and ts < make_timestamptz($2) group by symbol)
        order by place, symbol""",
        [start, end],
    ).fetchall()
    if not found or not (anew or any(new for *_, new in found)):
        return []
    slices: list[Slice] = []
    run: list[tuple[str, int]] = []
    size, since = 0, Micros(0)
    for symbol, place, count, _ in found:
        taken = 0  # rows of this series in slices before
        run.append((symbol, place))
        while size + count - taken >= rows:
            taken += rows - size
            if taken == count:
                slices.append(_slice(run, rows, since, END_OF_TIME))
                run, size, since = [], 0, Micros(0)
                break
            cut = _time_at(connection, table, symbol, place, start, end, taken)
            slices.append(_slice(run, rows, since, cut))
            run, size, since = [(symbol, place)], 0, cut
        else:
            size += count - taken
    if run:
        slices.append(_slice(run, size, since, END_OF_TIME))
    return slices


def _slice(run: list[tuple[str, int]], rows: int, since: Micros, until: Micros) -> Slice:
    symbols, shards = zip(*run, strict=True)
    return Slice(symbols, shards, rows, since, until)


def _time_at(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    symbol: str,
    shard: int,
    start: Micros,
    end: Micros,
    place: int,
) -> Micros:
    """Return the time of a series' row at a place, counted from 0 by time."""
    row = connection.execute(
        f"""select epoch_us(ts) from {table} where symbol = $1 and shard in (0, $2)
        and ts >= make_timestamptz($3) and ts < make_timestamptz($4) order by ts limit 1 offset $5""",
        [symbol, shard, start, end, place],
    ).fetchone()
    return end if row is None else Micros(row[0])


def hold(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Return a reader that keeps checkpoints from merging what is half rewritten, until it is closed.

    They leave alone what a reader may still see; once it is gone, the next one frees all of it.
    """
    reader = connection.cursor()
    reader.execute("begin transaction read only")
    reader.execute("select count(*) from oculus_state").fetchall()
    return reader


def release(connection: duckdb.DuckDBPyConnection, reader: duckdb.DuckDBPyConnection) -> None:
    """Close the reader of `hold`."""
    with suppress(duckdb.Error):
        reader.close()


def rewrite(
    connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, start: Micros, end: Micros
) -> None:
    """Put a slice's rows in [start, end) in order; raises StorageError, and then nothing was changed.

    Where tags are so long that a slice does not fit into memory, it is done in two halves.
    """
    try:
        _rewrite(connection, table, slice_, start, end)
    except StorageError as error:
        if len(slice_.symbols) == 1 or not isinstance(error.__cause__, duckdb.OutOfMemoryException):
            raise
        for half in _halves(slice_):
            rewrite(connection, table, half, start, end)


def _halves(slice_: Slice) -> tuple[Slice, Slice]:
    middle = len(slice_.symbols) // 2
    first = replace(slice_, symbols=slice_.symbols[:middle], shards=slice_.shards[:middle], until=END_OF_TIME)
    second = replace(slice_, symbols=slice_.symbols[middle:], shards=slice_.shards[middle:], since=Micros(0))
    return first, second


def _rewrite(
    connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, start: Micros, end: Micros
) -> None:
    # The bounds of the shards tell DuckDB which row groups to pass over.
    those = f"""{table}.ts >= make_timestamptz($start) and {table}.ts < make_timestamptz($end)
        and {table}.shard between 0 and $last and ({table}.shard >= $first or {table}.shard = 0)
        and symbol in (select symbol from place)
        and (symbol <> $head or {table}.ts >= make_timestamptz($since))
        and (symbol <> $tail or {table}.ts < make_timestamptz($until))"""
    bounds = {
        "start": start, "end": end, "first": slice_.shards[0], "last": slice_.shards[-1],
        "head": slice_.symbols[0], "since": slice_.since, "tail": slice_.symbols[-1], "until": slice_.until,
    }  # fmt: skip
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
