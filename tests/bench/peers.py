"""Oculus beside Prometheus with blackbox_exporter: the same HTTP and TCP targets, at the same time.

    python -m tests.bench.peers                 # 1,000 of each every 10 s, for 5 minutes
    python -m tests.bench.peers --targets 200 --interval 1 --seconds 60
    python -m tests.bench.peers --alone --only http --program dist/oculus.pyz

Needs Debian's packages `prometheus` and `prometheus-blackbox-exporter`, whose services must not run. Both
sides store what they measure and evaluate the same rules. Ticks and the deviation from the schedule are what
the targets saw: a tick is missed where two arrivals at a target are further apart than an interval. Processor
time is that of all processes of a side; that of the target is neither's.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.bench.measure import (
    ROOT,
    Target,
    deviations,
    exposed,
    family,
    fetch,
    free_port,
    memory,
    processor_seconds,
    start_daemon,
)

KINDS = ("http", "tcp")
PROGRAMS = ("prometheus", "prometheus-blackbox-exporter")
TIMEOUT = 5  # seconds of a probe, on both sides
READY = 60.0  # seconds that a program has to become ready
SLOW_START = 6.0  # seconds: Prometheus hands targets on to its scrapers every 5 s
LOOK = 30.0  # seconds between two looks at the hub's lateness, of which the daemon tells the last minute's


@dataclass(frozen=True, slots=True)
class Load:
    """What is probed: addresses by kind, seconds between two probes of one, and how many rules there are."""

    addresses: Mapping[str, Sequence[str]]
    interval: float
    rules: int


class Oculus:
    """The daemon of the checkout, or of an archive."""

    name = "Oculus"

    def __init__(self, folder: Path, load: Load, program: Sequence[str]) -> None:
        config = {
            "collectors": [
                {"type": "network", "probe": kind, "name": f"t{index}", "target": address,
                 "interval": f"{load.interval:g}s", "timeout": f"{TIMEOUT}s"}
                for kind, addresses in load.addresses.items()
                for index, address in enumerate(addresses)
            ],
            "rules": [
                {"name": f"r{index}", "condition": f"net.{kind}.t{index}.rtt > 1000", "for": "1m"}
                for index in range(load.rules)
                for kind in [list(load.addresses)[index % len(load.addresses)]]
            ],
        }  # fmt: skip
        self._process, self._port, _ = start_daemon(folder, json.dumps(config), program)
        self.pids = [self._process.pid]
        self._before: dict[str, float] = {}
        self._worst = 0.0  # p99 of a minute, seconds

    def begin(self) -> None:
        """Note the counters at the start of the measurement."""
        self._before = exposed(self._port)

    def look(self) -> None:
        """Note the hub's lateness of the last minute."""
        self._worst = max(self._worst, exposed(self._port)["oculus_hub_lateness_p99_seconds"])

    def told(self) -> dict[str, str]:
        """Return what the program itself tells about the measurement."""
        after = exposed(self._port)
        growth = {name: value - self._before.get(name, 0.0) for name, value in after.items()}
        dropped = sum(count for name, count in growth.items() if "_dropped_total" in name)
        ask = json.dumps({"sql": "select count(*) from metrics where symbol like 'net.%.up' and value = 0"})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/api/query", ask.encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            failed = json.load(answer)["rows"][0][0]
        return {
            "failed probes (of all)": str(failed),
            "ticks skipped, by its count": f"{growth['oculus_ticks_skipped_total']:.0f}",
            "samples and events dropped": f"{dropped:.0f}",
            **hub_lateness(growth),
            "hub lateness p99, worst minute, ms": f"{1000 * self._worst:.1f}",
        }

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)


def hub_lateness(growth: Mapping[str, float]) -> dict[str, str]:
    """Return quantiles out of a histogram's growth, as upper bounds."""
    found = [re.fullmatch(r'oculus_hub_lateness_seconds_bucket\{le="(.*)"\}', name) for name in growth]
    buckets = sorted((float(match[1]), growth[match[0]]) for match in found if match)
    total = max(1.0, buckets[-1][1])

    def bound(share: float) -> str:
        return f"< {1000 * next(limit for limit, count in buckets if count >= share * total):g}"

    within = next(count for limit, count in buckets if limit == 0.02)
    return {
        "hub lateness p50 / p99 / max, ms": " / ".join(map(bound, (0.5, 0.99, 1.0))),
        "hub lateness above 20 ms": f"{100 * (1 - within / total):.2f} %",
    }


