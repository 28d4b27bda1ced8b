"""`oculus derive` and `oculus rules` as real commands: on a file, and beside a running daemon."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess

from oculus.clock import SECOND, now
from oculus.config import loads
from oculus.model import Micros, Sample, Tags
from oculus.storage import Storage
from oculus.vocabulary import vocabulary
from tests.support.command import Ended, oculus
from tests.support.daemon import CHECKOUT, Daemon
from tests.support.servers import wait_for

Start = Callable[..., Daemon]

HOURS = 6
MINUTE = 60 * SECOND
CONFIG = """
database: {flush: 50ms}
derived:
  - {name: custom.more, formula: custom.double + 1, interval: 60s}
  - {name: custom.double, formula: 2 * custom.load, interval: 60s}
rules:
  - {name: busy, condition: custom.load > 90, for: 5m}
  - {name: typo, condition: custom.laod > 90}
  - {name: broken, sql: select nothing from metrics, every: 1m}
"""
GOOD = CONFIG[: CONFIG.index("  - {name: typo")]

BOTH = pytest.mark.parametrize("running", [False, True], ids=["file", "daemon"])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run where the database is: six hours of a load that is high in ten minutes of each hour."""
    monkeypatch.chdir(tmp_path)
    end = now() // MINUTE * MINUTE
    tags = Tags({"source": "exec"})
    with Storage("oculus.db") as store:
        store.write(
            Sample("custom.load", 95.0 if minute % 60 < 10 else float(minute % 37), ts, tags)
            for minute in range(-HOURS * 60, 0)
            for ts in [Micros(end + minute * MINUTE)]
        )
    Path("config.yaml").write_text(CONFIG)
    Path("good.yaml").write_text(GOOD)


def counts() -> list[list[Any]]:
    """Return how many samples each derived series has, and of how many moments."""
    sql = (
        "select symbol, count(*), count(distinct ts) from metrics where tags->>'source' = 'derived'"
        " group by symbol order by symbol"
    )
    found = oculus("query", sql, "--format", "json").json()
    return [list(row.values()) for row in found]


def written_by(ended: Ended) -> list[int]:
    """Return how many samples a command wrote of each series."""
    return [int(count) for count in re.findall(r": (\d+) samples? written$", ended.out, re.MULTILINE)]


def minutes_since(begun: Micros) -> int:
    """Return how many whole minutes of the clock have come since a time."""
    return now() // MINUTE - begun // MINUTE


@BOTH
def test_the_history_of_derived_values_is_stored_once(daemon: Start, *, running: bool) -> None:
    """What was written is told; again there is nothing to do, and every series reads like the other."""
    arguments = ["derive", "--backfill", "--config", "config.yaml"]
    if running:
        daemon(CONFIG)
        arguments = ["derive", "--backfill"]
    begun = now()
    first = oculus(*arguments)
    assert (first.status, first.err) == (0, "")
    written = written_by(first)
    assert len(written) == 2
    # At the end of its history the load is fresh for 5 more minutes, if so many go by.
    assert all(HOURS * 60 - 3 <= count <= HOURS * 60 + 6 for count in written)
    late = [0, 0]
    none = "custom.double: 0 samples written\ncustom.more: 0 samples written\nnothing was missing"
    while not (again := oculus(*arguments)).out.startswith(none):
        assert (again.status, again.err) == (0, "")
        late = [count + more for count, more in zip(late, written_by(again), strict=True)]
        # One for each minute that has begun meanwhile, and no more.
        assert max(late) <= minutes_since(begun)
    for _, samples, moments in counts():
        assert samples == moments
        assert samples >= written[0]
    off = (
        "select count(*) from metrics where symbol = 'custom.more'"
        " and value not in (select 2 * value + 1 from metrics where symbol = 'custom.load')"
    )
    assert oculus("query", off, "--format", "csv").out.split() == ["count_star()", "0"]


@BOTH
def test_what_cannot_be_derived_is_one_line(daemon: Start, *, running: bool) -> None:
    """A name that is none, a file that is missing, and nobody who knows the formulas."""
    if running:
        daemon(GOOD)
        told = oculus("derive", "--backfill", "custom.mor")
        assert (told.status, told.err.count("\n")) == (1, 1)
        return
    assert oculus("derive", "--backfill").err == (
        "no daemon runs that knows the derived values (name the file with --config)\n"
    )
    told = oculus("derive", "--backfill", "custom.mor", "--config", "config.yaml")
    assert (told.status, told.out) == (2, "")
    assert told.err == "no derived value is called 'custom.mor' (did you mean \"custom.more\"?)\n"
    for arguments in (
        ("derive",),
        ("derive", "--backfill", "--since", "soon"),
        ("rules",),
        ("rules", "suggest"),
    ):
        wrong = oculus(*arguments)
        assert (wrong.status, wrong.out) == (2, "")


@pytest.mark.parametrize(
    "command",
    [("derive", "--backfill"), ("backtest",), ("rules", "lint"), ("rules", "suggest", "custom.load")],
)
def test_odd_times_are_one_line(command: tuple[str, ...]) -> None:
    """What is before all that can be stored is its beginning; what is to come is told."""
    for since in ("1000000d", "99999999999999d", "0001-01-01", "1969-12-31"):
        told = oculus(*command, "--since", since, "--config", "good.yaml", "--db", "oculus.db")
        assert (told.status, told.err) == (0, ""), since
    late = oculus(*command, "--since", "9999-01-01", "--config", "good.yaml", "--db", "oculus.db")
    assert late.status in (0, 1, 2)
    assert "Error" not in late.err
    assert late.err.count("\n") <= 1


