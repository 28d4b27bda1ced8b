"""Writing batches: the statements that put samples and events into the tables. Blocking calls."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any

import duckdb

from oculus.errors import StorageError
from oculus.model import Batch, Candle, Event, Micros, Sample, Tags, category_of
from oculus.storage.arrow import Table
from oculus.storage.database import translate
from oculus.storage.tiers import MINUTE, Marks, built_key, floor

# What the rows of a batch are called while they are written; only the writer's connection sees it.
_BATCH = "oculus_batch"

_INSERT_SAMPLES = f"""insert into metrics (ts, category, symbol, value, tags)
    select make_timestamptz(ts), category, symbol, value, tags from {_BATCH}"""

# Of a batch with a candle in it. Its plain samples come with "not a number": a table has no NULL.
_INSERT_CANDLES = f"""insert into metrics (ts, category, symbol, value, tags, open, high, low)
    select make_timestamptz(ts), category, symbol, value, tags, nullif(open, 'nan'::double),
        nullif(high, 'nan'::double), nullif(low, 'nan'::double) from {_BATCH}"""

_PLAIN = Candle(math.nan, math.nan, math.nan)

_NOTE_LATE = """insert into oculus_late (symbol, ts)
    select unnest($1::varchar[]), make_timestamptz(unnest($2::bigint[]))"""

# Many rows in one statement: a thousand alerts at once are seconds otherwise, in which no sample is stored.
_INSERT_EVENTS = """insert into events select unnest($1::bigint[]), make_timestamptz(unnest($2::bigint[])),
    unnest($3::varchar[]), unnest($4::varchar[]), unnest($5::varchar[]), unnest($6::varchar[]),
    unnest($7::varchar[])"""

_INSERT_DELIVERIES = """insert into deliveries (event, channel)
    select unnest($1::bigint[]), unnest($2::varchar[])"""

_category = lru_cache(maxsize=100_000)(category_of)


def next_event_id(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the id that the next event gets."""
    row = connection.execute("select coalesce(max(id), 0) + 1 from events").fetchone()
    assert row is not None
    return int(row[0])


def write(connection: duckdb.DuckDBPyConnection, batch: Batch, first_event_id: int) -> None:
    """Write a batch in one transaction, durable once this returns; raises StorageError if none of it is."""
    try:
        with transaction(connection):
            if batch.samples:
                with _table(connection, batch.samples) as insert:
                    connection.execute(insert)
                _note_late(connection, batch.samples)
            if batch.events:
                _write_events(connection, batch.events, first_event_id)
            memories = (event.memory for event in batch.events if event.memory is not None)
            set_states(connection, dict((*memories, *batch.memories)))
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        # A value that the tables have no place for.
        raise StorageError(f"a sample or event cannot be stored: {error}") from error


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what the block writes, or nothing of it; raises StorageError for DuckDB's own errors."""
    try:
        connection.execute("begin transaction")
        try:
            yield
            connection.execute("commit")
        except BaseException:
            with suppress(duckdb.Error):  # a failed commit has ended the transaction itself
                connection.execute("rollback")
            raise
    except duckdb.Error as error:
        raise translate(error) from error


def _note_late(connection: duckdb.DuckDBPyConnection, samples: tuple[Sample, ...]) -> None:
    """Note the minutes that are rolled up already and must be built again with these samples."""
    built = int(read_state(connection, built_key("rollup_1m")) or 0)
    late = {
        (sample.symbol, floor(sample.ts, MINUTE))
        for sample in samples
        if sample.ts is not None and sample.ts < built
    }
    if late:
        connection.execute(_NOTE_LATE, [list(column) for column in zip(*late, strict=True)])


