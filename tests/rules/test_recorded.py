"""Recorded history says of each moment what its samples up to then say."""

from __future__ import annotations

import math
import random
import statistics
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.rules.recorded import Recorded, pieces
from oculus.rules.view import STALE_AFTER, Point
from oculus.windowed import Reduction, Window

REDUCTIONS: tuple[Reduction, ...] = (
    "avg", "min", "max", "sum", "count", "stddev", "quantile", "base", "rate",
)  # fmt: skip
Sample = tuple[int, float, float, float]  # second, value, low, high


def naive(samples: Sequence[Sample], window: Window, now: float) -> float | None:
    """Return the figure as its definition says, sample by sample; no two share a second."""
    since = now - window.seconds
    if window.reduction == "base":
        before = [(second, value) for second, value, _, _ in samples if second <= since]
        return before[-1][1] if before and since - before[-1][0] <= STALE_AFTER / SECOND else None
    inside = [sample for sample in samples if since < sample[0] <= now]
    values = [value for _, value, _, _ in inside]
    if window.reduction == "count":
        return float(len(values))
    if not values:
        return None
    match window.reduction:
        case "sum":
            return math.fsum(values)
        case "avg":
            return statistics.fmean(values)
        case "min":
            return min(low for _, _, low, _ in inside)
        case "max":
            return max(high for _, _, _, high in inside)
        case "stddev":
            return statistics.pstdev(values)
        case "quantile":
            values.sort()
            place = window.parameter * (len(values) - 1)
            low, high = values[math.floor(place)], values[math.ceil(place)]
            return low + (high - low) * (place - math.floor(place))
        case _:
            grown = math.fsum(
                value if value < before else value - before for before, value in pairwise(values)
            )
            took = inside[-1][0] - inside[0][0]
            return grown / took if took else None


def recorded(samples: Sequence[Sample]) -> Recorded:
    """Return the samples as history of `a`."""
    history = Recorded()
    for second, value, low, high in samples:
        history.add("a", Micros(second * SECOND), value, low, high)
    return history


def close(found: float | None, expected: float | None) -> bool:
    """Tell whether two figures are the same but for rounding."""
    if found is None or expected is None:
        return found is expected
    return math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-7)


_samples = st.lists(
    st.tuples(st.integers(0, 900), st.integers(-50, 50), st.integers(0, 3), st.integers(0, 3)),
    unique_by=lambda sample: sample[0],
    max_size=60,
).map(
    lambda found: [
        (second, value / 8, value / 8 - below, value / 8 + above)
        for second, value, below, above in sorted(found)
    ]
)  # fmt: skip


@given(
    _samples,
    st.lists(
        st.tuples(st.integers(0, 1_300), st.integers(1, 1_000), st.sampled_from(REDUCTIONS)), max_size=30
    ),
)
def test_any_history_is_told_as_it_was(
    samples: list[Sample], questions: list[tuple[int, int, Reduction]]
) -> None:
    """Whatever is asked, and in whatever order of times."""
    history = recorded(samples)
    for now, seconds, reduction in questions:
        history.now = Micros(now * SECOND)
        window = Window(reduction, "a", seconds, 0.3)
        assert close(history.window(window), naive(samples, window, now)), (window, now)


@pytest.mark.parametrize("seed", range(3))
def test_long_histories_are_told_as_they_were(seed: int) -> None:
    """Windows of thousands of samples, moving on by any step, and while the history grows."""
    chance = random.Random(seed)
    samples: list[Sample] = []
    second, level = 0, 0.0
    for _ in range(9_000):
        second += chance.choice((1, 1, 1, 7))
        level = chance.choice((level, 0.0, 1e6)) if chance.random() < 0.01 else level
        value = level + round(chance.gauss(0, 3), 2)
        samples.append((second, value, value - chance.choice((0, 0, 1)), value))
    windows = [
        Window(kind, "a", seconds, 0.95) for kind in REDUCTIONS for seconds in (30, 700, 5_000, 40_000)
    ]
    history = Recorded()
    for place, (at, value, low, high) in enumerate(samples):
        history.add("a", Micros(at * SECOND), value, low, high)
        if place > 200 and chance.random() < 0.004:
            for _ in range(3):
                now = at - chance.choice((0, 0, 100))
                history.now = Micros(now * SECOND)
                for window in windows:
                    expected = naive(samples[: place + 1], window, now)
                    assert close(history.window(window), expected), (window, now)


