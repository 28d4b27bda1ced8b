"""What plugins print, as the plugin guidelines say, and as plugins do."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.collectors.nagios import MAX_VALUES, Performance, convert_range, parse


def only(item: str) -> Performance:
    """Return the value of the only item."""
    report = parse(f"OK | {item}")
    assert not report.faults
    (found,) = report.values
    return found


def fault(item: str) -> str:
    """Return the fault of the only item, which has no value."""
    report = parse(f"OK | {item}")
    assert not report.values
    (found,) = report.faults
    return found


def test_the_text_stands_before_the_bar() -> None:
    """The first line up to the bar is for people, and so is all of a line without one."""
    assert parse("DISK OK - free|/=3").text == "DISK OK - free"
    assert parse("DISK OK - free\nmore").text == "DISK OK - free"
    assert parse("").text == ""
    assert parse("a\tb\x07\x1b[1m c").text == "a b [1m c"
    assert len(parse("x" * 100_000).text) < 300


@pytest.mark.parametrize(
    ("item", "label", "value", "unit"),
    [
        ("time=0.5", "time", 0.5, ""),
        ("time=0.5s", "time", 0.5, "s"),
        ("time=500ms;;;0", "time", 0.5, "s"),
        ("time=12us", "time", 12e-6, "s"),
        ("/=29298262016B;243497277849;;0;270552530944", "/", 29298262016.0, "B"),
        ("size=3KB", "size", 3000.0, "B"),
        ("size=3kB", "size", 3000.0, "B"),
        ("size=1.5MB", "size", 1.5e6, "B"),
        ("size=2GB", "size", 2e9, "B"),
        ("size=2TB", "size", 2e12, "B"),
        ("size=2KiB", "size", 2048.0, "B"),
        ("size=2MiB", "size", 2097152.0, "B"),
        ("used=73%;80;90", "used", 73.0, "%"),
        ("in=123456c", "in", 123456.0, ""),
        ("temp=21.5C", "temp", 21.5, "C"),
        ("x=-.5", "x", -0.5, ""),
        ("x=5.", "x", 5.0, ""),
        ("x=1e3", "x", 1000.0, ""),
        ("'swap used'=3%", "swap used", 3.0, "%"),
        ("'it''s = here'=3", "it's = here", 3.0, ""),
        ("''''=3", "'", 3.0, ""),
        ("a'b=3", "a'b", 3.0, ""),
    ],
)
def test_values_are_read_in_their_base_units(item: str, label: str, value: float, unit: str) -> None:
    """Quotes, all units, and trailing semicolons that are there or not."""
    found = only(item)
    assert (found.label, found.value, found.unit) == (label, value, unit)


def test_an_unknown_value_is_no_value() -> None:
    """`U` says that the plugin could not tell."""
    report = parse("OK | a=U b=2 c=U;1;2")
    assert [found.label for found in report.values] == ["b"]
    assert not report.faults


def test_performance_data_goes_on_behind_long_text() -> None:
    """A later line with a bar ends the text, and all lines behind it are values."""
    report = parse("OK - fine | a=1 b=2\nlong text\nmore = text\nlast | c=3\nd=4 e=5\r\n")
    assert [(found.label, found.value) for found in report.values] == [
        ("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)
    ]  # fmt: skip
    assert not report.faults


@pytest.mark.parametrize(
    ("item", "text"),
    [
        ("a=", "a is '', which is no number"),
        ("a=1,5", "a is '1,5', which is no number"),
        ("a=1.2.3", "a is '1.2.3', which is no number"),
        ("a=one", "a is 'one', which is no number"),
        ("a=1e999", "a is '1e999', which is no finite number"),
        ("a=nan", "a is 'nan', which is no number"),
        ("alone", "'alone' is no performance value (label=value)"),
        ("=3", "'=3' is no performance value (label=value)"),
        ("'open=3", '"\'open=3" is no performance value (label=value)'),
        (f"{'x' * 101}=3", f"{'x' * 101} is too long for a label"),
    ],
)
def test_what_is_no_value_is_a_fault(item: str, text: str) -> None:
    """It is told with its label, and the others are kept."""
    assert fault(item) == text
    assert [found.value for found in parse(f"OK | before=1 {item} after=2").values] in ([1, 2], [1])


@pytest.mark.parametrize(
    ("written", "factor", "expected"),
    [
        ("10", 1.0, "10"),
        ("10:", 1.0, "10:"),
        ("~:10", 1.0, "~:10"),
        ("10:20", 1.0, "10:20"),
        ("@10:20", 1.0, "@10:20"),
        ("@10", 1.0, "@10"),
        ("0:10", 1.0, "10"),
        (":10", 1.0, "10"),
        ("-5:5", 1.0, "-5:5"),
        ("5.000", 1.0, "5"),
        ("100:200", 0.001, "0.1:0.2"),
        ("~:3", 1e6, "~:3000000"),
        ("0:", 1.0, "0:"),
        ("", 1.0, ""),
        ("~", 1.0, ""),
        ("@", 1.0, ""),
        ("20:10", 1.0, ""),
        ("80%", 1.0, ""),
        ("10:20:30", 1.0, ""),
    ],
)
def test_ranges_are_read(written: str, factor: float, expected: str) -> None:
    """They get the unit of their value; what is none is left out."""
    assert convert_range(written, factor) == expected


def test_ranges_go_with_their_value() -> None:
    """Thresholds in milliseconds are told in seconds, like the value."""
    found = only("time=20ms;100;@200:;0;1000")
    assert (found.value, found.warn, found.crit) == (0.02, "0.1", "@0.2:")


def test_a_flood_is_bounded() -> None:
    """Neither values nor faults grow without end, and no text makes reading slow."""
    report = parse("OK | " + " ".join(f"a{index}=1" for index in range(5_000)))
    assert len(report.values) == MAX_VALUES
    assert report.faults == [f"more than {MAX_VALUES} values"]
    for hostile in (
        "x " * 32_000,
        "'" * 64_000,
        "'a ''b " * 9_000,
        "' " * 32_000,
        "x" * 64_000,
        "''a' " * 12_000,
    ):
        started = time.perf_counter()
        assert len(parse(f"OK | {hostile}").faults) <= MAX_VALUES + 1
        assert time.perf_counter() - started < 1.0


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    """Whatever a program prints is read without an exception."""
    parse(text)
    parse(f"|{text}")
