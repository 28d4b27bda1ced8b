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
from oculus.storage.tiers import MINUTE

SLICE = 122_880  # rows: DuckDB's row group

END_OF_TIME = Micros(LAST_TIME)


# New rows that are put in order at once. A delete costs memory for each vector that it touches, and rows in
# the order of arrival are spread over all of them: 16 MB for this many.
PIECE = 1_000_000  # rows

# Rows past their limit that one slice deletes, for the same reason.
_DEAD = 500_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """The rows of a table in [start, end) that come to lie in one order.

    With `fresh` those alone that are in no order yet. What is before `kept` is past its limit and goes.
    """

    start: Micros
    end: Micros
    kept: Micros = Micros(0)
    fresh: bool = False

    @property
    def rows(self) -> str:
        """The condition for its rows, with $start, $end and $kept."""
        within = "ts >= make_timestamptz($start) and ts < make_timestamptz($end)"
        # A late sample that is past its limit waits to be rolled up.
        which = "shard = 0" if self.fresh else "(shard > 0 or ts >= make_timestamptz($kept))"
        return f"{within} and {which}"

    @property
    def bounds(self) -> dict[str, object]:
        """The values of that condition."""
        found: dict[str, object] = {"start": self.start, "end": self.end}
        return found if self.fresh else found | {"kept": self.kept}


@dataclass(frozen=True, slots=True)
class Slice:
    """Series that lie next to each other in the order, with the shard of each; `rows` are those that stay.

    Of the first one the rows from `since` on, of the last one those before `until`.
    """

    symbols: tuple[str, ...]
    shards: tuple[int, ...]
    rows: int
    since: Micros = Micros(0)
    until: Micros = END_OF_TIME


def pieces(
    connection: duckdb.DuckDBPyConnection, table: str, kept: Micros, end: Micros, rows: int = PIECE
) -> list[Stretch]:
    """Return the stretches in which the new rows of [kept, end) are put in order, each of `rows` or so."""
    minutes = connection.execute(
        f"""select epoch_us(ts) // {MINUTE} * {MINUTE} as minute, count(*) from {table}
        where shard = 0 and ts >= make_timestamptz($1) and ts < make_timestamptz($2)
        group by minute order by minute""",
        [kept, end],
    ).fetchall()
    found: list[Stretch] = []
    start, size = kept, 0
    for minute, count in minutes:
        if size and size + count > rows:
            found.append(Stretch(start, Micros(minute), fresh=True))
            start, size = Micros(minute), 0
        size += count
    return [*found, Stretch(start, end, fresh=True)] if size else found


def plan(
    connection: duckdb.DuckDBPyConnection, table: str, stretch: Stretch, rows: int = SLICE
) -> list[Slice]:
    """Return the slices of a stretch, each of `rows` but the last; none when there is no row."""
    found = connection.execute(
        f"""select symbol, shard_of(symbol) as place, live, rows - live as dead from (
            select symbol, count(*) as rows, count(*) filter (ts >= make_timestamptz($least)) as live
            from {table} where {stretch.rows} group by symbol)
        order by place, symbol""",
        stretch.bounds | {"least": stretch.kept},
    ).fetchall()
    slices: list[Slice] = []
    run: list[tuple[str, int]] = []
    size, since, waste = 0, Micros(0), 0
    for symbol, place, count, dead in found:
        taken = 0  # rows of this series in slices before
        run.append((symbol, place))
        waste += dead
        while count and size + count - taken >= rows:
            taken += rows - size
            if taken == count:
                break
            cut = _time_at(connection, table, symbol, place, stretch, taken)
            slices.append(_slice(run, rows, since, cut))
            run, size, since, waste = [(symbol, place)], 0, cut, 0
        else:
            size += count - taken
            if size or waste < _DEAD:
                continue
        slices.append(_slice(run, rows if count else 0, since, END_OF_TIME))
        run, size, since, waste = [], 0, Micros(0), 0
    if run:
        slices.append(_slice(run, size, since, END_OF_TIME))
    return slices


def _slice(run: list[tuple[str, int]], rows: int, since: Micros, until: Micros) -> Slice:
    symbols, shards = zip(*run, strict=True)
    return Slice(symbols, shards, rows, since, until)


def _time_at(
    connection: duckdb.DuckDBPyConnection, table: str, symbol: str, shard: int, stretch: Stretch, place: int
) -> Micros:
    """Return the time of a series' row at a place, counted from 0 by time among those that stay."""
    row = connection.execute(
        f"""select epoch_us(ts) from {table} where symbol = $symbol and shard in (0, $shard)
        and ts >= make_timestamptz($least) and {stretch.rows} order by ts limit 1 offset $place""",
        stretch.bounds | {"symbol": symbol, "shard": shard, "least": stretch.kept, "place": place},
    ).fetchone()
    return stretch.end if row is None else Micros(row[0])


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


def rewrite(connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, stretch: Stretch) -> int:
    """Put a slice of a stretch in order; return how many rows went, being past their limit.

    Raises StorageError, and then nothing was changed. Where tags are so long that a slice does not fit into
    memory, it is done in two halves.
    """
    try:
        return _rewrite(connection, table, slice_, stretch)
    except StorageError as error:
        if len(slice_.symbols) == 1 or not isinstance(error.__cause__, duckdb.OutOfMemoryException):
            raise
        return sum(rewrite(connection, table, half, stretch) for half in _halves(slice_))


def _halves(slice_: Slice) -> tuple[Slice, Slice]:
    middle = len(slice_.symbols) // 2
    first = replace(slice_, symbols=slice_.symbols[:middle], shards=slice_.shards[:middle], until=END_OF_TIME)
    second = replace(slice_, symbols=slice_.symbols[middle:], shards=slice_.shards[middle:], since=Micros(0))
    return first, second


def _rewrite(connection: duckdb.DuckDBPyConnection, table: str, slice_: Slice, stretch: Stretch) -> int:
    # The bounds of the shards tell DuckDB which row groups to pass over.
    shards = "" if stretch.fresh else "and shard <= $last and (shard >= $first or shard = 0)"
    those = f"""{stretch.rows} {shards} and symbol in (select symbol from place)
        and (symbol <> $head or ts >= make_timestamptz($since))
        and (symbol <> $tail or ts < make_timestamptz($until))"""
    bounds = stretch.bounds | {
        "head": slice_.symbols[0], "since": slice_.since, "tail": slice_.symbols[-1], "until": slice_.until,
    }  # fmt: skip
    if not stretch.fresh:
        bounds |= {"first": slice_.shards[0], "last": slice_.shards[-1]}
    with transaction(connection):
        connection.execute(
            "create temp table place as"
            " select unnest($1::varchar[]) as symbol, unnest($2::usmallint[]) as shard",
            [list(slice_.symbols), list(slice_.shards)],
        )
        newest = _number(connection.execute(f"select max(rowid) from {table}"))
        written = _number(
            connection.execute(
                f"""insert into {table} by name
                select row.* exclude (shard, arrival), place.shard
                from (select *, rowid as arrival from {table}
                    where {those} and ts >= make_timestamptz($least)) as row
                join place using (symbol) order by place.shard, symbol, ts, arrival""",
                bounds | {"least": stretch.kept},
            )
        )
        # The new rows are behind the old ones.
        deleted = _number(
            connection.execute(
                f"delete from {table} where {those} and rowid <= $newest", bounds | {"newest": newest}
            )
        )
        connection.execute("drop table place")
    return deleted - written


def _number(result: duckdb.DuckDBPyConnection) -> int:
    row = result.fetchone()
    return int(row[0] or 0) if row else 0
