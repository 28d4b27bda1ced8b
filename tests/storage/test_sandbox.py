"""Users' SQL: whatever is sent, the tables stay as they are, and the answer is JSON or one clear refusal."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

from oculus.errors import QueryError
from oculus.model import Batch, Event, Micros, Sample
from oculus.storage import guard, ingest
from oculus.storage.database import Database
from oculus.storage.sandbox import MAX_ROWS, MAX_SQL, Result, SqlError, query
from oculus.threads import NativeThreads


class Guarded:
    """A database with a few rows, and what must not change in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(str(folder / "oculus.db"))
        samples = tuple(Sample(f"custom.s{n % 3}", n / 7, Micros(n), {"n": str(n)}) for n in range(50))
        ingest.write(
            self.database.connection,
            Batch(samples, (Event(Micros(1), "s", "alert", "warn", "m", {"rule": "r"}),)),
            1,
        )
        self.cursor = self.database.cursor()
        self.before = self.state()

    def query(self, sql: str, *arguments: Any) -> Result:
        """Run a statement as a user does."""
        return query(self.cursor, sql, *arguments)

    def state(self) -> list[object]:
        """Return everything that a statement could have changed."""
        look = self.database.connection
        return [
            look.execute("select * replace (epoch_us(ts) as ts) from metrics order by all").fetchall(),
            look.execute("select * replace (epoch_us(ts) as ts) from events order by all").fetchall(),
            look.execute("select * from oculus_state").fetchall(),
            look.execute("select table_name, sql from duckdb_tables() order by all").fetchall(),
            look.execute("select view_name from duckdb_views() where not internal").fetchall(),
            look.execute("select function_name from duckdb_functions() where not internal").fetchall(),
            look.execute(
                "select schema_name from duckdb_schemas() where not internal order by all"
            ).fetchall(),
            look.execute("select sequence_name from duckdb_sequences()").fetchall(),
            look.execute("select type_name from duckdb_types() where not internal").fetchall(),
            look.execute("select database_name, path from duckdb_databases() order by all").fetchall(),
            look.execute("select name, value from duckdb_settings() order by all").fetchall(),
            sorted(set(os.listdir(self.folder)) - {"oculus.db.wal"}),  # noqa: PTH208 - names, not paths
        ]

    def check(self) -> None:
        """Fail if anything changed, or if the cursor is no longer usable."""
        assert self.state() == self.before
        assert self.query("select count(*) from metrics").rows == [[50]]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """One database for all statements: each must leave it fit for the next."""
    made = Guarded(tmp_path_factory.mktemp("sandbox"))
    yield made
    made.cursor.close()
    made.database.close()


ROW = "values (now(), 'custom', 'custom.x', 1, null)"

