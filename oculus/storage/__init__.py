"""Storage: the only package that imports duckdb.

`Storage` is for scripts: one object that opens, writes, queries and closes, with calls that block. The
daemon uses the parts (`Writer`, `Readers`, `Latest`) so that its greenlets never wait for the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import duckdb

from oculus.clock import now
from oculus.errors import StorageError
from oculus.model import Batch, Event, Sample
from oculus.storage import ingest, sandbox
from oculus.storage.database import Database, translate

__all__ = ["Storage"]

_T = TypeVar("_T")


class Storage:
    """A store opened by a script.

    >>> with Storage("oculus.db") as store:
    ...     store.write([Sample("custom.moon", 0.42)])
    ...     store.query("select count(*) from metrics").rows
    """

    def __init__(self, path: str) -> None:
        """Open the file, or make it; raises StartError when another process has it open."""
        self._database = Database(path)
        self._next_event_id = ingest.next_event_id(self._database.connection)

    def write(self, samples: Iterable[Sample], events: Iterable[Event] = ()) -> None:
        """Write in one transaction, durable on return. A sample without time gets the present one."""
        stamp = now()
        stamped = tuple(sample if sample.ts is not None else replace(sample, ts=stamp) for sample in samples)
        batch = Batch(stamped, tuple(events))
        ingest.write(self._database.connection, batch, self._next_event_id)
        self._next_event_id += len(batch.events)
        if self._database.fold()[1]:
            with suppress(StorageError):  # this batch is stored; the next one is refused
                self._database.revive()

    def query(
        self,
        sql: str,
        params: Mapping[str, Any] | Sequence[Any] | None = None,
        max_rows: int = sandbox.MAX_ROWS,
    ) -> sandbox.Result:
        """Run one reading statement; raises QueryError."""
        cursor = self._database.cursor()
        try:
            return sandbox.query(cursor, sql, params, max_rows)
        finally:
            cursor.close()

    def read(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Return what `work(cursor, *arguments)` returns; for Oculus's own reads."""
        cursor = self._database.cursor()
        try:
            return work(cursor, *arguments)
        except duckdb.Error as error:
            raise translate(error) from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the file; safe to call twice."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
