"""Any text as SQL: it is answered or refused in words, nothing changes, and the hub goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oculus.errors import QueryError, QueryTimeout
from oculus.model import Batch, Event, Micros, Sample
from oculus.storage import ingest, sandbox
from oculus.storage.database import Database
from oculus.storage.readers import Readers
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

TABLES = (
    "metrics",
    "events",
    "range(5)",
    "oculus_state",
    "duckdb_tables()",
    "checkpoint()",
    "nowhere",
    "'x.csv'",
)
COLUMNS = ("ts", "value", "symbol", "tags", "id", "payload", "nothing", "*", "range")
FUNCTIONS = (
    "count", "sum", "max", "list", "string_agg", "len", "upper", "hash", "abs", "date_trunc", "to_days",
    "repeat", "list_value", "struct_pack", "map", "coalesce", "setseed", "getenv", "query", "nextval",
    "epoch_us", "json", "list_transform", "regexp_replace", "make_timestamptz", "first", "row_number",
    "unnest", "format",
)  # fmt: skip
VALUES = (
    "1", "-1", "0", "null", "true", "'a'", "''", "1.5", "'nan'::double", "now()", "interval 1 month",
    "[1, 2]", "{'a': 1}", "map {1: 2}", "$p", "9223372036854775807", "'\\xFF'::blob", "lambda x: x",
    "'infinity'::date",
)  # fmt: skip

values = st.sampled_from(VALUES + COLUMNS)


def expressions(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return expressions around others."""
    return st.one_of(
        st.tuples(st.sampled_from(FUNCTIONS), st.lists(inner, max_size=3)).map(
            lambda parts: f"{parts[0]}({', '.join(parts[1])})"
        ),
        st.tuples(
            inner, st.sampled_from(("+", "-", "*", "/", "||", "=", "<", "and", "like", "in", "->>")), inner
        ).map(" ".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"(select {text})"),
        inner.map(lambda text: f"{text}::varchar"),
        st.tuples(inner, inner).map(lambda pair: f"case when {pair[0]} then {pair[1]} end"),
        inner.map(lambda text: f"sum({text}) over (order by {text})"),
    )


expression = st.recursive(values, expressions, max_leaves=6)


@st.composite
def selects(draw: st.DrawFn) -> str:
    """Draw a SELECT that a grammar allows, whatever it means."""
    parts = [
        "select",
        draw(st.sampled_from(("", "distinct"))),
        ", ".join(draw(st.lists(expression, min_size=1, max_size=3))),
    ]
    if draw(st.booleans()):
        parts += ["from", ", ".join(draw(st.lists(st.sampled_from(TABLES), min_size=1, max_size=2)))]
    for clause in ("where", "group by", "having", "qualify", "order by", "limit"):
        if draw(st.integers(0, 4)) == 0:
            parts += [clause, draw(expression)]
    text = " ".join(parts)
    around = draw(
        st.sampled_from(
            (
                "{}",
                "{}",
                "{}",
                "explain {}",
                "explain analyze {}",
                "with x as ({}) select * from x",
                "from ({})",
                "summarize {}",
                "{} union all {}",
                "describe {}",
                "create table t as {}",
                "insert into metrics {}",
                "pivot ({}) on symbol in ('a') using count(*)",
                "with x as (delete from metrics returning *) {}",
            )
        )
    )
    return str(around.format(text, text))


@st.composite
def mutants(draw: st.DrawFn) -> str:
    """Draw a SELECT with a piece cut out, doubled, or replaced by other text."""
    text = draw(selects())
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 10)))
    other = draw(
        st.one_of(
            st.just(""),
            st.just(text[start:end] * 2),
            st.text(max_size=5),
            st.sampled_from((";", "--", "/*", "'", '"', "$$", "(", ")", "\0")),
        )
    )
    return text[:start] + other + text[end:]


statements = st.one_of(selects(), selects(), mutants(), st.text(max_size=40))
parameters = st.one_of(
    st.none(),
    st.fixed_dictionaries({"p": st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=4,
    )}),
    st.lists(st.integers(), max_size=2),
)  # fmt: skip

