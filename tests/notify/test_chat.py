"""What chats share: the lines of a notice, and pages of them within a limit."""

from __future__ import annotations

import math
import time
from html import escape

import pytest

from oculus.notify.chat import (
    Line,
    body,
    clipped,
    facts,
    late,
    mentions,
    paged,
    picture,
    sparkline,
    title,
    units,
)
from tests.notify.made import after, firing, notice, resolved


def plain(each: Line) -> str:
    """Return a line as it is."""
    return each.text


def texts(lines: list[Line]) -> list[str]:
    """Return the texts of lines."""
    return [each.text for each in lines]


def test_a_single_alert_is_told_with_its_condition_and_its_facts() -> None:
    """What happened, for how long, why, and what it began with."""
    told = notice(history=(1.0, 2.0, 3.0))
    assert title(told) == "🔴 [critical] btc_price (crypto.price.btc_usd)"
    assert texts(body(told, False)) == [
        "BTC crossed $100k (for 2 min)", "crypto.price.btc_usd (100012.5) > 100000",
    ]  # fmt: skip
    assert facts(told, True) == [
        ("Severity", "critical"), ("Value", "100012.5"), ("Began", "12:00 UTC"), ("Lately", "▁▅█"),
    ]  # fmt: skip


def test_the_unit_stands_behind_a_value() -> None:
    """Where the series has one that people write."""
    slow = firing(symbol="net.http.site.rtt", value=1534.25)
    assert ("Value", "1534.25 ms") in facts(notice(slow), True)
    down = firing(symbol="net.http.site.up", value=0.0)
    assert ("Value", "0") in facts(notice(down), True)
    assert "Value" not in dict(facts(notice(firing(value=None)), True))


def test_an_end_tells_how_long_it_lasted() -> None:
    """And no condition, which no longer holds."""
    told = notice(resolved())
    assert title(told) == "🟢 Resolved: btc_price (crypto.price.btc_usd)"
    assert texts(body(told, False)) == ["BTC crossed $100k (lasted 14 min)"]
    assert facts(told, True)[-2:] == [("Began", "12:00 UTC"), ("Ended", "12:14 UTC")]


def test_several_alerts_are_a_list_that_tells_them_apart() -> None:
    """By rule, symbol and severity, where the message does not; those that ended stand below."""
    told = notice(
        firing("slow", message="it is slow", symbol="net.http.a.rtt", severity="warn"),
        firing("down", message="net.http.b.up is 0", symbol="net.http.b.up"),
        resolved("slow", message="it is slow", symbol="net.http.c.rtt"),
        more=3,
    )
    assert texts(body(told, False)) == [
        "Firing",
        "• [warn] slow: it is slow (for 2 min), net.http.a.rtt",
        "crypto.price.btc_usd (100012.5) > 100000",
        "• [critical] down: net.http.b.up is 0 (for 2 min)",
        "crypto.price.btc_usd (100012.5) > 100000",
        "Resolved",
        "• slow: it is slow (lasted 14 min), net.http.c.rtt",
        "… +3 more",
    ]
    assert facts(told, True) == []


def test_a_condition_is_not_told_twice() -> None:
    """Without a message of its own, an alert's message is its condition; and a long list has none."""
    same = firing(message="load (12) > 10", explanation="load (12) > 10")
    assert texts(body(notice(same), False)) == ["load (12) > 10 (for 2 min)"]
    assert len(body(notice(*[firing(symbol=f"a.b{index}") for index in range(6)]), False)) == 6


def test_a_template_takes_the_place_of_the_alerts() -> None:
    """The text is all of the body, the title stays."""
    told = notice(text="first\r\n\r\nlast\x07\n", more=4)
    assert [(each.text, each.kind) for each in body(told, False)] == [
        ("first", "text"), ("", "text"), ("last", "text"),
    ]  # fmt: skip
    assert {each.kind for each in body(told, True)} == {"marked"}
    assert facts(told, True) == []


def test_a_late_message_says_so() -> None:
    """By how much, and when what it tells began."""
    assert late(notice()) == ""
    note = late(notice(at=after(2), sent_at=after(16)))
    assert "14 min late" in note
    assert "12:00" in note


