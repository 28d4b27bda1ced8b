"""Stocks: settings, sessions as Yahoo tells them, and what is odd about each service."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import gevent
import pytest

from oculus.clock import SECOND
from oculus.collectors.base import CollectError, Context
from oculus.collectors.fetch import Fetcher
from oculus.collectors.markets.feed import Feed
from oculus.collectors.markets.sources.alphavantage import AlphaVantage
from oculus.collectors.markets.sources.base import (
    ItemError,
    Options,
    Quote,
    Quotes,
    Source,
    SourceError,
    UnknownItem,
)
from oculus.collectors.markets.sources.multpl import Multpl, page_time
from oculus.collectors.markets.sources.stooq import Stooq, ticker_name
from oculus.collectors.markets.sources.yahoo import SPREAD, Yahoo, market, moment
from oculus.collectors.markets.stock import Stock, StockSettings, next_run
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.model import Event, Micros, Sample, Tags
from tests.standins import alphavantage, faults, multpl, stooq, yahoo
from tests.standins.base import Answer, StandIn
from tests.standins.market import Market
from tests.standins.text import payload
from tests.support.clocks import Clock

KEY = "ABCD1234EFGH5678"
HOUR, DAY = 3_600.0, 86_400.0


def at(text: str, zone: str = "America/New_York") -> float:
    """Return seconds since 1970 of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


OPEN = at("2026-08-20T12:00")  # a Thursday


class Desk:
    """A source before its stand-in, at a time of the test's choice."""

    def __init__(self, make: type[Source], service: type[StandIn], key: str = "") -> None:
        self.market = Market()
        self.market.freeze(OPEN)
        self.service = service(self.market)
        self.clock = Clock()
        self.fetcher = Fetcher(self.clock, self.clock.sleep)
        options = Options(self.service.url, key)
        self.source = make(options, self.fetcher, lambda: Micros(round(self.market.now() * SECOND)))

    def ask(self, *items: str, now: float | None = None) -> Any:
        """Return what the source has for one item, or the mapping for several."""
        if now is not None:
            self.clock.now += max(0.0, now - self.market.now())
            self.market.freeze(now)
        found = self.source.ask(items)
        return found[items[0]] if len(items) == 1 else found

    def send(self, text: str, kind: str = "application/json") -> None:
        """Answer that text to whatever is asked from now on."""
        self.service.answer = lambda request: Answer(text, type=kind)  # type: ignore[method-assign]

    def close(self) -> None:
        """End it."""
        self.service.stop()
        self.fetcher.close()


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    """Make desks, closed at the end."""
    made: list[Desk] = []

    def make(*arguments: Any) -> Desk:
        made.append(Desk(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def part(found: Quotes, name: str = "") -> Quote | None:
    """Return the quote of a part."""
    return next((quote for quote in found.quotes if quote.part == name), None)


def the(found: Quotes, name: str = "") -> Quote:
    """Return the quote of a part, which must be there."""
    quote = part(found, name)
    assert quote is not None
    return quote


# -- settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "symbol", "source", "interval"),
    [
        ({"ticker": "TSLA"}, "stock.price.tsla", "yahoo", 60.0),
        ({"ticker": "^GSPC", "kind": "index"}, "stock.index.gspc", "yahoo", 60.0),
        ({"ticker": "SPY", "kind": "etf", "source": "stooq"}, "stock.etf.spy", "stooq", 60.0),
        ({"ticker": "BRK-B"}, "stock.price.brk_b", "yahoo", 60.0),
        ({"indicator": "sp_pe"}, "market.valuation.sp_pe", "multpl", 3_600.0),
        ({"ticker": "TSLA", "symbol": "my.car"}, "my.car", "yahoo", 60.0),
    ],
)
def test_the_name_of_the_series(options: dict[str, Any], symbol: str, source: str, interval: float) -> None:
    """Kind and ticker make the name; the usual source and interval go with what is asked for."""
    settings = StockSettings(**options)
    collector = Stock(CollectorSpec("stock", settings.default_name(), settings), Context())
    assert collector.symbol_of("") == symbol
    assert (settings.source, settings.interval) == (source, interval)
    collector.context.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "needs a ticker"),
        ({"ticker": "TSLA", "indicator": "sp_pe"}, "needs a ticker"),
        ({"ticker": "TSLA", "source": "multpl"}, "unknown source"),
        ({"ticker": "TSLA", "source": "alphavantage"}, "needs an api_key"),
        ({"ticker": "TSLA", "stream": True}, "has no stream"),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, Any], told: str) -> None:
    """Mistakes over several settings are told in one line."""
    with pytest.raises(ValueError, match=told):
        StockSettings(**options)


