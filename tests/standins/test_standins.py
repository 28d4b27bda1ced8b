"""The stand-ins themselves: answers of the documented shape, faults to order, and WebSocket conversations."""

from __future__ import annotations

import csv
import gzip
import io
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import gevent
import pytest
import requests
import websocket
import yaml

from oculus.collectors import KINDS
from tests.standins import SERVICES, faults
from tests.standins.base import StandIn
from tests.standins.binance import Binance
from tests.standins.coinbase import Coinbase
from tests.standins.coingecko import DEMO_KEY, PRO_KEY, CoinGecko
from tests.standins.demo import configuration, start
from tests.standins.kalshi import Kalshi
from tests.standins.kraken import Kraken
from tests.standins.manifold import Manifold
from tests.standins.market import Market
from tests.standins.onchain import GLASSNODE_KEY, CoinMetrics
from tests.standins.polymarket import Polymarket
from tests.standins.stooq import Stooq
from tests.standins.text import payload
from tests.standins.yahoo import Yahoo
from tests.support.configs import mistakes_of
from tests.support.servers import wait_for

AGENT = {"User-Agent": "Oculus"}
# A Thursday on which New York trades, 11:00 there; and the Saturday after it.
THURSDAY = datetime(2026, 8, 20, 15, tzinfo=UTC).timestamp()
SATURDAY = datetime(2026, 8, 22, 15, tzinfo=UTC).timestamp()
PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"


@pytest.fixture
def market() -> Market:
    """A market whose clock stands still."""
    market = Market()
    market.freeze(THURSDAY)
    return market


@pytest.fixture
def service(market: Market) -> Iterator[Any]:
    """Start services: `service(Kraken)`; all are gone at the end."""
    running: list[StandIn] = []

    def start(kind: type[StandIn]) -> StandIn:
        running.append(kind(market))
        return running[-1]

    yield start
    for each in running:
        each.stop()


def get(service: StandIn, path: str, **options: Any) -> requests.Response:
    """GET a path of a service."""
    options.setdefault("timeout", 5)
    return requests.get(service.url + path, headers=AGENT | options.pop("headers", {}), **options)


@pytest.fixture
def connect() -> Iterator[Any]:
    """Open WebSockets to services: `connect(service, "/ws")`; all are closed at the end."""
    opened: list[websocket.WebSocket] = []

    def start(service: StandIn, path: str = "/") -> websocket.WebSocket:
        opened.append(websocket.create_connection(service.ws_url + path, timeout=5))
        return opened[-1]

    yield start
    for each in opened:
        each.shutdown()  # type: ignore[no-untyped-call]  # without the closing words, for which some would wait


def receive(socket: websocket.WebSocket) -> Any:
    """Return the next text, parsed."""
    return json.loads(socket.recv())


def shape(value: Any) -> Any:
    """Return keys and types of a body; what is null is left open."""
    if isinstance(value, dict):
        return {key: shape(child) for key, child in value.items()}
    if isinstance(value, list):
        return [shape(child) for child in value[:1]]
    if value is None or isinstance(value, bool | str):
        return None if value is None else type(value).__name__
    return "number"


def agree(here: Any, there: Any) -> bool:
    """Whether two shapes are the same, null agreeing with anything."""
    if here is None or there is None:
        return True
    if isinstance(here, dict) and isinstance(there, dict):
        return here.keys() == there.keys() and all(agree(here[key], there[key]) for key in here)
    if isinstance(here, list) and isinstance(there, list):
        return not here or not there or agree(here[0], there[0])
    return bool(here == there)


