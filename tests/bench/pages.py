"""The pages over a large store: how long they take, and what fifty open dashboards cost.

    python -m tests.bench.pages                        # 1,000 series, each minute, 7 days: 10 million samples
    python -m tests.bench.pages --folder /tmp/pages    # keep the store there, and use it again

A daemon probes 1,000 HTTP targets every 10 s, as in `tests.bench.load`, on a store that holds a week of their
latencies. Times are what a client on the same host waits for the whole answer. Viewers are connections to
/live with all that it sends read; their cost is the daemon's processor time with them less the time without.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import json
import math
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import gevent
import requests

from oculus.clock import DAY, now
from oculus.model import Micros
from oculus.storage.database import Database
from oculus.storage.tiers import MINUTE, floor
from tests.bench.measure import (
    ROOT,
    Target,
    deviations,
    exposed,
    memory,
    processor_seconds,
    start_daemon,
)
from tests.bench.store import keep_up
from tests.support.client import ask

INTERVAL = 10.0  # seconds between two probes of a target
SETTLE = 25.0  # seconds from the start to the first measurement

# The k-th minute of the latencies of target t.
_SAMPLES = """
    select make_timestamptz($start + k * 60_000_000 + (hash(t) % 60_000)::bigint * 1000) as ts,
        'net.http' as category, 'net.http.t' || t || '.rtt' as symbol,
        round((5 + (hash(t + 7) % 115)::int)
            * (1 + 0.1 * sqrt(-2 * ln(1 - random())) * cos(6.2832 * random())), 3) as value,
        '{"target": "http://127.0.0.1/t' || t || '"}' as tags
    from range($first::bigint, $last::bigint) minutes(k), range($series) targets(t) order by k, ts"""


def main() -> None:
    """Make the store, run the daemon on it, and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--rounds", type=int, default=200, help="requests of each page")
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0, help="with viewers, and without")
    parser.add_argument("--folder", help="where the store is made, or was made before; it stays there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(given.folder or scratch) / "pages.db"
        if not made.exists():
            build(made, given.series, given.days)
        folder = Path(scratch) / "run"
        folder.mkdir()
        shutil.copy(made, folder / "oculus.db")
        print(json.dumps(measured(folder, given), indent=2))


def build(path: Path, series: int, days: int) -> None:
    """Fill a store with the days up to now, kept up as the daemon does it."""
    start = floor(Micros(now() - days * DAY), MINUTE)
    minutes = DAY // MINUTE
    Database(str(path)).close()
    for day in range(days):
        outsider = duckdb.connect()
        outsider.execute(f"attach '{path}' as ours")
        values = {"start": start, "series": series, "first": day * minutes, "last": (day + 1) * minutes}
        outsider.execute(f"insert into ours.metrics by name {_SAMPLES}", values)
        outsider.close()
        keep_up(str(path), Micros(start + (day + 1) * DAY), {"roll": [], "sort": []})


def measured(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    target = Target()
    address = f"http://127.0.0.1:{target.ports[0][0]}"
    config = {
        "collectors": [
            {"type": "network", "probe": "http", "name": f"t{index}", "target": f"{address}/t{index}",
             "interval": f"{INTERVAL:g}s"}
            for index in range(given.series)
        ],
        "rules": [
            {"name": f"r{index}", "condition": f"net.http.t{index}.rtt > 1000", "for": "1m"}
            for index in range(20)
        ],
    }  # fmt: skip
    process, port, ready = start_daemon(folder, json.dumps(config), [sys.executable, str(ROOT / "oculus.py")])
    found: dict[str, Any] = {"ready_ms": round(ready * 1000)}
    try:
        time.sleep(SETTLE)
        url = f"http://127.0.0.1:{port}"
        symbol = "net.http.t123.rtt"
        for name, path in (
            ("dashboard", "/"),
            ("dashboard, its live part", "/partials/metrics"),
            ("dashboard, by value", "/?sort=value&page=3"),
            ("series page", f"/series/{symbol}?range=7d"),
            ("series data, 7 days", f"/api/metrics/{symbol}?from=7d"),
            ("alerts", "/alerts"),
            ("status", "/status"),
            ("system", "/system"),
        ):
            found[name] = timed(url + path, given.rounds)
        alone = costs(process.pid, port, given.seconds)
        viewers = [gevent.spawn(watch, f"{url}/live", number) for number in range(given.viewers)]
        gevent.sleep(5)
        watched = costs(process.pid, port, given.seconds)
        found["viewers"] = {
            "connected": sum(not viewer.ready() for viewer in viewers),
            "cores_without": alone["cores"],
            "cores_with": watched["cores"],
            "cores_for_viewers": round(watched["cores"] - alone["cores"], 3),
            "hub_lateness_p99_ms": watched["hub_lateness_p99_ms"],
            "bytes_each_per_second": round(
                sum(viewer.bytes for viewer in _watching.values()) / len(viewers) / (given.seconds + 5)
            ),
        }
        gevent.killall(viewers)
        found["memory_mb"] = {name: round(size, 1) for name, size in memory(process.pid).items()}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        (seen,) = target.stop()
    off = deviations(seen, INTERVAL)
    found["schedule_deviation_p99_ms"] = round(off[int(0.99 * len(off))], 2)
    return found


def timed(url: str, rounds: int) -> dict[str, Any]:
    """Return how long a page takes, in milliseconds, and its size as browsers get it."""
    times, size, status = [], 0, 0
    with requests.Session() as session:
        session.headers["Accept"] = "text/html"
        for _ in range(rounds):
            began = time.perf_counter()
            answer = session.get(url, stream=True, timeout=30)
            size = len(answer.raw.read(decode_content=False))
            times.append((time.perf_counter() - began) * 1000)
            status = answer.status_code
            time.sleep(0.12)  # a client may ask ten times a second
    times.sort()
    return {
        "status": status, "kb": round(size / 1000, 1), "median_ms": round(statistics.median(times), 2),
        "p99_ms": round(times[math.ceil(0.99 * len(times)) - 1], 2), "worst_ms": round(times[-1], 2),
    }  # fmt: skip


def costs(pid: int, port: int, seconds: float) -> dict[str, float]:
    """Return the processor time that a process takes, in cores, and how late its hub is."""
    before, began = processor_seconds(pid), time.monotonic()
    gevent.sleep(seconds)
    used, elapsed = processor_seconds(pid) - before, time.monotonic() - began
    late = exposed(port)["oculus_hub_lateness_p99_seconds"] * 1000
    return {"cores": round(used / elapsed, 3), "hub_lateness_p99_ms": round(late, 2)}


class _Viewer:
    """What a viewer has read."""

    def __init__(self) -> None:
        self.bytes = 0


_watching: dict[int, _Viewer] = {}


def watch(url: str, number: int) -> None:
    """Read a stream of events for ever, from an address of its own: each may ask so often."""
    viewer = _watching[number] = _Viewer()
    answer = ask("GET", url, stream=True, timeout=60)
    assert answer.status_code == 200, answer.status_code
    for piece in answer.iter_content(65_536):
        viewer.bytes += len(piece)


if __name__ == "__main__":
    main()