@pytest.mark.parametrize("ticker", ["TS LA", "TSLA,SPY", "TSLA+SPY", "a/b", "../x", "^", "x" * 40])
def test_what_is_no_ticker(ticker: str) -> None:
    """Nothing that would make another request of it."""
    check = StockSettings.__dataclass_fields__["ticker"].metadata["check"]
    with pytest.raises(ValueError, match="is not a ticker"):
        check(ticker)


@pytest.mark.parametrize(
    ("rest", "state", "interval", "expected"),
    [
        (None, "", 60.0, None),
        (None, "closed", 60.0, None),
        (None, "no trades", 60.0, 300.0),
        (None, "no trades", 3_600.0, 3_600.0),
        (60_000.0, "closed", 60.0, 900.0),
        (60_000.0, "closed", 3_600.0, 3_600.0),  # never more often than while it is open
        (1_300.0, "closed", 60.0, 1_300.0),
        (4.0, "closed", 3_600.0, 4.0),  # the opening
    ],
)
def test_when_the_next_run_makes_sense(
    rest: float | None, state: str, interval: float, expected: float | None
) -> None:
    """Slowly while closed, and exactly at the opening."""
    assert next_run(rest, state, interval) == expected


# -- Yahoo ---------------------------------------------------------------------------------------------


def test_yahoo_gives_price_time_change_and_currency(desk: Callable[..., Desk]) -> None:
    """The quote's own time, the change from the close of the day before, and open while there is trade."""
    made = desk(Yahoo, yahoo.Yahoo)
    made.market.set("TSLA", 412.36, OPEN - 7, previous=400.0)
    found = made.ask("TSLA")
    assert the(found) == Quote(412.36, Micros(round((OPEN - 7) * SECOND)), unit="USD")
    assert the(found, "change_day").value == pytest.approx(3.09)
    assert the(found, "market_open").value == 1.0
    assert (found.rest, found.state) == (None, "")
    assert the(made.ask("VOD.L", now=at("2026-08-20T10:00", "Europe/London"))).unit == "GBp"
    assert the(made.ask("^GSPC")).unit == ""
    assert made.service.requests[-1].target.startswith("/v8/finance/chart/%5EGSPC?")


def test_the_change_is_from_the_day_before_not_from_before_the_chart(desk: Callable[..., Desk]) -> None:
    """`chartPreviousClose` is the day before only in a chart of one day."""
    made = desk(Yahoo, yahoo.Yahoo)
    body = payload("yahoo-chart-daily-success.json")
    meta = body["chart"]["result"][0]["meta"]
    made.service.answer = lambda request: Answer(body)  # type: ignore[method-assign]
    assert part(made.ask("TSLA"), "change_day") is None
    meta["range"] = "1d"
    assert the(made.ask("TSLA"), "change_day").value == pytest.approx((412.36 / 409.02 - 1) * 100)
    meta["previousClose"] = 412.36
    assert the(made.ask("TSLA"), "change_day").value == 0.0
    meta["previousClose"] = meta["chartPreviousClose"] = 0
    assert part(made.ask("TSLA"), "change_day") is None


