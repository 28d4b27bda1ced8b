"""A daemon that is killed over and over under full load: what was committed must be there, once, in order.

    python -m tests.bench.kill --rounds 140

Each round starts the daemon on the same file, pushes numbered samples over several connections as fast as
they are taken, and ends it at a random moment: by SIGKILL, or by SIGTERM every fourth time. A sample counts
as acknowledged once /api/metrics shows it, or a later one of its series: that is told after the commit.
Then `check` looks at a copy of the files, so that the next start meets them as the kill left them. The
daemon's upkeep hardly rests meanwhile, so that kills come in the midst of rolling up and rewriting, and the
samples' times are late at first and ahead later, so that both ways into a rollup are gone.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent import socket

from oculus.clock import SECOND, now
from oculus.storage import Storage
from oculus.storage.tiers import HOUR, MINUTE
from tests.support.client import fresh_address
from tests.support.daemon import Daemon
from tests.support.eager import EAGER

SERIES = 4  # connections that push at once, each its own series
SIZE = 500  # samples of one push
FLUSH = 0.05  # seconds
START = now() - 600 * SECOND  # the time of each series' number 0

# Sizes of the log at which it goes into the file, by round: with the first nearly every commit is followed
# by a checkpoint; with the last the next start reads a long log.
CHECKPOINTS = ("64KB", "1MB", "16MB")
STOP_EVERY = 4  # rounds of which one ends in order

# A loaded machine may take this long for the commit that a kill interrupts, with a step of upkeep before it.
COMMIT = 3.0  # seconds

CONFIG = """
database: {{flush: {flush}s, checkpoint: {checkpoint}, retention: 3650d}}
collectors: [{{type: self, interval: 100ms}}]
"""


@dataclass
class Series:
    """What one connection has sent; numbers count up from 0 over all rounds."""

    symbol: str
    sent: int = 0  # samples that left, answered or not
    accepted: list[tuple[int, float]] = field(default_factory=list)  # of this round: count, and when
    acknowledged: int = 0


@dataclass
class Outcome:
    """What a check found, in samples; all but `stored` must be 0."""

    stored: int = 0
    lost: int = 0  # acknowledged, and not there
    doubled: int = 0
    disordered: int = 0  # not in their place, or never sent
    wrong: int = 0  # with another time than they were sent with

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.lost or self.doubled or self.disordered or self.wrong)


def check(store: Storage, series: list[Series]) -> dict[str, Outcome]:
    """Return what the store holds of each series; fails where the rest of it contradicts itself."""
    found = {}
    for one in series:
        ((stored, distinct, disordered, wrong),) = store.query(
            """select count(*), count(distinct value),
                count(*) filter (value != place - 1), count(*) filter (epoch_us(ts) != $start + value * 1000)
            from (select ts, value, row_number() over (order by ts, rowid) as place
                from metrics where symbol = $symbol)""",
            {"symbol": one.symbol, "start": START},
        ).rows
        found[one.symbol] = Outcome(
            stored=stored,
            lost=max(0, one.acknowledged - distinct),
            doubled=stored - distinct,
            disordered=disordered + max(0, stored - one.sent),
            wrong=wrong,
        )
    ((events, ids, last),) = store.query("select count(*), count(distinct id), max(id) from events").rows
    assert events == ids == last, "the ids of events have gaps, or came twice"
    for tier, rolled in _ROLLED.items():
        assert store.query(rolled, {"built": _built(store, tier)}).rows == [[0]], (
            f"{tier} is not as its source"
        )
    return found


def _built(store: Storage, tier: str) -> int:
    rows = store.query(
        "select value::bigint from oculus_state where key = $key", {"key": f"built:rollup_{tier}"}
    ).rows
    return int(rows[0][0]) if rows else 0


def _compared(tier: str, width: int, source: str, columns: str) -> str:
    """Return a query for the number of buckets that are not what their source makes of them, but for those
    that are noted to be built again."""
    return f"""
        with bucket as (
            select symbol, make_timestamptz(epoch_us(ts) // {width} * {width}) as ts, {columns} from {source}
            where ts < make_timestamptz($built) group by all),
        again as (
            select distinct symbol, make_timestamptz(epoch_us(ts) // {width} * {width}) as ts
            from oculus_late)
        select count(*) from (
            select coalesce(bucket.symbol, rolled.symbol) as symbol, coalesce(bucket.ts, rolled.ts) as ts
            from bucket full join metrics_{tier} as rolled using (symbol, ts)
            where (bucket.open, bucket.high, bucket.low, bucket.close, bucket.count)
                    is distinct from (rolled.open, rolled.high, rolled.low, rolled.close, rolled.count)
                or abs(bucket.sum - rolled.sum) > 1e-9 * abs(bucket.sum)
        ) as wrong anti join again using (symbol, ts)"""


_ROLLED = {
    "1m": _compared(
        "1m", MINUTE, "metrics",
        "arg_min(value, ts) as open, max(value) as high, min(value) as low, arg_max(value, ts) as close,"
        " sum(value) as sum, count(*) as count",
    ),
    "1h": _compared(
        "1h", HOUR, "metrics_1m",
        "arg_min(open, ts) as open, max(high) as high, min(low) as low, arg_max(close, ts) as close,"
        " sum(sum) as sum, sum(count) as count",
    ),
}  # fmt: skip


def ask(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send one request from an address of its own; return status and body. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), 5.0, (fresh_address(), 0)) as sock:
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
    head_bytes, _, answer = b"".join(parts).partition(b"\r\n\r\n")
    if not head_bytes.startswith(b"HTTP/1."):
        raise ConnectionError("no answer")
    return int(head_bytes.split(b" ", 2)[1]), answer


def push(port: int, one: Series) -> None:
    """Push numbers as fast as they are taken, until the daemon is gone."""
    while True:
        numbers = range(one.sent, one.sent + SIZE)
        body = ", ".join(
            f'{{"symbol": "{one.symbol}", "value": {n}, "ts": {START + n * 1000}}}' for n in numbers
        )
        one.sent += SIZE
        while True:
            try:
                status, answer = ask(port, "POST", "/api/push", f"[{body}]".encode())
            except OSError:
                return
            if status == 202:
                one.accepted.append((one.sent, time.monotonic()))
                break
            assert status == 503, answer
            gevent.sleep(0.02)


def watch(port: int, series: list[Series]) -> None:
    """Note what is acknowledged, until the daemon is gone."""
    by_symbol = {one.symbol: one for one in series}
    while True:
        try:
            _, answer = ask(port, "GET", "/api/metrics?symbol=load.*")
            for metric in json.loads(answer)["metrics"]:
                by_symbol[metric["symbol"]].acknowledged = int(metric["value"]) + 1
        except (OSError, ValueError):  # killed while it answered
            return
        gevent.sleep(0.005)


@dataclass
class Round:
    """One round: what was found, what had been acknowledged, and the seconds of samples that went."""

    found: list[Outcome]
    acknowledged: int
    tails: list[float]


def one_round(folder: Path, series: list[Series], checkpoint: str, moment: float, stop: bool) -> Round:
    """Load a daemon for `moment` seconds, end it, and look at what it left."""
    daemon = Daemon(folder, CONFIG.format(flush=FLUSH, checkpoint=checkpoint), options={"program": EAGER})
    before = sum(one.acknowledged for one in series)
    try:
        daemon.wait_ready()
        pushing = [gevent.spawn(push, daemon.port, one) for one in series]
        watching = gevent.spawn(watch, daemon.port, series)
        gevent.sleep(moment)
        daemon.signal(signal.SIGTERM if stop else signal.SIGKILL)
        ended = time.monotonic()
        status = daemon.process.wait(timeout=20)
        gevent.joinall(pushing, timeout=20, raise_error=True)
        watching.get(timeout=20)
    finally:
        daemon.kill()
    assert status == (0 if stop else -signal.SIGKILL), daemon.log()
    copy = folder / "copy"
    copy.mkdir()
    for file in folder.glob("oculus.db*"):
        if file.is_file():
            shutil.copy(file, copy)
    with Storage(str(copy / "oculus.db")) as store:
        found = check(store, series)
    shutil.rmtree(copy)
    done = Round(list(found.values()), sum(one.acknowledged for one in series) - before, [])
    for one in series:
        stored = found[one.symbol].stored
        gone = [when for count, when in one.accepted if count > stored]
        assert not (stop and gone), "a stop in order lost what was accepted"
        done.tails.append(ended - gone[0] if gone else 0.0)
        # What went is sent again by the next round: nobody had seen it stored.
        one.sent = one.acknowledged = stored
        one.accepted.clear()
    return done


def run(folder: Path, rounds: int, seed: int) -> dict[str, Any]:
    """Do the rounds in `folder`; return the figures. Fails after the first round that shows a fault."""
    chance = random.Random(seed)
    series = [Series(f"load.s{number}") for number in range(SERIES)]
    total, acknowledged, stops = Outcome(), 0, 0
    tails: list[float] = []
    for number in range(rounds):
        stop = number % STOP_EVERY == STOP_EVERY - 1
        checkpoint = CHECKPOINTS[number % len(CHECKPOINTS)]
        done = one_round(folder, series, checkpoint, chance.uniform(0.1, 2.0), stop)
        acknowledged += done.acknowledged
        stops += stop
        if not stop:
            tails += done.tails
        total = Outcome(
            stored=sum(each.stored for each in done.found),
            lost=total.lost + sum(each.lost for each in done.found),
            doubled=sum(each.doubled for each in done.found),
            disordered=sum(each.disordered for each in done.found),
            wrong=sum(each.wrong for each in done.found),
        )
        assert total.good, (number, total, done)
    log = (folder / "daemon.log").read_text(errors="replace")
    assert "Traceback" not in log, log
    assert "damaged" not in log, log
    assert max(tails) <= FLUSH + COMMIT, tails
    with Storage(str(folder / "oculus.db")) as store:
        ((rolled, ordered),) = store.query(
            """select (select sum(count)::bigint from metrics_1m),
                (select count(*) from metrics where shard > 0)"""
        ).rows
    return {
        "rounds": rounds,
        "kills": rounds - stops,
        "stops": stops,
        "acknowledged": acknowledged,
        **asdict(total),
        "tail_seconds_median": round(statistics.median(tails), 3),
        "tail_seconds_most": round(max(tails), 3),
        "flush_seconds": FLUSH,
        "rolled_up": rolled,
        "in_order": ordered,
        "file_mb": round((folder / "oculus.db").stat().st_size / 1e6, 1),
    }


def main() -> None:
    """Run the rounds and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=140)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random when left out")
    options = parser.parse_args()
    seed = random.randrange(10**6) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as name:
        print(json.dumps({"seed": seed} | run(Path(name), options.rounds, seed), indent=2))


if __name__ == "__main__":
    main()
