"""Streams over real WebSockets: what they bring, in buckets, and what happens when they break."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket

from oculus.clock import SECOND
from oculus.collectors.base import Context
from oculus.collectors.markets.candles import Live
from oculus.collectors.markets.crypto import Crypto, CryptoSettings
from oculus.collectors.markets.sources.kraken import KrakenWire
from oculus.collectors.markets.stream import Connection, Streams
from oculus.collectors.markets.wire import Tick
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.model import Candle, Event, Micros, Sample
from oculus.supervise import Supervisor
from tests.standins import SERVICES, faults
from tests.standins.base import StandIn
from tests.standins.faults import Fault
from tests.support.certificates import server_context
from tests.support.proxy import Proxy
from tests.support.servers import TcpServer, wait_for

NAMES = ("coinbase", "binance", "kraken")
T = 1_787_227_200 * SECOND  # a whole minute


# -- buckets ---------------------------------------------------------------------------------------------


def live(*ticks: tuple[float, float]) -> Live:
    """Return what gathers in buckets of 5 s from ticks of (price, seconds after T)."""
    made = Live("k", 5 * SECOND, lambda: 0.0)
    for price, second in ticks:
        ts = Micros(T + int(second * SECOND))
        made.add(Tick("k", price, ts), ts)
    return made


def taken(made: Live, second: float) -> list[tuple[float, float, float, float, float]]:
    """Return open, high, low, close and time of the buckets that are complete at a second."""
    return [
        (found.open, found.high, found.low, found.close, (found.ts - T) / SECOND)
        for found in made.take(Micros(T + int(second * SECOND)))
    ]


def test_ticks_become_candles_by_their_own_time() -> None:
    """Each interval keeps its first, highest, lowest and last price, and the time of the last."""
    made = live((10, 0.0), (12, 1.0), (9, 2.0), (11, 4.9), (20, 5.0), (21, 6.0))
    assert taken(made, 4.99) == []
    assert taken(made, 5.0) == [(10, 12, 9, 11, 4.9)]
    assert taken(made, 60.0) == [(20, 21, 20, 21, 6.0)]
    assert taken(made, 60.0) == []


def test_a_tick_that_was_overtaken_counts_for_its_own_interval() -> None:
    """It may be the highest, and is not the last."""
    made = live((10, 1.0), (11, 5.5), (30, 4.0), (12, 5.2))
    assert taken(made, 10.0) == [(10, 30, 10, 30, 4.0), (11, 12, 11, 11, 5.5)]


def test_a_quiet_interval_has_no_candle() -> None:
    """A price that nobody paid is not made up."""
    assert taken(live((10, 1.0), (11, 21.0)), 30.0) == [(10, 10, 10, 10, 1.0), (11, 11, 11, 11, 21.0)]


def test_the_exchanges_clock_decides_when_an_interval_is_over() -> None:
    """A host whose clock is an hour behind gets its candles all the same."""
    clock = itertools.count(1000)
    connection = Connection(KrakenWire, "", "", lambda event: None, lambda: float(next(clock)))
    connection._last_frame = 1000.0
    connection.watch(live())
    connection._tick(Tick("k", 1.0, Micros(T)))
    assert connection.exchange_time() // SECOND in (T // SECOND, T // SECOND + 1)


# -- collectors -----------------------------------------------------------------------------------------


class Bench:
    """A stand-in, and a collector of it that streams; `collect` runs it once."""

    def __init__(self, name: str, asset: str = "btc_usd", **settings: Any) -> None:
        self.service: StandIn = SERVICES[name]()
        self.events: list[Event] = []
        self.supervisor = Supervisor(lambda worker, trace: self.deaths.append(trace))
        self.deaths: list[str] = []
        self.context = Context(
            report=self.events.append, spawn=self.supervisor.spawn, end=self.supervisor.stop
        )
        made = CryptoSettings(
            asset=asset, source=name, stream=True, interval=Seconds(settings.pop("interval", 1.0)),
            base_url=self.service.url, ws_url=self.service.ws_url, **settings,
        )  # fmt: skip
        self.collector = Crypto(CollectorSpec("crypto", asset, made), self.context)

    @property
    def streams(self) -> Streams:
        """The collector's connections."""
        return self.collector._streams

    def collect(self) -> list[Sample]:
        """Run it once."""
        return list(self.collector.collect())

    def connected(self) -> None:
        """Run it until the stream brings something."""
        self.collect()
        wait_for(lambda: self.service.connections)
        wait_for(lambda: self.tick(100.0) and self.alive())

    def alive(self) -> bool:
        """Whether the stream brings the asset."""
        return all(self.streams.alive(found) for found in self.collector._live.values())

    def tick(self, price: float, at: float | None = None) -> bool:
        """Send one price."""
        self.service.send_tick("btc_usd", price, at)
        gevent.sleep(0.03)
        return True

    def polls(self) -> int:
        """Requests that were no WebSocket's."""
        return sum(
            "upgrade" not in {key.lower() for key in request.headers} for request in self.service.requests
        )

    def stop(self) -> None:
        """End everything."""
        self.collector.close()
        self.supervisor.stop(*(worker.name for worker in self.supervisor.workers))
        self.context.close()
        self.service.stop()
        assert self.deaths == []


