"""A query as of a moment of the past: it says what it would have said then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oculus.errors import QueryError
from oculus.model import Batch, Event, Micros, Sample
from oculus.storage import ingest, rollup, sandbox
from oculus.storage.asof import PastQuery
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE

T0 = Micros(1_800_000_000_000_000)
SECOND = 1_000_000


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(T0 + round(second * SECOND))


CHANCE = random.Random(3)
SAMPLES = [
    Sample(f"custom.x{CHANCE.randrange(3)}", CHANCE.randrange(100) / 4, at(CHANCE.randrange(7_200)))
    for _ in range(400)
]
EVENTS = [Event(at(second), "r", "alert", "warn", f"at {second}") for second in range(0, 7_200, 600)]

NOW = "now()"  # in the queries below, and a moment written out in what they are compared with

QUERIES = [
    "select symbol, count(*) as n, max(value) as most from metrics group by symbol",
    "select count(*) as n from metrics where ts > now() - interval 10 minute",
    "select symbol from metrics where ts > now() - interval 1 hour group by symbol having count(*) > $least",
    "select m.symbol, arg_max(m.value, m.ts) as v from main.metrics as m group by all",
    "select metrics.value from metrics order by ts desc, value desc limit 3",
    "from metrics select max(value) as v",
    "select * from metrics where value > (select avg(value) from metrics)",
    "with old as (select * from metrics where ts < now() - interval 5 minute) select count(*) as n from old",
    "select count(*) as n from (select symbol from metrics union all select symbol from metrics) as both_of",
    "select a.symbol, count(*) as n from metrics a join metrics b using (symbol, ts) group by 1",
    """select a.value, b.value as before from metrics a asof join metrics b
        on a.symbol = b.symbol and a.ts > b.ts where a.symbol = 'custom.x1'""",
    "select count(*) as n, sum(value) as total from series('custom.x1')",
    "select s.value from series('custom.x2') as s where s.ts > now() - interval 20 minute",
    "select t.c4 from metrics as t(c1, c2, c3, c4) where c4 > 20",
    "select count(*) as n from events where type = 'alert'",
    "select message from events e order by e.ts desc limit 1",
    "select count(*) as n, sum(count) as samples from metrics_1m",
    "select symbol, max(high) as most from metrics_1h group by symbol",
    "select now() as n, date_trunc('hour', now()) as hour, epoch(now()) as e",
    "select symbol, value, row_number() over (partition by symbol order by ts) n from metrics qualify n = 2",
    "select 'now()' as text, 5 as number, $least as given",
    "select value from range(5) r(value), (select 1) where value > 2",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A store with two hours of samples and events, of which all that is over is rolled up."""
    database = Database(str(tmp_path_factory.mktemp("asof") / "all.db"))
    fill(database, at(7_200))
    yield database
    database.close()


def fill(database: Database, until: Micros) -> None:
    """Store what was known at a time, in the order of its coming."""
    samples = tuple(sample for sample in SAMPLES if sample.ts is not None and sample.ts <= until)
    events = tuple(event for event in EVENTS if event.ts <= until)
    ingest.write(database.connection, Batch(samples, events), 1)
    while rollup.advance(database.connection, until, HOUR):
        pass


def shown(result: sandbox.Result) -> tuple[list[str], list[str]]:
    """Return names and rows of a result in an order of their own."""
    return [name for name, _ in result.columns], sorted(map(repr, result.rows))


@pytest.mark.parametrize("second", [0, 599, 600, 3_600, 3_661.5, 7_199])
def test_it_says_what_it_would_have_said(store: Database, tmp_path: Path, second: float) -> None:
    """As a store says it that ends at that moment."""
    moment = at(second)
    then = Database(str(tmp_path / "then.db"))
    fill(then, moment)
    for sql in QUERIES:
        params = {"least": 20} if "$least" in sql else {}
        plain = sql if "'now()'" in sql else sql.replace(NOW, f"make_timestamptz({moment})")
        expected = shown(sandbox.query(then.connection, plain, params or None))
        cursor = store.cursor()
        found = shown(PastQuery.of(cursor, sql).ask(cursor, params, moment))
        cursor.close()
        assert found == expected, sql
    then.close()


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("select current_timestamp as t", "2027-01-15T08:00:30.000Z"),
        ("select get_current_timestamp() as t", "2027-01-15T08:00:30.000Z"),
        ("select transaction_timestamp() as t", "2027-01-15T08:00:30.000Z"),
        ("select NOW() as t", "2027-01-15T08:00:30.000Z"),
        ("select strftime(current_date, '%Y') as t", "2027"),
        ("select year(today()) as t", 2027),
        ("select year(localtimestamp) as t", 2027),
        ("select case when now() > make_timestamptz(0) then 'later' end as t", "later"),
    ],
)  # fmt: skip
def test_every_clock_shows_the_moment(store: Database, sql: str, value: Any) -> None:
    """Written in any way."""
    cursor = store.cursor()
    result = PastQuery.of(cursor, sql).ask(cursor, {}, at(30))
    cursor.close()
    assert result.columns[0][0] == "t"
    assert result.rows == [[value]]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("select * from deliveries", "deliveries has no past that can be asked about"),
        ("select * from oculus_state", "oculus_state has no past"),
        ("select * from rollup_1m", "rollup_1m has no past"),
        ("select * from metrics at (version => 3)", "metrics has no past"),
        ("with metrics as (select 1 as x) select * from metrics", "a part of it is called metrics"),
        ("with a as (with Series as (select 1) select 2) select * from a", "a part of it is called series"),
        ("select age(ts) from metrics", "age() needs the time to reckon from"),
        ("select current_time", "current_time cannot be asked about the past"),
        ("explain select 1", "EXPLAIN has no rows of its own"),
        ("delete from metrics", "DELETE statements are not allowed here"),
        ("select * from read_csv('/etc/passwd')", "read_csv() is not allowed here"),
        ("select 1; select 2", "exactly one is run"),
        ("selec", "syntax error"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_told(store: Database, sql: str, told: str) -> None:
    """Before it is asked, in one line."""
    cursor = store.cursor()
    with pytest.raises(QueryError) as caught:
        PastQuery.of(cursor, sql)
    cursor.close()
    assert told in str(caught.value)


def test_what_goes_wrong_when_it_is_asked_is_an_error_of_the_query(store: Database) -> None:
    """A column that is not there, a parameter that is missing or too much; the cursor is as good as new."""
    cursor = store.cursor()
    for sql, params in (
        ("select nothing from metrics", {}),
        ("select count(*) from metrics where value > $x", {}),
        ("select count(*) from metrics", {"x": 1}),
    ):
        with pytest.raises(QueryError):
            PastQuery.of(cursor, sql).ask(cursor, params, at(30))
    query = PastQuery.of(cursor, "select count(*) as n from metrics")
    assert query.ask(cursor, {}, at(-1)).rows == [[0]]
    assert query.ask(cursor, {}, at(7_200 + MINUTE / SECOND)).rows == [[len(SAMPLES)]]
    cursor.close()
