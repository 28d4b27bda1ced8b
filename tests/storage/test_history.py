"""History comes from the store as it is in there: each row once, in the order of time, as fine as may be."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oculus.clock import DAY, SECOND
from oculus.model import Candle, Micros
from oculus.rules.recorded import Recorded
from oculus.rules.view import lookback
from oculus.storage import history, windows
from oculus.storage.database import Database
from oculus.storage.history import Part
from oculus.storage.tiers import HOUR, MINUTE
from oculus.windowed import Reduction, Window
from tests.storage.story import T0, Taken, expire, put_in_order, roll, write

SYMBOLS = ("custom.a", "custom.b", "custom.c")
Row = tuple[float | int | None, ...]

# What users' SQL says of a part: the time at which a row was known, value, low, high, count and sum.
PLAIN = {
    "samples": """select symbol, epoch_us(ts), value, low, high, null, null from metrics
        where value is not null and not isnan(value) order by ts, rowid""",
    "1m": """select symbol, epoch_us(ts) + 59999999, close, low, high, count, sum from metrics_1m
        order by ts""",
    "1h": """select symbol, epoch_us(ts) + 3599999999, close, low, high, count, sum from metrics_1h
        order by ts""",
}


def after(part: Part) -> tuple[str, float, float]:
    """Return a part with its times in hours after T0."""
    return part.source, (part.start - T0) / HOUR, (part.end - T0) / HOUR


def planned(
    database: Database, start: int, end: int, most_rows: int = 10**9, symbols: Sequence[str] = SYMBOLS
) -> list[Part]:
    """Return the plan for a range in microseconds after T0."""
    return history.plan(database.connection, symbols, Micros(T0 + start), Micros(T0 + end), most_rows)


def expected(database: Database, parts: Sequence[Part]) -> dict[str, list[Row]]:
    """Return the rows of these parts by symbol, from one plain query for each."""
    found: dict[str, list[Row]] = defaultdict(list)
    for part in parts:
        for symbol, ts, *numbers in database.connection.execute(PLAIN[part.source]).fetchall():
            if part.start <= ts < part.end and symbol in SYMBOLS:
                found[symbol].append((ts, *numbers))
    return dict(found)


def read(
    database: Database, parts: Sequence[Part], rows: int, symbols: Sequence[str] = SYMBOLS
) -> dict[str, list[Row]]:
    """Return the rows of these parts by symbol, and see that each chunk has its own and none is too large."""
    found: dict[str, list[Row]] = defaultdict(list)
    end = Micros(0)
    for chunk in history.chunks(database.connection, symbols, parts, rows):
        assert end <= chunk.start < chunk.end
        end = chunk.end
        for symbol, columns in chunk.series.items():
            blank = [None] * len(columns.ts)
            told = list(zip(*(blank if column is None else column for column in columns), strict=True))
            assert told
            assert all(chunk.start <= row[0] < chunk.end for row in told if row[0] is not None)
            found[symbol] += told
    return dict(found)


def recorded(database: Database, parts: Sequence[Part], rows: int = 200_000) -> Recorded:
    """Return what these parts hold as history in memory."""
    found = Recorded()
    for chunk in history.chunks(database.connection, SYMBOLS, parts, rows):
        for symbol, columns in chunk.series.items():
            found.extend(symbol, *columns)
    return found


def minutely(hours: int, symbol: str = "custom.a", per_minute: int = 1) -> list[Taken]:
    """Return samples of so many hours, which count up."""
    step = MINUTE // per_minute
    return [Taken(symbol, turn * step, float(turn)) for turn in range(hours * 60 * per_minute)]


_moments = st.one_of(
    st.builds(
        lambda unit, number, off: max(0, min(unit * number, 5 * HOUR) + off),
        st.sampled_from((MINUTE, HOUR)), st.integers(0, 300), st.sampled_from((0, 0, -1, 1)),
    ),
    st.integers(0, 5 * 3_600_000).map(lambda ms: ms * 1_000),
)  # fmt: skip
_numbers = st.one_of(st.integers(-9, 9).map(float), st.just(math.nan))


@st.composite
def _stories(draw: st.DrawFn) -> list[Taken]:
    found = []
    for symbol in ("custom.other", *SYMBOLS[: draw(st.integers(1, 3))]):
        for moment in draw(st.lists(_moments, max_size=25)):
            value = draw(_numbers)
            candle = None
            if not math.isnan(value) and draw(st.booleans()):
                candle = Candle(value, value + draw(st.integers(0, 2)), value - 1)
            found.append(Taken(symbol, moment, value, candle))
    return draw(st.permutations(found))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(story=_stories(), data=st.data())
def test_each_row_comes_once_in_the_order_of_time(
    tmp_path_factory: pytest.TempPathFactory, story: list[Taken], data: st.DataObject
) -> None:
    """However the rows came, and wherever chunks and tiers meet; nothing of other series comes with them."""
    database = Database(str(tmp_path_factory.mktemp("history") / "oculus.db"))
    try:
        half = len(story) // 2
        write(database, story[:half])
        roll(database, data.draw(_moments, "rolled up to"))
        if data.draw(st.booleans(), "put in order"):
            put_in_order(database)
        write(database, story[half:])
        roll(database, data.draw(_moments, "then up to"))
        if data.draw(st.booleans(), "expires"):
            minutes, hours = sorted(data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))))
            expire(database, 6 * HOUR, metrics=minutes * 3_600.0 + 60, rollup_1m=hours * 3_600.0)
        start, end = sorted(data.draw(st.tuples(_moments, _moments), "range"))
        parts = planned(database, start, end + 1, data.draw(st.integers(0, 40), "most rows"))
        assert all(before.end <= part.start for before, part in pairwise(parts))
        rows = expected(database, parts)
        assert read(database, parts, data.draw(st.integers(1, 30), "rows of a chunk")) == rows
        whole = planned(database, start, end + 1)
        assert read(database, whole, 10**6) == expected(database, whole)
    finally:
        database.close()


def test_the_finest_rows_that_are_kept_answer(database: Database) -> None:
    """Samples as long as there are any, then minutes, then hours; what is nowhere has no part."""
    write(database, minutely(12))
    whole = [("samples", 0.0, 12.0)]
    assert list(map(after, planned(database, 0, 12 * HOUR))) == whole
    roll(database, 12 * HOUR)
    assert list(map(after, planned(database, 0, 12 * HOUR))) == whole
    expire(database, 12 * HOUR, metrics=3_600.0 * 1.5, rollup_1m=3_600.0 * 4)
    tiers = [("1h", 0.0, 8.0), ("1m", 8.0, 10.5), ("samples", 10.5, 12.0)]
    assert list(map(after, planned(database, 0, 12 * HOUR))) == tiers
    expire(database, 12 * HOUR, metrics=3_600.0 * 1.5, rollup_1m=3_600.0 * 4, rollup_1h=3_600.0 * 9)
    tiers[0] = ("1h", 3.0, 8.0)
    assert list(map(after, planned(database, 0, 12 * HOUR))) == tiers
    assert list(map(after, planned(database, 9 * HOUR, 10 * HOUR))) == [("1m", 9.0, 10.0)]
    assert planned(database, 13 * HOUR, 20 * HOUR) == []
    assert planned(database, 0, 12 * HOUR, symbols=["custom.none"]) == []
    assert planned(database, 0, 12 * HOUR, symbols=[]) == []


def test_an_empty_store_has_no_history(database: Database) -> None:
    """No series, no parts, no chunks."""
    assert history.symbols(database.connection, Micros(0)) == {}
    assert history.intervals(database.connection, ["custom.a"], Micros(0)) == {"custom.a": 0.0}
    assert planned(database, -100 * DAY, 10 * DAY) == []
    assert list(history.chunks(database.connection, SYMBOLS, [])) == []


def test_what_is_too_much_is_read_from_rollups(database: Database) -> None:
    """The oldest first: samples become minutes, and only then minutes hours; what is not rolled up stays."""
    write(database, minutely(10, per_minute=4))
    roll(database, 9 * HOUR + 30 * MINUTE)
    seen = {most: list(map(after, planned(database, 0, 10 * HOUR, most))) for most in (2_400, 2_399, 1_000)}
    assert seen == {
        2_400: [("samples", 0.0, 10.0)],
        2_399: [("1m", 0.0, 1.0), ("samples", 1.0, 10.0)],
        1_000: [("1m", 0.0, 8.0), ("samples", 8.0, 10.0)],
    }
    tail = ("samples", 9.0, 10.0)
    assert list(map(after, planned(database, 0, 10 * HOUR, 780))) == [("1m", 0.0, 9.0), tail]
    for most, hours in ((779, 1.0), (600, 4.0), (308, 8.0)):
        parts = list(map(after, planned(database, 0, 10 * HOUR, most)))
        assert parts == [("1h", 0.0, hours), ("1m", hours, 9.0), tail]
    assert list(map(after, planned(database, 0, 10 * HOUR, 1))) == [("1h", 0.0, 9.0), tail]


def test_minutes_that_save_nothing_are_passed_over(database: Database) -> None:
    """A sample a minute is as many rows as its rollups, which would only be less exact."""
    write(database, minutely(10))
    roll(database, 10 * HOUR)
    assert list(map(after, planned(database, 0, 10 * HOUR, 300))) == [
        ("1h", 0.0, 6.0),
        ("samples", 6.0, 10.0),
    ]
    assert list(map(after, planned(database, 0, 10 * HOUR, 1))) == [("1h", 0.0, 10.0)]


def test_a_rollup_is_known_at_its_end(database: Database) -> None:
    """With what its samples come to; a candle's low and high are among them, NaN is not."""
    write(
        database,
        [
            Taken("custom.a", 10 * SECOND, 4.0, Candle(3.0, 9.0, 2.5)),
            Taken("custom.a", 20 * SECOND, 6.0),
            Taken("custom.a", 30 * SECOND, math.nan),
            Taken("custom.b", 30 * SECOND, math.nan),
        ],
    )
    roll(database, HOUR)
    samples = [(T0 + 10 * SECOND, 4.0, 2.5, 9.0, None, None), (T0 + 20 * SECOND, 6.0, None, None, None, None)]
    start, end = T0, Micros(T0 + HOUR)
    for source, rows in (
        ("samples", samples),
        ("1m", [(T0 + MINUTE - 1, 6.0, 2.5, 9.0, 2, 10.0)]),
        ("1h", [(T0 + HOUR - 1, 6.0, 2.5, 9.0, 2, 10.0)]),
    ):
        assert read(database, [Part(source, start, end)], 10) == {"custom.a": rows}
        assert read(database, [Part(source, start, Micros(rows[-1][0]))], 10) == (
            {"custom.a": rows[:-1]} if rows[:-1] else {}
        )
    plain = list(
        history.chunks(database.connection, ["custom.a"], [Part("samples", Micros(start + 11 * SECOND), end)])
    )
    assert (plain[0].series["custom.a"].lows, plain[0].series["custom.a"].counts) == (None, None)


