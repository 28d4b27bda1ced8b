"""Rewriting in order: the same rows, elsewhere in the file."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest

from oculus.clock import DAY, SECOND
from oculus.errors import StorageError
from oculus.model import Micros
from oculus.storage import queries, sort
from oculus.storage.database import Database
from oculus.storage.sort import Stretch

T0 = Micros(1_800_000_000 * SECOND // DAY * DAY)
END = Micros(T0 + DAY)
SYMBOLS = [f"net.http.host{number}.rtt" for number in range(20)]


def fill(database: Database, rows: int = 4_000, since: int = T0, seed: int = 1, unique: bool = False) -> None:
    """Store samples of all series in the order of time, every third a candle.

    Some share a time, unless all are to be `unique`.
    """
    chance = random.Random(seed)
    values: list[tuple[int, str, float]] = [
        (
            since + (place * DAY // rows if unique else chance.randrange(DAY // SECOND) * SECOND),
            chance.choice(SYMBOLS),
            float(place),
        )
        for place in range(rows)
    ]
    values.sort(key=lambda row: row[0])
    database.connection.execute(
        """insert into metrics (ts, category, symbol, value, tags, open, high, low)
        select make_timestamptz(ts), 'net.http', symbol, value, '{"a": "b"}',
            if(value % 3 = 0, value - 1, null), if(value % 3 = 0, value + 2, null),
            if(value % 3 = 0, value - 3, null)
        from (select unnest($1::bigint[]) as ts, unnest($2::varchar[]) as symbol,
            unnest($3::double[]) as value)""",
        [list(column) for column in zip(*values, strict=True)],
    )


def content(database: Database) -> list[tuple[object, ...]]:
    """Return all rows, those of one series and time in the order in which the file has them."""
    return database.connection.execute(
        """select symbol, epoch_us(ts), value, category, tags, open, high, low from metrics
        order by symbol, ts, rowid"""
    ).fetchall()


def all_until(end: int) -> Stretch:
    """Return everything up to a time, new or not."""
    return Stretch(Micros(0), Micros(end))


def put_in_order(database: Database, end: int = END, rows: int = 500, start: int = 0) -> int:
    """Rewrite what is new by itself and then with all the rest; return the number of slices."""
    count = 0
    for stretch in (Stretch(Micros(start), Micros(end), fresh=True), Stretch(Micros(start), Micros(end))):
        for slice_ in sort.plan(database.connection, "metrics", stretch, rows):
            sort.rewrite(database.connection, "metrics", slice_, stretch)
            count += 1
    return count


def places(database: Database) -> list[tuple[int, str, int]]:
    """Return shard, symbol and time of each row, in the order of the file."""
    return database.connection.execute(
        "select shard, symbol, epoch_us(ts) from metrics order by rowid"
    ).fetchall()


def test_rows_lie_in_order_of_shard_symbol_and_time(database: Database) -> None:
    """Every row has its shard then, and none is lost, added or changed."""
    fill(database)
    before = content(database)
    assert put_in_order(database) == 16
    database.connection.execute("checkpoint")
    found = places(database)
    assert found == sorted(found)
    assert content(database) == before
    wrong = "select count(*) from metrics where shard <> shard_of(symbol)"
    assert database.connection.execute(wrong).fetchone() == (0,)


def test_what_is_in_order_is_no_longer_new(database: Database) -> None:
    """Without new rows there is nothing to put in order."""
    assert sort.pieces(database.connection, "metrics", Micros(0), END) == []
    fill(database)
    (piece,) = sort.pieces(database.connection, "metrics", Micros(0), END)
    assert (piece.start, piece.end, piece.fresh) == (0, END, True)
    put_in_order(database)
    assert sort.pieces(database.connection, "metrics", Micros(0), END) == []


def test_many_new_rows_are_put_in_order_piece_by_piece(database: Database) -> None:
    """A delete that touches all of a large table takes more memory than there is."""
    fill(database)
    found = sort.pieces(database.connection, "metrics", Micros(0), END, rows=1_000)
    assert len(found) in (4, 5)
    assert (found[0].start, found[-1].end) == (0, END)
    assert all(one.end == following.start for one, following in itertools.pairwise(found))
    before = content(database)
    for piece in found:
        for slice_ in sort.plan(database.connection, "metrics", piece):
            assert slice_.rows <= 1_000
            sort.rewrite(database.connection, "metrics", slice_, piece)
    assert content(database) == before
    put_in_order(database)
    assert content(database) == before


def test_rows_past_their_limit_go(database: Database) -> None:
    """Those in order, while a late one that waits to be rolled up stays."""
    fill(database)
    put_in_order(database)
    fill(database, rows=100, seed=4)
    kept = Micros(T0 + DAY // 2)
    old, late = database.connection.execute(
        """select count(*) filter (shard > 0), count(*) filter (shard = 0) from metrics
        where ts < make_timestamptz($1)""",
        [kept],
    ).fetchone() or (0, 0)
    stretch = Stretch(Micros(0), END, kept)
    slices = sort.plan(database.connection, "metrics", stretch, 500)
    assert sum(slice_.rows for slice_ in slices) == 4_100 - old - late
    assert sum(sort.rewrite(database.connection, "metrics", slice_, stretch) for slice_ in slices) == old
    left = "select count(*), count(*) filter (ts < make_timestamptz($1)) from metrics"
    assert database.connection.execute(left, [kept]).fetchone() == (4_100 - old, late)


def test_whole_stretches_past_their_limit_go(database: Database) -> None:
    """Also of series that have nothing else."""
    fill(database)
    put_in_order(database)
    stretch = Stretch(Micros(0), END, END)
    slices = sort.plan(database.connection, "metrics", stretch)
    assert [slice_.rows for slice_ in slices] == [0]
    assert sort.rewrite(database.connection, "metrics", slices[0], stretch) == 4_000
    assert content(database) == []


def test_new_rows_are_put_between_the_old_ones(database: Database) -> None:
    """Late ones of the same stretch, and those of the next one."""
    fill(database)
    put_in_order(database)
    fill(database, rows=300, seed=2)
    fill(database, rows=1_000, since=END, seed=3)
    before = content(database)
    assert put_in_order(database, end=END + DAY) > 0
    assert content(database) == before
    database.connection.execute("checkpoint")
    found = places(database)
    assert found == sorted(found)


def test_rows_behind_the_end_stay_as_they_are(database: Database) -> None:
    """What is still being written to is no part of it."""
    fill(database)
    fill(database, rows=500, since=END)
    put_in_order(database)
    shards = "select distinct shard from metrics where ts >= make_timestamptz($1)"
    assert database.connection.execute(shards, [END]).fetchall() == [(0,)]


def test_it_may_end_between_any_two_slices(database: Database) -> None:
    """After each slice the content is whole, and a later run does the rest."""
    fill(database)
    before = content(database)
    slices = sort.plan(database.connection, "metrics", all_until(END), rows=500)
    for slice_ in slices[:3]:
        sort.rewrite(database.connection, "metrics", slice_, all_until(END))
        assert content(database) == before
    put_in_order(database)
    assert content(database) == before


def test_a_slice_that_fails_changes_nothing(database: Database) -> None:
    """The transaction takes back what was done of it, and the next try is as the first."""
    fill(database)
    before = content(database)
    (slice_, *_) = sort.plan(database.connection, "metrics", all_until(END))
    database.connection.execute("create temp table place (x integer)")
    with pytest.raises(StorageError):
        sort.rewrite(database.connection, "metrics", slice_, all_until(END))
    assert content(database) == before
    database.connection.execute("drop table place")
    sort.rewrite(database.connection, "metrics", slice_, all_until(END))
    assert content(database) == before


@pytest.mark.parametrize("rows", [40, 200, 201, 500, 4_000, 5_000])
def test_slices_have_the_same_number_of_rows(database: Database, rows: int) -> None:
    """All but the last, whatever the series have; a series may be cut between two times."""
    fill(database, unique=True)
    before = content(database)
    step = 20 if rows < 100 else 1
    slices = sort.plan(database.connection, "metrics", all_until(END), rows=rows)
    assert [slice_.rows for slice_ in slices[:-1]] == [rows] * (len(slices) - 1)
    assert sum(slice_.rows for slice_ in slices) == 4_000
    assert {symbol for slice_ in slices for symbol in slice_.symbols} == set(SYMBOLS)
    for slice_ in slices[::step]:
        counted = "select count(*) from metrics where shard > 0"
        (done,) = database.connection.execute(counted).fetchone() or (0,)
        sort.rewrite(database.connection, "metrics", slice_, all_until(END))
        assert database.connection.execute(counted).fetchone() == (done + slice_.rows,)
    assert content(database) == before


def test_full_slices_become_row_groups_that_stay_as_they_are(database: Database) -> None:
    """Rewriting leaves no small groups behind, which checkpoints would merge again and again."""
    fill(database, rows=400_000, unique=True)
    reader = sort.hold(database.connection)
    assert put_in_order(database, rows=sort.SLICE) == 8
    database.fold(0)
    sort.release(database.connection, reader)
    database.connection.execute("insert into oculus_state values ('x', 'y')")
    database.fold(0)
    groups = database.connection.execute(
        """select sum(count)::int from pragma_storage_info('metrics')
        where column_name = 'ts' and segment_type <> 'VALIDITY' group by row_group_id order by row_group_id"""
    ).fetchall()
    assert groups[:3] == [(122_880,)] * 3
    assert len(groups) == 4


def test_a_chart_is_the_same_before_and_after(database: Database) -> None:
    """Reading by shard misses no row: not of new ones, not of those in order, not of both."""
    fill(database)
    day = (SYMBOLS[3], T0, Micros(END + DAY), 600 * SECOND)
    before = queries.points(database.cursor(), *day)
    put_in_order(database)
    assert queries.points(database.cursor(), *day) == before
    fill(database, rows=500, seed=5)
    mixed = queries.points(database.cursor(), *day)
    assert sum(point.count for point in mixed) > sum(point.count for point in before)
    put_in_order(database)
    assert queries.points(database.cursor(), *day) == mixed


def test_the_macro_reads_one_series(database: Database) -> None:
    """`series('…')` is the quick way for users."""
    fill(database)
    put_in_order(database)
    fill(database, rows=100, seed=7)
    for symbol in SYMBOLS:
        by_macro = database.connection.execute("select count(*), sum(value) from series($1)", [symbol])
        by_symbol = "select count(*), sum(value) from metrics where symbol = $1"
        assert by_macro.fetchone() == database.cursor().execute(by_symbol, [symbol]).fetchone()


def test_one_series_is_read_without_the_others(database: Database) -> None:
    """Row groups of other shards are skipped: what is scanned is a part of the table."""
    fill(database, rows=400_000)
    put_in_order(database, rows=sort.SLICE)
    database.connection.execute("checkpoint")
    plan = database.connection.execute(
        "explain (analyze, format json) select sum(value) from series($1)", [SYMBOLS[0]]
    ).fetchone()
    assert plan is not None
    scanned = [int(count) for count in re.findall(r'"rows_scanned": (\d+)', plan[1])]
    assert 20_000 <= max(scanned) < 300_000


def test_a_slice_that_does_not_fit_into_memory_is_done_in_parts(tmp_path: Path) -> None:
    """With long tags a row group takes more than DuckDB may have."""
    database = Database(str(tmp_path / "long.db"), memory_limit=32 * 10**6)
    for part in range(4):
        database.connection.execute(
            """insert into metrics (ts, category, symbol, value, tags)
            select make_timestamptz($1 + k * 1000000), 'custom', 'custom.s' || k % 40, k,
                '{"why": "' || repeat(md5((k % 40)::varchar), 20) || '"}'
            from range($2::bigint, $3::bigint) t(k)""",
            [T0, part * 30_000, (part + 1) * 30_000],
        )
        database.fold(0)
    (slice_,) = sort.plan(database.connection, "metrics", all_until(END + DAY))
    assert slice_.rows == 120_000
    sort.rewrite(database.connection, "metrics", slice_, all_until(END + DAY))
    found = database.connection.execute(
        "select count(*), count(*) filter (shard = 0), sum(value) from metrics"
    )
    assert found.fetchone() == (120_000, 0, 120_000 * 119_999 / 2)
    database.close()
