"""CoinGecko: simple/price, coins/markets, coins/{id}/market_chart; without a key, with a demo or a pro key.

Ids that begin with `no-such` are unknown, those with `dead-` exist without a price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tests.standins.base import Answer, Request, StandIn, no_such
from tests.standins.market import DAY, Quote
from tests.standins.text import iso, midnight, millis, payload

DEMO_KEY, PRO_KEY = "CG-demo-key", "CG-pro-key"

# id → its symbol; every other id is a coin whose symbol is the id itself.
SYMBOLS = {
    "bitcoin": "btc", "ethereum": "eth", "solana": "sol", "ripple": "xrp", "binancecoin": "bnb",
    "cardano": "ada", "dogecoin": "doge", "polkadot": "dot", "litecoin": "ltc", "bitcoin-cash": "bch",
    "chainlink": "link", "monero": "xmr", "avalanche-2": "avax", "tron": "trx", "tether": "usdt",
    "usd-coin": "usdc", "dai": "dai", "wrapped-bitcoin": "wbtc", "staked-ether": "steth",
    "the-open-network": "ton", "polygon-ecosystem-token": "pol",
}  # fmt: skip
IDS = {symbol: name for name, symbol in SYMBOLS.items()}
# Ranks in coins/markets; from here on the ranks are made-up coins.
RANKED = list(SYMBOLS)
CURRENCIES = frozenset({"usd", "eur", "gbp", "chf", "jpy", "cad", "aud", "btc", "eth"})
EVERY = 10.0  # seconds between two quotes of a coin
FRAMES = frozenset({"1h", "24h", "7d", "14d", "30d", "200d", "1y"})
SPANS = {"1h": 1 / 24, "24h": 1, "7d": 7, "14d": 14, "30d": 30, "200d": 200, "1y": 365}  # days
LONGEST_FREE = 365  # days of history without a pro key
SUPPLY = 20_000_000.0  # of every coin, so that market capitalisations are of a plausible size


class CoinGecko(StandIn):
    """`pro` makes it the paid host, which wants the pro key."""

    ROUTES: ClassVar[Mapping[str, str]] = {
        "GET /api/v3/ping": "ping",
        "GET /api/v3/simple/price": "simple_price",
        "GET /api/v3/coins/markets": "markets",
        "GET /api/v3/coins/{coin}/market_chart": "market_chart",
    }
    PRICE_KEYS = CURRENCIES | {"current_price", "prices"}
    pro = False

    def native(self, item: str) -> str:
        base = item.partition("_")[0]
        return IDS.get(base, base)

    def asset(self, coin: str, currency: str = "usd") -> str:
        """Return Oculus's name of a coin in a currency: `btc_usd`."""
        return f"{SYMBOLS.get(coin, coin)}_{currency}"

    def limited(self, request: Request, retry_after: int | None) -> Answer:
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        return Answer(payload("coingecko-error-429.json"), 429, headers)

    def not_found(self, request: Request) -> Answer:
        return Answer({"error": "Incorrect path. Please check the documentation"}, 404)

    def answer(self, request: Request) -> Answer:
        return self.refusal(request) or super().answer(request)

    def refusal(self, request: Request) -> Answer | None:
        """Return the 401 of a missing or wrong key, or of the other host's key."""
        if not request.path.startswith("/api/v3/"):
            return None
        demo = request.headers.get("x-cg-demo-api-key") or request.query.get("x_cg_demo_api_key", "")
        pro = request.headers.get("x-cg-pro-api-key") or request.query.get("x_cg_pro_api_key", "")
        given = demo or pro
        if self.pro and given == DEMO_KEY:
            return self._wrong_host(
                10011, "A Demo key was used: the root URL for this key is api.coingecko.com."
            )
        if not self.pro and (given == PRO_KEY or pro):
            return self._wrong_host(
                10010, "A Pro key was used: the root URL for this key is pro-api.coingecko.com."
            )
        if (given or self.pro) and given != (PRO_KEY if self.pro else DEMO_KEY):
            return Answer(payload("coingecko-error-401-missing-key.json"), 401)
        return None

    def ping(self, request: Request) -> Answer:
        """GET /ping."""
        return Answer({"gecko_says": "(V3) To the Moon!"})

    def simple_price(self, request: Request) -> Answer:
        """GET /simple/price: unknown ids are left out, unknown currencies leave an empty object."""
        currencies = [each for each in request.query.get("vs_currencies", "").lower().split(",") if each]
        ids = [each for each in request.query.get("ids", "").lower().split(",") if each]
        if not currencies or not ids:
            return Answer({"error": "Missing parameter vs_currencies"}, 422)
        return Answer({coin: self._priced(request, coin, currencies) for coin in ids if not no_such(coin)})

    def markets(self, request: Request) -> Answer:
        """GET /coins/markets: by ids, or by rank."""
        currency = request.query.get("vs_currency", "").lower()
        if currency not in CURRENCIES:
            return Answer(payload("coingecko-error-400-vs-currency.json"), 400)
        size = min(250, max(1, int(request.query.get("per_page") or 100)))
        page = max(1, int(request.query.get("page") or 1))
        first = (page - 1) * size
        ids = [each for each in request.query.get("ids", "").lower().split(",") if each]
        coins = (
            [each for each in ids if not no_such(each)][first : first + size] if ids else _ranked(first, size)
        )
        frames = request.query.get("price_change_percentage", "").split(",")
        return Answer([self._market(coin, currency, frames) for coin in coins])

    def market_chart(self, request: Request, coin: str) -> Answer:
        """GET /coins/{id}/market_chart: a point a day at 00:00 UTC, and one of now."""
        currency = request.query.get("vs_currency", "").lower()
        if no_such(coin):
            return Answer(payload("coingecko-error-404-coin.json"), 404)
        if currency not in CURRENCIES:
            return Answer(payload("coingecko-error-400-vs-currency.json"), 400)
        days = int(request.query.get("days", "1").replace("max", "3650"))
        if days > LONGEST_FREE and not self.pro:
            return Answer(payload("coingecko-error-401-plan-restricted.json"), 401)
        now = self.market.now()
        last = midnight(now)
        times = [last - DAY * back for back in range(days - 1, -1, -1)] + [now]
        item = self.asset(coin, currency)
        prices = [(millis(at), self.market.price(item, at)) for at in times]
        return Answer({
            "prices": [[at, price] for at, price in prices],
            "market_caps": [[at, round(price * SUPPLY, 1)] for at, price in prices],
            "total_volumes": [[at, round(price * 384_000, 1)] for at, price in prices],
        })  # fmt: skip

    def _wrong_host(self, code: int, message: str) -> Answer:
        body = payload("coingecko-error-401-nested-wrong-host.json")
        body["error"]["status"] |= {
            "timestamp": iso(self.market.now(), 3, "+00:00"),
            "error_code": code,
            "error_message": message,
        }
        return Answer(body, 401)

    def _priced(self, request: Request, coin: str, currencies: list[str]) -> dict[str, Any]:
        dead = coin.startswith("dead-")
        found: dict[str, Any] = {}
        quotes = {
            each: self.market.quote(self.asset(coin, each), EVERY)
            for each in currencies
            if each in CURRENCIES
        }
        wanted = {name for name in request.query if request.query[name] == "true"}
        for currency, quote in quotes.items():
            fields: dict[str, Any] = {currency: _plain(quote.value)}
            if "include_market_cap" in wanted:
                fields[f"{currency}_market_cap"] = quote.value * SUPPLY
            if "include_24hr_vol" in wanted:
                fields[f"{currency}_24h_vol"] = quote.value * 384_000.25
            if "include_24hr_change" in wanted:
                fields[f"{currency}_24h_change"] = quote.change
            found |= dict.fromkeys(fields) if dead else fields
        if quotes and "include_last_updated_at" in wanted:
            found["last_updated_at"] = None if dead else int(max(quote.at for quote in quotes.values()))
        return found

    def _market(self, coin: str, currency: str, frames: list[str]) -> dict[str, Any]:
        item = self.asset(coin, currency)
        quote = self.market.quote(item, EVERY)
        row: dict[str, Any] = payload("coingecko-coins-markets-success.json")[0]
        for key in [key for key in row if key.endswith("_in_currency")]:
            del row[key]
        row |= {
            "id": coin,
            "symbol": SYMBOLS.get(coin, coin),
            "name": coin.replace("-", " ").title(),
            "market_cap_rank": RANKED.index(coin) + 1 if coin in RANKED else 100,
            "last_updated": iso(quote.at, 3),
        } | _figures(quote)
        for frame in frames:
            if frame in FRAMES:
                before = self.market.price(item, self.market.now() - SPANS[frame] * DAY)
                row[f"price_change_percentage_{frame}_in_currency"] = (quote.value / before - 1) * 100
        if coin.startswith("dead-"):
            kept = {"id", "symbol", "name", "image", "last_updated"}
            row = {key: value if key in kept else None for key, value in row.items()}
        return row


def _figures(quote: Quote) -> dict[str, Any]:
    cap = round(quote.value * SUPPLY)
    change = quote.value - quote.previous
    return {
        "current_price": _plain(quote.value),
        "market_cap": cap,
        "fully_diluted_valuation": cap,
        "total_volume": round(quote.value * 384_000),
        "high_24h": quote.high,
        "low_24h": quote.low,
        "price_change_24h": change,
        "price_change_percentage_24h": round(quote.change, 5),
        "market_cap_change_24h": change * SUPPLY,
        "market_cap_change_percentage_24h": round(quote.change, 5),
        "ath": quote.value * 1.6,
        "ath_change_percentage": -37.5,
    }


def _plain(value: float) -> float | int:
    """A whole price comes as an integer, as the service writes it."""
    return int(value) if value == int(value) else value


def _ranked(first: int, size: int) -> list[str]:
    named = RANKED[first : first + size]
    return named + [f"coin-{rank}" for rank in range(max(first, len(RANKED)) + 1, first + size + 1)]