def test_figures_over_rollups_are_those_of_the_samples(database: Database) -> None:
    """Average, lowest, highest, sum and count of whole buckets, as the store tells them."""
    chance = random.Random(5)
    story = [
        Taken(symbol, minute * MINUTE + chance.randrange(60) * SECOND, float(chance.randrange(-50, 50)))
        for symbol in SYMBOLS
        for minute in range(6 * 60)
        for _ in range(chance.randrange(4))
    ]
    write(database, story)
    roll(database, 6 * HOUR)
    now = Micros(T0 + 6 * HOUR - 1)
    reductions: tuple[Reduction, ...] = ("avg", "min", "max", "sum", "count")
    wanted = [
        Window(reduction, symbol, seconds)
        for reduction in reductions
        for symbol in SYMBOLS
        for seconds in (3_600.0, 4 * 3_600.0)
    ]
    told = windows.figures(database.connection, wanted, now, dict.fromkeys(SYMBOLS, lookback(0)))
    for source in ("samples", "1m", "1h"):
        view = recorded(database, [Part(source, T0, Micros(T0 + 6 * HOUR))], 100)
        view.now = now
        for window in wanted:
            assert view.window(window) == pytest.approx(told[window], rel=1e-12), (source, window)


def test_late_samples_are_in_their_place(database: Database) -> None:
    """Among the samples at once, and in the rollups when these were built again."""
    write(database, minutely(3))
    roll(database, 3 * HOUR)
    write(database, [Taken("custom.a", 90 * MINUTE + SECOND, 500.0)])
    samples = [Part("samples", T0, Micros(T0 + 3 * HOUR))]
    assert read(database, samples, 40)["custom.a"][91][:2] == (T0 + 90 * MINUTE + SECOND, 500.0)
    roll(database, 3 * HOUR)
    for source, place in (("1m", 90), ("1h", 1)):
        rows = read(database, [Part(source, T0, Micros(T0 + 3 * HOUR))], 40)["custom.a"]
        assert (rows[place][1], rows[place][3]) == (500.0 if source == "1m" else 119.0, 500.0)