def test_yahoos_ways_to_have_no_quote(desk: Callable[..., Desk]) -> None:
    """404, a hollow 200, a page of maintenance, nulls, and a price without its time."""
    made = desk(Yahoo, yahoo.Yahoo)
    with pytest.raises(UnknownItem, match="NOPE: No data found"):
        made.ask("NOPE")
    error = made.ask("PHANTOM")
    assert isinstance(error, ItemError)
    assert "PHANTOM" in str(error)
    body = payload("yahoo-chart-index-success.json")
    meta = body["chart"]["result"][0]["meta"]
    meta["regularMarketTime"] = None
    made.service.answer = lambda request: Answer(body)  # type: ignore[method-assign]
    assert "without its time" in str(made.ask("^GSPC"))
    rubbish: list[Any] = [
        {"result": [], "error": None},
        {"result": [None], "error": None},
        {"result": [{"meta": []}], "error": None},
        {"result": None, "error": {"code": "x"}},
    ]
    for chart in rubbish:
        made.send(json.dumps({"chart": chart}))
        assert isinstance(made.ask("TSLA"), ItemError)
    made.send(payload("yahoo-error-maintenance.txt"), "text/html")
    with pytest.raises(SourceError, match="Will be right back"):
        made.ask("TSLA")


@pytest.mark.parametrize(
    ("now", "state"),
    [
        ("2026-08-20T03:00", "closed"),
        ("2026-08-20T09:00", "pre"),
        ("2026-08-20T09:30", ""),
        ("2026-08-20T15:59:59", ""),
        ("2026-08-20T16:01", "post"),
        ("2026-08-20T21:00", "closed"),
        ("2026-08-22T12:00", "closed"),  # a Saturday
        ("2026-11-26T12:00", "closed"),  # Thanksgiving
    ],
)
def test_yahoos_sessions(now: str, state: str, desk: Callable[..., Desk]) -> None:
    """State by the session that comes with the quote; while closed the value keeps its time."""
    made = desk(Yahoo, yahoo.Yahoo)
    moment_now = at(now)
    found = made.ask("TSLA", now=moment_now)
    assert found.state == state
    assert the(found, "market_open").value == float(state == "")
    assert (found.rest is None) == (state == "")
    if state:
        later = made.ask("TSLA", now=moment_now + 900.0)
        if later.state == state:
            assert the(later) == the(found)


# A Friday, a weekend with a change of the clocks, and a Monday's opening.
@pytest.mark.parametrize(
    ("friday", "monday"),
    [("2026-03-06", "2026-03-09"), ("2026-10-30", "2026-11-02"), ("2026-08-21", "2026-08-24")],
)
@pytest.mark.parametrize(("make", "service"), [(Yahoo, yahoo.Yahoo), (Stooq, stooq.Stooq)])
def test_a_weekend_is_slept_through(
    make: type[Source], service: type[StandIn], friday: str, monday: str, desk: Callable[..., Desk]
) -> None:
    """About four requests an hour, no quote twice, no new time, and a request just after the opening."""
    made = desk(make, service)
    now, opening = at(f"{friday}T15:50"), at(f"{monday}T09:30")
    closed = at(f"{friday}T16:00")
    asked: list[float] = []
    seen: dict[Micros, float] = {}
    while now < opening + 60.0:
        found = made.ask("TSLA", now=now)
        asked.append(now)
        quote = the(found)
        assert quote.ts is not None
        assert seen.setdefault(quote.ts, quote.value) == quote.value
        assert (found.state in {"closed", "pre", "post"}) == (not now < closed and not now >= opening)
        now += next_run(found.rest, found.state, 60.0) or 60.0
    first = next(moment for moment in asked if moment >= opening)
    assert first < opening + 5.0
    slept = [moment for moment in asked if closed + HOUR < moment < opening]
    assert len(slept) <= 1.1 * (opening - closed) / 900.0
    times = [ts / SECOND for ts in seen]
    assert not [moment for moment in times if closed < moment < opening]


def session_of(day: str, closes: str = "16:00") -> dict[str, Any]:
    """Return the head of a chart with that day's session."""
    opens, ends = at(f"{day}T09:30"), at(f"{day}T{closes}")
    regular = {"start": int(opens), "end": int(ends)}
    pre, post = (
        {"start": int(opens - 5.5 * HOUR), "end": int(opens)},
        {"start": int(ends), "end": int(ends + 4 * HOUR)},
    )
    return {
        "exchangeTimezoneName": "America/New_York",
        "gmtoffset": -14_400,
        "currentTradingPeriod": {"pre": pre, "regular": regular, "post": post},
    }


def test_a_weekend_may_show_the_next_session() -> None:
    """Then the opening is known exactly."""
    now, quoted = at("2026-08-22T12:00"), at("2026-08-21T16:00")
    stands = market(session_of("2026-08-24"), now, quoted)
    assert (stands.state, stands.rest, stands.trading) == ("closed", at("2026-08-24T09:30") - now, False)


