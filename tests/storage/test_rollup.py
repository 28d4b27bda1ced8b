"""The rollups: whatever arrives in whatever order, they say what the samples say."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Candle, Micros, Sample
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE, floor

T0 = floor(Micros(1_800_000_000 * SECOND), HOUR)
FOREVER = {"metrics": 1e9, "rollup_1m": 1e9, "rollup_1h": 1e9}
Row = tuple[str, int, float, float, float, float, float, int]


def write(database: Database, *samples: tuple[str, int, float]) -> None:
    """Commit samples (symbol, microseconds after T0, value) as the writer does."""
    batch = Batch(tuple(Sample(symbol, value, Micros(T0 + after)) for symbol, after, value in samples))
    ingest.write(database.connection, batch, 1)


def roll(database: Database, upto: int, span: int = rollup.SPAN) -> int:
    """Roll up to `upto` after T0; return the number of steps."""
    steps = 1
    while rollup.advance(database.connection, Micros(T0 + upto), span):
        steps += 1
    return steps


def rolled(database: Database, tier: str) -> list[Row]:
    """Return the rollups of a tier, as users see them."""
    return database.connection.execute(
        f"select symbol, epoch_us(ts), open, high, low, close, sum, count from metrics_{tier} order by 1, 2"
    ).fetchall()


def expected(samples: Iterable[tuple[str, int, float]], width: int, upto: int) -> list[Row]:
    """Return what a tier must hold of samples of which no two of a series share a time."""
    buckets: dict[tuple[str, int], list[tuple[int, float]]] = defaultdict(list)
    for symbol, after, value in samples:
        if floor(Micros(T0 + after), width) + width <= floor(Micros(T0 + upto), width):
            buckets[symbol, floor(Micros(T0 + after), width)].append((after, value))
    rows = []
    for (symbol, start), bucket in sorted(buckets.items()):
        values = [value for _, value in sorted(bucket)]
        rows.append(
            (symbol, start, values[0], max(values), min(values), values[-1], sum(values), len(values))
        )
    return rows


def same(found: list[Row], wanted: list[Row]) -> bool:
    """Tell whether rollups are equal but for the rounding of sums."""
    if [row[:6] + row[7:] for row in found] != [row[:6] + row[7:] for row in wanted]:
        return False
    return all(
        math.isclose(row[6], other[6], rel_tol=1e-12, abs_tol=1e-9)
        for row, other in zip(found, wanted, strict=True)
    )


def test_a_minute_holds_first_highest_lowest_last_sum_and_count(database: Database) -> None:
    """Open and close go by time, not by arrival."""
    write(database, ("custom.x", 50 * SECOND, 4.0), ("custom.x", 1 * SECOND, 2.0))
    write(database, ("custom.x", 20 * SECOND, 9.0), ("custom.x", 30 * SECOND, 1.0))
    roll(database, MINUTE)
    assert rolled(database, "1m") == [("custom.x", T0, 2.0, 9.0, 1.0, 4.0, 16.0, 4)]


@pytest.mark.parametrize(
    "values", [[3.5], [0.0], [2.0, 2.0], [1.0, 5.0], [5.0, 1.0], [7.0] * 6, [0.1] * 3, [-1.0, 2.0, -1.0]]
)
def test_what_the_table_leaves_out_the_view_fills_in(database: Database, values: list[float]) -> None:
    """Buckets with few or equal values are kept in fewer columns, and read as all others."""
    samples = [("custom.x", place * SECOND, value) for place, value in enumerate(values)]
    write(database, *samples)
    roll(database, MINUTE)
    assert same(rolled(database, "1m"), expected(samples, MINUTE, MINUTE))


def candle(database: Database, after: int, open: float, high: float, low: float, close: float) -> None:
    """Commit a candle of `custom.x`, microseconds after T0."""
    written = Sample("custom.x", close, Micros(T0 + after), candle=Candle(open, high, low))
    ingest.write(database.connection, Batch((written,)), 1)


def test_a_rollup_holds_the_whole_of_its_candles(database: Database) -> None:
    """Open of the first, the highest high, the lowest low; closes are what is summed and counted."""
    candle(database, 30 * SECOND, 3.0, 4.0, 0.5, 2.0)
    candle(database, 0, 5.0, 9.0, 4.0, 6.0)
    write(database, ("custom.x", 40 * SECOND, 8.0))
    candle(database, MINUTE, 7.0, 7.5, 6.5, 7.0)
    roll(database, HOUR)
    assert [row[2:] for row in rolled(database, "1m")] == [
        (5.0, 9.0, 0.5, 8.0, 16.0, 3), (7.0, 7.5, 6.5, 7.0, 7.0, 1),
    ]  # fmt: skip
    assert [row[2:] for row in rolled(database, "1h")] == [(5.0, 9.0, 0.5, 7.0, 23.0, 4)]


def test_late_candles_are_counted(database: Database) -> None:
    """Also of minutes whose samples are gone, where they come after what is known."""
    write(database, ("custom.x", 30 * SECOND, 5.0), ("custom.x", 3 * HOUR, 1.0))
    roll(database, 4 * HOUR)
    candle(database, 40 * SECOND, 6.0, 9.0, 2.0, 7.0)
    roll(database, 4 * HOUR)
    assert rolled(database, "1m")[0][2:] == (5.0, 9.0, 2.0, 7.0, 12.0, 2)
    retention.expire(database.connection, Micros(T0 + 4 * HOUR), FOREVER | {"metrics": 3_600.0})
    candle(database, 50 * SECOND, 4.0, 8.0, 1.0, 3.0)
    roll(database, 4 * HOUR)
    assert rolled(database, "1m")[0][2:] == (5.0, 9.0, 1.0, 3.0, 15.0, 3)
    assert rolled(database, "1h")[0][2:] == (5.0, 9.0, 1.0, 3.0, 15.0, 3)


def test_a_failed_probe_is_unknown_and_not_zero(database: Database) -> None:
    """A minute without a measurement has no rollup; one with some counts those alone."""
    write(
        database, ("net.ping.a.rtt", 0, 10.0), ("net.ping.a.up", 0, 1.0), ("net.ping.a.up", 30 * SECOND, 0.0)
    )
    write(database, ("net.ping.a.up", 60 * SECOND, 0.0))
    database.connection.execute(
        """insert into metrics (ts, category, symbol, value)
        values (make_timestamptz($1), 'net.ping', 'net.ping.a.rtt', null)""",
        [T0 + MINUTE],
    )
    roll(database, 2 * MINUTE)
    assert [(row[0], row[1] - T0, row[5], row[7]) for row in rolled(database, "1m")] == [
        ("net.ping.a.rtt", 0, 10.0, 1),
        ("net.ping.a.up", 0, 0.0, 2),
        ("net.ping.a.up", MINUTE, 0.0, 1),
    ]


def test_an_open_minute_waits(database: Database) -> None:
    """Only whole minutes and hours are rolled up."""
    write(database, ("custom.x", 0, 1.0), ("custom.x", 61 * SECOND, 2.0))
    roll(database, 119 * SECOND)
    assert [row[1] for row in rolled(database, "1m")] == [T0]
    assert rolled(database, "1h") == []


def test_again_changes_nothing(database: Database) -> None:
    """Rolling up what is rolled up is no work, and adds no rows."""
    samples = [("custom.x", place * 20 * SECOND, float(place)) for place in range(400)]
    write(database, *samples)
    for _ in range(3):
        roll(database, 3 * HOUR)
    assert same(rolled(database, "1m"), expected(samples, MINUTE, 3 * HOUR))
    assert same(rolled(database, "1h"), expected(samples, HOUR, 3 * HOUR))


def test_long_gaps_are_jumped_over(database: Database) -> None:
    """A clock that was wrong by years leaves no years to step through."""
    write(database, ("custom.x", -3_000 * DAY, 1.0), ("custom.x", 0, 2.0))
    assert roll(database, HOUR) < 30
    assert [row[2] for row in rolled(database, "1m")] == [1.0, 2.0]


def test_nothing_is_rolled_up_beyond_the_given_time(database: Database) -> None:
    """Samples that a wrong clock stamped ahead wait for their time, and hold nothing else up."""
    write(database, ("custom.x", 400 * DAY, 9.0), ("custom.x", 0, 1.0))
    roll(database, HOUR)
    write(database, ("custom.x", HOUR, 2.0))
    roll(database, 2 * HOUR)
    assert [row[2] for row in rolled(database, "1m")] == [1.0, 2.0]


def test_late_samples_are_counted(database: Database) -> None:
    """A sample for a minute that was rolled up changes this minute and its hour."""
    write(database, ("custom.x", 10 * SECOND, 5.0), ("custom.y", 10 * SECOND, 5.0))
    roll(database, 2 * HOUR)
    write(database, ("custom.x", 5 * SECOND, 1.0), ("custom.x", 20 * SECOND, 3.0), ("custom.z", HOUR, 8.0))
    roll(database, 2 * HOUR)
    assert rolled(database, "1m") == [
        ("custom.x", T0, 1.0, 5.0, 1.0, 3.0, 9.0, 3),
        ("custom.y", T0, 5.0, 5.0, 5.0, 5.0, 5.0, 1),
        ("custom.z", T0 + HOUR, 8.0, 8.0, 8.0, 8.0, 8.0, 1),
    ]
    assert [row[2:] for row in rolled(database, "1h")] == [row[2:] for row in rolled(database, "1m")]
    assert database.connection.execute("select count(*) from oculus_late").fetchone() == (0,)


def test_late_samples_of_minutes_whose_samples_are_gone_are_added(database: Database) -> None:
    """Where retention has deleted the samples, the rollup is what is known, and is counted once."""
    keep = FOREVER | {"metrics": 3_600.0}
    write(database, ("custom.x", 0, 5.0), ("custom.x", 30 * SECOND, 7.0), ("custom.x", 3 * HOUR, 1.0))
    roll(database, 4 * HOUR)
    assert retention.expire(database.connection, Micros(T0 + 4 * HOUR), keep) == 2
    for _ in range(3):
        write(database, ("custom.x", 40 * SECOND, 9.0))
        roll(database, 4 * HOUR)
        roll(database, 4 * HOUR)
    assert rolled(database, "1m")[0] == ("custom.x", T0, 5.0, 9.0, 5.0, 9.0, 39.0, 5)
    assert rolled(database, "1h")[0] == ("custom.x", T0, 5.0, 9.0, 5.0, 9.0, 39.0, 5)
    assert database.connection.execute("select count(*) from metrics").fetchone() == (1,)


def test_late_samples_that_retention_deletes_are_counted_first(database: Database) -> None:
    """They may come between the last step of rolling up and the deletion."""
    write(database, ("custom.x", 0, 5.0), ("custom.x", 3 * HOUR, 1.0))
    roll(database, 4 * HOUR)
    write(database, ("custom.x", 40 * SECOND, 9.0))
    retention.expire(database.connection, Micros(T0 + 4 * HOUR), FOREVER | {"metrics": 3_600.0})
    write(database, ("custom.x", 50 * SECOND, 1.0))
    retention.shrink(database.connection, "metrics", 1.0)
    assert rolled(database, "1m")[0] == ("custom.x", T0, 5.0, 9.0, 1.0, 1.0, 15.0, 3)
    assert rolled(database, "1h")[0] == ("custom.x", T0, 5.0, 9.0, 1.0, 1.0, 15.0, 3)


def test_a_rollup_outlives_what_it_was_built_of(database: Database) -> None:
    """Else a late sample would have all samples of its minute counted once more in the hour."""
    write(database, ("custom.x", 0, 5.0), ("custom.x", SECOND, 7.0), ("custom.x", 3 * HOUR, 1.0))
    roll(database, 4 * HOUR)
    retention.shrink(database.connection, "rollup_1m", 1.0)
    retention.expire(database.connection, Micros(T0 + 4 * HOUR), FOREVER | {"rollup_1m": 3_600.0})
    write(database, ("custom.x", 2 * SECOND, 9.0))
    roll(database, 4 * HOUR)
    assert rolled(database, "1h")[0] == ("custom.x", T0, 5.0, 9.0, 5.0, 9.0, 21.0, 3)


@pytest.mark.parametrize("seed", range(12))
def test_any_order_of_arrival_gives_the_same_rollups(database: Database, seed: int) -> None:
    """Samples of three series over five hours arrive shuffled in batches, between steps of any length."""
    chance = random.Random(seed)
    times = chance.sample(range(5 * 3_600 * 10), 900)
    samples = [
        (
            f"custom.{chance.choice('abc')}",
            tenth * SECOND // 10,
            round(chance.gauss(20, 5), chance.choice((0, 3))),
        )
        for tenth in times
    ]
    arriving = sorted(
        samples, key=lambda sample: sample[1] + chance.choice((0, 0, 0, chance.uniform(0, 5 * HOUR)))
    )
    now = 0
    while arriving:
        count = chance.randint(1, 120)
        write(database, *arriving[:count])
        now = max(now, *(sample[1] for sample in arriving[:count]))
        del arriving[:count]
        if chance.random() < 0.7:
            rollup.advance(database.connection, Micros(T0 + now), chance.choice((MINUTE, 20 * MINUTE, DAY)))
    roll(database, 6 * HOUR)
    assert same(rolled(database, "1m"), expected(samples, MINUTE, 6 * HOUR))
    assert same(rolled(database, "1h"), expected(samples, HOUR, 6 * HOUR))
