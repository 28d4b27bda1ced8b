"""Prediction markets: names of outcomes, slugs, events, tokens, what is over, and the stream of the odds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import SECOND
from oculus.collectors.base import CollectError, Context
from oculus.collectors.markets import feed as feed_module
from oculus.collectors.markets.prediction import Prediction, PredictionSettings
from oculus.collectors.markets.quotes import EXTRAS
from oculus.collectors.markets.sources.odds import (
    LONGEST_MARKET,
    LONGEST_OUTCOME,
    RESERVED,
    Moments,
    outcome_names,
    shortened,
)
from oculus.collectors.markets.sources.polymarket_wire import PolymarketWire
from oculus.collectors.markets.wire import Refused, Tick
from oculus.config import loads
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.errors import ConfigError
from oculus.model import Event, Micros, Sample, is_symbol, slug
from oculus.supervise import Supervisor
from oculus.vocabulary import vocabulary
from tests.standins import faults
from tests.standins.base import Answer, Request, StandIn
from tests.standins.kalshi import Kalshi
from tests.standins.manifold import Manifold
from tests.standins.polymarket import Polymarket
from tests.support.servers import wait_for

PAYLOADS = Path(__file__).parents[2] / "standins" / "payloads"
NOW = 1_787_153_400.0
YES = "65818619657568813474341868652308942079804919287380422192892211131408793125001"
NO = "52114319501245915516055106046884209969926127482827954674443846427813813222002"


# -- names ------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=120), min_size=1, max_size=8))
def test_outcomes_get_names_that_are_parts_of_symbols_and_never_alike(texts: Mapping[str, str]) -> None:
    """Whatever outcomes are called, each has a name of its own, and the same one in another order."""
    names = outcome_names(texts)
    assert list(names) == list(texts)
    assert len(set(names.values())) == len(texts)
    for name in names.values():
        assert is_symbol(name)
        assert "." not in name
        assert len(name) <= LONGEST_OUTCOME
        assert name not in EXTRAS
    assert outcome_names(dict(reversed(list(texts.items())))) == names


def test_outcomes_keep_their_words_where_they_can() -> None:
    """Only names that several would have, or that say nothing, are marked."""
    names = outcome_names({"1": "Yes", "2": "J. D. Vance", "3": "A+", "4": "A-", "5": "日本", "6": "Ask"})
    assert (names["1"], names["2"]) == ("yes", "j_d_vance")
    assert names["3"].startswith("a_")
    assert names["4"].startswith("a_")
    assert names["5"].startswith("outcome_")
    assert names["6"].startswith("ask_")


def test_the_longest_names_fit_into_a_symbol() -> None:
    """A market and an outcome of any length, with a figure beside them, are a symbol."""
    market = shortened("m" * 250, LONGEST_MARKET)
    assert market != shortened("m" * 251, LONGEST_MARKET)
    (outcome,) = outcome_names({"k": "o" * 250}).values()
    assert is_symbol(f"pred.poly.{market}.{outcome}.volume_24h")


def test_reserved_names_are_those_of_figures() -> None:
    """No outcome is taken for a figure beside the price."""
    assert RESERVED == EXTRAS


def test_a_number_under_an_old_time_is_from_when_it_was_seen() -> None:
    """The source's time counts when it moves; the same number keeps its time, another one gets a new one."""
    moments, told, received = Moments(), Micros(100), Micros(150)
    assert moments.of("m", 0.5, told, received) == 100
    assert moments.of("m", 0.5, told, Micros(200)) == 100
    assert moments.of("m", 0.6, told, Micros(210)) == 210
    assert moments.of("m", 0.6, None, Micros(220)) == 210
    assert moments.of("m", 0.6, Micros(230), Micros(240)) == 230
    assert moments.of("n", 0.6, None, Micros(240)) == 240


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "needs one of slug, token_id, ticker and event (such as slug: will-it-rain)"),
        ({"slug": "a", "ticker": "B"}, "(not slug and ticker)"),
        ({"slug": "a", "source": "polymarkt"}, 'did you mean "polymarket"?'),
        ({"token_id": "12", "source": "kalshi"}, 'the source "kalshi" has no token_id, polymarket has'),
        ({"ticker": "A", "source": "manifold"}, 'the source "manifold" has no ticker, kalshi has'),
        ({"event": "A", "source": "polymarket"}, 'the source "polymarket" has no event, kalshi has'),
        ({"slug": "a", "fallback": ("kalshi",)}, "takes no fallback"),
        ({"slug": "a~b", "source": "kalshi"}, "is not a ticker"),
        ({"slug": "a", "source": "manifold", "stream": True}, 'the source "manifold" has no stream'),
    ],
)
def test_mistakes_in_settings_are_told(settings: dict[str, Any], told: str) -> None:
    """What cannot be asked for is refused with what would be right."""
    with pytest.raises(ValueError, match=re.escape(told)):
        PredictionSettings(**settings)