def test_every_series_is_known_with_its_newest_tags(database: Database) -> None:
    """Also those that only rollups are left of; not those without any number in the time."""
    write(
        database,
        [
            Taken("custom.a", HOUR, 1.0, tags={"host": "old"}),
            Taken("custom.a", 9 * HOUR, 1.0, tags={"host": "new"}),
            Taken("custom.b", HOUR, 1.0, tags={"host": "gone"}),
            Taken("custom.c", 9 * HOUR, math.nan),
            Taken("custom.old", 30 * MINUTE, 1.0),
        ],
    )
    roll(database, 10 * HOUR)
    new = {"custom.a": {"host": "new"}}

    def known(since: int) -> dict[str, dict[str, str]]:
        return history.symbols(database.connection, Micros(T0 + since))

    assert known(0) == new | {"custom.b": {"host": "gone"}, "custom.old": {}}
    assert known(HOUR) == new | {"custom.b": {"host": "gone"}}
    expire(database, 10 * HOUR, metrics=2 * 3_600.0)
    assert known(0) == new | {"custom.b": {}, "custom.old": {}}
    assert list(known(HOUR - 1)) == ["custom.a", "custom.b", "custom.old"]
    assert list(known(HOUR)) == ["custom.a", "custom.b"]
    expire(database, 10 * HOUR, metrics=2 * 3_600.0, rollup_1m=3 * 3_600.0)
    assert list(known(2 * HOUR - 1)) == ["custom.a", "custom.b"]
    assert known(2 * HOUR) == new
    expire(database, 10 * HOUR, metrics=2 * 3_600.0, rollup_1m=3 * 3_600.0, rollup_1h=4 * 3_600.0)
    assert known(0) == new


