"""Hostile SQL against a real daemon: refused or bounded, while samples are pushed and stored beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest
import requests

from tests.support import exposition
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

# The growth that one query may cause: DuckDB's pages, what functions may take besides, and the reserve.
MOST_GROWTH = 400e6  # bytes

# Its daemon is driven to the limits of memory and time.
pytestmark = pytest.mark.alone

CONFIG = """\
server: {port: $PORT}
collectors: [{type: self, interval: 1s}]
"""


class Victim:
    """A daemon with samples of known content, a pusher beside, and figures of how it fares."""

    def __init__(self, folder: Path) -> None:
        self.daemon = Daemon(folder, CONFIG)
        self.daemon.wait_ready()
        samples = [
            {"symbol": f"custom.s{n % 7}", "value": n / 7, "ts": 1_700_000_000 + n} for n in range(2_000)
        ]
        assert self.daemon.post("/api/push", json=samples).status_code == 202
        wait_for(lambda: self.daemon.sql(KEPT)[0][0] == 2_000)
        self.before = self.kept()
        self.resident = self.memory("VmRSS")
        self.pushed = 0
        self.refused: list[str] = []
        self._closing = False
        self._pushing = gevent.spawn(self._push)

    def _push(self) -> None:
        while not self._closing:
            answer = self.daemon.post("/api/push/custom.pushed", json={"value": self.pushed})
            ready = self.daemon.get("/readyz")
            if answer.status_code != 202 or ready.status_code != 200:
                self.refused.append(f"{answer.status_code} {ready.status_code} {answer.text} {ready.text}")
            else:
                self.pushed += 1
            gevent.sleep(0.05)

    def kept(self) -> list[list[Any]]:
        """Return a checksum of every table that statements could have changed."""
        return self.daemon.sql(KEPT) + self.daemon.sql(SHAPE)

    def memory(self, name: str) -> int:
        """Return a figure of the process's status in bytes."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def reset_peak(self) -> None:
        """Let VmHWM count anew."""
        Path(f"/proc/{self.daemon.process.pid}/clear_refs").write_text("5")

    def late(self) -> tuple[float, float]:
        """Return how often the hub was looked at, and how often it was over 20 ms late."""
        samples = exposition.parse(self.daemon.get("/metrics").text)["oculus_hub_lateness_seconds"].samples
        buckets = {dict(labels)["le"]: value for (name, labels), value in samples.items() if "bucket" in name}
        return buckets["+Inf"], buckets["+Inf"] - buckets["0.02"]

    def ask(self, sql: str, params: Any = None) -> tuple[int, dict[str, Any]]:
        """Send a statement; return status and answer."""
        answer = self.daemon.post("/api/query", json={"sql": sql, "params": params}, timeout=30)
        return answer.status_code, answer.json()

    def close(self) -> None:
        """End the daemon in good order."""
        self._closing = True
        self._pushing.join()  # a killed request would leave its socket open
        self.daemon.kill()


KEPT = """select count(*), sum(hash(epoch_us(ts), category, symbol, value, tags))::varchar from metrics
    where symbol like 'custom.s%'"""
SHAPE = """select count(*), sum(hash(table_name, column_name, data_type))::varchar from duckdb_columns()
    where not internal"""


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """One daemon for all statements: each must leave it fit for the next."""
    made = Victim(tmp_path_factory.mktemp("victim"))
    yield made
    made.close()