def _names(headers: Iterable[str]) -> set[str]:
    return {name.lower() for name in headers}


@pytest.fixture
def new_bench() -> Iterator[Callable[..., Bench]]:
    """Make benches; they end with the test."""
    benches: list[Bench] = []

    def make(*arguments: Any, **settings: Any) -> Bench:
        benches.append(Bench(*arguments, **settings))
        return benches[-1]

    yield make
    for bench in benches:
        bench.stop()


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_takes_over_from_polling_and_keeps_the_symbol(
    name: str, new_bench: Callable[..., Bench]
) -> None:
    """The first value is asked for, the next ones come as candles of the same series, without a request."""
    bench = new_bench(name)
    (first,) = bench.collect()
    assert first.symbol == "crypto.price.btc_usd"
    bench.connected()
    polls = bench.polls()
    at = float(int(bench.service.market.now()) + 2)
    for price, second in ((101.0, 0.1), (105.0, 0.2), (99.0, 0.3), (103.0, 0.4), (110.0, 1.2)):
        bench.tick(price, at + second)
    found = wait_for(
        lambda: [sample for sample in bench.collect() if sample.ts == Micros(int((at + 0.4) * 1e6))]
    )
    assert found[0].symbol == "crypto.price.btc_usd"
    assert found[0].value == 103.0
    assert found[0].candle == Candle(101.0, 105.0, 99.0)
    assert bench.polls() == polls


@pytest.mark.parametrize("name", NAMES)
def test_a_lost_stream_is_polled_for_and_opened_again(name: str, new_bench: Callable[..., Bench]) -> None:
    """While it is down REST answers; one event tells the loss if it lasts, one the return."""
    bench = new_bench(name)
    bench.connected()
    bench.service.fault = Fault("reset", only="ws")
    wait_for(lambda: not bench.service.connections)
    wait_for(lambda: [event for event in bench.events if "is down" in event.message])
    polls = bench.polls()
    gevent.sleep(0.1)
    wait_for(lambda: bench.collect() and bench.polls() > polls, 10)
    bench.service.fault = None
    wait_for(lambda: bench.service.connections, 10)
    wait_for(lambda: bench.tick(120.0) and bench.alive() and len(bench.events) > 1, 10)
    told = [event.message.partition(",")[0] for event in bench.events]
    assert told == [f"the stream of {name} is down", f"the stream of {name} is back"]


@pytest.mark.parametrize("name", NAMES)
def test_garbage_is_passed_over(name: str, new_bench: Callable[..., Bench]) -> None:
    """A frame that is no JSON, or of a kind that is not known, ends nothing."""
    bench = new_bench(name)
    bench.connected()
    bench.service.send_garbage()
    for text in ("[]", "5", "null", '{"type": "new_kind"}', '{"channel": "ticker", "data": [{}]}', ""):
        bench.service.send_text(text)
    assert bench.tick(130.0)
    assert bench.alive()
    assert next(found.last for found in bench.collector._live.values())[0] == 130.0  # type: ignore[index]


@pytest.mark.parametrize("name", ["coinbase", "kraken"])
def test_a_product_that_is_not_served_is_asked_for_by_request(
    name: str, new_bench: Callable[..., Bench]
) -> None:
    """A refused subscription is no live price; what REST says of the product is told."""
    bench = new_bench(name, asset="no_such_usd" if name == "kraken" else "nosuch_usd")
    with pytest.raises(Exception, match="does not know"):
        bench.collect()


def test_a_gap_is_filled_by_a_request(new_bench: Callable[..., Bench]) -> None:
    """A heartbeat that names a trade which never came makes the next run ask for the price."""
    bench = new_bench("coinbase")
    bench.connected()
    bench.collect()
    polls = bench.polls()
    (connection,) = bench.streams.connections
    frame = '{"type": "heartbeat", "last_trade_id": 999999999999, "product_id": "BTC-USD", "sequence": 1}'
    bench.service.send_text(frame)
    wait_for(lambda: connection.gaps == 1)
    gevent.sleep(2.1)  # for as long as an answer stays good
    bench.collect()
    assert bench.polls() == polls + 1