def test_a_holiday_may_show_a_session_that_is_none() -> None:
    """The quote does not move: after half an hour it is asked slower, and nothing is claimed."""
    head, quoted = session_of("2026-09-07"), at("2026-09-04T16:00")
    assert market(head, at("2026-09-07T09:59"), quoted).trading is True
    stands = market(head, at("2026-09-07T10:01"), quoted)
    assert (stands.state, stands.rest, stands.trading) == ("no trades", None, None)
    assert market(head, at("2026-09-07T17:00"), quoted).state == "post"


def test_an_early_close_is_yahoos_to_tell() -> None:
    """The session ends when it says so."""
    head = session_of("2026-11-27", "13:00")
    assert market(head, at("2026-11-27T12:59"), at("2026-11-27T12:58")).state == ""
    stands = market(head, at("2026-11-27T13:01"), at("2026-11-27T13:00"))
    assert (stands.state, stands.trading) == ("post", False)
    assert stands.rest == at("2026-11-28T09:30") - at("2026-11-27T13:01")


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"currentTradingPeriod": []},
        {"currentTradingPeriod": {"regular": None}},
        {"currentTradingPeriod": {"regular": {"start": "x", "end": None}}},
        {"currentTradingPeriod": {"regular": {"start": 1_787_256_000, "end": 1_787_232_600}}},
        {"currentTradingPeriod": {"regular": {"start": 1, "end": 1_787_232_600}}},
    ],
)
def test_a_head_without_a_session(head: dict[str, Any]) -> None:
    """Nothing is known, nothing is claimed, and it is asked as usual."""
    stands = market(head, OPEN, OPEN - 60)
    assert (stands.state, stands.rest, stands.trading) == ("", None, None)


@pytest.mark.parametrize("zone", [None, 5, "Nowhere/Land", "../../etc/passwd"])
def test_a_zone_that_is_none(zone: Any) -> None:
    """The offset from UTC serves instead."""
    head = session_of("2026-08-20") | {"exchangeTimezoneName": zone}
    now = at("2026-08-20T18:00")
    assert market(head, now, at("2026-08-20T16:00")).rest == at("2026-08-21T09:30") - now
    assert market(head | {"gmtoffset": 1e9}, now, at("2026-08-20T16:00")).state == "post"


def test_tickers_come_back_one_by_one_after_an_opening() -> None:
    """Fifty at the same moment would be a burst; each has its own within a few seconds."""
    moments = sorted(moment(f"T{number}") for number in range(50))
    assert moments[0] >= 0.5
    assert moments[-1] < 0.5 + SPREAD < 5.0
    assert max(later - earlier for earlier, later in pairwise(moments)) < 1.0
    assert moment("TSLA") == moment("TSLA")


def test_fifty_tickers_at_once_are_served(desk: Callable[..., Desk]) -> None:
    """A request for each, within the limit and the wait of one collector; the next comes a minute later."""
    made = desk(Yahoo, yahoo.Yahoo)
    events: list[Event] = []
    feed = Feed(made.source, events.append, made.clock)
    feed._least = made.source.least  # as at home: a stand-in is asked as often as one says
    tickers = [f"T{number}" for number in range(50)]
    begun = made.clock.now
    greenlets = [gevent.spawn(feed.get, ticker) for ticker in tickers]
    assert all(greenlet.get(timeout=20).quotes for greenlet in greenlets)
    assert made.clock.now - begun < Options().timeout
    assert len(made.service.requests) == 50
    assert not events
    feed.get("T1")
    assert len(made.service.requests) == 50
    made.clock.now += 60.0
    feed.get("T1")
    assert len(made.service.requests) == 51


