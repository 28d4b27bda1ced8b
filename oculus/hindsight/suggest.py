"""Which threshold suits a series: quantiles of what is stored, each tried out over the same history.

Of a counter its growth is looked at, of a series that is 0 or 1 how long it stays at the rarer of the two.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oculus.clock import SECOND, iso
from oculus.config import rule_yaml
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.errors import QueryError
from oculus.hindsight.backtest import Backtest, History, RuleResult, backtest
from oculus.hindsight.step import Every, Step, Steps, nowhere
from oculus.model import NO_TAGS, Micros, slug, unit_of
from oculus.storage import history

# Durations that people write, for `for`.
_ROUND = (30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0, 86_400.0)

# An alert is confirmed by this many samples more.
_CONFIRMED = 3

# An alert once a week is one that is still looked at.
_WEEK = 7 * 86_400.0  # seconds

# A series that grows from most samples to the next, and falls from hardly any, is a counter.
_GROWS = 0.5
_FALLS = 0.002
_LEAST_GROWTH = 20  # samples
# … unless its unit says that it is none: a share, or a time.
_NO_COUNTERS = ("%", "ms", "s", "days")

# What is bad when it is low, by the last part of the name.
_LOW_IS_BAD = ("up", "cert_days", "expiry_days", "free_bytes", "available_bytes", "uptime", "battery_percent")
# Units of what is bad when it is high.
_HIGH_IS_BAD = ("ms", "%", "/s", "code")

_ABOVE = ((0.99, "99 % are below"), (0.999, "99.9 % are below"), (1.0, "higher than ever"))
_BELOW = ((0.01, "99 % are above"), (0.001, "99.9 % are above"), (0.0, "lower than ever"))


@dataclass(slots=True)
class Values:
    """The numbers of a series, of which each may stand for several samples."""

    numbers: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    lowest: float = math.inf
    highest: float = -math.inf
    grown: int = 0
    fallen: int = 0

    def add(self, value: float, weight: int = 1, low: float | None = None, high: float | None = None) -> None:
        """Take the next number in, with the extremes that it stands for."""
        if self.numbers:
            self.grown += value > self.numbers[-1]
            self.fallen += value < self.numbers[-1]
        self.numbers.append(value)
        self.weights.append(weight)
        self.lowest = min(self.lowest, value if low is None else low)
        self.highest = max(self.highest, value if high is None else high)

    @property
    def counter(self) -> bool:
        """Whether it only grows, resets apart."""
        steps = len(self.numbers) - 1
        grows = self.grown >= _GROWS * steps and self.fallen <= _FALLS * steps
        return steps >= _LEAST_GROWTH and grows and self.lowest >= 0

    @property
    def binary(self) -> bool:
        """Whether it is 0 or 1."""
        return self.lowest >= 0 and self.highest <= 1 and all(value in (0.0, 1.0) for value in self.numbers)

    def ranked(self) -> tuple[list[float], list[int]]:
        """Return the numbers in order, and how many samples each and all before it stand for."""
        total, sums = 0, []
        order = sorted(range(len(self.numbers)), key=self.numbers.__getitem__)
        for place in order:
            total += self.weights[place]
            sums.append(total)
        return [self.numbers[place] for place in order], sums


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule that may suit: `above` tells the direction, None where there is none."""

    rule: RuleSettings
    why: str
    above: bool | None = None


def suggest(
    cursor: history.Cursor, symbol: str, since: Micros, until: Micros, every: Every = nowhere
) -> Steps:
    """Try rules about a series out over [since, until); the last step has them, and the one that suits best.

    Raises QueryError when there are no samples.
    """
    values, first = Values(), until
    parts = history.plan(cursor, [symbol], since, until)
    for chunk in history.chunks(cursor, [symbol], parts):
        rows = chunk.series.get(symbol)
        for place in range(len(rows.ts) if rows else 0):
            assert rows is not None
            first = Micros(min(first, rows.ts[place]))
            values.add(
                rows.values[place],
                rows.counts[place] if rows.counts else 1,
                rows.lows[place] if rows.lows else None,
                rows.highs[place] if rows.highs else None,
            )
        yield Step(0.0)
    if not values.numbers:
        raise QueryError(f"no sample of {symbol} is stored since {iso(since)} (see oculus query, or --since)")
    interval = every(symbol) or history.intervals(cursor, [symbol], since)[symbol]
    subject = symbol
    tags = history.symbols(cursor, since).get(symbol, NO_TAGS)
    if values.counter and unit_of(symbol, tags) not in _NO_COUNTERS:
        window = _round(max(10 * interval, 300.0))
        subject = f"rate({symbol}, {_written(window)})"
        values = _growth(cursor, subject, since, until, every)
        yield Step(0.2)
    tried = candidates(symbol, subject, values, interval)
    rules = [candidate.rule for candidate in tried]
    found = backtest(cursor, rules, None, since, until, every)
    yield Step(0.9)
    results = {result.name: result for result in found.rules}
    best = chosen(tried, results, (until - first) / SECOND, high_is_bad(symbol, tags, values))
    yield Step(1.0, result=_told(symbol, subject, values, tried, found, best))