ALL_EXTRAS = "&include_24hr_vol=true&include_24hr_change=true&include_last_updated_at=true"
SHAPES = [
    (
        "coingecko",
        f"/api/v3/simple/price?ids=bitcoin,ethereum&vs_currencies=usd{ALL_EXTRAS}",
        "coingecko-simple-price-success",
    ),
    (
        "coingecko",
        "/api/v3/coins/markets?vs_currency=usd&price_change_percentage=30d,200d,1y",
        "coingecko-coins-markets-success",
    ),
    (
        "coingecko",
        "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=90",
        "coingecko-market-chart-90d-success",
    ),
    ("coingecko", "/api/v3/coins/no-such/market_chart?vs_currency=usd&days=1", "coingecko-error-404-coin"),
    ("coingecko", "/api/v3/coins/markets?vs_currency=xyz", "coingecko-error-400-vs-currency"),
    ("binance", "/api/v3/ticker/price?symbol=BTCUSDT", "binance-ticker-price-success"),
    ("binance", '/api/v3/ticker/price?symbols=["BTCUSDT","ETHUSDT"]', "binance-ticker-price-list-success"),
    ("binance", "/api/v3/ticker/24hr?symbol=BTCUSDT", "binance-ticker-24hr-success"),
    ("binance", "/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI", "binance-ticker-24hr-mini-success"),
    ("binance", "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=2", "binance-klines-success"),
    ("binance", "/api/v3/ticker/price?symbol=BTCUSD", "binance-error-unknown-symbol"),
    ("coinbase", "/products/BTC-USD/ticker", "coinbase-ticker-success"),
    ("coinbase", "/products/BTC-USD/stats", "coinbase-stats-success"),
    ("coinbase", "/products/BTC-USD/candles?granularity=60", "coinbase-candles-success"),
    ("coinbase", "/products/NOPE-USD/ticker", "coinbase-error-unknown-product"),
    ("kraken", "/0/public/Ticker?pair=XBTUSD", "kraken-ticker-success"),
    ("kraken", "/0/public/Ticker?pair=XBTUSD,ETHUSD,SOLUSD", "kraken-ticker-multi-success"),
    ("kraken", "/0/public/Ticker?pair=XBTUSD,NOPEUSD", "kraken-error-unknown-pair"),
    ("alternative_me", "/fng/", "alternative-me-fng-success"),
    ("alternative_me", "/fng/?limit=3&date_format=world", "alternative-me-fng-world-date"),
    (
        "coinmetrics",
        "/v4/timeseries/asset-metrics?assets=btc&metrics=CapMVRVCur,CapMrktCurUSD&page_size=5&paging_from=end",
        "coinmetrics-mvrv-page",
    ),
    (
        "coinmetrics",
        "/v4/timeseries/asset-metrics?assets=btc&metrics=CapMVRVCur,CapMrktCurUSD&start_time=2026-08-19",
        "coinmetrics-mvrv-success",
    ),
    (
        "coinmetrics",
        "/v4/timeseries/asset-metrics?assets=btc&metrics=CapRealUSD",
        "coinmetrics-error-403-forbidden",
    ),
    (
        "glassnode",
        f"/v1/metrics/market/mvrv_z_score?a=BTC&i=24h&s=1786000000&api_key={GLASSNODE_KEY}",
        "glassnode-mvrv-z-success",
    ),
    ("bgeometrics", "/v1/mvrv-zscore/last", "bgeometrics-mvrv-z-last-success"),
    (
        "coinmarketcap",
        "/public-api/v1/altcoin-season-index/latest",
        "coinmarketcap-altseason-latest-success",
    ),
    ("coinmarketcap", "/v1/altcoin-season-index/latest", "coinmarketcap-error-401"),
    ("yahoo", "/v8/finance/chart/TSLA?range=5d&interval=1d", "yahoo-chart-daily-success"),
    ("yahoo", "/v8/finance/chart/TSLA?range=1d&interval=1m", "yahoo-chart-intraday-open-success"),
    ("yahoo", "/v8/finance/chart/%5EGSPC", "yahoo-chart-index-success"),
    ("yahoo", "/v8/finance/chart/PHANTOM", "yahoo-chart-phantom-symbol"),
    ("yahoo", "/v8/finance/chart/NOPE", "yahoo-chart-unknown-symbol"),
    (
        "alphavantage",
        "/query?function=GLOBAL_QUOTE&symbol=TSLA&apikey=k",
        "alphavantage-global-quote-success",
    ),
    ("alphavantage", "/query?function=GLOBAL_QUOTE&symbol=NOPE&apikey=k", "alphavantage-unknown-symbol"),
    ("alphavantage", "/query?function=GLOBAL_QUOTE&symbol=TSLA", "alphavantage-error-missing-key"),
    ("polymarket", "/markets?slug=rain", "polymarket-gamma-markets-by-slug-success"),
    ("polymarket", "/markets?slug=closed-rain", "polymarket-gamma-market-closed"),
    ("polymarket", "/markets?slug=no-such", "polymarket-gamma-markets-unknown-slug"),
    ("polymarket", "/markets/slug/rain", "polymarket-gamma-market-slug-path-success"),
    ("polymarket", "/markets/slug/no-such", "polymarket-gamma-slug-path-404"),
    ("polymarket", "/midpoint?token_id=TOKEN", "polymarket-clob-midpoint-success"),
    ("polymarket", "/price?side=BUY&token_id=TOKEN", "polymarket-clob-price-success"),
    ("polymarket", "/spread?token_id=TOKEN", "polymarket-clob-spread-success"),
    ("polymarket", "/last-trade-price?token_id=TOKEN", "polymarket-clob-last-trade-price-success"),
    ("polymarket", "/book?token_id=TOKEN", "polymarket-clob-book-success"),
    ("polymarket", "/prices-history?interval=6h&market=TOKEN", "polymarket-clob-prices-history-success"),
    ("polymarket", "/midpoint?token_id=rain", "polymarket-clob-error-400"),
    ("polymarket", "/midpoint?token_id=12345", "polymarket-clob-error-404"),
    ("kalshi", "/trade-api/v2/markets/KXBTC-26", "kalshi-market-success"),
    ("kalshi", "/trade-api/v2/markets?tickers=KXBTC-26", "kalshi-markets-list-success"),
    ("kalshi", "/trade-api/v2/markets/KXBTC-26/orderbook", "kalshi-orderbook-success"),
    ("kalshi", "/trade-api/v2/markets/NOSUCH-26", "kalshi-error-404"),
    ("manifold", "/v0/slug/rain", "manifold-slug-success"),
    ("manifold", "/v0/slug/which-party", "manifold-slug-multiple-choice"),
    ("manifold", "/v0/market/abc/prob", "manifold-prob-success"),
    ("manifold", "/v0/slug/no-such-market", "manifold-error-404"),
]