REFUSED = {
    # writes
    "insert": f"insert into metrics {ROW}",
    "update": "update metrics set value = 0",
    "delete": "delete from metrics",
    "truncate": "truncate metrics",
    "merge": "merge into metrics m using events e on false when not matched then insert " + ROW,
    "insert with a common table expression": "with x as (select 1) insert into metrics select * from metrics",
    "delete inside a common table expression": "with x as (delete from metrics returning *) select * from x",
    "insert returning": f"insert into metrics {ROW} returning *",
    "insert in a subquery": f"select * from (insert into metrics {ROW} returning *)",
    "update of the state": "update oculus_state set value = '0'",
    "select into": "select * into copied from metrics",
    # definitions
    "create table": "create table x (i integer)",
    "create table as": "create table x as select * from metrics",
    "create temporary table": "create temp table x as select 1",
    "create or replace": "create or replace table metrics (i integer)",
    "create view": "create view v as select 1",
    "create macro": "create macro f() as 1",
    "create temporary macro": "create temp macro f() as 1",
    "create schema": "create schema s",
    "create sequence": "create sequence s",
    "create type": "create type t as enum ('a')",
    "create index": "create index i on metrics (symbol)",
    "create secret": "create secret s (type s3, key_id 'x', secret 'y')",
    "alter": "alter table metrics add column x integer",
    "rename": "alter table metrics rename to gone",
    "drop": "drop table metrics",
    "drop if exists": "drop table if exists metrics cascade",
    "comment": "comment on table metrics is 'x'",
    # several statements, or none
    "two": "select 1; select 2",
    "a write behind a read": "select 1; delete from metrics",
    "a commit behind a read": "select 1; commit; delete from metrics",
    "empty": "",
    "spaces": " \n\t ",
    "semicolons": ";;;",
    "line comment": "-- select 1",
    "block comment": "/* select 1 */",
    "no SQL": "hello there",
    "half": "select * from",
    # files and other databases
    "copy to": "copy metrics to 'stolen.csv'",
    "copy from": "copy metrics from '/etc/hostname'",
    "copy a query": "copy (select 1) to 'stolen.parquet' (format parquet)",
    "export": "export database 'stolen'",
    "import": "import database 'stolen'",
    "attach file": "attach 'other.db' as other",
    "attach memory": "attach ':memory:' as other",
    "detach": "detach oculus",
    "read_csv": "select * from read_csv('/etc/passwd')",
    "read_text": "select * from read_text('/etc/passwd')",
    "read_blob": "select * from read_blob('/etc/passwd')",
    "read_json": "select * from read_json('/etc/passwd')",
    "read_parquet": "select * from read_parquet('/etc/passwd')",
    "read_duckdb": "select * from read_duckdb('/tmp/x.db')",
    "a file as a table": "select * from '/etc/passwd.csv'",
    "a file on the web": "select * from 'https://example.com/x.parquet'",
    "glob": "select * from glob('/etc/*')",
    "sniff_csv": "select * from sniff_csv('/etc/passwd')",
    "parquet_metadata": "select * from parquet_metadata('/etc/passwd')",
    "secrets": "select * from duckdb_secrets()",
    "getenv": "select getenv('HOME')",
    "a variable of the program": "select * from statement",
    # settings and extensions
    "set": "set threads = 8",
    "set global": "set global memory_limit = '10GB'",
    "set variable": "set variable x = 1",
    "reset": "reset threads",
    "use": "use memory",
    "pragma": "pragma memory_limit = '10GB'",
    "pragma function": "pragma table_info('metrics')",
    "install": "install httpfs",
    "force install": "force install httpfs from 'http://localhost'",
    "load": "load json",
    "unlock": "set lock_configuration = false",
    "enable external access": "set enable_external_access = true",
    "logging": "select * from enable_logging(storage := 'file', storage_config := {'path': 'stolen'})",
    "profiling": "select * from enable_profiling(save_location := 'stolen.json')",
    # transactions and prepared statements
    "begin": "begin transaction",
    "commit": "commit",
    "rollback": "rollback",
    "prepare": "prepare p as select 1",
    "execute": "execute p",
    "deallocate": "deallocate p",
    # upkeep
    "checkpoint": "checkpoint",
    "force checkpoint": "force checkpoint",
    "checkpoint()": "select * from checkpoint()",
    "CHECKPOINT ()": "select * from CHECKPOINT ()",
    "quoted checkpoint": 'select * from "checkpoint"()',
    "checkpoint with a comment": "select * from checkpoint/**/()",
    "force_checkpoint()": "select * from force_checkpoint()",
    "quoted force_checkpoint": 'select * from "force_checkpoint"()',
    "call": "call pragma_version()",
    "call checkpoint": "call checkpoint()",
    "vacuum": "vacuum",
    "analyze": "analyze",
    # behind EXPLAIN, which runs them with ANALYZE
    "explain a write": "explain delete from metrics",
    "explain analyze a write": "explain analyze delete from metrics",
    "explain analyze a definition": "explain analyze create temp table x as select 1",
    "explain analyze commit": "explain analyze commit",
    "explain analyze rollback": "explain analyze rollback",
    "explain analyze checkpoint": "explain analyze checkpoint",
    "explain analyze set": "explain analyze set variable x = 1",
    "explain analyze prepare": "explain analyze prepare p as delete from metrics",
    "explain analyze load": "explain analyze load json",
    "explain analyze copy": "explain analyze copy metrics to 'stolen.csv'",
    "explain with options": "explain (analyze) delete from metrics",
    "explain analyze behind a comment": "/* x */ explain /* y */ analyze /* z */ delete from metrics",
    "explain explain": "explain explain delete from metrics",
    # what the server's own limits stop
    "deep parentheses": "select " + "(" * 20_000 + "1" + ")" * 20_000,
    "deep lists": "select " + "[" * 5_000 + "1" + "]" * 5_000,
    "deep subqueries": "select * from " + "(select * from " * 2_000 + "metrics" + ")" * 2_000,
    "a long sum": "select " + "1+" * 40_000 + "1",
    "too long": "select '" + "x" * MAX_SQL + "'",
    "half a character": "select '\ud800'",
    "a nul": "select \0 1",
    # mistakes
    "unknown table": "select * from nothing",
    "unknown column": "select nothing from metrics",
    "unknown function": "select nothing()",
    "missing parameter": "select $limit",
    "error()": "select error('made up')",
    "bad cast": "select 'x'::integer",
    "too much memory": "select list(range) from range(1000000000)",
    "pivot": "pivot metrics on symbol using sum(value)",
}


