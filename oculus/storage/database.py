"""The DuckDB file: opening it with clear refusals, keeping it usable, and closing it in order.

Nothing here waits for greenlets: calls block, so a daemon makes them in native threads (`threads.py`).
"""

from __future__ import annotations

import _thread
import fcntl
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb

from oculus.beside import copies_of
from oculus.errors import DamageError, StartError, StorageError
from oculus.storage import schema

# What DuckDB once took it keeps, as a cache: with 128 MB the daemon would stay at 200 MB after a few large
# queries.
DEFAULT_MEMORY = 64 * 10**6  # bytes

# Commits go to the log, which goes into the file at this size: a restart reads it in 0.1 s.
CHECKPOINT = 16 * 2**20  # bytes

# The unit in which a new file grows; DuckDB's own is four times that. Each step of rewriting leaves its last
# block half empty, and an empty database is a quarter of a megabyte. Half of it again would be too small for
# the packing of times.
BLOCK = 65_536  # bytes

# After a checkpoint that failed; each failure means opening the database anew.
_CHECKPOINT_AGAIN = 60.0  # seconds

# The log, and what it becomes while a checkpoint runs beside commits.
LOGS = (".wal", ".wal.checkpoint", ".wal.recovery")

# How DuckDB tells that bytes on the disk are not what it wrote.
_DAMAGE = re.compile(r"Corrupt|Could not read enough|replaying WAL|Serialization Error", re.IGNORECASE)


