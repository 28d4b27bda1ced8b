"""Copies and rewriting at the level of the store: the one folder that SQL may reach, order, leftovers."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from oculus.beside import copies_of
from oculus.model import Batch, Candle, Micros, Sample
from oculus.storage import copies, ingest
from oculus.storage.compact import compact, ordered_copy
from oculus.storage.copies import Cancelled, Copy, Wanted
from oculus.storage.database import Database

MEMORY = 128 * 10**6  # bytes


def content(path: Path | str, table: str = "metrics") -> list[tuple[object, ...]]:
    """Return the rows of a table of a file, as plain DuckDB reads them."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(f"select * from {table} order by all").fetchall()


def write(database: Database, *values: float, symbol: str = "custom.a") -> None:
    """Write samples, one a microsecond."""
    samples = tuple(Sample(symbol, value, Micros(n)) for n, value in enumerate(values))
    ingest.write(database.connection, Batch(samples), 1)


def test_sql_reaches_the_folder_of_copies_and_no_other_file(database: Database, tmp_path: Path) -> None:
    """Not by .., not by a link, not by a name that begins alike; nothing can be opened, made or changed."""
    (tmp_path / "secret.csv").write_text("a\n1\n")
    folder = copies_of(database.path)
    folder.mkdir()
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    (folder / "copy.csv").write_text("a\n2\n")
    cursor = database.cursor()
    assert cursor.execute(f"from read_csv('{folder}/copy.csv')").fetchall() == [(2,)]
    for path in (
        tmp_path / "secret.csv", folder / ".." / "secret.csv", folder / "link.csv", f"{folder}x.csv",
        f"/proc/self/root{tmp_path}/secret.csv", "/etc/hostname", "secret.csv",
    ):  # fmt: skip
        for statement in (
            f"from read_csv('{path}')", f"from read_text('{path}')", f"from glob('{path}')",
            f"copy (select 1) to '{path}'", f"attach '{path}' as other",
        ):  # fmt: skip
            with pytest.raises(duckdb.PermissionException):
                cursor.execute(statement)
    for setting in (
        "allowed_directories = ['/']",
        "enable_external_access = true",
        "temp_directory = '/tmp'",
    ):
        with pytest.raises(duckdb.InvalidInputException):
            cursor.execute(f"set {setting}")
    with pytest.raises(duckdb.Error):
        cursor.execute("load sqlite")


def test_a_backup_is_of_one_moment_and_whole(database: Database) -> None:
    """Tables, views and macros are in it, users' own as well; what comes later is not; no log beside it."""
    write(database, 1.0, 2.0)
    database.connection.execute("create table mine as select 42 as answer")
    database.connection.execute("create view doubled as select answer * 2 as twice from mine")
    made = Copy(database, Wanted("backup"))
    made.run()
    write(database, 3.0)
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]
    assert len(content(made.path)) == 2
    assert content(made.path, "doubled") == [(84,)]
    assert made.size() == made.path.stat().st_size
    reopened = Database(str(made.path))
    write(reopened, 4.0)
    reopened.close()
    made.discard()
    assert not made.path.parent.exists()


def test_candles_are_in_every_copy(database: Database) -> None:
    """In a backup, in what is exported, and in the file that `compact` writes."""
    ingest.write(
        database.connection, Batch((Sample("custom.a", 2.0, Micros(5), candle=Candle(1.0, 4.0, 0.5)),)), 1
    )
    wanted = "select open, high, low, value from"
    whole = [(1.0, 4.0, 0.5, 2.0)]
    for kind, relation in (("backup", "metrics"), ("parquet", ""), ("csv", "")):
        made = Copy(database, Wanted(kind))  # type: ignore[arg-type]
        made.run()
        with duckdb.connect(str(made.path) if relation else ":memory:") as connection:
            assert connection.execute(f"{wanted} {relation or repr(str(made.path))}").fetchall() == whole
        made.discard()
    database.close()
    compact(database.path, MEMORY, 1)
    with duckdb.connect(database.path) as connection:
        assert connection.execute(f"{wanted} metrics").fetchall() == whole