@pytest.mark.parametrize("sql", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_read_is_refused(guarded: Guarded, sql: str) -> None:
    """Each is a QueryError with a text, changes nothing, and leaves the cursor usable."""
    with pytest.raises(QueryError) as caught:
        guarded.query(sql)
    assert str(caught.value).strip()
    guarded.check()


ALLOWED = {
    "select": ("select 1 as one", [[1]]),
    "a semicolon": ("select 1;", [[1]]),
    "comments": ("-- first\n/* second */ select 1 -- third", [[1]]),
    "from first": ("from metrics select count(*)", [[50]]),
    "values": ("values (1, 'a'), (2, 'b')", [[1, "a"], [2, "b"]]),
    "parentheses": ("(select 1)", [[1]]),
    "common table expression": ("with x as (select 1 as i) select i + 1 from x", [[2]]),
    "recursion": (
        "with recursive t(i) as (select 1 union all select i + 1 from t where i < 5) select max(i) from t",
        [[5]],
    ),
    "window": ("select distinct count(*) over () from metrics", [[50]]),
    "two equal names": ("select 1 as a, 2 as a", [[1, 2]]),
    "no rows": ("select * from metrics where false", []),
    "unicode": ("select 'gr\u00fcn \u2603 \U0001f600'", [["gr\u00fcn \u2603 \U0001f600"]]),
    "a byte order mark": ("\ufeffselect 1", [[1]]),
    "checkpoint as a word": ("select 'checkpoint' as checkpoint", [["checkpoint"]]),
    "json": ("select tags->>'n' from metrics where epoch_us(ts) = 7", [["7"]]),
    "a setting": ("select current_setting('threads')", [[1]]),
    "deep, but not too deep": ("select " + "(" * 200 + "1" + ")" * 200, [[1]]),
}


@pytest.mark.parametrize(("sql", "rows"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_reads_is_answered(guarded: Guarded, sql: str, rows: list[list[Any]]) -> None:
    """All ways in which a query may be written."""
    assert guarded.query(sql).rows == rows
    guarded.check()


@pytest.mark.parametrize(
    "sql",
    [
        "summarize metrics", "describe metrics", "show tables", "table metrics", "explain select 1",
        "explain analyze select count(*) from metrics", "-- why\nEXPLAIN\nselect 1",
        "select * from information_schema.tables", "select * from pragma_storage_info('metrics')",
        "select * from duckdb_settings()",
    ],
)  # fmt: skip
def test_looking_around_is_allowed(guarded: Guarded, sql: str) -> None:
    """What tells about the tables and about queries, and does nothing."""
    assert guarded.query(sql).rows
    guarded.check()


def test_text_that_looks_like_a_function_is_text(guarded: Guarded) -> None:
    """Only what is called counts: not what stands in texts, comments and names."""
    sql = "select 'checkpoint()' as \"query('x')\" -- getenv('HOME')"
    assert guarded.query(sql).rows == [["checkpoint()"]]


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        (
            "pivot (from metrics select symbol) on symbol in ('custom.s0', 'custom.s1') using count(*)",
            [[17, 17]],
        ),
        ("select count(*) from (unpivot (select 1 as a, 2 as b) on a, b)", [[2]]),
    ],
)
def test_pivot_with_named_values_and_unpivot_are_answered(
    guarded: Guarded, sql: str, rows: list[list[Any]]
) -> None:
    """They are one SELECT for DuckDB."""
    assert guarded.query(sql).rows == rows
    guarded.check()


@pytest.mark.parametrize("name", ["rel", "leaked"])
def test_no_variable_of_the_program_is_a_table(guarded: Guarded, name: str) -> None:
    """DuckDB's client can read Python's variables; here it must not."""
    rel = leaked = guarded.database.connection.sql("select 1 as secret")
    assert rel is leaked
    with pytest.raises(QueryError, match="does not exist"):
        guarded.query(f"select * from {name}")


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        ("select nothing from metrics", 7),
        ("select 1,\n  nothing from metrics", 12),
        ("select 'x", 7),
        ("select 1 frm metrics", 13),
        ("explain analyze select nothing from metrics", 23),
        ("/* x */ explain select nothing from metrics", 23),
        ("explain select 'x", 15),
        ("select " + "1, " * 100 + "nothing from metrics", 307),
    ],
)
def test_errors_tell_the_place(guarded: Guarded, sql: str, place: int) -> None:
    """The message quotes the line with a caret, as DuckDB does; `position` is the place in the statement."""
    with pytest.raises(SqlError) as caught:
        guarded.query(sql)
    assert caught.value.position == place
    assert "\nLINE " in str(caught.value)
    assert str(caught.value).rstrip().endswith("^")


