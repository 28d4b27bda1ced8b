"""Wildcards in the names of series: which `*` is one, what it matches, and what binding makes of it."""

from __future__ import annotations

import time

import pytest

from oculus.errors import ExpressionError
from oculus.model import Operand
from oculus.rules.expression import parse, parse_formula
from oculus.windowed import Window
from tests.rules.known import seen


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        # wildcards
        ("net.http.*.up", ["net.http.*.up"]), ("net.http.**", ["net.http.**"]), ("**.up", ["**.up"]),
        ("*.up", ["*.up"]), ("net.*", ["net.*"]), ("net.*.*.up", ["net.*.*.up"]), ("*_usd", ["*_usd"]),
        ("web_*", ["web_*"]), ("net.http.web*.up", ["net.http.web*.up"]),
        ("net.http.eu_*_web.up", ["net.http.eu_*_web.up"]),
        ("net.http.*_eu.up", ["net.http.*_eu.up"]), ("btc*", ["btc*"]),
        ("net.ping.8*.up", ["net.ping.8*.up"]),
        ("net.*.8_8", ["net.*.8_8"]), ("a.*.5", ["a.*.5"]), ("web_*2", ["web_*2"]), ("*a.b", ["*a.b"]),
        ("(btc*)", ["btc*"]),
        ("btc* + 1", ["btc*"]), ("btc* - 1", ["btc*"]), ("btc* / 2", ["btc*"]), ("btc*/2", ["btc*"]),
        ("btc*+ 2", ["btc*"]),
        ("net.** * 2", ["net.**"]), ("net.* * 2", ["net.*"]), ("btc* * 2", ["btc*"]), ("2 * *.up", ["*.up"]),
        ("2**.up", ["*.up"]), ("avg(net.*.rtt, 5m)", ["net.*.rtt"]), ("age(*.up)", ["*.up"]),
        ("-*.up", ["*.up"]),
        ("btc*- 1", "btc*- could be"), ("net.*.up - net.*.rtt", ["net.*.up", "net.*.rtt"]),
        # products
        ("a * b", ["a", "b"]), ("a.b * c.d", ["a.b", "c.d"]), ("2*a.b", ["a.b"]), ("a.b*2", ["a.b"]),
        ("a.b*2.5", ["a.b"]),
        ("a.b*2k", ["a.b"]), ("a.b*5m", ["a.b"]), ("a*5%", ["a"]), ("a*1e3", ["a"]), ("a.b *2", ["a.b"]),
        ("2 *a.b", ["a.b"]), ("a *b", ["a", "b"]),
        ("a*(b)", ["a", "b"]), ("(a)*b", ["a", "b"]), ("(a)*(b)", ["a", "b"]), ("2*3*a", ["a"]),
        ("abs(a)*b", ["a", "b"]),
        ("5%*a", ["a"]), ("a.8*2", ["a.8"]), ("a *.5", ["a"]), ("2*.5*a", ["a"]), ("a.b *-1", ["a.b"]),
        ("2*-a", ["a"]),
        ("a\n* b", ["a", "b"]),
    ],
)  # fmt: skip
def test_a_star_is_a_product_or_a_wildcard(text: str, patterns: list[str] | str) -> None:
    """What touches the star decides."""
    if isinstance(patterns, str):
        with pytest.raises(ExpressionError, match=patterns.replace("*", r"\*")):
            parse_formula(text)
        return
    formula = parse_formula(text)
    assert list(formula.patterns) == patterns
    assert formula.is_glob == any("*" in pattern for pattern in patterns)


_BEHIND = "behind a pattern (write a * … with blanks on both sides to multiply)"


@pytest.mark.parametrize(
    ("text", "told", "column"),
    [
        ("a*b > 1", "a*b could be a product or a pattern: write a * … with blanks to multiply", 2),
        ("a.b*c.d > 1", "a.b*c.d could be a product or a pattern: write a.b * … with blanks to multiply", 4),
        ("a*b.up > 1", "a*b.up could be a product or a pattern: write a * … with blanks to multiply", 2),
        ("a*2b > 1", "a*2b could be a product or a pattern: write a * … with blanks to multiply", 2),
        ("a*.5 > 1", "a*.5 could be a product or a pattern: write a * … with blanks to multiply", 2),
        ("a*-b > 1", "a*- could be a product or a pattern: write a * … with blanks to multiply", 2),
        ("a* b > 1", f"'b' is not expected {_BEHIND}", 4),
        ("a* 2 > 1", f"'2' is not expected {_BEHIND}", 4),
        ("a* (b) > 1", f"'(' is not expected {_BEHIND}", 4),
        ("a ** b > 1", "'*' is not expected", 4), ("* > 1", "'*' is not expected", 1),
        ("a * * b > 1", "'*' is not expected", 5), ("avg(*, 5m) > 1", "'*' is not expected", 5),
        ("a.*** > 1", "a wildcard is * (within a part of the name) or ** (across dots)", 3),
        ("a*..b > 1", "'.' is not part of the language", 3),
        ("a.*. > 1", "'.' is not part of the language", 4),
        ("2 *.up > 1", "'.' is not part of the language", 4),
        ("a.*.b > 1 and c.*.* > 2", ("c.*.* has 2 wildcards, a.*.b has 1 wildcard: they stand for the same"
                                     " texts in each, so that each must have as many"), 15),
        ("*.*.*.*.*.*.*.*.* > 1", "more than 8 wildcards", 1),
        ("1 < **.**.**.**", "more than 3 wildcards that are ** or a piece of a part", 5),
        ("age(a_*_*_*_*) > 1", "more than 3 wildcards that are ** or a piece of a part", 5),
    ],
)  # fmt: skip
def test_a_wrong_pattern_is_told(text: str, told: str, column: int) -> None:
    """What could be read in two ways is refused, and told how to be written."""
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.told, caught.value.position) == (told, column - 1)