@pytest.mark.parametrize(("name", "path", "file"), SHAPES, ids=[file for _, _, file in SHAPES])
def test_answers_have_the_documented_shape(service: Any, name: str, path: str, file: str) -> None:
    """Keys and types of an answer are those of the documented body, and so is its status."""
    standin = service(SERVICES[name])
    if isinstance(standin, Polymarket):
        path = path.replace("TOKEN", standin.token("rain"))
    answer = get(standin, path)
    index = {each["file"]: each for each in payload("_index.json")["files"]}
    assert answer.status_code == index[f"{file}.json"]["http_status"], answer.text
    assert answer.headers["content-type"].startswith(index[f"{file}.json"]["content_type"])
    here, there = shape(answer.json()), shape(payload(f"{file}.json"))
    assert agree(here, there), f"{here}\n{there}"


@pytest.mark.parametrize(("kind", "fault"), faults.ALL.items())
def test_each_fault_is_what_it_says(service: Any, kind: str, fault: faults.Fault) -> None:
    """A fault shows until it is cleared, and then the service is well again."""
    coingecko = service(CoinGecko)
    coingecko.fault = fault
    if kind in {"reset", "down"}:
        with pytest.raises(requests.ConnectionError):
            get(coingecko, PRICE)
    elif kind == "hang":
        with pytest.raises(requests.Timeout):
            get(coingecko, PRICE, timeout=0.3)
    else:
        with get(coingecko, PRICE, stream=True, allow_redirects=False) as answer:
            _check_fault(kind, answer)
    coingecko.fault = None
    assert get(coingecko, PRICE).json()["bitcoin"]["usd"] > 0


