"""Reading beside the writer: a few native threads, each call with a cursor and a time limit of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import duckdb
import gevent
from gevent.lock import BoundedSemaphore

from oculus.errors import Busy, QueryTimeout
from oculus.storage.database import Database, translate
from oculus.storage.threads import Call, NativeThreads

_T = TypeVar("_T")

THREADS = 2  # queries that run at once: a small host has few cores, and each query may hold memory
WAITING = 16  # queries that may wait for a thread; more are turned away
TIMEOUT = 5.0  # seconds


class Readers:
    """Runs `work(cursor, *arguments)` in native threads."""

    def __init__(self, database: Database, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._database = database
        self._threads = NativeThreads(threads)
        self._slots = BoundedSemaphore(threads)
        self._most_waiting = waiting
        self._now_waiting = 0

    def run(self, work: Callable[..., _T], *arguments: Any, timeout: float = TIMEOUT) -> _T:
        """Return what `work` returns; raises Busy, QueryTimeout, or what `work` raises.

        `timeout` counts from when a thread is free. The query is interrupted, and has ended when this
        raises.
        """
        if self._now_waiting >= self._most_waiting:
            raise Busy("too many queries are waiting; try again in a moment")
        self._now_waiting += 1
        try:
            self._slots.acquire()
        finally:
            self._now_waiting -= 1
        try:
            return self._run(work, arguments, timeout)
        finally:
            self._slots.release()

    def _run(self, work: Callable[..., _T], arguments: tuple[Any, ...], timeout: float) -> _T:
        # A cursor costs 40 µs. One for each call has no transaction left over from an interrupted query,
        # and does not outlive a database that had to be opened anew.
        try:
            cursor = self._database.cursor()
        except duckdb.Error as error:
            raise translate(error) from None
        call: Call[_T] = self._threads.start(_closing, cursor, work, arguments)
        try:
            if call.wait(timeout):
                return call.result()
            # An interrupt that comes between two steps of `work` is lost, so it is repeated.
            _interrupt(cursor)
            while not call.wait(0.02):
                _interrupt(cursor)
            try:
                return call.result()  # it ended while being interrupted
            except duckdb.InterruptException:
                raise QueryTimeout(f"the query took longer than {timeout:g} s and was ended") from None
        except (gevent.GreenletExit, gevent.Timeout):  # leave no query behind
            _interrupt(cursor)
            raise

    def close(self) -> None:
        """Wait for the queries that run."""
        self._threads.close()


def _closing(cursor: duckdb.DuckDBPyConnection, work: Callable[..., _T], arguments: tuple[Any, ...]) -> _T:
    try:
        return work(cursor, *arguments)
    finally:
        cursor.close()


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # it may be closed by now
        cursor.interrupt()