@contextmanager
def _table(connection: duckdb.DuckDBPyConnection, samples: tuple[Sample, ...]) -> Iterator[str]:
    """Let statements of the block read the samples as a table; yields the one that inserts them."""
    symbols = [sample.symbol for sample in samples]
    labels = [sample.tags for sample in samples]
    times: list[int] = [sample.ts for sample in samples]  # type: ignore[misc]
    columns: dict[str, Any] = {
        "ts": array("q", times),
        "category": [_category(symbol) for symbol in symbols],
        "symbol": symbols,
        "value": array("d", [sample.value for sample in samples]),
        # Nearly all are Tags: asking here halves the time of this line.
        "tags": [tags.json if type(tags) is Tags else Tags.of(tags).json for tags in labels],
    }
    insert = _INSERT_SAMPLES
    candles = [sample.candle for sample in samples]
    if any(candles):
        insert = _INSERT_CANDLES
        whole = [candle or _PLAIN for candle in candles]
        columns["open"] = array("d", [candle.open for candle in whole])
        columns["high"] = array("d", [candle.high for candle in whole])
        columns["low"] = array("d", [candle.low for candle in whole])
    connection.register(_BATCH, Table(**columns))
    try:
        yield insert
    finally:
        with suppress(duckdb.Error):  # a failed transaction takes it back itself
            connection.unregister(_BATCH)


def _write_events(connection: duckdb.DuckDBPyConnection, events: Sequence[Event], first_id: int) -> None:
    rows = [_event_row(id, event) for id, event in enumerate(events, first_id)]
    connection.execute(_INSERT_EVENTS, [list(column) for column in zip(*rows, strict=True)])
    told = [(id, channel) for id, event in enumerate(events, first_id) for channel in event.channels]
    if told:
        connection.execute(_INSERT_DELIVERIES, [list(column) for column in zip(*told, strict=True)])


def _event_row(id: int, event: Event) -> list[object]:
    payload = json.dumps(event.payload, ensure_ascii=False)
    return [id, event.ts, event.source, event.type, event.severity, event.message, payload]


def first_row(connection: duckdb.DuckDBPyConnection, table: str, since: Micros) -> Micros | None:
    """Return the time of the first row of a table at or after `since`, None when there is none."""
    row = connection.execute(
        f"select epoch_us(min(ts)) from {table} where ts >= make_timestamptz($1)",
        [since],
    ).fetchone()
    return None if row is None or row[0] is None else Micros(row[0])


def read_state(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """Return what was remembered under `key`, or None."""
    row = connection.execute("select value from oculus_state where key = $1", [key]).fetchone()
    return None if row is None else str(row[0])


def write_state(connection: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
    """Remember `value` under `key`."""
    with transaction(connection):
        set_state(connection, key, value)


def read_states(connection: duckdb.DuckDBPyConnection, prefix: str) -> dict[str, str]:
    """Return all that was remembered under keys that begin with `prefix`."""
    rows = connection.execute("select key, value from oculus_state where starts_with(key, $1)", [prefix])
    return {str(key): str(value) for key, value in rows.fetchall()}


def write_states(connection: duckdb.DuckDBPyConnection, states: Mapping[str, str | None]) -> None:
    """Remember each value under its key, and forget the keys whose value is None: all or none of it."""
    with transaction(connection):
        set_states(connection, states)


def set_state(connection: duckdb.DuckDBPyConnection, key: str, value: str | None) -> None:
    """Remember `value` under `key`, or nothing for None, in the transaction that the caller has begun."""
    set_states(connection, {key: value})


def set_states(connection: duckdb.DuckDBPyConnection, states: Mapping[str, str | None]) -> None:
    """Do the same with many at once."""
    if not states:
        return
    gone = "delete from oculus_state where key in (select unnest($1::varchar[]))"
    connection.execute(gone, [list(states)])
    kept = {key: value for key, value in states.items() if value is not None}
    if kept:
        connection.execute(
            "insert into oculus_state select unnest($1::varchar[]), unnest($2::varchar[])",
            [list(kept), list(kept.values())],
        )


def read_marks(connection: duckdb.DuckDBPyConnection) -> Marks:
    """Return how far the tables reach."""
    return Marks.of(dict(connection.execute("select key, value from oculus_state").fetchall()))
