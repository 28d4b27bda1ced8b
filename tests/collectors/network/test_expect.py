"""Conditions: comparisons, JSON, and regular expressions that nobody can hang the hub with."""

from __future__ import annotations

import signal
import time
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.collectors.extract.search import search
from oculus.collectors.network.expect import Comparison, JsonCondition, Pattern
from oculus.collectors.network.probe import ProbeError

# -- comparisons --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "right", "wrong"),
    [
        ("> 14", [14.001, 15, "15", " 14.5 ", 10**30], [14, 13.999, "14", -15]),
        (">= 14", [14, 14.0, "14.0"], [13.999]),
        ("< -1.5", [-1.51, "-2"], [-1.5, 0]),
        ("<=1e3", [1000, 999.5, "1e3"], [1000.001]),
        ("== 0.1", [0.1, "0.1", ".1"], [0, 0.2, "0.10001"]),
        ("== 9007199254740993", [9007199254740993, "9007199254740993"], [9007199254740992]),
        ("!= 0", [1, "1", 0.001], [0, 0.0, "0", "-0"]),
        ("== 'up'", ["up"], ["UP", "up ", "", "down"]),
        ('!= "up"', ["down", ""], ["up"]),
        ("< 'b'", ["a", "az", ""], ["b", "c"]),
        ("== true", [True], [False]),
        ("!= true", [False], [True]),
        ("== null", [None], [0, "", False, [], {}]),
        ("!= null", [0, "", False, [], {}], [None]),
        (r"== 'it\'s'", ["it's"], ["its"]),
        ("""== 'say "hi"'""", ['say "hi"'], ["say hi"]),
        (r'== "a\\b\n"', ["a\\b\n"], ["ab"]),
        ("== '> 14'", ["> 14"], ["14"]),
        ("== ''", [""], [" "]),
    ],
)
def test_a_comparison_holds_for_what_it_says(text: str, right: list[Any], wrong: list[Any]) -> None:
    """Numbers are compared as numbers, floats too, whether they come as such or as text; texts as texts."""
    comparison = Comparison.parse(text)
    assert [value for value in right if not comparison.holds(value)] == []
    assert [value for value in wrong if comparison.holds(value)] == []


@pytest.mark.parametrize(
    ("text", "value", "told"),
    [
        ("== 'up'", "down", "is 'down', expected == 'up'"),
        ("< 10", 12.5, "is 12.5, expected < 10"),
        ("< 10", "12.5", "is '12.5', expected < 10"),
        ("< 10", "many", "is 'many', which is no number"),
        ("< 10", "", "is '', which is no number"),
        ("< 10", None, "is null, which is no number"),
        ("< 10", True, "is true, which is no number"),
        ("< 10", [1], "is a list, which is no number"),
        ("< 10", float("nan"), "is nan, which is no number"),
        ("!= 5", "five", "is 'five', which is no number"),
        ("!= 5", float("inf"), "is inf, which is no number"),
        ("== 5", "five", "is 'five', expected == 5"),
        ("!= 'up'", None, "is null, which is no text"),
        ("< '2027'", 2026, "is 2026, which is no text"),
        ("!= true", 0, "is 0, which is neither true nor false"),
        ("== true", 1, "is 1, expected == true"),
        ("== null", 0, "is 0, expected == null"),
        ("!= null", None, "is null, expected != null"),
        ("> 1", "9" * 5000, "is '" + "9" * 39 + "…, which is no number"),
        ("== 'x'", {"a": 1}, "is an object, expected == 'x'"),
    ],
)
def test_what_does_not_hold_tells_the_value(text: str, value: Any, told: str) -> None:
    """The value is filled in. What cannot be compared is a fault with its reason, and never 0."""
    comparison = Comparison.parse(text)
    assert comparison.fault(value) == told
    assert not comparison.holds(value)


@pytest.mark.parametrize(
    ("text", "shown"), [(">14", "> 14"), ("  ==  'a b' ", "== 'a b'"), ("<= +1.50", "<= +1.50")]
)
def test_a_comparison_is_shown_as_it_was_written(text: str, shown: str) -> None:
    """Only white space is put in order."""
    assert str(Comparison.parse(text)) == shown
    assert Comparison.parse(text) == Comparison.parse(shown)


