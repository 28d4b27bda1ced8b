"""All stand-ins on loopback, a configuration that uses them, and the daemon with it: markets, offline."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
from pathlib import Path

import gevent
from gevent.event import Event

from tests.standins import SERVICES, faults
from tests.standins.alphavantage import AlphaVantage
from tests.standins.altseason import CMC_KEY
from tests.standins.base import StandIn
from tests.standins.market import Market
from tests.standins.stooq import Stooq
from tests.standins.yahoo import Yahoo
from tests.support.daemon import Daemon

# What is written with {…} is a stand-in's address, or its WebSocket's (…_ws).
CONFIG = """\
database: {{path: oculus.db, retention: 1d}}
collectors:
  # Prices of coins: asked for together, every ten seconds …
  - {{type: crypto, asset: btc_usd, source: coingecko, interval: 10s, rate: 60/m, base_url: "{coingecko}",
     extras: [change_24h]}}
  - {{type: crypto, asset: eth_usd, source: coingecko, interval: 10s, rate: 60/m, base_url: "{coingecko}"}}
  - {{type: crypto, asset: doge_usd, source: coingecko, interval: 10s, rate: 60/m, base_url: "{coingecko}"}}
  - {{type: crypto, asset: ada_eur, source: coingecko, interval: 10s, rate: 60/m, base_url: "{coingecko}"}}
  - {{type: crypto, asset: ltc_usd, source: kraken, interval: 10s, base_url: "{kraken}"}}
  # … and live, over WebSockets.
  - {{type: crypto, asset: sol_usd, source: coinbase, stream: true, interval: 2s, base_url: "{coinbase}",
     ws_url: "{coinbase_ws}", extras: [bid, ask]}}
  - {{type: crypto, asset: link_usd, source: kraken, stream: true, interval: 2s, base_url: "{kraken}",
     ws_url: "{kraken_ws}"}}
  - {{type: crypto, asset: xrp_usd, source: binance, stream: true, interval: 2s, base_url: "{binance}",
     ws_url: "{binance_ws}"}}
  # Moods: they change once a day.
  - {{type: crypto, indicator: fng, interval: 5m, base_url: "{alternative_me}"}}
  - {{type: crypto, indicator: mvrv, interval: 5m, base_url: "{coinmetrics}"}}
  - {{type: crypto, indicator: altseason, source: coinmarketcap, interval: 5m, api_key: {cmc_key},
     base_url: "{coinmarketcap}"}}
  # Stocks.
  - {{type: stock, ticker: TSLA, source: yahoo, interval: 10s, base_url: "{yahoo}"}}
  - {{type: stock, ticker: AAPL, source: yahoo, interval: 10s, base_url: "{yahoo}"}}
  - {{type: stock, ticker: "^GSPC", source: yahoo, kind: index, interval: 10s, base_url: "{yahoo}"}}
  - {{type: stock, ticker: SPY, source: stooq, kind: etf, interval: 15s, base_url: "{stooq}"}}
  - {{type: stock, ticker: NVDA, source: alphavantage, interval: 30s, api_key: demo-key,
     base_url: "{alphavantage}"}}
  - {{type: stock, indicator: sp_pe, interval: 5m, base_url: "{multpl}"}}
  # Odds.
  - {{type: prediction, slug: will-bitcoin-reach-100k, source: polymarket, stream: true, interval: 2s,
     base_url: "{polymarket}", ws_url: "{polymarket_ws}"}}
  - {{type: prediction, slug: will-it-rain, source: polymarket, interval: 10s, base_url: "{polymarket}"}}
  - {{type: prediction, slug: event-next-mayor, source: polymarket, interval: 10s,
     base_url: "{polymarket}"}}
  - {{type: prediction, slug: KXRATECUT-26, source: kalshi, interval: 10s, base_url: "{kalshi}"}}
  - {{type: prediction, slug: which-party-wins, source: manifold, interval: 10s, base_url: "{manifold}"}}
  # Any JSON.
  - {{type: api, name: trades, url: "{coinbase}/products/BTC-USD/stats", interval: 15s,
     values: {{high: $.high, low: $.low}}, unit: USD}}
  - {{type: api, name: caps, interval: 30s,
     url: "{coingecko}/api/v3/coins/markets?vs_currency=usd&per_page=5",
     list: "$[*]", label: $.symbol, json_path: $.market_cap, scale: 0.000000001, unit: bn USD}}
  - {{type: self, interval: 5s}}