class Prometheus:
    """Prometheus, and the blackbox_exporter that probes for it."""

    name = "Prometheus + blackbox"

    def __init__(self, folder: Path, load: Load) -> None:
        self._port, prober = free_port(), free_port()
        common = {"timeout": f"{TIMEOUT}s"}
        modules = {
            "http_2xx": {"prober": "http", "http": {"preferred_ip_protocol": "ip4"}, **common},
            "tcp_connect": {"prober": "tcp", "tcp": {"preferred_ip_protocol": "ip4"}, **common},
        }
        scrapes = [
            {
                "job_name": kind,
                "metrics_path": "/probe",
                "params": {"module": [module]},
                "static_configs": [{"targets": load.addresses[kind]}],
                "relabel_configs": [
                    {"source_labels": ["__address__"], "target_label": "__param_target"},
                    {"source_labels": ["__param_target"], "target_label": "instance"},
                    {"target_label": "__address__", "replacement": f"127.0.0.1:{prober}"},
                ],
            }
            for kind, module in zip(KINDS, modules, strict=True)
            if kind in load.addresses
        ]
        addresses = [load.addresses[kind] for kind in load.addresses]
        rules = [
            {"alert": f"r{index}", "for": "1m",
             "expr": f'probe_duration_seconds{{instance="{addresses[index % len(addresses)][index]}"}} > 1'}
            for index in range(load.rules)
        ]  # fmt: skip
        every = f"{round(1000 * load.interval)}ms"
        timeout = f"{round(1000 * min(TIMEOUT, load.interval))}ms"
        times = {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": timeout}
        files = {
            "blackbox.yml": {"modules": modules},
            "rules.yml": {"groups": [{"name": "bench", "rules": rules}]},
            "prometheus.yml": {"global": times, "rule_files": ["rules.yml"], "scrape_configs": scrapes},
        }
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        arguments = {
            "prometheus-blackbox-exporter": ["--config.file=blackbox.yml"],
            "prometheus": ["--config.file=prometheus.yml", "--storage.tsdb.path=data"],
        }
        self._processes = [
            subprocess.Popen(
                [name, *arguments[name], f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
                cwd=folder,
            )
            for name, port in (("prometheus-blackbox-exporter", prober), ("prometheus", self._port))
        ]
        self.pids = [process.pid for process in self._processes]
        self._started = time.monotonic()
        wait_ready(f"http://127.0.0.1:{self._port}/-/ready")

    def begin(self) -> None:
        """Nothing needs to be noted."""

    def look(self) -> None:
        """Nothing needs to be noted."""

    def told(self) -> dict[str, str]:
        """Return what the program itself tells since its start."""
        span = f"[{round(time.monotonic() - self._started) + 60}s]"
        failed = sum(
            self._query(f"sum(count_over_time({name}{span})) - sum(sum_over_time({name}{span}))")
            for name in ("probe_success", "up")  # what the prober said, and whether it said anything
        )
        return {"failed probes (of all)": f"{failed:.0f}"}

    def _query(self, expression: str) -> float:
        query = urllib.parse.urlencode({"query": expression})
        answer: Any = json.loads(fetch(f"http://127.0.0.1:{self._port}/api/v1/query?{query}"))
        return float(answer["data"]["result"][0]["value"][1])

    def stop(self) -> None:
        """End both."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(timeout=60)


def wait_ready(url: str) -> None:
    """Wait until a page answers; raises OSError when it does not for long."""
    give_up = time.monotonic() + READY
    while True:
        try:
            fetch(url)
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)
        else:
            return


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one side: window (monotonic), processor seconds, memory in MB, its own words."""

    start: float
    end: float
    seconds: float
    private: float
    resident: float
    told: dict[str, str]


Side = Oculus | Prometheus


def measure(sides: Sequence[Side], warm_up: float, seconds: float, interval: float) -> list[Measured]:
    """Watch some programs for a while, at the same time."""

    def used() -> list[float]:
        return [sum(map(processor_seconds, family(side.pids))) for side in sides]

    time.sleep(warm_up)
    for side in sides:
        side.begin()
    start, before = time.monotonic(), used()
    end = start + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, LOOK))
        for side in sides:
            side.look()
    end, after = time.monotonic(), used()
    held = [[memory(pid) for pid in family(side.pids)] for side in sides]
    told = [side.told() for side in sides]
    time.sleep(interval)  # the arrivals that follow tell whether the last tick was missed
    spent = [now - then for now, then in zip(after, before, strict=True)]
    return [
        Measured(start, end, cpu, sum(part["private"] for part in parts),
                 sum(part["resident"] for part in parts), words)
        for cpu, parts, words in zip(spent, held, told, strict=True)
    ]  # fmt: skip


