"""What keeps the store small and quick while the daemon runs: rollups, age and size limits, order.

One greenlet, every few minutes; the work itself runs in the writer's thread, in steps, so that commits
go on in between. It goes by the trusted time, never on the word of a clock that jumped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import gevent
from loguru import logger

from oculus.clock import DAY, SECOND, ClockGuard, iso
from oculus.errors import OculusError, StorageError
from oculus.model import Micros
from oculus.storage import ingest, queries, retention, rollup, sort
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.readers import Readers
from oculus.storage.sort import Stretch
from oculus.storage.tiers import MINUTE, ORDERED_LEAST, TABLES, Marks, floor, ordered_key
from oculus.storage.writer import Writer

_T = TypeVar("_T")

PERIOD = 300.0  # seconds between two passes
CLOCK_MARK = "clock_mark"  # key of the trusted time in `oculus_state`

# A minute is rolled up once it is over for this long: what still waits to be written then is late, which is
# right as well, but costs more.
GRACE = 2 * MINUTE

EXPIRE_EVERY = 3_600.0  # seconds

# What is not in order yet is read slowly: it is put in order this often, and once a day with all the rest,
# which writes 140 MB at 500 series every 30 s, kept for a week.
SORT_EVERY = 6 * 3_600.0  # seconds
SORT_AGAIN = 3_600.0  # seconds after a failure
SORT_FIRST = 600.0  # seconds after the start: a start has enough to do

# How much lies in order as one, about 10,000 rows of a series each at one sample a minute. Where a table is
# kept for four times that or longer, what is older is left as it is, and goes as a whole one day.
_GENERATIONS: Mapping[str, int] = {"metrics": 7 * DAY, "rollup_1m": 7 * DAY, "rollup_1h": 420 * DAY}
_MOST_GENERATIONS = 4

# The size limit is met by deleting down to a part of it, so that not every pass has to.
_FULL = 0.95
_ENOUGH = 0.85

# A step that rolls up is to keep the writer waiting about this long.
_STEP = 0.05  # seconds

_PLAN_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class StorageReport:
    """The store as a page shows it: sizes in bytes, `limit` 0 for none, `keep` in seconds by table."""

    path: str
    size: int
    limit: int
    usage: queries.Usage
    keep: Mapping[str, float]


class Upkeep:
    """Keeps the rows of each table for `keep` seconds, and the file under `max_size` bytes (0: any size)."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        readers: Readers,
        latest: Latest,
        guard: ClockGuard,
        keep: Mapping[str, float],
        max_size: int = 0,
    ) -> None:
        self._database = database
        self._writer = writer
        self._readers = readers
        self._latest = latest
        self._guard = guard
        self._keep = keep
        self._max_size = max_size
        self._expire_at = self._sort_at = time.monotonic()
        self._sort_at += SORT_FIRST
        self.deleted = 0  # samples, for their age or for space
        self.sorted = 0  # rows put in order
        self.longest = 0.0  # seconds that the writer was kept by one step
        self.usage = queries.Usage()
        self._unfreed = ""  # the table whose deleted rows still take space

    def report(self) -> StorageReport:
        """Return what the last pass saw of the store."""
        keep = dict(self._keep) | {"events": retention.events_kept(self._keep)}
        return StorageReport(self._database.path, self._database.size(), self._max_size, self.usage, keep)

    def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            self.keep_up()
            gevent.sleep(PERIOD)

    def keep_up(self) -> None:
        """Do what is due now. What fails (a full disk) is logged, tried again, and keeps nothing else up."""
        self._try(self.roll_up)
        if time.monotonic() >= self._expire_at and self._try(self.expire):
            self._expire_at = time.monotonic() + EXPIRE_EVERY
        if time.monotonic() >= self._sort_at:
            # A failure may come late: all before it is written again by the next try.
            again = SORT_EVERY if self._try(self.sort) else SORT_AGAIN
            self._sort_at = time.monotonic() + again
        self._try(self._measure_and_shrink)

    def _try(self, work: Callable[[], None]) -> bool:
        """Return whether the work was done."""
        try:
            work()
        except OculusError as error:
            logger.warning("the upkeep of the database failed, and will be tried again: {}", error)
            return False
        return True

    def _measure_and_shrink(self) -> None:
        self.usage = self._readers.run(queries.usage, timeout=_PLAN_TIMEOUT)
        self.shrink()

    def roll_up(self) -> None:
        """Bring the rollups up to date, in steps that are quick whatever the number of series."""
        span = rollup.SPAN
        more = True
        while more:
            started = time.monotonic()
            more = self._step(rollup.advance, Micros(self._guard.trusted() - GRACE), span)
            took = time.monotonic() - started
            span = (
                min(2 * span, DAY) if took < _STEP else max(span // 2, MINUTE) if took > 4 * _STEP else span
            )

    def expire(self) -> None:
        """Delete what is too old, and remember the trusted time for the next start."""
        trusted = self._guard.trusted()
        rows = self._step(retention.expire, trusted, self._keep)
        self.mark()
        self._latest.forget_before(self.oldest())
        self._note_deleted(rows, self.oldest())

    def _note_deleted(self, rows: int, before: Micros) -> None:
        self.deleted += rows
        if rows:
            logger.info("retention deleted {} samples older than {}", rows, iso(before))

    def oldest(self) -> Micros:
        """Return the time before which samples are too old."""
        return Micros(self._guard.trusted() - int(self._keep["metrics"] * SECOND))

    def mark(self) -> None:
        """Remember the trusted time; the next start goes by it."""
        self._writer.call(ingest.write_state, CLOCK_MARK, str(self._guard.trusted()))

    def sort(self) -> None:
        """Put what is rolled up in order: what is new by itself, and once a day all of it."""
        for table in TABLES:
            if self._keep[table] < ORDERED_LEAST:
                continue
            marks = self._readers.run(ingest.read_marks)
            built = marks.built["rollup_1m"]
            for piece in self._readers.run(
                sort.pieces, table, marks.kept[table], built, timeout=_PLAN_TIMEOUT
            ):
                with self._rewriting():
                    self._sort(table, piece)
            if marks.ordered[table] < floor(built, DAY):
                with self._rewriting():
                    self._merge(table, marks, marks.ordered[table])
                    self._writer.call(ingest.write_state, ordered_key(table), str(floor(built, DAY)))

    @contextmanager
    def _rewriting(self) -> Iterator[None]:
        """Free the space of what the block rewrites at its end, and not in between."""
        reader = self._writer.call(sort.hold)
        try:
            yield
        finally:
            self._writer.call(sort.release, reader)
        self.mark()  # a checkpoint without a commit before it does nothing
        self._writer.fold(0)

    def _sort(self, table: str, stretch: Stretch) -> int:
        """Put a stretch in order; return how many rows went, being past their limit."""
        dropped = 0
        for slice_ in self._readers.run(sort.plan, table, stretch, timeout=_PLAN_TIMEOUT):
            dropped += self._step(sort.rewrite, table, slice_, stretch)
            self.sorted += slice_.rows
        return dropped

    def _whole(self, table: str) -> bool:
        """Return whether all rows of a table lie in one order, and not by generations."""
        return self._keep[table] * SECOND < _MOST_GENERATIONS * _GENERATIONS[table]

    def _merge(self, table: str, marks: Marks, since: Micros) -> None:
        """Write what lies in several orders since `since` in one, without what is past its limit."""
        today, kept, length = floor(marks.built["rollup_1m"], DAY), marks.kept[table], _GENERATIONS[table]
        # All of it, or whole generations that are past their limit, and those that have something new.
        gone = kept if self._whole(table) else floor(kept, length)
        dropped = self._sort(table, Stretch(Micros(0), today if self._whole(table) else gone, gone))
        if table == "metrics":
            self._note_deleted(dropped, gone)
        if self._whole(table):
            return
        oldest = self._readers.run(ingest.first_row, table, max(since, gone))
        first = floor(today if oldest is None else oldest, length)
        for at in range(first, today, length):
            self._sort(table, Stretch(Micros(at), Micros(min(at + length, today)), gone))

    def shrink(self) -> None:
        """Delete the oldest of the finest rows when the file outgrows its limit."""
        if self._unfreed:  # what failed the last time
            self._free(self._unfreed)
        for table in retention.SHRUNK:
            # What one step frees is an estimate; the next table's turn is when this one has no more to give.
            while self._max_size and self.usage.used >= self._max_size * _FULL:
                excess = self.usage.used - self._max_size * _ENOUGH
                size = next((usage.bytes for usage in self.usage.tables if usage.table == table), 0)
                rows, start = self._step(retention.shrink, table, min(1.0, excess / max(1, size)))
                if not rows:
                    break
                self._unfreed = table
                self.deleted += rows if table == "metrics" else 0
                logger.warning(
                    "database.max_size: {} rows of {} before {} are given up", rows, table, iso(start)
                )
                self._free(table)
        if self._max_size and self.usage.used > self._max_size:
            logger.warning("the database is larger than database.max_size, though all but the newest is gone")

    def _free(self, table: str) -> None:
        """Write anew what lies around the rows that were given up: only then is their space free."""
        marks = self._readers.run(ingest.read_marks)
        kept, built, length = marks.kept[table], marks.built["rollup_1m"], _GENERATIONS[table]
        end = built if self._whole(table) else min(built, Micros(floor(kept, length) + length))
        with self._rewriting():
            for piece in self._readers.run(sort.pieces, table, kept, built, timeout=_PLAN_TIMEOUT):
                self._sort(table, piece)
            self._sort(table, Stretch(Micros(0), end, kept))
        if self._writer.fold_error:
            raise StorageError(f"the log does not go into the file: {self._writer.fold_error}")
        self.usage = self._readers.run(queries.usage, timeout=_PLAN_TIMEOUT)
        self._unfreed = ""

    def _step(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run a step in the writer's thread, and let a commit go first before the next."""
        started = time.monotonic()
        try:
            return self._writer.call(work, *arguments)
        finally:
            self.longest = max(self.longest, time.monotonic() - started)
            self._writer.fold()  # what is only in the log takes memory
            gevent.sleep(0)


def last_mark(value: str | None) -> Micros | None:
    """Return the trusted time that was remembered, if any."""
    return Micros(int(value)) if value and value.isdecimal() else None
