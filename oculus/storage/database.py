"""The DuckDB file: opening it with clear refusals, and closing it in order.

Nothing here waits for greenlets: calls block, so a daemon makes them in native threads (`threads.py`).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import duckdb

from oculus.errors import StartError, StorageError
from oculus.storage import schema

DEFAULT_MEMORY = 128 * 10**6  # bytes


class Database:
    """An open database: one connection for the writer, and cursors for readers."""

    def __init__(self, path: str, memory_limit: int = DEFAULT_MEMORY, threads: int = 1) -> None:
        """Open `path`, make the file if there is none, and bring its tables up to date.

        Raises StartError with one line that says what is wrong; the file is then as it was.
        """
        self.path = path
        # No query can reach files, extensions or settings: that is decided here, for all connections.
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{memory_limit}B",
            "threads": threads,
            "enable_external_access": False,
            "lock_configuration": True,
        }
        self._config = config
        try:
            self.connection = duckdb.connect(path, config=config)
        except duckdb.Error as error:
            raise StartError(_refusal(path, error)) from None
        try:
            schema.migrate(self.connection, path)
        except duckdb.Error as error:
            self.connection.close()
            raise StartError(f"{path}: its tables cannot be set up: {first_line(error)}") from None
        except BaseException:
            self.connection.close()
            raise

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the same database."""
        return self.connection.cursor()

    def revive(self) -> None:
        """Open the file anew if DuckDB has given it up; raises StorageError when that fails.

        A checkpoint that finds the disk full ends the database for this process: what was committed is
        safe, but each later call fails until every connection is closed and the file opened again.
        """
        try:
            self.connection.execute("select 1").fetchone()
        except duckdb.Error:
            with suppress(duckdb.Error):
                self.connection.close()
            try:
                self.connection = duckdb.connect(self.path, config=self._config)
            except duckdb.Error as error:
                raise StorageError(first_line(error), retryable=True) from error

    def size(self) -> int:
        """Return the bytes on disk, the write-ahead log included."""
        total = 0
        for name in (self.path, f"{self.path}.wal"):
            try:
                total += Path(name).stat().st_size
            except OSError:
                continue
        return total

    def close(self) -> None:
        """Write everything into the file and close it; safe to call twice."""
        self.connection.close()


def first_line(error: Exception) -> str:
    """Return the first line of a DuckDB error: the rest repeats the statement."""
    return str(error).strip().split("\n", 1)[0]


def translate(error: duckdb.Error) -> StorageError:
    """Return a failed write as an error that says whether trying again can help."""
    # OperationalError: no space, no memory, a conflict. FatalException: the database wants to be opened
    # anew, which the writer does.
    retryable = isinstance(error, duckdb.OperationalError | duckdb.FatalException)
    return StorageError(first_line(error), retryable=retryable)


def _refusal(path: str, error: duckdb.Error) -> str:
    """Return one line that says why the file cannot be opened and what to do."""
    told = str(error)
    elsewhere = "name another file with --db or database.path"
    if "lock" in told.lower() and "conflicting" in told.lower():
        holder = re.search(r"PID (\d+)", told)
        by = f"process {holder[1]}" if holder else "another process"
        return f"{path} is in use by {by} (stop it, or {elsewhere})"
    if _is_folder(Path(path)):
        return f"{path} is a folder, not a database file ({elsewhere})"
    # It wants an extension for what looks like SQLite's file.
    if "not a valid DuckDB database" in told or "Loading external extensions" in told:
        return f"{path} is not a DuckDB database; it was left as it is ({elsewhere})"
    folder = Path(path).parent
    if not _is_folder(folder):
        return f"{path} cannot be made: there is no folder {folder} (make it, or {elsewhere})"
    if "Permission denied" in told or "Read-only file system" in told or not os.access(folder, os.W_OK):
        return f"{path} cannot be written: the file or its folder is read-only ({elsewhere})"
    return f"{path} cannot be opened: {first_line(error)}"


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for any file
        return False
