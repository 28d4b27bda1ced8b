"""The tables: made once, known again, and never put over those of somebody else."""

from __future__ import annotations

import lzma
from pathlib import Path

import duckdb
import pytest

from oculus.errors import StartError
from oculus.model import Batch, Candle, Micros, Sample
from oculus.storage import ingest, rollup, schema, sort
from oculus.storage.database import Database

RELATIONS = {
    "metrics", "events", "deliveries", "rollup_1m", "rollup_1h", "metrics_1m", "metrics_1h",
    "oculus_late", "oculus_schema", "oculus_state",
}  # fmt: skip

# Files that earlier versions left: stopped, or killed with its last samples in the log alone.
FILES = Path(__file__).parent / "files"


def unpack(name: str, folder: Path) -> Path:
    """Put a file of an earlier version into a folder, and its log if there is one."""
    for packed in FILES.glob(f"{name}.db*.xz"):
        (folder / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    return folder / f"{name}.db"


def execute(path: Path, *statements: str) -> None:
    """Run statements on a file outside Oculus."""
    connection = duckdb.connect(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def columns(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the names and types of each table's columns."""
    connection = duckdb.connect(str(path), read_only=True)
    rows = connection.execute(
        """select table_name, column_name, data_type from duckdb_columns() where not internal
        order by table_name, column_index"""
    ).fetchall()
    connection.close()
    found: dict[str, list[tuple[str, str]]] = {}
    for table, name, kind in rows:
        found.setdefault(table, []).append((name, kind))
    return found


def test_a_fresh_file_gets_the_tables_of_the_contract(tmp_path: Path) -> None:
    """Users' SQL depends on these names and types."""
    path = tmp_path / "new.db"
    Database(str(path)).close()
    found = columns(path)
    assert found["metrics"] == [
        ("ts", "TIMESTAMP WITH TIME ZONE"), ("category", "VARCHAR"), ("symbol", "VARCHAR"),
        ("value", "DOUBLE"), ("tags", "JSON"), ("shard", "USMALLINT"),
        ("open", "DOUBLE"), ("high", "DOUBLE"), ("low", "DOUBLE"),
    ]  # fmt: skip
    assert found["events"] == [
        ("id", "BIGINT"), ("ts", "TIMESTAMP WITH TIME ZONE"), ("source", "VARCHAR"), ("type", "VARCHAR"),
        ("severity", "VARCHAR"), ("message", "VARCHAR"), ("payload", "JSON"),
    ]  # fmt: skip
    for tier in ("1m", "1h"):
        assert found[f"metrics_{tier}"] == [
            ("ts", "TIMESTAMP WITH TIME ZONE"), ("category", "VARCHAR"), ("symbol", "VARCHAR"),
            ("open", "DOUBLE"), ("high", "DOUBLE"), ("low", "DOUBLE"), ("close", "DOUBLE"), ("sum", "DOUBLE"),
            ("count", "INTEGER"), ("shard", "USMALLINT"),
        ]  # fmt: skip
    assert set(found) == RELATIONS


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    """Migrations that were made are not made again, and the content stays."""
    path = tmp_path / "again.db"
    Database(str(path)).close()
    execute(path, "insert into metrics (ts, category, symbol) values (now(), 'custom', 'custom.x')")
    before = path.read_bytes()
    Database(str(path)).close()
    assert path.read_bytes() == before
    connection = duckdb.connect(str(path))
    assert connection.execute("select version from oculus_schema order by version").fetchall() == [
        (version,) for version in range(1, schema.VERSION + 1)
    ]
    assert connection.execute("select count(*) from metrics").fetchone() == (1,)
    connection.close()


def test_a_newer_file_is_refused_untouched(tmp_path: Path) -> None:
    """An older program must not write into tables that it does not know."""
    path = tmp_path / "newer.db"
    Database(str(path)).close()
    execute(path, f"insert into oculus_schema values ({schema.VERSION + 1}, now())")
    before = path.read_bytes()
    with pytest.raises(StartError) as caught:
        Database(str(path))
    assert str(caught.value) == (
        f"{path} was written by a newer Oculus (tables of version {schema.VERSION + 1}, this program knows"
        f" {schema.VERSION}): use that version, or name another file with --db"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("create table metrics (i integer)", "metrics"),
        ("create table events (i integer)", "events"),
        ("create table oculus_state (i integer)", "oculus_state"),
        ("create view metrics as select 1 as one", "metrics"),
    ],
)
def test_tables_of_another_program_are_refused_untouched(tmp_path: Path, statement: str, name: str) -> None:
    """A file that has such a table already, and not from us, is not ours: not a byte of it changes."""
    path = tmp_path / "foreign.db"
    execute(path, statement)
    before = path.read_bytes()
    with pytest.raises(StartError) as caught:
        Database(str(path))
    assert str(caught.value) == f"{path} has a table {name!r} of another program (name another file)"
    assert path.read_bytes() == before


def test_other_tables_are_no_hindrance(tmp_path: Path) -> None:
    """A user's own tables live beside ours."""
    path = tmp_path / "shared.db"
    execute(
        path,
        "create table notes as select 'mine' as text",
        "create schema s",
        "create table s.metrics (i int)",
    )
    for _ in range(2):
        Database(str(path)).close()
    connection = duckdb.connect(str(path))
    assert connection.execute("select text from notes").fetchall() == [("mine",)]
    assert connection.execute("select count(*) from main.metrics").fetchone() == (0,)
    connection.close()


def test_a_start_that_was_cut_off_is_made_good(tmp_path: Path) -> None:
    """A first start that ended between two statements leaves a file that the next start completes."""
    path = tmp_path / "cut.db"
    execute(path, "create table oculus_schema (version INTEGER, applied TIMESTAMPTZ)")
    Database(str(path)).close()
    assert set(columns(path)) == RELATIONS


def test_a_migration_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version is one transaction: all of it, or the version before."""
    path = tmp_path / "failing.db"
    Database(str(path)).close()
    broken = ("create table half (i integer)", "create table metrics (i integer)")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(StartError, match="its tables cannot be set up: Catalog Error"):
        Database(str(path))
    monkeypatch.undo()
    assert "half" not in columns(path)
    Database(str(path)).close()


def test_a_new_version_is_added_to_an_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is missing is done, and noted."""
    path = tmp_path / "old.db"
    Database(str(path)).close()
    execute(path, "insert into metrics (ts, category, symbol) values (now(), 'custom', 'custom.x')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("create table more (i integer)",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    Database(str(path)).close()
    connection = duckdb.connect(str(path))
    assert connection.execute("select max(version), count(*) from oculus_schema").fetchone() == (
        schema.VERSION, schema.VERSION,
    )  # fmt: skip
    assert connection.execute("select count(*) from metrics, (select count(*) from more)").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize("version", range(1, schema.VERSION))
@pytest.mark.parametrize(("left", "late"), [("clean", 0), ("killed", 5)])
def test_a_file_of_an_earlier_version_is_brought_up_to_date(
    tmp_path: Path, version: int, left: str, late: int
) -> None:
    """All that it holds is there, what came since works on it, and its rollups are built."""
    name = f"version_{version}_{left}"
    database = Database(str(unpack(name, tmp_path)))
    connection = database.connection
    assert connection.execute("select count(*), count(distinct symbol) from metrics").fetchone() == (
        1_920 + late, 4 + bool(late),
    )  # fmt: skip
    assert connection.execute("select sum(value) from metrics where symbol like '%.up'").fetchone() == (
        940.0,
    )
    assert connection.execute("select type, payload->>'rule' from events order by id").fetchall() == [
        ("system", None), ("alert", "slow"),
    ]  # fmt: skip
    assert connection.execute("select max(version) from oculus_schema").fetchone() == (schema.VERSION,)
    mark = Micros(int(ingest.read_state(connection, "clock_mark") or 0))
    while rollup.advance(connection, mark):
        pass
    assert connection.execute("select sum(count) from metrics_1m").fetchone() == (1_920 + late,)
    assert connection.execute("select sum(count) from metrics_1h").fetchone() == (1_920 + late,)
    stretch = sort.Stretch(Micros(0), mark)
    for slice_ in sort.plan(connection, "metrics", stretch):
        sort.rewrite(connection, "metrics", slice_, stretch)
    assert connection.execute("select count(*) from metrics where shard = 0").fetchone() == (0,)
    candle = Sample("custom.new", 2.0, Micros(mark), candle=Candle(1.0, 3.0, 0.5))
    ingest.write(connection, Batch((candle,)), 9)
    assert connection.execute(
        "select symbol, open, high, low, value from metrics where coalesce(open, high, low) is not null"
    ).fetchall() == [("custom.new", 1.0, 3.0, 0.5, 2.0)]
    database.close()
    Database(str(tmp_path / f"{name}.db")).close()


def test_an_upgrade_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """Columns come one by one, each packed before the next: an end between two leaves none of it twice."""
    path = unpack("version_2_clean", tmp_path)
    execute(path, "alter table metrics add column open DOUBLE")
    Database(str(path)).close()
    assert [name for name, _ in columns(path)["metrics"][-4:]] == ["shard", "open", "high", "low"]


def test_an_upgrade_may_take_more_memory_than_the_work_of_every_day(tmp_path: Path) -> None:
    """New columns take memory for each row of the file, which the limit of queries need not have."""
    path = str(tmp_path / "large.db")
    execute(
        Path(path),
        *(statement for version in schema.MIGRATIONS[:2] for statement in version),
        "create table oculus_schema (version INTEGER, applied TIMESTAMPTZ)",
        "insert into oculus_schema values (1, now()), (2, now())",
        """insert into metrics (ts, category, symbol, value)
        select make_timestamptz(n), 'custom', 'custom.s' || n % 1000, random() from range(3_000_000) t(n)""",
    )
    database = Database(path, memory_limit=8 * 10**6)
    assert database.connection.execute("select count(*), count(open) from metrics").fetchone() == (
        3_000_000,
        0,
    )
    limit = database.connection.execute("select current_setting('memory_limit')").fetchone()
    assert limit == ("7.6 MiB",)
    database.close()


def test_there_is_a_file_of_each_earlier_version() -> None:
    """A new version is not tested before the one before it has left its file."""
    found = {int(path.name.split("_")[1]) for path in FILES.glob("version_*")}
    assert found == set(range(1, schema.VERSION))
