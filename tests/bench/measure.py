"""What several benches need: a daemon, the target that it probes, figures out of /proc and /metrics."""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Return user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> dict[str, float]:
    """Return private, private dirty and resident memory of a process in MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kb = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    return {
        "private": (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024,
        "private_dirty": kb["Private_Dirty"] / 1024,
        "resident": kb["Rss"] / 1024,
    }


def fetch(url: str) -> str:
    """Return the body of a page."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


def exposed(port: int) -> dict[str, float]:
    """Return the daemon's own metrics."""
    lines = fetch(f"http://127.0.0.1:{port}/metrics").splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start_daemon(
    folder: Path, config: str, program: Sequence[str]
) -> tuple[subprocess.Popen[bytes], int, float]:
    """Start a daemon; return it, its port, and the seconds from exec to a ready /readyz."""
    port = free_port()
    (folder / "config.yaml").write_text(config)
    started = time.perf_counter()
    process = subprocess.Popen(
        [*program, "--config", "config.yaml", "--port", str(port), "--log-level", "error"], cwd=folder
    )
    while True:
        try:
            fetch(f"http://127.0.0.1:{port}/readyz")
        except OSError:
            if process.poll() is not None:
                sys.exit(f"the daemon ended with {process.returncode}")
            time.sleep(0.005)
        else:
            return process, port, time.perf_counter() - started


def deviations(arrivals: dict[str, list[float]], interval: float) -> list[float]:
    """Return every arrival's distance from its target's schedule, in ms."""
    found = []
    for times in arrivals.values():
        offsets = [moment - index * interval for index, moment in enumerate(times)]
        # Ticks that were left out would shift the rest: count from the nearest whole interval.
        offsets = [offset - round((offset - offsets[0]) / interval) * interval for offset in offsets]
        middle = statistics.median(offsets)
        found += [abs(offset - middle) * 1000.0 for offset in offsets]
    return sorted(found)


def family(pids: Iterable[int]) -> set[int]:
    """Return processes with all that descend from them and still run."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended meanwhile
            continue
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


class Target:
    """A running `tests.bench.target`, and the `ports` it listens on: HTTP and TCP for each pair."""

    def __init__(self, pairs: int = 1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.target", "--pairs", str(pairs)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.ports: list[tuple[int, int]] = [
            (http, tcp) for http, tcp in json.loads(self.process.stdout.readline())
        ]

    def stop(self) -> list[dict[str, list[float]]]:
        """End it; return for each pair target → times of arrival (monotonic)."""
        arrivals: list[dict[str, list[float]]] = json.loads(self.process.communicate()[0])
        return arrivals
