"""Takes the manual's pictures from a real daemon and a real browser: `python -m tests.pictures`."""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import base64
import math
import random
import tempfile
from pathlib import Path

import gevent

from tests.standins import SERVICES
from tests.standins.market import Market
from tests.support.browser import Browser, find_chromium
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
  - {{type: self, interval: 5s}}
rules:
  - {{name: checkout_down, condition: "net.http.checkout.up == 0", for: 5s, severity: critical}}
  - {{name: tank_low, condition: "custom.tank_level < 100", for: 10m, severity: warn}}
"""
SECONDS = 45  # of history in the picture


def main() -> None:
    """Write docs/dashboard.png."""
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
        services = {name: SERVICES[name](market) for name in ("coinbase", "kraken", "yahoo", "polymarket")}
        for service in services.values():
            service.rate = 20.0
        daemon = Daemon(folder, CONFIG.format(site=server.url, tcp=tcp.port, **services))
        browser = Browser(program, folder)
        try:
            daemon.wait_ready()
            for second in range(SECONDS):
                level = 90 + 30 * math.sin(second / 9) + random.random() * 3
                daemon.post("/api/push/custom.tank_level", json={"value": round(level, 1)})
                daemon.post("/api/push/custom.visitors", json={"value": random.randint(180, 240)})
                down = second > SECONDS - 15
                gevent.sleep(1)
            with browser.page() as page:
                page.resize(1440, 900)
                page.prefer("dark")
                page.goto(daemon.url)
                gevent.sleep(4.5)  # the flash of the first swap is over
                picture = page.send("Page.captureScreenshot", format="png")["data"]
                (DOCS / "dashboard.png").write_bytes(base64.b64decode(picture))
        finally:
            browser.close()
            daemon.kill()
            server.stop()
            tcp.stop()
            for service in services.values():
                service.stop()


if __name__ == "__main__":
    main()
