"""Torn and corrupt files: each is told in one line with what to do, left as it is, and can be set aside."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oculus.errors import DamageError, StartError
from oculus.storage.database import BLOCK, Database
from oculus.storage.recovery import recover, set_aside
from tests.support.process import python

# A database as a kill leaves it: 300,000 samples in the file, and five commits in the log.
LEAVE = """
import os, sys
from oculus.model import Batch, Micros, Sample
from oculus.storage import ingest
from oculus.storage.database import Database
opened = Database(sys.argv[1])
opened.connection.execute(
    "insert into metrics (ts, category, symbol, value, tags)"
    " select make_timestamptz(range), 'custom', 'custom.x' || range % 50, random(), '{}' from range(300000)"
)
opened.connection.execute("checkpoint")
for start in range(300_000, 301_000, 200):
    samples = tuple(Sample("custom.x", float(n), Micros(n)) for n in range(start, start + 200))
    ingest.write(opened.connection, Batch(samples), 1)
os._exit(0)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two databases that were killed."""
    folder = tmp_path_factory.mktemp("killed")
    for name in ("oculus.db", "other.db"):
        done = python(LEAVE, folder / name)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def path(killed: Path, tmp_path: Path) -> Path:
    """A copy of the first."""
    for file in ("oculus.db", "oculus.db.wal"):
        shutil.copy(killed / file, tmp_path)
    return tmp_path / "oculus.db"


def log_of(path: Path) -> Path:
    """Return the path of a database's log."""
    return Path(f"{path}.wal")


