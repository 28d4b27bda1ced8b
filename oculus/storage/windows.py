"""Figures over windows of many series at once, in a few queries. Blocking calls over a cursor.

Average, lowest, highest, sum and count come from rollups where these lie in the window as a whole, and from
samples for the rest of it: the result is that of all samples. An hour with a late sample, which its rollups
do not have yet, is read from samples. Deviation, quantile, rate and base always are.

Where retention has deleted the samples, only the rollups count that lie in the window as a whole; deviation,
quantile and rate are those of the samples that are left; and a base is the last number of the newest rollup
that was over by then, its look-back longer by the width of that rollup.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import duckdb

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.storage.ingest import read_marks
from oculus.storage.tiers import HIGH, HOUR, LOW, MINUTE, TIERS, Marks, Tier, floor, shard_of
from oculus.windowed import Window

Cursor = duckdb.DuckDBPyConnection

# Shorter windows are read from samples alone: these are few, and the newest have no rollup yet.
_ROLLED = 15 * MINUTE

# What begins at about the same age is read together, and what is short apart from what is long, so that a
# query about minutes reads no days: the ages, in microseconds, at which one group ends and the next begins.
_AGES = (2 * HOUR, 26 * HOUR)

# For more series than this the rows of all are read: a longer list takes longer than it saves.
_MOST_SHARDS = 400

# Quantiles hold all their values in memory: of so much time of series at once, a million at one every 30 s.
_MOST_RANKED = 350 * DAY

_SAMPLES = "metrics"


@dataclass(slots=True)
class _Span:
    """Windows over the same rows, those of a series in [start, end), and what was found out about these."""

    symbol: str
    start: Micros
    end: Micros
    windows: list[Window] = field(default_factory=list)
    count: int = 0
    sum: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    spread: float | None = None
    ranked: Mapping[float, float] = field(default_factory=dict)  # quantiles by parameter
    last: float | None = None
    rate: float | None = None  # per second

    def asks(self, reduction: str) -> bool:
        """Tell whether one of its windows is of this reduction."""
        return any(window.reduction == reduction for window in self.windows)

    def figure(self, window: Window) -> float | None:
        """Return one of its windows' figure; what is beyond the numbers is unknown."""
        found = self._figure(window)
        return found if found is not None and math.isfinite(found) else None

    def _figure(self, window: Window) -> float | None:
        match window.reduction:
            case "count":
                return float(self.count)
            case "sum":
                return self.sum if self.count else None
            case "avg":
                return self.sum / self.count if self.count else None
            case "min":
                return self.low
            case "max":
                return self.high
            case "stddev":
                return self.spread
            case "quantile":
                return self.ranked.get(window.parameter)
            case "base":
                return self.last
            case "rate":
                return self.rate


class _Stretch(NamedTuple):
    """The rows in [start, end) of a relation that count for a span."""

    span: _Span
    start: Micros
    end: Micros


def figures(
    cursor: Cursor, wanted: Collection[Window], now: Micros, lookbacks: Mapping[str, int]
) -> dict[Window, float | None]:
    """Return each of these figures as of `now`; None is unknown.

    `lookbacks` tells, for each series of which a base is wanted, how old a value may be, in microseconds.
    """
    cursor.execute("begin transaction read only")
    try:
        return _Fetch(cursor, now, lookbacks).figures(wanted)
    finally:
        cursor.execute("rollback")


