"""Maintenance windows: spans of local time, once, each week or by cron. Pure: the time is an argument.

A window is reckoned on the wall clock of its zone, whichever offset holds that day: `02:00-03:00` begins
when clocks there first show two and ends when they show three, so that it lasts two hours in the night when
the hour comes twice, and none when it is left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from oculus.clock import SECOND
from oculus.cron import check_cron, next_time
from oculus.model import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Once:
    """From one moment to another."""

    start: Micros
    end: Micros

    def contains(self, at: Micros) -> bool:
        """Tell whether a moment lies in it."""
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Weekly:
    """On some days of the week (0 is Monday), from one time of day to another, maybe of the next day."""

    days: frozenset[int]
    start: time
    end: time
    zone: tzinfo

    def contains(self, at: Micros) -> bool:
        """Tell whether a moment lies in it."""
        today = _local(at, self.zone).date()
        return any(self._on(day, at) for day in (today, today - timedelta(days=1)))

    def _on(self, day: date, at: Micros) -> bool:
        if day.weekday() not in self.days:
            return False
        last = day if self.end > self.start else day + timedelta(days=1)
        return _instant(day, self.start, self.zone) <= at < _instant(last, self.end, self.zone)


@dataclass(frozen=True, slots=True)
class Recurring:
    """From each time that a cron expression names, for some seconds."""

    cron: str
    seconds: float
    zone: tzinfo

    def contains(self, at: Micros) -> bool:
        """Tell whether a moment lies in it."""
        # The first start after the moment a window's length before this one is the one that may hold it.
        start = next_time(self.cron, self.zone, Micros(at - int(self.seconds * SECOND)))
        return start is not None and start <= at


Window = Once | Weekly | Recurring


def parse_once(start: str, end: str, zone: tzinfo) -> Once:
    """Return the span between two times, local where they name no zone; raises ValueError."""
    moments = []
    for text in (start, end):
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            raise ValueError(f"{text!r} is not a time (such as 2026-12-01 22:00)") from None
        moments.append(_micros(moment if moment.tzinfo else moment.replace(tzinfo=zone)))
    if moments[0] >= moments[1]:
        raise ValueError("start is not before end")
    return Once(*moments)


def parse_weekly(text: str, zone: tzinfo) -> Weekly:
    """Return `sun 02:00-04:00`, `mon,wed 22:00-01:00`, `sat-sun 00:00-24:00` or `daily 03:00-03:30`.

    Raises ValueError.
    """
    example = "(such as sun 02:00-04:00, mon,wed 22:00-01:00 or daily 03:00-03:30)"
    days, _, span = text.strip().lower().rpartition(" ")
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ValueError(f"{text!r} is not a weekly window {example}")
    try:
        start = time(int(found[1]), int(found[2]))
        end = time(0) if found[3] == "24" and found[4] == "00" else time(int(found[3]), int(found[4]))
        chosen = frozenset(day for part in days.split(",") for day in _days(part.strip()))
    except ValueError:
        raise ValueError(f"{text!r} is not a weekly window {example}") from None
    return Weekly(chosen, start, end, zone)


def parse_cron(text: str, seconds: float, zone: tzinfo) -> Recurring:
    """Return the windows that begin at the times of a cron expression; raises ValueError."""
    check_cron(text)
    return Recurring(text, seconds, zone)


def _days(text: str) -> range | tuple[int, ...]:
    if text in ("", "daily"):
        return range(7)
    first, dash, last = text.partition("-")
    start = _DAYS.index(first[:3]) if first else -1
    if not dash:
        return (start,)
    end = _DAYS.index(last[:3])
    return tuple(day % 7 for day in range(start, end + 1 if end >= start else end + 8))


def _local(at: Micros, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=at)).astimezone(zone)


def _instant(day: date, at: time, zone: tzinfo) -> Micros:
    """Return when clocks first show this time or a later one: they may leave it out."""
    moment = datetime.combine(day, at, zone)
    found = _micros(moment)
    if _local(found, zone).replace(tzinfo=None) == moment.replace(tzinfo=None):
        return found
    # Read by the offset from after the change it lies before that, and the change between the two.
    low, high = _micros(moment.replace(fold=1)) // SECOND, found // SECOND
    before = _local(Micros(low * SECOND), zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if _local(Micros(middle * SECOND), zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return Micros(high * SECOND)


def _micros(moment: datetime) -> Micros:
    since = moment.astimezone(UTC) - _EPOCH
    return Micros((since.days * 86_400 + since.seconds) * SECOND + since.microseconds)
