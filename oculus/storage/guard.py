"""What users' SQL may do, decided on DuckDB's own syntax tree before anything is run. Blocking calls.

The tree comes from `json_serialize_sql`, which gets the statement as a parameter and takes nothing but
SELECT. A statement that it cannot show is refused: nothing is run that was not looked at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.errors import QueryError

MAX_SQL = 100_000  # characters of a statement: more is no query that a person wrote

# Characters of a statement's tree, about 4,000 plain values. Reading it holds the interpreter, 8 ms for this
# many; values beyond that go into a parameter that is a list.
MAX_TREE = 500_000

# Levels of the tree, three for each call or list within another. DuckDB's time grows with the cube of the
# nesting and cannot be interrupted there: 900 lists within each other take it 23 s.
MAX_DEPTH = 700


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Table functions that only tell something, and nothing that is secret; `series` is our own (`schema`).
TABLE_FUNCTIONS = _words(
    """
    duckdb_approx_database_count duckdb_available_metrics duckdb_columns duckdb_connection_count
    duckdb_constraints duckdb_coordinate_systems duckdb_databases duckdb_dependencies duckdb_dialects
    duckdb_extensions duckdb_functions duckdb_indexes duckdb_keywords duckdb_memory duckdb_optimizers
    duckdb_schemas duckdb_sequences duckdb_settings duckdb_table_sample duckdb_tables
    duckdb_temporary_files duckdb_triggers duckdb_types duckdb_variables duckdb_views generate_series
    generate_subscripts histogram histogram_values icu_calendar_names json_each json_tree
    pg_timezone_names pragma_collations pragma_database_size pragma_metadata_info pragma_platform
    pragma_show pragma_storage_info pragma_table_info pragma_user_agent pragma_version range
    regexp_split_to_table repeat repeat_row series summary test_all_types unnest
    """
)

# Functions that act although a SELECT calls them, wait, tell about others, or run SQL of their own.
ACTING = _words(
    """
    currval getenv json_execute_serialized_sql json_serialize_plan nextval pg_sleep query query_table
    setseed setval sleep_ms write_log
    """
)

# Functions that change with each call and do no more than that.
VOLATILE = _words(
    """
    current_connection_id current_query current_query_id current_transaction_id error gen_random_uuid
    random stats uuid uuidv4 uuidv7 vector_type
    """
)

# Comparisons have a syntax. Called by name they take values of different types, and end the process.
COMPARISONS = frozenset({"=", "!=", "<", ">", "<=", ">=", "is distinct from", "is not distinct from"})

# Their time grows with the product of the lengths of two texts, and they do not listen to interrupts.
SLOW = frozenset({"levenshtein", "editdist3", "damerau_levenshtein"})

# What DuckDB's planner uses for itself, with arguments that nobody checks.
_INTERNAL = "__"

_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

# EXPLAIN cannot be shown as a tree, but the query behind it can.
_EXPLAIN = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\b\s*(analyze\b)?", re.IGNORECASE | re.DOTALL)

# A name that would be read as a file, if files could be read.
_FILE = re.compile(r"[/\\*?:]|\.\w+$")

_READING = "only queries that read are allowed here"


class SqlError(QueryError):
    """A statement is wrong; `position` is the 0-based offset of the fault in it, None when nobody knows."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Checked:
    """A statement that was looked at: `query` is what to run, from `shift` on as the user wrote it."""

    query: str
    explains: bool = False
    shift: int = 0  # characters by which places in `query` come before those in the user's text


def check(cursor: duckdb.DuckDBPyConnection, sql: str) -> Checked:
    """Return the one statement of `sql`, which only reads; raises QueryError."""
    if len(sql) > MAX_SQL:
        raise QueryError(f"the statement is longer than {MAX_SQL} characters")
    explain = _EXPLAIN.match(sql)
    if explain is None:
        _check(_tree(cursor, sql, 0))
        return Checked(sql)
    inner = sql[explain.end() :]
    _check(_tree(cursor, inner, explain.end()))
    head = f"explain {explain[1] or ''} "
    return Checked(head + inner, explains=True, shift=explain.end() - len(head))


