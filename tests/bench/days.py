"""The size of the file over simulated days at constant load: what is deleted must be used again.

    python -m tests.bench.days                       # 100 series every 30 s, kept for 3 days, for 30 days
    python -m tests.bench.days --series 500 --retention 7 --days 20

Samples are written in commits of ten minutes, and upkeep does hour by hour what it does in the daemon, by a
clock that is moved by hand.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loguru import logger

from oculus.clock import DAY, SECOND, ClockGuard
from oculus.model import Micros
from oculus.pipe import Pipe
from oculus.storage import queries
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.readers import Readers
from oculus.storage.tiers import HOUR, floor
from oculus.storage.upkeep import SORT_EVERY, Upkeep
from oculus.storage.writer import Writer
from tests.support.clocks import WallClock

START = floor(Micros(1_790_000_000 * SECOND), DAY)
SLOT = HOUR // 6  # microseconds of samples in one commit

_SAMPLES = """
    insert into metrics (ts, category, symbol, value, tags)
    select make_timestamptz($start + turn * $step + (hash(s) % ($step // 1000))::bigint * 1000), 'net.http',
        'net.http.host' || s || '_example_com.rtt',
        round((5 + (hash(s + 7) % 115)::int)
            * (1 + 0.1 * sqrt(-2 * ln(1 - random())) * cos(6.2832 * random())), 3),
        '{"target": "https://host' || s || '.example.com/"}'
    from range($turns::bigint) turns(turn), range($series) t(s) order by all"""


@dataclass
class Growth:
    """Bytes of the file and of what is used in it, day by day, and the longest steps in milliseconds."""

    file: list[int] = field(default_factory=list)
    used: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    upkeep_seconds: list[float] = field(default_factory=list)
    longest_step: float = 0.0


def live(path: str, days: int, series: int, step: int, retention: float) -> Growth:
    """Fill a store for some days; `step` is in seconds, `retention` in days, twice that for minutes."""
    database = Database(path)
    clock = WallClock(START)
    latest = Latest()
    writer = Writer(
        database, Pipe(10), batch=1, flush=1.0, on_commit=lambda batch: None, on_state=lambda error: None
    )
    readers = Readers(database)
    guard = ClockGuard(None, lambda: clock.wall, lambda: clock.monotonic)
    keep = {"metrics": retention * 86_400, "rollup_1m": 2 * retention * 86_400, "rollup_1h": 1e9}
    upkeep = Upkeep(database, writer, readers, latest, guard, keep)
    growth = Growth()
    turns = SLOT // (step * SECOND)
    for day in range(days):
        began = time.perf_counter()
        for hour in range(24):
            for slot in range(HOUR // SLOT):
                start = START + day * DAY + hour * HOUR + slot * SLOT
                values = {"start": start, "step": step * SECOND, "turns": turns, "series": series}
                writer.call(lambda connection, given: connection.execute(_SAMPLES, given).fetchall(), values)
                clock.pass_by(SLOT / SECOND)
                guard.check()
                upkeep.roll_up()
            upkeep.expire()
            if (hour + 1) % round(SORT_EVERY / 3_600) == 0:
                upkeep.sort()
        usage = readers.run(queries.usage)
        growth.file.append(Path(path).stat().st_size)
        growth.used.append(usage.used)
        growth.rows.append(usage.tables[0].rows)
        growth.upkeep_seconds.append(time.perf_counter() - began)
    growth.longest_step = upkeep.longest * 1000
    readers.close()
    writer.close()
    database.close()
    return growth


def main() -> None:
    """Print the sizes as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--series", type=int, default=100)
    parser.add_argument("--step", type=int, default=30, help="seconds between two samples of a series")
    parser.add_argument("--retention", type=float, default=3.0, help="days")
    given = parser.parse_args()
    logger.remove()
    with tempfile.TemporaryDirectory() as folder:
        growth = live(str(Path(folder) / "days.db"), given.days, given.series, given.step, given.retention)
    report: dict[str, Any] = {
        "file_mb": [round(size / 1e6, 1) for size in growth.file],
        "used_mb": [round(size / 1e6, 1) for size in growth.used],
        "samples": growth.rows[-1],
        "seconds_a_day": round(statistics.median(growth.upkeep_seconds), 2),
        "longest_step_ms": round(growth.longest_step),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