def test_a_configuration_names_markets() -> None:
    """A token keeps all its digits, a ticker needs no source, and a long slug makes a name that fits."""
    text = (
        "collectors:\n"
        f"  - {{type: prediction, token_id: {YES}}}\n"
        "  - {type: prediction, ticker: KXBTCMAX100-26}\n"
        f"  - {{type: prediction, slug: {'long-' * 40}end}}\n"
    )
    token, ticker, long = loads(text, "test.yaml", vocabulary()).collectors
    assert isinstance(token.settings, PredictionSettings)
    assert isinstance(ticker.settings, PredictionSettings)
    assert token.settings.token_id == YES
    assert (token.name, ticker.name, ticker.settings.source) == (YES, "kxbtcmax100_26", "kalshi")
    assert len(long.name) == LONGEST_MARKET


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("slug: https://polymarket.com/event/a", "is not a slug (the last part of the market's address"),
        ("token_id: 0x9f1c2d3e", "is not a token (a number of some 77 digits"),
        ("ticker: KX BTC", "is not a ticker (such as KXBTCMAX100-26)"),
    ],
)
def test_what_cannot_name_a_market_is_a_mistake(line: str, told: str) -> None:
    """Addresses, ids of another kind and typing errors are told before anything is asked."""
    with pytest.raises(ConfigError, match=re.escape(told)):
        loads(f"collectors:\n  - type: prediction\n    {line}\n", "test.yaml", vocabulary())


# -- asking ------------------------------------------------------------------------------------------------


