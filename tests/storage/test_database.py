"""Opening files: what is refused, in which words, and that a refused file is left as it was."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from oculus.errors import StartError
from oculus.storage.database import Database, first_line, translate
from tests.support.daemon import ROOT
from tests.support.process import printed

ELSEWHERE = "name another file with --db or database.path"


def refusal(path: Path | str) -> str:
    """Return the line with which a file is refused."""
    with pytest.raises(StartError) as caught:
        Database(str(path)).close()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_new_file_is_made(tmp_path: Path) -> None:
    """A path where nothing is yet gets a database with its tables, which can be opened again."""
    path = tmp_path / "new.db"
    for _ in range(2):
        opened = Database(str(path))
        assert opened.connection.execute("select count(*) from metrics").fetchone() == (0,)
        opened.close()
        opened.close()
    assert path.stat().st_size > 0


def write_text(path: Path) -> None:
    """Write a text file."""
    path.write_text("These are notes, and no database.\n" * 100)


def write_little(path: Path) -> None:
    """Write a file that is shorter than any header."""
    path.write_bytes(b"x")


def write_sqlite(path: Path) -> None:
    """Write a database of SQLite."""
    connection = sqlite3.connect(path)
    connection.execute("create table metrics (value integer)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("write", [write_text, write_little, write_sqlite])
def test_a_file_that_is_no_database_is_left_as_it_is(tmp_path: Path, write: object) -> None:
    """Nothing of it is overwritten."""
    path = tmp_path / "oculus.db"
    write(path)  # type: ignore[operator]
    before = path.read_bytes()
    assert refusal(path).startswith(f"{path} is ")
    assert "left as it is" in refusal(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["oculus.db"]  # noqa: PTH208 - names, not paths


HOLDER = """
import sys
from oculus import Storage
with Storage(sys.argv[1]):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A file that another process holds open."""
    path = tmp_path / "held.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield path, process
        process.kill()


def test_a_file_of_another_process_is_refused(holder: tuple[Path, subprocess.Popen[bytes]]) -> None:
    """The line names the process; once that is gone the file can be had."""
    path, process = holder
    assert refusal(path) == f"{path} is in use by process {process.pid} (stop it, or {ELSEWHERE})"
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=20) == 0
    Database(str(path)).close()


def test_places_where_no_file_can_be_are_refused(tmp_path: Path) -> None:
    """A folder, a folder that is missing, and a name that no file can have."""
    assert refusal(tmp_path) == f"{tmp_path} is a folder, not a database file ({ELSEWHERE})"
    missing = tmp_path / "none" / "oculus.db"
    assert refusal(missing) == (
        f"{missing} cannot be made: there is no folder {missing.parent} (make it, or {ELSEWHERE})"
    )
    assert refusal(tmp_path / ("x" * 300)).endswith("File name too long")


READ_ONLY = """
import os, sys
from oculus.errors import StartError
from oculus.storage.database import Database
if os.geteuid() == 0:
    os.setuid(65534)  # permissions mean nothing to root
try:
    Database(sys.argv[1]).close()
except StartError as error:
    print(error)
"""


@pytest.mark.parametrize("there", [False, True], ids=["new file", "existing file"])
def test_a_read_only_place_is_refused(there: bool) -> None:
    """A folder or a file that may not be written."""
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path: another user must be able to enter it
        path = Path(folder, "oculus.db")
        if there:
            Database(str(path)).close()
            path.chmod(0o444)
        Path(folder).chmod(0o555)
        try:
            told = printed(READ_ONLY, path)
        finally:
            Path(folder).chmod(0o755)
    assert told == f"{path} cannot be written: the file or its folder is read-only ({ELSEWHERE})\n"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    """A file with a flipped bit is told as corrupt, in one line."""
    path = tmp_path / "oculus.db"
    Database(str(path)).close()
    data = bytearray(path.read_bytes())
    for position in range(4096, len(data)):
        data[position] ^= 0x55
    path.write_bytes(data)
    assert "Corrupt database file" in refusal(path)
    assert path.read_bytes() == data


def test_settings_are_locked(database: Database) -> None:
    """No connection can reach files, extensions or settings."""
    cursor = database.cursor()
    for statement in (
        "set memory_limit = '1GB'",
        "copy metrics to 'x.csv'",
        "attach ':memory:' as x; attach 'x.db'",
        "select * from read_text('/etc/hostname')",
        "load httpfs",
    ):
        with pytest.raises(duckdb.Error):
            cursor.execute(statement)
    cursor.close()


def test_limits_are_those_that_were_set(tmp_path: Path) -> None:
    """Memory and threads are the caller's choice."""
    opened = Database(str(tmp_path / "small.db"), memory_limit=64 * 2**20, threads=2)
    row = opened.connection.execute(
        "select current_setting('memory_limit'), current_setting('threads')"
    ).fetchone()
    opened.close()
    assert row == ("64.0 MiB", 2)


def test_the_size_counts_the_log(database: Database, tmp_path: Path) -> None:
    """What is on disk is the file and the log of what is not yet in it."""
    database.connection.execute("insert into oculus_state select range, 'x' from range(10000)")
    file, log = tmp_path / "oculus.db", tmp_path / "oculus.db.wal"
    assert database.size() == file.stat().st_size + log.stat().st_size
    database.connection.execute("checkpoint")
    assert database.size() == file.stat().st_size


def test_reviving_an_open_database_changes_nothing(database: Database) -> None:
    """Only a database that was given up is opened anew."""
    before = database.connection
    database.revive()
    assert database.connection is before
    database.connection.close()
    database.revive()
    assert database.connection.execute("select count(*) from metrics").fetchone() == (0,)


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (duckdb.IOException("IO Error: disk full"), True),
        (duckdb.OutOfMemoryException("Out of Memory Error: failed"), True),
        (duckdb.TransactionException("TransactionContext Error: conflict"), True),
        (duckdb.FatalException("FATAL Error: invalidated"), True),
        (duckdb.ConstraintException("Constraint Error: NOT NULL"), False),
        (duckdb.ConversionException("Conversion Error: x"), False),
        (duckdb.CatalogException("Catalog Error: no table"), False),
        (duckdb.BinderException("Binder Error: x"), False),
    ],
)
def test_errors_tell_whether_trying_again_can_help(error: duckdb.Error, retryable: bool) -> None:
    """Space, memory and conflicts may be better later; a wrong statement stays wrong."""
    translated = translate(error)
    assert translated.retryable == retryable
    assert str(translated) == str(error)


def test_an_error_is_told_in_its_first_line() -> None:
    """The rest repeats the statement, with whatever is in it."""
    assert first_line(duckdb.Error("\nParser Error: no\n\nLINE 1: select secret")) == "Parser Error: no"