REFUSED = {
    # writing, in every place that takes a query
    "insert": ("insert into metrics values (now(), 'a', 'a', 1, null)", "INSERT statements are not allowed"),
    "update": ("update metrics set value = 0", "UPDATE statements are not allowed"),
    "delete": ("delete from metrics", "DELETE statements are not allowed"),
    "truncate": ("truncate metrics", "TRUNCATE statements are not allowed"),
    "drop": ("drop table metrics", "DROP statements are not allowed"),
    "alter": ("alter table metrics drop column value", "ALTER statements are not allowed"),
    "create": ("create table x as select 1", "CREATE statements are not allowed"),
    "merge": (
        "merge into metrics using events on false when not matched then insert by name",
        "MERGE statements are not allowed",
    ),
    "delete in a common table expression": (
        "with x as (delete from metrics returning *) select * from x",
        "DELETE is not allowed inside",
    ),
    "insert in a common table expression": (
        "with x as (insert into events select * from events returning *) from x",
        "INSERT is not allowed inside",
    ),
    "update two levels down": (
        "select * from (with x as (update metrics set value = 0 returning *) select * from x)",
        "UPDATE is not allowed inside",
    ),
    "select into": ("select * into x from metrics", "Parser Error"),
    "two statements": ("select 1; delete from metrics", "SELECT statements are not allowed|statements were"),
    "two reading statements": ("select 1; select 2", "2 statements"),
    "none": ("  ;; ", "0 statements"),
    "commit": ("commit", "COMMIT statements"),
    "begin": ("begin transaction", "BEGIN statements"),
    "prepare": ("prepare p as delete from metrics", "PREPARE statements"),
    "explain analyze delete": ("explain analyze delete from metrics", "DELETE statements"),
    "explain analyze behind comments": (
        "/* a */explain--\nanalyze/**/delete from metrics",
        "Parser Error|DELETE",
    ),
    "explain with options": ("explain (analyze, format json) delete from metrics", "Parser Error"),
    "explain explain": ("explain explain analyze delete from metrics", "EXPLAIN statements"),
    # functions that act, however they are named
    "checkpoint": ("from checkpoint()", r"checkpoint\(\) is not allowed"),
    "force_checkpoint": ("from force_checkpoint()", r"force_checkpoint\(\) is not allowed"),
    "checkpoint put together": ("from query('from check'||'point()')", r"query\(\) is not allowed"),
    "query as a quoted name": ("from \"QUERY\"('from checkpoint()')", r"query\(\) is not allowed"),
    "query with a schema": ("from main.query('select 1')", r"query\(\) is not allowed"),
    "query with a catalog": ("from system.main.query('select 1')", r"query\(\) is not allowed"),
    "query_table": ("from query_table('/etc/passwd')", r"query_table\(\) is not allowed"),
    "a serialized statement": (
        "from json_execute_serialized_sql(json_serialize_sql('from checkpoint()'))",
        "is not allowed",
    ),
    "a plan": ("select json_serialize_plan('from checkpoint()')", r"json_serialize_plan\(\) is not allowed"),
    "setseed": ("select setseed(0.5)", r"setseed\(\) is not allowed"),
    "write_log": ("select write_log('x')", r"write_log\(\) is not allowed"),
    "truncate logs": ("from truncate_duckdb_logs()", "is not allowed"),
    "logs": ("from duckdb_logs()", "is not allowed"),
    "logging": ("from enable_logging(level := 'trace')", "is not allowed"),
    "profiling": ("from enable_profiling(save_location := '/tmp/x')", "is not allowed"),
    "sleep": ("select sleep_ms(100000)", r"sleep_ms\(\) is not allowed"),
    "sleep of a macro": ("select pg_sleep(1000)", r"pg_sleep\(\) is not allowed"),
    "nextval": ("select nextval('x')", r"nextval\(\) is not allowed"),
    "setval": ("select setval('x', 1)", r"setval\(\) is not allowed"),
    "secrets": ("from duckdb_secrets()", "is not allowed"),
    "environment": ("select getenv('PATH')", r"getenv\(\) is not allowed"),
    "behind a dot": ("select 'PATH'.getenv()", r"getenv\(\) is not allowed"),
    "in a lambda": ("select list_transform(['PATH'], lambda x: getenv(x))", r"getenv\(\) is not allowed"),
    "in an order": ("select 1 order by getenv('PATH')", r"getenv\(\) is not allowed"),
    "in a limit": ("select 1 limit getenv('PATH')", r"getenv\(\) is not allowed"),
    "in a filter": ("select count(*) filter (where setseed(0) is null)", r"setseed\(\) is not allowed"),
    "in a window": ("select sum(1) over (order by setseed(0))", r"setseed\(\) is not allowed"),
    "in a join": ("from range(1) a join range(1) b on setseed(0) is null", r"setseed\(\) is not allowed"),
    "in values": ("values (setseed(0.5))", r"setseed\(\) is not allowed"),
    "in a pivot": ("pivot (select 1 a) on a in (1) using max(setseed(0))", r"setseed\(\) is not allowed"),
    "in a replacement": (
        "select * replace (setseed(0) as value) from metrics",
        r"setseed\(\) is not allowed",
    ),
    "in columns": ("select columns(c -> setseed(0) is null) from metrics", r"setseed\(\) is not allowed"),
    "in describe": ("describe select setseed(0)", r"setseed\(\) is not allowed"),
    "in summarize": ("summarize select setseed(0)", r"setseed\(\) is not allowed"),
    "in explain analyze": ("explain analyze select setseed(0)", r"setseed\(\) is not allowed"),
    "in a set operation": ("select 1 union all select setseed(0)", r"setseed\(\) is not allowed"),
    "in a recursion": (
        "with recursive t as (select 1 union all select setseed(0) from t) from t",
        r"setseed\(\) is not allowed",
    ),
    "in qualify": ("select 1 qualify setseed(0) is null", r"setseed\(\) is not allowed"),
    "in a table function": ("from range(setseed(0)::integer)", r"setseed\(\) is not allowed"),
    # files, settings, other databases
    "read_csv": ("from read_csv('/etc/passwd')", r"read_csv\(\) is not allowed"),
    "read_text": ("from read_text('/etc/passwd')", r"read_text\(\) is not allowed"),
    "glob": ("from glob('/*')", r"glob\(\) is not allowed"),
    "a file as a table": ("from '/etc/passwd'", "is not a table"),
    "a file by its ending": ("from 'secrets.csv'", "is not a table"),
    "a file on the web": ("from 'https://example.com/x.parquet'", "is not a table"),
    "copy": ("copy metrics to '/tmp/stolen.csv'", "COPY statements"),
    "attach": ("attach '/tmp/x.db'", "ATTACH statements"),
    "set": ("set memory_limit = '100GB'", "SET statements"),
    "pragma": ("pragma threads = 100", "PRAGMA statements"),
    "install": ("install httpfs", "INSTALL statements"),
    "load": ("load httpfs", "LOAD statements"),
    "call": ("call checkpoint()", "CALL statements"),
    # what ends the process, or what nothing can end
    "a comparison by name": ("select \"=\"({'a': 1}, [])", "is not allowed here as a function"),
    "another comparison by name": ("select \"IS DISTINCT FROM\"({'a': 1}, 5)", "is not allowed here as a f"),
    "a function of the planner": ("select __internal_decompress_string(1)", "is not allowed"),
    "a distance of long texts": (
        "select levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
        "cannot be ended",
    ),
    "deep lists": ("select " + "[" * 900 + "1" + "]" * 900, "nested too deeply|depth"),
    "deep structures": ("select " + "{'a':" * 400 + "1" + "}" * 400, "nested too deeply"),
    "deep calls": ("select " + "abs(" * 400 + "1" + ")" * 400, "nested too deeply"),
    "deep parentheses": ("select " + "(" * 30_000 + "1" + ")" * 30_000, "deep|depth|Error|emory"),
    "many values": ("select " + "1," * 45_000 + "1", "too many parts|emory"),
    "a long sum": ("select " + "1+" * 45_000 + "1", "depth"),
    "many columns": (
        "with "
        + ", ".join(f"a{n} as (from a{n - 1} x, a{n - 1} y)" if n else "a0 as (select 1)" for n in range(13))
        + " from a12",
        "4096 columns|emory",
    ),
    # more memory than there is for one query
    "a large text": ("select len(repeat('x', 2000000000))", "emory"),
    "many large texts": ("select repeat('x', 1000000) from range(1000)", "emory"),
    "many larger texts": ("select repeat('x', 10000000) from range(1000)", "emory"),
    "replaced squared": (
        "select len(replace(repeat('x', 100000), 'x', repeat('y', 100000)))",
        "emory",
    ),
    "doubling": (
        (
            "with recursive t(s, i) as (select 'x', 0 union all select s || s, i + 1 from t where i < 40)"
            " select max(len(s)) from t"
        ),
        "emory",
    ),
    "a large list": ("select list(range) from range(1000000000)", "emory"),
    "a folded list": ("select len(range(500000000))", "emory"),
    "a resized list": ("select len(list_resize([1], 1000000000))", "emory"),
    "lists of lists": ("select list_transform(range(1000), lambda x: range(1000000))", "emory"),
    "a joined text": (
        "select len(string_agg(range::varchar, repeat(',', 1000))) from range(1e9::bigint)",
        "emory",
    ),
    "a wide number": ("select len(printf('%1000000000d', 1))", "emory"),
    "a wide format": ("select len(format('{:1000000000}', 1))", "emory"),
    "a padded text in each row": (
        "select max(lpad('x', 1000000 + range::integer, 'y')) from range(1000000)",
        "emory",
    ),
    "a split text": ("select len(string_split(repeat('a,', 50000000), ','))", "emory"),
    "a large row": ("select range(2000000)", "larger than|emory"),
    "a sorted top of large texts": (
        "select repeat('x', 10000) from range(1000000000) order by hash(range) limit 100000",
        "emory",
    ),
    "quantiles of everything": ("select quantile_cont(range, 0.5) from range(1000000000)", "emory"),
    # parameters
    "a missing parameter": ("select $a", "a"),
    "a fault of the database": ("select list_resize(1::variant, '{}'::json)", "fault of DuckDB|Error"),
}