class Edited:
    """What a service says otherwise than the stand-in does by itself, by market."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.edits: dict[str, dict[str, Any]] = {}
        super().__init__(*arguments, **options)


class EditedPolymarket(Edited, Polymarket):
    """Polymarket, and servers that lack some of it: answers 404 below `lacks`."""

    lacks: tuple[str, ...] = ()

    def answer(self, request: Request) -> Answer:
        if f"{request.method} {request.path}".startswith(self.lacks or ("-",)):
            return self.not_found(request)
        return super().answer(request)

    def _market(self, slug: str) -> dict[str, Any]:
        return super()._market(slug) | self.edits.get(slug, {})


class EditedKalshi(Edited, Kalshi):
    """Kalshi."""

    def _market(self, ticker: str, event: str = "") -> dict[str, Any]:
        return super()._market(ticker, event) | self.edits.get(ticker, {})


class EditedManifold(Edited, Manifold):
    """Manifold."""

    def _market(self, slug: str) -> dict[str, Any]:
        return super()._market(slug) | self.edits.get(slug, {})


KINDS: dict[str, type[StandIn]] = {
    "polymarket": EditedPolymarket,
    "kalshi": EditedKalshi,
    "manifold": EditedManifold,
}


class Bench:
    """A stand-in on a clock that stands still, and collectors of it."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.service: Any = KINDS[source]()
        self.service.market.freeze(NOW)
        self.events: list[Event] = []
        self.deaths: list[str] = []
        self.supervisor = Supervisor(lambda worker, trace: self.deaths.append(trace))
        self.context = Context(
            report=self.events.append, spawn=self.supervisor.spawn, end=self.supervisor.stop
        )
        self.made: list[Prediction] = []

    def collector(self, **settings: Any) -> Prediction:
        """Make a collector."""
        options = {"base_url": self.service.url, "ws_url": self.service.ws_url, **settings}
        made = PredictionSettings(source=self.source, **options)
        name = slug(made.name or made.default_name())
        self.made.append(Prediction(CollectorSpec("prediction", name, made), self.context))
        return self.made[-1]

    def set(self, item: str, odds: float) -> None:
        """Give a market's first outcome its odds."""
        self.service.market.set(item, odds, NOW)

    def run(self, *collectors: Prediction) -> list[Any]:
        """Run collectors at one moment, some time after what was asked before; return samples or errors."""
        for collector in collectors:
            for feed in collector._feeds.values():
                feed._kept.clear()
        running = [gevent.spawn(_collect, collector) for collector in collectors]
        return [each.get() for each in running]

    def values(self, collector: Prediction) -> dict[str, float]:
        """Run a collector, and return its values by symbol."""
        (samples,) = self.run(collector)
        if isinstance(samples, CollectError):
            raise samples
        return {sample.symbol: sample.value for sample in samples}

    def asked(self) -> list[str]:
        """Return the paths asked for since the last time."""
        paths = [f"{request.method} {request.path}" for request in self.service.requests]
        self.service.requests.clear()
        return paths

    def stop(self) -> None:
        """End everything."""
        for collector in self.made:
            collector.close()
        self.supervisor.stop(*(worker.name for worker in self.supervisor.workers))
        self.context.close()
        self.service.stop()
        assert self.deaths == []


def _collect(collector: Prediction) -> list[Sample] | CollectError:
    try:
        return list(collector.collect())
    except CollectError as error:
        return error


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Bench]]:
    """Make benches, ended with the test."""
    monkeypatch.setattr(feed_module, "GATHER", 0.005)
    made: list[Bench] = []

    def make(source: str) -> Bench:
        made.append(Bench(source))
        return made[-1]

    yield make
    for each in made:
        each.stop()


# -- Polymarket --------------------------------------------------------------------------------------------


def test_a_market_gives_each_outcome_as_the_source_has_it(bench: Callable[[str], Bench]) -> None:
    """Both outcomes are the source's own numbers at its own time; bid and ask are those of the first."""
    made = bench("polymarket")
    made.service.edits["will-it-rain"] = {
        "outcomePrices": '["0.36", "0.63"]',
        "updatedAt": "2026-08-19T15:29:58Z",
    }
    collector = made.collector(slug="will-it-rain", extras=("bid", "ask", "volume_24h"))
    (samples,) = made.run(collector)
    found = {sample.symbol: sample for sample in samples}
    stem = "pred.poly.will_it_rain"
    assert found[f"{stem}.yes"].value == 0.36
    assert found[f"{stem}.no"].value == 0.63
    assert set(found) == {f"{stem}.{part}" for part in ("yes", "no", "yes.bid", "yes.ask", "volume_24h")}
    assert {sample.ts for sample in samples} == {int((NOW - 2.0) * SECOND)}
    assert collector.tags["unit"] == "probability"
    assert found[f"{stem}.yes"].tags == {"outcome": "Yes"}
    assert found[f"{stem}.volume_24h"].tags["unit"] == "USD"
    assert made.asked() == ["GET /markets/slug/will-it-rain"]


def test_a_symbol_of_ones_own_stands_before_the_outcomes(bench: Callable[[str], Bench]) -> None:
    """`symbol:` replaces the market's part; of an event its markets follow."""
    made = bench("polymarket")
    made.service.event_markets["event-btc"] = ["above-80k"]
    assert set(made.values(made.collector(slug="up-or-down-x", symbol="my.odds"))) == {
        "my.odds.up", "my.odds.down",
    }  # fmt: skip
    assert set(made.values(made.collector(slug="event-btc", symbol="my.event"))) == {
        "my.event.above_80k.yes", "my.event.above_80k.no",
    }  # fmt: skip


