"""Rewriting a whole database file, every table in its order, while no daemon has it. Blocking calls.

The new file is made beside the old one and takes its place in one rename: whenever the process is killed,
one of the two is there, whole.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from oculus.beside import copies_of
from oculus.errors import StorageError
from oculus.storage import copies
from oculus.storage.copies import identifier, megabytes, text
from oculus.storage.database import BLOCK, LOGS, Database, first_line

# Rows that are sorted at once. With the usual memory this many need 70 MB of disk besides; ten million at
# once need a gigabyte, and take twice as long.
GROUP = 1_000_000  # rows
_SORT_ROOM = 128 * 10**6  # bytes

# A small file cannot need more than this many times its size to be sorted: it is packed ten times at most.
_UNPACKED = 10

_NEW = "oculus-compact.db"
_SPILL = "oculus-spill"

# What a table must have to be put in order; see `schema.py` for what a shard is.
_ORDERED = {"shard", "symbol", "ts"}


@dataclass(frozen=True, slots=True)
class Compacted:
    """Sizes in bytes, before and after, and how many rows the file has."""

    before: int
    after: int
    rows: int


def compact(
    path: str, memory_limit: int, threads: int, told: Callable[[int, int], None] = lambda done, rows: None
) -> Compacted:
    """Rewrite the file at `path`; `told(done, all)` is called with rows as they are written.

    Raises StartError when the file is in use or is no database, StorageError when there is no room or the
    new file is not what the old one was; the old one is then as it was.
    """
    Database(path, memory_limit, threads).close()  # brings tables up to date, and the log into the file
    path = os.path.realpath(path)
    copies.clean(path)
    folder = copies_of(path)
    before = Path(path).stat().st_size
    _check_room(path, before)
    new = folder / _NEW
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        # The lock of a reader keeps every daemon out, and closing it later touches no file: by then the
        # log at this name may be that of the new one.
        connection = _open(path, folder, memory_limit, threads)
        try:
            if any(Path(path + suffix).exists() for suffix in LOGS):
                raise StorageError(f"{path} was used by another process meanwhile; try again")
            rows = _rewrite(connection, new, told)
            after = new.stat().st_size
            _replace(new, path)
        finally:
            connection.close()
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise StorageError(f"{path} was left as it was: {first_line(error)}") from None
    except OSError as error:
        raise StorageError(f"{path} was left as it was: {error.strerror}") from None
    finally:
        copies.clean(path)
    return Compacted(before, after, rows)


def _open(path: str, folder: Path, memory_limit: int, threads: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory_limit}B",
            "threads": threads,
            "temp_directory": str(folder / _SPILL),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # One checkpoint, at the end: the file is of no use before.
            "checkpoint_threshold": "1TB",
        },
    )
    connection.execute(f"attach {text(path)} as old (read_only)")
    return connection


def _rewrite(connection: duckdb.DuckDBPyConnection, new: Path, told: Callable[[int, int], None]) -> int:
    """Write everything in `old` to a new file, in order; return the number of rows."""
    connection.execute(f"attach {text(str(new))} as new (block_size {BLOCK})")
    connection.execute("copy from database old to new (schema)")
    tables = _tables(connection)
    total = sum(_count(connection, "old", table) for table in tables)
    done = 0

    def more(rows: int) -> None:
        nonlocal done
        done += rows
        told(done, total)

    for table, columns in tables.items():
        if columns >= _ORDERED:
            ordered_copy(connection, f"old.{table}", f"new.{table}", more)
        else:
            connection.execute(f"insert into new.{table} from old.{table}")
            more(_count(connection, "new", table))
    connection.execute("checkpoint new")
    for table in tables:
        old, copied = (_count(connection, name, table) for name in ("old", "new"))
        if old != copied:
            raise StorageError(f"the new file has {copied} rows of {table} where the old one has {old}")
    connection.execute("detach new")
    return total


def ordered_copy(
    connection: duckdb.DuckDBPyConnection,
    source: str,
    target: str,
    more: Callable[[int], None] = lambda rows: None,
    group: int = GROUP,
) -> None:
    """Copy a table with shard, symbol and ts in that order, `group` rows at a time.

    Every row gets the shard of its symbol: nothing in the new table is newer than its order. `more` is
    called with the rows of each step.
    """
    connection.execute(
        f"""create or replace temp table place as
        select symbol, shard, rows, (sum(rows) over (order by shard, symbol) - rows) // {group} as step
        from (select symbol, new.shard_of(symbol) as shard, count(*) as rows from {source} group by symbol)"""
    )
    steps = connection.execute("select step, sum(rows) from place group by step order by step").fetchall()
    for step, rows in steps:
        connection.execute(
            f"""insert into {target} by name
            select row.* exclude (shard, arrival), place.shard
            from (select *, rowid as arrival from {source}) as row join place using (symbol)
            where place.step = {step} order by place.shard, symbol, ts, arrival"""
        )
        more(int(rows))
    connection.execute("drop table place")


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """Return the columns of every table by its qualified name."""
    found = connection.execute(
        "select schema_name, table_name, list(column_name) from duckdb_columns()"
        " semi join duckdb_tables() using (database_name, schema_name, table_name)"
        " where database_name = 'old' group by all order by all"
    ).fetchall()
    return {f"{identifier(schema)}.{identifier(table)}": set(columns) for schema, table, columns in found}


def _count(connection: duckdb.DuckDBPyConnection, database: str, table: str) -> int:
    row = connection.execute(f"select count(*) from {database}.{table}").fetchone()
    assert row is not None
    return int(row[0])


def _check_room(path: str, size: int) -> None:
    """Raise StorageError when the new file and what sorting it takes do not fit beside the old one."""
    needed = size + min(_SORT_ROOM, _UNPACKED * size)
    free = shutil.disk_usage(Path(path).parent).free
    if free < needed:
        raise StorageError(
            f"there is not enough room to rewrite {path}: {megabytes(free)} are free, and it may need"
            f" {megabytes(needed)}"
        )


def _replace(new: Path, path: str) -> None:
    """Put the new file in the old one's place, with its owner and permissions, durably."""
    old = Path(path).stat()
    descriptor = os.open(new, os.O_RDWR)
    try:
        os.fchmod(descriptor, old.st_mode & 0o7777)
        with suppress(OSError):  # only root may give a file away
            os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(path)
    folder = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
