"""Quotes under hostile conditions: sources that lie about time, refuse oddly, fail in part, block the hub."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from typing import Any

import gevent
import pytest
import trustme
from gevent.pywsgi import WSGIServer

from oculus.clock import now
from oculus.collectors.base import CollectError, Context
from oculus.collectors.fetch import Fetcher, Request, SourceError, redact, tls_context
from oculus.collectors.manners import Rate
from oculus.collectors.markets.crypto import Crypto, CryptoSettings
from oculus.collectors.markets.feed import Feed
from oculus.collectors.markets.sources.base import (
    Found,
    Options,
    Quotes,
    Source,
    UnknownItem,
    number,
    quotes,
)
from oculus.config.settings import CollectorSpec
from oculus.cooperate import pause
from oculus.model import Event
from oculus.supervise import Watchdog
from tests.standins import SERVICES
from tests.support.certificates import server_context
from tests.support.clocks import Clock


class Single(Source):
    """A service that is asked for one item at a time."""

    name = "single"
    url = "http://single.test"

    def ask(self, items: Sequence[Any]) -> Found:
        """Ask it."""
        (item,) = items
        answer = self.get(f"/{item}")
        return {item: Quotes(quotes(number(answer.json(), "the price"), None))}


class Site:
    """A web server; `answers` gives status, headers and body by path, `/` for all others."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, tuple[int, list[tuple[str, str]], bytes]] = {"/": (200, [], b"1.5")}
        self.seen: list[str] = []
        secure: dict[str, Any] = {"ssl_context": context} if context else {}
        self._server = WSGIServer(("127.0.0.1", 0), self._answer, log=None, **secure)
        self._server.start()
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self._server.server_port}"

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        self.seen.append(environ["PATH_INFO"])
        status, headers, body = self.answers.get(environ["PATH_INFO"], self.answers["/"])
        start(f"{status} Answer", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def stop(self) -> None:
        """End it."""
        self._server.stop(timeout=0)


@pytest.fixture
def site() -> Iterator[Site]:
    """A web server; ends with the test."""
    made = Site()
    yield made
    made.stop()


@pytest.fixture
def fetcher() -> Iterator[Fetcher]:
    """A fetcher by the true clock."""
    made = Fetcher()
    yield made
    made.close()


class Rig:
    """A feed of single items on a hand-moved clock."""

    def __init__(self, site: Site) -> None:
        self.clock = Clock(1_000.0)
        self.events: list[Event] = []
        self.fetcher = Fetcher(self.clock, self.clock.sleep)
        self.feed = Feed(Single(Options(site.url), self.fetcher, now), self.events.append, self.clock)

    def ask(self, item: str) -> float | CollectError:
        """Return an item's price, or why there is none."""
        try:
            return self.feed.get(item).quotes[0].value
        except CollectError as error:
            return error


@pytest.fixture
def rig(site: Site) -> Iterator[Rig]:
    """A feed of the web server."""
    made = Rig(site)
    yield made
    made.fetcher.close()


# -- politeness -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["0", "Thu, 01 Jan 1970 00:00:00 GMT"])
def test_a_refusal_without_a_time_to_wait_is_no_leave_to_hurry(told: str, site: Site, rig: Rig) -> None:
    """Who refuses and says "again at once" is asked less and less all the same."""
    site.answers["/"] = (429, [("Retry-After", told)], b"")
    waits = []
    for _ in range(4):
        error = rig.ask("a")
        assert isinstance(error, CollectError)
        assert error.retry_in is not None
        waits.append(error.retry_in)
        rig.clock.now += error.retry_in
    assert waits[0] >= 5.0
    assert waits[3] >= 40.0
    assert len(site.seen) == 4


@pytest.mark.parametrize("off", [-86_400.0, 86_400.0])
def test_a_date_to_come_back_at_is_one_of_the_hosts_clock(off: float, site: Site, fetcher: Fetcher) -> None:
    """A host or a Pi with a wrong clock neither hurries nor sleeps for days."""
    present = time.time() + off
    dates = [
        ("Date", formatdate(present, usegmt=True)),
        ("Retry-After", formatdate(present + 30, usegmt=True)),
    ]
    site.answers["/"] = (429, dates, b"")
    with pytest.raises(SourceError) as refused:
        fetcher.fetch(Request(site.url))
    assert refused.value.retry_in == pytest.approx(30.0)


# -- failures in part -----------------------------------------------------------------------------------


def test_an_item_that_fails_for_ever_is_one_event(site: Site, rig: Rig) -> None:
    """Asked in turns, with others that are served in between, it is no outage and recovery every minute."""
    site.answers["/bad"] = (500, [], b"")
    for _ in range(6):
        assert isinstance(rig.ask("bad"), CollectError)
        rig.clock.now += 30.0
        assert rig.ask("good") == 1.5
        rig.clock.now += 30.0
    assert [event.severity for event in rig.events] == ["error"]
    del site.answers["/bad"]
    assert rig.ask("bad") == 1.5
    assert [event.severity for event in rig.events] == ["error", "info"]


def test_an_item_that_fails_does_not_starve_its_neighbour(site: Site, rig: Rig) -> None:
    """Who comes three seconds after it in each minute is served, once it is known to be that item alone."""
    site.answers["/bad"] = (500, [], b"")
    served = []
    for _ in range(4):
        rig.ask("bad")
        rig.clock.now += 3.0
        served.append(rig.ask("next") == 1.5)
        rig.clock.now += 20.0
        assert rig.ask("good") == 1.5
        rig.clock.now += 37.0
    assert served == [False, True, True, True]


def test_an_outage_silences_a_source_although_one_item_failed_before(site: Site, rig: Rig) -> None:
    """The first other item that fails too makes it an outage of all."""
    site.answers["/bad"] = (500, [], b"")
    rig.ask("bad")
    rig.clock.now += 60.0
    rig.ask("good")
    site.answers["/"] = (500, [], b"")
    rig.clock.now += 60.0
    rig.ask("bad")
    rig.ask("good")
    asked = len(site.seen)
    assert isinstance(rig.ask("other"), CollectError)
    assert len(site.seen) == asked


class Strict(Source):
    """A service that refuses a list for one bad item, and takes its time."""

    name = "strict"
    batch = 100
    seconds = 0.05

    def ask(self, items: Sequence[Any]) -> Found:
        """Answer."""
        gevent.sleep(self.seconds)
        if any(item.startswith("bad") for item in items):
            raise UnknownItem("does not know the item")
        return {item: Quotes(quotes(1.0, now())) for item in items}


def test_what_a_half_brings_need_not_wait_for_the_other() -> None:
    """To find the unknown items of a hundred may take a minute; the next time the known ones go first."""
    fetcher = Fetcher()
    feed = Feed(Strict(Options(), fetcher, now), lambda event: None)

    def ask(item: str) -> str:
        try:
            feed.get(item)
        except CollectError as error:
            return str(error)
        return ""

    names = [f"good{n}" for n in range(15)]
    runs = [gevent.spawn(ask, name) for name in [*names, "bad"]]
    gevent.joinall(runs[:8])
    assert not runs[15].ready()
    gevent.joinall(runs)
    assert [run.value for run in runs] == [""] * 15 + ["does not know the item"]
    asked = feed.requests
    gevent.joinall([gevent.spawn(ask, name) for name in names])
    gevent.joinall([gevent.spawn(ask, name) for name in [*names, "bad2"]])
    assert feed.requests == asked + 1 + 3  # all; all and the new one, the known ones, the new one
    fetcher.close()


# -- time -----------------------------------------------------------------------------------------------


def test_an_answer_without_a_time_is_stamped_once(site: Site) -> None:
    """Handed out again while it is good, it is the same quote, seen again."""

    class Lasting(Single):
        url = site.url
        least = 10.0

    fetcher = Fetcher()
    feed = Feed(Lasting(Options(), fetcher, now), lambda event: None)
    first, second = feed.get("a"), feed.get("a")
    assert len(site.seen) == 1
    assert first.quotes[0].ts is not None
    assert abs(now() - first.quotes[0].ts) < 5_000_000
    assert first == second
    fetcher.close()


def test_a_feed_that_nobody_asks_any_more_counts_no_failure() -> None:
    """After a reload with another key the old one's outage is nobody's."""
    context, service = Context(), SERVICES["coingecko"]()
    settings = CryptoSettings(asset="btc_usd", base_url=service.url)
    collector = Crypto(CollectorSpec("crypto", "btc_usd", settings), context)
    assert [count.value for count in context.counts() if count.name == "oculus_source_failing"] == [0.0]
    collector.close()
    assert not [count for count in context.counts() if count.name == "oculus_source_failing"]
    context.close()
    service.stop()


# -- the hub --------------------------------------------------------------------------------------------


def test_a_body_arrives_while_others_are_busy(site: Site, fetcher: Fetcher) -> None:
    """A hub that is never idle, as beside a fast stream, still reads answers."""
    site.answers["/"] = (200, [], b"x" * 2_000_000)

    def spin() -> None:
        while True:
            until = time.perf_counter() + 0.003
            while time.perf_counter() < until:
                pass
            pause()

    spinning = [gevent.spawn(spin) for _ in range(3)]
    try:
        assert len(fetcher.fetch(Request(site.url, timeout=5.0)).body) == 2_000_000
    finally:
        gevent.killall(spinning)


def test_a_long_list_of_numbers_lets_others_run(fetcher: Fetcher) -> None:
    """A chart of pairs of numbers has no objects, between which the parser would pass the interpreter on."""
    body = json.dumps([[1_787_227_200_000 + n, 97_000.5 + n] for n in range(130_000)]).encode()
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    watchdog.PERIOD = 0.005
    gevent.sleep(0.1)
    looks = len(watchdog._recent)
    assert fetcher.parse_json(body)[1] == [1_787_227_200_001, 97_001.5]
    watching.kill()
    assert len(watchdog._recent) - looks >= 3  # it was looked after meanwhile


def test_a_tls_context_is_made_once() -> None:
    """To read the authorities takes 40 ms: not again for each connection, and never on the hub."""
    assert tls_context(True) is tls_context(True)
    assert tls_context(True).verify_mode is ssl.CERT_REQUIRED
    assert tls_context(True).check_hostname
    assert tls_context(False) is not tls_context(True)
    assert tls_context(False).verify_mode is ssl.CERT_NONE


def test_a_new_connection_reads_no_authorities(fetcher: Fetcher, tmp_path: Any) -> None:
    """The file was read for the first connection; the name in the certificate is looked at each time."""
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    made = Site(server_context(authority.issue_cert("127.0.0.1")))
    other = Site(server_context(authority.issue_cert("other.test")))
    made.answers["/"] = (200, [("Connection", "close")], b"1")
    assert fetcher.fetch(Request(made.url, verify=str(trusted))).text == "1"
    trusted.unlink()
    assert fetcher.fetch(Request(made.url, verify=str(trusted))).text == "1"
    with pytest.raises(SourceError, match="certificate"):
        fetcher.fetch(Request(other.url, verify=str(trusted)))
    with pytest.raises(SourceError, match="certificate"):
        fetcher.fetch(Request(made.url))
    made.stop()
    other.stop()


# -- keys -----------------------------------------------------------------------------------------------


def test_a_key_with_a_line_break_is_not_shown(site: Site, fetcher: Fetcher) -> None:
    """It comes so from a file, and the library quotes the header that it turns down."""
    key = "SECRET\n"
    with pytest.raises(SourceError) as refused:
        fetcher.fetch(Request(site.url, headers={"x-key": key}, secrets=(key,)))
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("shown", ["a+b/c=d", "a%2Bb%2Fc%3Dd", "a+b%2Fc%3Dd"])
def test_a_key_is_hidden_in_a_url_too(shown: str) -> None:
    """Where it is written in another way."""
    assert redact(f"GET /?key={shown} failed", ("a+b/c=d",)) == "GET /?key=*** failed"
    assert redact("nothing", ("", " ")) == "nothing"


def test_a_limit_that_is_used_up_is_nobodys_failure(site: Site) -> None:
    """More is wanted than the limit allows: the run is put off, and nothing is told."""
    site.answers["/a"] = (200, [], b"1")
    events: list[Event] = []
    fetcher = Fetcher()
    options = Options(site.url, timeout=0.2, rate=Rate(1, 60.0))
    feed = Feed(Single(options, fetcher, now), events.append)
    feed.get("a")
    with pytest.raises(SourceError, match="is used up for 60 s") as caught:
        feed.get("b")
    assert caught.value.told
    assert caught.value.retry_in == pytest.approx(60.0, abs=1.0)
    assert events == []
    assert len(site.seen) == 1
    fetcher.close()