@pytest.mark.parametrize(
    "text",
    [
        "", "14", ">", "> x", "= 14", "=> 14", "> 14 days", "> 1_000", "> 0x10", "> nan", "> 1e999", "== up",
        "> true", "< null", "== 'a", "== 'a'b'", r"== 'a\q'", "> 14\n> 15", "> " + "1" * 2000, "== 'é",
    ],
)  # fmt: skip
def test_what_is_no_comparison_is_refused(text: str) -> None:
    """Typing errors, texts without quotes, and orders of what has none."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text differs, the type is the contract
        Comparison.parse(text)
    assert len(str(caught.value)) < 250


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_floats_stay_floats(left: float, right: float) -> None:
    """Every order is the one of the numbers themselves, from text as well."""
    comparison = Comparison.parse(f"< {right!r}")
    assert comparison.holds(left) == (left < right)
    assert comparison.holds(repr(left)) == (left < right)
    assert Comparison.parse(f"== {right!r}").holds(repr(right))


# -- JSON ---------------------------------------------------------------------------------------------

DOCUMENT = {
    "status": "up", "queue": {"length": 12}, "items": [{"id": 3, "ok": True}, {"id": 4, "ok": False}],
    "load": "0.75", "none": None, "a == 1": 2, "deep": [[1]], "empty": [],
}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "$.status == 'up'", "$.queue.length < 12.5", "$.items[0].ok == true", "length($.items) == 2",
        "length( $.status )==2", "length($.queue) > 0", "length($.empty) == 0", "$.load >= 0.75",
        "$.none == null", "$['a == 1'] == 2", '$["a == 1"] < 3', "$.items[?@.id == 3].ok == true",
        "count($.items[?@.ok == false]) == 1", "count($.nothing) == 0", "count($..id) > 1",
        "$.status != 'a < b'", "@.status == 'up'", "$.deep[0][0] == 1", "$.items[-1].id == 4",
    ],
)  # fmt: skip
def test_a_condition_on_json_holds(text: str) -> None:
    """A path, a length or a count on the left; operators within filters and names are the path's own."""
    condition = JsonCondition.parse(text)
    assert condition.fault(DOCUMENT) == ""
    assert str(condition) == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("$.status == 'down'", "$.status is 'up', expected == 'down'"),
        ("$.queue.length < 10", "$.queue.length is 12, expected < 10"),
        ("length($.items) > 3", "length($.items) is 2, expected > 3"),
        ("count($..id) < 2", "count($..id) is 2, expected < 2"),
        ("$.missing < 10", "nothing at $.missing, expected < 10"),
        ("$.missing != 1", "nothing at $.missing, expected != 1"),
        ("length($.missing) == 0", "nothing at $.missing, expected == 0"),
        ("length($.queue.length) > 0", "$.queue.length is 12, which has no length"),
        ("$.items[*].ok == true", "$.items[*].ok matches more than one value, expected == true"),
        ("$.none > 0", "$.none is null, which is no number"),
        ("$.items == 2", "$.items is a list, expected == 2"),
        ("$.status > 3", "$.status is 'up', which is no number"),
    ],
)
def test_a_condition_that_does_not_hold_tells_why(text: str, told: str) -> None:
    """The path, what was there, and what was expected; what is missing is told as such."""
    assert JsonCondition.parse(text).fault(DOCUMENT) == told


@pytest.mark.parametrize("document", [None, 5, "text", [], True])
def test_any_json_can_be_looked_at(document: Any) -> None:
    """A document need not be an object."""
    assert JsonCondition.parse("$.status == 'up'").fault(document).startswith("nothing at $.status")
    assert JsonCondition.parse("$ == 5").fault(document) == "" if document == 5 else True


