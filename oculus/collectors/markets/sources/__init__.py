"""Market sources: one file per service, and the table that names them.

To add a source: its file, a line here, and its payloads for the contract tests. Classes are imported when a
configuration uses them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from oculus.collectors.markets.sources.base import Source

_HERE = "oculus.collectors.markets.sources"

# What is asked for → its sources, module:class, the usual one first.
SOURCES: dict[str, dict[str, str]] = {
    "crypto": {
        "coingecko": "coingecko:CoinGecko",
        "binance": "binance:Binance",
        "coinbase": "coinbase:Coinbase",
        "kraken": "kraken:Kraken",
    },
    "crypto/fng": {"alternative": "alternative:Alternative"},
    "crypto/mvrv": {
        "coinmetrics": "coinmetrics:CoinMetrics",
        "glassnode": "glassnode:Glassnode",
    },
    "crypto/altseason": {
        "coingecko": "altseason:Altseason",
        "coinmarketcap": "coinmarketcap:CoinMarketCap",
    },
    "stock": {
        "yahoo": "yahoo:Yahoo",
        "stooq": "stooq:Stooq",
        "alphavantage": "alphavantage:AlphaVantage",
    },
    "stock/sp_pe": {"multpl": "multpl:Multpl"},
    "prediction": {
        "polymarket": "polymarket:Polymarket",
        "kalshi": "kalshi:Kalshi",
        "manifold": "manifold:Manifold",
    },
}

# Sources that have their prices as a stream too.
STREAMS = frozenset({"binance", "coinbase", "kraken", "polymarket"})

# Sources that answer only to a key.
KEYED = frozenset({"glassnode", "alphavantage", "coinmarketcap"})


def source_class(wanted: str, name: str) -> type[Source]:
    """Return the class of a source; KeyError when there is no such source of what is wanted."""
    module, _, cls = SOURCES[wanted][name].partition(":")
    return cast("type[Source]", getattr(import_module(f"{_HERE}.{module}"), cls))
