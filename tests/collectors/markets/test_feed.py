"""The feed of a source: what is asked at one moment is one request, and a failure is told once.

The source is a small one of the tests' own, before a real server that counts requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import parse_qs

import gevent
import pytest

from oculus.clock import now
from oculus.collectors.base import CollectError, Context
from oculus.collectors.fetch import Fetcher
from oculus.collectors.markets.feed import Feed
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Options,
    Quote,
    Quotes,
    Source,
    SourceError,
    UnknownItem,
    number,
)
from oculus.model import Event
from tests.support.clocks import Clock
from tests.support.servers import HttpServer, wait_for

KEY = "s3cret-key"


class Prices(Source):
    """A price of 1 for everything; a list with an unknown item is refused as a whole."""

    name = "prices"
    batch = 100
    least = 5.0

    def ask(self, items: Sequence[str]) -> Found:
        answer = self.get("/prices", {"ids": ",".join(items), "key": self.options.api_key})
        if answer.status == 404:
            raise UnknownItem("does not know it")
        data = answer.json()
        found: dict[Any, Quotes | ItemError] = {}
        for item in items:
            try:
                if item in data:
                    found[item] = Quotes((Quote(number(data[item], item)),))
            except ItemError as error:
                found[item] = error
        return found


class Single(Prices):
    """The same, one item a request."""

    batch = 1


class Service:
    """The server: `asked` are the lists of items so far. It waits for `go` before it answers."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.status = 200
        self.bad: dict[str, Any] = {}  # items with another value, or a status of failure
        self.left_out: set[str] = set()
        self.go = gevent.event.Event()
        self.go.set()
        self._server = HttpServer(self._answer)
        self.url, self.stop = self._server.url, self._server.stop

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        query = parse_qs(environ["QUERY_STRING"])
        items = query["ids"][0].split(",")
        self.asked.append(items)
        status = self.status
        self.go.wait()
        if any(item.startswith("no-") for item in items):
            status = 404
        failing = [self.bad[item] for item in items if self.bad.get(item) in (500, 502)]
        status = failing[0] if failing else status
        start_response(f"{status} Said", [("Content-Type", "application/json")])
        if status != 200:
            return [f"no luck with the key {query['key'][0]}".encode()]
        return [
            json.dumps(
                {item: self.bad.get(item, 1.0) for item in items if item not in self.left_out}
            ).encode()
        ]


class Rig:
    """A feed before its service, on a clock that is moved by hand."""

    def __init__(self, make: type[Source]) -> None:
        self.service = Service()
        self.clock = Clock()
        self.fetcher = Fetcher(self.clock, self.clock.sleep)
        self.events: list[Event] = []
        at_home = type(make.__name__, (make,), {"url": self.service.url})
        source = at_home(Options(api_key=KEY), self.fetcher, now)
        self.feed = Feed(source, self.events.append, self.clock)

    def ask(self, *items: str) -> list[Quotes | CollectError]:
        """Ask for items at one moment, each in a greenlet of its own."""
        return [greenlet.get() for greenlet in [gevent.spawn(self._ask, item) for item in items]]

    def _ask(self, item: str) -> Quotes | CollectError:
        try:
            return self.feed.get(item)
        except CollectError as error:
            return error

    def values(self, *items: str) -> list[float | None]:
        """Ask; return the values, with None for errors."""
        return [found.quotes[0].value if isinstance(found, Quotes) else None for found in self.ask(*items)]

    def error(self, *items: str) -> CollectError:
        """Ask; return the error that all must have."""
        found = self.ask(*items)
        assert all(isinstance(each, CollectError) for each in found), found
        (error, *_) = found
        assert isinstance(error, CollectError)
        return error

    def close(self) -> None:
        """End all of it."""
        self.service.go.set()
        self.service.stop()
        self.fetcher.close()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """Make rigs, closed at the end."""
    made: list[Rig] = []

    def make(source: type[Source] = Prices) -> Rig:
        made.append(Rig(source))
        return made[-1]

    yield make
    for each in made:
        each.close()


# -- gathering ----------------------------------------------------------------------------------------


def test_a_hundred_at_once_are_one_request(rig: Callable[..., Rig]) -> None:
    """Whoever asks within a moment shares a request, and so do those who want the same."""
    made = rig()
    items = [f"coin-{number}" for number in range(100)]
    assert made.values(*items, *items[:20]) == [1.0] * 120
    assert made.service.asked == [items]


def test_a_list_that_is_too_long_is_split(rig: Callable[..., Rig]) -> None:
    """A source takes so many items a request, and gets no more."""
    made = rig()
    assert made.values(*(f"coin-{number}" for number in range(250))) == [1.0] * 250
    assert sorted(map(len, made.service.asked)) == [50, 100, 100]


