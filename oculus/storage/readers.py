"""Reading beside the writer: a few native threads, each call with a cursor and a time limit of its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import duckdb
import gevent
from gevent.lock import BoundedSemaphore
from gevent.monkey import get_original

from oculus.errors import Busy, QueryError, QueryTimeout, StorageError
from oculus.storage.database import Database, translate
from oculus.storage.memory import GROWTH, Ceiling
from oculus.threads import Call, NativeThreads

_T = TypeVar("_T")
_pause = get_original("time", "sleep")  # for native threads, which have no hub

THREADS = 2  # queries that run at once: a small host has few cores, and each query may hold memory
WAITING = 16  # queries that may wait for a thread; more are turned away
TIMEOUT = 5.0  # seconds
# A step that does not listen to the interrupt (one function over long texts) is left alone after this; its
# thread serves nobody until it ends.
GRACE = 2.0  # seconds
CLOSING = 2.0  # seconds that queries have to end at a stop, of the 5 s that it may take in all
CLOSES = 1_000  # tries, a millisecond apart, to close a cursor
_LOOK = 0.005  # seconds between two looks at the memory: a query takes some 10 MB meanwhile
REVIVALS, REVIVAL = 4, 0.1  # tries while the database is being opened anew, and seconds between them


class Readers:
    """Runs `work(cursor, *arguments)` in native threads."""

    def __init__(self, database: Database, threads: int = THREADS, waiting: int = WAITING) -> None:
        self._database = database
        self._threads = NativeThreads(threads)
        self._slots = BoundedSemaphore(threads)
        self._most_waiting = waiting
        self._now_waiting = 0
        self._calls: set[Call[Any]] = set()

    def run(
        self, work: Callable[..., _T], *arguments: Any, timeout: float = TIMEOUT, ceiling: bool = False
    ) -> _T:
        """Return what `work` returns; raises Busy, QueryTimeout, or what `work` raises.

        `timeout` counts from when a thread is free. The query is interrupted then. With `ceiling` it is also
        when this process takes more memory than one query may, and that is a QueryError.
        """
        try:
            return self._insist(work, arguments, timeout, ceiling)
        except duckdb.Error as error:
            self._database.examine(error)
            raise translate(error) from error

    def _insist(
        self, work: Callable[..., _T], arguments: tuple[Any, ...], timeout: float, ceiling: bool
    ) -> _T:
        """Run it, again if the database was given up meanwhile: the writer opens it anew in a moment."""
        for _ in range(REVIVALS):
            try:
                return self._run(work, arguments, timeout, ceiling)
            except (duckdb.FatalException, duckdb.ConnectionException, StorageError):
                gevent.sleep(REVIVAL)
        return self._run(work, arguments, timeout, ceiling)

    def _run(self, work: Callable[..., _T], arguments: tuple[Any, ...], timeout: float, ceiling: bool) -> _T:
        self._acquire()
        try:
            # A cursor costs 40 µs. One for each call has no transaction left over from an interrupted query,
            # and does not outlive a database that had to be opened anew.
            cursor = self._database.cursor()
        except BaseException:
            self._slots.release()
            raise
        above = Ceiling(self._database.memory_limit + GROWTH) if ceiling else None
        call: Call[_T] = self._threads.start(_closing, cursor, above, work, arguments)
        self._calls.add(call)
        try:
            return _await(call, cursor, above, timeout)
        except (gevent.GreenletExit, gevent.Timeout):  # leave no query behind
            _interrupt(cursor)
            raise
        finally:
            if call.wait(0):
                self._ended(call)
            else:
                gevent.spawn(self._outlast, call, cursor)

    def _acquire(self) -> None:
        if self._now_waiting >= self._most_waiting:
            raise Busy("too many queries are waiting; try again in a moment")
        self._now_waiting += 1
        try:
            self._slots.acquire()
        finally:
            self._now_waiting -= 1

    def _ended(self, call: Call[Any]) -> None:
        self._calls.discard(call)
        self._slots.release()

    def _outlast(self, call: Call[Any], cursor: duckdb.DuckDBPyConnection) -> None:
        """Wait for a query that nobody waits for any more."""
        while not call.wait(0.1):
            _interrupt(cursor)
        self._ended(call)

    def close(self) -> None:
        """Wait for the queries that run, but not for ever."""
        until = time.monotonic() + CLOSING
        for call in list(self._calls):
            if not call.wait(max(0.0, until - time.monotonic())):
                return  # its thread goes with the process
        self._threads.close()


def _await(call: Call[_T], cursor: duckdb.DuckDBPyConnection, ceiling: Ceiling | None, timeout: float) -> _T:
    """Return the call's result; end it when it takes too long or too much."""
    started = time.monotonic()
    if ceiling is None:
        ended = call.wait(timeout)
    else:
        while not (ended := call.wait(_LOOK)):
            if time.monotonic() - started >= timeout or ceiling.reached():
                break
    if ended:
        return call.result()
    if ceiling is not None and ceiling.reached():
        why: QueryTimeout | QueryError = QueryError("the query needs more memory than one may take here")
    else:
        why = QueryTimeout(f"the query took longer than {timeout:g} s and was ended")
    # An interrupt that comes between two steps of the work is lost, so it is repeated.
    until = time.monotonic() + GRACE
    _interrupt(cursor)
    while not call.wait(0.02):
        if time.monotonic() > until:
            raise why
        _interrupt(cursor)
    try:
        return call.result()  # it ended while being interrupted
    except (duckdb.InterruptException, QueryError):
        raise why from None


def _closing(
    cursor: duckdb.DuckDBPyConnection,
    ceiling: Ceiling | None,
    work: Callable[..., _T],
    arguments: tuple[Any, ...],
) -> _T:
    try:
        if ceiling is not None:
            ceiling.raise_up()
        return work(cursor, *arguments)
    finally:
        try:
            _close(cursor)
        finally:
            if ceiling is not None:
                ceiling.take_down()


def _close(cursor: duckdb.DuckDBPyConnection) -> None:
    """Close a cursor; while it is being interrupted it refuses."""
    for _ in range(CLOSES):
        try:
            cursor.close()
        except duckdb.ResourceInUseException:
            _pause(0.001)
        else:
            return


def _interrupt(cursor: duckdb.DuckDBPyConnection) -> None:
    with suppress(duckdb.Error):  # it may be closed by now
        cursor.interrupt()