def test_every_function_of_the_database_is_classified() -> None:
    """A version of DuckDB that brings a new function which acts, or a table function, must be looked at."""
    connection = duckdb.connect()
    rows = connection.execute(
        "select distinct lower(function_name), function_type, has_side_effects from duckdb_functions()"
    ).fetchall()
    connection.close()
    volatile = {name for name, _, acts in rows if acts}
    assert volatile <= guard.ACTING | guard.VOLATILE
    tables = {name for name, kind, _ in rows if kind in ("table", "table_macro")}
    assert tables - guard.TABLE_FUNCTIONS == DENIED_TABLE_FUNCTIONS
    assert {kind for _, kind, _ in rows} == {
        "aggregate", "macro", "pragma", "scalar", "table", "table_macro", "window",
    }  # fmt: skip


# Table functions that are kept from users: they act, read files, run SQL, or tell what is not theirs.
DENIED_TABLE_FUNCTIONS = set(
    """
    arrow_scan arrow_scan_dumb checkpoint create_external_resource deregister_external_resource
    destroy_external_resource disable_logging disable_profiling duckdb_eviction_queues
    duckdb_extension_repositories duckdb_external_file_cache duckdb_external_resource_types
    duckdb_external_resources duckdb_grammar_extensions duckdb_log_contexts duckdb_logs
    duckdb_logs_parsed duckdb_prepared_statements duckdb_profiling_settings
    duckdb_secret_type_parameters duckdb_secret_types duckdb_secrets enable_logging enable_profiling
    force_checkpoint glob json_execute_serialized_sql pandas_scan parquet_bloom_probe
    parquet_file_metadata parquet_full_metadata parquet_kv_metadata parquet_metadata parquet_scan
    parquet_schema python_arrow_scan python_map_function query query_table read_blob read_csv
    read_csv_auto read_duckdb read_json read_json_auto read_json_objects read_json_objects_auto
    read_ndjson read_ndjson_auto read_ndjson_objects read_parquet read_single_csv_file
    read_single_json_file read_single_parquet_file read_text register_external_resource
    register_external_resource_type seq_scan sniff_csv test_vector_types truncate_duckdb_logs
    which_secret
    """.split()  # noqa: SIM905 - a list of words
)


# -- parameters ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "params", "rows"),
    [
        ("select $a + $b", {"a": 1, "b": 2.5}, [[3.5]]),
        ("select $1 || $2", ["x", "y"], [["xy"]]),
        ("select ?::varchar", [None], [[None]]),
        ("select count(*) from metrics where symbol = $symbol", {"symbol": "custom.s1"}, [[17]]),
        ("select $x", {"x": "'; delete from metrics; --"}, [["'; delete from metrics; --"]]),
        ("select $x[1], len($x)", {"x": [7, 8]}, [[7, 2]]),
        ("select 1", {}, [[1]]),
        ("select 1", [], [[1]]),
    ],
)
def test_parameters_are_bound(guarded: Guarded, sql: str, params: Any, rows: list[list[Any]]) -> None:
    """By name or by place; a value is a value, whatever stands in it."""
    assert guarded.query(sql, params).rows == rows
    guarded.check()


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("select $a", {"b": 1}), ("select $a", [1, 2]), ("select $1", {}), ("select 1", {"a": 1}),
        ("select 1", [1]), ("select $a", {"a": "\ud800"}), ("select $a::integer", {"a": "x"}),
        ("select $a", {"a": 10**400}),
    ],
)  # fmt: skip
def test_parameters_that_do_not_fit_are_refused(guarded: Guarded, sql: str, params: Any) -> None:
    """Missing, superfluous and impossible ones."""
    with pytest.raises(QueryError):
        guarded.query(sql, params)
    guarded.check()