rules:
  - {{name: bitcoin_high, condition: "crypto.price.btc_usd > {btc:.0f}", for: 20s, severity: info}}
  - {{name: solana_low, condition: "crypto.price.sol_usd < {sol:.2f}", for: 10s, severity: warn}}
  - {{name: tesla_high, condition: "stock.price.tsla > {tsla:.1f}", for: 30s, severity: info}}
  - {{name: fear, condition: "crypto.sentiment.fng < 45", severity: warn}}
"""

PER_ITEM = 3.0  # messages a second that a feed sends for each of a few items: watchable
OUTAGE = (20.0, 40.0)  # seconds that a service is away
# What may happen to a service, and how the console tells it.
OUTAGES = {
    "does not answer its port": faults.down(),
    "takes requests and never answers": faults.hang(),
    "says there were too many requests": faults.rate_limited(30),
    "fails with 503": faults.error(503),
    "sends HTML": faults.html(),
}


def start(market: Market, *, real_hours: bool = False) -> dict[str, StandIn]:
    """Start one of each service; their exchanges never close unless they are to keep real hours."""
    running = {name: service(market) for name, service in SERVICES.items()}
    for service in running.values():
        service.rate = PER_ITEM
        if isinstance(service, Yahoo | Stooq | AlphaVantage):
            service.always_open = not real_hours
    return running


def configuration(running: dict[str, StandIn], market: Market) -> str:
    """Return a configuration that uses the services, with rules whose limits lie near the prices of now."""
    addresses = {name: service.url for name, service in running.items()}
    addresses |= {f"{name}_ws": service.ws_url for name, service in running.items()}
    limits = {name: market.price(f"{name}_usd") for name in ("btc", "sol")} | {"tsla": market.price("tsla")}
    return CONFIG.format(**addresses, **limits, cmc_key=CMC_KEY)


def trouble(running: dict[str, StandIn], config: str, every: float) -> None:
    """Take one service in use away, again and again: every so many seconds, for less than a minute."""
    used = [service for service in running.values() if service.url in config]
    names = {service: name for name, service in running.items()}
    while True:
        gevent.sleep(every * random.uniform(0.7, 1.3))
        service, what = random.choice(used), random.choice(list(OUTAGES))
        seconds = random.uniform(*OUTAGE)
        say(f"{names[service]} {what}, for {seconds:.0f} s")
        service.fault = OUTAGES[what]
        gevent.sleep(seconds)
        service.fault = None
        say(f"{names[service]} is well again")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.standins", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="of the dashboard (default: a free one)")
    parser.add_argument(
        "--outages", type=float, default=150.0, metavar="SECONDS", help="between two outages; 0: none"
    )
    parser.add_argument("--real-hours", action="store_true", help="stocks rest when their exchanges do")
    parser.add_argument("--config-only", action="store_true", help="serve, but start no daemon")
    options = parser.parse_args(arguments)
    stopped = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopped.set)
    market = Market(random.randrange(1_000_000))
    running = start(market, real_hours=options.real_hours)
    config = configuration(running, market)
    daemon, outages = None, None
    with tempfile.TemporaryDirectory(prefix="oculus-markets-") as name:
        folder = Path(name)
        (folder / "config.yaml").write_text(config)
        say(f"configuration: {folder / 'config.yaml'}")
        try:
            if not options.config_only:
                daemon = Daemon(folder, config, options={"port": options.port})
                daemon.wait_ready()
                say(f"dashboard: {daemon.url}   (its log: {daemon.log_path})")
            if options.outages > 0:
                outages = gevent.spawn(trouble, running, config, options.outages)
            while not stopped.wait(1.0):
                if daemon is not None and daemon.process.poll() is not None:
                    say(daemon.log())
                    return 1
        except AssertionError as error:  # the daemon did not start: its log says why
            say(str(error))
            return 1
        finally:
            if outages is not None:
                outages.kill()
            if daemon is not None and daemon.process.poll() is None:
                daemon.stop()
            for service in running.values():
                service.stop()
    return 0