@pytest.mark.parametrize(
    "text",
    [
        "", "$.status", "$.status == up", "status == 'up'", "== 5", "$.a = 5", "$.[ == 5", "length($.a == 5",
        "size($.a) == 5", "length() == 5", "$.a > true", "$.a == 1 and $.b == 2",
        "$.x == '" + "y" * 2000 + "'",
        "$..a[?count($..b) > 1].c == 1",
    ],
)  # fmt: skip
def test_what_is_no_condition_is_refused(text: str) -> None:
    """Texts without quotes, no operator, paths that are none or cost too much."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text differs, the type is the contract
        JsonCondition.parse(text)


def test_a_mistaken_condition_names_its_cure() -> None:
    """The commonest mistake is a text without quotes."""
    with pytest.raises(ValueError, match="a text goes in quotes"):
        JsonCondition.parse("$.status == up")


def test_conditions_are_equal_when_their_texts_are() -> None:
    """A reload that changes nothing restarts nothing."""
    assert JsonCondition.parse("$.a == 1") == JsonCondition.parse("$.a == 1")
    assert JsonCondition.parse("$.a == 1") != JsonCondition.parse("$.a == 2")
    assert Pattern("a+") == Pattern("a+")
    assert hash(Pattern("a+")) == hash(Pattern("a+"))
    assert Pattern("a+") != Pattern("a*")


# -- regular expressions ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 100_000], ids=["in the hub", "in a process"])
def test_a_pattern_is_found_wherever_it_is_searched(size: int) -> None:
    """Short texts and long ones, UTF-8 and what is none, with the same result."""
    text = b"x" * size + "\nversion: 12 ü".encode()
    assert Pattern(r"(?m)^version: \d+ \w$").found_in(text)
    assert not Pattern(r"(?m)^version: \d+$").found_in(text)
    assert Pattern(r"version: (\d)(\d)(\d)?").groups_in(text) == ["version: 12", "1", "2", ""]
    assert Pattern("y").groups_in(text) is None
    assert Pattern("z").found_in(b"\xff\xfe" + b" " * size + b"z")


def _processor_seconds(pattern: Pattern, text: bytes, limit: float) -> float:
    started = time.process_time()
    with pytest.raises(gevent.Timeout), gevent.Timeout(limit):
        pattern.found_in(text)
    return time.process_time() - started


@pytest.mark.alone
@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*?,){30}x"])
def test_a_hostile_text_does_not_hold_the_hub(pattern: str) -> None:
    """An expression that would take years is taken out of the hub within milliseconds, and ended in time."""
    made, text = Pattern(pattern), b"a" * 4000 + b"!," * 300
    ticks = []

    def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            gevent.sleep(0.01)

    ticking = gevent.spawn(tick)
    used = _processor_seconds(made, text, 0.5)
    ticking.kill()
    assert used < 0.4
    assert len(ticks) > 10
    # The second time it goes to a process at once.
    assert _processor_seconds(made, text, 0.2) < 0.2


def test_a_search_that_has_no_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that a search may take, the reason is that it was not done."""
    monkeypatch.setattr(search, "__defaults__", (0.3,))
    with pytest.raises(ProbeError, match=r"the regular expression was not done after 0\.3 s"):
        Pattern("(a+)+$").found_in(b"a" * 5000 + b"!")


def test_no_timer_is_left_behind() -> None:
    """After a search, whether it was found, not found or stopped, no signal is on its way."""
    Pattern("b").found_in(b"ab")
    Pattern("c").found_in(b"ab")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        Pattern("(a+)+$").found_in(b"a" * 5000 + b"!")
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_a_timer_of_somebody_elses_is_left_alone() -> None:
    """Where there is no timer to be had, as in a program that uses it itself, a process searches."""

    def theirs(number: int, frame: object) -> None:
        raise AssertionError("not asked for")

    before = signal.signal(signal.SIGVTALRM, theirs)
    try:
        assert Pattern("b").found_in(b"ab")
        assert signal.getsignal(signal.SIGVTALRM) is theirs
    finally:
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("text", ["(", "[z-a]", "(?P<x>a)(?P<x>b)", "x" * 501, "(" * 400])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    """Mistakes are told when the configuration is read."""
    with pytest.raises(ValueError, match="regular expression"):
        Pattern(text)
