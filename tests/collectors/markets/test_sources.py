"""The contract of all market sources, over real sockets: one line in `LINES` for each of them.

Whatever a service does, its source gives exactly what the service says, or a reason that a person can read.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gevent
import pytest
import trustme

from oculus.clock import SECOND
from oculus.clock import now as wall_now
from oculus.collectors.base import CollectError
from oculus.collectors.fetch import Fetcher, SourceError
from oculus.collectors.markets import feed as feed_module
from oculus.collectors.markets.feed import Feed
from oculus.collectors.markets.sources import SOURCES, source_class
from oculus.collectors.markets.sources.base import Item, ItemError, Options, Pair, Quotes
from oculus.collectors.markets.sources.odds import Bet
from oculus.model import Event, Micros, slug
from tests.standins import SERVICES, faults
from tests.standins.altseason import CMC_KEY
from tests.standins.base import Answer, Request, StandIn
from tests.standins.coingecko import DEMO_KEY
from tests.standins.faults import Fault
from tests.standins.market import DAY, Market
from tests.standins.onchain import GLASSNODE_KEY
from tests.support.certificates import server_context
from tests.support.clocks import Clock
from tests.support.servers import HttpServer

NOW = 1_787_153_400.0  # a Wednesday, 2026-08-19T15:30:00Z: the exchanges of New York are open
MIDNIGHT = NOW - NOW % DAY
AT = NOW - 5.0  # the last trade
UNUSED_KEY = "unused-key-0123456789"  # for services that take none: it must not show either

# What services send and how they fail; the two that take their time are given little of it.
SLOW = ("drip", "hang")
BROKEN = [
    fault for kind, fault in faults.ALL.items() if kind not in SLOW and kind not in ("rate_limited", "error")
]

# What shows how a program is made instead of what is wrong.
UGLY = ("object at", "Error(", "Traceback", "HTTPConnection", "Pool(", "Errno", "None")

# The time of a value is that of the answer, or of the request: the service gives none.
RECEIVED = None

Expected = Mapping[Item, tuple[str, float, float | None]]  # part of the symbol, value, seconds since 1970


@dataclass(frozen=True)
class Line:
    """What the suite has to know of a source."""

    wanted: str  # the kind, as the table of sources has it
    source: str
    standin: str  # of tests.standins.SERVICES
    expected: Callable[[Market], Expected]  # sets values and returns what must come of them
    unknown: Item | None = None
    key: str = UNUSED_KEY
    # Seconds of silence after its refusal, which names 30 s if it names a time; or the least and the most.
    silence: float | tuple[float, float] = 30.0
    # A hundred items, and the requests that they make at first and later.
    hundred: Callable[[int], Item] | None = None
    requests: tuple[int, int] = (1, 1)
    # What the service calls the first of the expected items, where an answer has several.
    native: str = ""

    def __str__(self) -> str:
        return f"{self.wanted}-{self.source}"


def values(
    at: float | None, items: Mapping[Any, tuple[str, float]], part: str = ""
) -> Callable[[Market], Expected]:
    """Return what sets items of the market, last traded at AT, and tells that they must come.

    `part` is that of their symbols, with the item's name in place of {}.
    """

    def arrange(market: Market) -> Expected:
        for name, value in items.values():
            market.set(name, value, AT)
        return {item: (part.format(slug(name)), value, at) for item, (name, value) in items.items()}

    return arrange


def season(market: Market) -> Expected:
    """Return the altcoin season index of the stand-in's fifty largest coins, counted here once more."""
    named = [
        *("eth", "sol", "xrp", "bnb", "ada", "doge", "dot", "ltc", "bch", "link", "xmr", "avax", "trx"),
        *("ton", "pol"),
    ]
    coins = [*named, *(f"coin-{rank}" for rank in range(22, 22 + 50 - len(named)))]
    growth = {
        coin: market.price(f"{coin}_usd", MIDNIGHT) / market.price(f"{coin}_usd", MIDNIGHT - 90 * DAY)
        for coin in ["btc", *coins]
    }
    better = sum(growth[coin] > growth["btc"] for coin in coins)
    assert 0 < better < 50  # a share that tells something
    return {"altseason": ("", 2.0 * better, MIDNIGHT)}


