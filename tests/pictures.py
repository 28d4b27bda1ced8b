"""Takes the manual's pictures from a real daemon and a real browser: `python -m tests.pictures`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import base64
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gevent

from oculus.clock import DAY, now
from oculus.model import Batch, Micros, Sample, Tags
from oculus.storage import ingest, rollup
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE, floor
from tests.standins import SERVICES
from tests.standins.market import Market
from tests.support.browser import Browser, Page, find_chromium
from tests.support.daemon import Daemon
from tests.support.servers import HttpServer, TcpServer

DOCS = Path(__file__).resolve().parents[1] / "docs"

CONFIG = """
collectors:
  - {{type: network, probe: http, name: website, target: "{site}/", interval: 1s}}
  - {{type: network, probe: http, name: api, target: "{site}/api", interval: 1s}}
  - {{type: network, probe: http, name: checkout, target: "{site}/checkout", interval: 1s}}
  - {{type: network, probe: tcp, name: database, target: "127.0.0.1:{tcp}", interval: 1s}}
  - {{type: network, probe: ping, name: router, target: 127.0.0.1, count: 1, interval: 1s}}
  - {{type: network, probe: ping, name: nas, target: 127.0.0.2, count: 1, interval: 1s}}
  - {{type: crypto, asset: btc_usd, source: coinbase, stream: true, interval: 1s, base_url: "{coinbase.url}",
     ws_url: "{coinbase.ws_url}"}}
  - {{type: crypto, asset: eth_usd, source: kraken, stream: true, interval: 1s, extras: [change_24h],
     base_url: "{kraken.url}", ws_url: "{kraken.ws_url}"}}
  - {{type: stock, ticker: TSLA, interval: 1s, base_url: "{yahoo.url}"}}
  - {{type: stock, ticker: NVDA, interval: 1s, base_url: "{yahoo.url}"}}
  - {{type: prediction, slug: will-it-rain, stream: true, interval: 1s, base_url: "{polymarket.url}",
     ws_url: "{polymarket.ws_url}"}}
  - {{type: host, interval: 2s}}
status:
  title: Example shop
  groups:
    - {{name: Shop, symbols: [net.http.website.up, net.http.checkout.up, net.http.api.up]}}
    - {{name: Behind it, symbols: [net.tcp.database.up, "net.ping.*.up"]}}
rules:
  - {{name: checkout_down, condition: "net.http.checkout.up == 0", for: 5s, severity: critical}}
  - {{name: tank_low, condition: "custom.tank_level < 100", for: 10m, severity: warn}}
  - {{name: bitcoin_high, condition: "crypto.price.btc_usd > {limit:.0f}", severity: info}}
"""
SECONDS = 45  # of the present in the pictures
DAYS = 90  # of the past
FINE = 2  # days of them with a sample a minute, the rest has four an hour

TARGETS = ("net.http.website", "net.http.api", "net.http.checkout", "net.tcp.database", "net.ping.nas",
           "net.ping.router")  # fmt: skip


def past(price: float) -> Iterator[Sample]:
    """Yield what was measured before: targets with outages now and then, and a price that ends at `price`."""
    chance = random.Random(7)
    end = now()
    fine = floor(Micros(end - FINE * DAY), HOUR)
    level, walk = 1.0, []
    for ts in range(fine, end - MINUTE, MINUTE):
        level *= math.exp(chance.gauss(0, 0.0007))
        walk.append((Micros(ts), level))
    for ts, value in walk:
        yield Sample("crypto.price.btc_usd", round(price * value / level, 2), ts, Tags({"unit": "USD"}))
    for place, target in enumerate(TARGETS):
        bad = {chance.randrange(DAYS * 24) for _ in range(2 + place % 3)}
        for hour in range(DAYS * 24):
            begin = Micros(floor(Micros(end - DAYS * DAY), HOUR) + hour * HOUR)
            for step in range(4 if begin < fine else 60):
                ts = Micros(begin + step * (15 if begin < fine else 1) * MINUTE)
                if ts >= end - MINUTE:
                    break
                down = hour in bad and step < 2
                yield Sample(f"{target}.up", float(not down), ts)
                if not down:
                    busy = 1.5 + math.sin((ts / HOUR - 9) / 24 * 2 * math.pi)
                    yield Sample(f"{target}.rtt", round(busy * (1 + place) + chance.expovariate(1), 3), ts)


def fill(path: Path, price: float) -> None:
    """Make a store with a past."""
    database = Database(str(path))
    batch = Batch(tuple(sorted(past(price), key=lambda sample: sample.ts or 0)))
    for first in range(0, len(batch.samples), 20_000):
        ingest.write(database.connection, Batch(batch.samples[first : first + 20_000]), 1)
    while rollup.advance(database.connection, Micros(now() - 2 * MINUTE), DAY):
        database.fold()
    database.close()


def take(page: Page, url: str, name: str, wait: str, *, scheme: str = "dark", width: int = 1440) -> None:
    """Write a picture of a page once an expression is true on it."""
    page.resize(width, 900 if width > 600 else 844, mobile=width < 600)
    page.prefer(scheme)
    page.goto(url)
    page.wait(wait)
    gevent.sleep(3)  # flashes are over
    picture = page.send("Page.captureScreenshot", format="png")["data"]
    (DOCS / f"{name}.png").write_bytes(base64.b64decode(picture))


def main() -> None:
    """Write docs/dashboard.png, series.png, status.png and phone.png."""
    program = find_chromium()
    assert program, "this needs Chromium"
    down = False

    def site(environ: dict[str, str], start_response: object) -> list[bytes]:
        gevent.sleep(0.002 + random.random() * 0.004)
        broken = down and environ["PATH_INFO"] == "/checkout"
        start_response("503 Service Unavailable" if broken else "200 OK", [])  # type: ignore[operator]
        return [b"ok"]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, tcp = HttpServer(site), TcpServer()
        market = Market()
        price = market.price("btc_usd")
        services = {name: SERVICES[name](market) for name in ("coinbase", "kraken", "yahoo", "polymarket")}
        for service in services.values():
            service.rate = 20.0
        fill(folder / "oculus.db", price)
        config = CONFIG.format(site=server.url, tcp=tcp.port, limit=price * 1.01, **services)
        daemon = Daemon(folder, config)
        browser = Browser(program, folder)
        try:
            daemon.wait_ready()
            for second in range(SECONDS):
                tank = 90 + 30 * math.sin(second / 9) + random.random() * 3
                daemon.post("/api/push/custom.tank_level", json={"value": round(tank, 1)})
                daemon.post("/api/push/custom.visitors", json={"value": random.randint(180, 240)})
                down = second > SECONDS - 15
                gevent.sleep(1)
            with browser.page() as page:
                rows = "document.querySelectorAll('#live .row').length > 10"
                take(page, daemon.url, "dashboard", rows)
                take(page, daemon.url, "phone", rows, width=390)
                series = f"{daemon.url}/series/crypto.price.btc_usd?range=1d&type=candles"
                take(page, series, "series", "window.Oculus?.chart?.points() > 20")
                take(
                    page,
                    f"{daemon.url}/status",
                    "status",
                    "document.querySelectorAll('.days').length > 3",
                    scheme="light",
                )
        finally:
            browser.close()
            daemon.kill()
            server.stop()
            tcp.stop()
            for service in services.values():
                service.stop()


if __name__ == "__main__":
    main()
