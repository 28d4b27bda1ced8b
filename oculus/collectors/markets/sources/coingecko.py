"""CoinGecko: prices of some 15,000 coins, averaged over exchanges; a hundred of them in one request.

https://docs.coingecko.com/reference/simple-price
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oculus.collectors.fetch import Answer, redact
from oculus.collectors.manners import Rate
from oculus.collectors.markets.sources.base import (
    Found,
    ItemError,
    Pair,
    Quotes,
    Source,
    SourceError,
    number,
    quotes,
    seconds_time,
)

PRO_URL = "https://pro-api.coingecko.com/api/v3"

# Short names are not unique: these are the ids of the coins that people mean by them. A base that is not
# here is taken for an id itself.
_IDS = {
    "btc": "bitcoin", "xbt": "bitcoin", "eth": "ethereum", "sol": "solana", "usdt": "tether",
    "usdc": "usd-coin", "dai": "dai", "wbtc": "wrapped-bitcoin", "steth": "staked-ether",
    "link": "chainlink", "xmr": "monero", "bch": "bitcoin-cash", "avax": "avalanche-2",
    "ton": "the-open-network", "ltc": "litecoin", "xrp": "ripple", "bnb": "binancecoin",
    "ada": "cardano", "doge": "dogecoin", "dot": "polkadot", "trx": "tron",
    "pol": "polygon-ecosystem-token", "matic": "polygon-ecosystem-token", "shib": "shiba-inu",
    "uni": "uniswap", "atom": "cosmos", "xlm": "stellar", "etc": "ethereum-classic", "fil": "filecoin",
    "hbar": "hedera-hashgraph", "icp": "internet-computer", "apt": "aptos", "arb": "arbitrum",
    "op": "optimism", "near": "near", "vet": "vechain", "aave": "aave", "algo": "algorand",
    "sui": "sui", "inj": "injective-protocol", "ftm": "fantom", "xtz": "tezos", "eos": "eos",
    "mkr": "maker", "grt": "the-graph", "theta": "theta-token", "sand": "the-sandbox",
    "mana": "decentraland", "axs": "axie-infinity", "zec": "zcash", "dash": "dash", "pepe": "pepe",
    "hype": "hyperliquid", "tao": "bittensor", "kas": "kaspa", "cro": "crypto-com-chain",
    "leo": "leo-token", "okb": "okb", "render": "render-token", "rune": "thorchain",
}  # fmt: skip


class CoinGecko(Source):
    """`/simple/price` for all pairs at once."""

    name = "coingecko"
    url = "https://api.coingecko.com/api/v3"
    # Without a key 5 to 15 a minute, for all who share an address.
    rates = (Rate(10, 60.0),)
    batch = 250
    least = 10.0

    def ask(self, items: Sequence[Pair]) -> Found:
        ids = {pair: coin_id(pair) for pair in items}
        data = self.fetch(
            "/simple/price",
            {
                "ids": ",".join(dict.fromkeys(ids.values())),
                "vs_currencies": ",".join(dict.fromkeys(pair.quote for pair in items)),
                "include_24hr_vol": "true",
                "include_24hr_change": "true",
                "include_last_updated_at": "true",
            },
        )
        if not isinstance(data, dict):
            raise SourceError("the answer is not an object of coins")
        return {pair: _quotes(data, ids[pair], pair) for pair in items}

    def fetch(self, path: str, params: Mapping[str, str]) -> Any:
        """Return parsed JSON of the API, asked with the user's key; raises SourceError."""
        return checked(self.reach(path, params))

    def reach(self, path: str, params: Mapping[str, str]) -> Answer:
        """Return the API's answer, of whatever status, asked with the user's key; raises SourceError."""
        options = self.options
        headers = {f"x-cg-{options.plan or 'demo'}-api-key": options.api_key} if options.api_key else {}
        url = PRO_URL if options.plan == "pro" else ""
        return self.get(path, params, url=url, headers=headers)


def coin_id(pair: Pair) -> str:
    """Return CoinGecko's id of a pair's base."""
    return pair.coin or _IDS.get(pair.base) or pair.base.replace("_", "-")


def checked(answer: Answer) -> Any:
    """Return parsed JSON; raises SourceError with the service's own words for an error."""
    if answer.status == 200:
        return answer.json()
    raise SourceError(f"status {answer.status}: {redact(_told(answer), answer.secrets)[:200]}")


def _told(answer: Answer) -> str:
    """Return the message of an error, which comes in three shapes, or as a page of the network before it."""
    try:
        data = answer.any_json()
    except SourceError:
        return answer.snippet
    for path in (("status",), ("error", "status")):
        found = data
        for key in path:
            found = found.get(key) if isinstance(found, dict) else None
        if isinstance(found, dict) and found.get("error_message"):
            return str(found["error_message"])
    told = data.get("error") if isinstance(data, dict) else None
    return told if isinstance(told, str) else answer.snippet


def _quotes(data: dict[str, Any], coin: str, pair: Pair) -> Quotes | ItemError:
    # An unknown coin is left out, one without that currency has none.
    found = data.get(coin)
    if not isinstance(found, dict):
        return ItemError(f"does not know the coin {coin!r} (coin: gives CoinGecko's id)")
    if pair.quote not in found:
        return ItemError(f"{coin} has no price in {pair.quote!r}")
    try:
        price = number(found[pair.quote], f"the price of {coin} in {pair.quote}")
    except ItemError as error:
        return error
    ts = seconds_time(found.get("last_updated_at"))
    change, volume = found.get(f"{pair.quote}_24h_change"), found.get(f"{pair.quote}_24h_vol")
    return Quotes(quotes(price, ts, change_24h=change, volume_24h=volume))
