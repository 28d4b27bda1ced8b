"""What an expression reads: the values of series as they are known at one moment.

Live, the last values come from memory and the windows from the store, fetched for all rules at once. In a
backtest both come from recorded history. An expression cannot tell which.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.windowed import Window

# A value older than this is stale, whatever its series' interval (Prometheus's look-back).
STALE_AFTER = 300 * SECOND
# … unless the interval is so long that this many of it are more.
STALE_INTERVALS = 3


class Point(NamedTuple):
    """A sample of a series: its time, value, and the value before it (None when there is none)."""

    ts: Micros
    value: float
    previous: float | None


class View(Protocol):
    """Everything that expressions read, at `now`."""

    @property
    def now(self) -> Micros:
        """The moment."""

    @property
    def since(self) -> Micros:
        """When somebody began to look: nothing is absent that had no time to come."""
        return Micros(0)

    def last(self, symbol: str) -> Point | None:
        """Return the newest sample, however old it is."""

    def newest(self, symbol: str) -> Micros | None:
        """Return the time of the newest sample, also of one that is no evidence of its value any more."""
        point = self.last(symbol)
        return None if point is None else point.ts

    def interval(self, symbol: str) -> float:
        """Return the seconds between two samples as configured; 0 when that is not known."""

    def window(self, window: Window) -> float | None:
        """Return the figure, or None when it is unknown."""

    def market_open(self, symbol: str) -> bool | None:
        """Tell whether the market of a series is open, or None when that is not known."""


def lookback(interval: float) -> int:
    """Return how old a value may be, in microseconds, for a series of this interval in seconds."""
    return max(STALE_AFTER, STALE_INTERVALS * int(interval * SECOND))


def fresh(view: View, symbol: str) -> Point | None:
    """Return the newest sample unless it is stale, or from the future (the clock was set back since)."""
    point = view.last(symbol)
    if point is None or abs(view.now - point.ts) > lookback(view.interval(symbol)):
        return None
    return point
