"""Writing batches: what goes in comes out exactly, all of it or nothing."""

from __future__ import annotations

import json
import math
import struct
import sys
import time
from typing import Any

import pytest

from oculus.errors import StorageError
from oculus.model import NO_TAGS, Batch, Candle, Event, Micros, Sample, Tags, category_of
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE


def sample(value: float = 1.0, ts: int = 1, symbol: str = "custom.x", tags: Any = NO_TAGS) -> Sample:
    """Return a stamped sample."""
    return Sample(symbol, value, Micros(ts), tags)


def write(database: Database, *samples: Sample, events: tuple[Event, ...] = (), first: int = 1) -> None:
    """Write a batch."""
    ingest.write(database.connection, Batch(samples, events), first)


def rows(database: Database, select: str) -> list[tuple[Any, ...]]:
    """Return what is in the file."""
    return database.connection.execute(select).fetchall()


@pytest.mark.parametrize(
    "value",
    [
        0.0, -0.0, 0.1, 1 / 3, math.pi, -1.5, 1e-300, 5e-324, sys.float_info.max, -sys.float_info.max,
        2.0**53 + 2, 123456.789, 1.0,
    ],
)  # fmt: skip
def test_values_are_stored_to_the_last_bit(database: Database, value: float) -> None:
    """What was measured is what is read, the sign of zero included."""
    write(database, sample(value))
    ((found,),) = rows(database, "select value from metrics")
    assert struct.pack("d", found) == struct.pack("d", value)


@pytest.mark.parametrize(
    "ts", [0, 1, -1, 999_999, 1_700_000_000_123_456, 253_402_300_799_999_999, -62_135_596_800_000_000]
)
def test_times_are_stored_to_the_microsecond(database: Database, ts: int) -> None:
    """From the year 1 to 9999, before 1970 too."""
    write(database, sample(ts=ts))
    assert rows(database, "select epoch_us(ts) from metrics") == [(ts,)]


