"""Where each wrong expression is wrong, what is told, and how it is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.errors import ExpressionError
from oculus.rules.expression import FUNCTIONS, parse, parse_formula
from tests.rules.known import seen

_LOGIC = "and, or and not join comparisons, not numbers"
_NUMBER = "a comparison cannot be used as a number"
_DAYS = "days are written as weekday mon-fri, or weekday sat,sun"
_SERIES = "avg(net.http.site.rtt, 5m) (make a derived value of the expression)"
_KNOWN = ", ".join(sorted([*FUNCTIONS, "abs"]))
_EARLY = "the condition ends too early"
_UNITS = "(k, M, %; durations: ms, s, m, h, d, w)"
_CHAIN = "comparisons cannot be chained (join two with and)"


@pytest.mark.parametrize(
    ("text", "told", "column"),
    [
        ("", _EARLY, 1), ("  ", _EARLY, 3), ("a >", _EARLY, 4), ("a > ", _EARLY, 5),
        ("a > 1 and", _EARLY, 10),
        ("not", _EARLY, 4), ("a > 1 + ", _EARLY, 9), ("-", _EARLY, 2), ("(", _EARLY, 2),
        ("> 1", "'>' is not expected", 1), ("a > > 1", "'>' is not expected", 5),
        ("a > 1 b", "'b' is not expected", 7),
        ("a > 1)", "')' is not expected", 6), ("()", "')' is not expected", 2),
        ("and a > 1", "'and' is not expected", 1),
        ("a > not b > 1", "'not' is not expected", 5), ("a > +1", "'+' is not expected", 5),
        ("a * / 2 > 1", "'/' is not expected", 5), ("a > 1000mb", f"'mb' is not a unit {_UNITS}", 9),
        ("a > 1_000", f"'_000' is not a unit {_UNITS}", 6), ("a > 0x1f", f"'x1f' is not a unit {_UNITS}", 6),
        ("a > 5K", "'K' is not a unit (k)", 6), ("a > 5Mb", f"'Mb' is not a unit {_UNITS}", 6),
        ("a > 1e3s", f"'s' is not a unit {_UNITS}", 8), ("a > 5%%", f"'%%' is not a unit {_UNITS}", 6),
        ("a > 1e999", "the number is too large", 5), ("a > 1h30", f"'h30' is not a unit {_UNITS}", 6),
        ("a b > 1", "'b' is not expected", 3),
        ("a > 5 %", "'%' is not part of the language (write 5% without a blank)", 7),
        ("a = 1", "'=' is not part of the language (compare with ==)", 3),
        ("a ! 1", "'!' is not part of the language (write not, or != to compare)", 3),
        ("a > 1 && b > 2", "'&' is not part of the language (write and)", 7),
        ("A > 1", "'A' is not part of the language", 1),
        ("a.B > 1", "'.' is not part of the language", 2), ("a. > 1", "'.' is not part of the language", 2),
        ("a..b > 1", "'.' is not part of the language", 2),
        ("a > 'x'", '"\'" is not part of the language', 5),
        ("a > 1;", "';' is not part of the language", 6), ("é > 1", "'é' is not part of the language", 1),
        ("a >\n§", "'§' is not part of the language", 5),
        ("a\0> 1", "'\\x00' is not part of the language", 2),
        ("(a > 1", '")" is missing', 7), ("(a + 1 > 2", '")" is missing', 11),
        ("((a) > 1", '")" is missing', 9),
        ("(a b) > 1", '")" is missing', 4), ("a[0] > 1", "'[' is not part of the language", 2),
        ("1 < a < 3", _CHAIN, 7), ("a == b == c", _CHAIN, 8),
        ("a and b > 1", _LOGIC, 1), ("a > 1 and b", _LOGIC, 11), ("a > 1 or b + 1", _LOGIC, 10),
        ("a > 1 and b > 1 and 5", _LOGIC, 21), ("a or b", _LOGIC, 1), ("not a", _LOGIC, 5),
        ("not -a", _LOGIC, 5),
        ("a > 1 or (b)", _LOGIC, 10), ("a > 1 and not 5", _LOGIC, 15),
        ("(a > 1) + 2 > 3", _NUMBER, 1), ("2 + (a > 1) > 3", _NUMBER, 5), ("2 * (a > 1) > 3", _NUMBER, 5),
        ("(a > 1) / 2 > 3", _NUMBER, 1), ("-(a > 1) > 2", _NUMBER, 2), ("a > (b > 1)", _NUMBER, 5),
        ("(a > 1) == (b > 1)", _NUMBER, 1), ("1 + 2 - (not a > 1) > 0", _NUMBER, 9),
        # functions
        ("agv(a, 5m) > 1", 'unknown function "agv" (did you mean "avg"?)', 1),
        ("1 < 2 or cross_above(a, 1)", 'unknown function "cross_above" (did you mean "crosses_above"?)', 10),
        ("zzz(a) > 1", f'unknown function "zzz" (known: {_KNOWN})', 1),
        ("a.b(c) > 1", "'(' is not expected", 4),
        ("avg(x) > 1", "avg needs a window: avg(x, 5m)", 6), ("avg(x", "avg needs a window: avg(x, 5m)", 6),
        ("avg(x, ) > 1", "avg needs a window: avg(x, 5m)", 8),
        ("absent(x)", "absent needs a window: absent(x, 5m)", 9),
        ("quantile(x) > 1", "quantile needs a number from 0 to 1: quantile(x, 0.95, 5m)", 11),
        ("quantile(x, 0.5) > 1", "quantile needs a window: quantile(x, 0.95, 5m)", 16),
        ("crosses_above(x)", "crosses_above needs a level: crosses_above(x, 100)", 16),
        ("crosses_above(x,)", "crosses_above needs a level: crosses_above(x, 100)", 17),
        ("avg() > 1", "avg needs a series: avg(net.http.site.rtt, 5m)", 5),
        ("age() > 1", "age needs a series: age(net.http.site.rtt)", 5),
        ("avg(", "avg needs a series: avg(net.http.site.rtt, 5m)", 5),
        ("avg(x, 300) > 1", "the window 300 has no unit: 300s, or 300m", 8),
        ("avg(x, 5M) > 1", "the window 5M has no unit: a duration such as 5m", 8),
        ("avg(x, y) > 1", "a window is a duration such as 5m, 1h or 7d: avg(x, 5m)", 8),
        ("avg(x, -5m) > 1", "a window is a duration such as 5m, 1h or 7d: avg(x, 5m)", 8),
        ("avg(x, 0s) > 1", "a window is longer than nothing, and at most 5 years", 8),
        ("avg(x, 1828d) > 1", "a window is longer than nothing, and at most 5 years", 8),
        ("avg(x, 2 * 5m) > 1", "the window 2 has no unit: 2s, or 2m", 8),
        ("avg(x, 5m * 2) > 1", '")" is missing', 11),
        ("avg(x, 5m, 1) > 1", "avg takes no more than a series and a window: avg(x, 5m)", 10),
        ("age(x, 5m) > 1", "age takes no more than a series: age(x)", 6),
        ("avg(x 5m) > 1", 'a comma or ")" is missing: avg(x, 5m)', 7),
        ("quantile(x, 1h) > 1",
         "the quantile, a number from 0 to 1, goes before the window: quantile(x, 0.95, 5m)", 13),
        ("quantile(x, 95, 1h) > 1", "a quantile is a number from 0 to 1 (0.95)", 13),
        ("quantile(x, 95%, 1h) > 1", "a quantile is a number from 0 to 1 (0.95)", 13),
        ("quantile(x, 950, 1h) > 1", "a quantile is a number from 0 to 1", 13),
        ("avg(a + b, 5m) > 1", f"avg is about one series, not an expression: {_SERIES}", 5),
        ("avg(5, 5m) > 1", f"avg is about one series, not an expression: {_SERIES}", 5),
        ("avg(avg(a, 5m), 1h) > 1", f"avg is about one series, not an expression: {_SERIES}", 5),
        ("avg((a), 5m) > 1", f"avg is about one series, not an expression: {_SERIES}", 5),
        ("crosses_above(a, b > 1)", _NUMBER, 18), ("crosses_above(a, 1) > 1", _NUMBER, 1),
        ("abs(a > 1) > 1", _NUMBER, 5),
        ("a > 1 and avg(a, 5m)", _LOGIC, 11), ("abs() > 1", "')' is not expected", 5),
        ("abs(a, b) > 1", '")" is missing', 6),
        ("a, b > 1", "',' is not expected (only a function's arguments are parted by commas)", 2),
        # guards
        ("time 22-06", "a time of day is written as time 22:00-06:00", 1),
        ("time 22:00", "a time of day is written as time 22:00-06:00", 1),
        ("a > 1 and time 22:00-6", "a time of day is written as time 22:00-06:00", 11),
        ("time 22:00-06:00:00", "a time of day is written as time 22:00-06:00", 1),
        ("time 25:00-06:00", "there is no such time of day (00:00 to 24:00)", 1),
        ("time 24:00-06:00", "there is no such time of day (00:00 to 24:00)", 1),
        ("time 22:60-06:00", "there is no such time of day (00:00 to 24:00)", 1),
        ("time 22:00-24:01", "there is no such time of day (00:00 to 24:00)", 1),
        ("time 22:00-22:00", "the time begins and ends at once (the whole day needs no guard)", 1),
        ("weekday monday", _DAYS, 1), ("weekday Mon-Fri", _DAYS, 1), ("weekday 1-5", _DAYS, 1),
        ("a > 1 and weekday mon-", _DAYS, 11), ("weekday mon,", _DAYS, 1), ("weekday mon-fri-sun", _DAYS, 1),
        ("weekday sat.sun", _DAYS, 1), ("(weekday sat) > 1", _NUMBER, 1),
        ("time 10:00-11:00 > 1", _NUMBER, 1),
    ],
)  # fmt: skip
def test_a_wrong_condition_is_told_with_its_column(text: str, told: str, column: int) -> None:
    """The column is that of the fault, from 1."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.told, caught.value.position) == (told, column - 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a > 1 and agv(x, 5m) > 5", "    a > 1 and agv(x, 5m) > 5\n              ^"),
        ("a >", "    a >\n       ^"),
        ("  a > 1  ;", "      a > 1  ;\n             ^"),
        ("a > 1\nand b = 2\nand c > 3", "    and b = 2\n          ^"),
        ("a\t>\x001", "    a > 1\n       ^"),
        ("a > 1 and \n\n", "    a > 1 and\n             ^"),
        ("a + " * 30 + "$" + " + b" * 30 + " > 1",
         "    … " + "a + " * 11 + "$" + " + b" * 11 + "…\n" + " " * 50 + "^"),
    ],
)  # fmt: skip
def test_a_caret_stands_under_the_spot(text: str, shown: str) -> None:
    """The line that the fault is in is shown, as much of it as fits."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.pointed == shown
    assert str(caught.value) == f"{caught.value.told}\n{shown}"


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_is_not_shown(text: str) -> None:
    """Without text there is nothing to point at."""
    with pytest.raises(ExpressionError) as caught:
        parse_formula(text)
    assert str(caught.value) == "the formula ends too early"


_WORDS = [
    "a", "b.c", "1", ".5", "1e9", "5%", "2k", "5m", "(", ")", ",", ">", "<", "==", "!=", "+", "-", "*", "**",
    "/", "and", "or", "not", "=", "!", "avg(", "a.*", "*.b", "crosses_above(", "quantile(", "absent(", "age(",
    "abs(", "time", "22:00-06:00", "weekday", "mon-fri", "sat,sun", ".", "\n",
]  # fmt: skip
_words = st.lists(st.sampled_from(_WORDS))


@given(st.text(max_size=60) | _words.map(" ".join) | _words.map("".join))
def test_no_text_raises_anything_but_expression_error(text: str) -> None:
    """Whatever a user writes is an expression or an ExpressionError whose place lies in the text."""
    for read in (parse, parse_formula):
        position, parsed = 0, None
        try:
            parsed = read(text)
        except ExpressionError as error:
            position = error.position
        assert 0 <= position <= len(text)
        if parsed is None:
            continue
        bound = parsed.bind(("x",) * parsed.wildcards)
        for value in (None, 1.0):
            view = seen(dict.fromkeys(bound.symbols, value), figures=dict.fromkeys(bound.windows, value))
            assert isinstance(bound.evaluate(view), float | bool | None)
            assert bound.explain(view)
            assert len(bound.operands(view)) >= len(bound.windows) // 2
        assert read(bound.text).bind().symbols == bound.symbols
