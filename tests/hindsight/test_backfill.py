"""The history of derived values: the same as if they had been configured all along, and nothing twice."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from oculus.clock import DAY, SECOND
from oculus.config.decode import Seconds
from oculus.config.settings import DerivedSettings
from oculus.errors import ConfigError
from oculus.hindsight.backfill import Backfill, backfill, chosen
from oculus.model import Batch, Micros, Sample
from oculus.rules.derived import DerivedLoop
from oculus.rules.recorded import Recorded
from oculus.rules.view import View
from oculus.storage import ingest, retention, rollup
from oculus.storage.database import Database
from oculus.storage.history import Chunk, Columns

T0 = 1_800_000_000 * SECOND // DAY * DAY


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(T0 + round(second * SECOND))


def derived(name: str, formula: str, interval: float = 60.0) -> DerivedSettings:
    """Return the settings of a derived value."""
    return DerivedSettings(name=name, formula=formula, interval=Seconds(interval))


Rows = dict[str, list[tuple[float, float]]]


def chunk(start: float, end: float, rows: Rows) -> Chunk:
    """Return what is in [start, end) of rows of (second, value) by symbol."""
    series = {}
    for symbol, points in rows.items():
        found = [(at(second), value) for second, value in points if start <= second < end]
        if found:
            series[symbol] = Columns([int(ts) for ts, _ in found], [value for _, value in found])
    return Chunk(at(start), at(end), series)


def computed(
    settings: Sequence[DerivedSettings], rows: Rows, edges: Sequence[float]
) -> list[tuple[str, float, float]]:
    """Return the samples (symbol, second, value) of a history that comes in chunks with these edges."""
    done = Backfill(chosen(settings, ()), {}, at(edges[0]))
    return [
        (sample.symbol, ((sample.ts or 0) - T0) / SECOND, sample.value)
        for start, end in pairwise(edges)
        for run in done.take(chunk(start, end, rows))
        for sample in run
    ]


def test_a_chain_is_computed_at_whole_intervals() -> None:
    """Each is made of those of the same moment, whatever the order; what is unknown is no sample, and what
    was known before it still is, as long as it is fresh."""
    settings = [derived("c", "b + a", 60), derived("b", "a * 2", 30), derived("a", "x / y", 30)]
    rows = {"x": [(5.0, 6.0), (65.0, 9.0)], "y": [(5.0, 3.0), (62.0, 0.0), (91.0, 3.0)]}
    assert computed(settings, rows, [0, 125]) == [
        ("a", 30, 2), ("b", 30, 4), ("a", 60, 2), ("b", 60, 4), ("c", 60, 6), ("b", 90, 4),
        ("a", 120, 3), ("b", 120, 6), ("c", 120, 9),
    ]  # fmt: skip


def test_nothing_is_made_of_values_that_are_stale_or_of_a_time_without_any() -> None:
    """A gap is a gap: not even a count of nothing is computed for it, once no value can be fresh."""
    rows = {"x": [(0.0, 1.0), (2_000.0, 2.0), (2_060.0, 3.0)]}
    found = computed([derived("a", "x"), derived("n", "count(x, 2m)")], rows, [-600, 100, 1_990, 2_100])
    assert [second for name, second, _ in found if name == "a"] == [0, 60, 120, 180, 240, 300, 2_040]
    counts = {second: value for name, second, value in found if name == "n"}
    assert counts == dict.fromkeys((0, 60), 1.0) | {
        120: 0.0, 180: 0.0, 240: 0.0, 300: 0.0, 360: 0.0, 420: 0.0, 480: 0.0, 2_040: 1.0,
    }  # fmt: skip


class Fed:
    """A loop of derived values, as the daemon has it, whose values come from a record."""

    def __init__(self, settings: Sequence[DerivedSettings]) -> None:
        self.recorded = Recorded({each.name: float(each.interval) for each in settings})
        self.found: list[tuple[str, float, float]] = []
        self.loop = DerivedLoop(
            self._put,
            lambda moment, figures: self._at(moment),
            lambda wanted, moment: {window: self._at(moment).window(window) for window in wanted},
        )
        self.loop.load(settings)

    def _at(self, moment: Micros) -> View:
        self.recorded.now = moment
        return self.recorded

    def _put(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            assert sample.ts is not None
            self.recorded.add(sample.symbol, sample.ts, sample.value)
            self.found.append((sample.symbol, (sample.ts - T0) / SECOND, sample.value))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_the_daemon_would_have_computed(seed: int) -> None:
    """The same samples, whatever the chunks are that the history comes in."""
    chance = random.Random(seed)
    settings = [
        derived("mean", "avg(x, 3m) - y", 20),
        derived("spread", "max(x, 5m) - min(x, 5m)", 60),
        derived("both", "mean / spread", 30),
        derived("moved", "pct_change(x, 2m)", 20),
    ]
    rows: Rows = {"x": [], "y": []}
    for symbol, gap in (("x", 17), ("y", 41)):
        second = 0.5
        while second < 3_600:
            rows[symbol].append((second, float(chance.randrange(-3, 9))))
            second += gap * chance.choice((1, 1, 1, 2, 30))
    fed = Fed(settings)
    events = sorted((second, symbol, value) for symbol, points in rows.items() for second, value in points)
    fed.loop.step(at(-5))
    for second in range(0, 3_600, 10):
        while events and events[0][0] <= second:
            moment, symbol, value = events.pop(0)
            fed.recorded.add(symbol, at(moment), value)
        fed.loop.step(at(second))
    edges = [-400, *sorted(chance.sample(range(1, 3_599), 9)), 3_600]
    found = computed(settings, rows, edges)
    first = rows["x"][0][0]
    assert sorted(found) == sorted(sample for sample in fed.found if sample[1] >= first)
    assert len(found) > 100


def test_a_name_that_is_none_is_told() -> None:
    """What is named is computed with what it is made of, and nothing else."""
    settings = [derived("a", "x"), derived("b", "a + 1"), derived("c", "x")]
    assert [found.settings.name for found in chosen(settings, ["b"])] == ["a", "b"]
    with pytest.raises(ConfigError, match="no derived value is called 'bb'"):
        chosen(settings, ["bb"])


# -- on a store ---------------------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An open database in a file of its own."""
    opened = Database(str(tmp_path / "oculus.db"))
    yield opened
    opened.close()