def test_a_pyramid_of_blocks_covers_each_place_once() -> None:
    """And takes few pieces for many places."""
    for first, last in ((0, 0), (5, 5), (3, 100), (0, 1_000_000), (63, 65_537), (64, 4_160), (1, 300_000)):
        covered = sorted(
            (start * 64**level, end * 64**level) for level, start, end in pieces(first, last) if start < end
        )
        assert sum(end - start for _, start, end in pieces(first, last)) < 600
        edges = [edge for pair in covered for edge in pair]
        assert edges[1:-1:2] == edges[2::2]
        assert not covered or (edges[0], edges[-1]) == (first, last)


def test_the_newest_sample_is_that_of_the_moment() -> None:
    """With the value before it, and however old it is."""
    history = Recorded({"a": 30.0})
    history.extend("a", [10, 20, 20], [1.0, 2.0, 3.0])
    told = []
    for now in (9, 10, 19, 20, 10**15):
        history.now = Micros(now)
        told.append(history.last("a"))
    first, last = Point(Micros(10), 1.0, None), Point(Micros(20), 3.0, 2.0)
    assert told == [None, first, first, last, last]
    assert history.last("b") is None
    assert (history.interval("a"), history.interval("b")) == (30.0, 0.0)
    assert history.symbols == ("a",)


def test_a_base_may_be_as_old_as_its_interval_allows() -> None:
    """Three intervals, where these are longer than five minutes."""
    for interval, ages in ((0.0, (300, 301)), (600.0, (1_800, 1_801))):
        history = Recorded({"a": interval})
        history.add("a", Micros(0), 7.0)
        for age, expected in zip(ages, (7.0, None), strict=True):
            history.now = Micros((3_600 + age) * SECOND)
            assert history.window(Window("base", "a", 3_600)) == expected


def test_what_is_not_known_is_not_made_up() -> None:
    """Neither of a series that is not there, nor of one without samples in the window, nor of NaN."""
    history = Recorded()
    history.add("a", Micros(0), math.nan)
    history.add("b", Micros(0), 1.0)
    history.now = Micros(10 * SECOND)
    for symbol in ("a", "b", "c"):
        for reduction in REDUCTIONS:
            figure = history.window(Window(reduction, symbol, 5, 0.5))
            expected = {"count": 0.0, "base": 1.0 if symbol == "b" else None}.get(reduction)
            assert figure == expected, (symbol, reduction)
    assert history.last("a") is None


def test_a_figure_beyond_the_numbers_is_unknown() -> None:
    """As in the store."""
    history = Recorded()
    history.extend("a", [1, 2], [1.5e308, 1.5e308])
    history.now = Micros(2)
    assert history.window(Window("sum", "a", 1)) is None
    assert history.window(Window("stddev", "a", 1)) is None
    assert history.window(Window("avg", "a", 1)) is None
    assert history.window(Window("max", "a", 1)) == 1.5e308


def test_samples_come_oldest_first() -> None:
    """Else the history would be wrong without a word."""
    history = Recorded()
    history.add("a", Micros(2), 1.0)
    with pytest.raises(ValueError, match="a sample at 1 comes after one at 2: add them oldest first"):
        history.add("a", Micros(1), 1.0)
    with pytest.raises(ValueError, match="shorter"):
        history.extend("a", [3, 4], [1.0])


def test_the_market_is_asked_about_the_moment() -> None:
    """Whether one is open depends on the time; without a calendar it is not known."""
    history = Recorded(market_open=lambda symbol, now: symbol == "a" and now > 5)
    history.now = Micros(6)
    assert (history.market_open("a"), history.market_open("b")) == (True, False)
    assert Recorded().market_open("a") is None


