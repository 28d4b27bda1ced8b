"""Figures over windows: whatever way the rows came and lie, the store says what recorded history says."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oculus.clock import SECOND
from oculus.model import Candle, Micros
from oculus.rules.recorded import Recorded
from oculus.rules.view import lookback
from oculus.storage import windows
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE
from oculus.windowed import Reduction, Window
from tests.storage.story import T0, Taken, expire, put_in_order, roll, write

SYMBOLS = ("custom.a", "custom.b", "custom.c")
REDUCTIONS: tuple[Reduction, ...] = (
    "avg", "min", "max", "sum", "count", "stddev", "quantile", "base", "rate",
)  # fmt: skip


def recorded(samples: Iterable[Taken]) -> Recorded:
    """Return the same samples as history in memory."""
    found = Recorded()
    for one in sorted(samples, key=lambda one: one.after):  # stable: those of one moment as they came
        low, high = (one.candle.low, one.candle.high) if one.candle else (None, None)
        found.add(one.symbol, Micros(T0 + one.after), one.value, low, high)
    return found


def asked(database: Database, wanted: Collection[Window], after: int) -> dict[Window, float | None]:
    """Return what the store says, `after` T0."""
    lookbacks = {window.symbol: lookback(0) for window in wanted}
    return windows.figures(database.connection, wanted, Micros(T0 + after), lookbacks)


def one(
    database: Database, reduction: Reduction, seconds: float, after: int, share: float = 0
) -> float | None:
    """Return one figure of the first series."""
    window = Window(reduction, SYMBOLS[0], seconds, share)
    return asked(database, [window], after)[window]


def differing(
    found: dict[Window, float | None], history: Recorded, after: int
) -> list[tuple[Window, float | None, float | None]]:
    """Return the figures that are not what history says, but for rounding."""
    history.now = Micros(T0 + after)
    wrong = []
    for window, figure in found.items():
        expected = history.window(window)
        same = figure == expected or (
            figure is not None and expected is not None
            # A deviation is the root of a difference: half of the digits are left of a small one.
            and math.isclose(figure, expected, rel_tol=1e-6, abs_tol=1e-5)
        )  # fmt: skip
        if not same:
            wrong.append((window, figure, expected))
    return wrong


# Whole minutes and hours and what is next to them are where one relation takes over from the other.
_moments = st.one_of(
    st.builds(
        lambda unit, number, off: max(0, min(unit * number, 5 * HOUR) + off),
        st.sampled_from((MINUTE, HOUR)), st.integers(0, 300), st.sampled_from((0, 0, -1, 1)),
    ),
    st.integers(0, 5 * 3_600_000).map(lambda ms: ms * 1_000),
)  # fmt: skip
_numbers = st.one_of(st.integers(-9, 9).map(float), st.floats(-1e4, 1e4, width=32), st.just(math.nan))


@st.composite
def _samples(draw: st.DrawFn) -> list[Taken]:
    found = []
    for symbol in SYMBOLS[: draw(st.integers(1, 2))]:
        for after in draw(st.lists(_moments, max_size=25, unique=True)):
            value = draw(_numbers)
            candle = None
            if not math.isnan(value) and draw(st.booleans()):
                open_ = value + draw(st.integers(-3, 3))
                above, below = draw(st.integers(0, 2)), draw(st.integers(0, 2))
                candle = Candle(open_, max(value, open_) + above, min(value, open_) - below)
            found.append(Taken(symbol, after, value, candle))
    return (
        draw(st.permutations(sorted(found, key=lambda one: one.after)))
        if draw(st.booleans())
        else sorted(found, key=lambda one: one.after)
    )


_spans = st.one_of(
    st.sampled_from((0.000001, 1.0, 60.0, 300.0, 900.0, 3_600.0, 7_200.0, 10_800.0, 86_400.0)),
    st.integers(1, 20_000).map(float),
)
_windows = st.builds(
    Window,
    st.sampled_from(REDUCTIONS),
    st.sampled_from(SYMBOLS),
    _spans,
    st.sampled_from((0.0, 0.25, 0.5, 1.0)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(samples=_samples(), data=st.data())
def test_the_store_and_recorded_history_agree(
    tmp_path_factory: pytest.TempPathFactory, samples: list[Taken], data: st.DataObject
) -> None:
    """Samples, candles and gaps in any order of arrival, rolled up and put in order at any time."""
    database = Database(str(tmp_path_factory.mktemp("windows") / "oculus.db"))
    try:
        left = samples
        while left:
            count = data.draw(st.integers(1, len(left)), "samples of a commit")
            write(database, left[:count])
            left = left[count:]
            if data.draw(st.booleans(), "rolled up"):
                roll(database, data.draw(_moments, "up to"))
                if data.draw(st.booleans(), "put in order"):
                    put_in_order(database)
        history = recorded(samples)
        for after in data.draw(st.lists(_moments, min_size=1, max_size=4), "asked at"):
            wanted = data.draw(st.lists(_windows, min_size=1, max_size=25), "asked for")
            assert differing(asked(database, wanted, after), history, after) == []
    finally:
        database.close()


@pytest.mark.parametrize("seed", range(3))
def test_long_windows_of_many_samples_agree(database: Database, seed: int) -> None:
    """Two days of three series at once, with late samples, most of it in order, the newest not."""
    chance = random.Random(seed)
    samples = [
        Taken(symbol, tenth * SECOND // 10, round(chance.gauss(20 + 5 * place, 5), 3))
        for place, symbol in enumerate(SYMBOLS)
        for tenth in sorted(chance.sample(range(2 * 86_400 * 10), 3_000))
    ]
    late = {id(one) for one in chance.sample(samples, 30)}
    write(database, [one for one in samples if id(one) not in late and one.after < 46 * HOUR])
    roll(database, 45 * HOUR)
    put_in_order(database)
    write(database, [one for one in samples if id(one) in late or one.after >= 46 * HOUR])
    history = recorded(samples)
    spans = (600.0, 3_600.0, 7_000.0, 86_400.0, 100_000.0, 180_000.0)
    wanted = [
        Window(reduction, symbol, seconds, 0.9)
        for reduction in REDUCTIONS
        for symbol in SYMBOLS
        for seconds in spans
    ]
    for after in (47 * HOUR, 48 * HOUR - 1, 26 * HOUR + 12_345_678):
        assert differing(asked(database, wanted, after), history, after) == []
    roll(database, 47 * HOUR)
    assert differing(asked(database, wanted, 48 * HOUR), history, 48 * HOUR) == []


def test_nothing_is_asked_of_an_empty_store(database: Database) -> None:
    """A count of nothing is 0, all else is unknown; nothing wanted is nothing found."""
    wanted = [Window(reduction, "custom.a", 86_400.0, 0.5) for reduction in REDUCTIONS]
    found = asked(database, wanted, 0)
    assert {window.reduction: figure for window, figure in found.items() if figure is not None} == {
        "count": 0.0
    }
    assert asked(database, [], 0) == {}


def test_a_late_sample_counts_at_once(database: Database) -> None:
    """Before its minute and hour are rolled up again, and once only after that."""
    write(database, [Taken("custom.a", minute * MINUTE, 1.0) for minute in range(240)])
    roll(database, 4 * HOUR)
    write(database, [Taken("custom.a", 90 * MINUTE + SECOND, 61.0)])
    for _ in range(2):
        assert one(database, "sum", 3.5 * 3_600, 4 * HOUR) == 270.0
        assert one(database, "max", 3.5 * 3_600, 4 * HOUR) == 61.0
        assert one(database, "sum", 2_000, 100 * MINUTE) == 95.0
        roll(database, 4 * HOUR)


def test_the_lowest_and_highest_are_those_of_candles(database: Database) -> None:
    """Of samples as of rollups; the other figures are of what each ended with."""
    write(
        database,
        [Taken("custom.a", 10 * SECOND, 4.0, Candle(3.0, 9.0, 2.5)), Taken("custom.a", 2 * MINUTE, 5.0)],
    )
    for _ in range(2):
        for seconds in (600, 3_600):
            assert one(database, "min", seconds, 4 * MINUTE) == 2.5
            assert one(database, "max", seconds, 4 * MINUTE) == 9.0
            assert one(database, "avg", seconds, 4 * MINUTE) == 4.5
        roll(database, 4 * MINUTE)


def test_rollups_stand_in_for_samples_that_are_gone(database: Database) -> None:
    """Those that lie in the window as a whole; other figures are those of the samples that are left."""
    write(database, [Taken("custom.a", half * 30 * SECOND, float(half)) for half in range(1, 6 * 120 + 1)])
    roll(database, 6 * HOUR)
    expire(database, 6 * HOUR, metrics=3_600.0)
    # In (2:00:10, 6:00]: the samples of the minutes from 2:01 on.
    left = [float(half) for half in range(2 * 120 + 2, 6 * 120 + 1)]
    assert one(database, "sum", 4 * 3_600 - 10, 6 * HOUR) == sum(left)
    assert one(database, "count", 4 * 3_600 - 10, 6 * HOUR) == len(left)
    assert one(database, "min", 4 * 3_600 - 10, 6 * HOUR) == left[0]
    assert one(database, "avg", 4 * 3_600 - 10, 6 * HOUR) == pytest.approx(sum(left) / len(left))
    assert one(database, "count", 600, 4 * HOUR) == 18
    # Samples are left from 5:00 on.
    assert one(database, "quantile", 4 * 3_600, 6 * HOUR, 0.0) == 600.0
    assert one(database, "rate", 4 * 3_600, 6 * HOUR) == pytest.approx(1 / 30)
    # At 1:30:30 the minute from 1:29 on is the last that is over; its last sample is that of 1:29:30.
    assert one(database, "base", 4.5 * 3_600 - 30, 6 * HOUR) == 179.0
    expire(database, 6 * HOUR, metrics=3_600.0, rollup_1m=7_200.0)
    # At 2:40 the hour from 1:00 on is; whole hours from 3:00 on are left of the sums.
    assert one(database, "base", 3.2 * 3_600 + 480, 6 * HOUR) == 239.0
    assert one(database, "sum", 3.5 * 3_600, 6 * HOUR) == sum(range(3 * 120, 6 * 120 + 1))


def test_a_figure_beyond_the_numbers_is_unknown(database: Database) -> None:
    """It must not reach a condition as infinity."""
    write(database, [Taken("custom.a", 0, 1.5e308), Taken("custom.a", SECOND, 1.5e308)])
    assert one(database, "sum", 60, 2 * SECOND) is None
    assert one(database, "stddev", 60, 2 * SECOND) in (None, 0.0)
    assert one(database, "max", 60, 2 * SECOND) == 1.5e308


def test_of_two_samples_of_one_moment_the_later_written_counts(database: Database) -> None:
    """For what goes by the order of time."""
    write(database, [Taken("custom.a", 0, 5.0), Taken("custom.a", 0, 7.0), Taken("custom.a", SECOND, 1.0)])
    assert one(database, "base", 1, SECOND) == 7.0
    assert one(database, "rate", 60, SECOND) == 3.0


def test_a_series_of_the_same_shard_is_another(database: Database) -> None:
    """Shards only say where to look."""
    write(database, [Taken("custom.a", SECOND, 1.0), Taken("custom.b", SECOND, 9.0)])
    database.connection.execute("update metrics set shard = shard_of('custom.a')")
    assert one(database, "sum", 60, 2 * SECOND) == 1.0