def test_a_backfill_takes_no_room_from_what_is_measured(daemon: Start) -> None:
    """With the smallest queue, and samples that come all the time, none of these is lost."""
    config = GOOD.replace("flush: 50ms", "flush: 50ms, queue: 1000, batch: 100").replace("60s", "1s")
    process = daemon(config)
    stop = gevent.event.Event()
    pushed = 0

    def load() -> None:
        nonlocal pushed
        while not stop.is_set():
            body = [{"symbol": "custom.live", "value": pushed + n} for n in range(20)]
            assert process.post("/api/push", json=body).status_code == 202
            pushed += 20
            gevent.sleep(0.15)

    loader = gevent.spawn(load)
    done = oculus("derive", "--backfill", limit=120)
    stop.set()
    loader.get(timeout=20)
    assert (done.status, done.err) == (0, "")
    written = written_by(done)
    assert sum(written) > HOURS * 3_600
    time.sleep(0.3)
    assert process.sql("select count(*) from metrics where symbol = 'custom.live'") == [[pushed]]
    dropped = re.findall(
        r"^oculus_samples_dropped_total\{.*\} (\d+)", process.get("/metrics").text, re.MULTILINE
    )
    assert set(dropped) == {"0"}
    assert all(samples == moments for _, samples, moments in counts())
    assert "Traceback" not in process.log()


@BOTH
def test_lint_tells_what_is_odd(daemon: Start, *, running: bool) -> None:
    """Status 1 when something needs attention; as lines for people, and as JSON."""
    arguments = ["rules", "lint", "--since", "2d", "--config", "config.yaml"]
    if running:
        daemon(CONFIG)
        arguments = arguments[:-2]
    told = oculus(*arguments)
    assert (told.status, told.err) == (1, "")
    assert "warn  typo: nothing was ever stored of custom.laod (did you mean custom.load?)\n" in told.out
    assert "warn  broken: its query fails: " in told.out
    assert told.out.endswith("3 rules: 2 warnings, 0 notes\n")
    findings = oculus(*arguments, "--format", "json").json()["findings"]
    assert [(each["rule"], each["code"]) for each in findings] == [
        ("typo", "unknown-symbol"), ("broken", "query-failed"),
    ]  # fmt: skip


@BOTH
def test_lint_of_what_is_well_is_status_0(daemon: Start, *, running: bool) -> None:
    """Another file than the daemon's may be asked about."""
    if running:
        daemon(CONFIG)
    told = oculus("rules", "lint", "--config", "good.yaml", "--db", "oculus.db")
    assert (told.status, told.err, told.out) == (0, "", "1 rule: 0 warnings, 0 notes\n")


@BOTH
def test_suggestions_can_be_pasted(daemon: Start, *, running: bool) -> None:
    """The last lines are a rule that a configuration takes."""
    if running:
        daemon(CONFIG)
    told = oculus("rules", "suggest", "custom.load")
    assert (told.status, told.err) == (0, "")
    assert told.out.startswith(f"custom.load: {HOURS * 60} samples, 0 to 95, median 22\n")
    text = told.out[told.out.index("rules:\n") :]
    (rule,) = loads(text, "pasted", vocabulary()).rules
    assert rule.condition.startswith("custom.load ")
    missing = oculus("rules", "suggest", "custom.nothing")
    assert (missing.status, missing.err.count("\n")) == (1, 1)
    assert missing.err.startswith("oculus: no sample of custom.nothing is stored since ")


def begun() -> subprocess.Popen[bytes]:
    """Start a command that computes history, and let it run."""
    return subprocess.Popen(
        [*CHECKOUT, "derive", "--backfill"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_one_work_at_a_time_and_none_for_who_has_gone(daemon: Start) -> None:
    """A second one is told to wait; when the first hangs up its work ends, and the daemon goes on."""
    formula = " + ".join(f"quantile(custom.load, 0.{digit}, {digit}h)" for digit in range(1, 10))
    process = daemon(GOOD.replace("2 * custom.load, interval: 60s", f'"{formula}", interval: 100ms'))
    first = begun()
    wait_for(lambda: process.sql("select count(*) from metrics where symbol = 'custom.double'")[0][0] > 3_000)
    second = oculus("rules", "lint")
    told = "oculus: other work of this kind is under way; try again when it is done\n"
    assert (second.status, second.err) == (1, told)
    first.send_signal(signal.SIGINT)
    assert first.wait(timeout=20) == 1
    wait_for(lambda: oculus("rules", "lint").status == 0)
    assert "Traceback" not in process.log()
    assert process.stop() == 0


def test_a_stop_ends_the_work(daemon: Start) -> None:
    """Within the time that a stop may take, with one line for who waits; what was computed is stored."""
    process = daemon(GOOD.replace("60s", "100ms"))
    first = begun()
    wait_for(lambda: process.sql("select count(*) from metrics where symbol = 'custom.double'")[0][0] > 3_000)
    began = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - began < 5
    assert first.wait(timeout=20) == 1
    assert first.stderr is not None
    assert first.stderr.read().count(b"\n") == 1
    assert all(samples == moments for _, samples, moments in counts())


@BOTH
def test_where_nothing_is_configured_there_is_nothing_to_do(daemon: Start, *, running: bool) -> None:
    """Neither derived values nor rules."""
    if running:
        daemon("database: {flush: 50ms}")
    Path("empty.yaml").write_text("database: {flush: 50ms}")
    derive = oculus("derive", "--backfill", "--config", "empty.yaml")
    assert derive == Ended(0, "no derived values are configured\n", "")
    lint = oculus("rules", "lint", "--config", "empty.yaml")
    assert (lint.status, lint.err) == (0, "")
    assert lint.out.startswith("0 rules: 0 warnings, 0 notes")