class _Fetch:
    """One pass over the store, in one transaction, so that all of its queries see the same rows and marks."""

    def __init__(self, cursor: Cursor, now: Micros, lookbacks: Mapping[str, int]) -> None:
        self._cursor = cursor
        self._now = now
        self._lookbacks = lookbacks
        self._marks = read_marks(cursor)

    def figures(self, wanted: Collection[Window]) -> dict[Window, float | None]:
        """Return all figures."""
        rolled, whole, ordered = self._spans(set(wanted))
        late = self._late_hours(rolled)
        stretches: dict[str, list[_Stretch]] = defaultdict(list)
        for span in rolled:
            for relation, start, end in cover(
                span.start, span.end, self._marks, late.get(span.symbol, set())
            ):
                stretches[relation].append(_Stretch(span, start, end))
        stretches[_SAMPLES] += self._of_samples(whole)
        for relation, found in stretches.items():
            # All hours are as quickly read as some.
            for group in [found] if relation == TIERS[-1].view else self._groups(found):
                self._read(relation, group)
        for group in self._groups(self._of_samples(ordered)):
            self._read_in_order(group)
        for tier in TIERS:
            self._read_bases(tier, [span for span in ordered if span.last is None and span.asks("base")])
        return {
            window: span.figure(window) for span in (*rolled, *whole, *ordered) for window in span.windows
        }

    # -- what to read ---------------------------------------------------------------------------------

    def _spans(self, wanted: set[Window]) -> tuple[list[_Span], list[_Span], list[_Span]]:
        """Return the spans that rollups may answer, those that need each sample, and in the order of time."""
        rolled: dict[tuple[str, Micros], _Span] = {}
        whole: dict[tuple[str, Micros], _Span] = {}
        ordered: dict[tuple[str, Micros, Micros], _Span] = {}
        after = Micros(self._now + 1)  # what is at `now` counts
        sums = []
        for window in wanted:
            symbol, at = window.symbol, Micros(self._now - round(window.seconds * SECOND))
            start = Micros(at + 1)
            match window.reduction:
                case "base":
                    span = _Span(symbol, Micros(at - self._lookbacks[symbol]), start)
                    ordered.setdefault((symbol, span.start, span.end), span).windows.append(window)
                case "rate":
                    span = _Span(symbol, start, after)
                    ordered.setdefault((symbol, start, after), span).windows.append(window)
                case "stddev" | "quantile":
                    whole.setdefault((symbol, start), _Span(symbol, start, after)).windows.append(window)
                case _:
                    sums.append((window, start))
        for window, start in sums:
            key = window.symbol, start
            # What is read anyway, for another figure or because it is short, needs no rollup.
            read = key in whole or start > self._now - _ROLLED
            spans = whole if read and start >= self._marks.kept[_SAMPLES] else rolled
            spans.setdefault(key, _Span(*key, after)).windows.append(window)
        return list(rolled.values()), list(whole.values()), list(ordered.values())

    def _late_hours(self, spans: Collection[_Span]) -> dict[str, set[Micros]]:
        """Return the hours of which samples came after they were rolled up, by symbol."""
        if not spans:
            return {}
        rows = self._cursor.execute(
            f"""select distinct symbol, epoch_us(ts) // {HOUR} * {HOUR} as hour from oculus_late
            where ts >= make_timestamptz($start) and symbol in (select unnest($symbols::varchar[]))""",
            {
                "start": floor(min(span.start for span in spans), HOUR),
                "symbols": list({span.symbol for span in spans}),
            },
        ).fetchall()
        found: dict[str, set[Micros]] = defaultdict(set)
        for symbol, hour in rows:
            found[symbol].add(Micros(hour))
        return found

    def _of_samples(self, spans: Collection[_Span]) -> list[_Stretch]:
        """Return the stretches of samples for these spans, as far as samples are kept."""
        kept = self._marks.kept[_SAMPLES]
        found = (_Stretch(span, max(span.start, kept), span.end) for span in spans)
        return [stretch for stretch in found if stretch.start < stretch.end]

    def _groups(self, stretches: Collection[_Stretch]) -> Iterator[list[_Stretch]]:
        """Yield them in groups, each for one query."""
        groups: dict[tuple[bool, int], list[_Stretch]] = defaultdict(list)
        for stretch in stretches:
            long = stretch.end - stretch.start > _AGES[0]
            groups[long, sum(self._now - stretch.start > age for age in _AGES)].append(stretch)
        yield from groups.values()

    # -- queries --------------------------------------------------------------------------------------

    def _read(self, relation: str, stretches: Sequence[_Stretch]) -> None:
        """Add what these rows say to their spans."""
        held = sum(stretch.end - stretch.start for stretch in stretches if stretch.span.asks("quantile"))
        if held > _MOST_RANKED and len(stretches) > 1:
            middle = len(stretches) // 2
            self._read(relation, stretches[:middle])
            self._read(relation, stretches[middle:])
            return
        spread = [stretch.span.asks("stddev") for stretch in stretches]
        ranked = [stretch.span.asks("quantile") for stretch in stretches]
        parameters = sorted(
            {
                window.parameter
                for stretch in stretches
                for window in stretch.span.windows
                if window.reduction == "quantile"
            }
        )
        asked = {"spread": ("boolean", spread), "ranked": ("boolean", ranked)}
        alike = _alike(stretches) and len({*zip(spread, ranked, strict=True)}) == 1
        if relation == _SAMPLES:
            some = ("", "") if alike else ("filter (spread)", "filter (ranked)")
            columns = [f"count(*), sum(value), min({LOW}), max({HIGH})"]
            columns.append(f"stddev_pop(value) {some[0]}" if any(spread) else "null")
            listed = ", ".join(f"{parameter!r}::double" for parameter in parameters)
            columns.append(f"quantile_cont(value, [{listed}]) {some[1]}" if parameters else "null")
        else:
            columns, asked = ["sum(count)::bigint, sum(sum), min(low), max(high), null, null"], {}
        if alike:
            key, (rows, bound) = "held.symbol", _selected(relation, stretches)
        else:
            key, (rows, bound) = "number", _joined(relation, stretches, asked)
        found = self._cursor.execute(f"select {key}, {', '.join(columns)} {rows} group by {key}", bound)
        places = {stretch.span.symbol if alike else place: stretch for place, stretch in enumerate(stretches)}
        for place, count, total, low, high, deviation, quantiles in found.fetchall():
            span = places[place].span
            span.count += count
            span.sum += total
            span.low, span.high = min(span.low, low), max(span.high, high)
            span.spread = deviation
            span.ranked = dict(zip(parameters, quantiles or (), strict=False))

    def _read_in_order(self, stretches: Sequence[_Stretch]) -> None:
        """Tell these spans their newest value, and how fast it grew."""
        rows, bound = _joined(_SAMPLES, stretches)
        # Samples of one moment are in the order of their arrival.
        found = self._cursor.execute(
            f"""select number, arg_max(value, place), sum(value - if(value < before, 0, before)) as increase,
                epoch_us(max(moment)) - epoch_us(min(moment)) as took
            from (select number, value, held.ts as moment, row_number() over line as place,
                    lag(value) over line as before
                {rows} window line as (partition by number order by held.ts, held.rowid))
            group by number""",
            bound,
        )
        for number, last, increase, took in found.fetchall():
            span = stretches[number].span
            span.last = last
            span.rate = None if increase is None or not took else increase / (took / SECOND)

    def _read_bases(self, tier: Tier, spans: Collection[_Span]) -> None:
        """Take the base of spans from rollups where what these were built of is gone."""
        stretches = [
            # From a bucket that was over at the start of the look-back at most its width ago, to the last
            # that is over at its end.
            _Stretch(span, Micros(span.start - 2 * tier.width + 1), Micros(span.end - tier.width + 1))
            for span in spans
            if span.start < self._marks.kept[tier.source_table]
        ]
        if stretches:
            rows, bound = _joined(tier.view, stretches)
            found = self._cursor.execute(
                f"select number, arg_max(close, held.ts) {rows} group by number", bound
            )
            for number, last in found.fetchall():
                stretches[number].span.last = last