def test_an_answer_is_not_kept_past_the_opening(desk: Callable[..., Desk]) -> None:
    """Asked for ten seconds before it, a ticker is asked for again at the opening, not a minute later."""
    made = desk(Yahoo, yahoo.Yahoo)
    made.market.freeze(at("2026-08-20T09:29:50"))
    feed = Feed(made.source, lambda event: None, made.clock)
    feed._least = made.source.least  # as at home
    rest = feed.get("TSLA").rest
    assert rest is not None
    assert rest == pytest.approx(10.0 + moment("TSLA"))
    made.clock.now += 6.0
    assert feed.get("TSLA").rest == pytest.approx(rest - 6.0)
    assert len(made.service.requests) == 1
    made.clock.now += rest - 6.0
    made.market.freeze(at("2026-08-20T09:29:50") + rest)
    assert feed.get("TSLA").state == ""
    assert len(made.service.requests) == 2


def test_the_collector_marks_its_samples(desk: Callable[..., Desk]) -> None:
    """Unit and source as tags, extras as series of their own, state and rest of the closed market."""
    made = desk(Yahoo, yahoo.Yahoo)
    made.market.set("TSLA", 400.0, at("2026-08-21T16:00"), previous=200.0)
    made.market.freeze(None)
    settings = StockSettings(
        ticker="tsla", base_url=made.service.url, extras=("change_day",), interval=Seconds(60.0)
    )
    context = Context()
    collector = Stock(CollectorSpec("stock", "tsla", settings), context)
    price, change = list(collector.collect())
    ts = Micros(round(at("2026-08-21T16:00") * SECOND))
    assert price == Sample("stock.price.tsla", 400.0, ts, Tags({"unit": "USD"}))
    assert change == Sample("stock.price.tsla.change_day", 100.0, ts, Tags({"unit": "%"}))
    assert collector.tags == {"source": "yahoo"}
    if collector.state in {"pre", "post", "closed"}:
        assert collector.rest is not None
        assert collector.rest < 1_400.0
    context.close()


# -- Stooq ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ticker", "name"),
    [
        ("TSLA", "tsla.us"), ("BRK-B", "brk-b.us"), ("BRK.B", "brk-b.us"), ("tsla.us", "tsla.us"),
        ("^GSPC", "^spx"), ("^SPX", "^spx"), ("^WIG", "^wig"), ("VOD.L", "vod.uk"), ("SAP.DE", "sap.de"),
        ("7203.T", "7203.jp"), ("0700.HK", "700.hk"), ("PKO.WA", "pko.pl"), ("wig20", "wig20"),
        ("EURUSD=X", "eurusd"), ("CL.F", "cl.f"),
    ],
)  # fmt: skip
def test_stooqs_names(ticker: str, name: str) -> None:
    """Tickers as Yahoo writes them go to Stooq in its own form; its own pass."""
    assert ticker_name(ticker.upper()) == name


def test_stooq_has_many_tickers_in_one_request(desk: Callable[..., Desk]) -> None:
    """Warsaw's times, dollars for American shares, an error for each unknown one."""
    made = desk(Stooq, stooq.Stooq)
    made.market.set("TSLA", 412.36, OPEN - 903)
    made.market.set("^GSPC", 7_421.18, OPEN - 900)
    found = made.ask("TSLA", "^GSPC", "NOPE")
    assert len(made.service.requests) == 1
    assert made.service.requests[0].target == "/q/l/?s=tsla.us+%5Espx+nope.us&f=sd2t2ohlcv&h=&e=csv"
    assert the(found["TSLA"]) == Quote(412.36, Micros(round((OPEN - 903) * SECOND)), unit="USD")
    assert the(found["^GSPC"]) == Quote(7_421.18, Micros(round((OPEN - 900) * SECOND)))
    assert "NOPE (nope.us)" in str(found["NOPE"])


@pytest.mark.parametrize(
    ("warsaw", "utc"),
    [
        ("2026-03-27,19:00:00", "2026-03-27T18:00"),
        ("2026-03-30,18:00:00", "2026-03-30T16:00"),  # Europe has changed
        ("2026-10-26,18:00:00", "2026-10-26T17:00"),  # Europe has, America has not
        ("2026-11-02,18:00:00", "2026-11-02T17:00"),
    ],
)
def test_stooqs_times_are_warsaws(warsaw: str, utc: str, desk: Callable[..., Desk]) -> None:
    """Summer and winter, as Europe changes."""
    made = desk(Stooq, stooq.Stooq)
    made.market.freeze(at("2026-12-01T12:00"))
    made.send(f"Symbol,Date,Time,Open,High,Low,Close,Volume\r\nTSLA.US,{warsaw},1,2,3,4,5\r\n", "text/csv")
    assert the(made.ask("TSLA")) == Quote(4.0, Micros(round(at(utc, "UTC") * SECOND)), unit="USD")


