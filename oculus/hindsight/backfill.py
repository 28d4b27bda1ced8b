"""The history of derived values: what their formulas would have made of all that is stored.

At each whole interval of the wall clock, as the daemon computes them, and only where a series has no value
yet: what was measured or computed stays. Where only rollups are left there is one value at the end of each
bucket at most, and where a bucket of the series itself is left there is none.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, repeat
from operator import itemgetter

from oculus.clock import SECOND
from oculus.config.decode import did_you_mean
from oculus.config.settings import DerivedSettings
from oculus.errors import ConfigError
from oculus.hindsight.step import Every, Step, Steps, nowhere, share
from oculus.model import Micros, Sample
from oculus.rules.derived import Derived, compute, ordered, parse
from oculus.rules.recorded import Recorded
from oculus.rules.view import lookback
from oculus.storage import history
from oculus.storage.history import Chunk, Columns, Part
from oculus.storage.ingest import read_marks
from oculus.storage.tiers import HOUR, MINUTE, floor

# Samples that are passed on together: a quarter of the smallest queue that can be configured.
RUN = 250

# Rows that are fetched together; a fetch holds the interpreter.
ROWS = 20_000

# All that is kept is read in its finest form, whatever its number: little of it is in memory at a time.
_ALL = 10**12

_WIDTHS = {"samples": 0, "1m": MINUTE, "1h": HOUR}


@dataclass(slots=True)
class Taken:
    """When a series has values already: the times of its samples, and the buckets of which only rollups are
    left."""

    times: set[int] = field(default_factory=set)
    minutes: set[int] = field(default_factory=set)
    hours: set[int] = field(default_factory=set)

    def __contains__(self, ts: int) -> bool:
        return (
            ts in self.times
            or (bool(self.minutes) and ts - ts % MINUTE in self.minutes)
            or (bool(self.hours) and ts - ts % HOUR in self.hours)
        )


class Backfill:
    """Derived values on their way through the past, from `at` on.

    Pure: chunks of history come in by `take`, in the order of time, and samples come out.
    """

    def __init__(self, derived: Sequence[Derived], intervals: Mapping[str, float], start: Micros) -> None:
        """`derived` are `ordered`; `intervals` are the seconds between samples of what they read."""
        self._derived = derived
        self._names = {found.settings.name for found in derived}
        self._own = {
            **intervals,
            **{found.settings.name: float(found.settings.interval) for found in derived},
        }
        self._intervals = dict(self._own)
        self._recorded = Recorded(self._intervals)
        self._begun = False
        self.at = start  # all before is done
        windows = (window.seconds for found in derived for window in found.windows)
        longest = max(map(lookback, self._own.values()), default=0)
        self.lead = int(max(windows, default=0.0) * SECOND) + longest  # microseconds that are looked back

    def take(self, chunk: Chunk, width: int = 0, taken: Mapping[str, Taken] = {}) -> Iterator[list[Sample]]:
        """Go on to the end of a chunk; yield what was computed, RUN samples at a time.

        `width` is that of its rollups in microseconds, 0 for samples; `taken` tells for each derived series
        where it has values from `at` to the end of the chunk.
        """
        # A rollup comes no more often than it is wide.
        self._intervals.update({symbol: max(own, width / SECOND) for symbol, own in self._own.items()})
        for symbol, rows in chunk.series.items():
            if symbol not in self._names:
                self._recorded.extend(
                    symbol, rows.ts, rows.values, rows.lows, rows.highs, rows.counts, rows.sums
                )
        there = _There(
            self._recorded, {name: chunk.series[name] for name in self._names & chunk.series.keys()}
        )
        first = min((rows.ts[0] for rows in chunk.series.values() if rows.ts), default=chunk.end)
        # Where nothing was stored for long nobody looked, and nothing would have been computed.
        reach = Micros(min(chunk.end, self.at + self.lead)) if self._begun else self.at
        run: list[Sample] = []
        for begin, end in ((self.at, reach), (max(reach, Micros(first)), chunk.end)):
            self.at = begin
            for ts, due in self._turns(end, width):
                there.record(ts)
                self._recorded.now = ts
                missing = [found for found in due if ts not in taken.get(found.settings.name, ())]
                for sample in compute(missing, self._recorded):
                    self._recorded.add(sample.symbol, ts, sample.value)
                    run.append(sample)
                if len(run) >= RUN:
                    yield run
                    run = []
        there.record(chunk.end)
        self.at = max(self.at, chunk.end)
        self._begun |= first < chunk.end
        self._recorded.forget(Micros(chunk.end - self.lead))
        if run:
            yield run

    def _turns(self, end: Micros, width: int) -> Iterator[tuple[Micros, list[Derived]]]:
        """Yield the times from `at` to before `end` at which values are due, and which."""
        turns = []
        for place, found in enumerate(self._derived):
            every = int(found.settings.interval * SECOND)
            every *= max(1, -(-width // every))
            turns.append(zip(range(-(-self.at // every) * every, end, every), repeat(place), strict=False))
        for ts, group in groupby(merge(*turns), key=itemgetter(0)):
            yield Micros(ts), [self._derived[place] for _, place in group]


class _There:
    """Stored rows of the derived series: recorded as time goes on, since what is computed comes between."""

    def __init__(self, recorded: Recorded, series: Mapping[str, Columns]) -> None:
        self._recorded = recorded
        self._series = series
        self._next = dict.fromkeys(series, 0)

    def record(self, until: Micros) -> None:
        """Record all up to a time."""
        for symbol, rows in self._series.items():
            place = self._next[symbol]
            end = bisect_right(rows.ts, until, place)
            if end > place:
                self._recorded.extend(
                    symbol,
                    rows.ts[place:end],
                    rows.values[place:end],
                    rows.lows and rows.lows[place:end],
                    rows.highs and rows.highs[place:end],
                    rows.counts and rows.counts[place:end],
                    rows.sums and rows.sums[place:end],
                )
                self._next[symbol] = end


def chosen(settings: Iterable[DerivedSettings], names: Collection[str]) -> list[Derived]:
    """Return the derived values of these names, or all, with those that they are made of, in their order.

    Raises ConfigError for a name that is none.
    """
    every = {found.settings.name: found for found in ordered(map(parse, settings))}
    wrong = [
        f"no derived value is called {name!r}{did_you_mean(name, every)}"
        for name in names
        if name not in every
    ]
    if wrong:
        raise ConfigError(wrong)
    wanted: set[str] = set()
    left = list(names or every)
    while left:
        name = left.pop()
        if name in every and name not in wanted:
            wanted.add(name)
            left += every[name].formula.symbols
    return [found for name, found in every.items() if name in wanted]


def backfill(
    cursor: history.Cursor,
    derived: Sequence[Derived],
    since: Micros,
    until: Micros,
    every: Every = nowhere,
) -> Steps:
    """Compute what derived values lack in [since, until); the samples of a step must be stored by the caller.

    `every` gives the seconds between two samples of a series where that is configured; elsewhere it is what
    the samples show. Blocking, and long.
    """
    names = [found.settings.name for found in derived]
    symbols = sorted({*names, *(symbol for found in derived for symbol in found.formula.symbols)})
    shown = history.intervals(cursor, symbols, since)
    done = Backfill(derived, {symbol: every(symbol) or shown[symbol] for symbol in symbols}, since)
    written = dict.fromkeys(names, 0)
    for part in history.plan(cursor, symbols, Micros(since - done.lead), until, _ALL):
        for chunk in history.chunks(cursor, symbols, [part], ROWS):
            before = taken(cursor, names, done.at, chunk.end)
            for samples in done.take(chunk, _WIDTHS[part.source], before):
                for sample in samples:
                    written[sample.symbol] += 1
                yield Step(share(samples[-1].ts or since, since, until), samples)
            yield Step(share(chunk.end, since, until))
    if done.at < until:
        before = taken(cursor, names, done.at, until)
        for samples in done.take(Chunk(done.at, until, {}), 0, before):
            for sample in samples:
                written[sample.symbol] += 1
            yield Step(1.0, samples)
    yield Step(1.0, result={"written": written})


def taken(cursor: history.Cursor, names: Sequence[str], start: Micros, end: Micros) -> dict[str, Taken]:
    """Return where some series have values in [start, end)."""
    found = {name: Taken() for name in names}
    if start >= end:
        return found
    for chunk in history.chunks(cursor, names, [Part("samples", start, end)], ROWS):
        for name, rows in chunk.series.items():
            found[name].times.update(rows.ts)
    kept = read_marks(cursor).kept
    # Of what is still there as samples the rollups say nothing more.
    for source, width, limit in (("1m", MINUTE, kept["metrics"]), ("1h", HOUR, kept["rollup_1m"])):
        part = Part(source, floor(start, width), Micros(-(-min(end, limit) // width) * width))
        if part.start < part.end:
            for chunk in history.chunks(cursor, names, [part], ROWS):
                for name, rows in chunk.series.items():
                    buckets = found[name].minutes if source == "1m" else found[name].hours
                    buckets.update(ts - ts % width for ts in rows.ts)
    return found