def test_somebody_is_called_only_for_what_is_critical_and_fires() -> None:
    """Nobody is woken by a warning, or by good news."""
    assert mentions(notice(), ("@here",)) == ("@here",)
    assert not mentions(notice(firing(severity="error")), ("@here",))
    assert not mentions(notice(resolved()), ("@here",))


def test_bars_show_what_a_series_did() -> None:
    """The newest values, the smallest lowest; what is no number is left out."""
    assert sparkline([0, 1, math.nan, 7]) == "▁▂█"
    assert sparkline([5.0, 5.0]) == "▅▅"
    assert sparkline([1.0]) == sparkline([]) == sparkline([math.inf, 1.0]) == ""
    assert len(sparkline(range(1000))) == 24
    assert sparkline([-1.7e308, 1.7e308]) == "▁█"


def test_a_picture_is_of_a_single_alert() -> None:
    """A list of alerts has no one series, and one value is no picture."""
    assert picture(notice(history=(1.0, 2.0))).startswith(b"\x89PNG")
    assert picture(notice(history=(1.0, math.nan))) == b""
    assert picture(notice(firing(), firing(), history=(1.0, 2.0))) == b""


def test_what_fits_is_one_page() -> None:
    """Nothing is added to it."""
    assert paged([Line("a", "alert", 1), Line("bc")], 4, plain) == ["a\nbc"]
    assert paged([], 10, plain) == []
    assert paged([Line(""), Line("  ")], 10, plain) == []  # no service takes an empty message


def test_pages_end_at_line_ends() -> None:
    """All of it arrives, in order, as long as there are pages."""
    lines = [Line(f"line {index}", "alert", 1) for index in range(10)]
    pages = paged(lines, 13, plain, pages=9)
    assert pages == [f"line {index}\nline {index + 1}" for index in range(0, 10, 2)]


def test_what_does_not_fit_is_counted_in_alerts() -> None:
    """The alerts that were left out before count, too; lines about one that is shown do not."""
    lines = [Line(f"alert {index}", "alert", 1) for index in range(10)] + [Line("… +5 more", "text", 5)]
    (page,) = paged(lines, 30, plain)
    assert page == "alert 0\nalert 1\n… +13 more"
    assert paged(lines, 30, plain, pages=2)[1].endswith("\n… +10 more")
    lines = [Line("alert", "alert", 1), *[Line("why " * 5)] * 3]
    assert paged(lines, 45, plain) == [f"alert\n{'why ' * 5}\n… +2 more lines"]


@pytest.mark.parametrize("sign", ["x", "&", "😀", "x y "])
def test_no_page_is_ever_too_long(sign: str) -> None:
    """Whatever a line is made of, escaped or not, however long it is, and in UTF-16 units."""
    lines = [Line(sign * count, "alert", 1) for count in (1, 50, 500, 5000, 3)]
    for pages in (1, 3):
        made = paged(lines, 200, lambda each: escape(each.text), pages=pages)
        assert len(made) == pages
        assert max(map(units, made)) <= 200
        assert "more" in made[-1].splitlines()[-1]


def test_a_line_too_long_for_a_page_is_broken_at_a_space() -> None:
    """Words stay whole where there are any."""
    words = " ".join(f"word{index}" for index in range(100))
    pages = paged([Line(words, "alert", 1)], 100, plain, pages=50)
    assert " ".join(" ".join(pages).split()) == words
    assert max(map(len, pages)) <= 100


def test_a_huge_text_takes_no_time() -> None:
    """A template may write a megabyte; the hub must not stand still for it."""
    begun = time.perf_counter()
    for text in ("x" * 1_000_000, "x\n" * 500_000, "& " * 500_000):
        assert len(paged(body(notice(text=text), False), 4096, lambda each: escape(each.text), pages=5)) >= 1
    assert time.perf_counter() - begun < 5.0


def test_a_title_is_one_line_within_its_limit() -> None:
    """Cut before what an escape adds, never inside of it."""
    assert clipped(" a\n b ", 10) == "a b"
    assert clipped("a" * 300, 10) == "a" * 9 + "…"
    assert clipped("&" * 300, 12, escape) == "&amp;&amp;…"
    assert units(clipped("😀" * 300, 256)) <= 256