def _joined(
    relation: str, stretches: Sequence[_Stretch], columns: Mapping[str, tuple[str, list[Any]]] = {}
) -> tuple[str, dict[str, Any]]:
    """Return a FROM clause with the rows of each stretch as `held`, and its values.

    `number` is the stretch's place; `columns` are further ones by name, with their type.
    """
    asked = {
        "number": ("integer", list(range(len(stretches)))),
        "name": ("varchar", [stretch.span.symbol for stretch in stretches]),
        "since": ("bigint", [stretch.start for stretch in stretches]),
        "until": ("bigint", [stretch.end for stretch in stretches]),
        **columns,
    }
    bound: dict[str, Any] = {name: values for name, (_, values) in asked.items()}
    bound["first"] = min(stretch.start for stretch in stretches)
    bound["last"] = max(stretch.end for stretch in stretches)
    lists = ", ".join(f"unnest(${name}::{kind}[]) as {name}" for name, (kind, _) in asked.items())
    within = among({stretch.span.symbol for stretch in stretches})
    numbers_only = "and value is not null and not isnan(value)" if relation == _SAMPLES else ""
    return (
        f"""from {relation} as held join (select {lists}) as asked on held.symbol = asked.name
            and held.ts >= make_timestamptz(asked.since) and held.ts < make_timestamptz(asked.until)
        where held.ts >= make_timestamptz($first) and held.ts < make_timestamptz($last)
            {within} {numbers_only}""",
        bound,
    )


