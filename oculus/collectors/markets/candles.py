"""Ticks into candles: buckets of an interval, by the exchange's own time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from oculus.collectors.markets.wire import Tick
from oculus.model import Candle, Micros

# Complete buckets that a collector has not taken; it takes them at every interval.
_KEPT = 120


class Bucket:
    """The prices of one interval."""

    __slots__ = ("close", "figures", "high", "low", "open", "start", "ts")

    def __init__(self, start: int, price: float, ts: Micros) -> None:
        self.start = start
        self.open = self.high = self.low = self.close = price
        self.ts = ts
        self.figures: dict[str, float] = {}  # that came with the close

    def add(self, price: float, ts: Micros) -> None:
        """Take a price in."""
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if ts >= self.ts:
            self.close, self.ts = price, ts

    @property
    def candle(self) -> Candle | None:
        """Open, high and low; None where the close says it all."""
        if self.open == self.high == self.low == self.close:
            return None
        return Candle(self.open, self.high, self.low)


class Live:
    """What a stream brings for one key, in buckets of `interval` microseconds."""

    def __init__(self, key: str, interval: int, monotonic: Callable[[], float]) -> None:
        self.key = key
        self.interval = interval
        self.last: tuple[float, Micros] | None = None  # price and time of the last tick
        self.missed = False
        self.refused = ""
        self.since = monotonic()  # of the subscription, or of the last tick
        self.ticked = False  # on this connection
        self._taken = 0  # the end of the last bucket that was taken
        self._buckets: deque[Bucket] = deque(maxlen=_KEPT)

    def add(self, tick: Tick, ts: Micros) -> None:
        """Take a tick in."""
        # What comes for a bucket that was taken already counts for the next.
        start = max(ts // self.interval * self.interval, self._taken)
        buckets = self._buckets
        if not buckets or start > buckets[-1].start:
            buckets.append(Bucket(start, tick.price, ts))
        else:
            # Ticks that overtook each other.
            next((found for found in buckets if found.start >= start), buckets[-1]).add(tick.price, ts)
        if tick.figures and ts >= buckets[-1].ts:
            buckets[-1].figures = tick.figures
        if self.last is None or ts >= self.last[1]:
            self.last = (tick.price, ts)
        self.ticked = True

    def take(self, until: Micros) -> list[Bucket]:
        """Return and forget the buckets that end at `until` (the exchange's time) or before."""
        taken = []
        while self._buckets and self._buckets[0].start + self.interval <= until:
            taken.append(self._buckets.popleft())
            self._taken = taken[-1].start + self.interval
        return taken