CHECKSUM = """select
    (select count(*) || '/' || sum(hash(epoch_us(ts), category, symbol, value, tags)) from metrics),
    (select count(*) || '/' || sum(hash(id, source, message, payload)) from events),
    (select count(*) || '/' || sum(hash(table_name, column_name)) from duckdb_columns()),
    (select count(*) from duckdb_functions() where not internal)"""


class Store:
    """A database with a few rows, readers of it, and a watchdog of the hub."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(str(folder / "oculus.db"))
        samples = tuple(Sample(f"custom.s{n % 3}", n / 7, Micros(n), {"n": str(n)}) for n in range(50))
        event = Event(Micros(1), "s", "alert", "warn", "m", {"rule": "r"})
        ingest.write(self.database.connection, Batch(samples, (event,)), 1)
        self.readers = Readers(self.database)
        self.before = self.checksum()
        self.looks = self.late = self._sent = self._running = 0
        self._watching = gevent.spawn(self._watch)

    def _watch(self) -> None:
        """Count how often the hub is over 20 ms late while a statement runs; hypothesis holds it as well."""
        while True:
            running, started = self._running, time.perf_counter()
            gevent.sleep(0.002)
            if running and running == self._running:
                self.looks += 1
                self.late += time.perf_counter() - started > 0.022

    def checksum(self) -> list[Any]:
        """Return what tells whether anything changed."""
        return self.database.connection.execute(CHECKSUM).fetchall()

    def send(self, sql: str, params: Any) -> None:
        """Run a statement as the API does."""
        self._sent += 1
        self._running = self._sent
        try:
            result = self.readers.run(sandbox.query, sql, params, ceiling=True)
        except (QueryError, QueryTimeout) as error:
            assert str(error).strip()  # noqa: PT017 - most statements are refused
        else:
            self._running = 0
            json.dumps(result.rows, allow_nan=False)
        finally:
            self._running = 0

    def close(self) -> None:
        """Close everything in order."""
        self._watching.kill()
        self.readers.close()
        self.database.close()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all statements."""
    made = Store(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck))


def fuzz(store: Store, examples: int) -> None:
    """Send what hypothesis thinks of."""

    @settings(FUZZ, max_examples=examples)
    @given(statements, parameters)
    def send(sql: str, params: Any) -> None:
        store.send(sql, params)

    send()


def check(store: Store) -> None:
    """Fail if anything changed, or if the hub was held again and again."""
    assert store.checksum() == store.before
    print(f"the hub was over 20 ms late {store.late} times of {store.looks}")
    # A busy machine is late now and then.
    assert store.late <= 3 + store.looks / 100


def test_no_statement_changes_anything(store: Store) -> None:
    """Grammatical, mutated and raw text, with parameters of all kinds."""
    fuzz(store, 1_000)
    check(store)


@pytest.mark.soak
def test_no_statement_changes_anything_for_long(store: Store) -> None:
    """The same, many times over."""
    fuzz(store, 20_000)
    check(store)


@pytest.mark.alone
def test_no_statement_brings_the_daemon_down(tmp_path: Path) -> None:
    """Over HTTP there is an answer to everything, and never a 500."""
    daemon = Daemon(tmp_path, "server: {port: $PORT}\ncollectors: []\n")

    @settings(FUZZ, max_examples=100)
    @given(statements)
    def send(sql: str) -> None:
        answer = daemon.post("/api/query", json={"sql": sql})
        assert answer.status_code in (200, 400, 408), (sql, answer.text)

    try:
        daemon.wait_ready()
        # What it tells of its start is written a moment later.
        wait_for(lambda: daemon.sql("select count(*) from events") == [[1]])
        before = daemon.sql(CHECKSUM)
        send()
        assert before == daemon.sql(CHECKSUM)
        assert daemon.get("/readyz").status_code == 200
        assert daemon.stop() == 0
        assert "Traceback" not in daemon.log()
    finally:
        daemon.kill()