def test_stooqs_holiday_and_early_close(desk: Callable[..., Desk]) -> None:
    """Thanksgiving is closed, the day after it until 13:00; the exchange's calendar is computed."""
    made = desk(Stooq, stooq.Stooq)
    row = "Symbol,Date,Time,Open,High,Low,Close,Volume\r\nTSLA.US,2026-11-25,21:59:58,1,2,3,4,5\r\n"
    made.send(row, "text/csv")
    now = at("2026-11-26T12:00")
    found = made.ask("TSLA", now=now)
    assert (found.state, the(found, "market_open").value) == ("closed", 0.0)
    assert found.rest == pytest.approx(at("2026-11-27T09:30") - now, abs=2.0)
    made.send(row.replace("11-25,21:59:58", "11-27,18:59:58"), "text/csv")
    now = at("2026-11-27T14:00")
    found = made.ask("TSLA", now=now)
    assert found.state == "closed"
    assert found.rest == pytest.approx(at("2026-11-30T09:30") - now, abs=2.0)


@pytest.mark.parametrize(
    ("text", "told", "seconds"),
    [
        (payload("stooq-rate-limit.txt"), "hits a day", 6 * HOUR),  # until midnight in Warsaw
        (payload("stooq-apikey-required.txt"), "api_key", HOUR),
        ("<html><body>hm</body></html>", "no table of quotes", None),
        ("Symbol,Date,Time,Open,High,Low,Last,Volume\r\nTSLA.US,2026-08-20,1,2,3,4,5,6", "Close", None),
        ("", "no table of quotes", None),
    ],
)
def test_stooqs_texts_with_status_200(
    text: str, told: str, seconds: float | None, desk: Callable[..., Desk]
) -> None:
    """A line of text is no table; a limit silences the host."""
    made = desk(Stooq, stooq.Stooq)
    made.send(text, "text/plain")
    with pytest.raises(SourceError, match=told) as caught:
        made.ask("TSLA")
    assert caught.value.retry_in == seconds


def test_stooqs_no_data(desk: Callable[..., Desk]) -> None:
    """It says so of all it was asked for: each must be asked for alone."""
    made = desk(Stooq, stooq.Stooq)
    made.send(payload("stooq-no-data.txt"), "text/plain")
    with pytest.raises(UnknownItem):
        made.ask("TSLA", "SPY")


@pytest.mark.parametrize("end", ["", "\r\nTSLA.US,2026-08", "\r\nTSLA.US,2026-08-20,18:00:03,1,2,3,41"])
def test_a_table_that_is_cut_off(end: str, desk: Callable[..., Desk]) -> None:
    """Half a number is no price."""
    made = desk(Stooq, stooq.Stooq)
    made.send(f"Symbol,Date,Time,Open,High,Low,Close,Volume{end}", "text/csv")
    with pytest.raises(SourceError, match=r"no table|cut off"):
        made.ask("TSLA")


@pytest.mark.parametrize(
    "row",
    ["TSLA.US,2026-08-20,18:00:03,1,2,3,,5", "TSLA.US,2026-08-20,N/D,1,2,3,4,5",
     "TSLA.US,20 Aug,18:00,1,2,3,4,5", "TSLA.US,2026-08-20", "TSLA.US,2026-08-20,18:00:03,1,2,3,nan,5",
     "SPY.US,2026-08-20,18:00:03,1,2,3,4,5"],
)  # fmt: skip
def test_rows_of_stooq_without_a_value(row: str, desk: Callable[..., Desk]) -> None:
    """Empty, N/D, cut off, no number, no time, or of another ticker."""
    made = desk(Stooq, stooq.Stooq)
    made.send(f"Symbol,Date,Time,Open,High,Low,Close,Volume\r\n{row}\r\n", "text/csv")
    assert isinstance(made.ask("TSLA"), ItemError)


# -- Alpha Vantage -------------------------------------------------------------------------------------


