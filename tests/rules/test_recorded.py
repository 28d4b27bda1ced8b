"""Recorded history says of each moment what its samples up to then say."""

from __future__ import annotations

import math
import random
import statistics
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
