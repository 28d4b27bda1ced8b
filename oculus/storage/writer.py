"""The one writer: a greenlet that drains the pipe, and a native thread that alone writes to the database.

A batch that cannot be written is kept and tried again with growing pauses; meanwhile the pipe fills, and
drops its oldest samples only past its bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import gevent

from oculus.errors import StorageError
from oculus.model import Batch
from oculus.pipe import Pipe
from oculus.storage import ingest
from oculus.storage.database import Database
from oculus.storage.threads import NativeThreads

_T = TypeVar("_T")

# Pauses between tries of a failed batch: random within a span that doubles up to the last.
_RETRY_FIRST = 0.2  # seconds
_RETRY_LAST = 15.0  # seconds


class Writer:
    """Commits what the pipe holds, `batch` samples or `flush` seconds at a time.

    `on_commit(batch)` is called in the writer's greenlet after each commit, and must be quick.
    `on_state(error)` is called with the text when writing begins to fail, and with "" when it recovers.
    """

    def __init__(
        self,
        database: Database,
        pipe: Pipe,
        *,
        batch: int,
        flush: float,
        on_commit: Callable[[Batch], None],
        on_state: Callable[[str], None],
    ) -> None:
        self._database = database
        self._pipe = pipe
        # A full pipe must be drained, even if it never holds a whole batch.
        self._batch = min(batch, pipe.max_rows // 2)
        self._flush = flush
        self._on_commit = on_commit
        self._on_state = on_state
        self._thread = NativeThreads(1)
        self._next_event_id = self._thread.run(ingest.next_event_id, database.connection)
        self._kept: Batch | None = None
        self.error = ""  # why the last try failed; empty while all is well
        self.commits = 0
        self.rows = 0
        self.lost = 0  # samples of batches that the database refused for good
        self.seconds = 0.0  # spent in commits
        self.last_commit: float | None = None  # monotonic

    def run(self) -> None:
        """Write until the pipe is closed and empty."""
        while True:
            batch = self._kept or self._pipe.take(self._batch, self._flush)
            if batch is None:
                return
            self._kept = batch  # survives a restart of this greenlet
            if batch:
                self._write(batch)
            else:
                self._kept = None

    def call(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run `work(connection, *arguments)` in the writer's thread, between two batches."""
        return self._thread.run(work, self._database.connection, *arguments)

    def close(self) -> None:
        """End the native thread; call it once `run` has returned."""
        self._thread.close()

    @property
    def waiting(self) -> int:
        """Samples of the batch that is being written or tried again."""
        return len(self._kept.samples) if self._kept else 0

    def _write(self, batch: Batch) -> None:
        started = time.monotonic()
        committed = self._commit(batch)
        self._kept = None  # whatever fails from here on, it is not written twice
        if not committed:
            self.lost += len(batch.samples)
            return
        self.last_commit = time.monotonic()
        self.seconds += self.last_commit - started
        self.commits += 1
        self.rows += len(batch.samples)
        self._next_event_id += len(batch.events)
        if self.error:
            self.error = ""
            self._on_state("")
        self._on_commit(batch)

    def _commit(self, batch: Batch) -> bool:
        """Commit, trying again while that can help; return whether it is in the database."""
        try:
            self._try(batch)
        except StorageError as error:
            return self._failed(error) and self._insist(batch)
        return True

    def _try(self, batch: Batch) -> None:
        self.call(ingest.write, batch, self._next_event_id)

    def _try_again(self, batch: Batch) -> None:
        self._thread.run(self._database.revive)
        self._try(batch)

    def _failed(self, error: BaseException) -> bool:
        """Note a failed try, the first of a row to the outside; return whether another may succeed."""
        if not self.error:
            self.error = str(error)
            self._on_state(self.error)
        return isinstance(error, StorageError) and error.retryable

    def _insist(self, batch: Batch) -> bool:
        """Try again until it succeeds or is refused for good; return whether it is in the database."""
        # Imported here: it costs 10 ms, and most daemons never need it.
        from tenacity import Retrying, retry_if_exception, wait_random_exponential

        again = Retrying(
            retry=retry_if_exception(self._failed),
            wait=wait_random_exponential(multiplier=_RETRY_FIRST, max=_RETRY_LAST),
            sleep=gevent.sleep,
            reraise=True,
        )
        try:
            again(self._try_again, batch)
        except StorageError:
            return False
        return True
