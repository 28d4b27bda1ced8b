"""Starting with `--recover`: a damaged database is set aside whole, and a new one begun. Blocking calls."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from oculus.errors import DamageError
from oculus.storage.copies import identifier
from oculus.storage.database import CHECKPOINT, DEFAULT_MEMORY, LOGS, Database, first_line, is_damage


def recover(
    path: str, memory_limit: int = DEFAULT_MEMORY, threads: int = 1, checkpoint: int = CHECKPOINT
) -> tuple[Database, str]:
    """Open `path` like Database, once every row of it was read; set it aside first if it is damaged.

    Return the database, and what was done or an empty text. A file that is whole is not touched; one that
    cannot be opened for other reasons raises StartError. Nothing is deleted.
    """
    fault = damage(path, memory_limit, threads)
    if not fault:
        try:
            return Database(path, memory_limit, threads, checkpoint), ""
        except DamageError as error:
            fault = error.fault
    aside = set_aside(path, datetime.now(UTC))
    told = f"{path} was damaged, and is {aside} now; a new database is begun: {fault}"
    return Database(path, memory_limit, threads, checkpoint), told


def damage(path: str, memory_limit: int, threads: int) -> str:
    """Read every row of every table; return what DuckDB says of the first damage, or an empty text.

    Ten million samples take a few seconds. A file that cannot be opened is left to `Database` to judge.
    """
    if not Path(path).is_file():
        return ""
    try:
        # Read-only: closing a damaged file in order would write into it.
        config: dict[str, str | bool | int | float | list[str]]
        config = {"memory_limit": f"{memory_limit}B", "threads": threads, "enable_external_access": False}
        connection = duckdb.connect(path, read_only=True, config=config)
    except duckdb.Error:
        return ""
    try:
        tables = connection.execute(
            "select table_name from duckdb_tables() where schema_name = 'main' and not internal"
        ).fetchall()
        for (table,) in tables:
            connection.execute(f"select bit_xor(hash(t)) from {identifier(table)} as t").fetchone()
    except duckdb.Error as error:
        return first_line(error) if is_damage(error) or isinstance(error, duckdb.InternalException) else ""
    finally:
        connection.close()
    return ""


def set_aside(path: str, moment: datetime) -> str:
    """Rename the file and its logs to names that no file has; return the file's new name.

    The file goes first: a log that is left alone is noticed at the next start, a file without its log
    would seem whole.
    """
    base = f"{path}.broken-{moment:%Y%m%d-%H%M%S}"
    aside, number = base, 1
    while any(os.path.lexists(aside + suffix) for suffix in ("", *LOGS)):
        number += 1
        aside = f"{base}-{number}"
    for suffix in ("", *LOGS):
        if os.path.lexists(path + suffix):
            Path(path + suffix).rename(aside + suffix)
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return aside