def candidates(symbol: str, subject: str, values: Values, interval: float) -> list[Candidate]:
    """Return the rules that are worth a try, each at once and with a `for`; the names tell them apart."""
    held = _round(max(_CONFIRMED * interval, 60.0))
    conditions: dict[str, tuple[str, bool | None]] = {}
    if values.binary and subject == symbol:
        ones = sum(weight for value, weight in zip(values.numbers, values.weights, strict=True) if value)
        rare = 0 if 2 * ones >= sum(values.weights) or symbol.endswith(".up") else 1
        conditions[f"{subject} == {rare}"] = "the rarer of its two values", None
    elif values.lowest == values.highest:
        conditions[f"{subject} != {values.lowest!r}"] = "it has always been this", None
    else:
        numbers, sums = values.ranked()
        for sign, shares in ((">", _ABOVE), ("<", _BELOW)):
            for share, why in shares:
                limit = _limit(values, numbers, sums, share, sign)
                conditions[f"{subject} {sign} {limit}"] = why, sign == ">"
    found: list[Candidate] = []
    for condition, (why, above) in conditions.items():
        for seconds in dict.fromkeys((0.0, held, *([5 * held] if above is None else []))):
            name = f"{len(found)}"
            settings = RuleSettings(name=name, condition=condition, for_=Seconds(seconds))
            found.append(Candidate(settings, why, above))
    return found


def high_is_bad(symbol: str, tags: Mapping[str, str], values: Values) -> bool:
    """Tell in which direction a series is rather looked after: by its name, its unit, or its longer tail."""
    if symbol.rpartition(".")[2] in _LOW_IS_BAD:
        return False
    if unit_of(symbol, tags) in _HIGH_IS_BAD:
        return True
    numbers, sums = values.ranked()
    middle = _quantile(numbers, sums, 0.5)
    return values.highest - middle >= middle - values.lowest


def chosen(
    tried: Sequence[Candidate], results: Mapping[str, RuleResult], seconds: float, high: bool
) -> Candidate:
    """Return the one that suits best: confirmed by a `for`, and that would have told the most, but not more
    than once a week of the `seconds` that were looked at."""
    most = max(1.0, seconds / _WEEK)
    right = [candidate for candidate in tried if candidate.above in (None, high)] or list(tried)

    def merit(candidate: Candidate) -> tuple[bool, bool, float, float]:
        count, confirmed = results[candidate.rule.name].firings, candidate.rule.for_ > 0
        if candidate.above is None:  # a state is worth an alert however seldom it was seen
            return count <= most, confirmed, 0, -candidate.rule.for_
        return (
            count <= most,
            confirmed and count > 0,
            min(count, most) - max(0, count - most),
            candidate.rule.for_,
        )

    return max(right, key=merit)


def _growth(cursor: history.Cursor, subject: str, since: Micros, until: Micros, every: Every) -> Values:
    """Return what a formula came to with each sample."""
    from oculus.rules.expression import parse_formula

    formula = parse_formula(subject).bind()
    values = Values()
    past = History(cursor, [RuleSettings(name="growth", condition=f"{subject} > 0")], since, until, every)
    for _, arrivals in past:
        for ts, symbol in arrivals:
            if ts >= since and symbol in formula.symbols:
                past.recorded.now = Micros(ts)
                value = formula.evaluate(past.recorded)
                if value is not None:
                    values.add(value)
    return values


def _quantile(numbers: Sequence[float], sums: Sequence[int], share: float) -> float:
    """Return the number that a share of the samples does not exceed."""
    return numbers[min(bisect_left(sums, share * sums[-1]), len(numbers) - 1)]


def _limit(values: Values, numbers: Sequence[float], sums: Sequence[int], share: float, sign: str) -> str:
    found = values.highest if share == 1.0 else values.lowest if share == 0.0 else None
    return _short(_quantile(numbers, sums, share) if found is None else found, up=sign == ">")


def _short(value: float, *, up: bool) -> str:
    """Return a number in four digits, rounded up or down; whole ones that are not long stay as they are."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    size = 10.0 ** (math.floor(math.log10(abs(value))) - 3)
    found = (math.ceil if up else math.floor)(value / size) * size if size else value
    return f"{found:.0f}" if 1e4 <= abs(found) < 1e12 else f"{found:.4g}"


def _round(seconds: float) -> float:
    """Return the next longer duration that people would write."""
    return next((each for each in _ROUND if each >= seconds), _ROUND[-1])


def _written(seconds: float) -> str:
    return f"{seconds / 60:.0f}m" if seconds >= 60 else f"{seconds:.0f}s"


def _named(symbol: str, best: Candidate) -> RuleSettings:
    """Return the rule under a name that a person would give it."""
    word = {True: "high", False: "low", None: "state"}[best.above]
    if best.above is None and symbol.endswith(".up"):
        word, symbol = "down", symbol.removesuffix(".up")
    message = "{{ symbol }} is {{ value }}" if best.above is not None else ""
    return replace(best.rule, name=f"{slug(symbol.replace('.', '_'))}_{word}", message=message)


def _told(
    symbol: str, subject: str, values: Values, tried: Sequence[Candidate], found: Backtest, best: Candidate
) -> dict[str, Any]:
    numbers, sums = values.ranked()
    results = {result.name: result for result in found.rules}
    rows = []
    for candidate in tried:
        result = results[candidate.rule.name]
        rows.append(
            {
                "condition": candidate.rule.condition,
                "for": candidate.rule.for_,
                "why": candidate.why,
                "firings": result.firings,
                "firing_seconds": round(result.seconds, 3),
                "messages": result.messages,
                "best": candidate is best,
            }
        )
    shown = found.to_json()
    return {
        "symbol": symbol,
        "about": subject,
        "from": shown["from"],
        "to": shown["to"],
        "resolution": shown["resolution"],
        "samples": sums[-1],
        "lowest": values.lowest,
        "median": _quantile(numbers, sums, 0.5),
        "highest": values.highest,
        "candidates": rows,
        "yaml": rule_yaml(_named(symbol, best)),
    }
