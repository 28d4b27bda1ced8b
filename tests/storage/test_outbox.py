"""Deliveries in the store: what waits is read in pages, what became of it is noted at once, and none is left
behind without its event."""

from __future__ import annotations

import time
from typing import Any

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Event, Micros
from oculus.storage import ingest, outbox, retention
from oculus.storage.database import Database
from oculus.storage.outbox import Outcome


def write(database: Database, count: int, channels: tuple[str, ...] = ("ops",), first: int = 1) -> None:
    """Store events, a second apart, that channels are to tell."""
    events = tuple(
        Event(Micros(number * SECOND), "r", "alert", "warn", f"m{number}", {"n": number}, None, channels)
        for number in range(first, first + count)
    )
    ingest.write(database.connection, Batch((), events), first)


def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    """Return what a query gives."""
    found: list[tuple[Any, ...]] = database.connection.execute(sql).fetchall()
    return found


def sent(event: int, channel: str = "ops") -> Outcome:
    """Return the outcome of one that was sent."""
    return Outcome(event, channel, "sent", Micros(7), 2, "id", "200")


def test_what_waits_is_read_in_pages(database: Database) -> None:
    """Oldest first, for one channel, without what it holds already."""
    write(database, 10, ("ops", "mail"))
    outbox.settle(database.connection, [sent(1), sent(5, "mail")], {})
    assert outbox.backlog(database.connection) == {"ops": 9, "mail": 9}
    page = outbox.waiting(database.connection, "ops", limit=3)
    assert [event for event, _ in page] == [2, 3, 4]
    found = page[0][1]
    assert found == Event(Micros(2 * SECOND), "r", "alert", "warn", "m2", {"n": 2})
    assert [event for event, _ in outbox.waiting(database.connection, "ops", [2, 4, 9], 4)] == [3, 5, 6, 7]
    assert [event for event, _ in outbox.waiting(database.connection, "mail")] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert outbox.waiting(database.connection, "none") == []


def test_one_whose_event_is_gone_is_not_passed_over(database: Database) -> None:
    """It would keep those behind it from being read."""
    write(database, 3)
    database.connection.execute("delete from events where id = 1")
    page = outbox.waiting(database.connection, "ops", limit=2)
    assert [(event, found is None) for event, found in page] == [(1, True), (2, False)]
    assert list(outbox.events(database.connection, [1, 3, 9])) == [3]


def test_outcomes_are_noted_by_event_and_channel(database: Database) -> None:
    """All of them and what is remembered, or nothing."""
    write(database, 3, ("ops", "mail"))
    ingest.write_states(database.connection, {"notice/a": "1"})
    outcomes = [sent(1), Outcome(3, "mail", "failed", Micros(9), 1, "", "it is gone")]
    outbox.settle(database.connection, outcomes, {"notice/a": None, "notice/b": "2"})
    columns = "event, channel, state, epoch_us(ended), tries, notice, told"
    assert rows(database, f"select {columns} from deliveries where state != 'waiting' order by event") == [
        (1, "ops", "sent", 7, 2, "id", "200"), (3, "mail", "failed", 9, 1, "", "it is gone"),
    ]  # fmt: skip
    assert ingest.read_states(database.connection, "notice/") == {"notice/b": "2"}


def test_another_channel_tells_each_event_once(database: Database) -> None:
    """Also where a rule names both."""
    write(database, 2)
    write(database, 1, ("ops", "mail"), first=3)
    outbox.settle(database.connection, [], {}, [(1, "mail"), (3, "mail")])
    assert [event for event, _ in outbox.waiting(database.connection, "mail")] == [1, 3]
    assert rows(database, "select count(*) from deliveries where event = 3") == [(2,)]


def test_a_channel_that_is_gone_is_given_up(database: Database) -> None:
    """Nothing of it waits for ever; what has its outcome keeps it."""
    write(database, 3, ("ops", "mail"))
    outbox.settle(database.connection, [sent(1)], {})
    outbox.give_up(database.connection, ["ops", "other"], Micros(8), "it is gone")
    assert outbox.backlog(database.connection) == {"mail": 3}
    states = rows(database, "select state, told from deliveries where channel = 'ops' order by event")
    assert states == [("sent", "200"), *[("failed", "it is gone")] * 2]


def test_ten_thousand_outcomes_are_noted_at_once(database: Database) -> None:
    """That is what a message may tell of after an outage; the writer must not wait for it."""
    database.connection.execute(
        "insert into deliveries (event, channel) select i, 'ops' from range(1, 100001) found(i)"
    )
    began = time.process_time()
    outbox.settle(database.connection, [sent(event) for event in range(1, 10_001)], {})
    assert time.process_time() - began < 3  # it takes 0.1; row by row it took 11
    assert outbox.backlog(database.connection) == {"ops": 90_000}


@pytest.mark.parametrize("ahead", [0, 365 * DAY])
def test_what_waits_goes_with_its_event(database: Database, ahead: int) -> None:
    """Whatever the ids: an old event that a wrong clock stamped with a later time keeps its own alone."""
    events = [
        Event(Micros(ts), "r", "alert", "warn", "m", {}, None, ("ops",))
        for ts in (ahead + 1, 2, 3, 200 * DAY)
    ]
    ingest.write(database.connection, Batch((), tuple(events)), 1)
    keep = {"metrics": 3600.0, "rollup_1m": 3600.0, "rollup_1h": 3600.0}
    retention.expire(database.connection, Micros(200 * DAY), keep)
    left = [1, 4] if ahead else [4]
    assert rows(database, "select id from events order by id") == [(id,) for id in left]
    assert [event for event, _ in outbox.waiting(database.connection, "ops")] == left
    assert outbox.backlog(database.connection) == {"ops": len(left)}