def test_a_row_may_stand_for_many_samples() -> None:
    """Average, lowest, highest, sum and count are then those of the samples, all else that of the rows."""
    history = Recorded()
    history.add("a", Micros(1 * SECOND), 7.0)
    history.extend("a", [2 * SECOND, 3 * SECOND], [5.0, 9.0], [1.0, 8.0], [6.0, 9.0], [4, 1], [12.0, 9.0])
    history.extend("a", [4 * SECOND], [3.0])
    history.now = Micros(4 * SECOND)
    asked: dict[Reduction, float] = {
        "count": 7.0, "sum": 31.0, "avg": 31 / 7, "min": 1.0, "max": 9.0,
        "quantile": 6.0, "stddev": statistics.pstdev([7.0, 5.0, 9.0, 3.0]), "base": 3.0,
    }  # fmt: skip
    for reduction, expected in asked.items():
        window = Window(reduction, "a", 0 if reduction == "base" else 60, 0.5)
        assert close(history.window(window), expected), reduction
    history.now = Micros(1 * SECOND)
    assert history.window(Window("count", "a", 60)) == 1.0
    with pytest.raises(ValueError, match="shorter"):
        history.extend("a", [5 * SECOND, 6 * SECOND], [1.0, 2.0], counts=[1])


@pytest.mark.parametrize("seed", range(2))
def test_rows_that_stand_for_many_are_told_as_their_samples(seed: int) -> None:
    """Thousands of them, in windows that lie on their edges; also among samples."""
    chance = random.Random(seed)
    history, samples = Recorded(), []
    for minute in range(5_000):
        values = [round(chance.gauss(50, 20), 2) for _ in range(chance.randrange(4))]
        start = minute * 60
        if not values:
            continue
        taken = [(start + place, value, value, value) for place, value in enumerate(values)]
        samples += taken
        if minute < 4_000:
            row = [values[-1]], [min(values)], [max(values)], [len(values)], [math.fsum(values)]
            history.extend("a", [(start + 59) * SECOND], *row)
        else:
            history.extend("a", [second * SECOND for second, *_ in taken], values)
    for _ in range(60):
        now = 60 * chance.randrange(1, 5_000) + 59
        seconds = 60.0 * chance.choice((1, 7, 60, 1_440, 4_000))
        history.now = Micros(now * SECOND)
        for reduction in REDUCTIONS[:5]:
            window = Window(reduction, "a", seconds)
            assert close(history.window(window), naive(samples, window, now)), (window, now)


@pytest.mark.parametrize("rolled", [False, True])
def test_what_is_forgotten_changes_no_figure_after_it(rolled: bool) -> None:
    """Whenever that is, whatever was asked before, and however the history goes on."""
    chance = random.Random(7)
    whole, short = Recorded(), Recorded()
    windows = [Window(kind, "a", seconds, 0.9) for kind in REDUCTIONS for seconds in (5, 700, 5_000)]
    second = 0
    for _ in range(90):
        ts, values = [], []
        for _ in range(chance.choice((1, 50, 400))):
            second += chance.choice((1, 1, 3))
            ts.append(second * SECOND)
            values.append(round(chance.gauss(0, 9), 1))
        counts = [chance.randrange(1, 5) for _ in ts]
        for history in (whole, short):
            if rolled and counts[0] > 1:
                lows, highs = [value - 1 for value in values], [value + 2 for value in values]
                history.extend("a", ts, values, lows, highs, counts, [value * 2 + 1 for value in values])
            else:
                history.extend("a", ts, values)
            history.now = Micros((second - chance.choice((0, 40))) * SECOND)
        whole.now = short.now
        for window in chance.sample(windows, 9):
            assert close(short.window(window), whole.window(window)), window
        assert short.last("a") == whole.last("a")
        if chance.random() < 0.5:
            # The longest window, its base's look-back, and the moments before the newest that are asked for.
            short.forget(Micros(second * SECOND - 5_000 * SECOND - STALE_AFTER - 41 * SECOND))


def test_a_long_history_takes_no_more_memory_than_its_windows() -> None:
    """A year of minutes, of which an hour is kept; the last two samples stay however old they are."""
    history = Recorded()
    history.extend("b", [1, 2, 3], [1.0, 2.0, 3.0])
    before = 0
    tracemalloc.start()
    try:
        for day in range(365):
            ts = [(day * 1_440 + minute) * 60 * SECOND for minute in range(1_440)]
            history.extend("a", ts, [float(minute) for minute in range(1_440)])
            history.now = Micros(ts[-1])
            assert history.window(Window("avg", "a", 3_600)) == 1_409.5
            history.forget(Micros(ts[-1] - 3_600 * SECOND))
            before = tracemalloc.get_traced_memory()[0] if day == 5 else before
        assert tracemalloc.get_traced_memory()[0] < before + 20_000
    finally:
        tracemalloc.stop()
    assert history.last("b") == Point(Micros(3), 3.0, 2.0)