def test_an_event_gives_all_its_markets(bench: Callable[[str], Bench]) -> None:
    """The slug of an event is found as the last of three forms, and at once from then on."""
    made = bench("polymarket")
    made.service.event_markets["event-btc"] = ["above-80k", "above-100k", "above-120k"]
    made.set("above-100k", 0.42)
    made.service.edits["above-80k"] = {"closed": True, "outcomePrices": '["0", "0"]'}
    collector = made.collector(slug="event-btc")
    values = made.values(collector)
    assert values["pred.poly.above_100k.yes"] == 0.42
    assert len(values) == 4  # nothing of the one whose result is not told
    assert collector.state == ""
    assert made.asked() == ["GET /markets/slug/event-btc", "GET /markets", "GET /events/slug/event-btc"]
    made.values(collector)
    assert made.asked() == ["GET /events/slug/event-btc"]


def test_a_hundred_markets_are_two_requests(bench: Callable[[str], Bench]) -> None:
    """Markets are asked for together from the first time on; events, and what is unknown, by themselves."""
    made = bench("polymarket")
    many = [made.collector(slug=f"market-{number}") for number in range(100)]
    for _ in range(2):
        results = made.run(*many)
        assert all(isinstance(samples, list) and len(samples) == 2 for samples in results)
        assert made.asked() == ["GET /markets"] * 2
    others = [made.collector(slug=f"{name}-x", interval=Seconds(60.0)) for name in ("event", "no-such")]
    *_, event, unknown = made.run(*many[:10], *others)
    assert len(event) == 6
    assert "has neither a market nor an event 'no-such-x'" in str(unknown)
    assert unknown.retry_in == 3_600.0


def test_a_server_without_the_first_form_is_asked_in_another(bench: Callable[[str], Bench]) -> None:
    """The form that found a market is the first the next time."""
    made = bench("polymarket")
    made.service.lacks = ("GET /markets/slug/",)
    collector = made.collector(slug="will-it-rain")
    assert len(made.values(collector)) == 2
    made.asked()
    assert len(made.values(collector)) == 2
    assert made.asked() == ["GET /markets"]


def test_a_closed_market_keeps_its_result_and_rests(bench: Callable[[str], Bench]) -> None:
    """The result is 0 and 1 at one time, the state says so, and the source is asked a day later."""
    made = bench("polymarket")
    made.service.edits["closed-x"] = {"updatedAt": "2026-08-19T15:00:00Z"}
    collector = made.collector(slug="closed-x")
    assert made.values(collector) == {"pred.poly.closed_x.yes": 0.0, "pred.poly.closed_x.no": 1.0}
    assert (collector.state, collector.rest) == ("closed", 86_400.0)
    first, second = made.run(collector)[0], made.run(collector)[0]
    assert [sample.ts for sample in first] == [sample.ts for sample in second]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"closed": True, "outcomePrices": '["0", "0"]'}, "is closed, and its result is not told"),
        ({"outcomePrices": '["0.5"]'}, "has 2 outcomes and 1 prices"),
        ({"outcomePrices": '["0.5", "1.2"]'}, "is 1.2, which is no probability"),
        ({"outcomePrices": '["0.5", "N/D"]'}, "is 'N/D', which is no number"),
        ({"outcomePrices": "soon"}, "the outcomePrices of x are no list"),
        ({"outcomes": None}, "the outcomes of x are no list"),
    ],
)
def test_what_is_no_probability_gives_none(
    edit: dict[str, Any], told: str, bench: Callable[[str], Bench]
) -> None:
    """Nothing is made up from a market that does not tell its odds."""
    made = bench("polymarket")
    made.service.edits["x"] = edit
    with pytest.raises(CollectError, match=told):
        made.values(made.collector(slug="x"))