# -- results -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "truncated"), [(MAX_ROWS - 1, False), (MAX_ROWS, False), (MAX_ROWS + 1, True)]
)
def test_long_results_are_cut(guarded: Guarded, rows: int, truncated: bool) -> None:
    """At most a thousand rows, and it is told when there were more."""
    result = guarded.query(f"select * from range({rows})")
    assert len(result.rows) == min(rows, MAX_ROWS)
    assert result.truncated == truncated


def test_an_endless_result_is_cut_at_once(guarded: Guarded) -> None:
    """Rows are made as they are fetched: a trillion rows cost no more than a thousand."""
    started = time.monotonic()
    assert guarded.query("select * from range(1000000000000)").truncated
    assert time.monotonic() - started < 5.0
    guarded.check()


def test_the_bound_on_rows_can_be_set(guarded: Guarded) -> None:
    """For callers that need fewer or more."""
    assert guarded.query("select * from range(10)", None, 3) == Result(
        [("range", "BIGINT")], [[0], [1], [2]], truncated=True
    )


def test_an_interrupt_comes_out_as_it_is(guarded: Guarded) -> None:
    """The caller who interrupts knows what it means; the transaction is over."""
    threads = NativeThreads(1)
    endless = "select count(*) from range(1000000) a, range(1000000) b where a.range + b.range = 3"
    call = threads.start(guarded.query, endless)
    assert not call.wait(0.2)
    guarded.cursor.interrupt()
    with pytest.raises(duckdb.InterruptException):
        call.result()
    threads.close()
    guarded.check()


