"""Derived values: formulas over other series, computed on an interval and stored as series of their own.

Those that others are made of are computed first, in the same pass. What is unknown (a missing value, a
division by zero) is no sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import gevent
from loguru import logger

from oculus.clock import SECOND, now
from oculus.config.settings import DerivedSettings
from oculus.errors import ExpressionError, OculusError
from oculus.model import Micros, Sample, Tags
from oculus.rules import expression
from oculus.rules.view import Point, View
from oculus.windowed import Window

LONGEST_SLEEP = 1.0  # seconds: a reload is noticed within it


@dataclass(frozen=True, slots=True)
class Derived:
    """A formula, and the series that it makes."""

    settings: DerivedSettings
    formula: expression.BoundFormula
    windows: tuple[Window, ...]
    tags: Tags

    def compute(self, view: View) -> Sample | None:
        """Return the sample at `view.now`, or None when the value is unknown."""
        value = self.formula.evaluate(view)
        return None if value is None else Sample(self.settings.name, value, view.now, self.tags)


def parse(settings: DerivedSettings) -> Derived:
    """Return a derived value; raises ExpressionError."""
    formula = expression.parse_formula(settings.formula)
    if formula.is_glob:
        raise ExpressionError("a formula is about named series, without wildcards", 0)
    bound = formula.bind()
    tags = {**settings.tags, "source": "derived"} | ({"unit": settings.unit} if settings.unit else {})
    return Derived(settings, bound, bound.windows, Tags(tags))


def ordered(derived: Iterable[Derived]) -> list[Derived]:
    """Return them so that each comes after those that it reads; raises ExpressionError for a cycle."""
    by_name = {found.settings.name: found for found in derived}
    reads = {
        name: [symbol for symbol in found.formula.symbols if symbol in by_name]
        for name, found in by_name.items()
    }
    try:
        return [by_name[name] for name in TopologicalSorter(reads).static_order()]
    except CycleError as error:
        # Each of the cycle is read by the next one.
        raise ExpressionError(" → ".join(reversed(error.args[1])), 0) from None


class _Overlaid(View):
    """A view in which what was computed in the same pass is known already."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.computed: dict[str, float] = {}

    @property
    def now(self) -> Micros:
        return self._view.now

    @property
    def since(self) -> Micros:
        return self._view.since

    def newest(self, symbol: str) -> Micros | None:
        return self._view.now if symbol in self.computed else self._view.newest(symbol)

    def last(self, symbol: str) -> Point | None:
        before = self._view.last(symbol)
        if symbol not in self.computed:
            return before
        return Point(self._view.now, self.computed[symbol], before.value if before else None)

    def interval(self, symbol: str) -> float:
        return self._view.interval(symbol)

    def window(self, window: Window) -> float | None:
        return self._view.window(window)

    def market_open(self, symbol: str) -> bool | None:
        return self._view.market_open(symbol)


def compute(derived: Sequence[Derived], view: View) -> list[Sample]:
    """Return the samples of derived values, which are `ordered`, at `view.now`."""
    overlaid, samples = _Overlaid(view), []
    for found in derived:
        sample = found.compute(overlaid)
        if sample is not None:
            overlaid.computed[sample.symbol] = sample.value
            samples.append(sample)
    return samples


class DerivedLoop:
    """Computes derived values at whole intervals of the wall clock and hands them to `put`.

    `view` and `fetch` are those of the rules.
    """

    def __init__(
        self,
        put: Callable[[Sequence[Sample]], object],
        view: Callable[[Micros, Mapping[Window, float | None]], View],
        fetch: Callable[[Collection[Window], Micros], Mapping[Window, float | None]],
        time_now: Callable[[], Micros] = now,
    ) -> None:
        self._put = put
        self._view = view
        self._fetch = fetch
        self._now = time_now
        self._derived: list[Derived] = []
        self._intervals: dict[str, float] = {}
        self._next: dict[str, Micros] = {}
        self._failed = ""

    def load(self, settings: Iterable[DerivedSettings]) -> None:
        """Take other formulas over."""
        self._derived = ordered(map(parse, settings))
        self._intervals = {made.settings.name: float(made.settings.interval) for made in self._derived}
        self._next = {name: ts for name, ts in self._next.items() if name in self._intervals}

    def interval(self, symbol: str) -> float:
        """Return how often a series is computed, in seconds; 0 for what is not derived."""
        return self._intervals.get(symbol, 0.0)

    def run(self) -> None:
        """Compute for ever."""
        while True:
            soonest = min(self._next.values(), default=None) if self._derived else None
            wait = LONGEST_SLEEP if soonest is None else (soonest - self._now()) / SECOND
            gevent.sleep(min(max(wait, 0.001), LONGEST_SLEEP))
            self.step(self._now())

    def step(self, moment: Micros) -> None:
        """Compute what is due."""
        due = []
        for found in self._derived:
            name, every = found.settings.name, int(found.settings.interval * SECOND)
            planned = self._next.get(name)
            # After a step of the clock the next turn may be far off, or long gone.
            if planned is not None and moment >= planned:
                due.append((found, Micros(moment - moment % every)))
            if planned is None or moment >= planned or planned - moment > every:
                self._next[name] = Micros(moment - moment % every + every)
        for stamp in dict.fromkeys(stamp for _, stamp in due):
            self._compute([found for found, of in due if of == stamp], stamp)

    def _compute(self, due: Sequence[Derived], stamp: Micros) -> None:
        wanted = {window for found in due for window in found.windows}
        try:
            figures = self._fetch(wanted, stamp) if wanted else {}
        except OculusError as error:
            if self._failed != str(error):
                logger.warning("derived values cannot be computed: {}", error)
            self._failed = str(error)
            return
        self._failed = ""
        samples = compute(due, self._view(stamp, figures))
        if samples:
            self._put(samples)
