"""Retention: deletes by age, and never on the word of a clock that jumped. Clocks are moved by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from oculus.clock import DAY, SECOND, SETTLE, ClockGuard
from oculus.model import Batch, Event, Micros, Sample
from oculus.pipe import Pipe
from oculus.storage import ingest
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.retention import CLOCK_MARK, EVENTS_KEPT, Retention, last_mark
from oculus.storage.writer import Writer
from tests.support.clocks import WallClock

NOW = Micros(1_800_000_000 * SECOND)
WEEK = 7 * 86_400.0  # seconds


class Host:
    """A host with its clock, and a database that holds a sample of each of the last ten days."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = WallClock(NOW)
        self.latest = Latest()
        self.writer = Writer(
            database, Pipe(10), batch=1, flush=1.0, on_commit=lambda batch: None, on_state=lambda error: None
        )
        self.fill(NOW)

    def fill(self, end: Micros) -> None:
        """Store a sample for each of the ten days before `end`, half a day off its turn."""
        samples = tuple(
            Sample(f"custom.d{age}", float(age), Micros(end - age * DAY - DAY // 2)) for age in range(10)
        )
        self.writer.call(ingest.write, Batch(samples), 1)
        self.latest.update(samples, end)

    def start(self) -> Retention:
        """Start the daemon's part that deletes, as a start does: with the mark that the last run left."""
        mark = last_mark(self.writer.call(ingest.read_state, CLOCK_MARK))
        self.guard = ClockGuard(mark, lambda: self.clock.wall, lambda: self.clock.monotonic)
        return Retention(self.writer, self.latest, self.guard, WEEK)

    def days(self) -> list[int]:
        """Return the ages in days at which samples are left, of those that `fill` stored first."""
        rows = self.database.connection.execute("select value from metrics order by value").fetchall()
        return [int(row[0]) for row in rows]

    def live(self, seconds: float, retention: Retention, every: float = 3600.0) -> None:
        """Let the daemon run: the clock is checked and old samples are deleted each hour."""
        for _ in range(int(seconds / every)):
            self.clock.pass_by(every)
            self.guard.check()
            retention.sweep()


@pytest.fixture
def host(database: Database) -> Iterator[Host]:
    """A host with ten days of history and a week's retention."""
    made = Host(database)
    yield made
    made.writer.close()


ALL = list(range(10))
A_WEEK = list(range(7))


def test_what_is_too_old_goes_at_the_start(host: Host) -> None:
    """Samples older than a week are deleted, from the memory too; the younger ones stay."""
    retention = host.start()
    retention.sweep()
    assert host.days() == A_WEEK
    assert retention.deleted == 3
    assert [series.symbol for series in host.latest] == [f"custom.d{age}" for age in A_WEEK]


def test_it_goes_on_as_time_passes(host: Host) -> None:
    """Day by day another one goes, and the sum is counted."""
    retention = host.start()
    host.live(2 * 86_400.0, retention)
    assert host.days() == [0, 1, 2, 3, 4]
    assert retention.deleted == 5
    host.live(30 * 86_400.0, retention)
    assert host.days() == []


def test_events_are_kept_for_three_months_at_least(host: Host) -> None:
    """What happened matters for longer than every number."""
    ages = [0, WEEK * SECOND + 1, EVENTS_KEPT - 1, EVENTS_KEPT + 1, 2 * EVENTS_KEPT]
    events = tuple(Event(Micros(int(NOW - age)), "s", "alert", "warn", "m") for age in ages)
    host.writer.call(ingest.write, Batch((), events), 1)
    host.start().sweep()
    rows = host.database.connection.execute("select id from events order by id").fetchall()
    assert rows == [(1,), (2,), (3,)]


def test_events_are_kept_as_long_as_samples(host: Host) -> None:
    """A longer retention holds for them as well."""
    host.writer.call(
        ingest.write, Batch((), (Event(Micros(NOW - 2 * EVENTS_KEPT), "s", "alert", "warn", "m"),)), 1
    )
    host.start()
    Retention(host.writer, host.latest, host.guard, 3 * EVENTS_KEPT / SECOND).sweep()
    assert host.database.connection.execute("select count(*) from events").fetchone() == (1,)
    assert host.days() == ALL


# -- rogue clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [0.1, 1, 50])
@pytest.mark.parametrize("checked", [True, False], ids=["seen", "not yet seen"])
def test_a_jump_forward_deletes_nothing(host: Host, years: float, checked: bool) -> None:
    """The clock is set ahead while the daemon runs: nothing goes by that, also before the jump is noticed."""
    retention = host.start()
    retention.sweep()
    host.clock.set_by(years * 365 * 86_400)
    if checked:
        host.guard.check()
    retention.sweep()
    assert host.days() == A_WEEK
    host.live(6 * 3600.0, retention)
    assert host.days() == A_WEEK


def test_time_that_really_passes_still_counts_after_a_jump(host: Host) -> None:
    """The daemon goes by the monotonic clock then: a day later the oldest day goes, and no other."""
    retention = host.start()
    host.live(3600.0, retention)
    host.clock.set_by(400 * 86_400)
    host.guard.check()
    host.live(23 * 3600.0, retention, every=600.0)
    assert host.days() == list(range(6))


@pytest.mark.parametrize("years", [1, 50])
def test_a_start_with_a_clock_far_ahead_deletes_nothing(host: Host, years: float) -> None:
    """A board boots in the wrong year: the mark that the last run left tells better."""
    host.start().sweep()
    host.clock.monotonic = 5.0
    host.clock.set_by(years * 365 * 86_400)
    retention = host.start()
    retention.sweep()
    host.live(3600.0, retention)
    assert host.days() == A_WEEK
    host.clock.set_by(-years * 365 * 86_400)  # NTP has come
    host.guard.check()
    host.live(3600.0, retention)
    assert host.days() == A_WEEK


def test_the_wrong_time_is_not_remembered(host: Host) -> None:
    """Restarts with a clock that is ahead do not teach the store its time, however many."""
    host.start().sweep()
    host.clock.set_by(365 * 86_400)
    for _ in range(5):
        retention = host.start()
        retention.sweep()
        retention.mark()
        host.clock.pass_by(60)
    assert host.days() == A_WEEK


def test_a_start_with_a_clock_behind_deletes_nothing_and_recovers(host: Host) -> None:
    """A board without a battery boots in 1970, and NTP corrects it minutes later."""
    host.start().sweep()
    host.clock.monotonic = 5.0
    host.clock.wall = Micros(3600 * SECOND)
    retention = host.start()
    retention.sweep()
    assert host.days() == A_WEEK
    host.clock.pass_by(120)
    host.clock.wall = Micros(NOW + 600 * SECOND)
    host.guard.check()
    retention.sweep()
    assert host.days() == A_WEEK
    host.live(SETTLE + 2 * 86_400, retention)
    assert host.days() == [0, 1, 2, 3]


def test_a_short_time_off_is_believed(host: Host) -> None:
    """After a night off the oldest day goes at once."""
    host.start().sweep()
    host.clock.monotonic = 5.0
    host.clock.set_by(20 * 3600)
    host.start().sweep()
    assert host.days() == list(range(6))


def test_a_long_time_off_is_believed_after_a_day(host: Host) -> None:
    """After a month off nothing goes at first; all that is due goes once the clock has run for a day."""
    host.start().sweep()
    host.clock.monotonic = 5.0
    host.clock.set_by(30 * 86_400)
    retention = host.start()
    retention.sweep()
    host.live(SETTLE - 7200, retention)
    assert 5 in host.days()
    host.live(10_800, retention)
    assert host.days() == []


def test_a_first_start_goes_by_the_clock(host: Host) -> None:
    """Without a mark there is nothing better to go by."""
    assert host.writer.call(ingest.read_state, CLOCK_MARK) is None
    retention = host.start()
    retention.sweep()
    assert host.writer.call(ingest.read_state, CLOCK_MARK) == str(NOW)
    host.clock.pass_by(60)
    retention.mark()
    assert host.writer.call(ingest.read_state, CLOCK_MARK) == str(NOW + 60 * SECOND)


@pytest.mark.parametrize(
    ("stored", "mark"), [(None, None), ("", None), ("soon", None), ("-5", None), ("17", 17)]
)
def test_a_mark_that_is_none_is_passed_over(stored: str | None, mark: int | None) -> None:
    """Whatever stands in the file, a start goes on."""
    assert last_mark(stored) == mark


def test_a_pass_that_fails_is_made_up_for(host: Host) -> None:
    """A database that refuses is no reason to end; memory and store stay together; the next pass works."""
    retention = host.start()
    connection = host.database.connection
    connection.execute("alter table metrics rename to elsewhere")
    retention.sweep()
    assert retention.deleted == 0
    assert len(host.latest) == 10
    connection.execute("alter table elsewhere rename to metrics")
    retention.sweep()
    assert retention.deleted == 3
    assert len(host.latest) == 7