TYPES = {
    "null": ("null", None),
    "boolean": ("true", True),
    "integer": ("42", 42),
    "the largest exact integer": ("9007199254740991", 9007199254740991),
    "a larger integer": ("9007199254740992", "9007199254740992"),
    "bigint": ("-9223372036854775808", "-9223372036854775808"),
    "hugeint": ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
    "a large integer in a list": ("[9007199254740992]", ["9007199254740992"]),
    "double": ("0.1::double", 0.1),
    "nan": ("'nan'::double", "nan"),
    "infinity": ("'-inf'::double", "-inf"),
    "decimal": ("1.50::decimal(10, 2)", "1.50"),
    "text": ("'a''b'", "a'b"),
    "blob": ("'\\x00\\xFF'::blob", "AP8="),
    "bit": ("'0101'::bit", "0101"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
    "date": ("'2026-01-31'::date", "2026-01-31"),
    "time": ("'12:30:00.5'::time", "12:30:00.500000"),
    "timestamp": ("'2026-01-31 12:30:00'::timestamp", "2026-01-31T12:30:00"),
    "timestamp with time zone": ("'2026-01-31 12:30:00.25+01'::timestamptz", "2026-01-31T11:30:00.250Z"),
    "timestamp to the microsecond": ("make_timestamptz(1700000000123456)", "2023-11-14T22:13:20.123456Z"),
    "timestamp before 1970": ("make_timestamptz(-1)", "1969-12-31T23:59:59.999999Z"),
    "timestamp in nanoseconds": (
        "'2026-01-31 12:30:00.123456789'::timestamp_ns",
        "2026-01-31T12:30:00.123456789",
    ),
    "timestamp in seconds": ("'2026-01-31 12:30:00'::timestamp_s", "2026-01-31T12:30:00"),
    "timestamp before Christ": ("'0044-03-15 (BC) 00:00:00'::timestamp", "0044-03-15 (BC) 00:00:00"),
    "last timestamp of Python": ("'9999-12-31 23:59:59.999999'::timestamp", "9999-12-31T23:59:59.999999"),
    "infinite timestamp": ("'infinity'::timestamp", "infinity"),
    "first timestamp": ("'-infinity'::timestamp", "-infinity"),
    "infinite timestamp with time zone": ("'infinity'::timestamptz", "infinity"),
    "first timestamp with time zone": ("'-infinity'::timestamptz", "-infinity"),
    "date without end": ("'infinity'::date", "infinity"),
    "date before all": ("'-infinity'::date", "-infinity"),
    "last date of Python": ("'9999-12-31'::date", "9999-12-31"),
    "date beyond Python": ("'12026-01-31'::date", "12026-01-31"),
    "end of the day": ("'24:00:00'::time", "24:00:00"),
    "time with time zone": ("'10:00:00+02'::timetz", "10:00:00+02:00"),
    "interval": ("interval 90 second", "00:01:30"),
    "interval in months": ("interval '14 months -3 days'", "1 year 2 months -3 days"),
    "interval in a list": ("[interval 1 month, null]", ["1 month", None]),
    "interval in a structure": ("{'interval': interval 1 month}", {"interval": "1 month"}),
    "interval in a union": ("union_value(a := interval 1 day)", "1 day"),
    "nanoseconds in a map": ("map {'k': '2026-01-31'::timestamp_ns}", {"k": "2026-01-31 00:00:00"}),
    "list": ("[1, null, 3]", [1, None, 3]),
    "array": ("[1, 2]::integer[2]", [1, 2]),
    "nested list": ("[['nan'::double], []]", [["nan"], []]),
    "struct": ("{'a': 1, 'b': {'c': make_timestamptz(0)}}", {"a": 1, "b": {"c": "1970-01-01T00:00:00.000Z"}}),
    "map": ("map {'k': 1.5::decimal(3, 1)}", {"k": "1.5"}),
    "map by number": ("map {1: 'x'}", [[1, "x"]]),
    "map by list": ("map {[1]: 'x', [2]: 'y'}", [[[1], "x"], [[2], "y"]]),
    "map by time": ("map {make_timestamptz(0): 1}", [["1970-01-01T00:00:00.000Z", 1]]),
    "empty map by number": ("map()::map(integer, integer)", []),
    "unnamed structure": ("row(1, 'a')", [1, "a"]),
    "variant": ("{'a': 1}::variant", {"a": 1}),
    "enum": ("'a'::enum ('a', 'b')", "a"),
    "union": ("union_value(n := 5)", 5),
    "json": ("'{\"a\": [1]}'::json", '{"a": [1]}'),
    "deep list": ("[" * 100 + "1" + "]" * 100, None),
}


@pytest.mark.parametrize(("expression", "value"), TYPES.values(), ids=TYPES.keys())
def test_every_type_becomes_json(guarded: Guarded, expression: str, value: Any) -> None:
    """What JSON has as it is, times in ISO 8601, the rest as text; nothing that JSON cannot hold."""
    result = guarded.query(f"select {expression} as x")
    ((found,),) = result.rows
    json.dumps(found, allow_nan=False).encode()
    if value is not None or expression == "null":
        assert found == value
        assert type(found) is type(value)
    assert result.columns[0][0] == "x"
    assert result.columns[0][1]


def test_rows_keep_their_order_when_columns_become_text(guarded: Guarded) -> None:
    """The query is put around with another one; what it sorts stays sorted, and equal names stay apart."""
    ordered = "from range(500) order by hash(range)"
    plain = guarded.query(f"select range, range {ordered}")
    found = guarded.query(f"select range, to_days(1) as range {ordered}; -- the end")
    assert [row[0] for row in found.rows] == [row[0] for row in plain.rows]
    assert found.columns == [("range", "BIGINT"), ("range", "INTERVAL")]
    limited = "select to_days($days::integer) as d from range(3) limit $most"
    assert guarded.query(limited, {"days": 2, "most": 1}).rows == [["2 days"]]
    assert guarded.query("select to_days(?::integer)", [3]).rows == [["3 days"]]


def test_all_types_of_the_database_become_json(guarded: Guarded) -> None:
    """DuckDB's own list of types with their least and greatest values: shown, or refused in words."""
    names = [row[0] for row in guarded.query("describe from test_all_types()").rows]
    assert len(names) > 40
    refused = []
    for name in names:
        try:
            rows = guarded.query(f'select "{name}" from test_all_types()').rows
        except QueryError:
            refused.append(name)
        else:
            json.dumps(rows, allow_nan=False)
    assert refused == []


def test_a_value_that_is_very_deep_is_shown_or_refused(guarded: Guarded) -> None:
    """Structures within structures, beyond what some versions of Python can walk through."""
    with suppress(QueryError):
        json.dumps(guarded.query("select " + "{'a': " * 490 + "1" + "}" * 490).rows)
    guarded.check()


def test_columns_have_names_and_types(guarded: Guarded) -> None:
    """As the API tells them."""
    result = guarded.query("select ts, value, tags, 'x' as label from metrics limit 1")
    assert result.columns == [
        ("ts", "TIMESTAMP WITH TIME ZONE"), ("value", "DOUBLE"), ("tags", "JSON"), ("label", "VARCHAR"),
    ]  # fmt: skip
    assert not result.truncated
