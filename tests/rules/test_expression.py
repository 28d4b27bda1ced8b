"""The language of conditions: what arithmetic, comparisons and logic come to, and what is explained."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.errors import ExpressionError
from oculus.model import Operand
from oculus.rules.expression import parse, parse_formula
from tests.rules.known import seen

VALUES: Mapping[str, float | None] = {
    "one": 1.0, "two": 2.0, "ten": 10.0, "zero": 0.0, "neg": -3.0, "none": None, "net.http.site.rtt": 1534.0,
    "net.ping.8_8_8_8.up": 1.0, "a.1.b": 7.0, "_x": 5.0, "order": 1.0, "nothing": 1.0, "android.and": 1.0,
    "big": 1e308, "e5": 5.0, "time": 3.0, "weekday": 4.0, "avg": 6.0, "abs": 8.0, "k": 9.0,
}  # fmt: skip


def value_of(text: str) -> bool | None:
    """Return what a condition comes to over VALUES."""
    return parse(text).bind().evaluate(seen(VALUES))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # comparisons
        ("one > 0", True), ("one > 1", False), ("one < 2", True), ("two < 2", False), ("two >= 2", True),
        ("one >= 2", False), ("two <= 2", True), ("ten <= 2", False), ("one == 1", True), ("one == 2", False),
        ("one != 2", True), ("one != 1", False), ("1 < ten", True), ("one < two", True), ("2 > 1", True),
        # symbols and numbers
        ("net.http.site.rtt > 1000", True), ("net.ping.8_8_8_8.up == 0", False), ("a.1.b == 7", True),
        ("_x == 5", True), ("order == 1", True), ("nothing == 1", True), ("android.and == 1", True),
        ("one == 1.0", True), ("one == 1.", True), ("one > .5", True), ("ten == 1e1", True),
        ("ten == 1E+1", True),
        ("one == 10e-1", True), ("e5 == 5", True), ("one==1", True), ("  one\t>\n0  ", True),
        ("one>0or two>9", True), ("one==1and two==2", True), ("one>.5or one>2", True),
        # units
        ("5k == 5000", True), ("1.5M == 1500000", True), ("5% == 5", True), ("ten == 10%", True),
        ("5M == 300000 * 5", False), ("-2k == 0 - 2000", True), ("2k*2 == 4k", True), (".5k == 500", True),
        ("1e2k == 100k", True), ("5m == 300", True), ("1h == 60m", True), ("500ms == 0.5", True),
        ("1h30m == 90m", True), ("1w == 7d", True), ("1.5h == 5400", True), ("250us == 0.00025", True),
        ("2 * 5m == 10m", True), ("1h / 2 == 30m", True), ("k == 9", True), ("2k > k", True),
        # names that mean something elsewhere
        ("time == 3", True), ("weekday - time == 1", True), ("weekday > 3 and time < 4", True),
        ("avg == 6", True), ("abs == 8", True), ("time>2", True),
        # abs
        ("abs(neg) == 3", True), ("abs(one - ten) > 8", True), ("abs (neg) == abs(-3)", True),
        ("-abs(neg) * 2 == -6", True), ("abs(none) > 1", None),
        # precedence: unary minus, product, sum, comparison, not, and, or
        ("1 + 2 * 3 == 7", True), ("(1 + 2) * 3 == 9", True), ("10 - 4 - 3 == 3", True),
        ("10 - (4 - 3) == 9", True),
        ("12 / 3 / 2 == 2", True), ("12 / (3 / 2) == 8", True), ("2 * 6 / 3 == 4", True),
        ("12 / 2 * 3 == 18", True),
        ("-2 * 3 == 0 - 6", True), ("- -2 == 2", True), ("2 - -3 == 5", True), ("2--3 == 5", True),
        ("-(1 + 2) == -3", True), ("neg == -3", True), ("-neg == 3", True), ("one + 1 > two - 1", True),
        ("one > 2 or one > 0 and two > 5", False), ("(one > 2 or one > 0) and two > 5", False),
        ("one > 0 or one > 2 and two > 5", True), ("(one > 0 or one > 2) and two > 5", False),
        ("not one > 2 and two > 5", False), ("not (one > 2 and two > 5)", True), ("not not one > 0", True),
        ("not one > 0 or two > 1", True), ("((one)) > ((0))", True), ("(((one > 0)))", True),
        # division by zero, and what infinity makes of a number
        ("one / zero > 0", None), ("one / zero == one / zero", None), ("one / (two - 2) != 1", None),
        ("zero / one == 0", True), ("not one / zero > 0", None), ("one / zero > 0 or one > 0", True),
        ("one / -zero > 0", None), ("big * 10 > 1", True), ("big * 10 - big * 10 != 1", None),
        ("big * 10 - big * 10 == 0", None), ("big * 10 / (big * 10) > 0", None),
        # missing values
        ("none > 0", None), ("none != none", None), ("none == none", None), ("0 * none == 0", None),
        ("none + 1 > 0", None), ("-none < 0", None), ("not none > 0", None), ("one > none", None),
        # Kleene's logic
        ("none > 0 and none > 1", None), ("none > 0 or none > 1", None),
        ("none > 0 and one > 0", None), ("one > 0 and none > 0", None),
        ("none > 0 and one > 2", False), ("one > 2 and none > 0", False),
        ("none > 0 or one > 0", True), ("one > 0 or none > 0", True),
        ("none > 0 or one > 2", None), ("one > 2 or none > 0", None),
        ("not (none > 0 and one > 2)", True), ("not (none > 0 or one > 0)", False),
    ],
)  # fmt: skip
def test_a_condition_means_what_it_says(text: str, value: bool | None) -> None:
    """Comparisons, arithmetic and logic come to true, false, or unknown where a value is missing."""
    assert value_of(text) is value


@pytest.mark.parametrize("text", ["a", "1", "a + 1", "-a", "(a)", " a "])
def test_a_number_alone_is_no_condition(text: str) -> None:
    """The message offers a comparison."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    told = f"{text.strip()!r} is a number, not a condition (compare it: {text.strip()} > 0)"
    assert str(caught.value) == told
    assert caught.value.position == 0


