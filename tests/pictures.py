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
  - {{type: self, interval: 1s}}
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
        daemon = Daemon(folder, CONFIG.format(site=server.url, tcp=tcp.port))
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
                page.resize(1440, 860)
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


if __name__ == "__main__":
    main()