@pytest.mark.parametrize(
    "tags",
    [
        {}, {"a": "b"}, {"quote": '"', "backslash": "\\", "line": "a\nb", "nul": "\0"}, {"empty": ""},
        {"\N{SNOWMAN}": "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n \U0001f600"}, {"x": "y" * 100_000},
        {"json": '{"not": "nested"}'}, {f"k{number}": str(number) for number in range(100)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [dict, Tags])
def test_tags_are_stored_as_they_are(database: Database, tags: dict[str, str], kind: type) -> None:
    """Whatever a label holds comes back."""
    write(database, sample(tags=kind(tags)))
    ((found,),) = rows(database, "select tags from metrics")
    assert json.loads(found) == tags


def test_equal_tags_are_equal_text(database: Database) -> None:
    """The order of the keys does not matter, so that tags can be grouped by."""
    write(database, sample(tags={"a": "1", "b": "2"}), sample(tags={"b": "2", "a": "1"}))
    assert rows(database, "select count(distinct tags), any_value(tags->>'b') from metrics") == [(1, "2")]


@pytest.mark.parametrize(
    "symbol",
    ["net.http.site.rtt", "crypto.price.btc_usd", "custom.x", "custom.x.y", "single", "oculus.series"],
)
def test_the_category_is_that_of_the_symbol(database: Database, symbol: str) -> None:
    """The first two parts, or `custom`."""
    write(database, sample(symbol=symbol))
    assert rows(database, "select category, symbol from metrics") == [(category_of(symbol), symbol)]


@pytest.mark.parametrize("count", [1, 2_047, 2_048, 2_049, 30_007])
def test_batches_of_every_size_are_whole_and_in_order(database: Database, count: int) -> None:
    """A batch longer than DuckDB's vectors loses, doubles and mixes up nothing."""
    write(database, *(sample(float(number), number, f"custom.s{number % 7}") for number in range(count)))
    found = rows(database, "select epoch_us(ts), value, symbol from metrics order by rowid")
    assert found == [(number, float(number), f"custom.s{number % 7}") for number in range(count)]


@pytest.mark.parametrize("count", [1, 5_003])
@pytest.mark.parametrize("every", [1, 3])
def test_candles_are_stored_among_plain_samples(database: Database, count: int, every: int) -> None:
    """To the last bit and in the order of arrival; a plain sample has NULL where a candle has its numbers."""
    candles = [Candle(number / 3, 1e308, -0.0) if number % every == 0 else None for number in range(count)]
    samples = [Sample("custom.x", float(at), Micros(at), candle=candle) for at, candle in enumerate(candles)]
    write(database, *samples)
    assert rows(
        database,
        "select value, open, high, low, low is not null and signbit(low) from metrics order by rowid",
    ) == [
        (float(at), candle.open, candle.high, candle.low, True)
        if (candle := candles[at])
        else (float(at), None, None, None, False)
        for at in range(count)
    ]


def test_events_are_stored_with_their_ids(database: Database) -> None:
    """Every field comes back; ids count up from the one that is given."""
    payload = {"rule": "slow", "labels": {"a": "\N{SNOWMAN}"}, "value": 1.5, "none": None, "list": [1, "x"]}
    events = (
        Event(Micros(5), "slow", "alert", "critical", "It is 'slow'\n; drop table metrics", payload),
        Event(Micros(4), "oculus", "system", "info", "started"),
    )
    write(database, events=events, first=41)
    found = rows(
        database,
        "select id, epoch_us(ts), source, type, severity, message, payload from events order by id",
    )
    assert found[0][:6] == (41, 5, "slow", "alert", "critical", "It is 'slow'\n; drop table metrics")
    assert json.loads(found[0][6]) == payload
    assert found[1] == (42, 4, "oculus", "system", "info", "started", "{}")
    assert ingest.next_event_id(database.connection) == 43


def test_channels_and_memories_go_with_their_events(database: Database) -> None:
    """Each delivery has its event's id; of memories with one key the last one counts, a batch's own last."""
    made = [
        Event(Micros(number), "r", "alert", "warn", "m", {}, (f"alert/{key}", text), channels)
        for number, (key, text, channels) in enumerate(
            [("a", "1", ("x", "y")), ("b", "1", ()), ("a", "2", ("x",)), ("b", None, ()), ("c", "1", ())]
        )
    ]
    ingest.write_states(database.connection, {"alert/b": "0", "alert/d": "0"})
    batch = Batch((), tuple(made), (("alert/c", "2"), ("alert/d", "1")))
    ingest.write(database.connection, batch, 11)
    assert rows(database, "select event, channel, state from deliveries order by all") == [
        (11, "x", "waiting"), (11, "y", "waiting"), (13, "x", "waiting"),
    ]  # fmt: skip
    remembered = {"alert/a": "2", "alert/c": "2", "alert/d": "1"}
    assert ingest.read_states(database.connection, "alert/") == remembered
    ingest.write(database.connection, Batch(memories=(("alert/a", "3"),)), 16)
    assert ingest.read_states(database.connection, "alert/") == remembered | {"alert/a": "3"}


def test_a_thousand_alerts_at_once_are_stored_at_once(database: Database) -> None:
    """When a whole network goes down, samples must not wait for seconds until all alerts are stored."""
    storm = [
        Event(Micros(number), "r", "alert", "warn", "down", {"n": number}, (f"alert/{number}", "{}"), ("x",))
        for number in range(10_000)
    ]
    began = time.process_time()
    write(database, events=tuple(storm))
    assert time.process_time() - began < 10  # row by row it takes some 30
    assert rows(database, "select count(*), min(id), max(id) from events") == [(10_000, 1, 10_000)]
    assert rows(database, "select count(distinct event) from deliveries") == [(10_000,)]
    assert len(ingest.read_states(database.connection, "alert/")) == 10_000


def test_ids_begin_at_one(database: Database) -> None:
    """In a new file."""
    assert ingest.next_event_id(database.connection) == 1


def event(message: str = "m", payload: dict[str, Any] | None = None) -> Event:
    """Return an event."""
    return Event(Micros(1), "s", "system", "info", message, payload or {})


@pytest.mark.parametrize(
    ("samples", "events"),
    [
        ([sample(ts="soon")], []),  # type: ignore[arg-type]
        ([sample(ts=2**70)], []),
        ([sample(tags={"a": "\ud800"})], []),
        ([sample(tags={"a": object()})], []),
        ([sample(symbol=5)], []),  # type: ignore[arg-type]
        ([sample(symbol=None)], []),  # type: ignore[arg-type]
        ([Sample("custom.x", 1.0, Micros(1), candle=Candle("1", 2.0, 0.5))], []),  # type: ignore[arg-type]
        ([], [event("\ud800")]),
        ([], [event(payload={"x": object()})]),
        ([], [event(None)]),  # type: ignore[arg-type]
    ],
)
def test_a_batch_that_cannot_be_written_leaves_nothing(
    database: Database, samples: list[Sample], events: list[Event]
) -> None:
    """One bad row at the end of a long batch: none of it is stored, and trying again is pointless."""
    good = [sample(float(number)) for number in range(1_001)]
    with pytest.raises(StorageError) as caught:
        write(database, *good, *samples, events=(event("good"), *events))
    assert not caught.value.retryable
    assert "\n" not in str(caught.value)
    assert rows(database, "select count(*) from metrics") == [(0,)]
    assert rows(database, "select count(*) from events") == [(0,)]
    write(database, *good, events=(event("good"),))  # the connection is as good as new
    assert rows(database, "select count(*) from metrics") == [(len(good),)]


def test_a_written_batch_is_seen_by_others_at_once(database: Database) -> None:
    """When the call returns it is committed."""
    reader = database.cursor()
    write(database, sample())
    assert reader.execute("select count(*) from metrics").fetchall() == [(1,)]
    reader.close()


def test_state_is_remembered(database: Database) -> None:
    """One value for each key; the last one counts."""
    assert ingest.read_state(database.connection, "k") is None
    ingest.write_state(database.connection, "k", "1")
    ingest.write_state(database.connection, "other", "x")
    ingest.write_state(database.connection, "k", "2")
    assert ingest.read_state(database.connection, "k") == "2"
    assert rows(database, "select count(*) from oculus_state") == [(2,)]


def test_several_states_are_remembered_and_forgotten_in_one_step(database: Database) -> None:
    """A value of None forgets its key, known or not; other keys stay."""
    ingest.write_states(database.connection, {"a/1": "x", "a/2": "y", "b": "z"})
    ingest.write_states(database.connection, {"a/1": None, "a/2": "w", "a/3": None})
    assert ingest.read_states(database.connection, "a/") == {"a/2": "w"}
    assert ingest.read_state(database.connection, "b") == "z"


def test_deleting_goes_by_time(database: Database) -> None:
    """What is older than the moment goes, what is at it stays; only in the table that it is due in."""
    keep = {"metrics": 3_600.0, "rollup_1m": 1e9, "rollup_1h": 1e9}
    write(database, *(sample(ts=ts * MINUTE) for ts in (1, 2, 3, 4)), events=(event(),))
    rollup.advance(database.connection, Micros(10 * MINUTE))
    due = Micros(3 * MINUTE + HOUR)
    assert retention.expire(database.connection, due, keep) == 2
    assert rows(database, "select epoch_us(ts) from metrics order by ts") == [(3 * MINUTE,), (4 * MINUTE,)]
    assert rows(database, "select count(*) from events") == [(1,)]
    assert retention.expire(database.connection, due, keep) == 0
    retention.expire(database.connection, Micros(2 + retention.EVENTS_KEPT), keep)
    assert rows(database, "select count(*) from events") == [(0,)]
