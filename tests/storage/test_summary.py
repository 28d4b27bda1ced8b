"""Figures of a window: exact whatever answers, and uptime with the time that nobody saw as its own share."""

from __future__ import annotations

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Micros, Sample
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.storage.summary import FINE, Uptime, summary, uptime
from oculus.storage.tiers import HOUR, TABLES

START = Micros(1_790_000_000 * SECOND // HOUR * HOUR)


def write(database: Database, symbol: str, values: dict[int, float]) -> None:
    """Write values by their second after START."""
    samples = tuple(Sample(symbol, value, Micros(START + at * SECOND)) for at, value in values.items())
    ingest.write(database.connection, Batch(samples), 1)


def roll_up(database: Database, until: int) -> None:
    """Build the rollups up to a time after START, in seconds."""
    while rollup.advance(database.connection, Micros(START + until * SECOND)):
        pass


def moment(seconds: float) -> Micros:
    """Return a time after START."""
    return Micros(START + int(seconds * SECOND))


def test_an_empty_window_has_no_figures(database: Database) -> None:
    """Nothing is made up where nothing was measured."""
    write(database, "custom.x", {0: 1.0})
    found = summary(database.connection, "custom.x", moment(10), moment(20))
    assert (found.count, found.first, found.mean, found.p95) == (0, None, None, None)


def test_figures_are_the_same_from_samples_and_from_rollups(database: Database) -> None:
    """Over a window that begins and ends in the middle of hours."""
    values = {at: float((at * 7919) % 1009) for at in range(0, 5 * 3600, 20)}
    write(database, "custom.x", values)
    start, end = 1_234, 4 * 3600 + 567
    inside = [value for at, value in values.items() if start <= at < end]
    for built, relation in ((0, "metrics"), (5 * 3600, "metrics_1h")):
        roll_up(database, built)
        found = summary(database.connection, "custom.x", moment(start), moment(end))
        assert found.count == len(inside)
        assert (found.first, found.last) == (inside[0], inside[-1])
        assert (found.low, found.high) == (min(inside), max(inside))
        assert found.mean == pytest.approx(sum(inside) / len(inside))
        ranked = sorted(inside)
        assert ranked[int(0.94 * len(ranked))] <= (found.p95 or 0) <= ranked[int(0.96 * len(ranked))]
        assert found.p95_source == "samples"
        assert relation in {part.relation for part in found.parts}


def test_the_quantile_says_what_it_is_of(database: Database) -> None:
    """Where samples are gone it is of the minutes' means, and the rest is as exact as before."""
    write(database, "custom.x", {at: float(at // 60 % 100) for at in range(0, 2 * 3600, 10)})
    roll_up(database, 2 * 3600)
    keep = dict.fromkeys(TABLES, 3650 * DAY / SECOND) | {"metrics": 3600.0}
    retention.expire(database.connection, moment(2 * 3600), keep)
    found = summary(database.connection, "custom.x", moment(0), moment(2 * 3600))
    assert (found.count, found.low, found.high) == (720, 0.0, 99.0)
    assert found.p95_source == "1m"
    assert 93.0 <= (found.p95 or 0) <= 95.0


def test_uptime_is_a_share_of_time_not_of_samples(database: Database) -> None:
    """A minute of being down counts as a minute, also when it was seen ten times as often."""
    up = dict.fromkeys(range(0, 600, 30), 1.0)
    down = dict.fromkeys(range(300, 360, 3), 0.0)
    write(database, "net.http.site.up", up | down)
    found = uptime(database.connection, "net.http.site.up", moment(0), moment(600), 90.0)
    assert found == Uptime(up=540.0, down=60.0, unknown=0.0)
    assert found.percent == 90.0


def test_a_gap_is_unknown_not_up(database: Database) -> None:
    """Beyond what one sample may tell nothing is known; what was before the first sample is left out."""
    write(database, "net.http.site.up", {0: 1.0, 30: 1.0, 60: 0.0, 600: 1.0, 630: 1.0})
    found = uptime(database.connection, "net.http.site.up", moment(-500), moment(660), 90.0)
    assert found == Uptime(up=60.0 + 60.0, down=90.0, unknown=450.0)
    later = uptime(database.connection, "net.http.site.up", moment(300), moment(660), 90.0)
    assert later == Uptime(up=60.0, down=0.0, unknown=300.0)
    assert uptime(database.connection, "net.http.site.up", moment(40), moment(50), 90.0).up == 10.0


def test_nothing_known_has_no_percentage(database: Database) -> None:
    """Neither 100 % nor 0 %."""
    write(database, "net.http.site.up", {0: 1.0})
    found = uptime(database.connection, "net.http.site.up", moment(1000), moment(2000), 30.0)
    assert found == Uptime(0.0, 0.0, 1000.0)
    assert found.percent is None
    assert uptime(database.connection, "net.none.up", moment(0), moment(9), 30.0).percent is None


def test_an_unknown_interval_is_told_from_the_samples(database: Database) -> None:
    """What comes each quarter of an hour is no gap for that."""
    write(database, "heartbeat.job.up", dict.fromkeys(range(0, 7200, 900), 1.0))
    found = uptime(database.connection, "heartbeat.job.up", moment(0), moment(7200), 0.0)
    assert found == Uptime(7200.0, 0.0, 0.0)


def test_a_long_window_counts_the_same_from_rollups(database: Database) -> None:
    """Minutes tell what samples do, a gap included, and so does an hour where minutes are gone."""
    length = 2 * FINE // SECOND
    values = {at: float(not 7200 <= at < 9000) for at in range(0, length, 30) if not 12_000 <= at < 15_600}
    write(database, "net.http.site.up", values)
    roll_up(database, length)
    found = uptime(database.connection, "net.http.site.up", moment(0), moment(length), 90.0)
    assert found.down == 1800.0
    assert found.unknown == pytest.approx(3600.0, abs=120.0)
    keep = dict.fromkeys(TABLES, 3650 * DAY / SECOND) | {"metrics": 60.0, "rollup_1m": 60.0}
    retention.expire(database.connection, moment(length), keep)
    coarse = uptime(database.connection, "net.http.site.up", moment(0), moment(length), 90.0)
    assert coarse.down == pytest.approx(1800.0)
    assert coarse.up + coarse.down + coarse.unknown == pytest.approx(length)
    assert coarse.unknown <= found.unknown
