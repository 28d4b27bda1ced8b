"""Maintenance windows, on both sides of the nights when clocks are set."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.windows import Window, parse_cron, parse_once, parse_weekly
from oculus.zones import zone

BERLIN = zone("Europe/Berlin")


def at(text: str) -> Micros:
    """Return a time that is written in UTC."""
    return Micros(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND)


def spans(window: Window, day: str, minutes: int = 15) -> list[tuple[str, str]]:
    """Return when a window is open from a day of UTC on, for three days, as pairs of times."""
    begin = at(day)
    found: list[list[str]] = []
    inside = False
    for step in range(3 * 24 * 60 // minutes):
        moment = Micros(begin + step * minutes * 60 * SECOND)
        holds = window.contains(moment)
        shown = datetime.fromtimestamp(moment / SECOND, UTC).strftime("%d %H:%M")
        if holds and not inside:
            found.append([shown])
        if inside and not holds:
            found[-1].append(shown)
        inside = holds
    return [(pair[0], pair[1]) for pair in found]


@pytest.mark.parametrize(
    ("text", "day", "open_"),
    [
        (
            "daily 02:00-03:00",
            "2026-01-10",
            [("10 01:00", "10 02:00"), ("11 01:00", "11 02:00"), ("12 01:00", "12 02:00")],
        ),
        (
            "daily 02:00-03:00",
            "2026-07-10",
            [("10 00:00", "10 01:00"), ("11 00:00", "11 01:00"), ("12 00:00", "12 01:00")],
        ),
        ("sun 02:00-04:00", "2026-01-10", [("11 01:00", "11 03:00")]),
        ("sat,mon 10:00-11:00", "2026-01-10", [("10 09:00", "10 10:00"), ("12 09:00", "12 10:00")]),
        ("sat-sun 00:00-24:00", "2026-01-09", [("09 23:00", "11 23:00")]),
        ("sun-tue 10:00-11:00", "2026-01-12", [("12 09:00", "12 10:00"), ("13 09:00", "13 10:00")]),
        # Over midnight: it belongs to the day on which it begins.
        ("sat 22:00-01:30", "2026-01-10", [("10 21:00", "11 00:30")]),
        # The night in spring when two o'clock is left out, and the one in autumn when it comes twice.
        ("sun 01:00-04:00", "2026-03-29", [("29 00:00", "29 02:00")]),
        ("sun 02:00-03:00", "2026-03-29", []),
        ("sun 02:30-03:30", "2026-03-29", [("29 01:00", "29 01:30")]),
        ("sun 01:00-02:30", "2026-03-29", [("29 00:00", "29 01:00")]),
        ("sun 01:00-04:00", "2026-10-24", [("24 23:00", "25 03:00")]),
        ("sun 02:00-03:00", "2026-10-25", [("25 00:00", "25 02:00")]),
        ("sat 22:00-04:00", "2026-10-24", [("24 20:00", "25 03:00")]),
    ],
)
def test_a_weekly_window_goes_by_the_clocks_on_the_wall(
    text: str, day: str, open_: list[tuple[str, str]]
) -> None:
    """Whatever the offset is that day, it begins and ends when clocks show so."""
    assert spans(parse_weekly(text, BERLIN), day) == open_


@pytest.mark.parametrize(
    ("cron", "seconds", "day", "open_"),
    [
        (
            "30 3 * * *",
            1_200,
            "2026-01-10",
            [("10 02:30", "10 02:50"), ("11 02:30", "11 02:50"), ("12 02:30", "12 02:50")],
        ),
        ("0 22 * * 6", 4 * 3_600, "2026-10-24", [("24 20:00", "25 00:00")]),
        ("0 22 * * 6", 4 * 3_600, "2026-03-28", [("28 21:00", "29 01:00")]),
    ],
)
def test_a_recurring_window_lasts_its_time(
    cron: str, seconds: float, day: str, open_: list[tuple[str, str]]
) -> None:
    """It begins by the clock on the wall, and is as long as it is, also in the nights when clocks are set."""
    assert spans(parse_cron(cron, seconds, BERLIN), day, 5) == open_


def test_a_single_window_is_local_unless_it_says_otherwise() -> None:
    """Its two times are those of the zone, or of the offset that they name."""
    window = parse_once("2026-12-01 22:00", "2026-12-02T01:00", BERLIN)
    assert spans(window, "2026-12-01") == [("01 21:00", "02 00:00")]
    assert parse_once("2026-12-01 22:00Z", "2026-12-01 23:00Z", BERLIN).start == at("2026-12-01T22:00")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: parse_weekly("sun", BERLIN), "'sun' is not a weekly window"),
        (lambda: parse_weekly("son 02:00-03:00", BERLIN), "'son 02:00-03:00' is not a weekly window"),
        (lambda: parse_weekly("sun 25:00-26:00", BERLIN), "is not a weekly window"),
        (lambda: parse_cron("never", 60, BERLIN), "'never' is not a cron expression"),
        (lambda: parse_once("tomorrow", "2026-12-01", BERLIN), "'tomorrow' is not a time"),
        (lambda: parse_once("2026-12-02", "2026-12-01", BERLIN), "start is not before end"),
    ],
)
def test_a_mistake_says_what_would_be_right(make: object, told: str) -> None:
    """Each is one line."""
    with pytest.raises(ValueError, match=told):
        make()  # type: ignore[operator]


def test_a_recurring_window_does_not_stay_open_in_the_hour_that_comes_twice() -> None:
    """Ten minutes of an hour are ten minutes of it, in the night when clocks are set back as well."""
    window = parse_cron("20 * * * *", 600, BERLIN)
    for hour in range(4):
        begin = at(f"2026-10-25T0{hour}:00")
        open_ = [m for m in range(60) if window.contains(Micros(begin + m * 60 * SECOND))]
        assert open_ in (list(range(20, 30)), []), hour