def vantage(desk: Callable[..., Desk]) -> Desk:
    """Return a desk with a key."""
    return desk(AlphaVantage, alphavantage.AlphaVantage, KEY)


def test_alpha_vantages_quote_of_a_closed_day(desk: Callable[..., Desk]) -> None:
    """A date only: the close of that day in New York."""
    made = vantage(desk)
    made.market.set("TSLA", 412.36, at("2026-08-20T15:00"), previous=409.02)
    found = made.ask("TSLA", now=at("2026-08-21T08:00"))
    ts = Micros(round(at("2026-08-20T16:00") * SECOND))
    assert the(found) == Quote(412.36, ts, unit="USD")
    assert the(found, "change_day").value == 0.8166
    assert (found.state, found.rest) == ("closed", 90 * 60.0 + 1.0)


def test_alpha_vantages_quote_of_today_keeps_its_time(desk: Callable[..., Desk]) -> None:
    """Seen first during the day it has that moment's time, and keeps it until it is another."""
    made = vantage(desk)
    made.market.set("TSLA", 412.36, OPEN)
    first = Micros(round(OPEN * SECOND))
    assert the(made.ask("TSLA", now=OPEN)).ts == first
    assert the(made.ask("TSLA", now=OPEN + 2 * HOUR)).ts == first
    made.market.set("TSLA", 413.0, OPEN)
    assert the(made.ask("TSLA", now=OPEN + 3 * HOUR)).ts == Micros(round((OPEN + 3 * HOUR) * SECOND))


def test_the_requests_of_a_day_are_shared_out(desk: Callable[..., Desk]) -> None:
    """Three tickers at a minute's interval over a week: at most 25 a day, and no failure."""
    made = vantage(desk)
    now = at("2026-08-17T00:00")
    for minute in range(0, 7 * 24 * 60, 10):
        for ticker in ("TSLA", "SPY", "AAPL"):
            assert isinstance(made.ask(ticker, now=now + minute * 60.0), Quotes)
    assert 3 * 5 <= len(made.service.requests) <= 7 * 25


def test_a_plan_with_more_requests_gives_them(desk: Callable[..., Desk]) -> None:
    """A user's `rate:` stands in the place of the free plan's."""
    settings = StockSettings(ticker="TSLA", source="alphavantage", api_key=KEY)
    assert settings.options("alphavantage").api_key == KEY
    made = vantage(desk)
    made.source.options = Options(made.service.url, KEY, rate=type(made.source.rates[0])(75, 60.0))
    for minute in range(5):
        made.ask("TSLA", now=OPEN + minute * 60.0)
    assert len(made.service.requests) == 5


@pytest.mark.parametrize(
    ("name", "told", "seconds"),
    [
        ("rate-limit-burst", "in a second", 1.0),
        ("rate-limit-legacy-note", "limit of a minute", 60.0),
        ("rate-limit-daily", "limit of a day", 12 * HOUR),
        ("premium-endpoint", "plan has no quotes", HOUR),
        ("error-missing-key", "api_key is not accepted", HOUR),
    ],
)
def test_alpha_vantages_sentences(name: str, told: str, seconds: float, desk: Callable[..., Desk]) -> None:
    """Each is a failure with status 200, told in our own words: theirs hold the key."""
    made = vantage(desk)
    body = payload(f"alphavantage-{name}.json")
    made.service.answer = lambda request: Answer(body)  # type: ignore[method-assign]
    with pytest.raises(SourceError, match=told) as caught:
        made.ask("TSLA")
    assert caught.value.retry_in == seconds
    assert KEY not in str(caught.value)


def test_the_burst_of_today_names_the_day_too(desk: Callable[..., Desk]) -> None:
    """One second of silence, not a day."""
    made = vantage(desk)
    made.service.answer = lambda request: Answer(  # type: ignore[method-assign]
        {"Information": "Please spread out requests (1 request per second); free are 25 requests per day."}
    )
    with pytest.raises(SourceError) as caught:
        made.ask("TSLA")
    assert caught.value.retry_in == 1.0


