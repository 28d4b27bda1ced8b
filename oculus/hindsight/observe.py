"""How conditions went over recorded history: how often they held, could not be told, and for how long.

Simpler than a backtest, and with no alerts: a condition is looked at with each sample of its series, and
right before it, when a value is oldest. What a rollup hides in its interval is looked for as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.rules.recorded import Recorded
from oculus.rules.rule import Rule, Watched
from oculus.rules.view import STALE_AFTER, Point, View
from oculus.windowed import Reduction, Window

# The window that holds one row: no two of a series are closer.
_ROW = 1e-6  # seconds
_BOTH: tuple[Reduction, ...] = ("min", "max")


@dataclass(slots=True)
class Seen:
    """What one alert's condition came to; `longest` is the longest time for which it held, in seconds.

    `peaked` and `dipped` tell that it held, or did not, within the interval of a rollup. `until_held` counts
    when its rule's `until` held, of `until_known`. `lowest` and `highest` are of the number that it is about,
    as long as it has not held. `at` is the last look, and `verdict` what it came to.
    """

    held: int = 0
    failed: int = 0
    unknown: int = 0
    peaked: bool = False
    dipped: bool = False
    longest: float = 0.0
    until_held: int = 0
    until_known: int = 0
    lowest: float | None = None
    highest: float | None = None
    _since: Micros | None = None
    at: Micros = Micros(0)
    verdict: bool | None = None

    @property
    def moments(self) -> int:
        """How often it was looked at."""
        return self.held + self.failed + self.unknown

    def note(self, at: Micros, holds: bool | None) -> None:
        """Take a verdict."""
        self.at, self.verdict = at, holds
        if not holds:
            self._since = None
            self.failed += holds is False
            self.unknown += holds is None
            return
        self.held += 1
        if self._since is None:
            self._since = at
        self.longest = max(self.longest, (at - self._since) / SECOND)

    def note_value(self, value: float | None) -> None:
        """Take the number that the condition is about."""
        if value is not None:
            self.lowest = value if self.lowest is None else min(self.lowest, value)
            self.highest = value if self.highest is None else max(self.highest, value)


@dataclass(slots=True)
class Observer:
    """Looks at the conditions of rules, whose instances are known, from `start` on."""

    rules: Sequence[Rule]
    recorded: Recorded
    start: Micros
    seen: dict[str, dict[str, Seen]] = field(default_factory=dict)  # by rule and instance
    _extreme: _Extreme = field(init=False)

    def __post_init__(self) -> None:
        self._extreme = _Extreme(self.recorded)
        for rule in self.rules:
            self.seen[rule.settings.name] = {key: Seen() for key in rule.watched}

    def take(self, arrivals: Iterable[tuple[int, str]], *, coarse: bool) -> None:
        """Look at all that samples concern which are recorded by now: their times and symbols, in order.

        `coarse` tells that they stand for intervals.
        """
        times: dict[str, list[int]] = defaultdict(list)
        for ts, symbol in arrivals:
            if ts >= self.start:
                times[symbol].append(ts)
        for rule in self.rules:
            for key, watched in rule.watched.items():
                moments = sorted({ts for symbol in watched.symbols for ts in times.get(symbol, ())})
                seen = self.seen[rule.settings.name][key]
                self._follow(rule, watched, seen, moments, coarse=coarse)

    def _follow(
        self, rule: Rule, watched: Watched, seen: Seen, moments: Sequence[int], *, coarse: bool
    ) -> None:
        """Look at one alert's condition at these moments, and right before each."""
        still = _still(rule, watched)
        for ts in moments:
            if seen.moments and ts - 1 > seen.at:
                if still and ts - seen.at <= STALE_AFTER:  # nothing can have changed
                    seen.note(Micros(ts - 1), seen.verdict)
                else:
                    self._look(watched, seen, Micros(ts - 1))
            self._look(watched, seen, Micros(ts))
            if not seen.held:
                seen.note_value(watched.bound.value(self.recorded))
            if coarse and not (seen.peaked and seen.dipped):
                self._within(watched, seen)

    def finish(self, until: Micros) -> None:
        """Look at all for the last time, when values are as old as they get."""
        for rule in self.rules:
            for key, watched in rule.watched.items():
                seen = self.seen[rule.settings.name][key]
                if seen.moments:
                    self._look(watched, seen, until)

    def _look(self, watched: Watched, seen: Seen, at: Micros) -> None:
        self.recorded.now = at
        seen.note(at, watched.bound.evaluate(self.recorded))
        if watched.until is not None:
            clear = watched.until.evaluate(self.recorded)
            seen.until_known += clear is not None
            seen.until_held += clear is True

    def _within(self, watched: Watched, seen: Seen) -> None:
        """Look at the extremes of the rollups that end now."""
        for symbol in watched.symbols:
            for reduction in _BOTH:
                value = self.recorded.window(Window(reduction, symbol, _ROW))
                if value is not None:
                    self._extreme.override(symbol, value)
                    holds = watched.bound.evaluate(self._extreme)
                    seen.peaked |= holds is True
                    seen.dipped |= holds is False
                    seen.note_value(watched.bound.value(self._extreme))


def _still(rule: Rule, watched: Watched) -> bool:
    """Tell whether a condition stays what it is until the next sample, or until a value is stale."""
    parts = [part for part in (rule.condition, rule.until) if part is not None]
    return not watched.windows and not any(part.passing for part in parts)


class _Extreme(View):
    """The recorded view with another last value of one series."""

    def __init__(self, recorded: Recorded) -> None:
        self._recorded = recorded
        self._symbol = ""
        self._value = 0.0

    def override(self, symbol: str, value: float) -> None:
        """Let the last value of a series be another."""
        self._symbol, self._value = symbol, value

    @property
    def now(self) -> Micros:
        return self._recorded.now

    def last(self, symbol: str) -> Point | None:
        point = self._recorded.last(symbol)
        return point if point is None or symbol != self._symbol else point._replace(value=self._value)

    def interval(self, symbol: str) -> float:
        return self._recorded.interval(symbol)

    def window(self, window: Window) -> float | None:
        return self._recorded.window(window)

    def market_open(self, symbol: str) -> bool | None:
        return self._recorded.market_open(symbol)


def together(seen: Mapping[str, Seen]) -> Seen:
    """Return what all alerts of a rule came to, taken together."""
    total = Seen()
    for each in seen.values():
        for name in ("held", "failed", "unknown", "until_held", "until_known"):
            setattr(total, name, getattr(total, name) + getattr(each, name))
        total.peaked |= each.peaked
        total.dipped |= each.dipped
        total.longest = max(total.longest, each.longest)
        total.note_value(each.lowest)
        total.note_value(each.highest)
    return total
