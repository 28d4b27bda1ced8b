"""Reading beside the writer: a few native threads, each call with a cursor and a time limit of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import duckdb
import gevent
from gevent.lock import BoundedSemaphore

from oculus.errors import Busy, QueryTimeout
from oculus.storage.database import Database
from oculus.storage.threads import NativeThreads

_T = TypeVar("_T")

THREADS = 2  # queries that run at once: a small host has few cores, and each query may hold memory
WAITING = 16  # queries that may wait for a thread; more are turned away
TIMEOUT = 5.0  # seconds


class Readers:
    """Runs `work(cursor, *arguments)` in native threads."""

    def __init__(self, database: Database, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._database = database
        self._threads = NativeThreads(threads)
        self._cursors = [database.cursor() for _ in range(threads)]
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
        cursor = self._cursors.pop()
        try:
            started = self._threads.start(work, cursor, *arguments)
            with gevent.Timeout(timeout, False):
                result: _T = self._threads.result(started)
                return result
            # An interrupt that comes between two steps of `work` is lost, so it is repeated.
            while not started.ready():
                cursor.interrupt()
                started.wait(0.05)
            try:
                result = self._threads.result(started)
                return result  # it ended while being interrupted
            except duckdb.InterruptException:
                raise QueryTimeout(f"the query took longer than {timeout:g} s and was ended") from None
        except BaseException as error:
            if not isinstance(error, Exception):  # this greenlet is being killed: leave none behind
                cursor.interrupt()
                cursor = self._database.cursor()
            raise
        finally:
            self._cursors.append(cursor)

    def close(self) -> None:
        """Wait for the queries that run, and close the cursors."""
        self._threads.close()
        for cursor in self._cursors:
            cursor.close()