def test_single_items_are_asked_for_side_by_side(rig: Callable[..., Rig]) -> None:
    """But only a few at once."""
    made = rig(Single)
    made.service.go.clear()
    asking = gevent.spawn(made.values, *(f"coin-{number}" for number in range(10)))
    wait_for(lambda: len(made.service.asked) == 4)
    gevent.sleep(0.05)
    assert len(made.service.asked) == 4
    made.service.go.set()
    assert asking.get() == [1.0] * 10
    assert len(made.service.asked) == 10


def test_an_answer_stays_good_for_a_while(rig: Callable[..., Rig]) -> None:
    """Within `least` seconds nobody asks again; an item that is new is asked for alone."""
    made = rig()
    made.ask("a", "b")
    made.clock.now += 4.0
    assert made.values("a", "c") == [1.0, 1.0]
    made.clock.now += 1.1
    assert made.values("a", "b", "c") == [1.0] * 3
    assert made.service.asked == [["a", "b"], ["c"], ["a", "b"]]


def test_another_host_is_asked_as_often_as_the_user_says(rig: Callable[..., Rig]) -> None:
    """How long an answer stays good is said of the source's own host, not of a server in its place."""
    made = rig()
    made.feed = Feed(Prices(Options(made.service.url), made.fetcher, now), made.events.append, made.clock)
    made.values("a")
    made.values("a")
    assert made.service.asked == [["a"], ["a"]]


def test_who_is_ended_hurts_nobody(rig: Callable[..., Rig]) -> None:
    """The first to ask, or any other, may go while the request is under way; the rest get their answer."""
    made = rig()
    made.service.go.clear()
    first, second, third = (gevent.spawn(made.feed.get, item) for item in "abc")
    gevent.sleep(0.0)
    first.kill()
    wait_for(lambda: made.service.asked)
    second.kill()
    made.service.go.set()
    assert third.get().quotes[0].value == 1.0
    assert made.values("a", "b") == [1.0, 1.0]
    assert made.service.asked == [["a", "b", "c"]]


def test_who_asks_while_a_request_is_under_way_gets_the_next(rig: Callable[..., Rig]) -> None:
    """A round that has begun takes nobody in, and holds nobody up."""
    made = rig()
    made.service.go.clear()
    early = gevent.spawn(made.values, "a")
    wait_for(lambda: made.service.asked)
    late = gevent.spawn(made.values, "b")
    wait_for(lambda: len(made.service.asked) == 2)
    made.service.go.set()
    assert (early.get(), late.get()) == ([1.0], [1.0])
    assert made.service.asked == [["a"], ["b"]]


# -- items that fail ----------------------------------------------------------------------------------


def test_an_unknown_item_is_found_by_halving(rig: Callable[..., Rig]) -> None:
    """One item that spoils the list for all costs a few requests once; then it is left out for an hour."""
    made = rig()
    items = [f"coin-{number}" for number in range(15)]
    *found, unknown = made.ask(*items, "no-coin")
    assert all(isinstance(quotes, Quotes) for quotes in found)
    assert isinstance(unknown, ItemError)
    assert str(unknown) == "does not know it"
    assert len(made.service.asked) == 9  # 16, and two of each of 8, 4, 2, 1
    assert not made.events
    made.service.asked.clear()
    made.clock.now += 60.0
    assert made.values(*items, "no-coin") == [1.0] * 15 + [None]
    assert made.service.asked == [items]
    made.clock.now += 3_600.0
    made.error("no-coin")
    assert made.service.asked == [items, ["no-coin"]]


def test_an_error_that_is_told_again_does_not_grow(rig: Callable[..., Rig]) -> None:
    """Raising one error a thousand times would keep a thousand tracebacks."""
    made = rig()
    made.error("no-coin")
    depths = set()
    for _ in range(50):
        with pytest.raises(ItemError) as caught:
            made.feed.get("no-coin")
        depths.add(len(caught.traceback))
    assert len(depths) == 1


def test_an_item_without_a_value_fails_alone(rig: Callable[..., Rig]) -> None:
    """A null, or an item that is missing, is nobody else's matter, and no event of the source's."""
    made = rig()
    made.service.bad, made.service.left_out = {"b": None}, {"c"}
    first, second, third = made.ask("a", "b", "c")
    assert isinstance(first, Quotes)
    assert str(second) == "b is null, which is no number"
    assert str(third) == "prices does not know c"
    assert not made.events


def test_no_value_at_all_is_the_fault_of_the_source(rig: Callable[..., Rig]) -> None:
    """When none of several items has a value, something has changed there: told once, and backed off from."""
    made = rig()
    made.service.bad = dict.fromkeys("abc", None)
    assert "no value for any of 3 items: a is null" in str(made.error("a", "b", "c"))
    assert [event.severity for event in made.events] == ["error"]
    made.error("a", "b", "c")
    assert len(made.service.asked) == 1