# Work without end, and sorts, groups and joins that spill.
ENDLESS = {
    "a product": "select count(*) from range(1000000) a, range(1000000) b where a.range + b.range = 3",
    "a large sort": "select * from range(1000000000) order by hash(range)",
}
MORE_ENDLESS = {
    "large texts made while planning": "select "
    + ", ".join(f"md5(repeat('{n}', 20000000))" for n in range(99)),
    "a growing recursion": "with recursive t(i) as (select 1 union all select i + 1 from t, range(10))"
    " select max(i) from t",
    "a recursion": "with recursive t(i) as (select 1 union all select i + 1 from t) select max(i) from t",
    "a large group": "select range, count(*) from range(1000000000) group by 1",
    "distinct texts": "select count(distinct range || 'abcdefghijklmnopqrst') from range(1000000000)",
    "a window": "select sum(range) over (order by hash(range)) from range(100000000)",
    "a hash join": "select count(*) from range(100000000) a join range(100000000) b"
    " on hash(a.range) = hash(b.range)",
    "a join by time": "select count(*) from range(100000000) a asof join range(100000000) b"
    " on a.range >= b.range",
    "a join by ranges": "select count(*) from range(10000000) a join range(10000000) b"
    " on a.range < b.range and a.range + 5 > b.range",
    "a kept common table": "with t as materialized (select range a, repeat('y', 99) b from range(1000000000))"
    " select count(*), max(b) from t",
    "a histogram": "select histogram(range) from range(100000000)",
    "expressions over a long text": "select count(*) from range(100000) a, (select repeat('ab', 100000) s)"
    " where regexp_matches(s, '(a|b|ab)*c' || a.range || 'd.*e')",
}


