"""An expression means one thing: live, over recorded history, and as plain SQL."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Candle, Micros, Sample
from oculus.rules import expression
from oculus.rules.expression import FUNCTIONS, Bound, BoundFormula, Condition, Formula
from oculus.rules.live import Live
from oculus.rules.recorded import Recorded
from oculus.rules.view import Point, View, lookback
from oculus.storage import history, windows
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.tiers import HOUR
from tests.rules.plain_sql import Translator, known
from tests.storage.story import T0, Taken, put_in_order, roll, write

BERLIN = ZoneInfo("Europe/Berlin")
SYMBOLS = ("custom.a.up", "custom.a.rtt", "custom.b.up", "custom.b.rtt", "custom.total")
UNKNOWN = ("custom.c.rtt", "custom.none")
INTERVALS = {"custom.a.up": 600.0, "custom.a.rtt": 30.0, "custom.b.up": 200.0, "custom.total": 1_200.0}
OPEN, CLOSED = ("custom.a.up", "custom.b.rtt"), ("custom.b.up", "custom.total")
PATTERNS = (
    (), ("custom.*.up", "custom.*.rtt", "*.a.up", "custom.**.rtt"), ("custom.*.*", "*.*.rtt", "custom*.*.up"),
)  # fmt: skip
# Such that samples are just within windows and look-backs, or just not.
STEPS = (*(1, 10, 30, 59, 60, 60) * 3, 120, 299, 300, 301, 601)  # seconds
DURATIONS = ("1s", "10s", "60s", "5m", "10m", "15m1s", "20m", "1h", "1h30m", "2h")
LONGEST = 7_200  # seconds
CONSTANTS = ("0", "1", "2", "0.5", ".25", "1e1", "5%", "1k", "300", "60s", "5m", "0.001M")
GUARDS = ("time 00:00-02:30", "time 22:00-03:00", "time 12:00-24:00", "weekday fri", "weekday sat,sun")

MOMENTS, EXPRESSIONS = 5, 40

Parsed = Condition | Formula


# -- stories ----------------------------------------------------------------------------------------


def story_of(chance: random.Random) -> list[Taken]:
    """Return samples of an hour or some more, with gaps, in the order of time."""
    start = chance.choice((0, 20, 46)) * HOUR + chance.choice((0, 1, 59 * SECOND))
    found = []
    for symbol in SYMBOLS:
        after = start
        for _ in range(chance.choice((1, 60, 90))):
            after += chance.choice(STEPS) * SECOND + (chance.random() < 0.1)
            # Eighths add up exactly in whatever order, so that some comparisons are right at the boundary.
            value = chance.choice((chance.randint(-4, 4) / 2, chance.randint(-16, 16) / 8))
            kind = chance.random()
            if kind < 0.05:
                found.append(Taken(symbol, after, math.nan))
            elif kind < 0.2:
                low = value - chance.randint(0, 2)
                found.append(Taken(symbol, after, value, Candle(value, value + chance.randint(0, 2), low)))
            else:
                found.append(Taken(symbol, after, value))
            if chance.random() < 0.05:  # another one at the same moment
                found.append(Taken(symbol, after, value + 1))
    return sorted(found, key=lambda taken: taken.after)


# -- expressions ------------------------------------------------------------------------------------


class Writer:
    """Writes expressions as the manual's grammar makes them, with series from `names`."""

    def __init__(self, chance: random.Random, names: Sequence[str]) -> None:
        self._chance = chance
        self._names = names

    def _one(self, *choices: str) -> str:
        return self._chance.choice(choices)

    def name(self) -> str:
        """Return a series or a pattern."""
        return self._one(*self._names)

    def call(self, holds: bool, depth: int) -> str:
        """Return a function that is a condition, or one that is a number."""
        name = self._one(*(name for name, function in FUNCTIONS.items() if function.holds is holds))
        arguments = [self.name()]
        for argument in FUNCTIONS[name].arguments:
            match argument:
                case "window":
                    arguments.append(self._one(*DURATIONS))
                case "quantile":
                    arguments.append(self._one("0", "0.25", "0.9", "1"))
                case "level":
                    arguments.append(self.number(depth - 1))
        return f"{name}({', '.join(arguments)})"

    def number(self, depth: int) -> str:
        """Return a number."""
        kinds = ("name", "name", "constant", "call", "call")
        match self._one(*kinds, *("chain", "chain", "abs", "minus", "parentheses") * (depth > 0)):
            case "name":
                return self.name()
            case "constant":
                return self._one(*CONSTANTS)
            case "call":
                return self.call(False, depth)
            case "chain":
                signs = [self._one(" + ", " - ", " * ", " / ") for _ in range(self._chance.randint(1, 2))]
                return self.number(depth - 1) + "".join(sign + self.number(depth - 1) for sign in signs)
            case "abs":
                return f"abs({self.number(depth - 1)})"
            case "minus":
                return f"-{self.number(depth - 1)}"
            case _:
                return f"({self.number(depth - 1)})"

    def condition(self, depth: int) -> str:
        """Return a condition."""
        kinds = ("comparison", "comparison", "comparison", "call", "guard")
        match self._one(*kinds, *("and", "or", "not", "parentheses") * (2 * (depth > 0))):
            case "comparison":
                sign = self._one(" > ", " < ", " >= ", " <= ", " == ", " != ")
                return self.number(1) + sign + self.number(1)
            case "call":
                return self.call(True, depth)
            case "guard":
                return self._one(*GUARDS)
            case "not":
                return f"not {self.condition(depth - 1)}"
            case "parentheses":
                return f"({self.condition(depth - 1)})"
            case word:
                return f"{self.condition(depth - 1)} {word} {self.condition(depth - 1)}"


