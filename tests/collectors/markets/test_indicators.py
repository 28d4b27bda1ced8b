"""The indicators of crypto: what is special in each service; what all sources have in common is elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from oculus.clock import SECOND
from oculus.collectors.fetch import Fetcher
from oculus.collectors.markets.sources import altseason
from oculus.collectors.markets.sources.alternative import Alternative
from oculus.collectors.markets.sources.altseason import Altseason
from oculus.collectors.markets.sources.base import ItemError, Options, Quotes, Source, SourceError
from oculus.collectors.markets.sources.coinmarketcap import CoinMarketCap
from oculus.collectors.markets.sources.coinmetrics import CoinMetrics
from oculus.collectors.markets.sources.glassnode import Glassnode
from oculus.model import Micros
from tests.standins import altseason as seasons
from tests.standins import faults, onchain
from tests.standins.alternative_me import AlternativeMe
from tests.standins.altseason import CMC_KEY, AltSeason
from tests.standins.base import Answer, Request, StandIn
from tests.standins.coingecko import DEMO_KEY, PRO_KEY, SYMBOLS
from tests.standins.market import DAY, Market
from tests.standins.onchain import GLASSNODE_KEY
from tests.standins.text import payload
from tests.support.clocks import Clock
from tests.support.proxy import Proxy

NOW = 1_787_153_400.0  # 2026-08-19T15:30:00Z
MIDNIGHT = NOW - NOW % DAY
HOUR = 3_600.0


class Bench:
    """A source before its service, on a clock that is moved by hand."""

    def __init__(self, source: type[Source], service: type[StandIn], key: str, plan: str) -> None:
        self.market = Market()
        self.service = service(self.market)
        self.clock = Clock(0.0)
        self.market.freeze(NOW)
        self.fetcher = Fetcher(self.clock, self.clock.sleep)
        self.source = source(Options(self.service.url, key, plan), self.fetcher, self._now)

    def _now(self) -> Micros:
        return Micros(round((NOW + self.clock.now) * SECOND))

    def pass_by(self, seconds: float) -> None:
        """Let time pass, for the source and the market."""
        self.clock.now += seconds
        self.market.freeze(NOW + self.clock.now)

    def answer(self, body: Any, status: int = 200) -> None:
        """Have the service answer this to all that follows."""
        self.service.answer = lambda request: Answer(body, status)  # type: ignore[method-assign]

    def ask(self) -> Quotes:
        """Ask once; raises what the source does."""
        found = self.source.ask(["it"])["it"]
        if isinstance(found, ItemError):
            raise found
        return found

    def value(self) -> float:
        """Ask once; return the value."""
        (quote,) = self.ask().quotes
        return quote.value

    def connects_to(self) -> str:
        """Return the host that the source asks when it is not told another, as a proxy sees it."""
        proxy = Proxy()
        options = replace(self.source.options, base_url="", proxy=proxy.url)
        try:
            with pytest.raises(SourceError):
                type(self.source)(options, self.fetcher, self._now).ask(["it"])
        finally:
            proxy.stop()
        (asked,) = proxy.asked
        return asked.split()[1]

    def gather(self) -> list[Quotes]:
        """Ask, as often as the source rests for a minute, until it has the index; return all answers."""
        answers = [self.ask()]
        while answers[-1].state == "gathering":
            assert len(answers) < 60
            assert answers[-1].rest == 60.0
            self.pass_by(60.0)
            answers.append(self.ask())
        return answers


@pytest.fixture
def bench() -> Iterator[Callable[..., Bench]]:
    """Make benches, closed at the end."""
    made: list[Bench] = []

    def make(source: type[Source], service: type[StandIn], key: str = "", plan: str = "") -> Bench:
        made.append(Bench(source, service, key, plan))
        return made[-1]

    yield make
    for each in made:
        each.service.stop()
        each.fetcher.close()


# -- Fear & Greed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "rest"),
    [("120", 180.0), ("43180", 3_600.0), ("0", 60.0), ("-5", 60.0), ("999999999", 3_600.0), ("soon", None)],
)
def test_fear_and_greed_rests_until_the_next_value(
    told: str, rest: float | None, bench: Callable[..., Bench]
) -> None:
    """It is asked for again a little after the next value is due, but within the hour whatever is told."""
    made = bench(Alternative, AlternativeMe)
    body = payload("alternative-me-fng-success.json")
    body["data"][0]["time_until_update"] = told
    made.answer(body)
    quotes = made.ask()
    assert quotes.rest == rest
    assert quotes.quotes[0].value == 39.0
    assert quotes.quotes[0].ts == 1_787_184_000 * SECOND


def test_fear_and_greed_tells_the_errors_of_a_success(bench: Callable[..., Bench]) -> None:
    """A status of success may carry an error, or no row at all."""
    made = bench(Alternative, AlternativeMe)
    made.answer(payload("alternative-me-fng-error.json"))
    with pytest.raises(SourceError, match="Invalid request"):
        made.ask()
    made.answer({"data": [], "metadata": {"error": None}})
    with pytest.raises(ItemError, match="no value of fng"):
        made.ask()


@pytest.mark.parametrize("value", ["101", "-1", "", "forty", True, None, [39]])
def test_fear_and_greed_is_between_0_and_100(value: Any, bench: Callable[..., Bench]) -> None:
    """Whatever is no number of the index is an error."""
    made = bench(Alternative, AlternativeMe)
    made.answer({"data": [{"value": value, "timestamp": "1787184000"}], "metadata": {"error": None}})
    with pytest.raises(ItemError, match="fng is"):
        made.ask()


# -- MVRV ---------------------------------------------------------------------------------------------


def test_mvrv_is_that_of_the_newest_day_with_a_value(bench: Callable[..., Bench]) -> None:
    """The newest day may have none yet; the order of the rows does not matter."""
    made = bench(CoinMetrics, onchain.CoinMetrics)
    page = payload("coinmetrics-mvrv-page.json")
    for rows in (page["data"], page["data"][::-1]):
        made.answer({"data": rows})
        (quote,) = made.ask().quotes
        assert quote.value == 1.5190022110087712
        assert quote.ts == (1_787_184_000 - 2 * 86_400) * SECOND  # 2026-08-18
    made.answer({"data": [row | {"CapMVRVCur": None} for row in page["data"]]})
    with pytest.raises(ItemError, match="no value in the last 5 days"):
        made.ask()


def test_mvrv_is_asked_for_from_the_end_of_the_series(bench: Callable[..., Bench]) -> None:
    """The first rows of the series are of 2010."""
    made = bench(CoinMetrics, onchain.CoinMetrics)
    made.ask()
    (request,) = made.service.requests
    assert request.query["paging_from"] == "end"
    assert "api_key" not in request.query


@pytest.mark.parametrize(
    ("hours", "rest"),
    # The value of the 18th is there at 15:30 on the 19th; that of the 19th comes after midnight.
    [(0.0, 6 * HOUR), (4.0, 4.5 * HOUR), (8.4, 0.1 * HOUR), (8.5, None), (20.0, None)],
)
def test_mvrv_rests_until_the_day_has_ended(
    hours: float, rest: float | None, bench: Callable[..., Bench]
) -> None:
    """Nothing new comes before midnight; after it the value is due, and nobody tells when."""
    made = bench(CoinMetrics, onchain.CoinMetrics)
    assert made.ask().quotes[0].ts == round(MIDNIGHT - DAY) * SECOND
    made.clock.now += hours * HOUR
    assert made.ask().rest == pytest.approx(rest)


@pytest.mark.parametrize(
    ("key", "host"), [("", "community-api.coinmetrics.io"), ("k-1", "api.coinmetrics.io")]
)
def test_mvrv_with_a_key_goes_to_the_paid_host(key: str, host: str, bench: Callable[..., Bench]) -> None:
    """The key goes where it is good for something, as the parameter that the service wants."""
    made = bench(CoinMetrics, onchain.CoinMetrics, key)
    made.ask()
    assert made.service.requests[0].query.get("api_key", "") == key
    assert made.connects_to() == f"{host}:443"


def test_mvrv_tells_the_words_of_an_error(bench: Callable[..., Bench]) -> None:
    """The service says what is wrong with a request."""
    made = bench(CoinMetrics, onchain.CoinMetrics)
    made.answer(payload("coinmetrics-error-403-forbidden.json"), 403)
    with pytest.raises(SourceError, match="status 403: Requested metric 'CapRealUSD'"):
        made.ask()


def test_glassnode_takes_its_key_in_a_header(bench: Callable[..., Bench]) -> None:
    """The key is no part of the address; the newest point counts, whatever the order."""
    made = bench(Glassnode, onchain.Glassnode, GLASSNODE_KEY)
    made.market.set("mvrv", 2.125)
    assert made.value() == 2.125
    (request,) = made.service.requests
    assert request.headers["x-api-key"] == GLASSNODE_KEY
    assert GLASSNODE_KEY not in request.target
    made.answer([{"t": 300, "v": None}, {"t": 200, "v": 1.5}, {"t": 100, "v": 1.25}])
    assert made.value() == 1.5


def test_a_wrong_key_is_told_in_the_words_of_the_service(bench: Callable[..., Bench]) -> None:
    """Services that need a key say that it is wrong, without showing it."""
    with pytest.raises(SourceError, match="status 401: invalid api key"):
        bench(Glassnode, onchain.Glassnode, "wrong-key").ask()
    with pytest.raises(SourceError, match="error 1001: This API Key is invalid"):
        bench(CoinMarketCap, seasons.CoinMarketCap, "wrong-key").ask()


# -- altcoin season -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [41, "41", 41.0])
def test_coinmarketcap_gives_numbers_or_texts(value: Any, bench: Callable[..., Bench]) -> None:
    """The index comes either way."""
    made = bench(CoinMarketCap, seasons.CoinMarketCap, CMC_KEY)
    made.answer({"data": {"altcoin_index": value}, "status": {"error_code": 0}})
    assert made.value() == 41.0


def test_coinmarketcap_may_fail_with_success(bench: Callable[..., Bench]) -> None:
    """A success with an error's code carries no data; that of too many requests silences it for a minute."""
    made = bench(CoinMarketCap, seasons.CoinMarketCap, CMC_KEY)
    body = payload("coinmarketcap-error-200-nonzero.json")
    made.answer(body)
    with pytest.raises(SourceError, match="error 500: An internal server error"):
        made.ask()
    body["status"] |= {"error_code": 1008, "error_message": "Too fast."}
    made.answer(body)
    with pytest.raises(SourceError, match="Too fast") as caught:
        made.ask()
    assert caught.value.retry_in == 60.0
    asked = len(made.service.requests)
    made.clock.now += 59.9
    with pytest.raises(SourceError):
        made.ask()
    assert len(made.service.requests) == asked