def parsed(cursor: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """Return the syntax tree of a query that only reads, without EXPLAIN; raises QueryError."""
    if _EXPLAIN.match(sql):
        raise QueryError("EXPLAIN has no rows of its own")
    check(cursor, sql)
    return _tree(cursor, sql, 0)


def _tree(cursor: duckdb.DuckDBPyConnection, sql: str, offset: int) -> dict[str, Any]:
    """Return the tree of one SELECT."""
    try:
        row = cursor.execute("select json_serialize_sql($1::varchar)", [sql]).fetchone()
    except (duckdb.InterruptException, duckdb.FatalException, duckdb.OutOfMemoryException):
        raise
    except duckdb.Error as error:  # nested too deeply for the parser, or half a character
        raise SqlError(str(error)) from None
    except (TypeError, ValueError):
        raise QueryError("the statement is not Unicode text") from None
    text = str(row[0]) if row else "{}"
    if len(text) > MAX_TREE:
        raise QueryError("the statement has too many parts; put long lists of values into a parameter")
    try:
        tree = json.loads(text)
    except RecursionError:
        raise QueryError("the statement is nested too deeply") from None
    except ValueError as error:
        raise QueryError(f"the statement cannot be looked at, and so is not run: {error}") from None
    if tree.get("error") is not False:
        raise _refusal(tree, sql, offset)
    statements = tree.get("statements")
    if not isinstance(statements, list) or len(statements) != 1:
        raise QueryError(f"{len(statements or ())} statements were given; exactly one is run")
    return tree  # type: ignore[no-any-return]


def _refusal(tree: dict[str, Any], sql: str, offset: int) -> QueryError:
    told = str(tree.get("error_message", "")).strip()
    if tree.get("error_type") == "not implemented":
        word = re.match(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(\w+)", sql, re.DOTALL)
        kind = word[1].upper() if word else "such"
        if re.search(r"\bpivot\b", sql, re.IGNORECASE) and kind in ("PIVOT", "SELECT", "FROM", "WITH"):
            return QueryError("PIVOT needs its values named here: pivot … on symbol in ('a', 'b') using …")
        return QueryError(f"{kind} statements are not allowed here; {_READING}")
    position = _number(tree.get("position"))
    kind = str(tree.get("error_type", "")).capitalize()
    message = f"{kind} Error: {told}"
    if position is None or not 0 <= position <= len(sql.encode()):
        return SqlError(message)
    place = len(sql.encode()[:position].decode("utf-8", "ignore"))
    return SqlError(f"{message}\n\n{_quote(sql, place)}", offset + place)


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _quote(sql: str, place: int) -> str:
    """Return the line that `place` is in with a caret below it, as DuckDB does for other errors."""
    start = sql.rfind("\n", 0, place) + 1
    line = sql[start:].split("\n", 1)[0]
    cut = max(0, place - start - 60)
    head = f"LINE {sql.count(chr(10), 0, place) + 1}: {'...' if cut else ''}"
    return f"{head}{line[cut : cut + 120]}\n{' ' * (len(head) + place - start - cut)}^"


def _check(tree: dict[str, Any]) -> None:
    """Raise QueryError for the first thing in the tree that is not allowed."""
    for node in _objects(tree):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _NODES:
            what = kind.removesuffix("_NODE").removesuffix("_QUERY")
            raise QueryError(f"{what} is not allowed inside a query; {_READING}")
        if kind == "TABLE_FUNCTION":
            _check_table_function(node.get("function"))
        elif kind == "BASE_TABLE" and _FILE.search(str(node.get("table_name"))):
            raise QueryError(f"{node.get('table_name')!r} is not a table, and files cannot be read here")
        if "function_name" in node:
            _check_function(str(node["function_name"]), _number(node.get("query_location")))


def _check_table_function(function: Any) -> None:
    name = str(function.get("function_name")) if isinstance(function, dict) else "such"
    if name.lower() not in TABLE_FUNCTIONS:
        raise QueryError(f"{name}() is not allowed here as a table; {_READING}")


def _check_function(name: str, position: int | None) -> None:
    lower = name.lower()
    if lower in COMPARISONS:
        raise QueryError(f"{name} is not allowed here as a function; write it between two values")
    if lower in SLOW:
        raise QueryError(f"{name}() is not allowed here; it cannot be ended when it takes long")
    # An operator behind its value, such as the factorial, has that prefix as well.
    if lower in ACTING or lower.startswith(_INTERNAL):
        raise QueryError(f"{name}() is not allowed here; {_READING}")


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every object of the tree; raises QueryError when it is too deep."""
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise QueryError("the statement is nested too deeply")
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                yield node
                below.extend(value for value in node.values() if isinstance(value, dict | list))
            else:
                below.extend(value for value in node if isinstance(value, dict | list))
        level = below