def test_an_unknown_sentence_is_shown_without_the_key(desk: Callable[..., Desk]) -> None:
    """Whatever it says, in whatever field."""
    made = vantage(desk)
    for body in (
        {"Information": f"Something about {KEY} and you"},
        {"Note": f"{KEY}"},
        {"Something": KEY},
        [KEY],
        f"plain {KEY}",
    ):
        made.service.answer = lambda request, sent=body: Answer(sent)  # type: ignore[method-assign,misc]
        with pytest.raises(SourceError) as caught:
            made.ask("TSLA")
        assert KEY not in str(caught.value)
        made.clock.now += 61.0 * 60
    made.service.fault = faults.error(500)
    with pytest.raises(SourceError) as caught:
        made.ask("TSLA")
    assert KEY not in str(caught.value)


def test_an_unknown_ticker_is_not_asked_for_all_day(desk: Callable[..., Desk]) -> None:
    """Each time would cost one of 25 requests."""
    made = vantage(desk)
    for minute in range(120):
        assert isinstance(made.ask("NOPE", now=OPEN + minute * 60.0), ItemError)
    assert len(made.service.requests) == 3


@pytest.mark.parametrize(
    "change", [{"05. price": None}, {"05. price": "None"}, {"07. latest trading day": "today"}]
)
def test_quotes_of_alpha_vantage_without_a_value(change: dict[str, Any], desk: Callable[..., Desk]) -> None:
    """No price or no day."""
    made = vantage(desk)
    body = payload("alphavantage-global-quote-success.json")
    body["Global Quote"] |= change
    made.service.answer = lambda request: Answer(body)  # type: ignore[method-assign]
    error = made.ask("TSLA")
    assert isinstance(error, CollectError)
    assert "TSLA" in str(error)


# -- multpl --------------------------------------------------------------------------------------------


def test_multpls_current_value(desk: Callable[..., Desk]) -> None:
    """The number after the title, not the 500 in it, with the page's time."""
    made = desk(Multpl, multpl.Multpl)
    made.market.set("sp_pe", 29.41)
    now = at("2026-08-20T12:00")
    found = made.ask("sp_pe", now=now)
    assert found.quotes == (Quote(29.41, Micros(round(at("2026-08-19T16:00") * SECOND))),)
    assert found.rest == 4 * HOUR


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("29.41\n", "500.00\n"), "out of 5 to 100"),
        (("29.41\n", "0\n"), "out of 5 to 100"),
        (("29.41\n", "\n"), "which is no number"),
        (('id="current"', 'id="now"'), "no current value"),
        ((":</span></b>", "</b>"), "no current value"),
    ],
)
def test_pages_that_are_not_believed(change: tuple[str, str], told: str, desk: Callable[..., Desk]) -> None:
    """A number that cannot be a ratio, none, or another markup."""
    made = desk(Multpl, multpl.Multpl)
    page = payload("multpl-current-page.txt")
    assert change[0] in page
    made.send(page.replace(*change), "text/html")
    error = made.ask("sp_pe")
    assert isinstance(error, ItemError)
    assert told in str(error)


def test_an_estimate_carries_a_mark(desk: Callable[..., Desk]) -> None:
    """The mark is not part of the number."""
    made = desk(Multpl, multpl.Multpl)
    made.send(payload("multpl-current-page.txt").replace("29.41\n", "&#x2020; 29.41\n"), "text/html")
    assert the(made.ask("sp_pe")).value == 29.41


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("4:00 PM EDT, Wed Aug 19", "2026-08-19T20:00"),
        ("4:00 PM EST, Wed Dec 31", "2025-12-31T21:00"),  # of the year before
        ("4:00 PM EDT, Thu Aug 19", None),  # in neither year
        ("4:00 PM EDT, Mon Aug 24", None),  # still to come
        ("4:00 PM CET, Wed Aug 19", None),
        ("25:00 PM EDT, Wed Aug 19", None),
        ("yesterday", None),
    ],
)
def test_the_time_of_a_page_that_leaves_out_the_year(told: str, expected: str | None) -> None:
    """The weekday tells the year; what is not exact is no time."""
    page = re.sub(r"4:00 PM EDT, Wed Aug 19", told, payload("multpl-current-page.txt"))
    now = Micros(round(at("2026-08-20T12:00") * SECOND))
    assert page_time(page, now) == (None if expected is None else round(at(expected, "UTC") * SECOND))