class Season(AltSeason):
    """A market whose coins go a way of their own: growth over 90 days, by coin; others stay as they are.

    `peg` are coins that stay at a price, `young` those without prices of 90 days ago, `gone` unknown ones.
    """

    growth: Mapping[str, float] = {"bitcoin": 1.5}
    peg: Mapping[str, float] = {}
    young: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()

    def market_chart(self, request: Request, coin: str) -> Answer:
        """GET the chart of a coin, which changes on its last day."""
        if coin in self.gone:
            return Answer(payload("coingecko-error-404-coin.json"), 404)
        body = super().market_chart(request, coin).body
        last = body["prices"][-2][0]  # 00:00 of the day; one of now follows
        price = self.peg.get(coin, 10.0)
        body["prices"] = [
            [at, price * (self.growth.get(coin, 1.0) if at >= last else 1.0)]
            for at, _ in (body["prices"][-20:] if coin in self.young else body["prices"])
        ]
        return Answer(body)


LEFT_OUT = ("tether", "usd-coin", "dai", "wrapped-bitcoin", "staked-ether")
OTHERS = [coin for coin in SYMBOLS if coin not in (*LEFT_OUT, "bitcoin")]
RANKED = [*OTHERS, *(f"coin-{rank}" for rank in range(22, 101))]


