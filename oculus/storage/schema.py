"""The tables, made and changed by numbered migrations.

Users' SQL depends on `metrics` and `events`: columns may be added, never renamed. A migration that was
released is never edited; a change is a new one.
"""

from __future__ import annotations

import duckdb

from oculus.errors import StartError

# Each entry is one version: statements that run in one transaction. The number is its place, from 1.
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
)

VERSION = len(MIGRATIONS)


def migrate(connection: duckdb.DuckDBPyConnection, path: str) -> None:
    """Bring the tables to this program's version; raises StartError for a file that is newer or not ours."""
    connection.execute("create table if not exists oculus_schema (version INTEGER, applied TIMESTAMPTZ)")
    row = connection.execute("select coalesce(max(version), 0) from oculus_schema").fetchone()
    assert row is not None
    found = int(row[0])
    if found > VERSION:
        raise StartError(
            f"{path} was written by a newer Oculus (tables of version {found}, this program knows"
            f" {VERSION}): use that version, or name another file with --db"
        )
    if found == 0:
        taken = connection.execute(
            "select table_name from duckdb_tables() where table_name in ('metrics', 'events')"
        ).fetchall()
        if taken:
            connection.execute("drop table oculus_schema")
            raise StartError(f"{path} has a table {taken[0][0]!r} that Oculus did not make (name another file)")
    for version in range(found + 1, VERSION + 1):
        connection.execute("begin transaction")
        try:
            for statement in MIGRATIONS[version - 1]:
                connection.execute(statement)
            connection.execute("insert into oculus_schema values (?, now())", [version])
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            raise