def write(database: Database, rows: Rows) -> None:
    """Store rows of (second, value) by symbol."""
    samples = tuple(
        Sample(symbol, value, at(second)) for symbol, points in rows.items() for second, value in points
    )
    for start in range(0, len(samples), 20_000):
        ingest.write(database.connection, Batch(samples[start : start + 20_000]), 1)


def fill(database: Database, settings: Sequence[DerivedSettings], start: float, end: float) -> dict[str, int]:
    """Compute and store what is missing; return how many samples each series got."""
    cursor = database.cursor()
    result: dict[str, int] = {}
    try:
        for step in backfill(cursor, chosen(settings, ()), at(start), at(end)):
            if step.samples:
                ingest.write(database.connection, Batch(tuple(step.samples)), 1)
            if step.result:
                result = step.result["written"]
    finally:
        cursor.close()
    return result


def roll(database: Database, upto: float) -> int:
    """Roll up to a second of the story; return the number of steps."""
    steps = 1
    while rollup.advance(database.connection, at(upto), DAY):
        steps += 1
    return steps


def stored(
    database: Database, symbol: str, relation: str = "metrics", column: str = "value"
) -> list[tuple[float, float]]:
    """Return what is stored of a series as (second, value)."""
    rows = database.connection.execute(
        f"select epoch_us(ts), {column} from {relation} where symbol = $1 order by 1", [symbol]
    ).fetchall()
    return [((ts - T0) / SECOND, value) for ts, value in rows]


def test_what_is_there_stays_and_nothing_is_written_twice(database: Database) -> None:
    """Other values at the same times are left as they are, and those that follow are made of them."""
    settings = [derived("a", "x * 2"), derived("b", "a + 1")]
    write(database, {"x": [(second, 1.0) for second in range(0, 600, 30)], "a": [(120.0, 7.0), (240.0, 8.0)]})
    assert fill(database, settings, 0, 600) == {"a": 8, "b": 10}
    assert fill(database, settings, 0, 600) == {"a": 0, "b": 0}
    assert dict(stored(database, "a"))[120] == 7.0
    assert stored(database, "b") == [
        (second, {120: 8.0, 240: 9.0}.get(second, 3.0)) for second in range(0, 600, 60)
    ]
    tags = "select distinct tags from metrics where symbol = 'b'"
    assert database.connection.execute(tags).fetchall() == [('{"source": "derived"}',)]