def season(**options: Any) -> type[Season]:
    """Return a service with these ways of its coins."""
    return type("Special", (Season,), options)


def charted(made: Bench) -> list[str]:
    """Return the coins whose charts were asked for."""
    return [path.split("/")[4] for path in made.service.paths() if path.endswith("market_chart")]


def test_the_season_is_the_share_of_coins_that_beat_bitcoin(bench: Callable[..., Bench]) -> None:
    """20 of the 50 largest did better than bitcoin: 40. Coins that stand for others are not asked for."""
    growth = {"bitcoin": 1.5} | dict.fromkeys(RANKED[:20], 1.6) | dict.fromkeys(RANKED[20:25], 1.5)
    made = bench(Altseason, season(growth=growth), DEMO_KEY, "demo")
    answers = made.gather()
    assert [quotes.quotes for quotes in answers[:-1]] == [()] * 12
    (quote,) = answers[-1].quotes
    assert (quote.value, quote.ts) == (40.0, round(MIDNIGHT) * SECOND)
    assert charted(made) == ["bitcoin", *RANKED[:50]]
    assert all(request.headers["x-cg-demo-api-key"] == DEMO_KEY for request in made.service.requests)


def test_the_season_is_gathered_politely_and_once_a_day(bench: Callable[..., Bench]) -> None:
    """Four requests a minute, then none until the next day's prices are settled; the index stays."""
    made = bench(Altseason, season(growth={"bitcoin": 0.5}))
    quotes, before = Quotes(()), 0
    for _ in range(13):
        quotes = made.ask()
        assert len(made.service.requests) - before <= 4
        before = len(made.service.requests)
        made.pass_by(60.0)
    assert before == 52
    assert quotes.quotes[0].value == 100.0
    assert quotes.rest == 6 * HOUR
    again = quotes
    for _ in range(8):
        made.pass_by(HOUR)
        again = made.ask()
        assert again.quotes == quotes.quotes
    assert again.rest == pytest.approx(DAY + HOUR + 60.0 - (NOW + made.clock.now - MIDNIGHT))
    assert len(made.service.requests) == 52
    made.pass_by(again.rest or 0.0)
    assert made.ask().quotes == quotes.quotes  # still the last while the next is gathered
    assert made.gather()[-1].quotes[0].ts == round(MIDNIGHT + DAY) * SECOND
    assert len(made.service.requests) == 104


