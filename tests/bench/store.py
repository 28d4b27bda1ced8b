"""The store against plain DuckDB: ingest, the file's size, four queries, memory, and the hub's lateness.

    python -m tests.bench.store                    # 500 series, every 30 s, 7 days: 10 million samples
    python -m tests.bench.store --days 1 --rounds 3

Both sides get the same samples: latencies around a level of each series (5 to 120 ms) with 10 % of noise,
and one in a thousand up to ten times as slow (`--slow`), rounded to microseconds as probes do, at the
collector's turns. Plain DuckDB has one flat table in the order of time and the same limits of memory and
threads. Each side is asked in a process of its own; figures are medians, ratios are ours to plain. The hub's
lateness is what a greenlet saw that wanted to wake every 2 ms while the query ran in a native thread, as the
daemon runs it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import gevent

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Micros, Sample, Tags
from oculus.storage import ingest, queries, rollup, sandbox, sort
from oculus.storage.database import DEFAULT_MEMORY, Database
from oculus.storage.readers import Readers
from oculus.storage.tiers import HOUR, TABLES, aligned, fitting, floor
from tests.bench.measure import memory

START = floor(Micros(1_790_000_000 * SECOND), DAY)
BATCH = 5_000  # samples of one commit, the daemon's default
PLAIN_TABLE = (
    "create table metrics (ts TIMESTAMPTZ, category VARCHAR, symbol VARCHAR, value DOUBLE, tags JSON)"
)
LIMITS: dict[str, Any] = {"memory_limit": f"{DEFAULT_MEMORY}B", "threads": 1}

# The samples, made by DuckDB: k-th turn of series s.
_SAMPLES = """
    select make_timestamptz($start + k * $step + phase) as ts, 'net.http' as category,
        'net.http.host' || s || '_example_com.rtt' as symbol,
        round(level * (1 + 0.1 * sqrt(-2 * ln(1 - random())) * cos(6.2832 * random()))
            * (case when random() < $slow then 1 + 9 * random() else 1 end), 3) as value,
        '{"target": "https://host' || s || '.example.com/"}' as tags
    from range($first::bigint, $last::bigint) turns(k), (
        select s, 5 + (hash(s + 7) % 115)::int as level,
            (hash(s) % ($step // 1000))::bigint * 1000 as phase
        from range($series) t(s))
    order by k, ts"""


def main() -> None:
    """Build both stores, then measure them in processes of their own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--step", type=int, default=30, help="seconds between two samples of a series")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--slow", type=float, default=0.001, help="share of slow samples")
    parser.add_argument("--rounds", type=int, default=15, help="runs of each query")
    parser.add_argument("--folder", help="where the files are made; they stay there")
    parser.add_argument("--side", choices=("ours", "plain"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(ask(given.side, Path(given.folder), given.days, given.rounds)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(given.folder or scratch)
        report: dict[str, Any] = {"ingest": ingested(folder)}
        report["build"] = build(folder, given.series, given.step, given.days, given.slow)
        answers = {}
        for side in ("ours", "plain"):
            command = [sys.executable, "-m", "tests.bench.store", "--side", side, "--folder", str(folder),
                       "--days", str(given.days), "--rounds", str(given.rounds)]  # fmt: skip
            answers[side] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        report["queries"] = {
            name: {
                "ours_ms": ours["ms"], "plain_ms": (plain := answers["plain"]["queries"][name])["ms"],
                "ratio": round(ours["ms"] / plain["ms"], 3), "rows": ours["rows"],
                "hub_p99_ms": ours["hub_p99_ms"], "hub_worst_ms": ours["hub_worst_ms"],
            }
            for name, ours in answers["ours"]["queries"].items()
        }  # fmt: skip
        report["resident_mb"] = {side: answers[side]["resident_mb"] for side in answers}
        print(json.dumps(report, indent=2))


# -- writing ------------------------------------------------------------------------------------------


def ingested(folder: Path, rows: int = 300_000) -> dict[str, float]:
    """Return samples per second that are written durably, ours and plain, in turns."""
    chance = random.Random(1)
    labels = [Tags({"target": f"https://host{number}.example.com/"}) for number in range(500)]
    batches = [
        Batch(
            tuple(
                Sample(
                    f"net.http.host{place % 500}_example_com.rtt",
                    round(chance.lognormvariate(3, 0.3), 3),
                    Micros(START + (first + place) * 60_000),
                    labels[place % 500],
                )
                for place in range(BATCH)
            )
        )
        for first in range(0, rows, BATCH)
    ]
    lists = [
        [
            [sample.ts for sample in batch.samples], ["net.http"] * BATCH,
            [sample.symbol for sample in batch.samples], [sample.value for sample in batch.samples],
            [labels[place % 500].json for place in range(BATCH)],
        ]
        for batch in batches
    ]  # fmt: skip
    ours, plain = (
        Database(str(folder / "ingest.db")),
        duckdb.connect(str(folder / "plain-ingest.db"), config=LIMITS),
    )
    plain.execute(PLAIN_TABLE)
    insert = """insert into metrics select make_timestamptz(unnest($1::bigint[])), unnest($2::varchar[]),
        unnest($3::varchar[]), unnest($4::double[]), unnest($5::varchar[])"""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for batch, columns in zip(batches, lists, strict=True):
        started = time.perf_counter()
        ingest.write(ours.connection, batch, 1)
        ours.fold()
        between = time.perf_counter()
        plain.execute(insert, columns)
        seconds["plain"].append(time.perf_counter() - between)
        seconds["ours"].append(between - started)
    ours.close()
    plain.close()
    rates = {side: rows / sum(taken) for side, taken in seconds.items()}
    return {
        "ours_per_s": round(rates["ours"]), "plain_per_s": round(rates["plain"]),
        "ratio": round(rates["ours"] / rates["plain"], 3),
    }  # fmt: skip


def build(folder: Path, series: int, step: int, days: int, slow: float) -> dict[str, Any]:
    """Fill both stores and let ours be kept up as the daemon does it; return sizes and times."""
    path, plain = str(folder / "ours.db"), duckdb.connect(str(folder / "plain.db"))
    plain.execute(PLAIN_TABLE)
    plain.execute("select setseed(0.42)")
    Database(path).close()
    turns = DAY // (step * SECOND)
    took: dict[str, list[float]] = {"roll": [], "sort": []}
    for day in range(days):
        values = {"start": START, "step": step * SECOND, "series": series, "first": day * turns, "slow": slow}
        plain.execute(f"insert into metrics {_SAMPLES}", values | {"last": (day + 1) * turns})
        # As an outsider: our own connection can open no second file.
        plain.execute(f"attach '{path}' as ours")
        plain.execute(
            """insert into ours.metrics by name
            select * from metrics where ts >= make_timestamptz($1) order by rowid""",
            [START + day * DAY],
        )
        plain.execute("detach ours")
        keep_up(path, Micros(START + (day + 1) * DAY), took)
    database = Database(path)
    usage = queries.usage(database.connection)
    samples = usage.tables[0].rows
    grown = Path(path).stat().st_size
    database.close()
    plain.close()
    plain_size = (folder / "plain.db").stat().st_size
    return {
        "samples": samples,
        "bytes_per_sample": round(usage.tables[0].bytes / samples, 2),
        "plain_bytes_per_sample": round(plain_size / samples, 2),
        "ratio": round(usage.tables[0].bytes / plain_size, 3),
        "tables_mb": {table.table: round(table.bytes / 1e6, 1) for table in usage.tables},
        "file_mb": round(grown / 1e6, 1),
        "used_mb": round(usage.used / 1e6, 1),
        "sort_step_ms": {"median": round(statistics.median(took["sort"])), "worst": round(max(took["sort"]))},
        "roll_step_ms": {"median": round(statistics.median(took["roll"])), "worst": round(max(took["roll"]))},
    }


def keep_up(path: str, now: Micros, took: dict[str, list[float]]) -> None:
    """Roll up and put in order what ended by `now`; note the milliseconds of each step."""
    database = Database(path)
    connection = database.connection

    def timed(name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        found = work(connection, *arguments)
        took[name].append((time.perf_counter() - started) * 1000)
        database.fold()
        return found

    while timed("roll", rollup.advance, Micros(now - 120 * SECOND)):
        pass
    built = floor(ingest.read_marks(connection).built["rollup_1m"], HOUR)
    for table in TABLES:
        fresh = sort.pieces(connection, table, Micros(0), built)
        for stretch in (*fresh, sort.Stretch(Micros(0), built)):
            reader = sort.hold(connection)
            for slice_ in sort.plan(connection, table, stretch):
                timed("sort", sort.rewrite, table, slice_, stretch)
            sort.release(connection, reader)
            ingest.write_state(connection, "bench", "a checkpoint needs a commit before it")
            database.fold(0)
    database.close()


# -- reading ------------------------------------------------------------------------------------------

Query = Callable[[queries.Cursor], list[Any]]


def ours_queries(end: Micros, symbol: str, days: int) -> Iterator[tuple[str, Query]]:
    """Yield the four queries as the daemon runs them."""
    week = Micros(end - days * DAY)
    step = fitting((end - week) // 300)
    yield (
        "one series, last hour",
        lambda cursor: queries.points(cursor, symbol, Micros(end - HOUR), end, 12 * SECOND),
    )
    yield (
        "one series, all days in 300 points",
        lambda cursor: queries.points(cursor, symbol, aligned(week, step), end, step),
    )
    params = {"from": end - DAY}
    yield (
        "p95 of each series, 24 h",
        lambda cursor: sandbox.query(cursor, _P95.replace("$from", str(params["from"]))).rows,
    )
    yield "latest of each series", lambda cursor: sandbox.query(cursor, _LATEST).rows


_P95 = """select symbol, quantile_cont(value, 0.95) from metrics where ts >= make_timestamptz($from)
    group by symbol"""
_LATEST = "select symbol, arg_max(value, ts) from metrics group by symbol"
_BUCKETS = """select ($1 + (epoch_us(ts) - $1) // $4 * $4) as bucket, arg_min(value, ts), max(value),
        min(value), arg_max(value, ts), avg(value), count(value)
    from metrics where symbol = $2 and ts >= make_timestamptz($1) and ts < make_timestamptz($3)
    group by bucket order by bucket"""


def plain_queries(end: Micros, symbol: str, days: int) -> Iterator[tuple[str, Query]]:
    """Yield the same work as anyone would write it."""
    week, step = end - days * DAY, fitting(days * DAY // 300)
    yield (
        "one series, last hour",
        lambda cursor: cursor.execute(_BUCKETS, [end - HOUR, symbol, end, 12 * SECOND]).fetchall(),
    )
    yield (
        "one series, all days in 300 points",
        lambda cursor: cursor.execute(_BUCKETS, [week, symbol, end, step]).fetchall(),
    )
    yield (
        "p95 of each series, 24 h",
        lambda cursor: cursor.execute(_P95.replace("$from", str(end - DAY))).fetchall(),
    )
    yield "latest of each series", lambda cursor: cursor.execute(_LATEST).fetchall()


def ask(side: str, folder: Path, days: int, rounds: int) -> dict[str, Any]:
    """Return medians of each query's time, what the hub saw meanwhile, and the memory after all of them."""
    end = Micros(START + days * DAY)
    symbol = "net.http.host123_example_com.rtt"
    run: Callable[[Query], list[Any]]
    if side == "ours":
        readers = Readers(Database(str(folder / "ours.db")))
        run, asked = readers.run, ours_queries(end, symbol, days)
    else:
        connection = duckdb.connect(str(folder / "plain.db"), config=LIMITS)
        run, asked = (lambda query: query(connection)), plain_queries(end, symbol, days)
    found = {}
    for name, query in asked:
        times, late, rows = [], [], 0
        for _ in range(rounds):
            lateness = gevent.spawn(_lateness)
            gevent.sleep(0)
            started = time.perf_counter()
            rows = len(run(query))
            times.append((time.perf_counter() - started) * 1000)
            lateness.kill()
            late += lateness.value.seen if isinstance(lateness.value, _Seen) else []
        late.sort()
        found[name] = {
            "ms": round(statistics.median(times), 3), "rows": rows,
            "hub_p99_ms": round(late[math.ceil(0.99 * len(late)) - 1], 2) if late else 0.0,
            "hub_worst_ms": round(late[-1], 2) if late else 0.0,
        }  # fmt: skip
    return {"queries": found, "resident_mb": round(memory(os.getpid())["resident"], 1)}


class _Seen(gevent.GreenletExit):
    """What a greenlet saw until it was ended."""

    def __init__(self, seen: list[float]) -> None:
        super().__init__()
        self.seen = seen


def _lateness() -> _Seen:
    seen: list[float] = []
    try:
        while True:
            due = time.perf_counter() + 0.002
            gevent.sleep(0.002)
            seen.append((time.perf_counter() - due) * 1000)
    except gevent.GreenletExit:
        return _Seen(seen)


if __name__ == "__main__":
    main()