def expression_of(chance: random.Random) -> Parsed:
    """Return a condition or a formula, with or without wildcards."""
    writer = Writer(chance, (*chance.choice(PATTERNS) * 3, *SYMBOLS * 2, *UNKNOWN))
    if chance.random() < 0.6:
        return expression.parse(writer.condition(2), BERLIN)
    return expression.parse_formula(writer.number(2), BERLIN)


# -- evaluation -------------------------------------------------------------------------------------


def market(symbol: str) -> bool | None:
    """Return whether a market is open."""
    return True if symbol in OPEN else False if symbol in CLOSED else None


def live(
    database: Database, story: Iterable[Taken], now: Micros, bounds: Collection[Bound | BoundFormula]
) -> View:
    """Return what the daemon knows at a moment: the last values, and the figures that it fetches."""
    latest = Latest()
    seen = [Sample(one.symbol, one.value, Micros(T0 + one.after)) for one in story if T0 + one.after <= now]
    latest.update([sample for sample in seen if not math.isnan(sample.value)], now)

    def last(symbol: str) -> tuple[Point, float] | None:
        series = latest.get(symbol)
        if series is None:
            return None
        return Point(series.ts, series.value, series.previous), INTERVALS.get(symbol, 0.0)

    wanted = {window for bound in bounds for window in bound.windows}
    lookbacks = {window.symbol: lookback(INTERVALS.get(window.symbol, 0.0)) for window in wanted}
    return Live(now, last, windows.figures(database.connection, wanted, now, lookbacks), market)


def same(one: float | None, other: float | None) -> bool:
    """Tell whether two results are the same, numbers but for rounding."""
    if one is None or other is None or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)


def bound_of(parsed: Parsed) -> list[tuple[tuple[str, ...], Bound | BoundFormula]]:
    """Return the expression for each thing that its wildcards stand for."""
    if not parsed.is_glob:
        return [((), parsed.bind())]
    found = dict.fromkeys(captured for symbol in SYMBOLS for captured in parsed.captures(symbol))
    return [(captured, parsed.bind(captured)) for captured in list(found)[:3]]


def plain(
    database: Database, now: Micros, bounds: Iterable[tuple[Parsed, tuple[str, ...], Bound | BoundFormula]]
) -> list[tuple[float | None, bool]]:
    """Return what plain SQL says of each expression, and whether that hangs on the last digits."""
    for statement in known(now):
        database.connection.execute(statement)
    found = []
    for parsed, captured, _ in bounds:
        columns = Translator(now, INTERVALS, captured, CLOSED, OPEN).columns(parsed.root)
        row = database.connection.execute(f"select {columns}").fetchone()
        assert row is not None
        found.append(row)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An open database in a file of its own."""
    opened = Database(str(tmp_path / "oculus.db"))
    yield opened
    opened.close()


def store(database: Database, chance: random.Random) -> list[Taken]:
    """Write a story with some samples that come late, rolled up and put in order or not.

    Return it in the order of time; of one moment as it came.
    """
    story = story_of(chance)
    late = set(chance.sample(range(len(story)), chance.choice((0, 20))))
    first = [taken for place, taken in enumerate(story) if place not in late]
    rest = [story[place] for place in sorted(late)]
    write(database, first)
    if chance.random() < 0.7:
        roll(database, story[-1].after - chance.choice((0, 600 * SECOND)))
        if chance.random() < 0.5:
            put_in_order(database)
    write(database, rest)
    return sorted(first + rest, key=lambda taken: taken.after)


@pytest.mark.parametrize("seed", range(6))
def test_live_recorded_and_plain_sql_agree(database: Database, seed: int) -> None:
    """Whole expressions over any series, at any moment, however the rows came and lie."""
    chance = random.Random(seed)
    story = store(database, chance)
    moments = sorted(
        chance.choice(story).after + chance.choice((0, 0, 0, 1, 60, 299, 300, 301, 600, 1_800)) * SECOND
        for _ in range(MOMENTS)
    )
    expressions = [expression_of(chance) for _ in range(EXPRESSIONS)]
    bounds = [(parsed, *pair) for parsed in expressions for pair in bound_of(parsed)]
    recorded = Recorded(INTERVALS, lambda symbol, now: market(symbol))
    parts = history.plan(database.connection, SYMBOLS, T0, Micros(T0 + 10 * DAY))
    chunks = history.chunks(database.connection, SYMBOLS, parts, chance.choice((1, 50, 1_000)))
    chunk = next(chunks, None)
    for moment in moments:
        now = Micros(T0 + moment)
        while chunk is not None and chunk.start <= now:
            for symbol, columns in chunk.series.items():
                recorded.extend(symbol, *columns)
            chunk = next(chunks, None)
        recorded.forget(Micros(now - LONGEST * SECOND - HOUR - 1))
        recorded.now = now
        view = live(database, story, now, [bound for _, _, bound in bounds])
        told = plain(database, now, bounds)
        for (_, _, bound), (expected, doubtful) in zip(bounds, told, strict=True):
            if not doubtful:
                found = bound.evaluate(view), bound.evaluate(recorded)
                assert all(same(one, expected) for one in found), (bound.text, found, expected)