@pytest.mark.parametrize(
    "text",
    [
        "(" * 60 + "a > 1" + ")" * 60,
        "(" * 100_000,
        "not " * 60 + "a > 1",
        "not " * 100_000 + "a > 1",
        "-" * 60 + "a > 1",
        "-" * 100_000 + "a > 1",
        "not (" * 60 + "a > 1" + ")" * 60,
        "(-" * 60 + "a" + ")" * 60 + " > 1",
        "abs(" * 60 + "a" + ")" * 60 + " > 1",
        "crosses_above(a, " * 60 + "1" + ")" * 60,
    ],
    ids=lambda text: text[:12],
)
def test_nesting_without_end_is_refused(text: str) -> None:
    """No nesting exhausts the stack."""
    with pytest.raises(ExpressionError, match=r"^nested too deeply\n"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["a > 1" + " and a > 1" * 5000, "1" + " + 1" * 5000 + " > 1", "1" + "*1" * 5000]
)
def test_length_without_end_is_refused(text: str) -> None:
    """A chain of thousands of terms, which nests as deeply inside, does not exhaust the stack either."""
    with pytest.raises(ExpressionError, match="more than 1000 words and signs"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(" * 50 + "one > 0" + ")" * 50, True),
        ("not " * 50 + "one > 0", True),
        ("-" * 50 + "one > 0", True),
        ("one > 0" + " and one > 0" * 249, True),
        ("0" + " + one" * 498 + " == 498", True),
    ],
    ids=lambda text: str(text)[:12],
)
def test_what_is_within_the_limits_is_evaluated(text: str, value: bool) -> None:
    """The longest and deepest conditions that are accepted can be evaluated as well."""
    assert value_of(text) is value


def test_symbols_are_named_once_in_the_order_of_their_mention() -> None:
    """The first symbol is the one that an alert tells about."""
    condition = parse("b > 1 and (a + b < -c or avg(a, 5m) > 2 or not d.e == 2 and age(f) > 1h)")
    assert condition.patterns == condition.bind().symbols == ("b", "a", "c", "d.e", "f")
    assert parse("2 > 1").patterns == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("net.http.site.rtt > 1000", "net.http.site.rtt (1534) > 1000"),
        ("one>0 and not none < 2", "one (1)>0 and not none (no fresh value) < 2"),
        ("  big / 3 > one ", "big (1e+308) / 3 > one (1)"),
        ("neg < 1.5", "neg (-3) < 1.5"),
        ("abs(neg) >\n 2", "abs(neg (-3)) >\n 2"),
    ],
)
def test_an_explanation_fills_the_values_in(text: str, told: str) -> None:
    """The text stays as it was written, with each symbol's value behind it."""
    assert parse(text).bind().explain(seen(VALUES)) == told


def test_operands_have_values_and_ages() -> None:
    """Each thing that is read is listed once, in order; a stale value is unknown, but its age is told."""
    bound = parse("a > b and a < 5 and c > 1").bind()
    view = seen({"a": 1.0, "b": 2.0, "c": None}, now=1000, ts={"a": 990, "b": 100})
    assert bound.operands(view) == [
        Operand("a", 1.0, 10.0), Operand("b", None, 900.0), Operand("c", None, None),
    ]  # fmt: skip
    assert bound.value(view) == 1.0
    assert parse("2 > 1").bind().value(view) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("one", 1.0), ("one / two", 0.5), ("one / zero", None), ("none + 1", None), ("-(neg)", 3.0),
        ("big * 10", None), ("-big * 10", None), ("5%", 5.0), (" two * 2k ", 4000.0), ("3", 3.0),
    ],
)  # fmt: skip
def test_a_formula_is_a_number(text: str, value: float | None) -> None:
    """What cannot be computed, and what is not finite, is unknown."""
    assert parse_formula(text).bind().evaluate(seen(VALUES)) == value


