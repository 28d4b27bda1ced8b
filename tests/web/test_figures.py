"""How numbers are shown: precision, trends, sparklines, durations."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oculus.web.figures import (
    SPARK_HEIGHT,
    SPARK_WIDTH,
    Shape,
    change_text,
    measure,
    shape,
    span_text,
    spark,
    trend,
    unit_text,
    value_text,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "", "0"),
        (-0.0, "", "0"),
        (7.0, "ms", "7"),
        (97_412.0, "", "97,412"),
        (-97_412.0, "", "-97,412"),
        (97_412.6, "", "97,413"),
        (97_412.0, "USD", "97,412.00"),
        (97_412.6, "USD", "97,412.60"),
        (-5.0, "EUR", "-5.00"),
        (0.25, "USD", "0.25"),
        (5.0, "abc", "5"),
        (1e15, "", "1e+15"),
        (-1.23456e300, "USD", "-1.235e+300"),
        (1_534.26, "ms", "1,534.3"),
        (123.456, "ms", "123.5"),
        (12.3456, "ms", "12.35"),
        (1.0001, "", "1.00"),
        (0.123456, "", "0.123"),
        (-0.00123456, "", "-0.00123"),
        (0.00002104, "USD", "0.0000210"),
        (0.0000001234, "", "0.000000123"),
        (1e-12, "", "1e-12"),
        (200.0, "code", "200"),
        (1.0, "bool", "up"),
        (0.0, "bool", "down"),
        (math.inf, "", "inf"),
        (math.nan, "", "nan"),
    ],
)
def test_a_value_has_the_digits_that_suit_its_size(value: float, unit: str, text: str) -> None:
    """Large numbers lose decimals, small ones keep three digits, prices their cents; truth becomes a word."""
    assert value_text(value, unit) == text


@given(st.floats())
def test_no_value_is_too_long_for_its_place(value: float) -> None:
    """Whatever was pushed, the text fits a row of a phone."""
    assert 1 <= len(value_text(value, "")) <= 20
    assert 1 <= len(value_text(value, "USD")) <= 23


@pytest.mark.parametrize(
    ("unit", "text"), [("ms", "ms"), ("bool", ""), ("code", ""), ("", ""), ("USD", "USD")]
)
def test_a_unit_that_says_nothing_is_left_out(unit: str, text: str) -> None:
    """Truth values and status codes stand alone."""
    assert unit_text(unit) == text


@pytest.mark.parametrize(
    ("history", "direction"),
    [
        ([], "flat"),
        ([1.0], "flat"),
        ([10.0, 10.0, 10.0], "flat"),
        ([10.0, 10.0, 10.4], "flat"),  # within a twentieth
        ([10.0, 10.0, 11.0], "up"),
        ([10.0, 10.0, 9.0], "down"),
        ([8.0, 12.0, 10.9], "flat"),  # within a quarter of the range
        ([8.0, 12.0, 12.0], "up"),
        ([-10.0, -10.0, -11.0], "down"),
        ([0.0, 0.0, 0.001], "up"),
        ([0.0, 0.0, 0.0], "flat"),
    ],
)
def test_a_trend_is_more_than_noise(history: list[float], direction: str) -> None:
    """The last value must leave the mean before it by a twentieth, or by a quarter of the range."""
    assert trend(history) == direction


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_a_trend_is_told_for_any_history(history: list[float]) -> None:
    """Even the largest floats have one of the three directions."""
    assert trend(history) in ("up", "down", "flat")


@pytest.mark.parametrize("history", [[], [5.0]])
def test_one_value_makes_no_line(history: list[float]) -> None:
    """A sparkline begins with the second value."""
    assert spark(history) == ""


def test_a_sparkline_spans_its_box_with_the_largest_value_on_top() -> None:
    """Its x runs over the width in equal steps, y from 2 (largest) to the height less 2 (smallest)."""
    assert (SPARK_WIDTH, SPARK_HEIGHT) == (120, 28)
    assert spark([1.0, 3.0, 2.0]) == "0.0,26.0 60.0,2.0 120.0,14.0"


def test_a_constant_series_is_a_line_in_the_middle() -> None:
    """Equal values divide by no range."""
    assert spark([7.0, 7.0]) == "0.0,14.0 120.0,14.0"


@pytest.mark.parametrize(
    ("history", "text"),
    [
        ([], ""),
        ([5.0], ""),
        ([100.0, 50.0, 101.24], "+1.24%"),
        ([100.0, 98.5], "−1.50%"),
        ([-100.0, -90.0], "+10.00%"),
        ([100.0, 350.0], "+250.0%"),
        ([100.0, 100.001], "0.00%"),
        ([100.0, 100.0], "0.00%"),
        ([0.0, 5.0], ""),
        ([1.0, 11.0], ""),
        ([1e-308, 1e308], ""),
    ],
)
def test_a_change_is_from_the_first_value_to_the_last(history: list[float], text: str) -> None:
    """It is a percentage of the first value, and left out where that says little."""
    assert change_text(history) == text


def test_a_shape_agrees_with_its_parts() -> None:
    """The direction follows the sign of the change, the trend looks past noise."""
    history = [100.0, 100.0, 101.0]
    assert shape(history) == Shape("flat", "up", "+1.00%", spark(history))
    assert shape([100.0, 99.0]).direction == "down"
    assert shape([100.0, 100.0]).direction == "flat"
    assert shape([0.0, 0.0, 5.0]).direction == "up"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=40))
@example([-1.7e308, 1.7e308])
@example([5e-324, 0.0])
def test_every_point_of_a_sparkline_is_in_its_box(history: list[float]) -> None:
    """Whatever was measured, a browser can draw it."""
    points = [tuple(map(float, point.split(","))) for point in spark(history).split(" ")]
    assert len(points) == len(history)
    assert all(0 <= x <= SPARK_WIDTH and 0 <= y <= SPARK_HEIGHT for x, y in points)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "0.5s"),
        (30, "30s"),
        (60, "1m"),
        (90, "1.5m"),
        (300, "5m"),
        (3600, "1h"),
        (86_400, "1d"),
        (604_800, "7d"),
    ],
)
def test_a_duration_has_its_largest_fitting_unit(seconds: float, text: str) -> None:
    """Durations read as the configuration writes them."""
    assert span_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0, "B", ("0", "B")), (1_536.0, "B", ("1.54", "kB")), (8_589_934_592.0, "B", ("8.59", "GB")),
        (125_000.0, "B/s", ("125", "kB/s")), (-2e6, "B", ("−2", "MB")), (12.5, "ms", ("12.50", "ms")),
        (0.375, "probability", ("37.5", "%")), (1.0, "bool", ("up", "")),
    ],
)  # fmt: skip
def test_a_value_has_the_unit_that_fits(value: float, unit: str, shown: tuple[str, str]) -> None:
    """Bytes are counted in the size that people read; odds are percent."""
    assert measure(value, unit) == shown
