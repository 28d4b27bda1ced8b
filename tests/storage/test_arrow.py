"""Columns that DuckDB reads in place."""

from __future__ import annotations

import gc
from array import array
from collections.abc import Iterator

import duckdb
import pytest

from oculus.storage.arrow import Table


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as closed to the outside as the daemon's."""
    opened = duckdb.connect(":memory:", config={"enable_external_access": False, "lock_configuration": True})
    yield opened
    opened.close()


TEXTS = ["", "a", "äöü", "\N{SNOWMAN}" * 50, "nul\0inside", "'; drop table x --", "😀", "x" * 100_000]


def test_numbers_and_texts_arrive_as_they_are(connection: duckdb.DuckDBPyConnection) -> None:
    """The limits of each type, and texts of all kinds and lengths."""
    integers = array("q", [0, 1, -1, 2**63 - 1, -(2**63), 5, 6, 7])
    numbers = array("d", [0.0, -0.0, 1.5, 1e308, 5e-324, float("inf"), -1e-9, 0.1])
    connection.register("given", Table(i=integers, d=numbers, t=TEXTS))
    found = connection.execute("select i, d, t from given").fetchall()
    assert found == list(zip(integers, numbers, TEXTS, strict=True))
    types = connection.execute("select typeof(i), typeof(d), typeof(t) from given limit 1").fetchall()
    assert types == [("BIGINT", "DOUBLE", "VARCHAR")]


@pytest.mark.parametrize("count", [0, 1, 2_047, 2_048, 2_049, 300_000])
def test_tables_of_any_length(connection: duckdb.DuckDBPyConnection, count: int) -> None:
    """Also none at all, and more than DuckDB reads at once."""
    connection.register("given", Table(i=array("q", range(count)), t=[str(place) for place in range(count)]))
    row = connection.execute(
        "select count(*), coalesce(sum(i), 0), count(*) filter (t <> i::varchar) from given"
    )
    assert row.fetchone() == (count, count * (count - 1) // 2, 0)


def test_a_table_can_be_read_more_than_once(connection: duckdb.DuckDBPyConnection) -> None:
    """By several statements, and twice by one."""
    connection.register("given", Table(i=array("q", [1, 2, 3])))
    for _ in range(3):
        assert connection.execute("select sum(i) from given").fetchone() == (6,)
    assert connection.execute("select count(*) from given a, given b").fetchone() == (9,)


def test_many_tables_leave_nothing_behind(connection: duckdb.DuckDBPyConnection) -> None:
    """Each is freed as soon as it is no longer registered, without waiting for a collection."""
    connection.execute("create table kept (i bigint, t varchar)")
    gc.collect()
    before = sum(isinstance(thing, Table) for thing in gc.get_objects())
    gc.disable()
    for round_ in range(200):
        connection.register("given", Table(i=array("q", [round_] * 100), t=["x" * 1_000] * 100))
        connection.execute("insert into kept select * from given")
        connection.unregister("given")
    assert sum(isinstance(thing, Table) for thing in gc.get_objects()) <= before
    gc.enable()
    assert connection.execute("select count(*), sum(i) from kept").fetchone() == (20_000, 1_990_000)


def test_half_a_character_is_refused() -> None:
    """UTF-8 has no place for it."""
    with pytest.raises(UnicodeEncodeError):
        Table(t=["\ud800"])
