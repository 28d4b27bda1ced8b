"""The view over recorded history: what was known at any moment of it, without a store.

A backtest, a script and a test evaluate rules on it as the daemon does on its store. It is made to be asked
at each sample of months: what a figure costs hardly grows with the length of its window. A row may stand for
many samples, as a rollup does: it is known at its end, and their count and sum are what counts.
"""

from __future__ import annotations

import math
import operator
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.rules.view import Point, View, lookback
from oculus.windowed import Window

# So many numbers are taken together in one of the level above, and so many of these in one above it.
_BLOCK = 64

# The sorted values of a window follow it; when this share of them has changed since, they are sorted anew.
_RESORT = 1 / 8


class Recorded(View):
    """The series' samples up to `now`, which may be set to any time: they are what is known then.

    `intervals` are the seconds between two samples by symbol. `market_open` tells for a symbol and a time
    whether its market was open, or None when that is not known.
    """

    def __init__(
        self,
        intervals: Mapping[str, float] = {},
        market_open: Callable[[str, Micros], bool | None] = lambda symbol, now: None,
    ) -> None:
        self._now = Micros(0)
        self._intervals = intervals
        self._market_open = market_open
        self._series: dict[str, _Series] = {}

    @property
    def now(self) -> Micros:
        """The moment."""
        return self._now

    @now.setter
    def now(self, now: Micros) -> None:
        self._now = now

    @property
    def symbols(self) -> tuple[str, ...]:
        """The recorded series, also those whose samples are all later than `now`."""
        return tuple(self._series)

    def add(
        self, symbol: str, ts: Micros, value: float, low: float | None = None, high: float | None = None
    ) -> None:
        """Add a sample, with its lowest and highest number when it stands for an interval; NaN is no sample.

        Raises ValueError when it is older than the one before it.
        """
        series = self._series.get(symbol)
        if series is None:
            series = self._series[symbol] = _Series()
        series.append(ts, value, low, high)

    def extend(
        self,
        symbol: str,
        ts: Sequence[int],
        values: Sequence[float],
        lows: Sequence[float | None] | None = None,
        highs: Sequence[float | None] | None = None,
        counts: Sequence[int] | None = None,
        sums: Sequence[float] | None = None,
    ) -> None:
        """Add rows of a series, oldest first, in columns of equal length; `lows` and `highs` as for `add`.

        `counts` and `sums` are those of the samples that each row stands for; else each is one sample.
        Raises ValueError when one is older than the one before it, or a column is shorter than the others;
        those up to there are added.
        """
        series = self._series.setdefault(symbol, _Series())
        given = [lows, highs, counts, sums]
        while given and given[-1] is None:
            given.pop()
        if not given and series.take(ts, values):
            return
        columns = (repeat(None, len(ts)) if column is None else column for column in given)
        for row in zip(ts, values, *columns, strict=True):
            series.append(*row)

    def forget(self, before: Micros) -> None:
        """Drop samples older than this, so that a long history is no more in memory than its windows.

        Of each series the last two of them stay at least. Figures that reach further back are wrong then.
        """
        for series in self._series.values():
            series.forget(before)

    def last(self, symbol: str) -> Point | None:
        """Return the newest sample, however old it is."""
        series = self._series.get(symbol)
        place = series.until(self._now) if series is not None else 0
        if series is None or not place:
            return None
        values = series.values
        return Point(
            Micros(series.ts[place - 1]), values[place - 1], values[place - 2] if place > 1 else None
        )

    def interval(self, symbol: str) -> float:
        """Return the seconds between two samples; 0 when that is not known."""
        return self._intervals.get(symbol, 0.0)

    def window(self, window: Window) -> float | None:
        """Return the figure, or None when it is unknown; what is beyond the numbers is, too."""
        series = self._series.get(window.symbol)
        if series is None:
            return 0.0 if window.reduction == "count" else None
        at = self._now - round(window.seconds * SECOND)
        first = series.until(at)
        if window.reduction == "base":
            fresh = first and series.ts[first - 1] >= at - lookback(self.interval(window.symbol))
            return series.values[first - 1] if fresh else None
        found = series.figure(window, first, series.until(self._now))
        return found if found is not None and math.isfinite(found) else None

    def slides(self, window: Window) -> Iterator[Micros]:
        """Yield when a figure may become another one without a sample that comes: the first one leaves the
        window, or the value at its beginning goes stale."""
        series = self._series.get(window.symbol)
        if series is None:
            return
        length = round(window.seconds * SECOND)
        first = series.until(self._now - length)
        if first < len(series.ts):
            yield Micros(series.ts[first] + length)
        if window.reduction == "base" and first:
            yield Micros(series.ts[first - 1] + length + lookback(self.interval(window.symbol)) + 1)

    def market_open(self, symbol: str) -> bool | None:
        """Tell whether the market of a series is open, or None when that is not known."""
        return self._market_open(symbol, self._now)


