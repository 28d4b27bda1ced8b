"""The functions of the language: what each takes, which figures of the store it reads, what it comes to.

A new function is one entry of FUNCTIONS, and one line of the manual's table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from oculus.clock import SECOND
from oculus.rules.view import View, fresh, lookback
from oculus.windowed import Reduction, Window

# Gives a number, or whether something holds; None is unknown.
Reader = Callable[[View], float | None]

# Gives the times, in microseconds, at which a function of a series and a window in seconds may come to
# something else without a sample; those that are over may be among them.
Turns = Callable[[View, str, float], Iterable[int]]

# What follows the series, in this order: the level is any number expression, the other two are constants.
Argument = Literal["quantile", "window", "level"]
EXAMPLES: dict[Argument, str] = {"quantile": "0.95", "window": "5m", "level": "100"}


@dataclass(frozen=True, slots=True)
class Given:
    """What a function is applied to: the series, its figures, the window's seconds, and the level."""

    symbol: str
    windows: tuple[Window, ...]
    seconds: float
    level: Reader | None


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language. `holds` tells one that is true or false, not a number, `passing` one whose
    result can change as time passes, without a sample: at `turns`, or at any time where it has none."""

    arguments: tuple[Argument, ...]
    build: Callable[[Given], Reader]
    reductions: tuple[Reduction, ...] = ()
    parameter: float = 0.0
    holds: bool = False
    passing: bool = False
    turns: Turns | None = None

    def windows(self, symbol: str, seconds: float, parameter: float) -> tuple[Window, ...]:
        """Return the figures that it reads of a series; `parameter` is the quantile that was given."""
        chosen = parameter if "quantile" in self.arguments else self.parameter
        return tuple(Window(reduction, symbol, seconds, chosen) for reduction in self.reductions)


def number(value: float) -> float | None:
    """Return a value, or None when it is not a number (infinity less infinity, say)."""
    return None if math.isnan(value) else value


def last(symbol: str) -> Reader:
    """Return what reads a series' fresh last value."""

    def read(view: View) -> float | None:
        point = fresh(view, symbol)
        return None if point is None else number(point.value)

    return read


def _figure(given: Given) -> Reader:
    window = given.windows[0]
    return lambda view: view.window(window)


def _change(given: Given) -> Reader:
    def read(view: View) -> float | None:
        point, base = fresh(view, given.symbol), view.window(given.windows[0])
        return None if point is None or base is None else number(point.value - base)

    return read


def _pct_change(given: Given) -> Reader:
    def read(view: View) -> float | None:
        point, base = fresh(view, given.symbol), view.window(given.windows[0])
        # By the size of the base, so that what rises from below zero is a rise.
        return None if point is None or not base else number((point.value - base) / abs(base) * 100)

    return read


def _zscore(given: Given) -> Reader:
    average, deviation = given.windows

    def read(view: View) -> float | None:
        point, mean, spread = fresh(view, given.symbol), view.window(average), view.window(deviation)
        return None if point is None or mean is None or not spread else number((point.value - mean) / spread)

    return read


def _previous(given: Given) -> Reader:
    def read(view: View) -> float | None:
        point = fresh(view, given.symbol)
        return None if point is None or point.previous is None else number(point.previous)

    return read


def _crosses(given: Given, sign: int) -> Reader:
    level = given.level
    assert level is not None

    def read(view: View) -> bool | None:
        point, limit = fresh(view, given.symbol), level(view)
        if point is None or point.previous is None or limit is None:
            return None
        return point.previous * sign <= limit * sign < point.value * sign

    return read


def age(view: View, symbol: str) -> float | None:
    """Return the seconds since the newest sample of a series, None when there is none."""
    newest = view.newest(symbol)
    return None if newest is None else (view.now - newest) / SECOND


def _absent(given: Given) -> Reader:
    def read(view: View) -> bool | None:
        seconds = age(view, given.symbol)
        if seconds is not None and seconds < given.seconds:
            return False
        return True if view.now - view.since >= _patience(view, given.symbol, given.seconds) else None

    return read


def _patience(view: View, symbol: str, seconds: float) -> int:
    """Return for how long, in microseconds, one must have looked to tell that a series is absent.

    While nobody looked it may have come, and what has just begun to look has not missed it yet.
    """
    return min(round(seconds * SECOND), lookback(view.interval(symbol)))


def _absent_turns(view: View, symbol: str, seconds: float) -> Iterable[int]:
    newest = view.newest(symbol)
    if newest is not None:
        yield newest + round(seconds * SECOND)
    yield view.since + _patience(view, symbol, seconds)


def _over_window(reduction: Reduction) -> Function:
    return Function(("window",), _figure, (reduction,))


FUNCTIONS: dict[str, Function] = {
    "avg": _over_window("avg"),
    "min": _over_window("min"),
    "max": _over_window("max"),
    "sum": _over_window("sum"),
    "count": _over_window("count"),
    "stddev": _over_window("stddev"),
    "median": Function(("window",), _figure, ("quantile",), parameter=0.5),
    "quantile": Function(("quantile", "window"), _figure, ("quantile",)),
    "rate": _over_window("rate"),
    "change": Function(("window",), _change, ("base",)),
    "pct_change": Function(("window",), _pct_change, ("base",)),
    "zscore": Function(("window",), _zscore, ("avg", "stddev")),
    "prev": Function((), _previous),
    "age": Function((), lambda given: lambda view: age(view, given.symbol), passing=True),
    "crosses_above": Function(("level",), lambda given: _crosses(given, 1), holds=True),
    "crosses_below": Function(("level",), lambda given: _crosses(given, -1), holds=True),
    "absent": Function(("window",), _absent, holds=True, passing=True, turns=_absent_turns),
    "market_open": Function(
        (), lambda given: lambda view: view.market_open(given.symbol), holds=True, passing=True
    ),
}


def example(name: str, symbol: str) -> str:
    """Return how a function is written for a series."""
    arguments = [EXAMPLES[argument] for argument in FUNCTIONS[name].arguments]
    return f"{name}({', '.join([symbol, *arguments])})"