def test_tokens_share_a_request(bench: Callable[[str], Bench]) -> None:
    """One token is asked for by GET, several by one POST; a server without that gets a GET for each."""
    made = bench("polymarket")
    tokens = [made.service.token(name) for name in ("a", "b", "closed-c")]
    made.set("a", 0.365)
    one, *_ = several = [made.collector(token_id=token) for token in tokens]
    assert made.values(one) == {f"pred.prob.{tokens[0]}": 0.365}
    assert made.asked() == ["GET /midpoint"]
    for form in ("mid", "mid_price"):
        made.service.mid_key = form
        found, _, closed = made.run(*several)
        assert [sample.value for sample in found] == [0.365]
        assert "has no order book of the token" in str(closed)
        assert tokens[2] not in str(closed)
        made.service.lacks = ("POST ",)
    assert made.asked() == ["POST /midpoints", "POST /midpoints", *["GET /midpoint"] * 3]


# -- Polymarket's stream -----------------------------------------------------------------------------------


def frame(name: str, **changes: Any) -> str:
    """Return a frame of the service, with some fields changed."""
    data = json.loads((PAYLOADS / f"polymarket-ws-{name}.json").read_text())
    return json.dumps(data | changes if changes else data)


def level(price: str) -> dict[str, str]:
    """Return one level of a book."""
    return {"price": price, "size": "5"}


def test_the_stream_is_read_as_it_is_spoken() -> None:
    """Books, changes, trades and the end of a market; what need not be known is passed over."""
    wire = PolymarketWire()
    ts = Micros(1_787_227_200_000_000)
    assert list(wire.read(frame("book"))) == [Tick(YES, 0.365, ts, {"bid": 0.36, "ask": 0.37})]
    assert [tick.price for tick in wire.read(frame("initial-dump-array")) if isinstance(tick, Tick)] == [
        0.365, 0.635,
    ]  # fmt: skip
    assert list(wire.read(frame("price-change"))) == [
        Tick(YES, 0.37, Micros(ts + 412_000), {"bid": 0.36, "ask": 0.38}),
        Tick(NO, 0.63, Micros(ts + 412_000), {"bid": 0.62, "ask": 0.64}),
    ]
    assert [tick.price for tick in wire.read(frame("best-bid-ask")) if isinstance(tick, Tick)] == [0.37]
    assert list(wire.read(frame("tick-size-change"))) == []
    for words in ("PONG", "NO NEW ASSETS"):
        assert list(wire.read(words)) == []
    resolved = list(wire.read(frame("market-resolved")))
    assert [message.key for message in resolved if isinstance(message, Refused)] == [YES, NO]


def test_a_wide_spread_leaves_the_last_trade() -> None:
    """The midpoint of a book that is empty or wide says nothing; without a trade there is no price."""
    wire = PolymarketWire()
    assert list(wire.read(frame("book", bids=[level(".01")], asks=[level(".99")]))) == []
    assert list(wire.read(frame("book", bids=[], asks=[level(".37")]))) == []
    (trade,) = wire.read(frame("last-trade-price", price=".3"))
    assert isinstance(trade, Tick)
    assert (trade.price, trade.figures) == (0.3, {"ask": 0.37})
    (tick,) = wire.read(frame("book", bids=[level(".30")], asks=[level(".40")]))  # just narrow enough
    assert isinstance(tick, Tick)
    assert tick.price == 0.35


def test_changes_without_the_best_prices_are_applied_to_the_book() -> None:
    """A size of 0 removes a level; a change of a book that was never seen says nothing."""
    change = json.loads(frame("price-change"))["price_changes"][0]  # the ask of 0.37 is gone
    change = {key: value for key, value in change.items() if not key.startswith("best")}
    text = frame("price-change", price_changes=[change])
    wire = PolymarketWire()
    assert list(wire.read(text)) == []
    list(wire.read(frame("book")))
    (tick,) = wire.read(text)
    assert isinstance(tick, Tick)
    assert (tick.price, tick.figures) == (0.37, {"bid": 0.36, "ask": 0.38})