def _check_fault(kind: str, answer: requests.Response) -> None:
    if kind == "rate_limited":
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    elif kind == "error":
        assert answer.status_code == 500
    elif kind == "redirect":
        assert answer.headers["location"].startswith("http://127.0.0.2:")
    elif kind == "huge":
        assert len(answer.raw.read(1_000_000)) == 1_000_000
    elif kind == "bomb":
        packed = answer.raw.read()
        assert len(packed) < 1_000_000
        with gzip.open(io.BytesIO(packed)) as unpacked:
            assert sum(map(len, iter(lambda: unpacked.read(1 << 20), b""))) == faults.BOMB
    elif kind == "drip":
        begun = time.monotonic()
        assert answer.raw.read(2) == b'{"'
        assert time.monotonic() - begun > 0.9 * faults.DRIP
    else:
        text = answer.text
        found = {"html": "<html>", "null": '{"usd":null}', "nan": '{"usd":NaN}', "renamed": '"usd_v2":'}
        assert found.get(kind, '{"bit') in text
        if kind == "malformed":
            with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
                json.loads(text)


def test_a_fault_may_touch_one_path_or_one_item(service: Any, connect: Any) -> None:
    """`only` names a path, an item, or one half of the service; the others do not notice."""
    coingecko, coinbase = service(CoinGecko), service(Coinbase)
    coingecko.fault = faults.null(only="ethereum")
    prices = get(coingecko, PRICE.replace("bitcoin", "bitcoin,ethereum")).json()
    assert prices["bitcoin"]["usd"] > 0
    assert prices["ethereum"] == {"usd": None}
    coingecko.fault = faults.error(503, only="/api/v3/coins")
    assert get(coingecko, PRICE).status_code == 200
    assert get(coingecko, "/api/v3/coins/markets?vs_currency=usd").status_code == 503
    coinbase.fault = faults.error(503, only="ws")
    assert get(coinbase, "/products/BTC-USD/ticker").status_code == 200
    with pytest.raises(websocket.WebSocketBadStatusException):
        connect(coinbase)


