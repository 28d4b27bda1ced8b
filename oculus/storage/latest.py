"""The last value and a short history of every series, in memory.

Served to the dashboard, the API and the rules, so that none of them asks the database for what the
writer has just committed.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from oculus.clock import SECOND
from oculus.model import Micros, Sample, Tags, category_of, unit_of

HISTORY = 40  # values kept per series: what a sparkline shows

# A last value is believed for this many of its intervals, but for the least time at any rate.
OLD_INTERVALS = 3
OLD_LEAST = 30.0  # seconds
OLD_PUSHED = 300.0  # seconds, for what no collector brings

# A sample stamped further ahead than this came from a clock that was wrong, or set back since; it must not
# stay the latest until that time comes.
_AHEAD = 1 * SECOND


def old_after(every: float) -> float:
    """Return the seconds for which a value is believed when one comes every so many; 0: nobody knows when."""
    return max(OLD_LEAST, OLD_INTERVALS * every) if every else OLD_PUSHED


class Series:
    """One series: its last sample, the value before it, and its recent values.

    `taken` is when the last sample was taken on the monotonic clock (seconds), None for a sample that was
    restored from the store: ages by it are right whatever happens to the wall clock.
    """

    __slots__ = ("category", "history", "previous", "symbol", "tags", "taken", "ts", "unit", "value")

    def __init__(self, symbol: str, ts: Micros, value: float, tags: Mapping[str, str]) -> None:
        self.symbol = symbol
        self.category = category_of(symbol)
        self.unit = unit_of(symbol, tags)
        self.ts = ts
        self.value = value
        self.previous: float | None = None
        self.taken: float | None = None
        self.tags = Tags.of(tags)
        self.history = array("d", (value,))


class Latest:
    """All series by symbol. `version` grows with every change, `generation` when series come or go."""

    def __init__(self) -> None:
        self._series: dict[str, Series] = {}
        self._ordered: list[Series] | None = None
        self.version = 0
        self.generation = 0

    def __len__(self) -> int:
        return len(self._series)

    def __iter__(self) -> Iterator[Series]:
        """All series by symbol."""
        if self._ordered is None:
            self._ordered = [self._series[symbol] for symbol in sorted(self._series)]
        return iter(self._ordered)

    def get(self, symbol: str) -> Series | None:
        """Return one series, or None."""
        return self._series.get(symbol)

    def update(self, samples: Iterable[Sample], now: Micros) -> None:
        """Take committed samples in; older ones than a series' last (late arrivals) leave it as it is."""
        monotonic = time.monotonic()
        for sample in samples:
            assert sample.ts is not None
            taken = monotonic - (now - sample.ts) / SECOND
            series = self._series.get(sample.symbol)
            if series is None:
                series = Series(sample.symbol, sample.ts, sample.value, sample.tags)
                series.taken = taken
                self._add(series)
                continue
            if sample.ts < series.ts and series.ts <= now + _AHEAD:
                continue
            series.previous = series.value
            series.value = sample.value
            series.ts = sample.ts
            series.taken = taken
            series.tags = Tags.of(sample.tags)
            history = series.history
            history.append(sample.value)
            if len(history) > HISTORY:
                del history[0]
        self.version += 1

    def restore(self, symbol: str, ts: Micros, tags: Mapping[str, str], history: Sequence[float]) -> None:
        """Take in what the store held at start, unless samples have arrived since."""
        if symbol in self._series or not history:
            return
        series = Series(symbol, ts, history[-1], tags)
        series.history = array("d", history[-HISTORY:])
        series.previous = history[-2] if len(history) > 1 else None
        self._add(series)
        self.version += 1

    def forget_before(self, cutoff: Micros) -> None:
        """Drop series whose last sample is older than `cutoff`."""
        for symbol in [symbol for symbol, series in self._series.items() if series.ts < cutoff]:
            del self._series[symbol]
            self._ordered = None
            self.generation += 1
        self.version += 1

    def _add(self, series: Series) -> None:
        self._series[series.symbol] = series
        self._ordered = None
        self.generation += 1