BTC, ETH, SOL = Pair("btc", "usd"), Pair("eth", "usd"), Pair("sol", "usd")
NO_COIN = Pair("nosuch", "usd", "no-such-coin")
COINS = {BTC: ("btc_usd", 81_250.11), ETH: ("eth_usd", 2_981.44), SOL: ("sol_usd", 142.2177)}


TETHERS = {Pair(pair.base, "usdt"): (f"{pair.base}_usdt", value) for pair, (_, value) in COINS.items()}
STOCKS = {"TSLA": ("tsla", 412.36), "AAPL": ("aapl", 251.875), "^GSPC": ("^gspc", 7_421.18)}
BETS = {Bet(name): (name, value) for name, value in (("will-it-rain", 0.405), ("will-it-snow", 0.015))}
TICKERS = {Bet("KXRAIN-26"): ("KXRAIN-26", 0.405), Bet("KXSNOW-26"): ("KXSNOW-26", 0.015)}


def coin(number: int) -> Item:
    """Return one of many pairs."""
    return Pair(f"coin{number}", "usd")


def share(number: int) -> Item:
    """Return one of many tickers."""
    return f"{'ABCDEFGHIJ'[number // 10]}{'ABCDEFGHIJ'[number % 10]}"


def bet(number: int) -> Item:
    """Return one of many markets."""
    return Bet(f"MARKET-{number}")


LINES = [
    Line("crypto", "coingecko", "coingecko", values(AT, COINS), unknown=NO_COIN, key=DEMO_KEY,
         hundred=coin, native="bitcoin"),
    Line("crypto", "binance", "binance", values(AT, TETHERS), unknown=NO_COIN, hundred=coin,
         native="BTCUSDT"),
    Line("crypto", "coinbase", "coinbase", values(AT, COINS), unknown=NO_COIN),
    Line("crypto", "kraken", "kraken", values(RECEIVED, COINS), unknown=NO_COIN, hundred=coin),
    Line("crypto/fng", "alternative", "alternative_me", values(MIDNIGHT, {"fng": ("fng", 39.0)})),
    Line("crypto/mvrv", "coinmetrics", "coinmetrics",
         values(MIDNIGHT - DAY, {"mvrv": ("mvrv", 1.5289113421190873)})),
    Line("crypto/mvrv", "glassnode", "glassnode",
         values(MIDNIGHT - DAY, {"mvrv": ("mvrv", 1.5289)}), key=GLASSNODE_KEY),
    Line("crypto/altseason", "coingecko", "altseason", season, key=DEMO_KEY),
    Line("crypto/altseason", "coinmarketcap", "coinmarketcap",
         values(NOW, {"altseason": ("altseason", 41.0)}), key=CMC_KEY, silence=(60.0, 90.0)),
    Line("stock", "yahoo", "yahoo", values(AT, STOCKS), unknown="NOPE", silence=(60.0, 90.0)),
    # Until midnight in Warsaw: the limit is one of a day.
    Line("stock", "stooq", "stooq", values(AT, STOCKS), unknown="NOPE", silence=6.5 * 3_600, hundred=share,
         requests=(2, 2), native="tsla.us"),
    # Its time is a day's close, or the present as long as that is to come.
    Line("stock", "alphavantage", "alphavantage", values(RECEIVED, {"TSLA": ("tsla", 412.36)}),
         unknown="NOPE", silence=1.0),
    Line("stock/sp_pe", "multpl", "multpl",
         values(MIDNIGHT - DAY + 20 * 3_600, {"sp_pe": ("sp_pe", 29.41)})),
    Line("prediction", "polymarket", "polymarket", values(NOW, BETS, "{}.yes"), unknown=Bet("no-such-bet"),
         hundred=bet, requests=(2, 2), native="will-it-rain"),
    Line("prediction", "kalshi", "kalshi", values(RECEIVED, TICKERS), unknown=Bet("NOSUCH-26"),
         hundred=bet, native="KXRAIN-26"),
    # Slugs are looked up one by one, and then asked for together.
    Line("prediction", "manifold", "manifold", values(AT, BETS), unknown=Bet("no-such-bet"),
         hundred=bet, requests=(100, 1), native="will-it-rain"),
]  # fmt: skip