def test_collectors_of_one_source_share_a_connection(new_bench: Callable[..., Bench]) -> None:
    """Two assets are two subscriptions; the one that ends leaves the other alone."""
    bench = new_bench("kraken")
    bench.connected()
    settings = CryptoSettings(
        asset="eth_usd", source="kraken", stream=True, interval=Seconds(1.0),
        base_url=bench.service.url, ws_url=bench.service.ws_url,
    )  # fmt: skip
    other = Crypto(CollectorSpec("crypto", "eth_usd", settings), bench.context)
    list(other.collect())
    bench.service.rate = 50
    wait_for(lambda: all(bench.streams.alive(found) for found in other._live.values()))
    assert bench.service.connections == 1
    other.close()
    gevent.sleep(0.2)
    assert bench.alive()


# -- what breaks ----------------------------------------------------------------------------------------


def test_a_late_tick_makes_no_second_row_of_an_interval() -> None:
    """What comes after an interval was taken counts for the next, even if nothing else has come yet."""
    made = live((10, 1.0), (11, 4.8))
    assert taken(made, 5.2) == [(10, 11, 10, 11, 4.8)]
    for price, second in ((15, 4.9), (12, 6.0)):
        ts = Micros(T + int(second * SECOND))
        made.add(Tick("k", price, ts), ts)
    assert taken(made, 9.9) == []
    assert taken(made, 10.0) == [(15, 15, 12, 12, 6.0)]


def test_figures_belong_to_their_own_interval() -> None:
    """Where several intervals are taken at once, each has the bid of its own last price."""
    made = live()
    for price, second, bid in ((10.0, 1.0, 9.0), (20.0, 6.0, 19.0), (21.0, 5.5, 1.0)):
        ts = Micros(T + int(second * SECOND))
        made.add(Tick("k", price, ts, {"bid": bid}), ts)
    assert [bucket.figures for bucket in made.take(Micros(T + 60 * SECOND))] == [{"bid": 9.0}, {"bid": 19.0}]


def test_one_unknown_product_does_not_end_the_others_stream(new_bench: Callable[..., Bench]) -> None:
    """Coinbase refuses all that were asked for along with it: they are asked for once more without it."""
    bench = new_bench("coinbase")
    keys = ["NOSUCH-USD", "BTC-USD", "NOPE-USD", "ETH-USD"]
    lives = [bench.streams.watch(key, 1.0) for key in keys]
    wait_for(
        lambda: [bench.streams.alive(live) and live.ticked for live in lives] == [False, True, False, True]
    )
    assert bench.service.connections == 1
    assert [bool(live.refused) for live in lives] == [True, False, True, False]
    bench.streams.unwatch(*lives)


def test_a_stream_that_is_refused_is_left_alone_for_the_time_told(new_bench: Callable[..., Bench]) -> None:
    """Retry-After holds for the handshake as well; the reason is told in few words."""
    bench = new_bench("coinbase")
    bench.service.fault = faults.rate_limited(30, only="ws")
    bench.collect()
    wait_for(lambda: bench.events)
    gevent.sleep(2.5)
    assert len(bench.service.requests) - bench.polls() == 1
    assert bench.events[0].message == (
        "the stream of coinbase is down, prices are polled meanwhile: status 429:"
        ' {"message":"Public rate limit exceeded"}'
    )


def test_a_stream_follows_to_no_other_address(new_bench: Callable[..., Bench]) -> None:
    """A redirect leads wherever its sender likes: it is told, and not followed."""
    bench, other = new_bench("coinbase"), new_bench("coinbase")
    bench.service.fault = faults.redirect(other.service.ws_url, only="ws")
    bench.collect()
    wait_for(lambda: bench.events)
    assert "redirected to another address, which is not followed" in bench.events[0].message
    assert not other.service.requests


def test_two_ways_to_one_host_are_two_connections(new_bench: Callable[..., Bench]) -> None:
    """One through a proxy and one without: neither is in the way of the other."""
    bench = new_bench("kraken")
    through = Proxy(bench.service.port)
    straight = bench.streams
    proxied = Streams.of(bench.context, KrakenWire, bench.service.ws_url, through.url)
    lives = [found.watch("BTC/USD", 1.0) for found in (straight, proxied)]
    wait_for(lambda: straight.alive(lives[0]) and proxied.alive(lives[1]))
    straight.unwatch(lives[0])
    proxied.unwatch(lives[1])
    through.stop()


