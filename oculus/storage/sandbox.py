"""Users' SQL: one statement, read-only in the database's own terms, with bounded rows. Blocking calls.

Three walls, each enough for most attacks: only statements that read are let in; they run in a read-only
transaction, which is always rolled back; and the database was opened without access to files, extensions
and settings (`database.py`). Time is bounded by the caller, which interrupts.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.clock import iso
from oculus.errors import QueryError
from oculus.model import Micros

MAX_ROWS = 1_000
MAX_BYTES = 8 * 1024 * 1024  # of a result as JSON: a thousand rows have no natural size
MAX_SQL = 100_000  # characters of a statement: more is no query that a person wrote

# EXPLAIN takes any statement and, with ANALYZE, runs it: the one behind it must read as well.
_EXPLAIN = re.compile(r"explain\s+(?:analyze\s+)?", re.IGNORECASE)

# Functions that act although a SELECT calls them; the name may stand in quotes, or a comment behind it.
_ACTING = re.compile(r"\b(?:force_)?checkpoint\"?\s*(?:\(|/\*|--)", re.IGNORECASE)

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Result:
    """Columns as (name, DuckDB type), rows of JSON-ready values, and whether more rows were left behind."""

    columns: list[tuple[str, str]]
    rows: list[list[Any]]
    truncated: bool


def query(
    cursor: duckdb.DuckDBPyConnection,
    sql: str,
    params: Mapping[str, Any] | Sequence[Any] | None = None,
    max_rows: int = MAX_ROWS,
) -> Result:
    """Run one reading statement; raises QueryError with DuckDB's message for what is wrong with it.

    An interrupt passes as duckdb.InterruptException.
    """
    statement = _statement(cursor, sql)
    try:
        cursor.execute("begin transaction read only")
        try:
            cursor.execute(statement, _parameters(params))
            columns = [(str(name), str(kind)) for name, kind, *_ in cursor.description or []]
            rows, truncated = _fetch(cursor, max_rows)
        finally:
            cursor.execute("rollback")
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        raise QueryError(str(error)) from None
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise QueryError(f"the result cannot be shown: {error}") from None
    return Result(columns, rows, truncated)


def _fetch(cursor: duckdb.DuckDBPyConnection, max_rows: int) -> tuple[list[list[Any]], bool]:
    """Return at most `max_rows` rows and MAX_BYTES, and whether more were there.

    Row by row: what is left behind is never made into Python objects.
    """
    rows: list[list[Any]] = []
    size = 0
    while (row := cursor.fetchone()) is not None:
        shown = [jsonable(value) for value in row]
        size += len(json.dumps(shown))
        if len(rows) == max_rows or size > MAX_BYTES:
            if not rows:
                raise QueryError(f"the first row alone is larger than {MAX_BYTES // 1024 // 1024} MB")
            return rows, True
        rows.append(shown)
    return rows, False


def _statement(cursor: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    if len(sql) > MAX_SQL:
        raise QueryError(f"the statement is longer than {MAX_SQL} characters")
    try:
        statements = cursor.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(str(error)) from None
    except TypeError:  # half a surrogate pair, which JSON can carry
        raise QueryError("the statement is not Unicode text") from None
    if len(statements) != 1:
        raise QueryError(f"{len(statements)} statements were given; exactly one is run")
    statement = statements[0]
    if statement.type == duckdb.StatementType.EXPLAIN:
        explained = _EXPLAIN.match(statement.query)
        if explained is None:
            raise QueryError("only EXPLAIN and EXPLAIN ANALYZE, without options, are allowed here")
        _statement(cursor, statement.query[explained.end() :])
    elif statement.type != duckdb.StatementType.SELECT:
        raise QueryError(f"{statement.type.name} statements are not allowed here; only queries that read are")
    if _ACTING.search(sql):
        raise QueryError("checkpoint() is not allowed here; only queries that read are")
    return statement


def _parameters(params: Mapping[str, Any] | Sequence[Any] | None) -> Any:
    if params is None:
        return None
    return dict(params) if isinstance(params, Mapping) else list(params)


def jsonable(value: Any) -> Any:
    """Return a value of DuckDB as one that JSON has: times in ISO 8601, what JSON lacks as text."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return iso(Micros((value - _EPOCH) // datetime.timedelta(microseconds=1)))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    if isinstance(value, uuid.UUID):
        return str(value)
    return str(value)
