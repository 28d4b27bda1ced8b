"""The tables, made and changed by numbered migrations.

Users' SQL depends on `metrics` and `events`: columns may be added, never renamed. A migration that was
released is never edited; a change is a new one.
"""

from __future__ import annotations

from contextlib import suppress

import duckdb

from oculus.errors import StartError


def _rollup(tier: str) -> tuple[str, ...]:
    """Return the statements for the table of a tier, and for the view that users read.

    What follows from the other columns is left out of the table as NULL: an open that is the close, a high
    and a low that are one of them, a sum of one or two values. At one or two samples to a bucket, as most
    series have in a minute, that is most of it.
    """
    return (
        f"""create table rollup_{tier} (
            ts TIMESTAMPTZ not null, category VARCHAR not null, symbol VARCHAR not null, open DOUBLE,
            high DOUBLE, low DOUBLE, close DOUBLE not null, sum DOUBLE, count INTEGER not null,
            shard USMALLINT default 0
        )""",
        f"""create view metrics_{tier} as select ts, category, symbol,
            coalesce(open, close) as open,
            coalesce(high, greatest(coalesce(open, close), close)) as high,
            coalesce(low, least(coalesce(open, close), close)) as low,
            close,
            coalesce(sum, case count when 2 then coalesce(open, close) + close else count * close end) as sum,
            count, shard
        from rollup_{tier}""",
    )


# In a large table a new column takes memory or disk for each row until a checkpoint packs it.
_PACK = ("commit", "checkpoint", "begin transaction")

# Each entry is one version: statements that run in one transaction, or up to a `_PACK` in one and so on; all
# before it must then do no harm a second time. The number is its place, from 1.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """create table metrics (
            ts TIMESTAMPTZ not null, category VARCHAR not null, symbol VARCHAR not null,
            value DOUBLE, tags JSON
        )""",
        """create table events (
            id BIGINT not null, ts TIMESTAMPTZ not null, source VARCHAR not null, type VARCHAR not null,
            severity VARCHAR not null, message VARCHAR not null, payload JSON
        )""",
        # What the daemon must remember itself, such as the trusted time that retention goes by.
        "create table oculus_state (key VARCHAR not null, value VARCHAR)",
    ),
    (
        # Closed rows are sorted by it, new ones have 0. DuckDB skips row groups by the least and greatest
        # number in them; of texts it keeps eight characters, and "net.http" is all that would tell.
        "alter table metrics add column shard USMALLINT default 0",
        "create macro shard_of(name) as (md5_number_lower(name) % 65535 + 1)::USMALLINT",
        """create macro series(name) as table
            select ts, value, tags from metrics where symbol = name and shard in (0, shard_of(name))""",
        *_rollup("1m"),
        *_rollup("1h"),
        # Minutes that got a sample after they were rolled up: they are built again.
        "create table oculus_late (symbol VARCHAR not null, ts TIMESTAMPTZ not null)",
    ),
    (
        # What a row that stands for an interval has besides its last number, which is the value. All are NULL
        # in a row of one measurement: a row group of those alone keeps nothing of them.
        "alter table metrics add column if not exists open DOUBLE",
        *_PACK,
        "alter table metrics add column if not exists high DOUBLE",
        *_PACK,
        "alter table metrics add column if not exists low DOUBLE",
        *_PACK,
    ),
    (
        # Which channel tells which event: waiting, sent, failed, expired, or passed (nothing was left to
        # tell). `notice` is the id of the message, `told` what the service said of it.
        """create table deliveries (
            event BIGINT not null, channel VARCHAR not null, state VARCHAR not null default 'waiting',
            ended TIMESTAMPTZ, tries INTEGER not null default 0, notice VARCHAR, told VARCHAR
        )""",
    ),
)

VERSION = len(MIGRATIONS)

_NEEDED = {
    "metrics": "ts category symbol value tags shard open high low",
    "events": "id ts source type severity message payload",
    "deliveries": "event channel state ended tries notice told",
    "oculus_state": "key value",
    "oculus_late": "symbol ts",
    "rollup_1m": "ts category symbol open high low close sum count shard",
    "rollup_1h": "ts category symbol open high low close sum count shard",
}


def migrate(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Bring the tables to this program's version; raises StartError for a file that is newer or not ours."""
    found = _version(connection)
    if found > VERSION:
        raise StartError(
            f"{path} was written by a newer Oculus (tables of version {found}, this program knows"
            f" {VERSION}): use that version, or name another file with --db"
        )
    if found == 0:
        taken = connection.execute(
            """select table_name from information_schema.tables
            where table_schema = 'main' and table_name in ('metrics', 'events', 'oculus_state')"""
        ).fetchone()
        if taken:
            raise StartError(f"{path} has a table {taken[0]!r} of another program (name another file)")
        connection.execute("create table if not exists oculus_schema (version INTEGER, applied TIMESTAMPTZ)")
    for version in range(found + 1, VERSION + 1):
        connection.execute("begin transaction")
        try:
            for statement in MIGRATIONS[version - 1]:
                if found or statement not in _PACK:  # a new file has nothing to pack
                    connection.execute(statement)
            connection.execute("insert into oculus_schema values (?, now())", [version])
            connection.execute("commit")
        except BaseException:
            with suppress(duckdb.Error):  # a checkpoint that fails is in no transaction
                connection.execute("rollback")
            raise
    _check(connection, path)


def _check(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Raise StartError when a table that the program needs is not as it made it."""
    rows = connection.execute(
        "select table_name, column_name from duckdb_columns() where schema_name = 'main'"
    ).fetchall()
    for table, columns in _NEEDED.items():
        missing = set(columns.split()) - {column for name, column in rows if name == table}
        if missing:
            raise StartError(
                f"{path}: the table {table} lacks {', '.join(sorted(missing))}"
                " (something else changed it; restore a copy, or name another file)"
            )


def _version(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the version of the tables, 0 when there are none; changes nothing in a file of others."""
    made = connection.execute(
        """select count(*) from information_schema.tables
        where table_schema = 'main' and table_name = 'oculus_schema'"""
    ).fetchone()
    if made == (0,):
        return 0
    row = connection.execute("select coalesce(max(version), 0) from oculus_schema").fetchone()
    assert row is not None
    return int(row[0])