def test_what_a_stablecoin_is_shows_in_its_price(bench: Callable[..., Bench]) -> None:
    """A coin of any name that stays at a dollar is left out, and the next in rank takes its place."""
    peg = dict.fromkeys(RANKED[:3], 1.004)
    growth = {"bitcoin": 1.5} | dict.fromkeys(RANKED[3:28], 2.0)
    made = bench(Altseason, season(growth=growth, peg=peg))
    assert made.gather()[-1].quotes[0].value == 50.0
    assert charted(made)[-1] == RANKED[52]


def test_young_and_unknown_coins_are_not_counted(bench: Callable[..., Bench]) -> None:
    """A coin without a price of 90 days ago makes the count smaller; of too few there is no index."""
    growth = {"bitcoin": 1.5} | dict.fromkeys(RANKED[:15], 2.0)
    young, gone = frozenset(RANKED[:5]), frozenset(RANKED[5:10])
    made = bench(Altseason, season(growth=growth, young=young, gone=gone))
    assert made.gather()[-1].quotes[0].value == 12.5  # 5 of 40
    made = bench(Altseason, season(growth=growth, young=young, gone=frozenset(RANKED[5:11])))
    with pytest.raises(ItemError, match="only 39 coins have prices of 90 days"):
        made.gather()
    asked = len(made.service.requests)
    with pytest.raises(ItemError, match="only 39 coins") as caught:
        made.ask()
    assert caught.value.retry_in == HOUR
    assert len(made.service.requests) == asked
    made.pass_by(HOUR + 1.0)
    assert made.ask().state == "gathering"