def test_intervals_are_those_of_the_newest_samples(database: Database) -> None:
    """The median, so that neither a gap nor an older interval counts; of one sample there is none."""
    story = [Taken("custom.a", turn * 10 * SECOND, 1.0) for turn in range(1_000)]
    story += [
        Taken("custom.a", 10_000 * SECOND + turn * 30 * SECOND, 1.0) for turn in range(350) if turn % 40
    ]
    story += [Taken("custom.b", 0, 1.0), Taken("custom.b", HOUR, 1.0), Taken("custom.c", HOUR, 1.0)]
    write(database, random.Random(1).sample(story, len(story)))
    found = history.intervals(database.connection, [*SYMBOLS, "custom.none"], T0)
    assert found == {"custom.a": 30.0, "custom.b": 3_600.0, "custom.c": 0.0, "custom.none": 0.0}
    assert history.intervals(database.connection, ["custom.b"], Micros(T0 + 1)) == {"custom.b": 0.0}


def test_many_series_come_together(database: Database) -> None:
    """500 of them, all rows of a time in one chunk, and no chunk much larger than asked for."""
    names = [f"custom.series{number}" for number in range(500)]
    database.connection.execute(
        """insert into metrics by name select make_timestamptz($start + turn * 30000000) as ts,
            'custom' as category, symbol, turn::double as value
        from range(240) as turns (turn), (select unnest($names) as symbol)""",
        {"start": T0, "names": names},
    )
    roll(database, HOUR)
    put_in_order(database)
    parts = planned(database, 0, 2 * HOUR, symbols=names)
    sizes, seen = [], dict.fromkeys(names, 0)
    for chunk in history.chunks(database.connection, names, parts, 20_000):
        sizes.append(sum(len(columns.ts) for columns in chunk.series.values()))
        assert len(chunk.series) == 500
        for symbol, columns in chunk.series.items():
            assert columns.values == [float(seen[symbol] + place) for place in range(len(columns.values))]
            seen[symbol] += len(columns.values)
    assert set(seen.values()) == {240}
    assert (max(sizes), len(sizes)) == (20_000, 6)
    assert len(history.symbols(database.connection, T0)) == 500
    assert set(history.intervals(database.connection, names, T0).values()) == {30.0}
