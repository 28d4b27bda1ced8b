"""A busy price feed: processor time, rows, and whether the candles are those of the messages.

    python -m tests.bench.feed --rate 2000 --seconds 60

A stand-in of Coinbase sends so many prices a second of one product; a daemon keeps one row per interval.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse
import math
import tempfile
from collections import defaultdict
from pathlib import Path

import gevent

from tests.bench.measure import exposed, processor_seconds
from tests.standins import SERVICES
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

CONFIG = """
server: {{port: $PORT}}
collectors:
  - {{type: crypto, asset: btc_usd, source: {source}, stream: true, interval: {interval:g}s,
      base_url: "{rest}", ws_url: "{ws}"}}
"""


def main() -> None:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(description="A busy price feed.")
    parser.add_argument("--rate", type=float, default=2000.0, help="messages a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--interval", type=float, default=5.0, help="seconds of a row")
    parser.add_argument("--source", default="coinbase", choices=("coinbase", "binance", "kraken"))
    options = parser.parse_args()
    service = SERVICES[options.source]()
    service.ticks = []
    with tempfile.TemporaryDirectory() as folder:
        config = CONFIG.format(
            source=options.source, interval=options.interval, rest=service.url, ws=service.ws_url
        )
        daemon = Daemon(Path(folder), config)
        try:
            daemon.wait_ready()
            wait_for(lambda: service.connections)
            service.rate = options.rate
            gevent.sleep(2.0)
            before, messages = processor_seconds(daemon.process.pid), len(service.ticks)
            gevent.sleep(options.seconds)
            used, sent = processor_seconds(daemon.process.pid) - before, len(service.ticks) - messages
            lateness = exposed(daemon.port)["oculus_hub_lateness_p99_seconds"]
            service.rate = 0.0
            gevent.sleep(2 * options.interval)
            rows = daemon.sql(
                "select epoch_us(ts), coalesce(open, value), coalesce(high, value), coalesce(low, value),"
                " value from metrics where symbol = 'crypto.price.btc_usd' order by ts"
            )
        finally:
            daemon.process.terminate()
            daemon.process.wait()
            service.stop()
    judge(rows, service.ticks, options.interval)
    print(f"{sent / options.seconds:,.0f} messages/s, {used / options.seconds:.3f} of a core,"
          f" {1e6 * used / max(1, sent):.0f} µs each; {1e3 * lateness:.1f} ms hub lateness p99")  # fmt: skip


def judge(rows: list[list[float]], ticks: list[tuple[str, float, float]], interval: float) -> None:
    """Compare the rows with what was sent."""
    step = int(interval * 1e6)
    wanted: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for _, price, at in ticks:
        wanted[round(at * 1e6) // step].append((round(at * 1e6), price))
    seen: dict[int, list[list[float]]] = defaultdict(list)
    for row in rows:
        seen[int(row[0]) // step].append(row)
    inner = sorted(wanted)[1:-1]  # the first and the last are cut off by the measuring
    right = wrong = 0
    for bucket in inner:
        prices = [price for _, price in sorted(wanted[bucket], key=lambda tick: tick[0])]
        expected = (prices[0], max(prices), min(prices), prices[-1])
        found = [tuple(row[1:]) for row in seen.get(bucket, [])]
        good = len(found) == 1 and all(
            math.isclose(a, b, abs_tol=0.0051) for a, b in zip(found[0], expected, strict=True)
        )
        right += good
        wrong += not good
        if not good:
            print("expected", expected, "found", found)
    print(f"{len(inner)} whole intervals: {right} with one row of the right candle, {wrong} without")


if __name__ == "__main__":
    main()