def test_a_bug_of_a_source_reaches_all_who_wait(rig: Callable[..., Rig]) -> None:
    """An error that nobody thought of must not leave greenlets waiting for ever."""

    class Broken(Prices):
        def ask(self, items: Sequence[str]) -> Found:
            raise KeyError("oops")

    made = rig(Broken)
    asking = [gevent.spawn(made.feed.get, item) for item in "ab"]
    for greenlet in asking:
        with pytest.raises(KeyError), gevent.Timeout(5.0):
            greenlet.get()


# -- failures of the source ---------------------------------------------------------------------------


def test_a_failure_is_told_once_and_so_is_the_recovery(rig: Callable[..., Rig]) -> None:
    """However many ask and however long it lasts: one event, and one at the end; no key in either."""
    made = rig()
    made.service.status = 500
    for _ in range(10):
        for error in made.ask("a", "b", "c"):
            assert isinstance(error, SourceError)
            assert error.told
            assert KEY not in str(error)
        made.clock.now += 60.0
    made.service.status = 200
    made.clock.now += 300.0
    assert made.values("a", "b", "c") == [1.0] * 3
    made.clock.now += 60.0
    made.values("a")
    failed, works = made.events
    assert (failed.severity, failed.type, failed.source) == ("error", "error", "source/prices")
    assert failed.message == "the source prices fails for a, b, c: status 500: no luck with the key ***"
    assert (works.severity, works.type) == ("info", "system")
    assert works.message == "the source prices works again, after 900 s"


def test_a_source_that_fails_is_asked_less_and_less(rig: Callable[..., Rig]) -> None:
    """About 5 s after the first failure, then twice as long, up to 5 minutes; success begins anew."""
    made = rig()
    made.service.status = 500
    waits = []
    for asked in range(1, 10):
        wait = made.error("a").retry_in
        assert wait is not None
        waits.append(wait)
        made.clock.now += wait - 0.01
        assert made.error("a").retry_in == pytest.approx(0.01)
        assert len(made.service.asked) == asked
        made.clock.now += 0.02
    for wait, first in zip(waits, (5, 10, 20, 40, 80, 160, 300, 300, 300), strict=True):
        assert first <= wait <= min(first + 2.5, 300)
    made.service.status = 200
    assert made.values("a") == [1.0]
    made.clock.now += 60.0
    made.service.status = 500
    assert (made.error("a").retry_in or 99.0) <= 7.5


def test_a_time_that_the_service_names_is_kept(rig: Callable[..., Rig]) -> None:
    """A refusal with its own time goes before any back-off, to the second."""
    made = rig()
    made.service.status = 429
    retry_in = made.error("a", "b").retry_in
    assert retry_in is not None
    assert 60.0 <= retry_in <= 90.0
    made.service.status = 200
    made.clock.now += retry_in - 0.01
    made.error("a", "b")
    assert len(made.service.asked) == 1
    made.clock.now += 0.02
    assert made.values("a", "b") == [1.0, 1.0]


def test_parts_of_a_round_fail_together(rig: Callable[..., Rig]) -> None:
    """When the first requests of a round fail, the others are not sent, and it counts as one failure."""
    made = rig(Single)
    made.service.status = 500
    waits = [error.retry_in for error in made.ask(*"abcdefghij") if isinstance(error, CollectError)]
    assert len(waits) == 10
    assert len(made.service.asked) == 4  # those that were under way at once
    assert max(wait or 0.0 for wait in waits) <= 7.5
    assert len(made.events) == 1


def test_who_comes_back_from_a_single_request_may_find_out_first(rig: Callable[..., Rig]) -> None:
    """Where each asks alone, only who failed is told when to come back; the others keep their turns."""
    made = rig(Single)
    made.service.status = 500
    assert made.error("a").retry_in is not None
    assert made.error("b").retry_in is None


def test_a_success_beside_a_failure_is_no_recovery(rig: Callable[..., Rig]) -> None:
    """Of requests side by side one fails and one succeeds: that is no outage with its end, over and over."""
    made = rig(Single)
    made.service.bad = {"a": 500}
    for _ in range(5):
        assert made.values("a", "b", "c") == [None, 1.0, 1.0]
        made.clock.now += 400.0
    assert [event.severity for event in made.events] == ["error"]
    made.service.bad = {}
    assert made.values("a", "b", "c") == [1.0] * 3
    assert [event.severity for event in made.events] == ["error", "info"]


def test_a_feed_is_shared_by_those_with_equal_options() -> None:
    """Another key, address or plan is another feed; all of them share one client."""
    context = Context()
    first = Feed.of(context, Prices, Options("http://127.0.0.1", KEY))
    assert Feed.of(context, Prices, Options("http://127.0.0.1", KEY)) is first
    for options in (Options("http://127.0.0.2", KEY), Options("http://127.0.0.1", "other")):
        assert Feed.of(context, Prices, options) is not first
    assert Feed.of(context, Single, Options("http://127.0.0.1", KEY)) is not first
    context.close()


def test_a_key_is_not_shown_by_its_options() -> None:
    """Options end in messages and logs."""
    assert KEY not in repr(Options("http://127.0.0.1", KEY))
