"""The daemon under HTTP probes: processor time, memory, schedule, hub lateness and disk.

    python -m tests.bench.load --targets 200 --interval 1 --seconds 60
    python -m tests.bench.load --targets 1000 --interval 10 --seconds 120 --rules 20

Deviation from the schedule is what the targets saw: each arrival against the line through its target's
arrivals at exactly the interval.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import (
    ROOT,
    Target,
    deviations,
    exposed,
    fetch,
    memory,
    processor_seconds,
    start_daemon,
)


def main() -> None:
    """Run the load and print the figures as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", type=int, default=200)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rules", type=int, default=20)
    parser.add_argument("--program", default=f"{sys.executable} {ROOT / 'oculus.py'}")
    options = parser.parse_args()
    target = Target()
    address = f"http://127.0.0.1:{target.ports[0][0]}"
    config = {
        "collectors": [
            {"type": "network", "probe": "http", "name": f"t{index}", "target": f"{address}/t{index}",
             "interval": f"{options.interval:g}s"}
            for index in range(options.targets)
        ],
        "rules": [
            {"name": f"r{index}", "condition": f"net.http.t{index}.rtt > 1000", "for": "1m"}
            for index in range(min(options.rules, options.targets))
        ],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process, port, ready = start_daemon(folder, json.dumps(config), options.program.split())
        time.sleep(2 * options.interval)
        before, then = exposed(port), processor_seconds(process.pid)
        started = time.monotonic()
        time.sleep(options.seconds)
        after, elapsed = exposed(port), time.monotonic() - started
        used = processor_seconds(process.pid) - then
        timings = []
        for _ in range(20):
            began = time.perf_counter()
            fetch(f"http://127.0.0.1:{port}/api/metrics?symbol=*.rtt")
            timings.append((time.perf_counter() - began) * 1000)
            time.sleep(0.2)
        held = memory(process.pid)
        process.send_signal(signal.SIGTERM)
        stopping = time.perf_counter()
        status = process.wait(timeout=20)
        stopping = time.perf_counter() - stopping
        size = sum(path.stat().st_size for path in folder.glob("oculus.db*"))
        runs = after["oculus_runs_total"] - before["oculus_runs_total"]
        (seen,) = target.stop()
        off = deviations(seen, options.interval)
        print(json.dumps({
            "probes": runs,
            "probes_per_second": round(runs / elapsed, 1),
            "cpu_ms_per_probe": round(1000 * used / runs, 3),
            "private_mb": round(held["private"], 1),
            "private_dirty_mb": round(held["private_dirty"], 1),
            "resident_mb": round(held["resident"], 1),
            "ready_ms": round(ready * 1000),
            "hub_lateness_p99_ms": round(after["oculus_hub_lateness_p99_seconds"] * 1000, 2),
            "ticks_skipped": after["oculus_ticks_skipped_total"],
            "schedule_deviation_p99_ms": round(off[int(0.99 * len(off))], 2) if off else None,
            "targets_seen": len(seen),
            "latest_of_all_ms": round(statistics.median(timings), 2),
            "disk_bytes_per_probe": round(size / sum(map(len, seen.values())), 1),
            "stop_seconds": round(stopping, 2),
            "exit_status": status,
        }, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
