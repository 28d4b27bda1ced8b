"""Building the rollups: in steps, each one transaction of the writer's thread. Blocking calls.

A tier is built from the one below it up to a mark that is stored with the rows, so that a step is done
once or not at all, whatever ends the process. A sample that arrives for a minute before the mark leaves a
note in `oculus_late` (`ingest`), in its own transaction; the next step builds that minute again.
"""

from __future__ import annotations

import duckdb

from oculus.model import Micros
from oculus.storage.ingest import first_row, read_marks, set_state, transaction
from oculus.storage.tiers import HOUR, MINUTE, TABLES, TIERS, Marks, Tier, built_key, floor, kept_key

# What one step rolls up at most: with 5,000 samples/s that is a second of work on a small board, for which
# the writer waits.
SPAN = 5 * MINUTE

# Minutes with late samples that one step builds again: ten times as many do not fit into the memory that
# DuckDB has by default, and whoever brings months of old samples leaves a note for each minute.
MOST_LATE = 20_000

_ROLLED = """
    select make_timestamptz(epoch_us(ts) // {width} * {width}) as start, any_value(category) as category,
        symbol, arg_min(open, ts) as open, max(high) as high, min(low) as low, arg_max(close, ts) as close,
        sum(sum) as sum, sum(count) as count
    from {source} as source"""

# The columns as the table keeps them: see `schema`.
_PACKED = """insert into {table} (ts, category, symbol, open, high, low, close, sum, count)
    select start, category, symbol, nullif(open, close), nullif(high, greatest(open, close)),
        nullif(low, least(open, close)), close,
        nullif(sum, case count when 2 then open + close else count * close end), count
    from ({rolled}) order by symbol, start"""


def advance(connection: duckdb.DuckDBPyConnection, upto: Micros, span: int = SPAN) -> bool:
    """Roll up what ended before `upto`, at most `span` microseconds of it; return whether more is due.

    Raises StorageError, and then nothing was changed.
    """
    with transaction(connection):
        marks = read_marks(connection)
        if max(marks.kept.values()) > upto:  # a clock that was ahead set that limit
            for table in TABLES:
                set_state(connection, kept_key(table), "0")
            marks = read_marks(connection)
        if rebuild_late(connection, marks):
            return True
        minute, hour = TIERS
        reached = _extend(connection, minute, marks.built[minute.table], upto, span)
        if reached is None:
            return False
        hours = _extend(connection, hour, marks.built[hour.table], reached, max(span, 24 * HOUR))
        return reached < floor(upto, MINUTE) or (hours is not None and hours < floor(reached, HOUR))


def _extend(
    connection: duckdb.DuckDBPyConnection, tier: Tier, built: Micros, upto: Micros, span: int
) -> Micros | None:
    """Roll a stretch up behind the mark and move the mark; return it, or None when there is no sample."""
    end = floor(upto, tier.width)
    first = first_row(connection, tier.source_table, built)
    if first is None or first >= end:
        if built and built < end:
            set_state(connection, built_key(tier.table), str(end))
        return max(built, end) if built else None
    start = floor(first, tier.width)
    end = Micros(min(end, floor(Micros(start + max(span, tier.width)), tier.width)))
    rolled = _ROLLED.format(source=tier.source, width=tier.width) + (
        " where ts >= make_timestamptz($start) and ts < make_timestamptz($end) group by start, symbol"
    )
    connection.execute(_PACKED.format(table=tier.table, rolled=rolled), {"start": start, "end": end})
    set_state(connection, built_key(tier.table), str(end))
    return end


def catch_up(connection: duckdb.DuckDBPyConnection) -> None:
    """Build all minutes anew that got samples after they were rolled up, in steps; raises StorageError."""
    more = True
    while more:
        with transaction(connection):
            more = rebuild_late(connection, read_marks(connection))


def rebuild_all_late(connection: duckdb.DuckDBPyConnection, marks: Marks) -> None:
    """Do all that `rebuild_late` does in steps, in the transaction that the caller has begun."""
    while rebuild_late(connection, marks):
        pass


def rebuild_late(connection: duckdb.DuckDBPyConnection, marks: Marks) -> bool:
    """Build minutes anew that got samples after they were rolled up, and their hours: MOST_LATE of them, the
    oldest first. Return whether more are left.

    In the transaction that the caller has begun.
    """
    row = connection.execute("select count(*) from oculus_late").fetchone()
    if not row or not row[0]:
        return False
    connection.execute(
        f"""create temp table noted as
        select distinct ts, symbol from oculus_late order by ts, symbol limit {MOST_LATE}"""
    )
    noted = connection.execute("select epoch_us(min(ts)), epoch_us(max(ts)) from noted").fetchone()
    assert noted is not None
    first, last = noted
    connection.execute("create temp table late as from noted")
    for tier in TIERS:
        sealed = marks.kept[tier.source_table]
        since = {"since": floor(first, tier.width), "until": floor(last, tier.width) + tier.width}
        connection.execute(
            f"""create or replace temp table late as
            select distinct make_timestamptz(epoch_us(ts) // {tier.width} * {tier.width}) as ts, symbol
            from late where ts < make_timestamptz($built)""",
            {"built": marks.built[tier.table]},
        )
        # Where the rows below are past their limit, what was built of them is what counts, though some may
        # still lie in order: the late ones are added to it and then go, so that none is counted twice.
        rolled = _ROLLED.format(
            width=tier.width,
            source=f"""(select source.* from {tier.source} as source semi join late
                on late.symbol = source.symbol
                and late.ts = make_timestamptz(epoch_us(source.ts) // {tier.width} * {tier.width})
                where source.ts >= make_timestamptz($since) and source.ts < make_timestamptz($until)
                    and (source.ts >= make_timestamptz($sealed) or source.shard = 0)
                union all by name
                select old.* exclude (shard) from {tier.view} as old semi join late using (ts, symbol)
                where ts < make_timestamptz($sealed))""",
        )
        connection.execute(
            f"create or replace temp table again as {rolled} group by start, symbol",
            since | {"sealed": sealed},
        )
        connection.execute(f"delete from {tier.table} using late where {_same(tier.table)}")
        connection.execute(_PACKED.format(table=tier.table, rolled="select * from again"))
        if sealed > since["since"]:
            connection.execute(
                f"""delete from {tier.source_table} as source using late where source.symbol = late.symbol
                and late.ts = make_timestamptz(epoch_us(source.ts) // {tier.width} * {tier.width})
                and late.ts < make_timestamptz($sealed) and source.shard = 0""",
                {"sealed": sealed},
            )
    connection.execute(f"delete from oculus_late using noted where {_same('oculus_late', 'noted')}")
    for table in ("noted", "late", "again"):
        connection.execute(f"drop table {table}")
    row = connection.execute("select count(*) from oculus_late").fetchone()
    return bool(row and row[0])


def _same(table: str, other: str = "late") -> str:
    return f"{table}.symbol = {other}.symbol and {table}.ts = {other}.ts"
