"""Uptime is told from the store as it was measured: outages, gaps and what was unknown, each for its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE
from oculus.storage.uptime import Record, Share, Uptime, record
from tests.storage.story import T0, Taken, expire, put_in_order, roll, write

SITE = "net.http.site"
OTHER = "net.tcp.other"
EVERY = 60.0  # seconds from run to run

UP, DOWN, UNKNOWN = "up", "down", "unknown"


def runs(start: int, end: int, went: str = UP, every: float = EVERY, target: str = SITE) -> Iterator[Taken]:
    """Yield what the runs of [start, end) write, in microseconds after T0."""
    for at in range(start, end, round(every * SECOND)):
        if went == UNKNOWN:
            yield Taken(f"{target}.unknown", at, 1.0)
        else:
            yield Taken(f"{target}.up", at, float(went == UP))


def asked(
    database: Database,
    at: int,
    days: Sequence[int] = (0, 1, 2),
    every: float = EVERY,
    most: int = 10,
    targets: Sequence[str] = (SITE,),
) -> Record:
    """Return the record at `at` after T0; days are counted from T0, and the last day is the recent time."""
    return record(
        database.connection,
        dict.fromkeys(targets, every),
        [Micros(T0 + day * DAY) for day in days],
        Micros(T0 + at - DAY),
        Micros(T0 + at),
        most,
    )


def site(database: Database, at: int, **options: object) -> Uptime:
    """Return what is known of the site."""
    return asked(database, at, **options).targets[SITE]  # type: ignore[arg-type]


def shares(found: Uptime) -> list[tuple[int, int, int]]:
    """Return the days of a target in whole seconds: up, down, unknown."""
    return [(round(day.up), round(day.down), round(day.unknown)) for day in found.days]


def outages(found: Record) -> list[tuple[str, float, float, int]]:
    """Return the outages with their times in minutes after T0, and the seconds down."""
    return [
        (one.target, (one.start - T0) / MINUTE, (one.end - T0) / MINUTE, round(one.seconds))
        for one in found.outages
    ]


def stored(database: Database, as_: str, end: int) -> None:
    """Let the store age: what it was told is in samples, in minutes, or in hours alone."""
    if as_ != "samples":
        roll(database, end)
        put_in_order(database)
    if as_ == "minutes":
        expire(database, end, metrics=0.0)
    if as_ == "hours":
        expire(database, end, metrics=0.0, rollup_1m=0.0)


AGES = pytest.mark.parametrize("as_", ["samples", "rollups", "minutes"])


def test_what_was_up_all_the_time_was_up_all_the_time(database: Database) -> None:
    """Whole days are counted to the second, and nothing is unknown."""
    write(database, runs(0, 2 * DAY))
    roll(database, 2 * DAY)
    found = site(database, 2 * DAY)
    assert shares(found) == [(86_400, 0, 0), (86_400, 0, 0), (0, 0, 0)]
    assert found.recent == Share(86_400.0, 0.0, 0.0)


@AGES
def test_an_outage_counts_for_its_time_wherever_it_is_stored(database: Database, as_: str) -> None:
    """Ten minutes down are ten minutes down of a day of which all is known, and one outage."""
    start, end = 5 * HOUR + 50 * MINUTE, 6 * HOUR
    write(database, chain(runs(0, start), runs(start, end, DOWN), runs(end, DAY)))
    stored(database, as_, DAY)
    found = asked(database, DAY)
    assert shares(found.targets[SITE])[0] == (85_800, 600, 0)
    assert found.targets[SITE].recent == found.targets[SITE].days[0]
    assert outages(found) == [(SITE, 350, 360, 600)]


def test_hours_alone_tell_how_long_it_was_down(database: Database) -> None:
    """Where the minutes are gone the day is told as before, and the outage by its hour."""
    start, end = 5 * HOUR + 50 * MINUTE, 6 * HOUR
    write(database, chain(runs(0, start), runs(start, end, DOWN), runs(end, 2 * DAY)))
    stored(database, "hours", 2 * DAY)
    found = asked(database, 2 * DAY)
    assert shares(found.targets[SITE])[:2] == [(85_800, 600, 0), (86_400, 0, 0)]
    assert outages(found) == [(SITE, 300, 360, 600)]


@AGES
def test_a_failed_run_among_good_ones_is_a_failed_run(database: Database, as_: str) -> None:
    """One of two runs of a minute counts for half of it."""
    failed = 7 * HOUR + 30 * SECOND
    good = [one for one in runs(0, DAY, every=30) if one.after != failed]
    write(database, [*good, *runs(failed, failed + 1, DOWN)])
    stored(database, as_, DAY)
    found = asked(database, DAY, every=30)
    assert shares(found.targets[SITE])[0] == (86_370, 30, 0)
    assert outages(found) == [(SITE, 420, 421, 30)]


@AGES
def test_unknown_results_are_neither_up_nor_down(database: Database, as_: str) -> None:
    """While this host is offline, or a maintenance window is open, nothing is known: that is no downtime."""
    start, end = 3 * HOUR + 20 * MINUTE, 5 * HOUR + 5 * MINUTE
    write(database, chain(runs(0, start), runs(start, end, UNKNOWN), runs(end, DAY)))
    write(database, [Taken(f"{SITE}.unknown", end, 0.0)])  # as a probe tells that it is over
    stored(database, as_, DAY)
    found = asked(database, DAY)
    assert shares(found.targets[SITE])[0] == (86_400 - 6_300, 0, 6_300)
    assert not found.outages


@AGES
def test_a_gap_is_unknown(database: Database, as_: str) -> None:
    """While the daemon was off nothing was measured, and nothing is made up: neither up nor 100 %."""
    start, end = 5 * HOUR + 30 * MINUTE, 9 * HOUR + 15 * MINUTE
    write(database, chain(runs(0, start), runs(end, DAY)))
    stored(database, as_, DAY)
    up, down, unknown = shares(site(database, DAY))[0]
    assert down == 0
    assert up + unknown == 86_400
    assert unknown == pytest.approx((end - start) / SECOND, abs=2 * EVERY)


@AGES
def test_a_gap_within_an_hour_is_unknown(database: Database, as_: str) -> None:
    """Less runs than in the hours beside it: for the rest nothing is known."""
    start, end = 5 * HOUR + 10 * MINUTE, 5 * HOUR + 40 * MINUTE
    write(database, chain(runs(0, start), runs(end, DAY)))
    stored(database, as_, DAY)
    assert shares(site(database, DAY))[0][2] == pytest.approx(1_800, abs=EVERY)


def test_an_outage_a_gap_and_doubt_in_one_hour(database: Database) -> None:
    """Each counts for its own time."""
    hour = 4 * HOUR
    write(
        database,
        chain(
            runs(0, hour + 20 * MINUTE),
            runs(hour + 20 * MINUTE, hour + 30 * MINUTE, DOWN),
            runs(hour + 30 * MINUTE, hour + 40 * MINUTE, UNKNOWN),
            runs(hour + 50 * MINUTE, DAY),
        ),
    )
    up, down, unknown = shares(site(database, DAY))[0]
    assert down == pytest.approx(600, abs=EVERY / 5)
    assert unknown == pytest.approx(1_200, abs=EVERY * 1.2)
    assert up + down + unknown == 86_400


def test_days_without_data_are_unknown_and_days_before_the_first_are_left_out(database: Database) -> None:
    """A target that is new was not unknown before; one that was not measured for a day was."""
    write(database, chain(runs(DAY + 12 * HOUR, 2 * DAY), runs(3 * DAY, 4 * DAY)))
    roll(database, 4 * DAY)
    found = site(database, 4 * DAY, days=range(4))
    assert shares(found) == [(0, 0, 0), (43_200, 0, 0), (0, 0, 86_400), (86_400, 0, 0)]


@pytest.mark.parametrize("as_", ["samples", "rollups"])
def test_failures_that_take_long_count_for_their_time(database: Database, as_: str) -> None:
    """A run that times out leaves others out: few failures may be a long outage."""
    start, end = 8 * HOUR + 10 * MINUTE, 8 * HOUR + 40 * MINUTE
    write(database, chain(runs(0, start, every=5), runs(start, end, DOWN, every=10), runs(end, DAY, every=5)))
    stored(database, as_, DAY)
    found = asked(database, DAY, every=5)
    assert shares(found.targets[SITE])[0] == (84_600, 1_800, 0)
    assert outages(found) == [(SITE, 490, 520, 1_800)]


def test_a_long_outage_of_slow_failures_is_told_at_its_edges_too(database: Database) -> None:
    """Hours of nothing but failures are not looked at closely, unless there are fewer than beside them."""
    start, end = 8 * HOUR + 10 * MINUTE, 14 * HOUR
    write(database, chain(runs(0, start, every=5), runs(start, end, DOWN, every=10), runs(end, DAY, every=5)))
    found = asked(database, DAY, every=5)
    assert shares(found.targets[SITE])[0] == (86_400 - 21_000, 21_000, 0)
    assert outages(found) == [(SITE, 490, 840, 21_000)]


@pytest.mark.parametrize(("before", "after"), [(60, 10), (10, 60), (30, 420)])
def test_another_interval_makes_no_gap(database: Database, before: int, after: int) -> None:
    """What was measured with the interval of then was known then, whatever the interval is now."""
    write(database, chain(runs(0, 12 * HOUR, every=before), runs(12 * HOUR, 2 * DAY, every=after)))
    up, down, unknown = shares(site(database, 2 * DAY, every=after))[0]
    assert (up + unknown, down) == (86_400, 0)
    assert unknown <= 3_600  # the hour of the change cannot be told from a gap
    assert shares(site(database, 2 * DAY, every=after))[1] == (86_400, 0, 0)


@pytest.mark.parametrize("minutes", [7, 11, 25, 45, 59])
def test_intervals_that_do_not_fit_into_hours_make_no_gaps(database: Database, minutes: int) -> None:
    """Some hours have a run more than others."""
    write(database, runs(0, 2 * DAY, every=60 * minutes))
    assert shares(site(database, 2 * DAY, every=60 * minutes))[:2] == [(86_400, 0, 0), (86_400, 0, 0)]


def test_a_result_of_a_rare_check_holds_until_the_next(database: Database) -> None:
    """A domain that is looked at twice a day is known all day; but not long after the last look."""
    write(
        database,
        [*runs(0, DAY, every=43_200), *runs(DAY, DAY + 1, DOWN), *runs(DAY + 12 * HOUR, DAY + 12 * HOUR + 1)],
    )
    roll(database, 3 * DAY)
    found = asked(database, 3 * DAY, every=43_200)
    assert shares(found.targets[SITE]) == [
        (86_400, 0, 0), (43_200, 43_200, 0), (3_600, 0, 86_400 - 3_600)
    ]  # fmt: skip
    assert outages(found) == [(SITE, 1440, 2160, 43_200)]


def test_what_is_pushed_now_and_then_is_known_by_its_own_rhythm(database: Database) -> None:
    """Nothing tells the interval of a series that no collector brings (0): the hours beside do."""
    write(database, chain(runs(0, 10 * HOUR, every=600), runs(12 * HOUR, DAY, every=600)))
    assert shares(site(database, DAY, every=0))[0] == (79_200, 0, 7_200)


@pytest.mark.parametrize("minutes", [0, 1, 29, 59])
def test_the_present_day_ends_now(database: Database, minutes: int) -> None:
    """A run that is still to come is no gap, neither right after the hour nor in it."""
    at = DAY + 5 * HOUR + minutes * MINUTE + 20 * SECOND
    write(database, runs(45 * SECOND, at))
    roll(database, DAY + 5 * HOUR)
    day = site(database, at).days[1]
    assert (day.down, day.unknown) == (0.0, 0.0)
    assert day.up == pytest.approx((at - DAY) / SECOND, abs=EVERY)


def test_a_target_that_is_minutes_old_was_up_for_minutes(database: Database) -> None:
    """A fresh start does not claim a whole hour."""
    write(database, runs(40 * MINUTE, 50 * MINUTE))
    day = site(database, 50 * MINUTE).days[0]
    assert day.up == pytest.approx(600, abs=EVERY)
    assert day.unknown == 0.0


def test_days_may_begin_within_an_hour(database: Database) -> None:
    """Some zones are half an hour off: no part of a day is unknown for that."""
    write(database, runs(0, 2 * DAY))
    start = [Micros(T0 + 18 * HOUR + 30 * MINUTE + day * DAY) for day in (-1, 0, 1)]
    found = record(database.connection, {SITE: EVERY}, start, Micros(T0), Micros(T0 + 2 * DAY), 10)
    assert [round(day.unknown) for day in found.targets[SITE].days] == [0, 0, 0]
    assert sum(round(day.up) for day in found.targets[SITE].days) == 2 * 86_400


def test_outages_are_the_latest_of_all_targets(database: Database) -> None:
    """The newest end first; what flaps within five minutes is one; there are no more than asked for."""
    flaps = [10, 12, 15, 30]  # minutes
    bad = {4 * HOUR + minute * MINUTE for minute in flaps}
    write(database, (one._replace(value=0.0) if one.after in bad else one for one in runs(0, DAY)))
    write(database, chain(runs(0, 20 * HOUR, target=OTHER), runs(20 * HOUR, DAY, DOWN, target=OTHER)))
    found = asked(database, DAY, targets=(SITE, OTHER))
    assert outages(found) == [
        (OTHER, 1200, 1440, 14_400),
        (SITE, 270, 271, 60),
        (SITE, 250, 256, 180),
    ]
    assert outages(asked(database, DAY, targets=(SITE, OTHER), most=2)) == outages(found)[:2]


def test_targets_do_not_mix(database: Database) -> None:
    """Each has its own days, and one that was never measured has none."""
    write(database, chain(runs(0, DAY), runs(0, DAY, DOWN, target=OTHER)))
    found = asked(database, DAY, targets=(SITE, OTHER, "net.ping.none")).targets
    assert shares(found[SITE])[0] == (86_400, 0, 0)
    assert shares(found[OTHER])[0] == (0, 86_400, 0)
    assert found["net.ping.none"].days == (Share(),) * 3


@AGES
def test_the_time_of_answers_is_told_by_the_hour(database: Database, as_: str) -> None:
    """The mean of each hour of the recent time, with how many there were; hours without any are left out."""
    write(database, runs(0, DAY))
    write(
        database,
        (
            Taken(f"{SITE}.rtt", one.after, float(one.after // HOUR))
            for one in runs(0, DAY)
            if one.after // HOUR != 3
        ),
    )
    stored(database, as_, DAY)
    took = site(database, DAY).took
    assert [((hour - T0) // HOUR, mean, count) for hour, mean, count in took] == [
        (hour, hour, 60) for hour in range(24) if hour != 3
    ]


def test_an_empty_store_knows_nothing(database: Database) -> None:
    """Nothing is up, down or unknown of what was never measured."""
    found = asked(database, DAY)
    assert found.targets[SITE] == Uptime((Share(),) * 3, Share(), ())
    assert found.outages == ()
    assert asked(database, DAY, targets=()).targets == {}


def test_nothing_is_left_in_the_store(database: Database) -> None:
    """What the reckoning needs for itself is gone afterwards, and can be made again."""
    write(database, chain(runs(0, HOUR), runs(HOUR, 2 * HOUR, DOWN)))
    first = asked(database, DAY)
    assert asked(database, DAY) == first
    tables = database.connection.execute("select table_name from duckdb_tables() where temporary").fetchall()
    assert tables == []


STRETCHES = st.lists(
    st.tuples(st.sampled_from([UP, DOWN, UNKNOWN]), st.integers(1, 400)), min_size=1, max_size=8
)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stretches=STRETCHES, rolled=st.booleans())
def test_every_minute_counts_once(
    tmp_path_factory: pytest.TempPathFactory, stretches: list[tuple[str, int]], rolled: bool
) -> None:
    """Whatever follows on what, the day is the sum of its minutes as they were."""
    database = Database(str(tmp_path_factory.mktemp("uptime") / "oculus.db"))
    at = 0
    expected = dict.fromkeys((UP, DOWN, UNKNOWN), 0)
    for went, minutes in stretches:
        end = min(at + minutes * MINUTE, DAY)
        write(database, runs(at, end, went))
        expected[went] += (end - at) // SECOND
        at = end
    if rolled:
        roll(database, at)
    day = site(database, at, days=[0]).days[0]
    assert (round(day.up), round(day.down)) == (expected[UP], expected[DOWN])
    assert day.unknown == pytest.approx(expected[UNKNOWN], abs=EVERY)
    database.close()
