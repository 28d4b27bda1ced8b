"""Crypto: what can be configured, and what a collector makes of its sources' answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from oculus.collectors.base import CollectError, Context
from oculus.collectors.markets.crypto import Crypto, CryptoSettings, parse_asset
from oculus.config import loads
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Event, Sample
from oculus.vocabulary import vocabulary
from tests.standins import SERVICES, faults
from tests.standins.coingecko import DEMO_KEY, PRO_KEY

# -- settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("btc_usd", ("btc", "usd")),
        ("BTC/USD", ("btc", "usd")),
        ("eth-eur", ("eth", "eur")),
        ("wrapped-bitcoin_usd", ("wrapped-bitcoin", "usd")),
        ("1inch_usdt", ("1inch", "usdt")),
    ],
)
def test_assets_are_written_as_people_do(text: str, pair: tuple[str, str]) -> None:
    """Base and quote stand behind each other, whatever is between them."""
    assert parse_asset(text) == pair


def mistake(**settings: str) -> str:
    """Return what is wrong with a collector."""
    inside = ", ".join(f"{key}: {value}" for key, value in ({"type": "crypto"} | settings).items())
    with pytest.raises(ConfigError) as caught:
        loads(f"collectors:\n  - {{{inside}}}\n", "c.yaml", vocabulary())
    (told,) = caught.value.mistakes
    return told.removeprefix("c.yaml:2: collectors[0]")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, ": needs an asset (such as btc_usd) or an indicator (fng, mvrv or altseason)"),
        ({"asset": "btc_usd", "indicator": "fng"},
         ": needs an asset (such as btc_usd) or an indicator (fng, mvrv or altseason)"),
        ({"asset": "bitcoin"}, ".asset: 'bitcoin' is not an asset (base and quote, such as btc_usd)"),
        ({"asset": "btc_usd", "source": "krakn"}, ': unknown source "krakn" (did you mean "kraken"?)'),
        ({"asset": "btc_usd", "fallback": "[binanc]"}, ': unknown source "binanc" (did you mean "binance"?)'),
        ({"asset": "btc_usd", "stream": "true"},
         ': the source "coingecko" has no stream (binance, coinbase, kraken has)'),
        ({"indicator": "mvrv", "source": "glassnode"}, ': the source "glassnode" needs an api_key'),
        ({"indicator": "fg"}, ".indicator: is 'fg' (one of: , fng, mvrv, altseason)"),
        ({"asset": "btc_usd", "rate": "fast"}, ".rate: 'fast' is not a rate (such as 10/s, 30/m or 25/d)"),
        ({"asset": "btc_usd", "base_url": "localhost"},
         ".base_url: 'localhost' is not a URL (such as https://proxy.local/coingecko)"),
        ({"asset": "btc_usd", "ws_url": "http://x"},
         ".ws_url: 'http://x' is not the URL of a WebSocket (such as wss://proxy.local)"),
        ({"asset": "btc_usd", "symbol": "BTC"},
         ".symbol: 'BTC' is not a symbol (dotted lower-case names such as crypto.price.btc_usd)"),
        ({"asset": "btc_usd", "extras": "[asks]"},
         ".extras[0]: is 'asks' (one of: bid, ask, change_24h, change_day, volume_24h, market_open)"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_would_be_right(settings: dict[str, str], told: str) -> None:
    """Each has its place in the file and a way out."""
    assert mistake(**settings) == told


@pytest.mark.parametrize(
    ("settings", "source", "interval", "name"),
    [
        ({"asset": "btc_usd"}, "coingecko", 60.0, "btc_usd"),
        ({"asset": "BTC/USD", "source": "kraken"}, "kraken", 60.0, "btc_usd"),
        ({"indicator": "fng"}, "alternative", 3600.0, "fng"),
        ({"indicator": "mvrv"}, "coinmetrics", 3600.0, "mvrv"),
        ({"indicator": "altseason"}, "coingecko", 3600.0, "altseason"),
    ],
)
def test_what_is_left_out_is_as_usual(
    settings: dict[str, Any], source: str, interval: float, name: str
) -> None:
    """Prices come each minute; what changes once a day is asked for each hour."""
    made = CryptoSettings(**settings)
    assert (made.source, made.interval, made.default_name()) == (source, interval, name)


# -- collecting -----------------------------------------------------------------------------------------


class Bench:
    """Stand-ins by name, and collectors that share a context."""

    def __init__(self) -> None:
        self.services: dict[str, Any] = {}
        self.events: list[Event] = []
        self.context = Context(report=self.events.append)

    def service(self, name: str) -> Any:
        """Return a running stand-in."""
        if name not in self.services:
            self.services[name] = SERVICES[name]()
        return self.services[name]

    def collector(self, asset: str = "btc_usd", source: str = "coingecko", **settings: Any) -> Crypto:
        """Return a collector that asks a stand-in."""
        base_url = self.service(source).url
        made = CryptoSettings(asset=asset, source=source, base_url=base_url, **settings)
        return Crypto(CollectorSpec("crypto", asset, made), self.context)

    def stop(self) -> None:
        """End everything."""
        self.context.close()
        for service in self.services.values():
            service.stop()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Stand-ins and collectors; they end with the test."""
    made = Bench()
    yield made
    made.stop()


