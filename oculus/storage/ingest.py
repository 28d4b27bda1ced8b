"""Writing batches: the statements that put samples and events into the tables. Blocking calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Literal

import duckdb

from oculus.errors import StorageError
from oculus.model import Batch, Event, Micros, Sample, Tags, category_of
from oculus.storage.database import translate

# Rows bound to one statement. Binding holds the interpreter, about 1 ms for this many; a larger batch
# becomes several statements of one transaction.
CHUNK = 1_000

_INSERT_SAMPLES = """insert into metrics select make_timestamptz(unnest($1::bigint[])),
    unnest($2::varchar[]), unnest($3::varchar[]), unnest($4::double[]), unnest($5::varchar[])"""

_INSERT_EVENT = "insert into events values ($1, make_timestamptz($2), $3, $4, $5, $6, $7)"

_category = lru_cache(maxsize=100_000)(category_of)


def next_event_id(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the id that the next event gets."""
    row = connection.execute("select coalesce(max(id), 0) + 1 from events").fetchone()
    assert row is not None
    return int(row[0])


def write(connection: duckdb.DuckDBPyConnection, batch: Batch, first_event_id: int) -> None:
    """Write a batch in one transaction, durable once this returns; raises StorageError if none of it is."""
    try:
        with _transaction(connection):
            for start in range(0, len(batch.samples), CHUNK):
                connection.execute(_INSERT_SAMPLES, _columns(batch.samples[start : start + CHUNK]))
            for offset, event in enumerate(batch.events):
                connection.execute(_INSERT_EVENT, _event_row(first_event_id + offset, event))
    except (TypeError, ValueError, AttributeError) as error:  # a value that the tables have no place for
        raise StorageError(f"a sample or event cannot be stored: {error}") from error


@contextmanager
def _transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
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


def _columns(samples: tuple[Sample, ...]) -> list[list[object]]:
    symbols = [sample.symbol for sample in samples]
    return [
        [sample.ts for sample in samples],
        [_category(symbol) for symbol in symbols],
        symbols,  # type: ignore[list-item]
        [sample.value for sample in samples],
        [Tags.of(sample.tags).json for sample in samples],
    ]


def _event_row(id: int, event: Event) -> list[object]:
    payload = json.dumps(event.payload, ensure_ascii=False)
    return [id, event.ts, event.source, event.type, event.severity, event.message, payload]


def read_state(connection: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """Return what was remembered under `key`, or None."""
    row = connection.execute("select value from oculus_state where key = $1", [key]).fetchone()
    return None if row is None else str(row[0])


def write_state(connection: duckdb.DuckDBPyConnection, key: str, value: str) -> None:
    """Remember `value` under `key`."""
    with _transaction(connection):
        connection.execute("delete from oculus_state where key = $1", [key])
        connection.execute("insert into oculus_state values ($1, $2)", [key, value])


def delete_before(
    connection: duckdb.DuckDBPyConnection, table: Literal["metrics", "events"], cutoff: Micros
) -> int:
    """Delete what is older than `cutoff` from `metrics` or `events`; return how many rows went."""
    statement = {
        "metrics": "delete from metrics where ts < make_timestamptz($1)",
        "events": "delete from events where ts < make_timestamptz($1)",
    }[table]
    with _transaction(connection):
        row = connection.execute(statement, [cutoff]).fetchone()
    return int(row[0]) if row else 0