@pytest.mark.parametrize(("sql", "told"), REFUSED.values(), ids=REFUSED.keys())
def test_a_hostile_statement_is_refused(victim: Victim, sql: str, told: str) -> None:
    """Each gets 400 with a text that says why, and the next harmless one is answered."""
    status, answer = victim.ask(sql)
    assert status == 400, answer
    assert answer["error"]["code"] == "bad_query"
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(answer["error"]["message"])
    assert victim.ask("select 42")[1]["rows"] == [[42]]


def endless(victim: Victim, statements: dict[str, str]) -> None:
    """Run statements two at a time, as many as the daemon runs; each must be ended after 5 s."""
    asked = {name: gevent.spawn(victim.ask, sql) for name, sql in statements.items()}
    for name, greenlet in asked.items():
        status, answer = greenlet.get(timeout=60)
        assert status in (400, 408), (name, answer)
        assert status == 408 or "emory" in answer["error"]["message"], (name, answer)


def test_an_endless_statement_is_ended(victim: Victim) -> None:
    """It gets 408 after 5 s, or 400 when it needs too much memory before."""
    endless(victim, ENDLESS)


@pytest.mark.soak
def test_more_endless_statements_are_ended(victim: Victim) -> None:
    """What is the worst that one thought of."""
    names = list(MORE_ENDLESS)
    for first in range(0, len(names), 2):
        endless(victim, {name: MORE_ENDLESS[name] for name in names[first : first + 2]})


def test_the_daemon_lived_through_all_of_it(victim: Victim) -> None:
    """The tables are unchanged, samples were taken and stored throughout, and memory and hub were bounded."""
    assert victim.kept() == victim.before
    assert victim.refused == []
    assert victim.pushed > 10
    wait_for(lambda: victim.daemon.sql("select count(*) from metrics where symbol = 'custom.pushed'")[0][0]
             >= victim.pushed - 5)  # fmt: skip
    growth = victim.memory("VmHWM") - victim.resident
    looks, late = victim.late()
    print(f"growth at most {growth / 1e6:.0f} MB; hub over 20 ms late {late:.0f} times of {looks:.0f}")
    assert growth < MOST_GROWTH
    # A busy machine is late now and then; a statement that holds the hub is late each time.
    assert late <= 5 + looks / 50
    assert "Traceback" not in victim.daemon.log()


def test_a_stop_does_not_wait_for_a_query_that_cannot_be_ended(tmp_path: Path) -> None:
    """One function over long texts does not listen to interrupts; the daemon goes all the same."""
    daemon = Daemon(tmp_path, CONFIG)
    try:
        daemon.wait_ready()
        stuck = (
            "select count(*) from range(2048) a, (select repeat('ab', 2000000) s)"
            " where regexp_matches(s, '(a|b|ab)*c' || a.range || 'd.*e')"
        )

        def ask() -> None:
            with suppress(requests.RequestException):
                daemon.post("/api/query", json={"sql": stuck}, timeout=30)

        asked = gevent.spawn(ask)
        gevent.sleep(1.0)
        started = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - started < 5.0
        asked.join()
        assert "everything is stored" in daemon.log()
    finally:
        daemon.kill()
