"""Trading hours: when an exchange is open, when it opens again, and what that says about a quote.

For sources that come without a calendar. New York's holidays and early closes follow the exchange's published
rules; days of mourning and storms, which nobody can compute, look like days without trades. The other
exchanges have their weekday hours here and no holidays. Times are seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from oculus.zones import zone

# Quotes of some exchanges are 15 or 20 minutes late, and the closing auction's price comes after the close:
# for this long after the close new ones are waited for, and after the opening none is no surprise.
LATE = 1_800.0  # seconds

# A source that is told no session for the day may be late itself: for this long after the usual time of the
# opening it is asked as if there were one.
DOUBT = 600.0  # seconds

CLOSED, PRE, POST = "closed", "pre", "post"
QUIET = "no trades"  # within the hours, and yet nothing came: a holiday, or a halt

_DAY = 86_400.0  # seconds
_FRIDAY, _SATURDAY = 4, 5


@dataclass(frozen=True, slots=True)
class Session:
    """One day's regular trade, with the hours before and after it where the exchange has such."""

    opens: float
    closes: float
    pre: float | None = None
    post: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a quote stands to the hours.

    `state` is a word for people, empty while there is trade. Nothing new comes within `rest` seconds; None
    leaves it open. `trading` is None where that cannot be told.
    """

    state: str = ""
    rest: float | None = None
    trading: bool | None = None


def standing(now: float, quoted: float, session: Session, reopens: float) -> Standing:
    """Tell how a quote of the time `quoted` stands at `now`.

    `session` is the one that goes on, or else the last or the coming one; `reopens` follows it.
    """
    if session.opens <= now < session.closes:
        if quoted < session.opens and now - session.opens > LATE:
            return Standing(QUIET)
        return Standing(trading=True)
    state = CLOSED
    if now < session.opens:
        wait = session.opens - now
        if session.pre is not None and now >= session.pre:
            state = PRE
    else:
        wait = reopens - now
        if session.post is not None and now < session.post:
            state = POST
        if quoted < session.closes and now - session.closes < LATE:
            wait = 0.0
    return Standing(state, wait if wait > 0 else None, trading=False)


def same_time_later(opens: float, now: float, where: tzinfo) -> float:
    """Return the first later day's opening at the local time of `opens`: the next, or one DOUBT ago at most.

    Which days have trade is not known here: each may.
    """
    clock = datetime.fromtimestamp(opens, where).time()
    day = datetime.fromtimestamp(now, where).date()
    while (found := datetime.combine(day, clock, where).timestamp()) <= max(opens, now - DOUBT):
        day += timedelta(days=1)
    return found


# -- exchanges ----------------------------------------------------------------------------------------


def _never(day: date) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange's regular hours in its own time; a pause at noon counts as trade."""

    zone: str
    opens: time
    closes: time
    holiday: Callable[[date], bool] = _never
    early: Callable[[date], bool] = _never
    closes_early: time = time(13)

    def session_on(self, day: date) -> Session | None:
        """Return the session of a local day; None for one without."""
        if day.weekday() >= _SATURDAY or self.holiday(day):
            return None
        where = zone(self.zone)
        closes = self.closes_early if self.early(day) else self.closes
        begin, end = datetime.combine(day, self.opens, where), datetime.combine(day, closes, where)
        return Session(begin.timestamp(), end.timestamp())

    def last(self, now: float) -> Session:
        """Return the session that goes on, or the last one."""
        day = self.day(now)
        while (found := self.session_on(day)) is None or found.opens > now:
            day -= timedelta(days=1)
        return found

    def reopens(self, now: float) -> float:
        """Return the first opening after `now`."""
        day = self.day(now)
        while (found := self.session_on(day)) is None or found.opens <= now:
            day += timedelta(days=1)
        return found.opens

    def day(self, now: float) -> date:
        """Return the local day."""
        return datetime.fromtimestamp(now, zone(self.zone)).date()

    def standing(self, now: float, quoted: float) -> Standing:
        """Tell how a quote of the time `quoted` stands at `now`."""
        return standing(now, quoted, self.last(now), self.reopens(now))


def easter(year: int) -> date:
    """Return Easter Sunday: the first one after the full moon of the church's tables in spring."""
    century = year // 100
    golden = year % 19
    leap = century - century // 4 - (8 * century + 13) // 25
    moon = (leap + 19 * golden + 15) % 30  # days from 21 March to the full moon
    # The two dates that the tables avoid, so that no two years of a cycle share a moon.
    if moon == 29 or (moon == 28 and golden > 10):
        moon -= 1
    full = date(year, 3, 21) + timedelta(days=moon)
    return full + timedelta(days=6 - full.weekday() or 7)


def _falls_on(day: date, month: int, number: int) -> bool:
    """Tell whether `day` is that date, or the weekday on which it is kept when it falls on a weekend."""
    kept = [day]
    if day.weekday() == _FRIDAY:
        kept.append(day + timedelta(days=1))
    elif day.weekday() == 0:
        kept.append(day - timedelta(days=1))
    return any((each.month, each.day) == (month, number) for each in kept)


# Month, weekday from Monday as 0, and first and last day that it may be.
_FLOATING = (
    (1, 0, 15, 21),  # Martin Luther King Jr.
    (2, 0, 15, 21),  # Washington's birthday
    (5, 0, 25, 31),  # Memorial Day
    (9, 0, 1, 7),  # Labor Day
    (11, 3, 22, 28),  # Thanksgiving
)


def new_york_holiday(day: date) -> bool:
    """Tell whether the New York exchanges stay closed on a weekday, by the rule that holds since 1998."""
    for month, weekday, first, last in _FLOATING:
        if day.month == month and day.weekday() == weekday and first <= day.day <= last:
            return True
    if day == easter(day.year) - timedelta(days=2):
        return True
    if _falls_on(day, 1, 1):
        return day.month == 1  # not kept on the last day of a year: books are closed on it
    if day.year >= 2022 and _falls_on(day, 6, 19):
        return True
    return _falls_on(day, 7, 4) or _falls_on(day, 12, 25)


def new_york_early(day: date) -> bool:
    """Tell whether the New York exchanges close at 13:00, by the rule that holds since 2013."""
    if (day.month, day.weekday()) == (11, _FRIDAY):
        return 23 <= day.day <= 29  # after Thanksgiving
    # The eve of a holiday that is a weekday itself.
    return (day.month, day.day) in ((7, 3), (12, 24)) and day.weekday() < _FRIDAY


NEW_YORK = Exchange("America/New_York", time(9, 30), time(16), new_york_holiday, new_york_early)
LONDON = Exchange("Europe/London", time(8), time(16, 30))
FRANKFURT = Exchange("Europe/Berlin", time(9), time(17, 30))
WARSAW = Exchange("Europe/Warsaw", time(9), time(17, 5))
TOKYO = Exchange("Asia/Tokyo", time(9), time(15, 30))
HONG_KONG = Exchange("Asia/Hong_Kong", time(9, 30), time(16, 10))
