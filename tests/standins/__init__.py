"""Stand-ins of the public market services, over real sockets. `python -m tests.standins` starts them all.

To add a service: write its file, add a line here, and its payloads.
"""

from __future__ import annotations

from tests.standins.alphavantage import AlphaVantage
from tests.standins.alternative_me import AlternativeMe
from tests.standins.altseason import AltSeason, CoinMarketCap
from tests.standins.base import StandIn
from tests.standins.binance import Binance
from tests.standins.coinbase import Coinbase
from tests.standins.coingecko import CoinGecko
from tests.standins.kalshi import Kalshi
from tests.standins.kraken import Kraken
from tests.standins.manifold import Manifold
from tests.standins.multpl import Multpl
from tests.standins.onchain import BGeometrics, CoinMetrics, Glassnode
from tests.standins.polymarket import Polymarket
from tests.standins.stooq import Stooq
from tests.standins.yahoo import Yahoo

SERVICES: dict[str, type[StandIn]] = {
    "alphavantage": AlphaVantage,
    "alternative_me": AlternativeMe,
    "altseason": AltSeason,
    "bgeometrics": BGeometrics,
    "binance": Binance,
    "coinbase": Coinbase,
    "coingecko": CoinGecko,
    "coinmarketcap": CoinMarketCap,
    "coinmetrics": CoinMetrics,
    "glassnode": Glassnode,
    "kalshi": Kalshi,
    "kraken": Kraken,
    "manifold": Manifold,
    "multpl": Multpl,
    "polymarket": Polymarket,
    "stooq": Stooq,
    "yahoo": Yahoo,
}

__all__ = ["SERVICES", "StandIn"]