def test_a_proxy_is_told_the_name_and_password(new_bench: Callable[..., Bench]) -> None:
    """They stand in its URL, quoted as URLs need it."""
    bench = new_bench("kraken")
    heads: list[bytes] = []

    def proxy(sock: socket.socket) -> None:
        heads.append(sock.recv(65_536))

    server = TcpServer(proxy)
    host = "stream.test"  # no loopback address, which goes past proxies
    found = Streams.of(bench.context, KrakenWire, f"ws://{host}", f"http://me:p%40ss@127.0.0.1:{server.port}")
    live = found.watch("BTC/USD", 1.0)
    wait_for(lambda: heads)
    found.unwatch(live)
    server.stop()
    assert heads[0].startswith(b"CONNECT stream.test:80 ")
    assert base64.b64encode(b"me:p@ss") in heads[0]


@pytest.mark.parametrize("piece", [b"", b"x" * 100_000])
def test_a_message_that_does_not_end_is_given_up(piece: bytes, new_bench: Callable[..., Bench]) -> None:
    """It can neither fill the memory nor keep the hub for itself."""
    bench = new_bench("coinbase")
    head = bytes([0x00, 127]) + len(piece).to_bytes(8, "big") if piece else b"\x00\x00"

    def flood(sock: socket.socket) -> None:
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", sock.recv(65_536))
        assert key is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        sock.sendall(
            b"HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept + b"\r\n\r\n\x01\x00"
        )  # fmt: skip
        for _ in range(5_000):
            sock.sendall((head + piece) * 20)

    server = TcpServer(flood)
    found = Streams.of(bench.context, KrakenWire, f"ws://127.0.0.1:{server.port}", "")
    live = found.watch("BTC/USD", 1.0)
    wait_for(lambda: found.connections[0].error == "a message that does not end")
    found.unwatch(live)
    server.stop()


def test_a_stream_over_tls_verifies_whom_it_talks_to(new_bench: Callable[..., Bench]) -> None:
    """A certificate that nobody vouches for is refused."""
    bench = new_bench("kraken")
    context = server_context(trustme.CA().issue_cert("127.0.0.1"))
    service = SERVICES["kraken"](context=context)
    found = Streams.of(bench.context, KrakenWire, service.ws_url, "")
    live = found.watch("BTC/USD", 1.0)
    wait_for(lambda: found.connections[0].error)
    found.unwatch(live)
    service.stop()
    assert "certificate verify failed" in found.connections[0].error


def test_a_quiet_market_has_its_first_value_at_once_and_stays_confirmed(
    new_bench: Callable[..., Bench],
) -> None:
    """A second collector of a connection does not wait for the end of an interval; where nobody trades, the
    price that was asked for is still the last."""
    bench = new_bench("binance", interval=3_600.0)
    other = bench.streams.watch("ETHUSDT", 1.0)
    wait_for(lambda: bench.service.connections)
    wait_for(lambda: bench.streams.connections[0].connected)
    (sample,) = bench.collect()
    assert bench.polls() == 1
    (live,) = bench.collector._live.values()
    live.ticked = True
    assert bench.collect() == [sample]
    assert bench.polls() == 1
    bench.streams.unwatch(other)


def test_a_candle_names_its_own_source(new_bench: Callable[..., Bench]) -> None:
    """Prices of a fallback that stood in before are not what the stream's prices are taken for."""
    bench = new_bench("coinbase", fallback=("kraken",))
    bench.connected()
    bench.service.fault = faults.error(500, only="/products")
    kraken = SERVICES["kraken"]()
    object.__setattr__(bench.collector._feeds["kraken"].source.options, "base_url", kraken.url)
    for live in bench.collector._live.values():
        live.missed = True
    bench.collector._feeds["coinbase"]._kept.clear()
    assert {"source": "kraken"} in [sample.tags for sample in bench.collect()]
    kraken.stop()
    gevent.sleep(1.0)
    bench.tick(101.0)
    gevent.sleep(1.2)
    (live,) = bench.collector._live.values()
    candles = [sample for sample in bench.collect() if sample.value == 101.0]
    assert candles
    assert all(sample.tags.get("source") != "kraken" for sample in candles)


@pytest.mark.parametrize("ahead", [0.0, 0.7, -0.7, 3_600.4])
def test_the_next_run_comes_when_the_exchanges_interval_ends(
    ahead: float, new_bench: Callable[..., Bench]
) -> None:
    """Whatever our own clock shows: else each row would come an interval late."""
    bench = new_bench("coinbase", interval=5.0)
    bench.connected()
    at = time.time() + ahead + 10.0  # later than what was sent before
    bench.tick(100.0, at)
    bench.collect()
    rest = bench.collector.rest
    assert rest is not None
    assert 0.0 < rest <= 5.0
    assert (at + rest) % 5.0 == pytest.approx(0.25, abs=0.2)