def test_hours_that_were_rolled_up_are_rolled_up_again(database: Database) -> None:
    """The late samples are in the rollups after the next step of the upkeep, and still once only."""
    x = [(float(second), float(second % 7)) for second in range(0, 4 * 3_600, 30)]
    write(database, {"x": x})
    roll(database, 4 * 3_600)
    settings = [derived("a", "x * 2", 30)]
    assert fill(database, settings, 0, 4 * 3_600) == {"a": len(x)}
    assert stored(database, "a", "metrics_1h", "count") == []
    roll(database, 4 * 3_600)
    for relation in ("metrics_1m", "metrics_1h"):
        for column in ("open", "high", "low", "close", "sum"):
            doubled = [(second, 2 * value) for second, value in stored(database, "x", relation, column)]
            assert stored(database, "a", relation, column) == doubled
    assert fill(database, settings, 0, 4 * 3_600) == {"a": 0}


def test_months_of_late_samples_are_rolled_up_in_steps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they fit into memory, and the writer has its turn in between."""
    write(database, {"x": [(float(second), 1.0) for second in range(0, 7_200, 60)]})
    roll(database, 7_200)
    fill(database, [derived("a", "x"), derived("b", "x")], 0, 7_200)
    monkeypatch.setattr(rollup, "MOST_LATE", 50)
    assert roll(database, 7_200) == 5  # 240 minutes
    assert [count for _, count in stored(database, "a", "metrics_1h", "count")] == [60, 60]
    assert len(stored(database, "b", "metrics_1m", "count")) == 120
    fill(database, [derived("c", "x")], 0, 7_200)
    rollup.catch_up(database.connection)
    assert [count for _, count in stored(database, "c", "metrics_1h", "count")] == [60, 60]
    assert database.connection.execute("select count(*) from oculus_late").fetchall() == [(0,)]


def test_where_samples_are_gone_it_is_made_of_rollups(database: Database) -> None:
    """One value for each bucket, at its end; those of the series itself are not doubled, whatever is left."""
    days = 4
    x = [(float(second), float(second // 600 % 11)) for second in range(0, days * 86_400, 20)]
    write(database, {"x": x})
    roll(database, days * 86_400)
    keep = {"metrics": 86_400.0, "rollup_1m": 2 * 86_400.0, "rollup_1h": 1e9}
    retention.expire(database.connection, at(days * 86_400), keep)
    settings = [derived("a", "x * 2", 20), derived("mean", "avg(x, 1h)", 600)]
    written = fill(database, settings, 0, days * 86_400)
    found = stored(database, "a")
    assert written["a"] == len(found)
    hours = [second for second, _ in found if second < 2 * 86_400]
    minutes = [second for second, _ in found if 2 * 86_400 <= second < 3 * 86_400]
    seconds = [second for second, _ in found if second >= 3 * 86_400]
    assert set(hours) <= set(range(0, 3 * 86_400, 3_600))
    assert len(hours) >= 46
    assert set(minutes) <= set(range(0, 4 * 86_400, 60))
    assert len(minutes) >= 1_438
    assert len(seconds) == 86_400 / 20
    closes = dict(stored(database, "x", "metrics_1h", "close"))
    assert all(value == 2 * closes[second - 3_600] for second, value in found if second in hours[1:])
    # The mean of an hour is that of its samples, though only the rollup is left.
    sums = {second: total / 180 for second, total in stored(database, "x", "metrics_1h", "sum")}
    means = dict(stored(database, "mean"))
    assert means[3_600 * 5] == pytest.approx(sums[3_600 * 4])
    assert fill(database, settings, 0, days * 86_400) == {"a": 0, "mean": 0}
    roll(database, days * 86_400)
    retention.expire(database.connection, at(days * 86_400), keep)
    assert fill(database, settings, 0, days * 86_400) == {"a": 0, "mean": 0}
    roll(database, days * 86_400)
    counts = stored(database, "a", "metrics_1h", "count")
    assert sum(count for _, count in counts) == written["a"]


def test_the_beginning_is_computed_with_what_was_before(database: Database) -> None:
    """A window reaches back beyond the time that was asked for."""
    write(database, {"x": [(float(second), 1.0) for second in range(0, 7_200, 60)]})
    assert fill(database, [derived("n", "count(x, 1h)")], 3_600, 3_700) == {"n": 2}
    assert stored(database, "n") == [(3_600, 60), (3_660, 60)]
