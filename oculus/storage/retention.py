"""Deleting what is too old, or what a size limit leaves no room for. Blocking calls, one transaction each."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.storage.ingest import read_marks, set_state, transaction
from oculus.storage.rollup import rebuild_all_late
from oculus.storage.tiers import HOUR, MINUTE, ORDERED_LEAST, TABLES, TIERS, Marks, floor, kept_key

# Events are few, and what happened matters for longer than every number: three months at least.
EVENTS_KEPT = 90 * DAY

# Rows go by whole buckets of the tier that is built of them: what a bucket was built of is there or gone.
_EDGES = {"metrics": MINUTE, "rollup_1m": HOUR, "rollup_1h": HOUR}

# A limit that is this far ahead was set by a clock that was wrong, and no longer holds.
_ROGUE = DAY

# What a size limit takes, in this order: the finest rows are the most, and least missed. Hours are few, and
# all that is left of past years.
SHRUNK = ("metrics", "rollup_1m")


def expire(connection: duckdb.DuckDBPyConnection, now: Micros, keep: Mapping[str, float]) -> int:
    """Delete rows older than `keep` seconds (by table) and old events; return how many samples went.

    What has not been rolled up yet stays. Raises StorageError, and then nothing was changed.
    """
    with transaction(connection):
        rebuild_all_late(connection, read_marks(connection))
        deleted = 0
        for table in TABLES:
            marks = read_marks(connection)
            cutoff = floor(Micros(now - int(keep[table] * SECOND)), _EDGES[table])
            rows = _delete(connection, table, min(cutoff, _limit(marks, table)), marks, keep[table])
            deleted += rows if table == "metrics" else 0
        oldest = now - int(events_kept(keep) * SECOND)
        connection.execute("delete from events where ts < make_timestamptz($1)", [oldest])
        # Not by their least id: one that a wrong clock stamped with a time ahead stays longer than others.
        connection.execute(
            "delete from deliveries where not exists (select 1 from events where id = deliveries.event)"
        )
    return deleted


def events_kept(keep: Mapping[str, float]) -> float:
    """Return for how many seconds events are kept: as long as samples, and a while at least."""
    return max(keep["metrics"], EVENTS_KEPT / SECOND)


def shrink(connection: duckdb.DuckDBPyConnection, table: str, share: float) -> tuple[int, Micros]:
    """Give the oldest `share` of a table's rows up, by whole hours; return how many, and the new start.

    The last hour stays, and what has not been rolled up. Raises StorageError, and then nothing was changed.
    """
    with transaction(connection):
        marks = read_marks(connection)
        rebuild_all_late(connection, marks)
        hours = connection.execute(
            f"""select epoch_us(ts) // {HOUR} * {HOUR} as hour, count(*) from {table}
            where ts >= make_timestamptz($1) group by hour order by hour""",
            [marks.kept[table]],
        ).fetchall()
        wanted = share * sum(count for _, count in hours)
        limit = _limit(marks, table)
        cutoff, given = marks.kept[table], 0
        for hour, count in hours[:-1]:
            if given >= wanted or hour + HOUR > limit:
                break
            cutoff = Micros(hour + HOUR)
            given += count
        _delete(connection, table, cutoff, marks, ORDERED_LEAST)
        return given, cutoff


def _limit(marks: Marks, table: str) -> Micros:
    """Return the time before which rows of a table may go.

    What has not been rolled up stays; and a rollup outlives what it was built of, or a late sample would
    find all samples of its hour beside the sum of them, and be counted with them.
    """
    built = [marks.built[tier.table] for tier in TIERS if tier.source_table == table]
    source = [floor(marks.kept[tier.source_table], _EDGES[table]) for tier in TIERS if tier.table == table]
    return Micros(min(built + source))


def _delete(
    connection: duckdb.DuckDBPyConnection, table: str, cutoff: Micros, marks: Marks, keep: float
) -> int:
    """Note from when on the table is whole, and delete what is before and in no order; return how many went.

    What lies in order goes when it is rewritten: of each series a few rows everywhere in the table, which
    take more memory to delete than there is.
    """
    kept = marks.kept[table]
    if cutoff > kept or kept > cutoff + _ROGUE:
        set_state(connection, kept_key(table), str(cutoff))
    which = "and shard = 0" if keep >= ORDERED_LEAST else ""
    row = connection.execute(
        f"delete from {table} where ts < make_timestamptz($1) {which}", [cutoff]
    ).fetchone()
    return int(row[0]) if row else 0
