"""Trading hours: holidays against a library's tables, daylight saving, and what they say about a quote."""

from __future__ import annotations

import os
import subprocess
import sys
import zoneinfo
from datetime import UTC, date, datetime, timedelta

import holidays
import pytest

from oculus.collectors.markets.sources import hours
from oculus.collectors.markets.sources.hours import (
    LONDON,
    NEW_YORK,
    Session,
    Standing,
    same_time_later,
    standing,
)
from oculus.zones import zone

HOUR = 3_600.0

# Closings that no rule tells: attacks, a hurricane, and days of mourning for presidents.
ONE_OFF = {
    date(2001, 9, 11), date(2001, 9, 12), date(2001, 9, 13), date(2001, 9, 14), date(2004, 6, 11),
    date(2007, 1, 2), date(2012, 10, 29), date(2012, 10, 30), date(2018, 12, 5), date(2025, 1, 9),
}  # fmt: skip


def at(text: str, zone: str = "America/New_York") -> float:
    """Return seconds since 1970 of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()


def weekdays(first: int, last: int) -> list[date]:
    """Return all days from Monday to Friday of some years."""
    start, end = date(first, 1, 1), date(last, 12, 31)
    days = (start + timedelta(days=number) for number in range((end - start).days + 1))
    return [day for day in days if day.weekday() < 5]


def test_new_yorks_holidays_are_those_of_the_library() -> None:
    """Forty years of weekdays, but for the closings that nobody could have computed."""
    known = holidays.financial_holidays("NYSE", years=range(2000, 2042))
    wrong = [
        day
        for day in weekdays(2000, 2040)
        if hours.new_york_holiday(day) != (day in known) and day not in ONE_OFF
    ]
    assert wrong == []


def test_new_yorks_early_closes_are_those_of_the_library() -> None:
    """From 2013, when the present rule begins."""
    known = holidays.financial_holidays("NYSE", years=range(2013, 2042), categories=("half_day",))
    early = {
        day for day in weekdays(2013, 2040) if hours.new_york_early(day) and not hours.new_york_holiday(day)
    }
    assert early == {day for day in known if day.year <= 2040}
    assert all("1:00pm" in known[day] for day in early)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2026-03-06", 14.5, 21.0),  # winter time
        ("2026-03-09", 13.5, 20.0),  # the Monday after the change
        ("2026-10-30", 13.5, 20.0),
        ("2026-11-02", 14.5, 21.0),
        ("2026-11-27", 14.5, 18.0),  # after Thanksgiving
        ("2026-12-24", 14.5, 18.0),
    ],
)
def test_sessions_follow_daylight_saving_and_early_closes(day: str, opens: float, closes: float) -> None:
    """Hours in UTC of a day in New York."""
    midnight = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
    session = NEW_YORK.session_on(date.fromisoformat(day))
    assert session == Session(midnight + opens * HOUR, midnight + closes * HOUR)


def test_the_weeks_between_the_two_changes() -> None:
    """Europe changes its clocks two weeks after America in spring: London's hours in UTC stay till then."""
    day = date(2026, 3, 20)
    new_york, london = NEW_YORK.session_on(day), LONDON.session_on(day)
    assert new_york is not None
    assert london is not None
    assert london.opens == at("2026-03-20T08:00", "UTC")
    assert new_york.opens - london.opens == 5.5 * HOUR  # usually 6.5


def test_a_weekend_with_a_holiday_is_one_pause() -> None:
    """From Thursday's close before Good Friday to Monday's opening."""
    for moment in ("2026-04-02T16:00", "2026-04-03T11:00", "2026-04-05T23:59", "2026-04-06T09:29:59"):
        now = at(moment)
        assert NEW_YORK.last(now).closes == at("2026-04-02T16:00")
        assert NEW_YORK.reopens(now) == at("2026-04-06T09:30")
    assert NEW_YORK.last(at("2026-04-06T09:30")).opens == at("2026-04-06T09:30")
    assert NEW_YORK.reopens(at("2026-04-06T09:30")) == at("2026-04-07T09:30")


OPENS, CLOSES, REOPENS = 100_000.0, 123_400.0, 186_400.0


@pytest.mark.parametrize(
    ("now", "quoted", "expected"),
    [
        (OPENS, OPENS - 60_000, Standing(trading=True)),
        (OPENS + 1_800, OPENS - 60_000, Standing(trading=True)),  # quotes of some exchanges are that late
        (OPENS + 1_801, OPENS - 60_000, Standing("no trades")),
        (OPENS + 9_000, OPENS + 1, Standing(trading=True)),  # seldom traded, and yet today
        (CLOSES - 0.1, CLOSES - 5, Standing(trading=True)),
        (CLOSES, CLOSES - 5, Standing("post", None, False)),  # the closing price is still to come
        (CLOSES, CLOSES, Standing("post", REOPENS - CLOSES, False)),
        (CLOSES + 1_800, CLOSES - 5, Standing("post", REOPENS - CLOSES - 1_800, False)),
        (CLOSES + 20_000, CLOSES, Standing("closed", REOPENS - CLOSES - 20_000, False)),
        (REOPENS + 1, CLOSES, Standing("closed", None, False)),  # should be open: asked as usual
        (OPENS - 5, 1.0, Standing("pre", 5.0, False)),
        (OPENS - 30_000, 1.0, Standing("closed", 30_000.0, False)),
    ],
)
def test_what_the_hours_say_about_a_quote(now: float, quoted: float, expected: Standing) -> None:
    """A word, for how long nothing new can come, and whether there is trade: no claim without knowledge."""
    session = Session(OPENS, CLOSES, OPENS - 20_000, CLOSES + 14_400)
    assert standing(now, quoted, session, REOPENS) == expected


def test_hours_without_pre_and_post() -> None:
    """Equal times mean that there are none."""
    session = Session(OPENS, CLOSES, OPENS, CLOSES)
    assert standing(OPENS - 1, 1.0, session, REOPENS).state == "closed"
    assert standing(CLOSES + 1, CLOSES, session, REOPENS).state == "closed"


def test_the_same_time_on_a_later_day() -> None:
    """The next opening of an exchange whose days are not known, over a change of the clocks."""
    friday = at("2026-03-06T09:30")
    where = zone("America/New_York")
    assert same_time_later(friday, at("2026-03-06T17:00"), where) == at("2026-03-07T09:30")
    assert same_time_later(friday, at("2026-03-08T12:00"), where) == at("2026-03-09T09:30")
    assert same_time_later(friday, at("2026-03-09T09:39"), where) == at("2026-03-09T09:30")  # in doubt
    assert same_time_later(friday, at("2026-03-09T09:41"), where) == at("2026-03-10T09:30")


def test_systems_without_zones_use_the_bundled_ones() -> None:
    """A small system has no zone files; those of pytz serve, also for the rule of far years."""
    code = (
        "from oculus.collectors.markets.sources.hours import NEW_YORK; from datetime import date;"
        "print([NEW_YORK.session_on(date(year, 7, 1)).opens % 86400 for year in (2026, 2039)])"
    )
    environment = os.environ | {"PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[48600.0, 48600.0]"


@pytest.mark.parametrize("name", ["Nowhere/Land", "../../etc/passwd"])
def test_what_is_no_zone(name: str) -> None:
    """A service may send anything as the name of a zone."""
    with pytest.raises((KeyError, ValueError, OSError)):
        zone(name)
