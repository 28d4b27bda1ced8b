"""What the page of a series reads: points beside others, rows, alerts about it, and what a download holds."""

from __future__ import annotations

from typing import Any

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Candle, Event, Micros, Sample, Tags
from oculus.storage import ingest, retention, rollup, series
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, TABLES, Part

START = Micros(1_790_000_000 * SECOND // HOUR * HOUR)


def at(seconds: float, value: float, symbol: str = "custom.x", **tags: str) -> Sample:
    """Return a sample of a time after START."""
    return Sample(symbol, value, Micros(START + int(seconds * SECOND)), Tags(tags))


def write(database: Database, *samples: Sample, events: tuple[Event, ...] = ()) -> None:
    """Write a batch."""
    ingest.write(database.connection, Batch(samples, events), ingest.next_event_id(database.connection))


def test_series_share_one_grid(database: Database) -> None:
    """Each has the buckets in which it has samples; one that is not there has none."""
    write(database, at(0, 1.0), at(3, 2.0), at(25, 3.0), at(12, 9.0, "custom.y"))
    found = series.charts(
        database.connection,
        ["custom.x", "custom.y", "custom.z"],
        START,
        Micros(START + 30 * SECOND),
        10 * SECOND,
    )
    starts = {
        symbol: [(point.ts - START) // SECOND for point in points] for symbol, points in found.points.items()
    }
    assert starts == {"custom.x": [0, 20], "custom.y": [10], "custom.z": []}
    assert [part.relation for part in found.parts] == ["metrics"]


def test_rows_come_newest_first_in_pages(database: Database) -> None:
    """With their tags, and the bounds of those that stand for an interval."""
    candle = Sample("custom.x", 4.0, Micros(START + 5 * SECOND), candle=Candle(open=3.0, high=9.0, low=2.5))
    write(database, at(1, 1.0, state="a"), at(2, 2.0), candle, at(3, 7.0, "custom.y"))
    first = series.rows(database.connection, "custom.x", Micros(START + DAY), 2)
    assert [(row.value, row.open, row.high, row.low) for row in first] == [
        (4.0, 3.0, 9.0, 2.5),
        (2.0, None, None, None),
    ]
    rest = series.rows(database.connection, "custom.x", first[-1].ts, 2)
    assert [(row.value, row.tags) for row in rest] == [(1.0, {"state": "a"})]


def alert(seconds: int, **payload: Any) -> Event:
    """Return a step of an alert."""
    return Event(
        Micros(START + seconds * SECOND), payload.get("rule", "r"), "alert", "warn", "told",
        {"state": "firing", "previous": "pending", "symbol": "custom.x"} | payload,
    )  # fmt: skip


def test_alerts_are_those_that_read_the_series(database: Database) -> None:
    """By the label, or by the key of an alert that reads it too; only beginnings and ends, in the window."""
    write(
        database,
        events=(
            alert(0),
            alert(1, rule="early"),
            alert(10, state="pending", previous="inactive"),
            alert(11, state="firing", previous="firing"),
            alert(12, state="resolved", previous="firing"),
            alert(13, symbol="custom.other"),
            alert(14, symbol="custom.other", alert="alert/both/"),
            Event(Micros(START + 15 * SECOND), "x", "system", "warn", "no alert", {"symbol": "custom.x"}),
            alert(20),
        ),
    )
    window = Micros(START + SECOND), Micros(START + 20 * SECOND)
    found = series.alerts_about(database.connection, "custom.x", ["alert/both/"], *window, 10)
    assert [(event.ts - START) // SECOND for event in found] == [14, 12, 1]
    assert len(series.alerts_about(database.connection, "custom.x", ["alert/both/"], *window, 2)) == 2
    assert len(series.alerts_about(database.connection, "custom.x", [], *window, 9)) == 2


def test_a_download_has_the_finest_rows_that_are_kept(database: Database) -> None:
    """Samples where there are any, rollups before them, all in one form and in the order of time."""
    write(
        database,
        *(at(second, float(second), unit="ms") for second in range(0, 7200, 30)),
        at(1, 5.0, "custom.y"),
    )
    while rollup.advance(database.connection, Micros(START + 7200 * SECOND)):
        pass
    keep = dict.fromkeys(TABLES, 3650 * DAY / SECOND) | {"metrics": 3600.0}
    retention.expire(database.connection, Micros(START + 7200 * SECOND), keep)
    parts = series.resolution(database.connection, START, Micros(START + 7200 * SECOND))
    assert [part.relation for part in parts] == ["metrics_1m", "metrics"]
    cursor = database.connection.execute(series.export_query("custom.x", parts))
    names = [column[0] for column in cursor.description]
    assert names == ["ts", "symbol", "value", "open", "high", "low", "mean", "count", "source", "tags"]
    rows = database.connection.execute(
        f"select epoch_us(ts), value, mean, count, source from ({series.export_query('custom.x', parts)})"
    ).fetchall()
    assert len(rows) == 60 + 120
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert rows[0][1:] == (30.0, 15.0, 2, "1m")
    assert rows[-1][1:] == (7170.0, 7170.0, 1, "samples")


@pytest.mark.parametrize("symbol", ["custom.x' or true --", "custom.'; drop table metrics; --"])
def test_a_download_asks_for_one_series_whatever_it_is_called(database: Database, symbol: str) -> None:
    """A name is a text, not SQL."""
    write(database, at(1, 1.0))
    query = series.export_query(symbol, [Part("metrics", START, Micros(START + DAY))])
    assert database.connection.execute(query).fetchall() == []
    assert database.connection.execute("select count(*) from metrics").fetchone() == (1,)