def test_a_cancelled_copy_leaves_nothing(database: Database) -> None:
    """Whenever it is cancelled; the next one is made as if nothing had been."""
    write(database, 1.0)
    made = Copy(database, Wanted("csv"))
    made.cancel()
    with pytest.raises(Cancelled, match="the copy was cancelled"):
        made.run()
    assert not copies_of(database.path).exists()
    again = Copy(database, Wanted("csv"))
    again.run()
    assert again.path.read_text().count("\n") == 2


def test_an_export_cannot_write_to_the_database(database: Database) -> None:
    """It runs in a transaction that only reads, which is over afterwards."""
    write(database, 1.0)
    Copy(database, Wanted("csv", "from metrics")).run()
    database.copier.execute("begin transaction")
    database.copier.execute("rollback")


def test_cleaning_takes_only_what_copies_left(tmp_path: Path) -> None:
    """The folder goes once nothing is in it; somebody else's file stays, and its folder."""
    database = str(tmp_path / "o.db")
    copies.clean(database)
    folder = copies_of(database)
    (folder / "oculus-spill").mkdir(parents=True)
    (folder / "oculus-spill" / "x.tmp").write_text("x")
    (folder / "oculus-1234.db").write_text("x")
    (folder / "notes.txt").write_text("mine")
    copies.clean(database)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    (folder / "notes.txt").unlink()
    copies.clean(database)
    assert not folder.exists()


@pytest.mark.parametrize("group", [1, 7, 1_000])
def test_an_ordered_copy_is_in_order_whatever_its_steps(tmp_path: Path, group: int) -> None:
    """By shard, symbol and time; samples of one moment stay in the order in which they came."""
    path = str(tmp_path / "o.db")
    database = Database(path)
    for value in range(10):
        samples = tuple(Sample(f"custom.s{n}", float(value), Micros(100 - value // 2)) for n in range(9))
        ingest.write(database.connection, Batch(samples), 1)
    database.close()
    with duckdb.connect() as connection:
        connection.execute(f"attach '{path}' as old (read_only)")
        connection.execute(f"attach '{tmp_path}/new.db' as new")
        connection.execute("copy from database old to new (schema)")
        steps: list[int] = []
        ordered_copy(connection, "old.metrics", "new.metrics", steps.append, group)
        assert sum(steps) == 90
        rows = connection.execute(
            "select shard, symbol, ts, value from new.metrics order by rowid"
        ).fetchall()
        assert [row[:3] for row in rows] == sorted(row[:3] for row in rows)
        assert [row[3] for row in rows[:10]] == [8, 9, 6, 7, 4, 5, 2, 3, 0, 1]
        wrong = connection.execute("select count(*) from new.metrics where shard <> new.shard_of(symbol)")
        assert wrong.fetchone() == (0,)


def test_compact_keeps_every_table(tmp_path: Path) -> None:
    """Every row of every table, users' own tables and views too; progress ends at the whole."""
    path = str(tmp_path / "o.db")
    database = Database(path)
    write(database, 3.0, 1.0, 2.0)
    database.connection.execute("create table mine as select 42 as answer")
    database.connection.execute("create view doubled as select answer * 2 as twice from mine")
    ingest.write_state(database.connection, "key", "value")
    database.close()
    states = content(path, "oculus_schema"), content(path, "oculus_state")
    told: list[tuple[int, int]] = []
    done = compact(path, MEMORY, 1, lambda rows, total: told.append((rows, total)))
    assert done.rows == told[-1][0] == told[-1][1]
    assert done.after == Path(path).stat().st_size
    assert (content(path, "oculus_schema"), content(path, "oculus_state")) == states
    assert content(path, "doubled") == [(84,)]
    assert [row[3] for row in content(path)] == [3.0, 1.0, 2.0]
    assert [found.name for found in tmp_path.iterdir()] == ["o.db"]