@pytest.mark.parametrize(
    ("pattern", "symbol", "captured"),
    [
        ("net.http.*.up", "net.http.site.up", ("site",)), ("net.http.*.up", "net.http.a.b.up", None),
        ("net.http.*.up", "net.http.up", None), ("net.http.*.up", "net.http.site.rtt", None),
        ("net.http.*.up", "net_http.site.up", None), ("net.**.up", "net.http.a.b.up", ("http.a.b",)),
        ("net.**", "net.a", ("a",)), ("net.**", "net", None),
        ("**.up", "net.http.site.up", ("net.http.site",)),
        ("*.up", "net.up", ("net",)), ("*.up", "a.net.up", None), ("web*.up", "web.up", ("",)),
        ("web*.up", "web_2.up", ("_2",)), ("*_usd", "btc_usd", ("btc",)),
        ("net.*.*.up", "net.http.a.up", ("http", "a")),
        ("eu_*_web.up", "eu_1_2_web.up", ("1_2",)), ("*.**", "a.b.c", ("a", "b.c")),
        ("web.up", "web.up", None),
    ],
)  # fmt: skip
def test_a_pattern_captures_what_its_wildcards_stand_for(
    pattern: str, symbol: str, captured: tuple[str, ...] | None
) -> None:
    """`*` stays within a part of the name, `**` does not; what is captured gives the symbol back."""
    condition = parse(f"{pattern} > 1")
    assert condition.captures(symbol) == (() if captured is None else (captured,))
    if captured is not None:
        assert condition.bind(captured).symbols == (symbol,)


def test_any_of_the_patterns_makes_an_instance() -> None:
    """A target whose one series is missing is one too; two ways to read a symbol are two instances."""
    condition = parse("net.http.*.up == 0 and net.http.*.rtt > 5 and net.ping.router.up == 1")
    assert condition.captures("net.http.a.up") == condition.captures("net.http.a.rtt") == (("a",),)
    assert condition.captures("net.ping.router.up") == ()
    assert parse("a.* > 1 or *.b > 2").captures("a.b") == (("b",), ("a",))
    assert parse("a.* > 1 or a.* < 0 or **.b > 2").captures("a.a") == (("a",),)


def test_a_bound_condition_is_about_one_target() -> None:
    """Every pattern is filled in: in the text, the symbols, the windows, and the explanation."""
    condition = parse(
        " net.*.*.up == 0 or avg(net.*.*.rtt, 5m) > 2 * avg(net.*.*.rtt, 1d)"
        " and crosses_above(b, net.*.*.ok) "
    )
    assert condition.patterns == ("net.*.*.up", "net.*.*.rtt", "b", "net.*.*.ok")
    bound = condition.bind(("http", "site"))
    assert bound.text == (
        "net.http.site.up == 0 or avg(net.http.site.rtt, 5m) > 2 * avg(net.http.site.rtt, 1d)"
        " and crosses_above(b, net.http.site.ok)"
    )
    assert parse(bound.text).bind().symbols == bound.symbols
    assert bound.symbols == ("net.http.site.up", "net.http.site.rtt", "b", "net.http.site.ok")
    assert bound.windows == (
        Window("avg", "net.http.site.rtt", 300),
        Window("avg", "net.http.site.rtt", 86_400),
    )
    view = seen(
        {"net.http.site.up": 1.0, "b": 3.0, "net.http.site.ok": 2.0, "net.http.site.rtt": 7.0},
        previous={"b": 1.0},
        figures=dict(zip(bound.windows, (5.0, 2.0), strict=True)),
    )
    assert bound.evaluate(view) is True
    assert bound.explain(view) == (
        "net.http.site.up (1) == 0 or avg(net.http.site.rtt, 5m) (5) > 2 * avg(net.http.site.rtt, 1d) (2)"
        " and crosses_above(b, net.http.site.ok (2)) (true, 1 → 3)"
    )
    assert bound.operands(view)[:2] == [
        Operand("net.http.site.up", 1.0, 0.0), Operand("avg(net.http.site.rtt, 5m)", 5.0, 0.0),
    ]  # fmt: skip
    assert condition.bind(("ping", "a")).evaluate(view) is None


def test_wildcards_must_all_be_filled() -> None:
    """A condition without patterns takes none, whatever another one beside it captured."""
    with pytest.raises(ValueError, match="has 1 wildcards, not 2"):
        parse("a.* > 1").bind(("b", "c"))
    with pytest.raises(ValueError, match="has 1 wildcards, not 0"):
        parse("a.* > 1").bind()
    assert parse("a > 1").bind(("b",)).symbols == ("a",)


def test_no_symbol_takes_long_to_match() -> None:
    """The longest symbol that can be divided in the most ways is still refused at once."""
    condition = parse("_**_**_**_x.*.*.*.*.* > 1")
    start = time.process_time()
    assert condition.captures("_" * 200) == ()
    assert time.process_time() - start < 1.0
