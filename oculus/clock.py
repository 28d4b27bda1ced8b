"""Time: wall-clock microseconds, their ISO 8601 form, and a guard against clocks that jump.

Schedules and timeouts use `time.monotonic` directly; the wall clock only stamps samples and events.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from oculus.model import Micros

SECOND = 1_000_000  # microseconds
DAY = 86_400 * SECOND
LAST_TIME = 253_402_300_800 * SECOND  # the year 10000, which ISO 8601 and Python no longer write

# A wall clock that moves this much against the monotonic one was set, not slewed (NTP slews 0.5 ms/s).
STEP = 60.0  # seconds

# After a step, or a gap that cannot be told from one, the wall clock is believed again once it has run
# this long without another: NTP corrects a Pi's clock within minutes, so a day is a wide margin.
SETTLE = 86_400.0  # seconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> Micros:
    """Return the wall-clock time in microseconds since 1970 UTC."""
    return Micros(time.time_ns() // 1000)


def iso(ts: Micros) -> str:
    """Return `ts` in ISO 8601 with `Z`: microseconds are shown only where there are any."""
    second, micros = divmod(ts, SECOND)
    fraction = f"{micros:06}" if micros % 1000 else f"{micros // 1000:03}"
    return f"{_iso_second(second)}.{fraction}Z"


@lru_cache(maxsize=4096)  # a page or an answer shows the same few seconds over and over
def _iso_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat().removesuffix("+00:00")


def parse_iso(text: str) -> Micros:
    """Return the microseconds of an ISO 8601 time; one without an offset is taken as UTC.

    Raises ValueError when `text` is not a time.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Micros((moment - _EPOCH) // timedelta(microseconds=1))


class ClockGuard:
    """Tells when the wall clock was set, and a time that is never ahead of the true one.

    `trusted()` is what retention may act on. It starts from `mark`, the trusted time that the last run
    left in the store, and grows only with the monotonic clock: whatever the wall clock claims, at least
    that much time has passed. The wall clock itself is believed when it agrees (at most `GAP` ahead), or
    after it ran `SETTLE` seconds without a step. A Pi that boots in the wrong year thus deletes nothing.
    """

    # A daemon that was off for less than this is assumed to see true time when it comes back: should that
    # be wrong, at most the oldest day of a week's history is lost to it.
    GAP = 86_400.0  # seconds

    def __init__(
        self,
        mark: Micros | None,
        wall: Callable[[], Micros] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._last_wall = wall()
        self._last_monotonic = self._anchor_monotonic = monotonic()
        self._anchor = self._last_wall if mark is None else mark
        self._steady_since = self._last_monotonic
        ahead = (self._last_wall - self._anchor) / SECOND
        self._believed = mark is None or -STEP <= ahead <= self.GAP

    def check(self) -> float | None:
        """Compare the two clocks; return by how many seconds the wall clock was set, if it was.

        Call it every few seconds: a step is seen at the next call only.
        """
        wall, monotonic = self._wall(), self._monotonic()
        drift = (wall - self._last_wall) / SECOND - (monotonic - self._last_monotonic)
        before = self.trusted(monotonic)
        self._last_wall, self._last_monotonic = wall, monotonic
        if abs(drift) > STEP:
            self._anchor, self._anchor_monotonic = before, monotonic
            self._steady_since = monotonic
            self._believed = False
            return drift
        if not self._believed and monotonic - self._steady_since >= SETTLE:
            self._believed = True
        return None

    @property
    def believed(self) -> bool:
        """Whether the wall clock is taken at its word."""
        return self._believed

    def trusted(self, monotonic: float | None = None) -> Micros:
        """Return a time in microseconds that is not later than the true one."""
        if monotonic is None:
            monotonic = self._monotonic()
        elapsed = monotonic - self._last_monotonic
        wall = Micros(self._last_wall + int(elapsed * SECOND))
        if self._believed:
            return wall
        grown = self._anchor + int((monotonic - self._anchor_monotonic) * SECOND)
        return Micros(min(wall, grown))