def test_services_say_too_many_in_their_own_way(service: Any) -> None:
    """A limit is a 429 here, and a 200 with another body there; a quota makes it by itself."""
    bodies = {}
    for name in ("kraken", "alphavantage", "stooq", "coinmetrics", "yahoo"):
        standin = service(SERVICES[name])
        standin.fault = faults.rate_limited(7)
        bodies[name] = get(standin, "/query?apikey=SECRET1")
    assert bodies["kraken"].json() == {"error": ["EAPI:Rate limit exceeded"]}
    assert "1 request per second" in bodies["alphavantage"].json()["Information"]
    assert bodies["stooq"].text == "Exceeded the daily hits limit"
    assert bodies["coinmetrics"].headers["x-ratelimit-reset"] == "7"
    assert (bodies["yahoo"].status_code, "retry-after" in bodies["yahoo"].headers) == (429, False)
    binance = service(Binance)
    binance.quota = (2, 60.0)
    answers = [get(binance, "/api/v3/ticker/24hr?symbol=BTCUSDT") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[1].headers["X-MBX-USED-WEIGHT-1M"] == "4"
    assert int(answers[2].headers["retry-after"]) > 55


def test_values_are_exact_when_set_and_the_same_in_every_run(service: Any, market: Market) -> None:
    """The walk depends on the seed and the time alone; a set value comes to all services alike."""
    assert Market().price("btc_usd", THURSDAY) == market.price("btc_usd")
    assert Market(2).price("btc_usd", THURSDAY) != market.price("btc_usd")
    assert abs(market.price("btc_usd", THURSDAY + 60) / market.price("btc_usd") - 1) < 0.02
    market.set("btc_usd", 12_345.678901)
    assert get(service(CoinGecko), PRICE).json() == {"bitcoin": {"usd": 12_345.678901}}
    kraken = get(service(Kraken), "/0/public/Ticker?pair=XBTUSD").json()
    assert kraken["result"]["XXBTZUSD"]["c"][0] == "12345.678901"
    assert get(service(Coinbase), "/products/BTC-USD/ticker").json()["price"] == "12345.678901"
    binance = get(service(Binance), "/api/v3/ticker/24hr?symbol=BTCUSDT").json()
    assert binance["lastPrice"] == "12345.67890100"
    assert binance["closeTime"] == THURSDAY * 1000


def test_coingecko_knows_its_keys(service: Any) -> None:
    """Each host takes its own kind of key; the other's kind is told apart."""
    public, paid = service(CoinGecko), service(CoinGecko)
    paid.pro = True

    def code(standin: StandIn, name: str = "", key: str = "") -> int:
        body = get(standin, PRICE, headers={name: key} if name else {}).json()
        status = body.get("error", body).get("status", {})
        return int(status.get("error_code", 0))

    assert code(public) == code(public, "x-cg-demo-api-key", DEMO_KEY) == 0
    assert code(paid, "x-cg-pro-api-key", PRO_KEY) == 0
    assert code(public, "x-cg-pro-api-key", PRO_KEY) == 10010
    assert code(paid, "x-cg-demo-api-key", DEMO_KEY) == 10011
    assert code(paid) == code(public, "x-cg-demo-api-key", "wrong") == 10002


def test_yahoo_rests_when_its_exchange_does(service: Any, market: Market) -> None:
    """In session the quote is of now; on a Saturday it is Friday's last, and holidays are like weekends."""
    yahoo = service(Yahoo)

    def meta() -> Any:
        return get(yahoo, "/v8/finance/chart/TSLA").json()["chart"]["result"][0]["meta"]

    now = meta()
    regular = now["currentTradingPeriod"]["regular"]
    assert regular["start"] <= THURSDAY < regular["end"]
    assert now["regularMarketTime"] == THURSDAY
    market.freeze(SATURDAY)
    closed = meta()
    assert closed["regularMarketTime"] == datetime(2026, 8, 21, 20, tzinfo=UTC).timestamp()
    assert closed["currentTradingPeriod"]["regular"]["end"] < SATURDAY
    market.freeze(datetime(2026, 11, 26, 18, tzinfo=UTC).timestamp())  # Thanksgiving, in winter time
    assert meta()["regularMarketTime"] == datetime(2026, 11, 25, 21, tzinfo=UTC).timestamp()
    yahoo.always_open = True
    assert meta()["regularMarketTime"] == market.now()
    assert requests.get(yahoo.url + "/v8/finance/chart/TSLA", timeout=5).status_code == 429  # a script


def test_stooq_writes_what_f_asks_for(service: Any, market: Market) -> None:
    """Columns come in the order of `f`, in Warsaw's time; unknown symbols are full of N/D."""
    stooq = service(Stooq)
    text = get(stooq, "/q/l/?s=tsla.us+nope.us+tsla&f=sd2t2c&h&e=csv").text
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["Symbol", "Date", "Time", "Close"]
    assert rows[1][:3] == ["TSLA.US", "2026-08-20", "16:45:00"]  # a quarter of an hour late
    assert float(rows[1][3]) == market.price("tsla", THURSDAY - 900)
    assert rows[2] == ["NOPE.US", "N/D", "N/D", "N/D"]
    assert rows[3][1:] == ["N/D", "N/D", "N/D"]
    stooq.fault = faults.null()
    assert get(stooq, "/q/l/?s=tsla.us&f=sc&h&e=csv").text.splitlines()[1] == "TSLA.US,"


def test_coin_metrics_pages_from_the_end(service: Any) -> None:
    """The token leads to the rows before, without a gap; the newest row is yesterday's."""
    coinmetrics: CoinMetrics = service(CoinMetrics)
    path = "/v4/timeseries/asset-metrics?assets=btc&metrics=CapMVRVCur&page_size=2&paging_from=end"
    page = get(coinmetrics, path).json()
    before = requests.get(page["next_page_url"], timeout=5).json()
    days = [row["time"][:10] for row in before["data"] + page["data"]]
    assert days == ["2026-08-16", "2026-08-17", "2026-08-18", "2026-08-19"]


def test_prediction_markets_agree_on_the_odds(service: Any, market: Market) -> None:
    """Set odds show as midpoint, dollars and probability; lists, events and answers come too."""
    market.set("rain", 0.4)
    market.set("KXRAIN", 0.4)
    polymarket: Polymarket = service(Polymarket)
    found = get(polymarket, "/markets/slug/rain").json()
    tokens = json.loads(found["clobTokenIds"])
    assert json.loads(found["outcomePrices"]) == ["0.400", "0.600"]
    mids = requests.post(
        polymarket.url + "/midpoints", json=[{"token_id": token} for token in [*tokens, "1"]], timeout=5
    ).json()
    assert mids == {tokens[0]: "0.400", tokens[1]: "0.600"}
    event = get(polymarket, "/events/slug/event-btc").json()
    assert len(event["markets"]) == 3
    polymarket.close("rain", winner=0)
    assert json.loads(get(polymarket, "/markets/slug/rain").json()["outcomePrices"]) == ["1", "0"]
    assert get(polymarket, f"/midpoint?token_id={tokens[0]}").status_code == 404
    kalshi: Kalshi = service(Kalshi)
    assert get(kalshi, "/trade-api/v2/markets/KXRAIN").json()["market"]["last_price_dollars"] == "0.4000"
    kalshi.cents = True
    assert get(kalshi, "/trade-api/v2/markets/KXRAIN").json()["market"]["last_price"] == 40
    manifold: Manifold = service(Manifold)
    one, many = manifold.number("rain"), manifold.number("which-party")
    probs = get(manifold, f"/v0/market-probs?ids={one}&ids={many}").json()
    assert probs[one] == {"prob": 0.4}
    assert sum(probs[many]["answerProbs"].values()) == pytest.approx(1, abs=1e-5)


def test_coinbase_feed(service: Any, connect: Any) -> None:
    """Subscribing is acknowledged; ticks and heartbeats agree on trades, and a lost one shows."""
    coinbase: Coinbase = service(Coinbase)
    coinbase.heartbeat = 0.05
    coinbase.subscribe_within = 0.2
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        read_to_the_end(connect(coinbase))
    socket = connect(coinbase)
    ask = {"type": "subscribe", "channels": ["ticker", "heartbeat"]}
    socket.send(json.dumps(ask | {"product_ids": ["NOPE-USD"]}))
    assert shape(receive(socket)) == shape(payload("coinbase-ws-error.json"))
    socket.send(json.dumps(ask | {"product_ids": ["BTC-USD"]}))
    assert receive(socket)["channels"][1] == {
        "name": "heartbeat",
        "product_ids": ["BTC-USD"],
        "account_ids": None,
    }
    first = receive(socket)
    assert shape(first) == shape(payload("coinbase-ws-ticker.json"))
    coinbase.silent = True
    coinbase.skip_sequence("btc_usd")
    coinbase.silent = False
    coinbase.send_tick("btc_usd", 80_000.5, THURSDAY)
    heard = [receive(socket) for _ in range(4)]
    tick = next(each for each in heard if each["type"] == "ticker")
    beat = [each for each in heard if each["type"] == "heartbeat"][-1]
    assert shape(beat) == shape(payload("coinbase-ws-heartbeat.json"))
    assert (tick["price"], tick["time"]) == ("80000.50", "2026-08-20T15:00:00.000000Z")
    assert tick["trade_id"] == beat["last_trade_id"] == first["trade_id"] + 2


def read_to_the_end(socket: websocket.WebSocket) -> None:
    """Read until the service closes the connection."""
    while True:
        opcode, _ = socket.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise websocket.WebSocketConnectionClosedException


def test_kraken_feed(service: Any, connect: Any) -> None:
    """A status at first, an answer per symbol, a snapshot, updates, heartbeats, pongs, and a drop."""
    kraken: Kraken = service(Kraken)
    kraken.heartbeat = 0.05
    socket = connect(kraken, "/v2")
    assert receive(socket) == payload("kraken-ws-v2-status.json")
    ask = payload("kraken-ws-v2-subscribe-request.json")
    ask["params"]["symbol"] = ["BTC/USD", "NOPE/USD"]
    socket.send(json.dumps(ask))
    ack, snapshot, refusal = (receive(socket) for _ in range(3))
    assert shape(ack) == shape(payload("kraken-ws-v2-subscribe-ack.json"))
    assert shape(snapshot) == shape(payload("kraken-ws-v2-ticker-snapshot.json"))
    assert shape(refusal) == shape(payload("kraken-ws-v2-subscribe-error.json"))
    assert receive(socket) == {"channel": "heartbeat"}
    kraken.send_tick("btc_usd", 80_000.5, THURSDAY)
    socket.send('{"method":"ping","req_id":42}')
    heard = [each for each in (receive(socket) for _ in range(4)) if each != {"channel": "heartbeat"}]
    assert (
        heard[0]["data"][0] | {"last": 80_000.5, "timestamp": "2026-08-20T15:00:00.000000Z"}
        == heard[0]["data"][0]
    )
    assert shape(heard[1]) == shape(payload("kraken-ws-v2-pong.json"))
    assert kraken.connections == 1
    kraken.drop()
    with pytest.raises((ConnectionError, websocket.WebSocketConnectionClosedException)):
        read_to_the_end(socket)
    wait_for(lambda: kraken.connections == 0)


def test_binance_streams(service: Any, connect: Any) -> None:
    """Streams come by path or by SUBSCRIBE, wrapped when combined; pings want pongs."""
    binance: Binance = service(Binance)
    binance.ping_every = binance.pong_within = 0.1
    raw, combined = connect(binance, "/ws"), connect(binance, "/stream?streams=btcusdt@trade/ethusdt@ticker")
    raw.send(
        '{"method":"SUBSCRIBE","params":["btcusdt@ticker","btcusdt@miniTicker","nopeusdt@ticker"],"id":1}'
    )
    assert receive(raw) == payload("binance-ws-subscribe-ack.json")
    wait_for(lambda: all(client.items for client in binance.clients) and binance.connections == 2)
    binance.send_tick("btc_usd", 80_000.5, THURSDAY)
    assert shape(receive(raw)) == shape(payload("binance-ws-24hrticker.json"))
    assert shape(receive(raw)) == shape(payload("binance-ws-minticker.json"))
    wrapped = receive(combined)
    assert shape(wrapped) == shape(payload("binance-ws-combined-wrapper.json"))
    assert (wrapped["stream"], wrapped["data"]["p"]) == ("btcusdt@trade", "80000.50000000")
    binance.announce_shutdown(after=0.05)
    assert shape(receive(raw)) == shape(payload("binance-ws-server-shutdown.json"))
    with pytest.raises(websocket.WebSocketConnectionClosedException):
        read_to_the_end(raw)
    connect(binance, "/ws")  # nobody reads it, so no pong goes back
    wait_for(lambda: binance.connections == 1)
    wait_for(lambda: binance.connections == 0)


def test_polymarket_feed(service: Any, connect: Any) -> None:
    """The books at first, then price changes of both outcomes; PING is answered; the end is told."""
    polymarket: Polymarket = service(Polymarket)
    yes, no = polymarket.token("rain", 0), polymarket.token("rain", 1)
    socket = connect(polymarket, "/ws/market")
    ask = {"assets_ids": [yes, no], "type": "market", "initial_dump": True, "custom_feature_enabled": True}
    socket.send(json.dumps(ask))
    assert shape(receive(socket)) == shape(payload("polymarket-ws-initial-dump-array.json"))
    socket.send("PING")
    assert socket.recv() == "PONG"
    socket.send(json.dumps({"assets_ids": [yes], "operation": "subscribe"}))
    assert socket.recv() == "NO NEW ASSETS"
    for _ in range(5):
        polymarket.send_tick("rain", 0.4, THURSDAY)
    change, best = receive(socket), receive(socket)
    assert shape(change) == shape(payload("polymarket-ws-price-change.json"))
    assert [each["best_bid"] for each in change["price_changes"]] == ["0.395", "0.595"]
    assert shape(best) == shape(payload("polymarket-ws-best-bid-ask.json"))
    trade = [receive(socket) for _ in range(9)][-1]
    assert shape(trade) == shape(payload("polymarket-ws-last-trade-price.json"))
    polymarket.close("rain")
    assert shape(receive(socket)) == shape(payload("polymarket-ws-market-resolved.json"))


def test_a_feed_keeps_its_rate(service: Any, connect: Any, market: Market) -> None:
    """Thousands of messages a second reach a client, each remembered; silence and garbage come to order."""
    market.freeze(None)
    kraken: Kraken = service(Kraken)
    kraken.ticks = []
    socket = connect(kraken, "/v2")
    socket.send(json.dumps(payload("kraken-ws-v2-subscribe-request.json")))
    for _ in range(3):
        receive(socket)
    begun, heard = time.monotonic(), 0
    kraken.rate = 2000
    with gevent.Timeout(30):  # a busy machine may take long
        while heard < 1_000:
            heard += receive(socket).get("type") == "update"
    took = time.monotonic() - begun
    kraken.rate = 0
    assert heard <= len(kraken.ticks) <= 2000 * took + 1
    # Each turn brings all that is due, 20 messages or what a late one has to make up for.
    turns = len({at for _, _, at in kraken.ticks})
    assert len(kraken.ticks) > 10 * turns
    kraken.silent = True
    kraken.send_tick("btc_usd", 1.0)
    kraken.silent = False
    gevent.sleep(0.02)
    kraken.send_garbage()
    texts = [socket.recv() for _ in range(len(kraken.ticks) - heard)]
    assert not texts[-1].endswith("}")
    assert '"last": 1.0' not in "".join(map(str, texts))


def test_requests_are_recorded(service: Any) -> None:
    """Everything that a client sent can be looked at, with its time; validators answer 304."""
    coinbase = service(Coinbase)
    coinbase.validators = True
    begun = time.monotonic()
    tag = get(coinbase, "/products/BTC-USD/ticker?a=1&b=", headers={"X-Key": "k"}).headers["etag"]
    same = get(coinbase, "/products/BTC-USD/ticker", headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")
    request = coinbase.requests[0]
    assert (request.method, request.path, request.query) == (
        "GET",
        "/products/BTC-USD/ticker",
        {"a": "1", "b": ""},
    )
    assert request.headers["x-key"] == "k"
    assert begun <= request.at <= time.monotonic()


def test_the_ready_configuration_is_right(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon takes the demonstration's configuration as it is, and every address in it is a service's."""
    monkeypatch.chdir(tmp_path)
    market = Market()
    running = start(market)
    try:
        config = yaml.safe_load(configuration(running, market))
    finally:
        for service in running.values():
            service.stop()
    known = {kind.partition("/")[0] for kind in KINDS}
    config["collectors"] = [each for each in config["collectors"] if each["type"] in known]
    assert config["collectors"]
    assert mistakes_of(yaml.safe_dump(config)) == []
