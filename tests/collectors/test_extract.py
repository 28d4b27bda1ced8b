"""Numbers out of bodies: JSON, CSV and text, in every way that they are written, and all that is none."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import DAY, SECOND, now
from oculus.collectors.base import CollectError
from oculus.collectors.extract import (
    MAX_ELEMENTS,
    Body,
    CsvReader,
    Found,
    JsonReader,
    NumberReader,
    Numerals,
    Reader,
    RegexReader,
)
from oculus.collectors.extract.numerals import parse_number, parse_time
from oculus.collectors.extract.paths import Fault, Path
from oculus.collectors.extract.search import search
from oculus.supervise import Watchdog
from oculus.threads import NativeThreads

NUMERALS = Numerals()


def read(reader: Reader, data: bytes | str) -> Found:
    """Return what a reader finds in a body, as a collector has it read."""
    data = data.encode() if isinstance(data, str) else data
    threads = NativeThreads(1)
    document = json.loads(data) if reader.wants_json else None
    try:
        return reader.read(Body(data, document, "SNIPPET", threads.run))
    finally:
        threads.close()


def values(found: Found) -> dict[str, float]:
    """Return the numbers of a body that has no faults."""
    assert not found.faults
    return {figure.part: figure.value for figure in found.figures}


def fault(found: Found) -> str:
    """Return the only fault of a body without numbers."""
    assert not found.figures
    ((_, text),) = found.faults
    return text


def json_reader(
    path: str | Mapping[str, str] = "$", list_: str = "", label: str = "", time: str = "", decimal: str = ""
) -> JsonReader:
    """Return a reader of one path, or of several by name."""
    paths = {"": path} if isinstance(path, str) else path
    return JsonReader(paths, list_, label, time, Numerals(decimal))


def csv_reader(
    column: str | Mapping[str, str], row: str = "", label: str = "", time: str = "", **other: Any
) -> CsvReader:
    """Return a reader of one column, or of several by name."""
    columns = {"": column} if isinstance(column, str) else column
    return CsvReader(
        columns, row, label, time, other.get("header", True), other.get("delimiter", ","),
        Numerals(other.get("decimal", "")),
    )  # fmt: skip


# -- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5.0),
        (-0.5, -0.5),
        ("5", 5.0),
        (" 97412.50\n", 97412.5),
        ("1.5e-7", 1.5e-7),
        (".5", 0.5),
        ("5.", 5.0),
        ("+3", 3.0),
        ("-3", -3.0),
        ("\N{MINUS SIGN}3", -3.0),
        ("97,412.50", 97412.5),
        ("1,234,567", 1234567.0),
        ("1.234.567", 1234567.0),
        ("1.234,5", 1234.5),
        ("12,5", 12.5),
        ("0,125", 0.125),
        ("1.234", 1.234),
        ("97\u202f412,5", 97412.5),
        ("97'412", 97412.0),
        ("12 %", 12.0),
        ("12%", 12.0),
        ("$5", 5.0),
        ("-$5", -5.0),
        ("$-5", -5.0),
        ("€ 1.234,50", 1234.5),
        ("5 €", 5.0),
        ("5\u00a0€", 5.0),
    ],
)
def test_numbers_are_read_as_they_are_written(value: Any, expected: float) -> None:
    """Signs, currency, percent and groups of digits are understood where they mean one thing."""
    assert parse_number(value) == expected


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("97,412", ".", 97412.0),
        ("97,412", ",", 97.412),
        ("1.234", ",", 1234.0),
        ("1.234", ".", 1.234),
        ("12", ",", 12.0),
    ],
)
def test_the_decimal_sign_decides(text: str, decimal: str, expected: float) -> None:
    """What may be read in two ways is read by the decimal sign that the user gives."""
    assert parse_number(text, decimal) == expected


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("97,412", "'97,412', which may be 97412 or 97.412 (set decimal to . or ,)"),
        (None, "is null, which is no number"),
        (True, "is true, which is no number"),
        ([1], "is a list, which is no number"),
        ({}, "is an object, which is no number"),
        ("", "no number"),
        ("N/D", "is 'N/D', which is no number"),
        ("NaN", "no number"),
        ("inf", "no number"),
        ("Infinity", "no number"),
        (float("nan"), "no finite number"),
        (float("inf"), "no finite number"),
        (10**400, "is a number of many digits, which is no finite number"),
        ("1e999", "no finite number"),
        ("1_000", "no number"),
        ("0x10", "no number"),
        ("12 34", "no number"),
        ("10 200", "no number"),
        ("1,2,3", "no number"),
        ("1.2.3", "no number"),
        ("12 ms", "no number"),
        ("1.2k", "no number"),
        ("5 million", "no number"),
        ("--5", "no number"),
        ("-$-5", "no number"),
        ("5-", "no number"),
        ("$$5", "no number"),
        ("#5", "no number"),
        (".", "no number"),
        (",", "no number"),
        ("-", "no number"),
        ("9" * 200, "…, which is no number"),
    ],
)
def test_what_is_no_number_is_refused(value: Any, told: str) -> None:
    """Nothing is guessed, cut off or made up; the message shows the value."""
    with pytest.raises(ValueError, match="is ") as caught:
        parse_number(value)
    assert told in str(caught.value)


def test_a_decimal_sign_refuses_the_other_way() -> None:
    """A text that does not fit the sign given is no number."""
    for text, decimal in (("12,5", "."), ("12.5", ","), ("1,234.5", ",")):
        with pytest.raises(ValueError, match="no number"):
            parse_number(text, decimal)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_comes_back(value: float) -> None:
    """What Python writes of a number, or JSON, is read as that number."""
    assert parse_number(repr(value)) == value


@given(st.text(alphabet="0123456789.,-+eE $€% \u00a0'x", max_size=30), st.sampled_from(["", ".", ","]))
def test_no_text_does_harm(text: str, decimal: str) -> None:
    """Any text is a finite number or a ValueError."""
    with suppress(ValueError):
        assert abs(parse_number(text, decimal)) < float("inf")


NOON = 1_792_411_200 * SECOND  # 2026-10-19T12:00:00Z


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_792_411_200, NOON),
        (1_792_411_200.5, NOON + SECOND // 2),
        (1_792_411_200_000, NOON),
        (1_792_411_200_000_000, NOON),
        (1_792_411_200_000_000_000, NOON),
        ("1792411200", NOON),
        ("1792411200.25", NOON + SECOND // 4),
        ("2026-10-19T12:00:00Z", NOON),
        ("2026-10-19T14:00:00+02:00", NOON),
        ("2026-10-19 12:00:00", NOON),
        ("2026-10-19T12:00:00.123456789Z", NOON + 123_456),
        ("2026-10-19", NOON - DAY // 2),
        ("20261019", NOON - DAY // 2),
    ],
)
def test_times_are_read(value: Any, expected: int) -> None:
    """ISO 8601, and numbers since 1970 by their size."""
    assert parse_time(value) == expected


@pytest.mark.parametrize(
    "value",
    [None, True, "", "soon", 0, -5, 20261019, 1e25, float("nan"), [1], "0001-01-01", "9" * 101, "1e400"],
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    """No time is made up."""
    with pytest.raises(ValueError, match="no time"):
        parse_time(value)


# -- JSON ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"data": {"value": 1.5}}, "$.data.value", 1.5),
        ({"a": [1, 2, 3]}, "$.a[-1]", 3.0),
        ({"a b": {"c-d": "7"}}, '$["a b"]["c-d"]', 7.0),
        ([{"k": "x", "v": 1}, {"k": "y", "v": 2}], "$[?@.k == 'y'].v", 2.0),
        ({"deep": {"er": {"price": 3}}}, "$..price", 3.0),
        (5, "$", 5.0),
        ("5", "$", 5.0),
        ({"up": True}, "$.up", 1.0),
        ({"up": False}, "@.up", 0.0),
    ],
)
def test_a_path_finds_its_number(document: Any, path: str, expected: float) -> None:
    """Paths are RFC 9535; a JSON boolean counts as 1 or 0."""
    assert values(read(json_reader(path), json.dumps(document))) == {"": expected}


@pytest.mark.parametrize(
    ("document", "path", "told"),
    [
        ({"error": "bad key"}, "$.data.value", "nothing at $.data.value; the answer is SNIPPET"),
        ({"a": None}, "$.a", "$.a is null, which is no number; the answer is SNIPPET"),
        ({"a": "N/D"}, "$.a", "$.a is 'N/D', which is no number; the answer is SNIPPET"),
        ({"a": "true"}, "$.a", "$.a is 'true', which is no number; the answer is SNIPPET"),
        ({"a": [1]}, "$.a", "$.a is a list, which is no number; the answer is SNIPPET"),
        ({"a": [1, 2]}, "$.a[*]", "$.a[*] matches more than one value; the answer is SNIPPET"),
        ("text", "$.a", "nothing at $.a; the answer is SNIPPET"),
        (None, "$", "$ is null, which is no number; the answer is SNIPPET"),
    ],
)
def test_what_a_path_does_not_find_is_told(document: Any, path: str, told: str) -> None:
    """A fault names the path, and shows the value and what the answer says."""
    assert fault(read(json_reader(path), json.dumps(document))) == told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abst"), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_no_document_does_harm(document: Any) -> None:
    """Whatever JSON comes, there are finite numbers and faults, and nothing else."""
    for reader in (
        json_reader("$.a"),
        json_reader("$..a"),
        json_reader({"a": "$.a", "b": "$[?@.b > 0]"}, "$.a", "$.s", "$.t"),
        json_reader("$", "$[*]"),
    ):
        found = reader.read(Body(b"", document, "", lambda work, argument: work(argument)))
        assert found.figures or found.faults
        assert all(abs(figure.value) < float("inf") for figure in found.figures)


def test_several_values_come_by_name() -> None:
    """Those that are there are kept when others are not."""
    reader = json_reader({"bid": "$.b", "ask": "$.a", "last": "$.l"})
    found = read(reader, '{"b": 1, "a": "2.5"}')
    assert [(figure.part, figure.value) for figure in found.figures] == [("bid", 1.0), ("ask", 2.5)]
    assert found.faults == [("last", "nothing at $.l")]


ROWS = {"data": [{"symbol": "BTC/USD", "p": 1}, {"symbol": "ETH", "p": "2"}, {"symbol": 7, "p": 3}]}


@pytest.mark.parametrize("list_", ["$.data", "$.data[*]", "$.data[?@.p]"])
def test_the_elements_of_a_list_are_series(list_: str) -> None:
    """A path names the list, or its elements; labels become slugs."""
    found = read(json_reader("$.p", list_, "$.symbol"), json.dumps(ROWS))
    assert values(found) == {"btc_usd": 1.0, "eth": 2.0, "7": 3.0}


def test_elements_are_named_by_their_key_where_no_label_is_given() -> None:
    """`{"EUR": 0.9}` needs nothing but the path of the object; list elements have their index."""
    assert values(read(json_reader("$", "$.rates"), '{"rates": {"EUR": 0.9, "CHF": 0.8}}')) == {
        "eur": 0.9,
        "chf": 0.8,
    }
    assert read(json_reader("$", "$"), '{"a": 1, "b": null}').faults == [
        ("b", "the element is null, which is no number")
    ]
    assert values(read(json_reader("$.usd", "$"), '{"bitcoin": {"usd": 5}}')) == {"bitcoin": 5.0}
    assert values(read(json_reader("$", "$"), "[0.5, 0.25]")) == {"0": 0.5, "1": 0.25}


def test_a_list_can_have_several_values() -> None:
    """Symbols are label and name."""
    reader = json_reader({"bid": "@.b", "ask": "@.a"}, "$", "@.s")
    assert values(read(reader, '[{"s": "x", "b": 1, "a": 2}]')) == {"x.bid": 1.0, "x.ask": 2.0}


def test_a_bad_element_spoils_no_other() -> None:
    """Labels that are missing, empty or doubled are faults; the other elements count."""
    document = [{"s": "A", "p": 1}, {"p": 2}, {"s": "é", "p": 3}, {"s": "b", "p": 4}, {"s": "B", "p": 5},
                {"s": None, "p": 6}, {"s": "c", "p": "x"}, {"s": True, "p": 1}, 5]  # fmt: skip
    found = read(json_reader("$.p", "$", "$.s"), json.dumps(document))
    assert [(figure.part, figure.value) for figure in found.figures] == [("a", 1.0)]
    told = " ".join(f"{part}: {text}" for part, text in found.faults)
    assert "b: 2 elements have this label" in told
    assert "an element has no label, nothing at $.s" in told
    assert "the label 'é' has no letter or digit" in told
    assert "the label null" in told
    assert "c: $.p is 'x'" in told
    assert len(found.faults) == 7


def test_a_list_is_bounded() -> None:
    """A thousand elements are read, one more is a fault, and so is none, and what is no list."""
    full = json.dumps([{"p": 1}] * MAX_ELEMENTS)
    assert len(read(json_reader("$.p", "$"), full).figures) == MAX_ELEMENTS
    more = json.dumps([{"p": 1}] * (MAX_ELEMENTS + 1))
    for list_ in ("$", "$[*]"):
        assert "more than 1000 elements" in fault(read(json_reader("$.p", list_), more))
    assert "$.d has no elements" in fault(read(json_reader("$.p", "$.d"), '{"d": []}'))
    assert "$.d is 5, which is no list" in fault(read(json_reader("$.p", "$.d"), '{"d": 5}'))


def test_a_number_has_its_own_time() -> None:
    """`time` is a path beside the value, in each element of a list; one that is no time is a fault."""
    reader = json_reader("$.p", "$", "$.s", "$.t")
    found = read(reader, '[{"s":"a","p":1,"t":1792411200},{"s":"b","p":2,"t":"2026-10-19T12:00:01Z"}]')
    # The clock of the machine may be before these times; then they are refused, as they should be.
    if now() > NOON:
        assert [figure.ts for figure in found.figures] == [NOON, NOON + SECOND]
    assert "its time, $.t, is null" in fault(read(json_reader("$.p", time="$.t"), '{"p": 1, "t": null}'))
    assert "nothing at $.t" in fault(read(json_reader("$.p", time="$.t"), '{"p": 1}'))


def test_a_time_to_come_is_a_fault() -> None:
    """One such time would make every number that follows look old; an hour ahead is another time zone."""
    late, soon = now() + 2 * DAY, now() + DAY // 24
    reader = json_reader("$.p", time="$.t")
    assert "which is yet to come" in fault(read(reader, json.dumps({"p": 1, "t": late})))
    (figure,) = read(reader, json.dumps({"p": 1, "t": soon})).figures
    assert figure.ts == soon


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("", "'' is not a JSONPath (it begins with $, such as $.data.value)"),
        ("data.value", "'data.value' is not a JSONPath (it begins with $, such as $.data.value)"),
        ("$.a[", "is not a JSONPath: unexpected end of query, at its end"),
        ("$.a[01].b", "is not a JSONPath: leading zero in index selector, at '01].b'"),
        ("$.a ", "is not a JSONPath: unexpected trailing whitespace"),
        ("$.a | $.b", "is not a JSONPath"),
        ("$.a[?@.b =~ /x/]", "is not a JSONPath"),
        ("$[?search(@.a, 'x')]", "function 'search' is not defined"),
        ("$[?match(@.a, 'x')]", "function 'match' is not defined"),
        ("$[?@..b]", "has .. inside a filter"),
        ("$[?@.a[?@..b]]", "has .. inside a filter"),
        ("$..a..b..c", "has .. more than twice"),
        ("$[?count($[*]) > 1]", "goes through the whole document for each element"),
        ("$[?" * 100 + "@.a" + "]" * 100, "is not a JSONPath"),
        ("$" + ".a" * 300, "more than 500 characters"),
    ],
)
def test_a_wrong_path_is_a_mistake(path: str, told: str) -> None:
    """The mistake is told with its spot when the configuration is read; so is a path that may never end."""
    with pytest.raises(ValueError, match=r"JSONPath|filter|for ever") as caught:
        Path(path)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "TOKEN" not in str(caught.value)


def test_deep_json_is_a_fault() -> None:
    """A document that is nested beyond reason fails the path, not the program."""
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    with pytest.raises(Fault, match="nested too deeply"):
        Path("$..x").one(deep)


# -- CSV ----------------------------------------------------------------------------------------------

TABLE = "Date,Close,Name\n2026-01-02,1.5,A\n2026-01-03,2.5,B\n\n"


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (csv_reader("Close"), {"": 2.5}),
        (csv_reader("2"), {"": 2.5}),
        (csv_reader("Close", "first"), {"": 1.5}),
        (csv_reader("Close", label="Name"), {"a": 1.5, "b": 2.5}),
        (csv_reader({"close": "Close", "other": "2"}), {"close": 2.5, "other": 2.5}),
        (csv_reader({"x": "Close"}, label="3"), {"a.x": 1.5, "b.x": 2.5}),
    ],
)
def test_columns_are_found(reader: CsvReader, expected: dict[str, float]) -> None:
    """By name or number; in the first row, the last, or each."""
    assert values(read(reader, TABLE)) == expected
    assert values(read(reader, b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode())) == expected


def test_a_table_may_have_no_header_and_other_signs() -> None:
    """Delimiter, decimal sign and quotes are as the country has them."""
    reader = csv_reader("2", header=False, delimiter=";", decimal=",")
    assert values(read(reader, 'a;"1.234"\n')) == {"": 1234.0}
    assert values(read(csv_reader("1", header=False, delimiter="\t"), "5\t6")) == {"": 5.0}


@pytest.mark.parametrize(
    ("reader", "text", "told"),
    [
        (csv_reader("Open"), TABLE, "no column 'Open' (the first row is 'Date, Close, Name')"),
        (csv_reader("a"), "a,a\n1,2", "more than one column 'a'"),
        (csv_reader("Close"), "<html>\n<p>", "no column 'Close' (the first row is '<html>')"),
        (csv_reader("Close"), "Date,Close\n", "the table has no rows"),
        (csv_reader("Close"), "", "the table is empty"),
        (csv_reader("Close"), "Date,Close\n2026-01-02", "the row has no column Close"),
        (csv_reader("Close"), "Close\n.", "column Close is '.', which is no number"),
        (csv_reader("5"), "a\n1", "the row has no column 5"),
        (csv_reader("a", label="b"), "a,b\n" + "1,x\n" * 1_001, "more than 1000 elements"),
        (csv_reader("a", label="b"), "a,b\n1,x\n2,X", "2 elements have this label"),
        (csv_reader("a"), "a\n" + "1" * 200_000, "the answer is not CSV: field larger than field limit"),
        (csv_reader("a", time="t"), "a,t\n1,soon", "its time, column t, is 'soon', which is no time"),
    ],
)
def test_faults_of_tables_are_told(reader: CsvReader, text: str, told: str) -> None:
    """Each says which column, and what the table has instead."""
    assert told in fault(read(reader, text))


@pytest.mark.parametrize(("column", "header"), [("0", True), ("Close", False)])
def test_a_column_that_cannot_be_is_a_mistake(column: str, header: bool) -> None:
    """Columns count from 1, and have names where there is a header."""
    with pytest.raises(ValueError, match="is no column"):
        csv_reader(column, header=header)


# -- text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["42.5", " 42.5\r\n", '"42.5"', "\ufeff42.5", "$42.50"])
def test_a_body_is_a_number(text: str) -> None:
    """White space, a byte order mark and the quotes of JSON do not count."""
    assert values(read(NumberReader(NUMERALS), text)) == {"": 42.5}


@pytest.mark.parametrize("text", ["", "<html>", "null", "NaN", "1 2", "9" * 300, "\x00", '"'])
def test_a_body_that_is_no_number(text: str) -> None:
    """It is refused, with what the answer begins with."""
    assert fault(read(NumberReader(NUMERALS), text)).endswith("; the answer is SNIPPET")


def test_an_expression_takes_its_group() -> None:
    """The only group, or the one that is named `value`; the first match counts."""
    page = "<p>é Price: <b>97,412.50</b> Price: <b>1</b> as of <i>2026-01-02</i>"
    assert values(read(RegexReader(r"Price: <b>([\d.,]+)", "", NUMERALS), page)) == {"": 97412.5}
    named = RegexReader(r"(Price): <b>(?P<value>[\d.,]+)</b>.*<i>(?P<day>.+?)</i>", "day", NUMERALS)
    (figure,) = read(named, page).figures
    assert (figure.value, figure.ts) == (97412.5, parse_time("2026-01-02"))
    assert values(read(RegexReader(r"é \w+: <b>(?P<value>\d+)", "", NUMERALS), page)) == {"": 97.0}


@pytest.mark.parametrize(
    ("regex", "text", "told"),
    [
        (r"Price: (\d+)", "<html>", "the regular expression matches nothing; the answer is SNIPPET"),
        (r"a(\d+)?", "a", "the match is null, which is no number"),
        (r"a(.*)", "a" * 1_000, "the match is 'aaa"),
    ],
)
def test_an_expression_that_finds_no_number(regex: str, text: str, told: str) -> None:
    """No match, no group and no number are faults."""
    assert told in fault(read(RegexReader(regex, "", NUMERALS), text))


@pytest.mark.parametrize(
    ("regex", "time", "told"),
    [
        ("(a", "", "is not a regular expression: missing )"),
        ("abc", "", "has no group (one around the number, or one named (?P<value>…))"),
        ("(a)(b)", "", "has more than one group"),
        ("(a)", "when", "has no group named 'when' for the time (write (?P<when>…))"),
        ("(?P<when>a)", "when", "has no group"),
        ("(a)" + "b" * 500, "", "more than 500 characters"),
    ],
)
def test_a_wrong_expression_is_a_mistake(regex: str, time: str, told: str) -> None:
    """It is told when the configuration is read."""
    with pytest.raises(ValueError, match=r"regular expression|group") as caught:
        RegexReader(regex, time, NUMERALS)
    assert told in str(caught.value)


@pytest.mark.alone
@pytest.mark.parametrize("pattern", [r"(a+)+$", r"(a|a)*$", r"(.*)(.*)(.*)x$", r"\s+$"])
def test_an_expression_that_never_ends_is_ended(pattern: str) -> None:
    """A body made for the expression takes the time that it is given, and the hub notices nothing."""
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    gevent.sleep(0.05)
    body = b"a" * 100_000 + b" " * 200_000 + b"b"
    started = time.monotonic()
    with pytest.raises(CollectError, match=r"not done after 0.5 s"):
        search(pattern, [1] if "(" in pattern else [0], body, limit=0.5)
    assert time.monotonic() - started < 3.0
    gevent.sleep(0.05)
    watching.kill()
    assert watchdog.quantile(0.5) < 0.05
    assert sum(watchdog.counts) >= 6


def test_a_failed_search_is_told() -> None:
    """A search that dies leaves its reason; the next is not concerned."""
    with pytest.raises(CollectError, match=r"the regular expression failed: .*no such group"):
        search("(a)", [5], b"a")
    assert search("(a)|(b)", [1, 2], b"b") == [None, "b"]
    assert search("(a)", [1], b"b") is None


def test_readers_have_long_bodies_read_beside_the_hub() -> None:
    """A large document is searched in a native thread, a small one where it is."""
    calls: list[Any] = []

    def aside(work: Any, *arguments: Any) -> Any:
        calls.append(work)
        return work(*arguments)

    for size in (10, 20_000):
        document = {"v": 1, "x": "y" * size}
        data = json.dumps(document).encode()
        found = json_reader("$.v").read(Body(data, document, "", aside))
        assert values(found) == {"": 1.0}
        assert len(calls) == (size == 20_000)