def missed(times: Sequence[float], start: float, end: float, interval: float) -> int:
    """Return how many ticks of one target were left out between `start` and `end`."""
    inside = [moment for moment in times if start - interval <= moment <= end + interval]
    if not inside:
        return int((end - start) / interval)
    gaps = [after - before for before, after in pairwise(inside)]
    # At the edges an arrival may be late by half an interval before it counts as missed.
    edges = [inside[0] - (start - interval), end + interval - inside[-1]]
    return sum(max(0, round(gap / interval) - 1) for gap in gaps) + sum(
        max(0, int(edge / interval - 0.5)) for edge in edges
    )


def rows(
    found: Measured, arrivals: Mapping[str, Sequence[float]], load: Load, names: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Return the lines of one side's column, by label."""
    inside = {
        name: [moment for moment in times if found.start <= moment <= found.end]
        for name, times in arrivals.items()
    }
    probes = sum(map(len, inside.values()))
    elapsed = found.end - found.start
    table = {
        "probes": f"{probes} ({probes / elapsed:.1f}/s)",
        "CPU per probe, ms": f"{1000 * found.seconds / max(1, probes):.3f}",
        "CPU, % of a core": f"{100 * found.seconds / elapsed:.1f}",
        "private / resident memory, MB": f"{found.private:.0f} / {found.resident:.0f}",
    }
    for kind, targets in names.items():
        lost = sum(missed(arrivals.get(name, ()), found.start, found.end, load.interval) for name in targets)
        table[f"{kind}: ticks missed"] = f"{lost} of {len(targets) * int(elapsed / load.interval)}"
        seen = {name: inside[name] for name in targets if inside.get(name)}
        off = deviations(seen, load.interval) or [0.0]
        figures = [f"{off[min(len(off) - 1, int(share * len(off)))]:.2f}" for share in (0.5, 0.99, 1.0)]
        table[f"{kind}: off schedule p50 / p99 / max, ms"] = " / ".join(figures)
    return table | found.told


def main() -> None:
    """Run both sides and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--targets", type=int, default=1000, help="of each kind, at most 60,000")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--warm-up", type=float, default=30.0, help="seconds before the measurement")
    parser.add_argument("--rules", type=int, default=20, help="threshold rules on each side")
    parser.add_argument("--only", choices=KINDS, help="leave the other kind out")
    parser.add_argument("--alone", action="store_true", help="one side after the other")
    parser.add_argument("--program", default=str(ROOT / "oculus.py"), help="oculus.py, or an archive")
    options = parser.parse_args()
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        parser.error(f"{' and '.join(lacking)} not found (apt-get install {' '.join(lacking)})")
    if options.warm_up < SLOW_START + options.interval:
        parser.error(f"--warm-up must be {SLOW_START + options.interval:g} s or more, until all is probed")
    kinds = [kind for kind in KINDS if options.only in (None, kind)]
    program = [sys.executable, str(Path(options.program).resolve())]
    target = Target(pairs=2)
    names = {
        "http": [f"/t{index}" for index in range(options.targets)],
        "tcp": [f"127.1.{index // 250}.{index % 250 + 1}" for index in range(options.targets)],
    }
    names = {kind: names[kind] for kind in kinds}
    loads = []
    for http, tcp in target.ports:
        forms = {"http": f"http://127.0.0.1:{http}{{}}", "tcp": f"{{}}:{tcp}"}
        addresses = {kind: [forms[kind].format(name) for name in names[kind]] for kind in kinds}
        loads.append(Load(addresses, options.interval, min(options.rules, options.targets)))
    columns: list[Measured] = []
    for group in [[0], [1]] if options.alone else [[0, 1]]:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            sides: list[Side] = []
            for number in group:
                place = Path(folder) / str(number)
                place.mkdir()
                side = Prometheus(place, loads[1]) if number else Oculus(place, loads[0], program)
                sides.append(side)
                stack.callback(side.stop)
            columns += measure(sides, options.warm_up, options.seconds, options.interval)
    seen = target.stop()
    tables = [
        rows(found, arrivals, load, names) for found, arrivals, load in zip(columns, seen, loads, strict=True)
    ]
    labels = list(dict.fromkeys(label for table in tables for label in table))
    wide = max(map(len, labels))
    print(f"| {'':{wide}} | {Oculus.name:>24} | {Prometheus.name:>24} |")
    print(f"|-{'-' * wide}-|-{'-' * 24}:|-{'-' * 24}:|")
    for label in labels:
        print(f"| {label:{wide}} | " + " | ".join(f"{table.get(label, ''):>24}" for table in tables) + " |")


if __name__ == "__main__":
    main()
