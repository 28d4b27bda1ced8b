"""The one writer: a greenlet that drains the pipe, and a native thread that alone writes to the database.

A batch that cannot be written is kept and tried again with growing pauses; meanwhile the pipe fills, and
drops its oldest samples only past its bounds.
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
from oculus.threads import NativeThreads

_T = TypeVar("_T")

# Pauses between tries of a failed batch: random within a span that doubles up to the last.
_RETRY_FIRST = 0.2  # seconds
_RETRY_LAST = 15.0  # seconds
# Readers that were at work when the database was given up keep it until they notice.
_REVIVE_TRIES, _REVIVE_PAUSE = 20, 0.05  # and seconds
_RETRY_CLOSED = 0.2  # seconds; at a stop there is little time left


class Writer:
    """Commits what the pipe holds, `batch` samples or `flush` seconds at a time.

    `on_commit(batch)` is called in the writer's greenlet after each commit, and must be quick.
    `on_state(error)` is called with the text when writing begins to fail, and with "" when it recovers;
    `on_fold(error)` likewise for the log that cannot go into the file, which stops no writing.
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
        on_fold: Callable[[str], None] | None = None,
    ) -> None:
        self._database = database
        self._pipe = pipe
        # A full pipe must be drained, even if it never holds a whole batch.
        self._batch = min(batch, pipe.max_rows // 2)
        self._flush = flush
        self._on_commit = on_commit
        self._on_state = on_state
        self._on_fold = on_fold
        self._thread = NativeThreads(1)
        self._next_event_id = self._thread.run(ingest.next_event_id, database.connection)
        self._kept: Batch | None = None
        self.first_event_id = self._next_event_id  # of the last batch that was committed
        self.error = ""  # why the last try failed; empty while all is well
        self.fold_error = ""  # why the log could not go into the file
        self.commits = 0
        self.rows = 0
        self.lost = 0  # samples of batches that the database refused for good
        self.seconds = 0.0  # spent in commits
        self.last_commit: float | None = None  # monotonic
        self.busy_since: float | None = None  # when the batch that is being written came, monotonic

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
    def last_event_id(self) -> int:
        """The id of the newest event, 0 when there is none."""
        return self._next_event_id - 1

    @property
    def waiting(self) -> int:
        """Samples of the batch that is being written or tried again."""
        return len(self._kept.samples) if self._kept else 0

    def _write(self, batch: Batch) -> None:
        started = self.busy_since = time.monotonic()
        committed = self._commit(batch)
        self._kept = self.busy_since = None  # whatever fails from here on, it is not written twice
        if not committed:
            self.lost += len(batch.samples)
            return
        self.last_commit = time.monotonic()
        self.seconds += self.last_commit - started
        self.commits += 1
        self.rows += len(batch.samples)
        self.first_event_id, self._next_event_id = (
            self._next_event_id,
            self._next_event_id + len(batch.events),
        )
        if self.error:
            self.error = ""
            self._on_state("")
        self._on_commit(batch)
        self.fold()

    def fold(self, least: int | None = None) -> None:
        """Let the log go into the file when it is large, or has `least` bytes; tell when that begins and
        ceases to fail."""
        tried, error = self._thread.run(self._database.fold, least)
        if error:
            self._revive()
        if tried and bool(error) != bool(self.fold_error):
            self.fold_error = error
            if self._on_fold is not None:
                self._on_fold(error)

    def _revive(self) -> None:
        for _ in range(_REVIVE_TRIES):
            try:
                self._thread.run(self._database.revive)
            except StorageError:  # in the end the next write tries again, and tells
                gevent.sleep(_REVIVE_PAUSE)
            else:
                return

    def _commit(self, batch: Batch) -> bool:
        """Commit, trying again while that can help; return whether it is in the database."""
        try:
            self._try(batch)
        except StorageError as error:
            return self._failed(error) and self._insist(batch)
        return True

    def _try(self, batch: Batch) -> None:
        self._thread.run(self._store, batch)

    def _store(self, batch: Batch) -> None:
        """Write it, in the native thread."""
        self._database.check_place()
        ingest.write(self._database.connection, batch, self._next_event_id)

    def _try_again(self, batch: Batch) -> None:
        self._thread.run(self._database.revive)
        self._try(batch)

    def _failed(self, error: BaseException) -> bool:
        """Note a failed try, the first of a row to the outside; return whether another may succeed."""
        self._database.examine(error)
        first, self.error = not self.error, str(error)
        if first:
            self._on_state(self.error)
        return isinstance(error, StorageError) and error.retryable

    def _insist(self, batch: Batch) -> bool:
        """Try again until it succeeds or is refused for good; return whether it is in the database."""
        # Imported here: it costs 10 ms, and most daemons never need it.
        from tenacity import Retrying, retry_if_exception, wait_random_exponential

        again = Retrying(
            retry=retry_if_exception(self._failed),
            wait=wait_random_exponential(multiplier=_RETRY_FIRST, max=_RETRY_LAST),
            sleep=self._pause,
            reraise=True,
        )
        try:
            again(self._try_again, batch)
        except StorageError:
            return False
        return True

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; a stop cuts it short."""
        if self._pipe.closed or self._pipe.wait_closed(seconds):
            gevent.sleep(min(seconds, _RETRY_CLOSED))
