"""The functions of the language and its guards: which figures each reads, and what it comes to."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest

from oculus.model import Operand
from oculus.rules.expression import FUNCTIONS, parse, parse_formula
from oculus.windowed import Reduction, Window
from oculus.zones import zone
from tests.rules.known import seen

DAY = 86_400.0  # seconds


@pytest.mark.parametrize(
    ("call", "windows"),
    [
        ("avg(a.b, 5m)", [("avg", 300)]), ("min(a.b, 1h)", [("min", 3600)]),
        ("max(a.b, 30s)", [("max", 30)]), ("sum(a.b, 7d)", [("sum", 7 * DAY)]),
        ("count(a.b, 1w)", [("count", 7 * DAY)]), ("stddev(a.b,1h30m)", [("stddev", 5400)]),
        ("median(a.b, 1d)", [("quantile", DAY, 0.5)]),
        ("quantile(a.b, 0.95, 1h)", [("quantile", 3600, 0.95)]),
        ("quantile(a.b, 0, 1h)", [("quantile", 3600, 0.0)]),
        ("quantile( a.b , 1 , 1h )", [("quantile", 3600, 1.0)]),
        ("rate(a.b, 500ms)", [("rate", 0.5)]), ("change(a.b, 1h)", [("base", 3600)]),
        ("pct_change (a.b, 1d)", [("base", DAY)]), ("zscore(a.b, 1d)", [("avg", DAY), ("stddev", DAY)]),
        ("prev(a.b)", []), ("age(a.b)", []), ("avg(a.b, 5m) + avg(a.b, 300s) + a.b", [("avg", 300)]),
        ("avg(a.b, 1827d)", [("avg", 1827 * DAY)]), ("abs(change(a.b, 1h))", [("base", 3600)]),
    ],
)  # fmt: skip
def test_each_function_reads_its_figures(
    call: str, windows: list[tuple[Reduction, float] | tuple[Reduction, float, float]]
) -> None:
    """A figure that is asked for twice is read once."""
    bound = parse_formula(call).bind()
    assert bound.symbols == ("a.b",)
    assert bound.windows == tuple(
        Window(window[0], "a.b", window[1], window[2] if len(window) > 2 else 0.0) for window in windows
    )


@pytest.mark.parametrize(
    ("text", "figures", "value"),
    [
        ("avg(a, 5m)", {"avg": 4.0}, 4.0), ("avg(a, 5m)", {}, None), ("count(a, 5m)", {"count": 0.0}, 0.0),
        ("avg(a, 5m) * 2 + 1", {"avg": 4.0}, 9.0), ("median(a, 5m)", {"quantile": 3.0}, 3.0),
        ("change(a, 5m)", {"base": 8.0}, 2.0), ("change(a, 5m)", {"base": 12.0}, -2.0),
        ("change(a, 5m)", {}, None), ("change(nowhere, 5m)", {}, None),
        ("pct_change(a, 5m)", {"base": 8.0}, 25.0), ("pct_change(a, 5m)", {"base": 20.0}, -50.0),
        ("pct_change(a, 5m)", {"base": -10.0}, 200.0), ("pct_change(a, 5m)", {"base": 0.0}, None),
        ("pct_change(a, 5m)", {}, None), ("zscore(a, 5m)", {"avg": 4.0, "stddev": 2.0}, 3.0),
        ("zscore(a, 5m)", {"avg": 14.0, "stddev": 2.0}, -2.0),
        ("zscore(a, 5m)", {"avg": 4.0, "stddev": 0.0}, None),
        ("zscore(a, 5m)", {"avg": 4.0}, None), ("zscore(a, 5m)", {"stddev": 4.0}, None),
        ("prev(a)", {}, 7.0), ("a - prev(a)", {}, 3.0), ("prev(b)", {}, None), ("prev(nowhere)", {}, None),
        ("age(a)", {}, 20.0), ("age(old)", {}, 900.0), ("age(nowhere)", {}, None), ("prev(old)", {}, None),
        ("abs(change(a, 5m))", {"base": 12.0}, 2.0),
        # Of a stale series the figures are known, what is about its last value is not.
        ("avg(old, 5m)", {"avg": 4.0}, 4.0), ("change(old, 5m)", {"base": 4.0}, None),
        ("pct_change(old, 5m)", {"base": 4.0}, None), ("zscore(old, 5m)", {"avg": 4.0, "stddev": 1.0}, None),
    ],
)  # fmt: skip
def test_what_a_function_comes_to(text: str, figures: dict[Reduction, float], value: float | None) -> None:
    """The last value of `a` is 10 and was 7 before, that of `old` 15 minutes old."""
    bound = parse_formula(text).bind()
    view = seen(
        {"a": 10.0, "b": 1.0, "old": 5.0}, now=1000, ts={"a": 980, "old": 100},
        previous={"a": 7.0, "old": 4.0},
        figures={window: figures.get(window.reduction) for window in bound.windows},
    )  # fmt: skip
    assert bound.evaluate(view) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("age(a) > 5m", False), ("age(old) > 5m", True), ("age(old) > 1h", False),
        ("age(nowhere) > 5m", None),
        ("absent(a, 5m)", False), ("absent(old, 5m)", True), ("absent(old, 1h)", False),
        ("absent(nowhere, 5m)", True), ("not absent(nowhere, 5m)", False),
        ("absent(old, 900s)", True), ("absent(old, 901s)", False),  # the beginning is outside
        ("crosses_above(a, 8)", True), ("crosses_above(a, 7)", True), ("crosses_above(a, 10)", False),
        ("crosses_above(a, 6.9)", False), ("crosses_below(a, 8)", False), ("crosses_above(b, 8)", None),
        ("crosses_below(down, 8)", True), ("crosses_below(down, 9)", True), ("crosses_below(down, 5)", False),
        ("crosses_below(down, -1)", False), ("crosses_above(down, 8)", False),
        ("crosses_above(a, down + 3)", True),
        ("crosses_above(a, (down + 3) * 1)", True), ("crosses_above(a, nowhere)", None),
        ("crosses_above(old, 4.5)", None), ("crosses_below(negative, -2)", True),
        ("crosses_above(rising, -2)", True),
        ("crosses_above(a, 8) and b == 1", True), ("b == 2 or crosses_above(a, 8)", True),
        ("market_open(a)", True), ("not market_open(b)", True), ("market_open(old)", None),
        ("market_open(a) and a > 5", True), ("(market_open(b)) or a > 5", True),
    ],
)  # fmt: skip
def test_what_is_true_of_a_series(text: str, value: bool | None) -> None:
    """Age, absence, crossings and markets, also of series that are stale or were never seen."""
    view = seen(
        {"a": 10.0, "b": 1.0, "down": 5.0, "old": 5.0, "negative": -3.0, "rising": -1.0},
        now=1000,
        ts={"a": 980, "old": 100},
        previous={"a": 7.0, "down": 9.0, "old": 4.0, "negative": -1.0, "rising": -3.0},
        markets={"a": True, "b": False},
    )
    assert parse(text).bind().evaluate(view) is value


def test_staleness_follows_the_interval() -> None:
    """A series of one sample an hour is fresh for three hours."""
    for age, value in ((3 * 3600, True), (3 * 3600 + 1, None)):
        view = seen({"a": 10.0}, now=100_000, ts={"a": 100_000 - age}, interval=3600)
        assert parse("a > 1").bind().evaluate(view) is value
        assert parse("a + 0 > 1").bind().evaluate(view) is value


def test_a_value_that_is_no_number_is_unknown() -> None:
    """NaN neither holds nor does not."""
    view = seen({"a": float("nan"), "b": 1.0})
    for text in ("a > 1", "a != 1", "a + b > 1", "1 < a", "not a > 1"):
        assert parse(text).bind().evaluate(view) is None


# 2026-03-29 is a Sunday; clocks in Berlin go from 2:00 to 3:00 then.
@pytest.mark.parametrize(
    ("text", "place", "moments"),
    [
        ("time 22:00-06:00", "UTC", {"06-03 21:59:59": False, "06-03 22:00": True, "06-03 23:59": True,
                                     "06-04 00:00": True, "06-04 05:59:59": True, "06-04 06:00": False}),
        ("time 09:30-16:00", "America/New_York", {"06-03 13:29": False, "06-03 13:30": True,
                                                  "06-03 19:59": True, "06-03 20:00": False,
                                                  "01-07 13:30": False, "01-07 14:30": True}),
        ("time 9:05 - 9:06", "UTC", {"06-03 09:04:59": False, "06-03 09:05": True, "06-03 09:06": False}),
        ("time 18:00-24:00", "UTC", {"06-03 18:00": True, "06-03 23:59:59": True, "06-04 00:00": False}),
        ("time 18:00-00:00", "UTC", {"06-03 18:00": True, "06-03 23:59:59": True, "06-04 00:00": False}),
        ("time 00:00-24:00", "UTC", {"06-03 00:00": True, "06-03 23:59:59": True}),
        ("time 02:00-03:00", "Europe/Berlin", {"03-29 00:59": False, "03-29 01:00": False,  # left out
                                               "10-25 00:00": True, "10-25 01:59": True,
                                               "10-25 02:00": False}),
        ("not time 22:00-06:00", "UTC", {"06-03 22:00": False, "06-03 12:00": True}),
        ("weekday mon-fri", "UTC", {"05-31 23:59": False, "06-01 00:00": True, "06-05 23:59": True,
                                    "06-06 00:00": False}),
        ("weekday sat,sun", "UTC", {"06-05 12:00": False, "06-06 12:00": True, "06-07 12:00": True}),
        ("weekday fri-mon", "UTC", {"06-04 12:00": False, "06-05 12:00": True, "06-07 12:00": True,
                                    "06-08 12:00": True, "06-09 12:00": False}),
        ("weekday mon , wed - thu", "UTC", {"06-01 12:00": True, "06-02 12:00": False, "06-04 12:00": True}),
        ("weekday sun", "Pacific/Auckland", {"06-06 11:59": False, "06-06 12:00": True,
                                             "06-07 12:00": False}),
        ("weekday mon-mon", "UTC", {"06-01 12:00": True, "06-02 12:00": False}),
        ("weekday mon-fri and time 08:00-18:00 or weekday sun", "UTC", {
            "06-01 12:00": True, "06-01 19:00": False, "06-06 12:00": False, "06-07 12:00": True}),
        ("(weekday sat)", "UTC", {"06-06 12:00": True}),
    ],
)  # fmt: skip
def test_guards_follow_the_clock_of_their_zone(text: str, place: str, moments: dict[str, bool]) -> None:
    """The moments are in UTC, of the year 2026."""
    bound = parse(text, zone=zone(place)).bind()
    for moment, value in moments.items():
        now = datetime.fromisoformat(f"2026-{moment}").replace(tzinfo=UTC).timestamp()
        assert bound.evaluate(seen({}, now=now)) is value, moment


def test_a_guard_without_a_zone_is_in_utc() -> None:
    """So that the same rules mean the same on every host."""
    berlin: tzinfo = zone("Europe/Berlin")
    now = datetime(2026, 6, 3, 21, 0, tzinfo=UTC).timestamp()
    assert parse("time 22:00-06:00").bind().evaluate(seen({}, now=now)) is False
    assert parse("time 22:00-06:00", zone=berlin).bind().evaluate(seen({}, now=now)) is True


def test_functions_and_guards_are_explained() -> None:
    """Each call stands with what it came to, a crossing with both its values."""
    bound = parse(
        "avg(a,5m) > 3 and crosses_above(a, b * 4) and not absent(a, 5m) and time 00:00-01:00"
        " and zscore(a, 1d) > 2 and market_open(c) and age(a) < 1m"
    ).bind()
    view = seen(
        {"a": 10.0, "b": 2.0}, now=1000, ts={"a": 980}, previous={"a": 7.0},
        figures={Window("avg", "a", 300): 4.25},
    )  # fmt: skip
    assert bound.explain(view) == (
        "avg(a,5m) (4.25) > 3 and crosses_above(a, b (2) * 4) (true, 7 → 10) and not absent(a, 5m) (false)"
        " and time 00:00-01:00 (true) and zscore(a, 1d) (unknown) > 2 and market_open(c) (unknown)"
        " and age(a) (20) < 1m"
    )
    assert bound.operands(view) == [
        Operand("avg(a,5m)", 4.25, 20.0), Operand("crosses_above(a, b * 4)", 1.0, 20.0),
        Operand("b", 2.0, 0.0),
        Operand("absent(a, 5m)", 0.0, 20.0), Operand("time 00:00-01:00", 1.0, None),
        Operand("zscore(a, 1d)", None, 20.0), Operand("market_open(c)", None, None),
        Operand("age(a)", 20.0, 20.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("weekday thu and avg(a, 5m) > 3", 4.25), ("crosses_above(a, b)", 10.0), ("absent(a, 5m)", 10.0),
        ("b > a", 2.0), ("time 00:00-01:00", None), ("market_open(c)", None),
    ],
)  # fmt: skip
def test_the_value_of_an_alert_is_the_first_number_that_it_reads(text: str, value: float | None) -> None:
    """Of something true or false about a series it is the last value."""
    bound = parse(text).bind()
    view = seen({"a": 10.0, "b": 2.0}, now=1000, ts={"a": 980}, figures={Window("avg", "a", 300): 4.25})
    assert bound.value(view) == bound.value(view) == value


def test_the_manual_lists_every_function() -> None:
    """A function that nobody can find is of no use."""
    from pathlib import Path

    from oculus import __file__ as package

    manual = (Path(package).parents[1] / "docs" / "rules.md").read_text()
    assert [name for name in [*FUNCTIONS, "abs"] if f"`{name}(" not in manual] == []
