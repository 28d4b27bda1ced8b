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

_NEEDED = {
    "metrics": "ts category symbol value tags",
    "events": "id ts source type severity message payload",
    "oculus_state": "key value",
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
                connection.execute(statement)
            connection.execute("insert into oculus_schema values (?, now())", [version])
            connection.execute("commit")
        except BaseException:
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
