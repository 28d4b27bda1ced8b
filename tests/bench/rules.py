"""The rules: a pass over 1,000 thresholds, one over 200 figures over time, and a month of recorded history.

    python -m tests.bench.rules                       # 500 series, every 30 s, 7 days: 10 million samples
    python -m tests.bench.rules --folder /tmp/rules   # keep the store there, and use it again

The store is as the daemon has it five hours after the last time that it put its tables in order: older rows
lie in order, the newest as they came, and rollups end two minutes ago. Figures are fetched in a native thread
as the daemon does it, while a greenlet that wants to wake every 2 ms notes how late it is; the memory and the
one thread of DuckDB are those of the daemon's example configuration. Times are medians in milliseconds.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import gevent

from oculus.clock import DAY, SECOND
from oculus.config.settings import RuleSettings
from oculus.cooperate import slices
from oculus.model import Micros
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.recorded import Recorded
from oculus.rules.rule import windows_of
from oculus.rules.view import Point, lookback
from oculus.storage import rollup, windows
from oculus.storage.database import Database
from oculus.storage.readers import Readers
from oculus.storage.tiers import HOUR
from oculus.windowed import Window
from tests.bench.measure import memory
from tests.bench.store import _SAMPLES, START, _lateness, _Seen, keep_up

STEP = 30  # seconds between two samples of a series
FRESH = 5 * HOUR  # of samples that lie as they came
WINDOWED = (
    "avg({s}, 5m) > 1k", "max({s}, 1h) > 10k", "avg({s}, 24h) > 1k", "avg({s}, 7d) > 1k",
    "quantile({s}, 0.95, 1h) > 1k", "change({s}, 1h) > 1k", "pct_change({s}, 24h) > 1000",
    "zscore({s}, 24h) > 99", "stddev({s}, 7d) > 1k",
)  # fmt: skip


def main() -> None:
    """Build the store, then measure in a process of its own."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=500)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=15, help="passes of each kind")
    parser.add_argument("--memory", type=int, default=128, help="DuckDB's limit in MB")
    parser.add_argument("--folder", help="where the store is made, or was made before; it stays there")
    parser.add_argument("--ask", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ask:
        print(json.dumps(ask(Path(given.folder), given.series, given.days, given.rounds, given.memory)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(given.folder or scratch)
        if not (folder / "rules.db").exists():
            build(folder / "rules.db", given.series, given.days)
        command = [sys.executable, "-m", "tests.bench.rules", "--ask", "--folder", str(folder)]
        for name in ("series", "days", "rounds", "memory"):
            command += [f"--{name}", str(getattr(given, name))]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        print(json.dumps(json.loads(answer.stdout), indent=2))


def build(path: Path, series: int, days: int) -> None:
    """Fill a store and keep it up as the daemon does, but for the order of the newest rows."""
    building = path.with_suffix(".part")
    Database(str(building)).close()
    turns, step = DAY // (STEP * SECOND), STEP * SECOND
    for day in range(days + 1):
        last = (day + 1) * turns if day < days else day * turns + FRESH // step
        with duckdb.connect() as outsider:  # our own connection can open no second file
            outsider.execute(f"attach '{building}' as ours")
            outsider.execute("select setseed(0.42)")
            values = {"start": START, "step": step, "series": series, "slow": 0.001}
            outsider.execute(
                f"insert into ours.metrics by name {_SAMPLES}", values | {"first": day * turns, "last": last}
            )
        if day < days:
            keep_up(str(building), Micros(START + (day + 1) * DAY), {"roll": [], "sort": []})
    database = Database(str(building))
    while rollup.advance(database.connection, Micros(START + days * DAY + FRESH - 120 * SECOND)):
        pass
    database.fold(0)
    database.close()
    building.rename(path)


def ask(folder: Path, series: int, days: int, rounds: int, memory_mb: int) -> dict[str, Any]:
    """Return what passes take, and what the hub saw meanwhile."""
    symbols = [f"net.http.host{number}_example_com.rtt" for number in range(series)]
    end = Micros(START + days * DAY + FRESH)
    report: dict[str, Any] = {"1,000 thresholds": thresholds(symbols, end, rounds)}
    database = Database(str(folder / "rules.db"), memory_limit=memory_mb * 10**6)
    readers = Readers(database)
    report["200 over time"] = over_time(readers, WINDOWED, 200, symbols, end, rounds)
    for form in WINDOWED:
        report[f"22 of {form.format(s='s')}"] = over_time(readers, (form,), 22, symbols, end, rounds)
    globs = tuple(form.format(s="net.http.*.rtt") for form in WINDOWED if "7d" in form)
    report["all series by a glob, 7 d"] = over_time(readers, globs, len(globs), symbols, end, rounds)
    report["resident_mb"] = round(memory(os.getpid())["resident"], 1)
    readers.close()
    database.close()
    report["30 days of recorded history at each sample, s"] = history()
    return report


def engine_of(conditions: list[str], symbols: list[str]) -> RuleEngine:
    """Return an engine with a rule for each condition, that knows these series."""
    engine = RuleEngine(
        [RuleSettings(name=f"rule{number}", condition=text) for number, text in enumerate(conditions)]
    )
    engine.know(symbols)
    return engine


def thresholds(symbols: list[str], now: Micros, rounds: int) -> dict[str, float]:
    """Return what a pass over 1,000 rules on last values takes: none fires, or half of them do."""
    last = {symbol: (Point(now, 50.0, 49.0), float(STEP)) for symbol in symbols}
    found = {}
    for name, limits in (("none fires", (90, 90)), ("half of them fire", (40, 90))):
        conditions = [f"{symbols[n % len(symbols)]} > {limits[n % 2]}" for n in range(1_000)]
        engine = engine_of(conditions, symbols)
        view = Live(now, last.get)
        engine.evaluate(view)
        found[name] = _median(partial(engine.evaluate, view), rounds)
    return found


def over_time(
    readers: Readers, forms: tuple[str, ...], count: int, symbols: list[str], now: Micros, rounds: int
) -> dict[str, float]:
    """Return what a pass over this many rules takes in the store and in all."""
    chance = random.Random(1)
    conditions = [forms[n % len(forms)].format(s=chance.choice(symbols)) for n in range(count)]
    engine = engine_of(conditions, symbols)
    wanted = windows_of(engine.rules)
    lookbacks = {symbol: lookback(STEP) for symbol in symbols}
    last = {symbol: (Point(now, 50.0, 49.0), float(STEP)) for symbol in symbols}
    late: list[float] = []
    fetches: list[float] = []
    passes: list[float] = []
    for _ in range(rounds):
        watch = gevent.spawn(_lateness)
        gevent.sleep(0)
        started = time.perf_counter()
        figures = readers.run(windows.figures, wanted, now, lookbacks)
        fetches.append((time.perf_counter() - started) * 1000)
        view = Live(now, last.get, figures)
        for rule in slices(engine.rules):
            engine.evaluate(view, (rule,))
        passes.append((time.perf_counter() - started) * 1000)
        watch.kill()
        late += watch.value.seen if isinstance(watch.value, _Seen) else []
    late.sort()
    return {
        "figures": len(wanted),
        "fetch_ms": round(statistics.median(fetches), 1),
        "pass_ms": round(statistics.median(passes), 1),
        "worst_ms": round(max(passes), 1),
        "hub_p99_ms": round(late[math.ceil(0.99 * len(late)) - 1], 2) if late else 0.0,
        "hub_worst_ms": round(late[-1], 2) if late else 0.0,
    }


def history() -> dict[str, float]:
    """Return the seconds that 86,400 moments of one series take, for each kind of figure."""
    chance = random.Random(1)
    view = Recorded({"custom.x": STEP})
    times = [START + turn * STEP * SECOND for turn in range(30 * 86_400 // STEP)]
    view.extend("custom.x", times, [chance.gauss(100, 10) for _ in times])
    found = {}
    for window in (
        Window("avg", "custom.x", 3_600), Window("max", "custom.x", 3_600),
        Window("quantile", "custom.x", 3_600, 0.95), Window("stddev", "custom.x", 3_600),
        Window("avg", "custom.x", 604_800), Window("stddev", "custom.x", 604_800),
        Window("quantile", "custom.x", 604_800, 0.95),
    ):  # fmt: skip
        started = time.perf_counter()
        for at in times:
            view.now = Micros(at)
            view.window(window)
        found[f"{window.reduction} over {window.seconds / 3_600:g} h"] = round(
            time.perf_counter() - started, 2
        )
    return found


def _median(work: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        took.append((time.perf_counter() - started) * 1000)
    return round(statistics.median(took), 2)


if __name__ == "__main__":
    main()
