"""Users' SQL: one statement, read-only in the database's own terms, with bounded rows. Blocking calls.

Three walls, each enough for most attacks: only statements whose syntax tree does nothing but read are let in
(`guard.py`); they run in a read-only transaction, which is always rolled back; and the database was opened
without access to files, extensions and settings (`database.py`). Time and memory are bounded by the caller,
which interrupts (`readers.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.errors import QueryError
from oculus.storage import values
from oculus.storage.guard import MAX_SQL, Checked, SqlError, check

__all__ = ["MAX_BYTES", "MAX_ROWS", "MAX_SQL", "Result", "SqlError", "check", "query"]

MAX_ROWS = 1_000
MAX_BYTES = 8 * 1024 * 1024  # of a result as JSON: a thousand rows have no natural size
MAX_COLUMNS = 2_000  # of a result: Python's list of them is made in one piece, 3 ms for this many

_LINE = re.compile(r"^(LINE (\d+): )(.*)\n( *)\^", re.MULTILINE)


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
    return run(cursor, None, sql, params, max_rows)


def run(
    cursor: duckdb.DuckDBPyConnection,
    known: Checked | None,
    sql: str,
    params: Mapping[str, Any] | Sequence[Any] | None = None,
    max_rows: int = MAX_ROWS,
) -> Result:
    """Do the same with a statement that was looked at before, if it is `known`."""
    checked = known or Checked(sql)
    try:
        checked = known or check(cursor, sql)
        cursor.execute("begin transaction read only")
        try:
            return _run(cursor, checked, _parameters(params), max_rows)
        finally:
            cursor.execute("rollback")
    except (duckdb.InterruptException, duckdb.FatalException):  # no fault of the query's
        raise
    except (duckdb.OutOfMemoryException, MemoryError) as error:
        told = str(error).split("\n", 1)[0] or "Out of Memory Error"
        raise QueryError(f"{told}: the query needs more memory than one may take here") from None
    except duckdb.InternalException as error:
        told = str(error).split("\n", 1)[0]  # what follows are addresses in the library
        raise QueryError(f"{told} (a fault of DuckDB; nothing was changed)") from None
    except duckdb.Error as error:
        raise SqlError(str(error), _position(str(error), checked, sql)) from None
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise QueryError(f"the result cannot be shown: {error}") from None


def _run(cursor: duckdb.DuckDBPyConnection, checked: Checked, params: Any, max_rows: int) -> Result:
    # As text: making a statement object holds the interpreter while DuckDB parses, 5 ms for each 1,000
    # characters.
    cursor.execute(checked.query, params)
    columns = _columns(cursor)
    casts = [None if checked.explains else values.as_text(kind) for _, kind in columns]
    if any(casts):
        cursor.execute(_casting(cursor, checked.query, casts), params)
    rows, truncated = _fetch(cursor, [kind for _, kind in columns], casts, max_rows)
    return Result(columns, rows, truncated)


def _columns(cursor: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    described = cursor.description or []
    if len(described) > MAX_COLUMNS:
        raise QueryError(f"the result has {len(described)} columns; at most {MAX_COLUMNS} can be shown")
    return [(str(name), str(kind)) for name, kind, *_ in described]


def _casting(cursor: duckdb.DuckDBPyConnection, sql: str, casts: Sequence[str | None]) -> str:
    """Return the query around `sql` that turns some of its columns into text."""
    # DuckDB's own way of writing it: without comments, and without the semicolon at its end.
    told = "select json_deserialize_sql(json_serialize_sql($1::varchar))"
    ((bare,),) = cursor.execute(told, [sql]).fetchall()
    names = [f"c{number}" for number in range(len(casts))]
    shown = [f"{name}::{cast}" if cast else name for name, cast in zip(names, casts, strict=True)]
    return f"select {', '.join(shown)} from ({bare}) as q({', '.join(names)})"


def _fetch(
    cursor: duckdb.DuckDBPyConnection, kinds: Sequence[str], casts: Sequence[str | None], max_rows: int
) -> tuple[list[list[Any]], bool]:
    """Return at most `max_rows` rows and MAX_BYTES, and whether more were there.

    Row by row: what is left behind is never made into Python objects.
    """
    rows: list[list[Any]] = []
    size = 0
    while (row := cursor.fetchone()) is not None:
        shown = [
            values.shown(value, kind, text=cast is not None)
            for value, kind, cast in zip(row, kinds, casts, strict=True)
        ]
        size += values.size_of(shown)
        if len(rows) == max_rows or size > MAX_BYTES:
            if not rows:
                raise QueryError(f"the first row alone is larger than {MAX_BYTES // 1024 // 1024} MB")
            return rows, True
        rows.append(shown)
    return rows, False


def _position(message: str, checked: Checked, sql: str) -> int | None:
    """Return the offset in `sql` that the caret of DuckDB's message points at, None if it has none."""
    found = _LINE.search(message)
    if found is None:
        return None
    head, number, line, blanks = found.groups()
    lines = checked.query.split("\n")
    if int(number) > len(lines):
        return None
    shown = line.removeprefix("...").removesuffix("...")
    start = lines[int(number) - 1].find(shown)  # a long line is told in part
    if start < 0:
        return None
    column = len(blanks) - len(head) - (3 if line.startswith("...") else 0)
    before = sum(len(each) + 1 for each in lines[: int(number) - 1])
    place = before + start + column + checked.shift
    return place if 0 <= place <= len(sql) else None


def _parameters(params: Mapping[str, Any] | Sequence[Any] | None) -> Any:
    if params is None:
        return None
    return dict(params) if isinstance(params, Mapping) else list(params)