class _Series:
    """The samples of one series by time, and what makes figures over them quick."""

    def __init__(self) -> None:
        self.ts = array("q")
        self.values = array("d")
        self._totals = _Pyramid(self.values, _sum)
        # Each is that of the values themselves until there is a row for which it is another.
        self._lows = _Pyramid(self.values, min)
        self._highs = _Pyramid(self.values, max)
        self._sums = self._totals
        self._counts: _Pyramid | None = None  # until there is a row that stands for more than itself
        self._squares: list[array[float]] = []
        self._growth: _Pyramid | None = None
        self._sorted: dict[float, _Sorted] = {}

    def take(self, ts: Sequence[int], values: Sequence[float]) -> bool:
        """Append samples at once, or none of them where one needs a closer look; return whether it did."""
        own = self._counts is not None or any(
            bounds.column is not self.values for bounds in (self._lows, self._highs)
        )
        ordered = all(map(operator.le, chain(self.ts[-1:], ts), ts if self.ts else islice(ts, 1, None)))
        if own or not ordered or len(ts) != len(values) or math.isnan(sum(values)):
            return False
        self.ts.extend(ts)
        self.values.extend(values)
        return True

    def append(
        self,
        ts: int,
        value: float,
        low: float | None = None,
        high: float | None = None,
        count: int | None = None,
        total: float | None = None,
    ) -> None:
        if math.isnan(value):
            return
        if self.ts and ts < self.ts[-1]:
            raise ValueError(f"a sample at {ts} comes after one at {self.ts[-1]}: add them oldest first")
        for bounds, bound in ((self._lows, low), (self._highs, high)):
            if bounds.column is not self.values:
                bounds.column.append(value if bound is None else bound)
            elif bound is not None and bound != value:
                bounds.replace(self.values[:])
                bounds.column.append(bound)
        if self._counts is not None or count is not None:
            self._stand_for(value, count, total)
        self.ts.append(ts)
        self.values.append(value)

    def _stand_for(self, value: float, count: int | None, total: float | None) -> None:
        """Note what the row that is being added stands for."""
        if self._counts is None:
            if count == 1 and total == value:
                return
            self._counts = _Pyramid(array("d", [1.0]) * len(self.values), _sum)
            self._sums = _Pyramid(self.values[:], _sum)
        self._counts.column.append(1 if count is None else count)
        self._sums.column.append(value if total is None else total)

    def forget(self, before: int) -> None:
        """Drop what is older, but for the last two of it: whole blocks, so that those after them stay."""
        drop = (bisect_left(self.ts, before) - 2) // _BLOCK * _BLOCK
        if drop <= 0:
            return
        pyramids = [self._totals, self._lows, self._highs, self._sums, self._counts, self._growth]
        held = {id(pyramid): pyramid for pyramid in pyramids if pyramid is not None}.values()
        columns = {id(pyramid.column): pyramid.column for pyramid in held}.values()
        for pyramid in held:
            pyramid.forget(drop)
        del self.ts[:drop]
        for column in columns:
            del column[:drop]
        # What is above the first level is quickly made anew.
        del self._squares[1:]
        for squares in self._squares:
            del squares[: drop // _BLOCK]
        for ranked in self._sorted.values():
            ranked.forget(drop)

    def until(self, ts: int) -> int:
        """Return the number of samples up to a time."""
        return bisect_right(self.ts, ts)

    def figure(self, window: Window, first: int, last: int) -> float | None:
        """Return the figure over the samples from the place `first` to before `last`."""
        if window.reduction == "count":
            return self._count(first, last)
        if last <= first:
            return None
        match window.reduction:
            case "sum":
                return self._sums.over(first, last)
            case "avg":
                return self._sums.over(first, last) / self._count(first, last)
            case "min":
                return self._lows.over(first, last)
            case "max":
                return self._highs.over(first, last)
            case "stddev":
                return self._deviation(first, last)
            case "quantile":
                ranked = self._sorted.setdefault(window.seconds, _Sorted())
                return ranked.quantile(self.values, first, last, window.parameter)
            case _:
                return self._rate(first, last)

    def _count(self, first: int, last: int) -> float:
        """Return how many samples there are."""
        return float(last - first) if self._counts is None else self._counts.over(first, last)

    def _rate(self, first: int, last: int) -> float | None:
        """Return the growth per second; a smaller value than the one before began at 0."""
        if self._growth is None:
            self._growth = _Pyramid(array("d"), _sum)
        grown, values = self._growth.column, self.values
        for place in range(len(grown), len(values)):
            value, before = values[place], values[place - 1] if place else values[0]
            grown.append(value if value < before else value - before)
        took = self.ts[last - 1] - self.ts[first]
        return self._growth.over(first + 1, last) / (took / SECOND) if took else None

    def _deviation(self, first: int, last: int) -> float:
        """Return the standard deviation. That of blocks is put together from those of their parts."""
        mean = self._totals.over(first, last) / (last - first)
        total = 0.0
        for level, start, end in pieces(first, last):
            total += self._squares_about(mean, level, start, end)
        return math.sqrt(total / (last - first))

    def _squares_about(self, mean: float, level: int, start: int, end: int) -> float:
        """Return the sum of the squared distances from `mean` of the values in blocks of a level."""
        sums = self._totals.level(level)
        if not level:
            return _sum([(value - mean) * (value - mean) for value in sums[start:end]])
        size: int = _BLOCK**level
        means = [total / size - mean for total in sums[start:end]]
        return _sum(self._within(level)[start:end]) + size * _sum([away * away for away in means])

    def _within(self, level: int) -> array[float]:
        """Return, for each whole block of a level, the squared distances from its own mean."""
        while len(self._squares) < level:
            self._squares.append(array("d"))
        found, sums, size = self._squares[level - 1], self._totals.level(level), int(_BLOCK**level)
        for block in range(len(found), len(sums)):
            mean, start = sums[block] / size, block * _BLOCK
            found.append(self._squares_about(mean, level - 1, start, start + _BLOCK))
        return found


class _Pyramid:
    """A growing column of numbers, and what blocks of them come to, so that a long stretch is quick."""

    def __init__(self, column: array[float], reduce: Callable[[Sequence[float]], float]) -> None:
        self._levels = [column]
        self._reduce = reduce

    @property
    def column(self) -> array[float]:
        """The numbers themselves, which may be appended to."""
        return self._levels[0]

    def replace(self, column: array[float]) -> None:
        """Go on with a column that has begun with the same numbers."""
        self._levels[0] = column

    def forget(self, count: int) -> None:
        """Drop what is above the first `count` numbers, whole blocks, which themselves are dropped after."""
        del self._levels[2:]  # what is above the first level is quickly made anew
        for blocks in self._levels[1:]:
            del blocks[: count // _BLOCK]

    def level(self, number: int) -> array[float]:
        """Return what each whole block of a level comes to; level 0 are the numbers themselves."""
        if not number:
            return self._levels[0]
        below = self.level(number - 1)
        if number == len(self._levels):
            self._levels.append(array("d"))
        found = self._levels[number]
        for start in range(len(found) * _BLOCK, len(below) - _BLOCK + 1, _BLOCK):
            found.append(self._reduce(below[start : start + _BLOCK]))
        return found

    def over(self, first: int, last: int) -> float:
        """Return what the numbers from the place `first` to before `last` come to."""
        if last - first <= 2 * _BLOCK:
            return self._reduce(self._levels[0][first:last])
        found: list[float] = []
        for level, start, end in pieces(first, last):
            found += self.level(level)[start:end]
        return self._reduce(found)


def pieces(first: int, last: int) -> list[tuple[int, int, int]]:
    """Return the places [first, last) as (level, start, end) of blocks, no more than a few hundred in all."""
    found = []
    level = 0
    while last - first > 2 * _BLOCK:
        whole, rest = -(-first // _BLOCK), last // _BLOCK
        found += [(level, first, whole * _BLOCK), (level, rest * _BLOCK, last)]
        first, last, level = whole, rest, level + 1
    return [*found, (level, first, last)]


class _Sorted:
    """The values of a stretch in order, which follows when the stretch moves on a little."""

    def __init__(self) -> None:
        self._first = self._last = 0
        self._values: list[float] = []

    def quantile(self, values: array[float], first: int, last: int, share: float) -> float:
        """Return the number below which a share (0 to 1) of values[first:last] is, between neighbours."""
        self._follow(values, first, last)
        place = share * (last - first - 1)
        below = math.floor(place)
        low = self._values[below]
        return low + (self._values[min(below + 1, last - first - 1)] - low) * (place - below)

    def forget(self, count: int) -> None:
        """Go on after the first `count` values were dropped."""
        if count > self._first:
            self._first = self._last = count
            self._values = []
        self._first -= count
        self._last -= count

    def _follow(self, values: array[float], first: int, last: int) -> None:
        new, old = last - self._last, first - self._first
        if new < 0 or old < 0 or new + old > _RESORT * len(self._values):
            self._values = sorted(values[first:last])
        else:
            for value in values[self._first : first]:
                del self._values[bisect_left(self._values, value)]
            for value in values[self._last : last]:
                insort(self._values, value)
        self._first, self._last = first, last


def _sum(values: Sequence[float]) -> float:
    """Return the exact sum, rounded once; infinite or NaN where it is beyond the numbers."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)