def _run(collector: Crypto) -> list[Sample]:
    return list(collector.collect())


def symbols(samples: list[Sample]) -> list[str]:
    """Return the symbols of samples."""
    return [sample.symbol for sample in samples]


def test_a_price_is_one_series_unless_more_is_asked_for(bench: Bench) -> None:
    """Bid, ask and change over 24 h are series of their own when they are wanted, as far as there are any."""
    assert symbols(list(bench.collector().collect())) == ["crypto.price.btc_usd"]
    wanted = bench.collector(source="binance", extras=("bid", "ask", "change_24h"))
    found = {sample.symbol: sample.tags for sample in wanted.collect()}
    assert set(found) == {f"crypto.price.btc_usd{part}" for part in ("", ".bid", ".ask", ".change_24h")}
    assert found["crypto.price.btc_usd.change_24h"] == {"unit": "%"}
    assert wanted.tags == {"source": "binance", "unit": "USD"}


def test_a_symbol_of_ones_own_stands_instead(bench: Bench) -> None:
    """Two sources of one asset can be told apart."""
    assert symbols(list(bench.collector(symbol="custom.btc").collect())) == ["custom.btc"]


@pytest.mark.parametrize(("source", "requests"), [("coingecko", 1), ("binance", 1), ("kraken", 1)])
def test_a_hundred_assets_are_one_request(bench: Bench, source: str, requests: int) -> None:
    """Collectors of one source and interval run together, and who asks together is asked for together."""
    collectors = [bench.collector(f"c{number}_usd", source) for number in range(100)]
    assert len({collector.group for collector in collectors}) == 1
    runs = [gevent.spawn(_run, collector) for collector in collectors]
    gevent.joinall(runs, timeout=10, raise_error=True)
    assert {sample.symbol for run in runs for sample in run.value or ()} == {
        f"crypto.price.c{n}_usd" for n in range(100)
    }
    assert len(bench.service(source).requests) == requests


def test_a_source_without_lists_is_asked_at_different_moments(bench: Bench) -> None:
    """Where each asset is a request, they are spread over the interval."""
    assert bench.collector("btc_usd", "coinbase").group != bench.collector("eth_usd", "coinbase").group


def test_a_fallback_answers_while_a_source_fails(bench: Bench) -> None:
    """Its name stands in the tags; the failure is told once, and so is its end."""
    collector = bench.collector(fallback=("kraken",))
    other = bench.service("kraken")
    feeds = collector._feeds
    object.__setattr__(feeds["kraken"].source.options, "base_url", other.url)
    bench.service("coingecko").fault = faults.error(500)
    for _ in range(3):
        (sample,) = collector.collect()
        assert sample.symbol == "crypto.price.btc_usd"
        assert sample.tags == {"source": "kraken"}
    assert len(bench.service("coingecko").requests) == 1  # it is left alone for a while
    bench.service("coingecko").fault = None
    feeds["coingecko"]._retry_at = 0.0
    (sample,) = collector.collect()
    assert sample.tags == {}
    told = [event.message for event in bench.events]
    assert len(told) == 2
    assert told[0].startswith("the source coingecko fails for crypto.price.btc_usd: status 500")
    assert told[1].startswith("the source coingecko works again, after ")


def test_a_failure_of_the_source_is_no_failure_of_each_collector(bench: Bench) -> None:
    """It is told by the source; a coin that it does not know is told by the collector."""
    with pytest.raises(CollectError, match=r"^coingecko: does not know the coin 'no-such-coin'") as unknown:
        list(bench.collector("no-such-coin_usd").collect())
    assert not unknown.value.told
    bench.service("coingecko").fault = faults.rate_limited(30)
    with pytest.raises(CollectError, match=r"^coingecko: status 429") as limited:
        list(bench.collector("sol_usd").collect())
    assert limited.value.told
    assert limited.value.retry_in == pytest.approx(30.0, abs=0.5)


def test_a_key_goes_into_the_header_of_its_plan(bench: Bench) -> None:
    """A demo key goes to the usual host, a pro key to its own; neither into the address."""
    list(bench.collector("btc_usd", api_key=DEMO_KEY).collect())
    service = bench.service("coingecko")
    service.pro = True
    list(bench.collector("eth_usd", api_key=PRO_KEY, plan="pro").collect())
    seen = service.requests
    keys = [{name.lower(): value for name, value in request.headers.items()} for request in seen]
    assert keys[0]["x-cg-demo-api-key"] == DEMO_KEY
    assert keys[1]["x-cg-pro-api-key"] == PRO_KEY
    assert "Oculus/" in keys[0]["user-agent"]
