"""What rules would have done: replayed over the stored history, told as intervals, days and messages.

Blocking, and long: the daemon calls it in a native thread. Silences are not applied; nothing is stored or
told.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from oculus.clock import DAY, SECOND, iso
from oculus.config.settings import RuleSettings
from oculus.errors import QueryTimeout
from oculus.hindsight.past_queries import PastQueries
from oculus.model import NO_TAGS, Micros, Severity, Transition
from oculus.notify import grouping
from oculus.rules.engine import RuleEngine
from oculus.rules.recorded import Recorded
from oculus.rules.replay import Replay
from oculus.rules.view import lookback
from oculus.storage import history

# Intervals of one rule in a result, the latest ones.
MOST_INTERVALS = 1_000

# A series that has had no sample for so long before the time in question is not known at its beginning.
KNOWN = 7 * DAY

# Rows that are fetched together. A fetch holds the interpreter: 20,000 rows for some 2 ms.
_ROWS = 20_000

_OPEN = "market_open"

# How many seconds a row stands for.
_WIDTHS = {"samples": 0.0, "1m": 60.0, "1h": 3_600.0}


@dataclass(frozen=True, slots=True)
class Interval:
    """One firing of an alert: when its condition began to hold, when it fired, and when it resolved (None:
    it fires still at the end)."""

    labels: Mapping[str, str]
    symbol: str | None
    pending_at: Micros
    started_at: Micros
    ended_at: Micros | None
    value: float | None
    explanation: str
    suppressed: str

    def seconds(self, until: Micros) -> float:
        """Return how long it fired."""
        return ((self.ended_at or until) - self.started_at) / SECOND


@dataclass(slots=True)
class Day:
    """A day in UTC: how many alerts fired, for how many seconds in all, and the messages sent."""

    date: str
    firings: int = 0
    seconds: float = 0.0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule did. `truncated` tells that only the latest of its intervals are here, `note` in what the
    replay was coarser than the daemon."""

    name: str
    condition: str
    severity: Severity
    firings: int
    seconds: float
    messages: int
    days: tuple[Day, ...]
    intervals: tuple[Interval, ...]
    truncated: bool
    health: str
    error: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Backtest:
    """What rules did from `since` to `until`, on which rows, and what it cost."""

    since: Micros
    until: Micros
    parts: tuple[history.Part, ...]
    evaluations: int
    seconds: float
    rules: tuple[RuleResult, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as the API tells it."""
        return {
            "from": iso(self.since),
            "to": iso(self.until),
            "resolution": [
                {"source": part.source, "from": iso(part.start), "to": iso(part.end)} for part in self.parts
            ],
            "evaluations": self.evaluations,
            "elapsed_ms": round(self.seconds * 1000, 3),
            "rules": [self._rule(rule) for rule in self.rules],
        }

    def _rule(self, rule: RuleResult) -> dict[str, Any]:
        return {
            "name": rule.name,
            "condition": rule.condition,
            "severity": rule.severity,
            "firings": rule.firings,
            "firing_seconds": round(rule.seconds, 3),
            "messages": rule.messages,
            "days": [
                {"date": day.date, "firings": day.firings, "firing_seconds": round(day.seconds, 3),
                 "messages": day.messages}
                for day in rule.days
            ],
            "intervals": [
                {
                    "labels": dict(found.labels),
                    "symbol": found.symbol,
                    "pending_at": iso(found.pending_at),
                    "started_at": iso(found.started_at),
                    "ended_at": None if found.ended_at is None else iso(found.ended_at),
                    "seconds": round(found.seconds(self.until), 3),
                    "value": found.value,
                    "explanation": found.explanation,
                    "suppressed": found.suppressed,
                }
                for found in rule.intervals
            ],
            "truncated": rule.truncated,
            "health": rule.health,
            "error": rule.error,
            "note": rule.note,
        }  # fmt: skip


def backtest(
    cursor: history.Cursor,
    rules: Sequence[RuleSettings],
    names: Collection[str] | None,
    since: Micros,
    until: Micros,
    every: Callable[[str], float] = lambda symbol: 0.0,
    limit: float | None = None,
) -> Backtest:
    """Replay rules over [since, until]; those named, or all, with those that they depend on.

    `every` gives the seconds between two samples of a series where that is configured; elsewhere it is what
    the samples show. Raises QueryTimeout when it takes more than `limit` seconds.
    """
    began = time.monotonic()

    def in_time() -> None:
        if limit is not None and time.monotonic() - began > limit:
            told = f"the backtest took longer than {limit:g} s and was ended (ask for less time, or one rule)"
            raise QueryTimeout(told)

    asked = [rule for rule in rules if names is None or rule.name in names]
    needed = _with_causes(asked, rules)
    # Before anything was stored nobody looked: nothing was absent then.
    start = min(max(since, history.begin(cursor)), until)
    replayed = History(cursor, needed, start, until, every)
    queries = PastQueries(cursor, needed, start, until, in_time)
    replay = Replay(
        needed, replayed.recorded, start, replayed.tags, queries.ask, queries.start, queries.spacing
    )  # fmt: skip
    told: dict[str, list[Transition]] = defaultdict(list)
    first = until
    for end, arrivals in replayed:
        if arrivals:
            first = min(first, Micros(arrivals[0][0]))
        for transition in replay.advance(end, arrivals):
            told[transition.rule].append(transition)
            in_time()
        in_time()
    results = []
    for settings in asked:
        rule = replay.engine.get(settings.name)
        assert rule is not None
        note = queries.note(settings, spaced=settings.name in replay.spaced)
        found = _result(settings, told[settings.name], start, until)
        results.append(replace(found, health=rule.health, error=rule.error, note=note))
    begin = max(start, first)
    parts = tuple(part._replace(start=max(part.start, begin)) for part in replayed.parts if part.end > begin)
    if not parts and queries.asked:
        parts = (history.Part("samples", queries.start, until),)
    return Backtest(since, until, parts, replay.evaluations, time.monotonic() - began, tuple(results))


def _with_causes(asked: Sequence[RuleSettings], rules: Sequence[RuleSettings]) -> list[RuleSettings]:
    """Return these rules and all that they depend on, in the order of `rules`."""
    by_name = {rule.name: rule for rule in rules}
    found: dict[str, None] = {}
    left = [rule.name for rule in asked]
    while left:
        name = left.pop()
        if name in by_name and name not in found:
            found[name] = None
            left += by_name[name].depends_on
    return [rule for rule in rules if rule.name in found]


class History:
    """The stored samples that rules read, fed in the order of time into `recorded`.

    Iterating yields times up to which all is recorded, with the times and symbols of what came.
    """

    def __init__(
        self,
        cursor: history.Cursor,
        rules: Sequence[RuleSettings],
        since: Micros,
        until: Micros,
        every: Callable[[str], float] = lambda symbol: 0.0,
    ) -> None:
        self._cursor = cursor
        self._until = until
        known = Micros(since - KNOWN)
        stored = history.symbols(cursor, known)
        engine = RuleEngine(rules)
        engine.know(stored)
        self._symbols = sorted(
            {
                symbol
                for rule in engine.rules
                for watched in rule.watched.values()
                for symbol in watched.symbols
            }
        )
        # Whether there is trade in what a quote is of stands in a series of its own.
        self._symbols += [name for symbol in self._symbols if (name := f"{symbol}.{_OPEN}") in stored]
        self._tags = {symbol: stored.get(symbol, NO_TAGS) for symbol in self._symbols}
        shown = history.intervals(cursor, self._symbols, known)
        self._own = {symbol: every(symbol) or shown.get(symbol, 0.0) for symbol in self._symbols}
        self._intervals = dict(self._own)
        self.recorded = Recorded(self._intervals, self._market_open)
        windows = [window.seconds for rule in engine.rules for window in rule.windows]
        longest = max(map(lookback, self._own.values()), default=0)
        # What is before the time in question, but read at its beginning.
        self._lead = int(max(windows, default=0.0) * SECOND) + longest
        self.parts = history.plan(cursor, self._symbols, Micros(since - self._lead), until)

    def tags(self, symbol: str) -> Mapping[str, str]:
        """Return the tags of a series."""
        return self._tags.get(symbol, NO_TAGS)

    def _market_open(self, symbol: str, now: Micros) -> bool | None:
        point = self.recorded.last(f"{symbol}.{_OPEN}")
        return None if point is None else point.value > 0

    def __iter__(self) -> Iterator[tuple[Micros, list[tuple[int, str]]]]:
        for chunk in history.chunks(self._cursor, self._symbols, self.parts, _ROWS):
            width = next(
                (_WIDTHS[part.source] for part in self.parts if part.start <= chunk.start < part.end), 0.0
            )
            # Rollups come no more often than they are wide.
            self._intervals.update({symbol: max(own, width) for symbol, own in self._own.items()})
            arrivals: list[tuple[int, str]] = []
            for symbol, rows in chunk.series.items():
                self.recorded.extend(
                    symbol, rows.ts, rows.values, rows.lows, rows.highs, rows.counts, rows.sums
                )
                arrivals += [(ts, symbol) for ts in rows.ts]
            arrivals.sort()
            yield Micros(chunk.end - 1), arrivals
            self.recorded.forget(Micros(chunk.end - self._lead))
        yield self._until, []


def _result(
    settings: RuleSettings, transitions: Sequence[Transition], since: Micros, until: Micros
) -> RuleResult:
    days = _Days(since, until)
    intervals: list[Interval] = []
    firing: dict[str, Transition] = {}
    for step in transitions:
        if step.state == "firing" and step.previous != "firing":
            firing[step.alert] = step
            days.at(step.ts).firings += 1
        elif step.previous == "firing" and step.state != "firing" and step.alert in firing:
            intervals.append(_interval(firing.pop(step.alert), step.ts))
    intervals += [_interval(step, None) for step in firing.values()]
    intervals.sort(key=lambda found: found.started_at)
    for found in intervals:
        days.spread(found.started_at, found.ended_at or until)
    messages = grouping.messages(transitions, until)
    for sent, *_ in messages:
        days.at(sent).messages += 1
    return RuleResult(
        name=settings.name,
        condition=settings.condition or settings.sql,
        severity=settings.severity,
        firings=len(intervals),
        seconds=sum(found.seconds(until) for found in intervals),
        messages=len(messages),
        days=days.all(),
        intervals=tuple(intervals[-MOST_INTERVALS:]),
        truncated=len(intervals) > MOST_INTERVALS,
        health="",
        error="",
    )


def _interval(step: Transition, ended_at: Micros | None) -> Interval:
    return Interval(
        step.labels, step.symbol, step.started_at, step.ts, ended_at, step.value, step.explanation,
        step.suppressed,
    )  # fmt: skip


@dataclass(slots=True)
class _Days:
    """The days from one time to another, by their number since 1970."""

    since: Micros
    until: Micros
    _days: dict[int, Day] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(self.since // DAY, self.until // DAY + 1):
            self._days[number] = Day(datetime.fromtimestamp(number * DAY / SECOND, UTC).date().isoformat())

    def at(self, ts: Micros) -> Day:
        """Return the day of a time."""
        return self._days[min(ts, self.until) // DAY]

    def spread(self, start: Micros, end: Micros) -> None:
        """Count a firing's seconds for the days that it falls on."""
        for number in range(start // DAY, end // DAY + 1):
            if number in self._days:
                first, last = max(start, number * DAY), min(end, (number + 1) * DAY)
                self._days[number].seconds += (last - first) / SECOND

    def all(self) -> tuple[Day, ...]:
        """Return them in order."""
        return tuple(self._days.values())
