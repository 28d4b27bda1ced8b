"""Who answers for which part of a range."""

from __future__ import annotations

import itertools

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.storage.database import Database
from oculus.storage.tiers import HOUR, MINUTE, Marks, built_key, floor, kept_key, ordered_key, parts, shard_of

NOW = floor(Micros(1_800_000_000 * SECOND), DAY) + 9 * HOUR + 17 * MINUTE + 23 * SECOND
BUILT_1M = Micros(NOW // MINUTE * MINUTE - 2 * MINUTE)
BUILT_1H = Micros(NOW // HOUR * HOUR)
RAW_FROM = Micros(NOW // MINUTE * MINUTE - 7 * DAY)
MINUTES_FROM = Micros(NOW // HOUR * HOUR - 90 * DAY)
MARKS = Marks(
    built={"rollup_1m": BUILT_1M, "rollup_1h": BUILT_1H},
    kept={"metrics": RAW_FROM, "rollup_1m": MINUTES_FROM, "rollup_1h": Micros(0)},
    ordered={},
)


def asked(since: int, step: int, until: int = NOW, marks: Marks = MARKS) -> list[tuple[str, int, int]]:
    """Return who answers for the time from `since` to `until`."""
    return [
        (part.relation, part.start, part.end) for part in parts(Micros(since), Micros(until), step, marks)
    ]


def test_short_steps_of_recent_times_are_answered_by_samples() -> None:
    """Nothing finer is lost where it is there."""
    assert asked(NOW - HOUR, 12 * SECOND) == [("metrics", NOW - HOUR, NOW)]


def test_minutes_answer_where_they_are_built_and_samples_for_the_rest() -> None:
    """The newest minutes are not rolled up yet."""
    start = NOW // HOUR * HOUR - 7 * DAY + HOUR
    assert asked(start, 34 * MINUTE) == [("metrics_1m", start, BUILT_1M), ("metrics", BUILT_1M, NOW)]


def test_a_year_is_answered_by_hours() -> None:
    """Minutes stand in for the present hour, samples for the present minutes."""
    start = floor(Micros(NOW - 365 * DAY), HOUR)
    assert asked(start, 30 * HOUR) == [
        ("metrics_1h", start, BUILT_1H),
        ("metrics_1m", BUILT_1H, BUILT_1M),
        ("metrics", BUILT_1M, NOW),
    ]


def test_where_samples_are_gone_coarser_rows_stand_in() -> None:
    """Whatever the step, something is better than nothing."""
    start = NOW - 100 * DAY
    assert asked(start, 10 * SECOND) == [
        ("metrics_1h", start, MINUTES_FROM),
        ("metrics_1m", MINUTES_FROM, RAW_FROM),
        ("metrics", RAW_FROM, NOW),
    ]


@pytest.mark.parametrize(
    ("shift", "step"), [(7 * SECOND, 2 * MINUTE), (0, 90 * SECOND), (MINUTE // 2, MINUTE)]
)
def test_rollups_answer_only_for_whole_buckets(shift: int, step: int) -> None:
    """A grid that cuts minutes in two is answered by samples, as long as there are any."""
    start = BUILT_1H - DAY + shift
    assert asked(start, step) == [("metrics", start, NOW)]


def test_hours_are_not_used_for_steps_that_cut_them() -> None:
    """Ninety minutes are no multiple of an hour, but of a minute."""
    start = BUILT_1H - DAY
    assert [name for name, *_ in asked(start, 90 * MINUTE)] == ["metrics_1m", "metrics"]


def test_an_empty_store_is_asked_for_samples() -> None:
    """Nothing is rolled up before there is something."""
    assert asked(NOW - 365 * DAY, DAY, marks=Marks.of({})) == [("metrics", NOW - 365 * DAY, NOW)]


def test_ranges_in_the_past_and_in_the_future_end_where_they_are_asked_to() -> None:
    """No part reaches beyond the range."""
    assert asked(BUILT_1H - 3 * HOUR, HOUR, BUILT_1H - HOUR) == [
        ("metrics_1h", BUILT_1H - 3 * HOUR, BUILT_1H - HOUR)
    ]
    assert asked(NOW + HOUR, HOUR, NOW + 2 * HOUR) == [("metrics", NOW + HOUR, NOW + 2 * HOUR)]


@pytest.mark.parametrize("step", [SECOND, MINUTE, 7 * MINUTE, HOUR, 24 * HOUR, 90 * SECOND])
@pytest.mark.parametrize(
    "start", [NOW - 400 * DAY, NOW - 91 * DAY, RAW_FROM - 5, BUILT_1H, BUILT_1M - 1, NOW - 1]
)
def test_parts_cover_the_range_once(start: int, step: int) -> None:
    """Each moment is answered by exactly one relation."""
    found = parts(Micros(start), Micros(NOW), step, MARKS)
    assert found[0].start == start
    assert found[-1].end == NOW
    for before, after in itertools.pairwise(found):
        assert before.end == after.start
    assert all(part.start < part.end for part in found)


def test_marks_are_read_from_rows_of_state() -> None:
    """Keys that are not there are 0; others are passed over."""
    rows = {built_key("rollup_1m"): "60", kept_key("metrics"): "7", ordered_key("rollup_1h"): "9", "x": "y"}
    marks = Marks.of(rows)
    assert marks.built == {"rollup_1m": 60, "rollup_1h": 0}
    assert marks.kept == {"metrics": 7, "rollup_1m": 0, "rollup_1h": 0}
    assert marks.ordered == {"metrics": 0, "rollup_1m": 0, "rollup_1h": 9}


@pytest.mark.parametrize("symbol", ["custom.x", "net.http.site.rtt", "a", "x" * 200])
def test_a_shard_is_the_same_in_python_and_in_sql(database: Database, symbol: str) -> None:
    """Queries name it, rewriting computes it."""
    found = database.connection.execute("select shard_of($1)", [symbol]).fetchone()
    assert found == (shard_of(symbol),)
    assert 1 <= shard_of(symbol) <= 65_535
