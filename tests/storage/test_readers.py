"""Readers: bounded, timed, interrupted, and beside the hub."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import duckdb
import gevent
import pytest
from gevent.monkey import get_original

from oculus.errors import Busy, QueryError, QueryTimeout
from oculus.model import Batch, Micros, Sample
from oculus.storage import ingest, sandbox
from oculus.storage.database import Database
from oculus.storage.readers import Readers
from oculus.supervise import Watchdog
from oculus.telemetry import resident
from tests.support.servers import wait_for

block = get_original("time", "sleep")

# Runs for minutes.
ENDLESS = "select count(*) from range(1000000) a, range(1000000) b where a.range + b.range = 3"


@pytest.fixture
def readers(database: Database) -> Iterator[Callable[..., Readers]]:
    """Make readers of a small database."""
    ingest.write(database.connection, Batch((Sample("custom.x", 1.0, Micros(1)),)), 1)
    made: list[Readers] = []

    def make(**options: Any) -> Readers:
        made.append(Readers(database, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


Making = Callable[..., Readers]


def count(cursor: duckdb.DuckDBPyConnection) -> int:
    """Return how many samples there are."""
    row = cursor.execute("select count(*) from metrics").fetchone()
    assert row is not None
    return int(row[0])


def test_work_gets_a_cursor_and_its_arguments(readers: Making) -> None:
    """What the work returns or raises comes back."""
    made = readers()
    assert made.run(count) == 1
    assert made.run(lambda cursor, x, y: x + y, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        made.run(lambda cursor: 1 / 0)
    with pytest.raises(QueryError):
        made.run(sandbox.query, "selct")
    assert made.run(count) == 1


def test_each_call_sees_what_was_committed_before(readers: Making, database: Database) -> None:
    """No old transaction is kept."""
    made = readers()
    for expected in (1, 2, 3):
        assert made.run(count) == expected
        ingest.write(database.connection, Batch((Sample("custom.x", 1.0, Micros(1)),)), 1)


def test_a_transaction_left_open_does_not_reach_the_next(readers: Making) -> None:
    """Work that fails in the middle leaves nothing to those that come after."""
    made = readers(threads=1)

    def half(cursor: duckdb.DuckDBPyConnection) -> None:
        cursor.execute("begin transaction")
        cursor.execute("delete from metrics")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        made.run(half)
    assert made.run(count) == 1


def test_no_more_queries_run_at_once_than_there_are_threads(readers: Making) -> None:
    """A small host has few cores, and each query may hold memory."""
    made = readers(threads=2)
    running: set[int] = set()
    most = 0

    def work(cursor: object, number: int) -> int:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        block(0.05)
        running.discard(number)
        return number

    greenlets = [gevent.spawn(made.run, work, number) for number in range(8)]
    gevent.joinall(greenlets, raise_error=True)
    assert [greenlet.get() for greenlet in greenlets] == list(range(8))
    assert most == 2


def test_too_many_waiting_queries_are_turned_away(readers: Making) -> None:
    """At once, without waiting; those that wait are served."""
    made = readers(threads=1, waiting=2)
    greenlets = [gevent.spawn(made.run, lambda cursor: block(0.2)) for _ in range(3)]
    gevent.sleep(0.02)
    with pytest.raises(Busy):
        made.run(count)
    gevent.joinall(greenlets, raise_error=True)
    assert made.run(count) == 1


def test_a_long_query_is_interrupted(readers: Making) -> None:
    """Within a second of its time limit it has ended, and the thread serves the next query."""
    made = readers(threads=1)
    for _ in range(3):
        started = time.monotonic()
        with pytest.raises(QueryTimeout, match=r"took longer than 0\.2 s"):
            made.run(sandbox.query, ENDLESS, timeout=0.2)
        assert 0.2 <= time.monotonic() - started < 1.2
        assert made.run(sandbox.query, "select count(*) from metrics").rows == [[1]]


def test_interrupts_at_any_moment_leave_the_thread_usable(readers: Making) -> None:
    """However unluckily the limit falls (parsing, running, rolling back), the next query works."""
    made = readers(threads=1)
    for step in range(40):
        with suppress(QueryTimeout):
            made.run(
                sandbox.query, "select sum(a.range) from range(1000) a, range(300) b", timeout=step / 2000
            )
        assert made.run(sandbox.query, "select count(*) from metrics").rows == [[1]]


def test_an_interrupt_between_two_steps_is_repeated(readers: Making) -> None:
    """Work that is not in a query at the moment of the interrupt is ended in its next one."""
    made = readers(threads=1)

    def two_steps(cursor: duckdb.DuckDBPyConnection) -> None:
        block(0.3)
        cursor.execute(ENDLESS).fetchall()

    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        made.run(two_steps, timeout=0.1)
    assert time.monotonic() - started < 5.0


def test_the_limit_counts_from_when_a_thread_is_free(readers: Making) -> None:
    """Waiting for others is not held against a query."""
    made = readers(threads=1)
    first = gevent.spawn(made.run, lambda cursor: block(0.4))
    gevent.sleep(0.02)
    assert made.run(count, timeout=0.2) == 1
    first.get()


def test_a_query_that_ends_while_it_is_interrupted_is_answered(readers: Making) -> None:
    """Work that does not listen to the interrupt has its result handed over all the same."""
    assert readers().run(lambda cursor: block(0.3) or "done", timeout=0.05) == "done"


def test_a_killed_caller_leaves_no_query_behind(readers: Making) -> None:
    """A request that is cut off at a stop ends its query, and the thread is free."""
    made = readers(threads=1)
    greenlet = gevent.spawn(made.run, sandbox.query, ENDLESS, timeout=60.0)
    gevent.sleep(0.2)
    greenlet.kill()
    started = time.monotonic()
    assert made.run(count, timeout=60.0) == 1
    made.close()
    assert time.monotonic() - started < 5.0


@pytest.mark.alone
def test_the_hub_goes_on_during_a_query(readers: Making) -> None:
    """A heavy query in a thread does not hold the greenlets up."""
    made = readers()
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    with pytest.raises(QueryTimeout):
        made.run(sandbox.query, ENDLESS, timeout=1.0)
    watching.kill()
    assert sum(watchdog.counts) >= 10
    assert watchdog.quantile(0.5) < 0.05


def test_reading_goes_on_while_a_batch_is_written(readers: Making, database: Database) -> None:
    """Readers do not wait for a transaction of the writer, and see nothing of it before its end."""
    made = readers()
    database.connection.execute("begin transaction")
    database.connection.execute("delete from metrics")
    assert made.run(count, timeout=1.0) == 1
    database.connection.execute("commit")
    assert made.run(count) == 0


def test_a_query_that_takes_too_much_memory_is_ended(readers: Making) -> None:
    """It is an error of the query; afterwards memory is given back, and the process is bounded no more."""
    made = readers()
    bound = resource.getrlimit(resource.RLIMIT_DATA)
    before = resident()
    for sql in ("select repeat('x', 1000000) from range(5000)", "select len(repeat('x', 2000000000))"):
        with pytest.raises(QueryError, match="emory"):
            made.run(sandbox.query, sql, ceiling=True)
    assert made.run(sandbox.query, "select 1", ceiling=True).rows == [[1]]
    assert resource.getrlimit(resource.RLIMIT_DATA) == bound
    assert resident() - before < 150e6


@pytest.mark.alone
def test_a_step_that_cannot_be_interrupted_is_left_alone(
    readers: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its caller is told after a grace; the thread serves nobody until the step has ended."""
    monkeypatch.setattr("oculus.storage.readers.GRACE", 0.1)
    made = readers(threads=1)
    started = time.monotonic()
    with pytest.raises(QueryTimeout):
        made.run(lambda cursor: block(1.0), timeout=0.1)
    assert time.monotonic() - started < 0.8
    assert made.run(count) == 1
    assert time.monotonic() - started >= 1.0


@pytest.mark.alone
def test_closing_does_not_wait_for_ever(readers: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop must be over in a few seconds, whatever still runs."""
    monkeypatch.setattr("oculus.storage.readers.CLOSING", 0.1)
    made = readers(threads=1)
    greenlet = gevent.spawn(made.run, lambda cursor: block(0.6))
    gevent.sleep(0.02)
    started = time.monotonic()
    made.close()
    assert time.monotonic() - started < 0.5
    greenlet.join()


def test_closing_waits_for_queries(readers: Making) -> None:
    """Nothing reads any more when the file is closed."""
    made = readers()
    done: list[int] = []

    def work(cursor: object) -> None:
        block(0.2)
        done.append(1)

    greenlet = gevent.spawn(made.run, work)
    gevent.sleep(0.02)
    made.close()
    assert done == [1]
    wait_for(lambda: greenlet.dead)