def test_subscriptions_are_the_first_frame_and_then_operations() -> None:
    """Only the first frame of a connection says what is wanted of it."""
    wire = PolymarketWire()
    first, second, last = (
        json.loads(text) for text in (*wire.subscribe([YES]), *wire.subscribe([NO]), *wire.unsubscribe([YES]))
    )
    assert first.pop("custom_feature_enabled") is True  # else nobody tells that a market is resolved
    assert first == {"assets_ids": [YES], "type": "market", "initial_dump": True}
    assert second == {"assets_ids": [NO], "operation": "subscribe"}
    assert last == {"assets_ids": [YES], "operation": "unsubscribe"}


def test_the_stream_brings_the_odds_until_the_market_is_over(bench: Callable[[str], Bench]) -> None:
    """Tokens are learned from the first answer; when the market is resolved, its result comes from there."""
    made = bench("polymarket")
    made.service.market.freeze(None)
    collector = made.collector(slug="will-it-rain", stream=True, interval=Seconds(0.5), extras=("bid",))
    assert set(made.values(collector)) >= {"pred.poly.will_it_rain.yes", "pred.poly.will_it_rain.no"}
    wait_for(lambda: made.service.connections)
    wait_for(lambda: all(map(collector._streams.alive, collector._live.values())) and collector._live)
    wait_for(lambda: all(live.ticked for live in collector._live.values()))
    made.asked()
    yes = made.service.token("will-it-rain")
    found: dict[str, float] = {}

    def brought() -> bool:
        made.service.send_tick(yes, 0.715)
        gevent.sleep(0.1)
        found.update({sample.symbol: sample.value for sample in made.run(collector)[0]})
        return found.get("pred.poly.will_it_rain.yes") == 0.715

    wait_for(brought)
    assert found["pred.poly.will_it_rain.no"] == 0.285
    assert found["pred.poly.will_it_rain.yes.bid"] == 0.71
    assert [path for path in made.asked() if "markets" in path] == []
    made.service.close("will-it-rain", 0)
    wait_for(lambda: made.run(collector) and collector.state == "closed")
    assert made.values(collector)["pred.poly.will_it_rain.yes"] == 1.0
    assert collector._live == {}
    assert collector.rest == 86_400.0
    assert made.events == []


def test_an_event_that_streams_is_looked_at_now_and_then(bench: Callable[[str], Bench]) -> None:
    """While the stream brings all, one look an hour finds new markets and those that ended without a word."""
    made = bench("polymarket")
    made.service.market.freeze(None)
    made.service.event_markets["event-x"] = ["one", "two"]
    collector = made.collector(slug="event-x", stream=True, interval=Seconds(0.5))
    made.values(collector)
    assert set(collector._live) == {f"{name}.{side}" for name in ("one", "two") for side in ("yes", "no")}
    wait_for(lambda: all(live.ticked for live in collector._live.values()))
    made.asked()
    made.values(collector)
    assert made.asked() == []
    made.service.event_markets["event-x"] = ["two", "three"]
    collector._looked -= 4_000.0
    made.values(collector)
    assert made.asked() == ["GET /events/slug/event-x"]
    assert set(collector._live) == {f"{name}.{side}" for name in ("two", "three") for side in ("yes", "no")}
    wait_for(lambda: all(live.ticked for live in collector._live.values()))
    made.service.fault = faults.error(only="rest")
    collector._looked -= 4_000.0
    assert isinstance(made.run(collector)[0], list)  # the stream has all that is asked for