class Database:
    """An open database: one connection for the writer, and cursors for readers."""

    def __init__(
        self, path: str, memory_limit: int = DEFAULT_MEMORY, threads: int = 1, checkpoint: int = CHECKPOINT
    ) -> None:
        """Open `path`, make the file if there is none, and bring its tables up to date.

        Raises StartError with one line that says what is wrong, DamageError when bytes on the disk are; the
        file is then as it was.
        """
        self.path = path
        self.memory_limit = memory_limit  # bytes
        self.checkpoint = checkpoint  # bytes of the log at which `fold` works
        self.damage = ""  # what DuckDB said when it first met a damaged part
        self.on_damage: Callable[[str], None] = _ignore
        self._fold_from = 0.0  # monotonic
        self._lock = _native_lock()  # held while the connection changes
        # No query can reach files, extensions or settings: that is decided here and in `_connect`, for all
        # connections.
        config: dict[str, str | bool | int | float | list[str]] = {
            # Until the tables are up to date: see `_narrow`.
            "memory_limit": f"{memory_limit + _bytes(path) // 2}B",
            "threads": threads,
            # A file that looks like another program's must not load an extension, wherever one may lie.
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "extension_directory": os.devnull,
            "default_block_size": BLOCK,
            # `fold` does it: a commit whose own checkpoint fails is an error although its rows are stored,
            # and trying it again would store them twice.
            "checkpoint_threshold": "1TB",
        }
        self._config = config
        _make_room(path)
        try:
            self._connect()
        except duckdb.Error as error:
            raise refusal(path, error) from None
        try:
            schema.migrate(self.connection, path)
            # What a start reads anyway; damage there is told here.
            self.connection.execute(
                "select (select max(id) from events), (select max(value) from oculus_state)"
            )
            self._narrow()
        except duckdb.Error as error:
            self._disconnect()
            if is_damage(error):
                raise _damaged(path, error) from None
            raise StartError(f"{path}: its tables cannot be set up: {first_line(error)}") from None
        except BaseException:
            self._disconnect()
            raise
        self._file = _identity(path)

    def _connect(self) -> None:
        """Open the file, and close every other door but that to the folder of copies.

        Nobody's SQL may run before `_narrow`.
        """
        self.connection = duckdb.connect(self.path, config=self._config)
        # The connection of backups and exports, the only one that tells its progress.
        self.copier = self.connection.cursor()
        if self._is_narrow():
            return  # the old database, which a reader has kept open
        for setting in ("enable_progress_bar = true", "enable_progress_bar_print = false"):
            self.copier.execute(f"set {setting}")
        self.copier.execute("set progress_bar_time = 0")
        folder = str(copies_of(self.path)).replace("'", "''")
        self.connection.execute(f"set allowed_directories = ['{folder}/']")
        self.connection.execute("set enable_external_access = false")

    def _narrow(self) -> None:
        """Bound memory and disk for the work of every day, and lock it.

        A new column is filled with NULL in every row at once, also when the log is read that adds it: 8 bytes
        of memory or disk for each, and nearly one of memory alone. A row takes two or more of the file.
        """
        if self._is_narrow():
            return
        self.connection.execute(f"set memory_limit = '{self.memory_limit}B'")
        # What queries that do not fit into memory may put beside the database; the samples need the disk.
        self.connection.execute("set max_temp_directory_size = '1GB'")
        self.connection.execute("set lock_configuration = true")

    def _is_narrow(self) -> bool:
        found = self.connection.execute("select current_setting('lock_configuration')").fetchone()
        return found == (True,)

    def _disconnect(self) -> None:
        with suppress(duckdb.Error):
            self.copier.interrupt()
            self.copier.close()
        self.connection.close()

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection of its own to the same database.

        Raises StorageError while the file is being opened anew.
        """
        # A cursor of a connection that another thread is just closing crashes the process.
        if not self._lock.acquire(blocking=False):
            raise StorageError("the database is being opened anew; try again in a moment", retryable=True)
        try:
            return self.connection.cursor()
        finally:
            self._lock.release()

    def revive(self) -> None:
        """Open the file anew if DuckDB has given it up; raises StorageError when that fails.

        A checkpoint that finds the disk full ends the database for this process: what was committed is
        safe, but each later call fails until every connection is closed and the file opened again. The same
        goes for a file that was removed or replaced under the open database.
        """
        try:
            self.check_place()
            self.connection.execute("select 1").fetchone()
        except (duckdb.Error, StorageError) as error:
            if isinstance(error, StorageError) and not _is_folder(Path(self.path).parent):
                raise  # there is nothing to open, and what is open can still be read
            with self._lock:
                self._reopen()

    def _reopen(self) -> None:
        with suppress(duckdb.Error):
            self._disconnect()
        try:
            self._connect()
            # It is the old one as long as a reader has a cursor; and a new file has no tables.
            schema.migrate(self.connection, self.path)
            self._narrow()
        except (duckdb.Error, StartError) as error:
            with suppress(duckdb.Error):
                self._disconnect()
            if isinstance(error, duckdb.Error):
                raise translate(error, retryable=True) from error
            raise StorageError(str(error), retryable=True) from error
        self._file = _identity(self.path)

    def check_place(self) -> None:
        """Raise StorageError when the open file is no longer the one at its path: removed, or replaced."""
        if _identity(self.path) != self._file:
            raise StorageError(f"{self.path} was removed or replaced while it was open", retryable=True)

    def fold(self, least: int | None = None) -> tuple[bool, str]:
        """Write the log into the file if it has grown to its limit, or to `least` bytes.

        Returns whether that was tried, and why it failed, if it did.

        Nothing is lost by a failure, but it makes DuckDB give the database up: `revive` it then.
        """
        least = self.checkpoint if least is None else least
        if self.log_size() < least or time.monotonic() < self._fold_from:
            return False, ""
        try:
            self.connection.execute("checkpoint")
        except duckdb.Error as error:
            self._fold_from = time.monotonic() + _CHECKPOINT_AGAIN
            return True, first_line(error)
        return True, ""

    def examine(self, error: BaseException) -> None:
        """Look at an error of a read or write; the first that shows damage on the disk is told, once."""
        if not self.damage and is_damage(error):
            self.damage = first_line(error)
            self.on_damage(self.damage)

    def log_size(self) -> int:
        """Return the bytes of the log: what is committed and not yet in the file."""
        return sum(_bytes(self.path + suffix) for suffix in LOGS)

    def size(self) -> int:
        """Return the bytes on disk, the write-ahead log included."""
        return _bytes(self.path) + self.log_size()

    def close(self) -> None:
        """Write everything into the file and close it; safe to call twice."""
        # A query that nothing can end keeps it open; all that was committed is in the log.
        with suppress(duckdb.ResourceInUseException):
            self._disconnect()


def first_line(error: BaseException) -> str:
    """Return the first line of a DuckDB error: the rest repeats the statement."""
    return str(error).strip().split("\n", 1)[0]


def is_damage(error: BaseException) -> bool:
    """Tell whether an error of DuckDB, or one made from it, says that bytes on the disk are wrong."""
    if isinstance(error, StorageError):
        error = error.__cause__ or error
    return isinstance(error, duckdb.Error) and _DAMAGE.search(str(error)) is not None


def translate(error: duckdb.Error, *, retryable: bool = False) -> StorageError:
    """Return a failed write as an error that says whether trying again can help."""
    # OperationalError: no space, no memory, a conflict. FatalException: the database wants to be opened
    # anew, which the writer does. Damage: kept, for a disk that comes to itself.
    kinds = duckdb.OperationalError | duckdb.FatalException | duckdb.InternalException
    retryable |= isinstance(error, kinds) or is_damage(error)
    return StorageError(first_line(error), retryable=retryable)


def _native_lock() -> Any:
    """Return a lock that works between native threads, whatever gevent has patched."""
    monkey = sys.modules.get("gevent.monkey")
    make = _thread.allocate_lock if monkey is None else monkey.get_original("_thread", "allocate_lock")
    return make()


def _ignore(text: str) -> None:
    """Tell nobody."""


def _bytes(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


_ELSEWHERE = "name another file with --db or database.path"
_RECOVER = "restore a copy, or start with --recover, which sets it aside and starts anew"


def _make_room(path: str) -> None:
    """Take an empty file out of the way, which DuckDB would refuse; raises DamageError for a log alone.

    An empty file is what `touch` leaves, and a crash while the file is made.
    """
    file, log = Path(path), Path(f"{path}.wal")
    try:
        there = file.stat() if file.exists() else None
        if there is not None and (there.st_size or not file.is_file()):
            return
        if _bytes(str(log)):  # DuckDB would delete it
            fault = f"{log} is the log of a database that is not there"
            raise DamageError(f"{fault}; {_RECOVER}", fault)
        if there is None:
            return
        with file.open("r+b") as opened:
            fcntl.lockf(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody is about to fill it
            file.unlink()
    except OSError:
        return  # whatever it is, DuckDB meets it too


def refusal(path: str, error: duckdb.Error) -> StartError:
    """Return one line that says why the file cannot be opened and what to do."""
    told = str(error)
    if "lock" in told.lower() and "conflicting" in told.lower():
        holder = re.search(r"PID (\d+)", told)
        by = f"process {holder[1]}" if holder else "another process"
        return StartError(f"{path} is in use by {by} (stop it, or {_ELSEWHERE})")
    if _is_folder(Path(path)):
        return StartError(f"{path} is a folder, not a database file ({_ELSEWHERE})")
    if "is an existing extension" in told:  # DuckDB wants one for what looks like SQLite's file
        return StartError(f"{path} is not a DuckDB database; it was left as it is ({_ELSEWHERE})")
    if "not a valid DuckDB database" in told:
        fault = f"{path} is not a DuckDB database"
        advice = f"{_ELSEWHERE}, or set it aside with --recover"
        return DamageError(f"{fault}; it was left as it is ({advice})", fault)
    if "newer version of DuckDB" in told or "older development version" in told:
        return StartError(
            f"{path} was written by another version of DuckDB; it was left as it is (use the program that"
            f" wrote it, or {_ELSEWHERE}): {first_line(error)}"
        )
    folder = Path(path).parent
    if not _is_folder(folder):
        return StartError(f"{path} cannot be made: there is no folder {folder} (make it, or {_ELSEWHERE})")
    if "Permission denied" in told or "Read-only file system" in told or not os.access(folder, os.W_OK):
        return StartError(f"{path} cannot be written: the file or its folder is read-only ({_ELSEWHERE})")
    if is_damage(error) or isinstance(error, duckdb.InternalException):
        return _damaged(path, error)
    return StartError(f"{path} cannot be opened: {first_line(error)}")


def _damaged(path: str, error: duckdb.Error) -> DamageError:
    told = first_line(error)
    if "WAL does not match" in told:
        fault = f"{path}.wal is the log of another database than {path}"
        return DamageError(f"{fault}; {_RECOVER}", fault)
    what = f"{path}.wal, the log of {path}," if "WAL" in told else path
    return DamageError(f"{what} is damaged, and was left as it is; {_RECOVER}: {told}", told)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for any file
        return False