EACH = pytest.mark.parametrize("line", LINES, ids=str)


class Rig:
    """A source before its stand-in, asked through a feed as collectors do, on a clock moved by hand."""

    def __init__(self, line: Line, base_url: str = "", timeout: float = 10.0, **standin: Any) -> None:
        self.line = line
        self.market = Market()
        self.market.freeze(NOW)
        self.service: StandIn = SERVICES[line.standin](self.market, **standin)
        self.clock = Clock()
        self.fetcher = Fetcher(self.clock, self.clock.sleep)
        options = Options(base_url or self.service.url, line.key, timeout=timeout)
        self.source = source_class(line.wanted, line.source)(options, self.fetcher, self._now)
        self.events: list[Event] = []
        self.feed = Feed(self.source, self.events.append, self.clock)
        self.expected = line.expected(self.market)
        self.items = list(self.expected)
        self.since = self.moments

    def _now(self) -> Micros:
        return Micros(round((NOW + self.clock.now - 1000.0) * SECOND))

    def ask(self, *items: Item) -> dict[Item, Quotes | CollectError]:
        """Ask for items at one moment, as their collectors do; any other error than theirs goes through."""
        asking = {item: gevent.spawn(self._ask, item) for item in items}
        return {item: greenlet.get() for item, greenlet in asking.items()}

    def _ask(self, item: Item) -> Quotes | CollectError:
        for _ in range(40):
            try:
                found = self.feed.get(item)
            except (SourceError, ItemError) as error:
                return error
            if found.quotes:
                return found
            assert found.rest  # it gathers over several runs
            self.clock.now += found.rest
        raise AssertionError("nothing came in forty runs")

    def expect_values(self) -> None:
        """Ask for all known items, and compare with what was set."""
        for item, found in self.ask(*self.items).items():
            self.expect_value(item, found)

    @property
    def moments(self) -> tuple[Micros, Micros]:
        """The present, of the answers and of the source."""
        return wall_now(), self._now()

    def expect_value(self, item: Item, found: Quotes | CollectError) -> None:
        """Check the value and the time of an item's answer."""
        assert isinstance(found, Quotes), f"{item}: {found}"
        part, value, at = self.expected[item]
        (quote,) = [quote for quote in found.quotes if quote.part == part]
        assert quote.value == value
        if at is None:
            ts = quote.ts or 0
            assert any(start <= ts <= end for start, end in zip(self.since, self.moments, strict=True))
        else:
            assert quote.ts == round(at * SECOND)

    def expect_reason(self, found: Quotes | CollectError) -> str:
        """Check that there is no value, and that the reason is fit for a person; return it."""
        assert isinstance(found, CollectError), f"a value: {found}"
        for text in [str(found), *(event.message for event in self.events)]:
            assert 5 < len(text) < 300, text
            for ugly in (self.line.key, self.service.url, "\n", *UGLY):
                assert ugly not in text, text
            assert not re.search(r"[?&]\w+=", text), text
        return str(found)

    def later(self) -> None:
        """Let more time pass than any back-off takes."""
        self.clock.now += 7_300.0

    def close(self) -> None:
        """End all of it."""
        self.service.stop()
        self.fetcher.close()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Make rigs, closed at the end. Feeds wait a moment only for those who ask together."""
    monkeypatch.setattr(feed_module, "GATHER", 0.002)
    made: list[Rig] = []

    def make(*arguments: Any, **options: Any) -> Rig:
        made.append(Rig(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_every_source_has_its_line() -> None:
    """The table of sources and the one of this suite name the same."""
    assert {(wanted, source) for wanted, sources in SOURCES.items() for source in sources} == {
        (line.wanted, line.source) for line in LINES
    }


@EACH
def test_success_gives_what_the_service_says(line: Line, rig: Callable[..., Rig]) -> None:
    """The value is exactly the service's, and so is its time where the service gives one."""
    made = rig(line)
    made.expect_values()
    assert not made.events