def _alike(stretches: Sequence[_Stretch]) -> bool:
    """Tell whether all stretches are from the same time to the same, each of another series."""
    times = {(stretch.start, stretch.end) for stretch in stretches}
    return len(times) == 1 and len({stretch.span.symbol for stretch in stretches}) == len(stretches)


def _selected(relation: str, stretches: Sequence[_Stretch]) -> tuple[str, dict[str, Any]]:
    """Return a FROM clause with the rows of stretches that are alike, and its values.

    A join would look at the times of each row once more: a quarter of all that it takes.
    """
    names = [stretch.span.symbol for stretch in stretches]
    numbers_only = "and value is not null and not isnan(value)" if relation == _SAMPLES else ""
    return (
        f"""from {relation} as held
        where held.ts >= make_timestamptz($first) and held.ts < make_timestamptz($last)
            and held.symbol in (select unnest($names::varchar[])) {among(names)} {numbers_only}""",
        {"first": stretches[0].start, "last": stretches[0].end, "names": names},
    )


def among(symbols: Collection[str]) -> str:
    """Return what a WHERE clause adds so that rows of other series are mostly skipped, if that is quicker."""
    shards = sorted({shard_of(symbol) for symbol in symbols})
    return f"and shard in (0, {', '.join(map(str, shards))})" if 0 < len(shards) <= _MOST_SHARDS else ""


def cover(
    start: Micros, end: Micros, marks: Marks, late: Collection[Micros]
) -> Iterator[tuple[str, Micros, Micros]]:
    """Yield who answers for [start, end), as (relation, start, end): rollups where they can, else samples.

    `late` are the hours whose rollups lack samples. What is before the samples that are kept, and in no
    rollup as a whole, is left out.
    """
    kept = marks.kept[_SAMPLES]
    missing = {hour for hour in late if hour >= kept}
    rest = [(start, end)]
    for tier in reversed(TIERS):
        pieces, rest = rest, []
        for first, last in pieces:
            at = first
            known = max(first, marks.kept[tier.table]), min(last, marks.built[tier.table])
            # Old samples of few series are found as quickly as their minutes: one query less.
            if tier.width == HOUR or last == end or first < kept:
                for begin, stop in _runs(*known, tier.width, missing):
                    yield tier.view, begin, stop
                    if begin > at:
                        rest.append((at, begin))
                    at = stop
            if last > at:
                rest.append((at, last))
    for first, last in rest:
        if last > kept:
            yield _SAMPLES, max(first, kept), last


def _runs(
    start: Micros, end: Micros, width: int, missing: Collection[Micros]
) -> Iterator[tuple[Micros, Micros]]:
    """Yield the runs of whole buckets of [start, end) that are in no hour that is missing."""
    at = floor(Micros(start + width - 1), width)
    stop = floor(end, width)
    for hour in sorted(hour for hour in missing if at - HOUR < hour < stop):
        if hour > at:
            yield at, hour
        at = max(at, Micros(hour + HOUR))
    if at < stop:
        yield at, stop