# -- Kalshi ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cents", [False, True])
def test_kalshi_gives_the_last_price_of_yes(cents: bool, bench: Callable[[str], Bench]) -> None:
    """In dollars, or in cents as older answers have it; at the time of the answer."""
    made = bench("kalshi")
    made.service.cents = cents
    made.set("KXRAIN-26", 0.37)
    collector = made.collector(slug="kxrain-26", name="Rain", extras=("bid", "ask"))
    (samples,) = made.run(collector)
    values = {sample.symbol: sample.value for sample in samples}
    assert values["pred.prob.rain"] == 0.37
    assert set(values) == {"pred.prob.rain", "pred.prob.rain.bid", "pred.prob.rain.ask"}
    assert all(sample.ts > NOW * SECOND for sample in samples)  # not the time of its description
    assert made.asked() == ["GET /trade-api/v2/markets/KXRAIN-26"]


def test_a_hundred_tickers_are_one_request(bench: Callable[[str], Bench]) -> None:
    """Those that are unknown are missing from the list, and fail alone."""
    made = bench("kalshi")
    many = [made.collector(ticker=f"KX{number}") for number in range(99)]
    *found, unknown = made.run(*many, made.collector(ticker="NOSUCH-1"))
    assert all(len(samples) == 1 for samples in found)
    assert "has no market NOSUCH-1" in str(unknown)
    assert made.asked() == ["GET /trade-api/v2/markets"]


def test_an_event_of_kalshi_gives_all_its_markets(bench: Callable[[str], Bench]) -> None:
    """Markets are named by what follows the event's ticker; those never traded have no value."""
    made = bench("kalshi")
    made.service.event_markets["KXBTC-26"] = [f"KXBTC-26-T{end}" for end in (80, 100, 120)]
    made.set("KXBTC-26-T100", 0.42)
    made.service.edits["KXBTC-26-T120"] = {"last_price_dollars": "0.0000"}
    collector = made.collector(event="KXBTC-26", name="btc")
    values = made.values(collector)
    assert values["pred.prob.btc.t100"] == 0.42
    assert set(values) == {"pred.prob.btc.t100", "pred.prob.btc.t80"}
    assert made.asked() == ["GET /trade-api/v2/markets"]


@pytest.mark.parametrize(
    ("edit", "value", "rest"),
    [
        ({"status": "finalized", "result": "yes"}, 1.0, 86_400.0),
        ({"status": "finalized", "result": "no"}, 0.0, 86_400.0),
        ({"status": "finalized", "result": "scalar", "settlement_value_dollars": "0.2500"}, 0.25, 86_400.0),
        ({"status": "determined", "result": "yes"}, 1.0, 900.0),  # it may be disputed
        ({"status": "closed", "result": ""}, 0.37, 900.0),
    ],
)
def test_a_settled_ticker_keeps_its_result_and_rests(
    edit: dict[str, Any], value: float, rest: float, bench: Callable[[str], Bench]
) -> None:
    """The result takes the place of the price, and the state says that it is over."""
    made = bench("kalshi")
    made.set("KX", 0.37)
    made.service.edits["KX"] = edit
    collector = made.collector(ticker="KX")
    assert made.values(collector) == {"pred.prob.kx": value}
    assert (collector.state, collector.rest) == ("closed", rest)


def test_a_ticker_that_was_never_traded_has_no_odds(bench: Callable[[str], Bench]) -> None:
    """A last price of nothing is no chance of nothing."""
    made = bench("kalshi")
    made.service.edits["KX"] = {"last_price_dollars": "0.0000", "yes_bid_dollars": "0.0000"}
    with pytest.raises(CollectError, match="KX was not traded yet"):
        made.values(made.collector(ticker="KX"))


# -- Manifold ----------------------------------------------------------------------------------------------


def test_manifold_gives_the_probability_at_its_last_bet(bench: Callable[[str], Bench]) -> None:
    """One market is one request, and a number that did not move keeps its time."""
    made = bench("manifold")
    made.set("rain", 0.3712)
    collector = made.collector(slug="rain", extras=("volume_24h",))
    (samples,) = made.run(collector)
    price, volume = samples
    assert (price.symbol, price.value, price.ts) == ("pred.prob.rain", 0.3712, int(NOW * SECOND))
    assert (volume.symbol, volume.tags["unit"]) == ("pred.prob.rain.volume_24h", "MANA")
    assert made.run(collector)[0][0].ts == price.ts