@EACH
def test_a_refusal_is_obeyed_to_the_second(line: Line, rig: Callable[..., Rig]) -> None:
    """After the service's own `too many requests` it is asked nothing until the time that it names."""
    made = rig(line)
    made.service.fault = faults.rate_limited(30)
    (error, *_) = made.ask(*made.items).values()
    made.expect_reason(error)
    assert isinstance(error, CollectError)
    assert error.retry_in is not None
    least, most = line.silence if isinstance(line.silence, tuple) else (line.silence, line.silence)
    assert least <= error.retry_in <= most
    made.service.fault = None
    asked = len(made.service.requests)
    made.clock.now += error.retry_in - 0.01
    for found in made.ask(*made.items).values():
        made.expect_reason(found)
    assert len(made.service.requests) == asked
    made.clock.now += 0.02
    made.expect_values()
    assert [event.severity for event in made.events] == ["error", "info"]


@EACH
@pytest.mark.parametrize("status", [500, 503])
def test_a_failure_tells_its_status(line: Line, status: int, rig: Callable[..., Rig]) -> None:
    """Statuses of failure are told with their number, and the source works again when the service does."""
    made = rig(line)
    made.service.fault = faults.error(status)
    for found in made.ask(*made.items).values():
        assert isinstance(found, SourceError)
        assert str(status) in made.expect_reason(found)
    made.service.fault = None
    made.later()
    made.expect_values()


@pytest.mark.parametrize("line", [line for line in LINES if line.unknown is not None], ids=str)
def test_an_unknown_item_fails_alone(line: Line, rig: Callable[..., Rig]) -> None:
    """What the service does not know gives an error for itself; the others are served, then and later."""
    made = rig(line)
    found = made.ask(made.items[0], line.unknown, *made.items[1:])
    error = found.pop(line.unknown)
    assert isinstance(error, ItemError)
    made.expect_reason(error)
    for item, quotes in found.items():
        made.expect_value(item, quotes)
    made.clock.now += made.source.least + 1.0
    made.expect_values()
    assert not made.events


@EACH
@pytest.mark.parametrize("fault", BROKEN, ids=lambda fault: fault.kind)
def test_what_is_malformed_gives_a_reason_and_no_value(
    line: Line, fault: Fault, rig: Callable[..., Rig]
) -> None:
    """Pages instead of JSON, halves, nulls, other names, floods and refused connections: never a value."""
    made = rig(line)
    made.service.fault = fault
    for found in made.ask(*(made.items[:1] if fault.kind == "malformed" else made.items)).values():
        made.expect_reason(found)
    made.service.fault = None
    made.later()
    made.expect_values()


@pytest.mark.parametrize("line", [line for line in LINES if line.source in ("stooq", "multpl")], ids=str)
def test_text_that_is_cut_off_gives_no_other_number(line: Line, rig: Callable[..., Rig]) -> None:
    """Wherever a table or a page ends too early: the value, or a reason, but never the half of a number."""
    made = rig(line)
    answer, served = made.service.answer, 0
    for size in range(30, 600, 3):

        def cut(request: Request, size: int = size) -> Answer:
            whole = answer(request)
            return replace(whole, body=whole.data()[:size])

        made.service.answer = cut  # type: ignore[method-assign]
        made.later()
        for item, found in made.ask(*made.items).items():
            if isinstance(found, Quotes):
                assert found.quotes[0].value == made.expected[item][1]
                served += 1
            else:
                made.expect_reason(found)
    assert served