@pytest.mark.parametrize("text", ["a > 1", "not a > 1", "absent(a, 5m)", "time 10:00-11:00", "(a == 1)"])
def test_a_condition_is_no_formula(text: str) -> None:
    """True and false are no values of a series."""
    with pytest.raises(ExpressionError) as caught:
        parse_formula(text)
    assert str(caught.value) == f"{text!r} is true or false, not a number"


# -- random conditions against another evaluator ----------------------------------------------------------

Tree = tuple[object, ...]

_names = ["a", "b.c", "d_1", "e.2.f"]
_floats = st.floats(0, allow_nan=False, allow_infinity=False) | st.integers(0, 9).map(float)
_leaves = st.tuples(st.just("number"), _floats) | st.tuples(st.just("symbol"), st.sampled_from(_names))
_numbers = st.recursive(
    _leaves,
    lambda inner: (
        st.tuples(st.just("negative"), inner) | st.tuples(st.sampled_from(["+", "-", "*", "/"]), inner, inner)
    ),
    max_leaves=8,
)
_comparisons = st.tuples(st.sampled_from([">", "<", ">=", "<=", "==", "!="]), _numbers, _numbers)
_conditions = st.recursive(
    _comparisons,
    lambda inner: st.tuples(st.just("not"), inner) | st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=8,
)
_bindings = st.fixed_dictionaries(
    {name: st.none() | st.floats(allow_nan=False, allow_infinity=False) for name in _names}
)

# How tightly each binds; an operand that binds less needs brackets, on the right one that binds the same too.
_BINDS = {"or": 1, "and": 2, "not": 3, ">": 4, "<": 4, ">=": 4, "<=": 4, "==": 4, "!=": 4,
          "+": 5, "-": 5, "*": 6, "/": 6, "negative": 7, "number": 8, "symbol": 8}  # fmt: skip


def written(tree: Tree, least: int = 0) -> str:
    """Return a tree as text with only the brackets that it needs."""
    kind = str(tree[0])
    binds = _BINDS[kind]
    if kind in ("number", "symbol"):
        return str(tree[1])
    operands = [operand for operand in tree[1:] if isinstance(operand, tuple)]
    if kind in ("not", "negative"):
        text = ("not " if kind == "not" else "-") + written(operands[0], binds)
    else:
        left = written(operands[0], binds + (binds == 4))
        text = f"{left} {kind} {written(operands[1], binds + 1)}"
    return f"({text})" if binds < least else text


def number_of(tree: Tree, values: Mapping[str, float | None]) -> float:
    """Return a number, NaN for unknown, which every operation of floats passes on."""
    kind, *operands = tree
    if kind == "number":
        assert isinstance(operands[0], float)
        return operands[0]
    if kind == "symbol":
        found = values[str(operands[0])]
        return math.nan if found is None else found
    left, *right = [number_of(operand, values) for operand in operands if isinstance(operand, tuple)]
    if kind == "negative":
        return -left
    if kind == "/":
        return left / right[0] if right[0] else math.nan
    return {"+": left + right[0], "-": left - right[0], "*": left * right[0]}[str(kind)]


def truth_of(tree: Tree, values: Mapping[str, float | None]) -> float:
    """Return 1 for true, 0 for false and 0.5 for unknown: `and` is then the least, `or` the greatest."""
    kind, *operands = tree
    children = [operand for operand in operands if isinstance(operand, tuple)]
    if kind in ("and", "or", "not"):
        left, *right = [truth_of(child, values) for child in children]
        return 1 - left if kind == "not" else min(left, *right) if kind == "and" else max(left, *right)
    one, other = [number_of(child, values) for child in children]
    if math.isnan(one) or math.isnan(other):
        return 0.5
    order = (one > other) - (one < other)
    return float(
        {
            ">": order > 0,
            "<": order < 0,
            ">=": order >= 0,
            "<=": order <= 0,
            "==": not order,
            "!=": order != 0,
        }[str(kind)]
    )


@given(_conditions, _bindings)
def test_random_conditions_agree_with_another_evaluator(
    tree: Tree, values: Mapping[str, float | None]
) -> None:
    """Written with as few brackets as possible, a condition comes to what its tree comes to."""
    result = parse(written(tree)).bind().evaluate(seen(values))
    assert {True: 1.0, False: 0.0, None: 0.5}[result] == truth_of(tree, values)
