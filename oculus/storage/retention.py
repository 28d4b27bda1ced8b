"""Deleting what is too old, at start and hourly, and never on the word of a clock that jumped."""

from __future__ import annotations

from loguru import logger

from oculus.clock import DAY, SECOND, ClockGuard, iso
from oculus.errors import StorageError
from oculus.model import Micros
from oculus.storage import ingest
from oculus.storage.latest import Latest
from oculus.storage.writer import Writer

PERIOD = 3600.0  # seconds between two passes
CLOCK_MARK = "clock_mark"  # key of the trusted time in `oculus_state`

# Events are few, and what happened matters for longer than every number: three months at least.
EVENTS_KEPT = 90 * DAY


class Retention:
    """Deletes samples older than `keep` seconds by the trusted time of `guard`."""

    def __init__(self, writer: Writer, latest: Latest, guard: ClockGuard, keep: float) -> None:
        self._writer = writer
        self._latest = latest
        self._guard = guard
        self.keep = keep
        self.deleted = 0

    def sweep(self) -> None:
        """Delete what is due, and remember the trusted time for the next start.

        A pass that fails (a full disk) is logged; the next one does its work.
        """
        trusted = self._guard.trusted()
        keep = int(self.keep * SECOND)
        try:
            rows = self._writer.call(ingest.delete_before, "metrics", Micros(trusted - keep))
            self._writer.call(ingest.delete_before, "events", Micros(trusted - max(keep, EVENTS_KEPT)))
            self.mark()
        except StorageError as error:
            logger.warning("retention could not delete old samples now, next try in an hour: {}", error)
            return
        self._latest.forget_before(Micros(trusted - keep))
        self.deleted += rows
        if rows:
            logger.info("retention deleted {} samples older than {}", rows, iso(Micros(trusted - keep)))

    def mark(self) -> None:
        """Remember the trusted time; the next start goes by it."""
        self._writer.call(ingest.write_state, CLOCK_MARK, str(self._guard.trusted()))


def last_mark(value: str | None) -> Micros | None:
    """Return the trusted time that was remembered, if any."""
    return Micros(int(value)) if value and value.isdecimal() else None