@EACH
@pytest.mark.parametrize("kind", SLOW)
def test_a_slow_answer_ends_at_the_timeout(line: Line, kind: str, rig: Callable[..., Rig]) -> None:
    """The time limit is for all of an answer, however its bytes come."""
    made = rig(line, timeout=0.2)
    made.service.fault = faults.ALL[kind]
    with gevent.Timeout(5.0):
        for found in made.ask(made.items[0]).values():
            assert "0.2 s" in made.expect_reason(found)


@pytest.fixture(scope="module")
def untrusted() -> ssl.SSLContext:
    """A TLS server's context whose certificate nobody vouches for."""
    return server_context(trustme.CA().issue_cert("127.0.0.1"))


@EACH
def test_a_certificate_that_is_not_trusted_is_refused(
    line: Line, untrusted: ssl.SSLContext, rig: Callable[..., Rig]
) -> None:
    """TLS is verified, and the reason says what is wrong."""
    made = rig(line, context=untrusted)
    for found in made.ask(*made.items).values():
        assert "certificate" in made.expect_reason(found)
    assert not made.service.requests


def echo(status: int, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with all that was asked, at every place where services put their messages."""
    said = environ["PATH_INFO"] + "?" + environ["QUERY_STRING"].replace("&", " ").replace("?", " ")
    said = " ".join([said.replace("?", " "), *(str(environ[key]) for key in environ if "KEY" in key)])[:180]
    body = dict.fromkeys(("error", "message", "msg", "detail", "Information", "Note", "Error Message"), said)
    start_response(f"{status} Told", [("Content-Type", "application/json")])
    nested = {"error_code": 7, "error_message": said, "code": "told", "message": said, "description": said}
    shapes = {400: body, 403: body | {"error": nested, "code": 7}, 200: body | {"status": nested}, 500: said}
    return [json.dumps(shapes[status]).encode()]


@EACH
@pytest.mark.parametrize("status", [200, 400, 403, 500])
def test_a_key_that_the_service_repeats_is_not_told(
    line: Line, status: int, rig: Callable[..., Rig], http_server: Callable[..., HttpServer]
) -> None:
    """Messages of services are shown, without the key that some of them repeat."""
    made = rig(line, base_url=http_server(partial(echo, status)).url)
    for found in made.ask(*made.items).values():
        made.expect_reason(found)


@pytest.mark.parametrize("line", [line for line in LINES if line.hundred], ids=str)
def test_a_hundred_items_make_the_fewest_requests(line: Line, rig: Callable[..., Rig]) -> None:
    """Items that are asked for at one moment share requests, as many as the service allows."""
    made = rig(line)
    assert line.hundred is not None
    for most in line.requests:
        for item, found in made.ask(*map(line.hundred, range(100))).items():
            assert isinstance(found, Quotes), f"{item}: {found}"
            assert found.quotes, item
        assert len(made.service.requests) == most
        made.service.requests.clear()
        made.clock.now += made.source.least + 0.1


@pytest.mark.parametrize("line", [line for line in LINES if line.native], ids=str)
def test_an_item_without_a_value_fails_alone(line: Line, rig: Callable[..., Rig]) -> None:
    """In an answer for many, null for one of them is an error of that one."""
    made = rig(line)
    made.service.fault = faults.null(only=line.native)
    found = made.ask(*made.items)
    error = found.pop(made.items[0])
    assert isinstance(error, ItemError)
    made.expect_reason(error)
    for item, quotes in found.items():
        made.expect_value(item, quotes)
    assert not made.events
