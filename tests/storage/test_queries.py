"""What Oculus itself asks the store: last values, points of a series, events."""

from __future__ import annotations

import pytest

from oculus.clock import SECOND
from oculus.model import Batch, Candle, Event, Micros, Sample, Tags
from oculus.storage import ingest, queries, rollup
from oculus.storage.database import Database
from oculus.storage.latest import HISTORY
from oculus.storage.queries import Point, Stored


def write(database: Database, *samples: Sample, events: tuple[Event, ...] = ()) -> None:
    """Write a batch."""
    ingest.write(database.connection, Batch(samples, events), ingest.next_event_id(database.connection))


def at(ts: int, value: float, symbol: str = "custom.x", **tags: str) -> Sample:
    """Return a sample."""
    return Sample(symbol, value, Micros(ts), Tags(tags))


def test_each_series_is_restored_from_its_newest_values(database: Database) -> None:
    """Values since a moment, oldest first and however they were written; tags are the last ones."""
    write(database, at(30, 3.0, state="new"), at(10, 1.0, state="old"), at(20, 2.0), at(5, 0.5))
    assert queries.series(database.connection, Micros(10)) == [
        Stored("custom.x", Micros(30), {"state": "new"}, [1.0, 2.0, 3.0])
    ]


def test_a_quiet_series_keeps_its_last_value(database: Database) -> None:
    """One without samples since the moment is restored with the last it had."""
    write(database, at(1, 1.0), at(2, 2.0, a="b"))
    assert queries.series(database.connection, Micros(100)) == [
        Stored("custom.x", Micros(2), {"a": "b"}, [2.0])
    ]


def test_the_restored_history_is_bounded(database: Database) -> None:
    """Only as many values as are kept in memory."""
    write(database, *(at(number, float(number)) for number in range(HISTORY + 10)))
    (stored,) = queries.series(database.connection, Micros(0))
    assert stored.history == [float(number) for number in range(10, HISTORY + 10)]


def test_an_empty_store_has_no_series(database: Database) -> None:
    """Nothing is restored from nothing."""
    assert queries.series(database.connection, Micros(0)) == []


def test_points_are_buckets_by_time(database: Database) -> None:
    """Open and close go by time, not by the order of writing; the end is not included, gaps are left out."""
    write(
        database,
        at(15, 4.0), at(10, 2.0), at(12, 8.0), at(19, 6.0),
        at(30, 1.0), at(40, 99.0), at(9, 99.0), at(11, 99.0, "custom.other"),
    )  # fmt: skip
    assert queries.points(database.connection, "custom.x", Micros(10), Micros(40), 10) == [
        Point(Micros(10), open=2.0, high=8.0, low=2.0, close=6.0, avg=5.0, count=4),
        Point(Micros(30), open=1.0, high=1.0, low=1.0, close=1.0, avg=1.0, count=1),
    ]


def test_points_show_the_whole_of_candles(database: Database) -> None:
    """Of samples as of rollups; a plain sample among them is a candle of itself."""
    minute = 60 * SECOND
    write(
        database,
        Sample("custom.x", 4.0, Micros(30 * SECOND), candle=Candle(open=3.0, high=9.0, low=2.5)),
        Sample("custom.x", 5.0, Micros(10 * SECOND), candle=Candle(open=6.0, high=6.5, low=5.0)),
        at(40 * SECOND, 2.0),
    )
    whole = [Point(Micros(0), open=6.0, high=9.0, low=2.0, close=2.0, avg=11 / 3, count=3)]
    assert queries.points(database.connection, "custom.x", Micros(0), Micros(minute), minute) == whole
    while rollup.advance(database.connection, Micros(minute)):
        pass
    assert queries.points(database.connection, "custom.x", Micros(0), Micros(minute), minute) == whole


def event(ts: int, kind: str = "alert", severity: str = "warn", **payload: object) -> Event:
    """Return an event."""
    return Event(Micros(ts), "source", kind, severity, f"event {ts}", payload)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, [5, 4, 3, 2, 1]),
        ({"limit": 2}, [5, 4]),
        ({"type": "alert"}, [4, 3, 2, 1]),
        ({"type": "alert", "rule": "slow"}, [3, 1]),
        ({"severity": "critical"}, [3]),
        ({"state": "firing"}, [3, 2]),
        ({"rule": "slow", "state": "firing"}, [3]),
        ({"since": Micros(4)}, [5, 4]),
        ({"before": 3}, [2, 1]),
        ({"before": 5, "limit": 2}, [4, 3]),
        ({"text": "EVENT 4"}, [4]),
        ({"text": "Source"}, [5, 4, 3, 2, 1]),
        ({"text": "x (5) > 1"}, [2]),
        ({"text": "boiler"}, [1]),
        ({"text": "host"}, []),
        ({"text": "%"}, []),
        ({"rule": "nothing"}, []),
        ({"rule": "' or 1=1 --"}, []),
    ],
)
def test_events_are_filtered_newest_first(
    database: Database, filters: dict[str, object], found: list[int]
) -> None:
    """Every filter that is given must fit."""
    write(
        database,
        events=(
            event(1, rule="slow", state="pending", labels={"host": "The Boiler"}),
            event(2, rule="down", state="firing", explanation="x (5) > 1", labels={}),
            event(3, severity="critical", rule="slow", state="firing"),
            event(4, rule="down", state="resolved"),
            event(5, kind="system"),
        ),
    )
    answers = queries.events(database.connection, **filters)  # type: ignore[arg-type]
    assert [answer.ts for answer in answers] == found
    assert all(answer.message == f"event {answer.ts}" for answer in answers)


def test_an_event_comes_back_whole(database: Database) -> None:
    """Payload and all."""
    write(database, events=(event(7, rule="r", value=1.5, labels={"a": "b"}),))
    (answer,) = queries.events(database.connection)
    assert answer.id == 1
    assert (answer.source, answer.type, answer.severity) == ("source", "alert", "warn")
    assert answer.payload == {"rule": "r", "value": 1.5, "labels": {"a": "b"}}