def overwrite(path: Path, place: int, length: int = 2000) -> None:
    """Put other bytes at a place."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(random.Random(3).randbytes(length))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file with what is in it."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def count(path: Path) -> int:
    """Return how many samples a database holds."""
    opened = Database(str(path))
    row = opened.connection.execute("select count(*) from metrics").fetchone()
    opened.close()
    assert row is not None
    return int(row[0])


def half_a_file(path: Path) -> None:
    """Lose the second half."""
    os.truncate(path, path.stat().st_size // 2)


def half_a_header(path: Path) -> None:
    """Lose all but the first block."""
    os.truncate(path, 5000)


def no_header(path: Path) -> None:
    """Garble the first bytes."""
    overwrite(path, 0)


def second_header(path: Path) -> None:
    """Garble both places that say where the tables are."""
    overwrite(path, 4096, 8192)


def every_block(path: Path) -> None:
    """Garble something in each block behind the headers."""
    for start in range(12_288, path.stat().st_size, BLOCK):
        overwrite(path, start + 100, 16)


def log_in_the_middle(path: Path) -> None:
    """Garble an early commit of the log."""
    overwrite(log_of(path), 2000, 16)


def log_of_another(path: Path) -> None:
    """Take the log of another database."""


def no_file(path: Path) -> None:
    """Lose the file, but not its log."""
    path.unlink()


def empty_file(path: Path) -> None:
    """Empty the file, but not its log."""
    os.truncate(path, 0)


@pytest.mark.parametrize(
    ("hurt", "told"),
    [
        (half_a_file, "oculus.db is damaged"),
        (half_a_header, "oculus.db is damaged"),
        (no_header, "oculus.db is not a DuckDB database"),
        (second_header, "oculus.db is damaged"),
        (every_block, "oculus.db is damaged"),
        (log_in_the_middle, "oculus.db.wal, the log of"),
        (log_of_another, "oculus.db.wal is the log of another database than"),
        (no_file, "oculus.db.wal is the log of a database that is not there"),
        (empty_file, "oculus.db.wal is the log of a database that is not there"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_damage_is_told_and_can_be_set_aside(
    path: Path, killed: Path, hurt: Callable[[Path], None], told: str
) -> None:
    """The refusal names the file and the way out, and changes nothing; `recover` keeps every byte."""
    hurt(path)
    if hurt is log_of_another:
        shutil.copy(log_of(killed / "other.db"), log_of(path))
    before = contents(path.parent)
    with pytest.raises(DamageError) as caught:
        Database(str(path))
    text = str(caught.value)
    assert told in text
    assert "--recover" in text
    assert "\n" not in text
    assert contents(path.parent) == before
    database, done = recover(str(path))
    assert database.connection.execute("select count(*) from metrics").fetchone() == (0,)
    database.close()
    assert ".broken-" in done
    after = contents(path.parent)
    aside = {name: data for name, data in after.items() if ".broken-" in name}
    assert sorted(aside.values()) == sorted(before.values())
    for name in aside:
        assert name in done or name.removesuffix(".wal") in done


def test_damage_among_the_samples_is_found_by_recover(path: Path) -> None:
    """Such a file opens; with `--recover` every row is read first, without changing the file."""
    log_of(path).unlink()
    overwrite(path, 262_144 * 4)
    before = path.read_bytes()
    database, done = recover(str(path))
    database.close()
    assert "Corrupt" in done
    (aside,) = path.parent.glob("oculus.db.broken-*")
    assert aside.read_bytes() == before


def test_recover_leaves_a_whole_database_as_it_is(path: Path) -> None:
    """All samples are there, those of the log too, and nothing is set aside."""
    database, done = recover(str(path))
    assert done == ""
    assert database.connection.execute("select count(*) from metrics").fetchone() == (301_000,)
    database.close()
    assert not list(path.parent.glob("*.broken-*"))
    new, done = recover(str(path.parent / "new.db"))
    new.close()
    assert done == ""


def test_recover_touches_nothing_that_is_only_in_use_or_foreign(path: Path, tmp_path: Path) -> None:
    """A folder, or a place that is not there, is no damage."""
    with pytest.raises(StartError, match="is a folder"):
        recover(str(tmp_path))
    with pytest.raises(StartError, match="there is no folder"):
        recover(str(tmp_path / "none" / "oculus.db"))
    assert count(path) == 301_000


@pytest.mark.parametrize("lost", [1, 40, 3000])
def test_a_torn_log_loses_its_last_commits_only(path: Path, lost: int) -> None:
    """What a power cut leaves of a commit that was not acknowledged is passed over, for good."""
    os.truncate(log_of(path), log_of(path).stat().st_size - lost)
    database = Database(str(path))
    row = database.connection.execute("select count(*), max(epoch_us(ts)) from metrics").fetchone()
    assert row == (300_800, 300_799)
    database.connection.execute("insert into oculus_state values ('a', 'b')")
    database.close()
    assert count(path) == 300_800


def test_bytes_behind_the_log_are_passed_over(path: Path) -> None:
    """Zeros and garbage that never became a commit."""
    for rest in (bytes(4096), random.Random(4).randbytes(700)):
        with log_of(path).open("ab") as log:
            log.write(rest)
    assert count(path) == 301_000


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    """`touch` leaves one, and so does a crash while the file is made."""
    path = tmp_path / "oculus.db"
    path.touch()
    assert count(path) == 0
    assert path.stat().st_size > 0


def checksum(block: bytes) -> int:
    """Return what DuckDB writes before a block of its own."""
    found = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        found ^= word * 0xBF58476D1CE4E5B9 & 0xFFFF_FFFF_FFFF_FFFF
    return found


def test_a_file_of_a_newer_duckdb_is_no_damage(path: Path) -> None:
    """It is refused, by `recover` too: nothing is wrong with it."""
    data = bytearray(path.read_bytes())
    data[12:20] = struct.pack("<Q", 5000)
    data[:8] = struct.pack("<Q", checksum(bytes(data[8:4096])))
    path.write_bytes(data)
    before = contents(path.parent)
    for attempt in (Database, recover):
        with pytest.raises(StartError, match="another version of DuckDB") as caught:
            attempt(str(path))
        assert not isinstance(caught.value, DamageError)
    assert contents(path.parent) == before


def test_setting_aside_never_overwrites(tmp_path: Path) -> None:
    """Twice within a second, the second gets a name of its own; the log goes along."""
    path = tmp_path / "oculus.db"
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = []
    for content in ("first", "second"):
        path.write_text(content)
        log_of(path).write_text(f"{content} log")
        names.append(set_aside(str(path), moment))
    assert names == [f"{path}.broken-20260102-030405", f"{path}.broken-20260102-030405-2"]
    assert [Path(name).read_text() for name in names] == ["first", "second"]
    assert [log_of(Path(name)).read_text() for name in names] == ["first log", "second log"]
    assert not path.exists()