def test_a_failure_loses_nothing_that_was_gathered(bench: Callable[..., Bench]) -> None:
    """A refusal or an outage in between is told as such; what is there is not asked for again."""
    made = bench(Altseason, season())
    made.ask()
    for fault in (faults.rate_limited(30), faults.error(500), faults.down()):
        made.service.fault = fault
        with pytest.raises(SourceError):
            made.ask()
        made.service.fault = None
        made.pass_by(60.0)
    coins = charted(made)
    made.gather()
    after = charted(made)[len(coins) :]
    assert not {"bitcoin", *RANKED[:2]} & set(after)
    assert len(after) == 48


def test_a_chart_that_always_fails_is_left_out_in_the_end(bench: Callable[..., Bench]) -> None:
    """After some tries the index does without a coin."""
    made = bench(Altseason, season(growth={"bitcoin": 0.5}))
    made.service.fault = faults.error(500, only=f"/api/v3/coins/{RANKED[7]}/")
    failures: list[str] = []
    quotes = Quotes(())
    while not quotes.quotes:
        try:
            quotes = made.ask()
        except SourceError as error:
            failures.append(str(error))
        made.pass_by(60.0)
    assert 0 < len(failures) <= 3
    assert all("status 500" in told for told in failures)
    assert quotes.quotes[0].value == 100.0


def test_a_season_that_was_not_finished_begins_anew_the_next_day(bench: Callable[..., Bench]) -> None:
    """All coins are compared over the same 90 days."""
    made = bench(Altseason, season())
    made.ask()
    made.pass_by(DAY)
    made.ask()
    assert charted(made) == ["bitcoin", *RANKED[:2]] * 2


def test_the_day_turns_once_its_prices_are_settled(bench: Callable[..., Bench]) -> None:
    """In the first hour of a day some coins have no price of its midnight yet: it is still the day before."""
    made = bench(Altseason, season())
    made.pass_by(DAY + MIDNIGHT - NOW + 30 * 60.0)
    assert made.gather()[-1].quotes[0].ts == round(MIDNIGHT) * SECOND


@pytest.mark.parametrize(("plan", "host"), [("demo", "api.coingecko.com"), ("pro", "pro-api.coingecko.com")])
def test_the_season_uses_a_key_of_coingecko_as_prices_do(
    plan: str, host: str, bench: Callable[..., Bench]
) -> None:
    """A pro key goes to the paid host, in its own header."""
    made = bench(Altseason, type("Special", (AltSeason,), {"pro": plan == "pro"}),
                 PRO_KEY if plan == "pro" else DEMO_KEY, plan)  # fmt: skip
    made.ask()
    assert all(f"x-cg-{plan}-api-key" in request.headers for request in made.service.requests)
    assert made.connects_to() == f"{host}:443"


@pytest.mark.parametrize(
    ("coin", "symbol", "name", "left_out"),
    [
        ("bitcoin", "btc", "Bitcoin", True),
        ("tether", "usdt", "Tether", True),
        ("ethena-usde", "usde", "Ethena USDe", True),
        ("syrupusdc", "syrupusdc", "syrupUSDC", True),
        ("wrapped-eeth", "weeth", "Wrapped eETH", True),
        ("coinbase-wrapped-btc", "cbbtc", "Coinbase Wrapped BTC", True),
        ("jito-staked-sol", "jitosol", "Jito Staked SOL", True),
        ("pax-gold", "paxg", "PAX Gold", True),
        ("ethereum", "eth", "Ethereum", False),
        ("solana", "sol", "Solana", False),
        ("ethereum-classic", "etc", "Ethereum Classic", False),
        ("lido-dao", "ldo", "Lido DAO", False),
        ("bitcoin-cash", "bch", "Bitcoin Cash", False),
    ],
)
def test_coins_that_stand_for_others_are_known_by_their_names(
    coin: str, symbol: str, name: str, left_out: bool
) -> None:
    """Stablecoins, wrapped and staked coins, and gold are no altcoins."""
    row = {"id": coin, "symbol": symbol, "name": name}
    assert altseason.stands_for_another(row) is left_out
