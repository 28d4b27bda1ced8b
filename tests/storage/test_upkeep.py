"""Upkeep: limits of age and size, order, and never on the word of a clock that jumped.

Clocks are moved by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from oculus.clock import DAY, SECOND, SETTLE, ClockGuard
from oculus.errors import StorageError
from oculus.model import Batch, Event, Micros, Sample
from oculus.pipe import Pipe
from oculus.storage import ingest, queries, sort
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.readers import Readers
from oculus.storage.retention import EVENTS_KEPT
from oculus.storage.tiers import TABLES
from oculus.storage.upkeep import CLOCK_MARK, Upkeep, last_mark
from oculus.storage.writer import Writer
from tests.bench.days import live
from tests.support.clocks import WallClock

NOW = Micros(1_800_000_000 * SECOND)
WEEK = 7 * 86_400.0  # seconds
KEEP = {"metrics": WEEK, "rollup_1m": 90 * 86_400.0, "rollup_1h": 1_826 * 86_400.0}


class Host:
    """A host with its clock, and a database that holds a sample of each of the last ten days."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = WallClock(NOW)
        self.latest = Latest()
        self.writer = Writer(
            database, Pipe(10), batch=1, flush=1.0, on_commit=lambda batch: None, on_state=lambda error: None
        )
        self.readers = Readers(database)
        self.fill(NOW)

    def fill(self, end: Micros) -> None:
        """Store a sample for each of the ten days before `end`, half a day off its turn."""
        samples = tuple(
            Sample(f"custom.d{age}", float(age), Micros(end - age * DAY - DAY // 2)) for age in range(10)
        )
        self.writer.call(ingest.write, Batch(samples), 1)
        self.latest.update(samples, end)

    def start(self, keep: Mapping[str, float] = KEEP, max_size: int = 0) -> Upkeep:
        """Start the upkeep as a start of the daemon does: with the mark that the last run left."""
        mark = last_mark(self.writer.call(ingest.read_state, CLOCK_MARK))
        self.guard = ClockGuard(mark, lambda: self.clock.wall, lambda: self.clock.monotonic)
        return Upkeep(self.database, self.writer, self.readers, self.latest, self.guard, keep, max_size)

    def days(self) -> list[int]:
        """Return the ages in days at which samples are left, of those that `fill` stored first."""
        rows = self.database.connection.execute("select value from metrics order by value").fetchall()
        return [int(row[0]) for row in rows]

    def live(self, seconds: float, upkeep: Upkeep, every: float = 3600.0) -> None:
        """Let the daemon run: the clock is checked and old samples are deleted each hour."""
        for _ in range(int(seconds / every)):
            self.clock.pass_by(every)
            self.guard.check()
            sweep(upkeep)


def sweep(upkeep: Upkeep) -> Upkeep:
    """Do what is done hourly."""
    upkeep.roll_up()
    upkeep.expire()
    return upkeep


@pytest.fixture
def host(database: Database) -> Iterator[Host]:
    """A host with ten days of history and a week's retention."""
    made = Host(database)
    yield made
    made.readers.close()
    made.writer.close()


ALL = list(range(10))
A_WEEK = list(range(7))


def test_what_is_too_old_goes_at_the_start(host: Host) -> None:
    """Samples older than a week are deleted, from the memory too; the younger ones stay."""
    upkeep = host.start()
    sweep(upkeep)
    assert host.days() == A_WEEK
    assert upkeep.deleted == 3
    assert [series.symbol for series in host.latest] == [f"custom.d{age}" for age in A_WEEK]


def test_it_goes_on_as_time_passes(host: Host) -> None:
    """Day by day another one goes, and the sum is counted."""
    upkeep = host.start()
    host.live(2 * 86_400.0, upkeep)
    assert host.days() == [0, 1, 2, 3, 4]
    assert upkeep.deleted == 5
    host.live(30 * 86_400.0, upkeep, every=6 * 3600.0)
    assert host.days() == []


def test_events_are_kept_for_three_months_at_least(host: Host) -> None:
    """What happened matters for longer than every number."""
    ages = [0, WEEK * SECOND + 1, EVENTS_KEPT - 1, EVENTS_KEPT + 1, 2 * EVENTS_KEPT]
    events = tuple(Event(Micros(int(NOW - age)), "s", "alert", "warn", "m") for age in ages)
    host.writer.call(ingest.write, Batch((), events), 1)
    sweep(host.start())
    rows = host.database.connection.execute("select id from events order by id").fetchall()
    assert rows == [(1,), (2,), (3,)]


def test_events_are_kept_as_long_as_samples(host: Host) -> None:
    """A longer retention holds for them as well."""
    host.writer.call(
        ingest.write, Batch((), (Event(Micros(NOW - 2 * EVENTS_KEPT), "s", "alert", "warn", "m"),)), 1
    )
    sweep(host.start(KEEP | {"metrics": 3 * EVENTS_KEPT / SECOND}))
    assert host.database.connection.execute("select count(*) from events").fetchone() == (1,)
    assert host.days() == ALL


# -- rogue clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [0.1, 1, 50])
@pytest.mark.parametrize("checked", [True, False], ids=["seen", "not yet seen"])
def test_a_jump_forward_deletes_nothing(host: Host, years: float, checked: bool) -> None:
    """The clock is set ahead while the daemon runs: nothing goes by that, also before the jump is noticed."""
    upkeep = host.start()
    sweep(upkeep)
    host.clock.set_by(years * 365 * 86_400)
    if checked:
        host.guard.check()
    sweep(upkeep)
    assert host.days() == A_WEEK
    host.live(6 * 3600.0, upkeep)
    assert host.days() == A_WEEK


def test_time_that_really_passes_still_counts_after_a_jump(host: Host) -> None:
    """The daemon goes by the monotonic clock then: a day later the oldest day goes, and no other."""
    upkeep = host.start()
    host.live(3600.0, upkeep)
    host.clock.set_by(400 * 86_400)
    host.guard.check()
    host.live(23 * 3600.0, upkeep, every=600.0)
    assert host.days() == list(range(6))


@pytest.mark.parametrize("years", [1, 50])
def test_a_start_with_a_clock_far_ahead_deletes_nothing(host: Host, years: float) -> None:
    """A board boots in the wrong year: the mark that the last run left tells better."""
    sweep(host.start())
    host.clock.monotonic = 5.0
    host.clock.set_by(years * 365 * 86_400)
    upkeep = host.start()
    sweep(upkeep)
    host.live(3600.0, upkeep)
    assert host.days() == A_WEEK
    host.clock.set_by(-years * 365 * 86_400)  # NTP has come
    host.guard.check()
    host.live(3600.0, upkeep)
    assert host.days() == A_WEEK


def test_the_wrong_time_is_not_remembered(host: Host) -> None:
    """Restarts with a clock that is ahead do not teach the store its time, however many."""
    sweep(host.start())
    host.clock.set_by(365 * 86_400)
    for _ in range(5):
        upkeep = host.start()
        sweep(upkeep)
        upkeep.mark()
        host.clock.pass_by(60)
    assert host.days() == A_WEEK


def test_a_start_with_a_clock_behind_deletes_nothing_and_recovers(host: Host) -> None:
    """A board without a battery boots in 1970, and NTP corrects it minutes later."""
    sweep(host.start())
    host.clock.monotonic = 5.0
    host.clock.wall = Micros(3600 * SECOND)
    upkeep = host.start()
    sweep(upkeep)
    assert host.days() == A_WEEK
    host.clock.pass_by(120)
    host.clock.wall = Micros(NOW + 600 * SECOND)
    host.guard.check()
    sweep(upkeep)
    assert host.days() == A_WEEK
    host.live(SETTLE + 2 * 86_400, upkeep)
    assert host.days() == [0, 1, 2, 3]


def test_a_short_time_off_is_believed(host: Host) -> None:
    """After a night off the oldest day goes at once."""
    sweep(host.start())
    host.clock.monotonic = 5.0
    host.clock.set_by(20 * 3600)
    sweep(host.start())
    assert host.days() == list(range(6))


def test_a_long_time_off_is_believed_after_a_day(host: Host) -> None:
    """After a month off nothing goes at first; all that is due goes once the clock has run for a day."""
    sweep(host.start())
    host.clock.monotonic = 5.0
    host.clock.set_by(30 * 86_400)
    upkeep = host.start()
    sweep(upkeep)
    host.live(SETTLE - 7200, upkeep)
    assert 5 in host.days()
    host.live(10_800, upkeep)
    assert host.days() == []


def test_a_first_start_goes_by_the_clock(host: Host) -> None:
    """Without a mark there is nothing better to go by."""
    assert host.writer.call(ingest.read_state, CLOCK_MARK) is None
    upkeep = host.start()
    sweep(upkeep)
    assert host.writer.call(ingest.read_state, CLOCK_MARK) == str(NOW)
    host.clock.pass_by(60)
    upkeep.mark()
    assert host.writer.call(ingest.read_state, CLOCK_MARK) == str(NOW + 60 * SECOND)


@pytest.mark.parametrize(
    ("stored", "mark"), [(None, None), ("", None), ("soon", None), ("-5", None), ("17", 17)]
)
def test_a_mark_that_is_none_is_passed_over(stored: str | None, mark: int | None) -> None:
    """Whatever stands in the file, a start goes on."""
    assert last_mark(stored) == mark


def test_a_pass_that_fails_is_made_up_for(host: Host) -> None:
    """A database that refuses is no reason to end; memory and store stay together; the next pass works."""
    upkeep = host.start()
    connection = host.database.connection
    connection.execute("alter table metrics rename to elsewhere")
    upkeep.keep_up()
    assert upkeep.deleted == 0
    assert len(host.latest) == 10
    connection.execute("alter table elsewhere rename to metrics")
    upkeep.keep_up()
    assert upkeep.deleted == 3
    assert len(host.latest) == 7


# -- order and size ------------------------------------------------------------------------------------


def unsorted(host: Host, table: str = "metrics") -> int:
    """Return the number of rows that are not in order yet."""
    row = host.database.connection.execute(f"select count(*) from {table} where shard = 0").fetchone()
    assert row is not None
    return int(row[0])


def test_all_but_the_last_minutes_is_put_in_order(host: Host) -> None:
    """Samples and rollups; what follows is put in order the next time."""
    upkeep = host.start()
    host.fill(Micros(NOW + DAY // 2))  # its last sample is of this moment
    sweep(upkeep)
    upkeep.sort()
    assert unsorted(host) == 1
    assert unsorted(host, "rollup_1m") == 0
    assert unsorted(host, "rollup_1h") == 0
    before = upkeep.sorted
    upkeep.sort()
    assert upkeep.sorted == before
    host.live(3600.0, upkeep)
    upkeep.sort()
    assert unsorted(host) == 0


def test_the_days_before_are_written_anew_once_a_day(host: Host) -> None:
    """During the day new rows alone are put in order, late ones too; once it is over all are in one."""
    upkeep = sweep(host.start())
    upkeep.sort()
    assert host.readers.run(ingest.read_marks).ordered["metrics"] == NOW // DAY * DAY
    late = Sample("custom.d3", 3.0, Micros(NOW - 3 * DAY))
    young = Sample("custom.d0", 0.0, Micros(NOW - 60 * SECOND))
    host.writer.call(ingest.write, Batch((late, young)), 1)
    host.clock.pass_by(600)
    sweep(upkeep)
    before = upkeep.sorted
    upkeep.sort()
    assert unsorted(host) == 0
    assert upkeep.sorted - before <= 2 * len(TABLES)
    host.live(86_400.0, upkeep)
    upkeep.sort()
    shards = host.database.connection.execute("select shard from metrics order by rowid").fetchall()
    assert shards == sorted(shards)
    assert host.readers.run(ingest.read_marks).ordered["metrics"] == (NOW + 600 * SECOND) // DAY * DAY + DAY


def test_what_lies_in_order_goes_with_the_next_day(host: Host) -> None:
    """Of each series a few rows everywhere in the table: they are left out when it is written anew."""
    upkeep = sweep(host.start())
    upkeep.sort()
    assert host.days() == A_WEEK
    host.live(6 * 3600.0, upkeep)
    host.live(18 * 3600.0, upkeep)
    assert host.days() == A_WEEK
    upkeep.sort()
    assert host.days() == A_WEEK[:-1]
    assert upkeep.deleted == 4


def test_a_limit_that_a_wrong_clock_set_is_taken_back(host: Host) -> None:
    """The first start is in the wrong year, with nothing to go by; what comes after is kept all the same."""
    host.clock.set_by(400 * 86_400)
    upkeep = sweep(host.start())
    assert host.days() == []
    host.clock.set_by(-400 * 86_400)
    host.guard.check()
    host.writer.call(ingest.write, Batch((Sample("custom.d0", 0.0, Micros(NOW - 60 * SECOND)),)), 1)
    host.live(1800.0, upkeep, every=600.0)
    host.live(1800.0, upkeep, every=600.0)
    assert host.days() == [0]


def test_a_table_that_is_kept_for_long_lies_in_order_week_by_week(host: Host) -> None:
    """Old weeks are not written again with each new day."""
    upkeep = sweep(host.start(KEEP | {"metrics": 100 * 86_400.0}))
    upkeep.sort()
    assert unsorted(host) == 0
    before = upkeep.sorted
    host.clock.pass_by(86_400)
    host.guard.check()
    host.writer.call(ingest.write, Batch((Sample("custom.d0", 0.0, Micros(NOW + 3600 * SECOND)),)), 1)
    sweep(upkeep)
    upkeep.sort()
    assert unsorted(host) == 0
    assert upkeep.sorted - before < 3 * 7


def test_the_oldest_samples_go_first_when_the_file_is_too_large(host: Host) -> None:
    """Rollups of them stay; the last hour is never touched."""
    rows = 600_000
    host.database.connection.execute(
        """insert into metrics (ts, category, symbol, value, tags)
        select make_timestamptz($1 - i * 500000), 'custom', 'custom.s' || i % 5, random(), '{}'
        from range($2) t(i)""",
        [NOW, rows],
    )
    upkeep = host.start(max_size=6_000_000)
    sweep(upkeep)
    host.database.connection.execute("checkpoint")
    upkeep.usage = host.readers.run(queries.usage)
    before = upkeep.usage.used
    upkeep.shrink()
    assert upkeep.usage.used < 6_000_000 < before
    ((count, oldest),) = host.database.connection.execute(
        "select count(*), epoch_us(min(ts)) from metrics"
    ).fetchall()
    assert 7_200 <= count < rows
    assert NOW - 5 * DAY < oldest <= NOW - 3_600 * SECOND
    total = host.database.connection.execute("select sum(count) from metrics_1m").fetchone()
    assert total is not None
    assert total[0] > rows - 1_000  # but for the minutes that are open


def overfull(host: Host) -> Upkeep:
    """Return the upkeep of a file that is too large with the samples of one day, half of it in order."""
    host.database.connection.execute(
        """insert into metrics (ts, category, symbol, value, tags)
        select make_timestamptz($1 - i * 15000), 'custom', 'custom.s' || i % 5, random(), '{}'
        from range(500_000) t(i)""",
        [NOW],
    )
    upkeep = host.start(max_size=4_000_000)
    sweep(upkeep)
    upkeep.sort()
    upkeep.usage = host.readers.run(queries.usage)
    assert upkeep.usage.used > 4_000_000
    return upkeep


def test_a_size_limit_is_met_by_rows_of_the_present_day_too(host: Host) -> None:
    """Their space is free at once, so that the minutes need not go as well."""
    upkeep = overfull(host)
    minutes = host.database.connection.execute("select count(*) from rollup_1m").fetchone()
    for _ in range(3):
        upkeep.shrink()
    assert upkeep.usage.used < 4_000_000
    assert host.database.connection.execute("select count(*) from rollup_1m").fetchone() == minutes


def test_nothing_more_is_deleted_before_the_space_is_free(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes no rewriting, pass after pass, does not cost the rest of the samples."""
    upkeep = overfull(host)

    def full(*arguments: object) -> None:
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(sort, "rewrite", full)
        with pytest.raises(StorageError):
            upkeep.shrink()
        deleted = upkeep.deleted
        for _ in range(3):
            with pytest.raises(StorageError):
                upkeep.shrink()
    assert deleted == upkeep.deleted > 0
    upkeep.shrink()
    assert upkeep.deleted == deleted
    assert upkeep.usage.used < 4_000_000


def test_what_fails_keeps_nothing_else_up(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old rows go and sizes are seen though nothing can be put in order, which is not tried each time."""
    tries = []

    def refuse(*arguments: object) -> None:
        tries.append(arguments)
        raise StorageError("no memory")

    monkeypatch.setattr(sort, "rewrite", refuse)
    monkeypatch.setattr("oculus.storage.upkeep.SORT_FIRST", 0.0)
    upkeep = host.start()
    upkeep.keep_up()
    upkeep.keep_up()
    assert len(tries) == 1
    assert host.days() == A_WEEK
    assert upkeep.usage.tables


def test_without_a_limit_nothing_is_deleted_for_its_size(host: Host) -> None:
    """The default is any size."""
    upkeep = sweep(host.start())
    upkeep.usage = queries.Usage(used=10**12)
    upkeep.shrink()
    assert host.days() == A_WEEK


def test_a_pass_does_all_that_is_due(host: Host) -> None:
    """One call brings the rollups up to date, deletes what is old, and looks at the size."""
    upkeep = host.start()
    upkeep.keep_up()
    assert host.days() == A_WEEK
    assert {table.table: table.rows for table in upkeep.usage.tables} == {
        "metrics": 7, "rollup_1m": 10, "rollup_1h": 10, "events": 0,
    }  # fmt: skip


@pytest.mark.soak
def test_the_file_does_not_grow_at_constant_load(tmp_path: Path) -> None:
    """What is deleted and rewritten leaves space that is used again: day 15 is as day 5."""
    growth = live(str(tmp_path / "days.db"), days=15, series=20, step=30, retention=1.0)
    assert max(growth.file[5:]) <= 1.25 * growth.file[5]
    assert growth.rows[-1] == growth.rows[4]