def test_several_answers_are_several_series(bench: Callable[[str], Bench]) -> None:
    """Each answer has the source's own probability, by its text."""
    made = bench("manifold")
    rows = [("a1", "J. D. Vance", 0.61), ("a2", "Other", 0.3), ("a3", "other!", 0.09)]
    answers = [{"id": key, "text": text, "probability": odds} for key, text, odds in rows]
    made.service.edits["which-x"] = {"answers": answers}
    values = made.values(made.collector(slug="which-x", name="next"))
    assert values["pred.prob.next.j_d_vance"] == 0.61
    assert sorted(values.values()) == [0.09, 0.3, 0.61]


def test_a_hundred_markets_of_manifold_are_one_request(bench: Callable[[str], Bench]) -> None:
    """After one look at each, one request brings all; a number that moved is from then."""
    made = bench("manifold")
    many = [made.collector(slug=f"{name}{number}") for name in ("m-", "which-") for number in range(50)]
    first = made.run(*many)
    assert len(made.asked()) == 100
    made.set("m-0", 0.99)
    second = made.run(*many)
    assert made.asked() == ["GET /v0/market-probs"]
    assert second[0][0].value == 0.99
    assert second[0][0].ts > first[0][0].ts
    assert [sample.ts for sample in second[1]] == [sample.ts for sample in first[1]]
    assert [len(samples) for samples in second] == [1] * 50 + [3] * 50


def test_what_is_unknown_to_manifold_fails_alone(bench: Callable[[str], Bench]) -> None:
    """The others are served."""
    made = bench("manifold")
    known, unknown = made.run(made.collector(slug="a"), made.collector(slug="no-such-b"))
    assert len(known) == 1
    assert "has no market 'no-such-b'" in str(unknown)


@pytest.mark.parametrize(
    ("edit", "values"),
    [
        ({"isResolved": True, "resolution": "YES"}, {"": 1.0}),
        ({"isResolved": True, "resolution": "MKT", "resolutionProbability": 0.25}, {"": 0.25}),
        (
            {
                "isResolved": True,
                "resolution": "a2",
                "answers": [{"id": "a1", "text": "A"}, {"id": "a2", "text": "B"}],
            },
            {".a": 0.0, ".b": 1.0},
        ),
        (
            {
                "isResolved": True,
                "resolution": "MKT",
                "answers": [
                    {"id": "a1", "text": "A", "resolution": "YES"},
                    {"id": "a2", "text": "B", "resolution": "NO"},
                ],
            },
            {".a": 1.0, ".b": 0.0},
        ),
    ],
)
def test_a_resolved_market_keeps_its_result_and_rests(
    edit: dict[str, Any], values: dict[str, float], bench: Callable[[str], Bench]
) -> None:
    """What came of it takes the place of the probability."""
    made = bench("manifold")
    made.service.edits["x"] = edit
    collector = made.collector(slug="x")
    assert made.values(collector) == {f"pred.prob.x{part}": value for part, value in values.items()}
    assert (collector.state, collector.rest) == ("closed", 86_400.0)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"outcomeType": "PSEUDO_NUMERIC", "value": 4.2}, "is about a number and has no probability"),
        ({"isResolved": True, "resolution": "CANCEL"}, r"ended without a probability \(CANCEL\)"),
        ({"probability": None}, "the probability of x is null"),
    ],
)
def test_what_has_no_probability_is_told(
    edit: dict[str, Any], told: str, bench: Callable[[str], Bench]
) -> None:
    """Questions about numbers, and those that were called off, have no odds."""
    made = bench("manifold")
    made.service.edits["x"] = edit
    with pytest.raises(CollectError, match=told):
        made.values(made.collector(slug="x"))
