"""What the daemon knows of a series: its last value, when that was seen, and how often somebody looks."""

from __future__ import annotations

import time
from collections.abc import Mapping

from oculus.clock import SECOND, now
from oculus.collectors.scheduler import Scheduler
from oculus.model import NO_TAGS, Micros
from oculus.rules.derived import DerivedLoop
from oculus.rules.view import Point
from oculus.storage.latest import Latest, Series, old_after


class Known:
    """Answers by `latest`, and by who measures and computes; of these it is told by `follow`."""

    _scheduler: Scheduler
    _derived: DerivedLoop

    def __init__(self, latest: Latest) -> None:
        self._latest = latest

    def follow(self, scheduler: Scheduler, derived: DerivedLoop) -> None:
        """Ask these about intervals, and when a value was seen again."""
        self._scheduler = scheduler
        self._derived = derived

    def every(self, symbol: str) -> float:
        """Return how often a series is measured or computed, in seconds; 0 when nobody here does."""
        job = self._scheduler.origins.get(symbol)
        return job.every if job else self._derived.interval(symbol)

    def tags(self, symbol: str) -> Mapping[str, str]:
        """Return the tags of a series."""
        series = self._latest.get(symbol)
        return NO_TAGS if series is None else series.tags

    def last(self, symbol: str) -> tuple[Point, float] | None:
        """Return a series' value with when it was last found to be so, and how often that is looked at."""
        series = self._latest.get(symbol)
        seen = None if series is None else self._seen(series)
        # What was restored is no evidence: an alert must not fire on what was true before the stop.
        if series is None or seen is None:
            return None
        ts = Micros(now() - int((time.monotonic() - seen) * SECOND))
        return Point(ts, series.value, series.previous), self.every(symbol)

    def last_stored(self, symbol: str) -> tuple[Micros, float] | None:
        """Return time and value of a series' newest sample."""
        series = self._latest.get(symbol)
        return None if series is None else (series.ts, series.value)

    def stored_time(self, symbol: str) -> Micros | None:
        """Return the time of a series' newest sample."""
        series = self._latest.get(symbol)
        return None if series is None else series.ts

    def stored_with_interval(self, symbol: str) -> tuple[Micros, float] | None:
        """Return the time of a series' newest sample, and how often it is looked at."""
        series = self._latest.get(symbol)
        return None if series is None else (series.ts, self.every(symbol))

    def market_open(self, symbol: str) -> bool | None:
        """Tell whether there is trade in what a quote is of; None for anything but quotes."""
        job = self._scheduler.origins.get(symbol)
        return not job.collector.state if job and job.collector.quotes else None

    def state(self, symbol: str) -> str:
        """Return what the collector of a series says of its state, such as a closed market."""
        job = self._scheduler.origins.get(symbol)
        return job.collector.state if job else ""

    def stale(self, series: Series) -> bool:
        """Tell whether nobody has seen a value for longer than its collector should take."""
        limit = old_after(self.every(series.symbol))
        confirmed = self._scheduler.confirmed.get(series.symbol)
        if confirmed is not None:
            return time.monotonic() - confirmed > limit
        return (now() - series.ts) / SECOND > limit

    def _seen(self, series: Series) -> float | None:
        """Return when a series had its last value, monotonic: when it was measured, or seen again."""
        confirmed = self._scheduler.confirmed.get(series.symbol)
        times = [seen for seen in (series.taken, confirmed) if seen is not None]
        return min(max(times), time.monotonic()) if times else None
