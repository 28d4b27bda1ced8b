"""What the store tells of the uptime of targets: read when somebody asks, and kept a moment for all."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import gevent
from loguru import logger

from oculus.clock import DAY, SECOND, now
from oculus.errors import OculusError
from oculus.model import Micros
from oculus.storage import uptime
from oculus.storage.uptime import Record, Share
from oculus.web.services import Services
from oculus.zones import local_zone

DAYS = 90  # that are told, the present one among them
OUTAGES = 20  # that are told

# From one reading to the next, at least, and at least so many times what the last one took: a fiftieth of one
# processor, however much there is to read.
FRESH = 60.0  # seconds
RESTING = 50

PATIENCE = 2.0  # seconds that a request waits for a reading; then it is told what was known before
TIMEOUT = 60.0  # seconds of a reading: months of hundreds of targets on a small board

# Sets of targets that are remembered; a page has one, a badge of something that is on no page has its own.
_MOST = 100

# Windows that are told, with how many of the days each has; the first one goes back from now, to the hour.
WINDOWS = {"24h": 0, "7d": 7, "30d": 30, "90d": DAYS}


@dataclass(slots=True)
class _Kept:
    record: Record | None = None
    ended: float = 0.0  # monotonic
    took: float = 0.0  # seconds
    reading: gevent.Greenlet[..., None] | None = None


class Records:
    """Records of sets of targets."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: dict[frozenset[str], _Kept] = {}

    def of(self, targets: Collection[str]) -> Record | None:
        """Return what is known of targets (`net.http.site`), as fresh as it can be had without a long wait.

        It is None while nothing was read yet.
        """
        key = frozenset(targets)
        kept = self._kept.pop(key, None) or _Kept()
        self._kept[key] = kept  # what was asked for last is last, and goes last
        if len(self._kept) > _MOST:
            del self._kept[next(iter(self._kept))]
        rest = max(FRESH, RESTING * kept.took)
        if kept.reading is None and (kept.record is None or time.monotonic() - kept.ended >= rest):
            kept.reading = gevent.spawn(self._read, kept, key)
        if kept.reading is not None:
            kept.reading.join(PATIENCE)
        return kept.record

    def _read(self, kept: _Kept, targets: frozenset[str]) -> None:
        started = time.monotonic()
        at = now()
        every = {target: self._services.every(f"{target}.up") for target in targets}
        asked = (every, days(at), Micros(at - DAY), at, OUTAGES)
        try:
            kept.record = self._services.readers.run(uptime.record, *asked, timeout=TIMEOUT)
        except OculusError as error:
            logger.debug("the uptime of {} targets could not be read: {}", len(targets), error)
        finally:
            kept.reading = None
            kept.ended = time.monotonic()
            kept.took = kept.ended - started


def days(at: Micros) -> list[Micros]:
    """Return the beginnings of the last days in this host's time zone; `at` is in the last of them."""
    zone = local_zone()
    today = datetime.fromtimestamp(at / SECOND, zone).date()
    midnights = (
        datetime(day.year, day.month, day.day, tzinfo=zone)
        for day in (today - timedelta(days=DAYS - 1 - ago) for ago in range(DAYS))
    )
    return [Micros(round(midnight.timestamp()) * SECOND) for midnight in midnights]


def over(known: uptime.Uptime, window: str) -> Share:
    """Return how a window of WINDOWS was shared."""
    count = WINDOWS[window]
    return sum(known.days[-count:], Share()) if count else known.recent
