"""Live copies: a backup or an export is made in a folder beside the database, the only one that DuckDB may
write to besides its own file. Who asked for it takes the finished file from there. Blocking calls.

The copy shows one moment: what was committed before it began, and nothing that came after.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from oculus.beside import copies_of
from oculus.errors import OculusError, QueryError, StorageError
from oculus.storage import sandbox
from oculus.storage.database import BLOCK, Database, first_line

# What a copy leaves free on its disk: hours of samples on a small board.
RESERVE = 16 * 2**20  # bytes

_PREFIX = "oculus-"  # of every file here; nothing else in the folder is touched

Kind = Literal["backup", "parquet", "csv"]

_SUFFIX: dict[Kind, str] = {"backup": ".db", "parquet": ".parquet", "csv": ".csv"}
_OPTIONS: dict[Kind, str] = {
    "backup": "",
    "parquet": "format parquet, compression zstd",
    "csv": "format csv, header",
}


class Cancelled(OculusError):
    """The copy was ended before it was whole."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be copied: the whole database, or the rows of `sql` (all samples when it is empty)."""

    kind: Kind
    sql: str = ""


class Copy:
    """One copy. `run` makes it, in a native thread; the rest may be called meanwhile from another."""

    def __init__(self, database: Database, wanted: Wanted) -> None:
        """`database` must be open here; one copy of it at a time."""
        self._database = database
        self._cursor = database.copier
        self._wanted = wanted
        self._token = secrets.token_hex(4)
        self._cancelled = ""
        folder = copies_of(database.path)
        self.path = folder / f"{_PREFIX}{self._token}{_SUFFIX[wanted.kind]}"

    def run(self) -> None:
        """Make the copy at `path`; raises StorageError, QueryError or Cancelled, with nothing left behind."""
        try:
            self._check_room(at_start=True)
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            if self._wanted.kind == "backup":
                self._backup()
            else:
                self._export()
        except BaseException as error:
            self.discard()
            if self._cancelled and isinstance(error, duckdb.Error | OculusError):
                raise Cancelled(self._cancelled) from None
            if isinstance(error, duckdb.Error):
                if os.strerror(errno.ENOSPC) in str(error):  # it was full before the next look at it
                    raise StorageError(
                        "there is not enough room beside the database: the copy filled it, and was removed"
                    ) from None
                raise StorageError(f"the copy could not be made: {first_line(error)}") from None
            if isinstance(error, OSError):
                raise StorageError(f"{self.path.parent} cannot be made: {error.strerror}") from None
            raise

    def progress(self) -> float | None:
        """Return the part that is done, 0 to 1; None while DuckDB cannot tell."""
        try:
            done = self._cursor.query_progress()
        except duckdb.Error:
            return None
        return None if done < 0 else min(1.0, done / 100)

    def size(self) -> int:
        """Return the bytes written so far."""
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def watch(self) -> None:
        """Cancel the copy if it is about to fill the disk; the samples need the rest."""
        try:
            self._check_room(at_start=False)
        except StorageError as error:
            self.cancel(str(error))

    def cancel(self, why: str = "the copy was cancelled") -> None:
        """End `run` soon. An interrupt between two statements is lost: repeat it until `run` has ended."""
        self._cancelled = self._cancelled or why
        with suppress(duckdb.Error):
            self._cursor.interrupt()

    def discard(self) -> None:
        """Remove the copy's files, if they are still there."""
        for suffix in ("", ".wal"):
            with suppress(OSError):
                Path(f"{self.path}{suffix}").unlink()
        with suppress(OSError):  # other files are in it
            self.path.parent.rmdir()

    def _backup(self) -> None:
        name = f"copy_{self._token}"
        ((source,),) = self._cursor.execute("select current_database()").fetchall()
        self._step(f"attach {text(str(self.path))} as {name} (block_size {BLOCK})")
        try:
            self._step(f"copy from database {identifier(source)} to {name}")
            self._step(f"checkpoint {name}")
        finally:
            with suppress(duckdb.Error):
                self._cursor.execute(f"detach {name}")

    def _export(self) -> None:
        query = self._wanted.sql or "from metrics"
        with self._reading():
            statement = sandbox.check(self._cursor, query)
            # The line break ends a comment at the statement's end.
            query = _bare(statement.query)
            try:
                self._step(f"copy (\n{query}\n) to {text(str(self.path))} ({_OPTIONS[self._wanted.kind]})")
            except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.InterruptException):
                raise
            except duckdb.Error as error:
                raise QueryError(str(error)) from None

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Run the block in a transaction that cannot write to the database."""
        self._cursor.execute("begin transaction read only")
        try:
            yield
        finally:
            with suppress(duckdb.Error):
                self._cursor.execute("rollback")

    def _step(self, statement: str) -> None:
        if self._cancelled:
            raise Cancelled(self._cancelled)
        self._cursor.execute(statement)

    def _check_room(self, *, at_start: bool) -> None:
        """Raise StorageError when the disk is, or would be, nearly full."""
        folder = self.path.parent
        free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
        # A backup is about as large as the database. How large an export gets nobody knows before.
        needed = RESERVE + (self._database.size() if at_start and self._wanted.kind == "backup" else 0)
        if free < needed:
            raise StorageError(
                f"there is not enough room beside the database: {megabytes(free)} are free, and the copy"
                f" {'needs' if at_start else 'must leave'} {megabytes(needed)}"
            )


def clean(database: str) -> None:
    """Remove what copies left behind in processes that were killed; call it while holding the database."""
    folder = copies_of(database)
    try:
        found = list(folder.iterdir())
    except OSError:
        return
    for path in found:
        if path.name.startswith(_PREFIX):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
    with suppress(OSError):  # somebody else's files are in it
        folder.rmdir()


def text(value: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def megabytes(size: int) -> str:
    """Return a size for people: whole megabytes, rounded up."""
    return f"{-(-size // 10**6)} MB"


def _bare(sql: str) -> str:
    """Return a statement without the semicolon that ends it."""
    end = len(sql)
    for start, kind in reversed(duckdb.tokenize(sql)):
        if kind != duckdb.token_type.comment and sql[start:end].strip() != ";":
            break
        end = start
    return sql[:end] if end else sql
