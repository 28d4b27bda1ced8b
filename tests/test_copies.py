"""query, backup, export and compact, as real commands: beside a running daemon, and on a file by itself."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import gevent
import pytest
from gevent import subprocess

from oculus.model import Micros, Sample
from oculus.storage import Storage
from tests.support.daemon import CHECKOUT, Daemon
from tests.support.servers import wait_for

Start = Callable[..., Daemon]

QUIET = "database: {flush: 50ms, retention: 36500d}\ncollectors: []\n"
LOCKED = "server: {token: a long secret}\n" + QUIET

# Large enough that a copy of it can be met at work, small enough to be made in a second.
MANY = 1_000_000


def command(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    """Run a command in the working directory; return exit status, output and errors."""
    done = subprocess.run(
        [*CHECKOUT, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(Path.cwd())},
        input=(stdin or "").encode(),
        capture_output=True,
        timeout=120,
    )
    return done.returncode, bytes(done.stdout).decode(), bytes(done.stderr).decode()


def begun(*arguments: str) -> subprocess.Popen[bytes]:
    """Start a command and let it run."""
    return subprocess.Popen(
        [*CHECKOUT, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(Path.cwd())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def errors_of(running: subprocess.Popen[bytes]) -> str:
    """Return what a command that has ended wrote to standard error."""
    assert running.stderr is not None
    return running.stderr.read().decode()


def fill(path: str, rows: int) -> None:
    """Make a database with this many samples of 100 series, in the order of their times."""
    with Storage(path) as store:
        store.write([Sample("custom.first", 1.0, Micros(1))])
    with duckdb.connect(path) as connection:
        connection.execute(
            "insert into metrics by name select make_timestamptz(1780000000000000 + n * 1000) as ts,"
            " 'custom' as category, 'custom.s' || n % 100 as symbol, hash(n) / 1e12 as value, '{}' as tags"
            f" from range({rows}) as r(n)"
        )


def rows_of(path: str, sql: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query on a file that nobody has open, by plain DuckDB."""
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute(sql).fetchall()


def beside(path: str = "oculus.db") -> set[str]:
    """Return the files and folders whose names begin like the database's, without it and its log."""
    return {found.name for found in Path().glob(f"{path}*")} - {path, f"{path}.wal"}


def push(daemon: Daemon, *samples: tuple[str, float]) -> None:
    """Push samples and wait until the last of them is stored."""
    body = [{"symbol": symbol, "value": value} for symbol, value in samples]
    assert daemon.post("/api/push", json=body).status_code == 202
    symbol, value = samples[-1]
    wait_for(lambda: (daemon.latest(symbol) or {}).get("value") == value)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of MANY rows, made once; tests copy it."""
    path = tmp_path_factory.mktemp("large") / "oculus.db"
    fill(str(path), MANY)
    return path


# -- the socket -------------------------------------------------------------------------------------------


def test_the_socket_is_there_while_the_daemon_runs_and_for_its_user_only(daemon: Start) -> None:
    """Bound with mode 0600 beside the database; gone after a stop; one left by kill -9 is replaced."""
    first = daemon(QUIET)
    assert stat.filemode(Path("oculus.db.sock").lstat().st_mode) == "srw-------"
    first.kill()
    assert beside() == {"oculus.db.sock"}
    second = daemon(QUIET)
    assert command("query", "select 1 as x", "--format", "csv") == (0, "x\r\n1\r\n", "")
    assert second.stop() == 0
    assert beside() == set()


def test_a_long_path_has_a_socket_too(daemon: Start, tmp_path: Path) -> None:
    """The kernel takes 107 bytes; a database deeper than that is reached through its folder."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    path = str(folder / "o.db")
    process = daemon(QUIET, "--db", path)
    status, out, _ = command("query", "select 1 as x", "--format", "csv", "--db", path)
    assert (status, out) == (0, "x\r\n1\r\n")
    assert process.stop() == 0
    assert [found.name for found in folder.iterdir()] == ["o.db"]


def test_where_no_socket_can_be_the_daemon_warns_and_runs(daemon: Start) -> None:
    """A file of that name is not Oculus's to remove; one warning, and the commands say what is wrong."""
    Path("oculus.db.sock").write_text("mine")
    process = daemon(QUIET)
    assert "no socket at " in process.wait_log("WARNING")
    assert process.log().count("WARNING") == 1
    status, _, err = command("query", "select 1")
    assert status == 1
    assert f"is in use by process {process.process.pid}" in err
    assert process.stop() == 0
    assert Path("oculus.db.sock").read_text() == "mine"


def test_only_the_socket_passes_the_token_and_the_limit_by(daemon: Start) -> None:
    """Everything of the HTTP interface is there without token and rate limit; TCP asks for it as ever."""
    process = daemon(LOCKED)
    answer = process.post("/api/query", json={"sql": "select 1"}, headers={"oculus.local": "1"})
    assert answer.status_code == 401
    bearer = {"Authorization": "Bearer a long secret"}
    for path in ("/local/backup", "/local/csv"):
        assert process.post(path, headers=bearer).status_code == 404
    many = "for i in $(seq 40); do curl -s --unix-socket oculus.db.sock http://x.example/api/rules; done"
    if shutil.which("curl"):
        told = subprocess.run(["sh", "-c", many], capture_output=True, timeout=60).stdout
        assert told == b'{"rules": []}' * 40
    assert command("query", "select 1 as x", "--format", "json") == (0, '[{"x": 1}]\n', "")


# -- query ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["daemon", "file"])
def store(request: pytest.FixtureRequest, daemon: Start) -> str:
    """A small database, first with a daemon that has it open, then without."""
    with Storage("oculus.db") as opened:
        opened.write([Sample("custom.a", 1.5, Micros(10**15)), Sample("custom.b", 20.25, Micros(10**15 + 1))])
    if request.param == "daemon":
        daemon(QUIET)
    return str(request.param)


def test_a_query_is_shown_as_table_csv_and_json(store: str) -> None:
    """The same rows from the daemon and from the file; numbers right, NULL shown, commas quoted."""
    sql = "select symbol, value, nullif(symbol, 'custom.a') as other, 'a,\"b' as x from metrics order by all"
    shown = (
        "symbol    value  other     x\n"
        "────────  ─────  ────────  ────\n"
        'custom.a    1.5  NULL      a,"b\n'
        'custom.b  20.25  custom.b  a,"b\n'
        "(2 rows)\n"
    )
    assert command("query", sql) == (0, shown, "")
    assert command("query", "--format", "csv", "-", stdin=sql) == (
        0,
        'symbol,value,other,x\r\ncustom.a,1.5,,"a,""b"\r\ncustom.b,20.25,custom.b,"a,""b"\r\n',
        "",
    )
    assert command("query", "--format", "json", stdin="select 1 as a, [2, null] as l, 3 as a") == (
        0,
        '[{"a": 1, "l": [2, null], "a_2": 3}]\n',
        "",
    )


def test_parameters_have_types(store: str) -> None:
    """A number is one, a text in quotes stays a text, and what is no JSON is taken as it stands."""
    sql = (
        "select typeof($a) = 'VARCHAR' as t, $b + 1 as n, $c as c, count(*) as rows from metrics"
        " where symbol = $s"
    )
    status, out, err = command(
        "query", sql, "--format", "json", "--param", 'a="7"', "--param", "b=41", "--param", "c=null",
        "--param", "s=custom.a",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert json.loads(out) == [{"t": True, "n": 42, "c": None, "rows": 1}]


def test_more_than_a_thousand_rows_are_told(store: str) -> None:
    """The rows that are shown stand alone on standard output."""
    status, out, err = command("query", "--format", "csv", "select range as n from range(3000)")
    assert (status, out.count("\r\n")) == (0, 1001)
    assert err == "oculus: only the first 1000 rows are shown (oculus export writes all of them)\n"


def test_bad_sql_fails_with_the_place_of_the_mistake(store: str) -> None:
    """It is a failure at run time: 1. Writing is refused."""
    status, out, err = command("query", "select * fromm metrics")
    assert (status, out) == (1, "")
    assert "syntax error" in err.splitlines()[0]
    assert "^" in err
    assert command("query", "delete from metrics")[0] == 1
    assert command("query", "select count(*) as n from metrics", "--format", "csv")[1] == "n\r\n2\r\n"


def test_a_pipe_that_closes_early_is_no_error(store: str) -> None:
    """`oculus query … | head -1` says nothing on standard error."""
    sql = "select lpad('', 5000, 'x') as wide from range(900)"
    shell = f"'{CHECKOUT[0]}' '{CHECKOUT[-1]}' query --format csv \"{sql}\" | head -c 9"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, timeout=60, cwd=Path.cwd())
    assert (done.stdout, done.stderr) == (b"wide\r\nxxx", b"")


@pytest.mark.parametrize(
    "arguments",
    [["query", "select 1"], ["backup", "b.db"], ["export", "--to", "x.csv"], ["compact"]],
    ids=lambda arguments: str(arguments[0]),
)
def test_a_database_that_is_not_there_is_not_made(arguments: list[str]) -> None:
    """One line, and nothing on the disk."""
    assert command(*arguments, "--db", "no.db") == (
        1,
        "",
        "oculus: there is no database no.db (name it with --db or --config)\n",
    )
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["export"], "--to"),
        (["export", "--to", "x.xlsx"], ".parquet"),
        (["backup"], "DEST"),
        (["query", "select 1", "--format", "xml"], "xml"),
        (["query", "select 1", "--param", "x"], "NAME=VALUE"),
        (["query", "--config", "no.yaml", "select 1"], "no.yaml"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], told: str) -> None:
    """Before anything is opened."""
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert told in err


# -- backup -----------------------------------------------------------------------------------------------


def test_a_backup_under_load_has_every_sample_once(daemon: Start, large: Path) -> None:
    """What was stored before it began is in it once, commits go on meanwhile, and plain DuckDB opens it."""
    shutil.copy(large, "oculus.db")
    # A log this short goes into the file all the time: that must go on beside the copy.
    process = daemon(QUIET.replace("flush", "checkpoint: 64KiB, flush"))
    pushed = 0
    stop = gevent.event.Event()
    waits: list[float] = []

    def load() -> None:
        nonlocal pushed
        while not stop.is_set():
            started = time.monotonic()
            push(process, *((f"custom.load{n % 50}", pushed + n) for n in range(500)))
            waits.append(time.monotonic() - started)
            pushed += 500

    loader = gevent.spawn(load)
    wait_for(lambda: pushed >= 1_000)
    before = pushed
    status, out, err = command("backup", "copy.db")
    assert (status, err) == (0, "")
    assert out.startswith("copy.db: ")
    stop.set()
    loader.get(timeout=30)
    assert process.sql("select count(*) from metrics where symbol like 'custom.load%'") == [[pushed]]
    assert "log cannot go" not in process.log()
    assert max(waits) < 5  # a push to the sample in view; about 0.1 s on a quiet machine
    assert process.stop() == 0

    assert stat.S_IMODE(Path("copy.db").stat().st_mode) == 0o600
    assert not Path("copy.db.wal").exists()
    assert beside() == set()
    ((first, load_rows, distinct, most),) = rows_of(
        "copy.db",
        "select count(*) filter (symbol not like 'custom.load%'),"
        " count(*) filter (symbol like 'custom.load%'),"
        " count(distinct value) filter (symbol like 'custom.load%'),"
        " max(value) filter (symbol like 'custom.load%') from metrics",
    )
    assert first == MANY + 1
    assert before <= load_rows <= pushed
    assert load_rows == distinct == most + 1  # no gap and nothing twice, up to the moment of the copy
    with Storage("copy.db") as store:
        store.write([Sample("custom.after", 1.0)])
        macros = "select function_name from duckdb_functions() where not internal order by all"
        views = "select view_name from duckdb_views() where not internal order by all"
        with Storage("oculus.db") as original:
            assert store.query(macros).rows == original.query(macros).rows != []
            assert store.query(views).rows == original.query(views).rows != []


def test_a_backup_of_a_stopped_database(large: Path) -> None:
    """Without a daemon the command makes it itself; an older copy stands until --force replaces it."""
    fill("oculus.db", 1000)
    assert command("backup", "b.db")[::2] == (0, "")
    assert rows_of("b.db", "select count(*) from metrics") == [(1001,)]
    kept = Path("b.db").read_bytes()
    told = "oculus: b.db is there already, and was left as it is (--force replaces it)\n"
    assert command("backup", "b.db") == (1, "", told)
    assert Path("b.db").read_bytes() == kept
    with Storage("oculus.db") as store:
        store.write([Sample("custom.new", 1.0)])
    Path("b.db.part").write_text("of a killed command")
    assert command("backup", "b.db", "--force")[::2] == (0, "")
    assert rows_of("b.db", "select count(*) from metrics") == [(1002,)]
    assert {path.name for path in Path().iterdir()} == {"oculus.db", "b.db"}


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("no/b.db", "there is no folder no (make it, or name another file)"),
        (".", ". is a folder (name the file to be made)"),
        ("oculus.db", "oculus.db belongs to the database itself (name another file)"),
        ("oculus.db.wal", "oculus.db.wal belongs to the database itself (name another file)"),
    ],
)
def test_a_destination_that_cannot_be_is_told(to: str, told: str) -> None:
    """Not even --force puts a copy there."""
    fill("oculus.db", 10)
    assert command("backup", to, "--force") == (1, "", f"oculus: {told}\n")
    assert rows_of("oculus.db", "select count(*) from metrics") == [(11,)]


def test_a_copy_goes_to_another_file_system(daemon: Start) -> None:
    """Its bytes are copied there when a rename cannot bring them."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == Path().stat().st_dev:
        pytest.skip("there is no second file system here")
    fill("oculus.db", 1000)
    daemon(QUIET)
    to = other / f"oculus-test-{os.getpid()}.db"
    try:
        assert command("backup", str(to))[::2] == (0, "")
        assert stat.S_IMODE(to.stat().st_mode) == 0o600
        assert rows_of(str(to), "select count(*) from metrics") == [(1001,)]
    finally:
        to.unlink(missing_ok=True)
    wait_for(lambda: beside() == {"oculus.db.sock"})


def at_work(large: Path, daemon: Start, *arguments: str) -> tuple[Daemon, subprocess.Popen[bytes]]:
    """Return a daemon, and a command for which it is making a copy at this moment."""
    shutil.copy(large, "oculus.db")
    process = daemon(QUIET)
    running = begun(*arguments)

    def copying() -> bool:
        # A small file is there before the work is; more than that is rows.
        return any(found.stat().st_size > 100_000 for found in Path("oculus.db.copies").glob("oculus-*"))

    wait_for(copying)
    return process, running


def test_ctrl_c_ends_the_work_in_the_daemon_too(daemon: Start, large: Path) -> None:
    """No file is left, neither at the destination nor with the daemon, which can make the next one."""
    sql = f"select a.symbol, b.value from metrics a, range({10**6}) r, metrics b"  # would take for ever
    process, running = at_work(large, daemon, "export", "--to", "x.csv", "--sql", sql)
    running.send_signal(signal.SIGINT)
    assert running.wait(timeout=20) == 1
    assert errors_of(running) == ""
    wait_for(lambda: beside() == {"oculus.db.sock"})
    assert not Path("x.csv").exists()
    assert command("export", "--to", "y.csv", "--sql", "select 1 as n")[::2] == (0, "")
    assert "Traceback" not in process.log()


def test_a_stop_during_an_export_is_quick(daemon: Start, large: Path) -> None:
    """The daemon ends within 5 s with status 0, the command with one line, and nothing is left."""
    sql = f"select a.symbol, b.value from metrics a, range({10**6}) r, metrics b"
    process, running = at_work(large, daemon, "export", "--to", "x.csv", "--sql", sql)
    started = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - started < 5
    assert running.wait(timeout=20) == 1
    assert errors_of(running) in (
        "oculus: the daemon ended before it had answered\n",
        "oculus: the daemon ended before the copy was whole\n",
        "oculus: the copy was cancelled\n",
    )
    assert not Path("x.csv").exists()
    assert beside() == set()


def test_kill_9_of_the_daemon_during_a_copy_leaves_nothing_for_long(daemon: Start, large: Path) -> None:
    """The command fails with one line; the next start removes what was left, and nothing of anybody else."""
    sql = f"select a.symbol, b.value from metrics a, range({10**6}) r, metrics b"
    process, running = at_work(large, daemon, "export", "--to", "x.csv", "--sql", sql)
    process.kill()
    assert running.wait(timeout=20) == 1
    assert errors_of(running).startswith("oculus: the daemon ended before ")
    assert not list(Path().glob("x.csv*"))
    Path("oculus.db.copies/mine.txt").write_text("not a copy")
    again = daemon(QUIET)
    wait_for(lambda: [path.name for path in Path("oculus.db.copies").iterdir()] == ["mine.txt"])
    assert again.sql("select count(*) from metrics") == [[MANY + 1]]
    assert again.stop() == 0


def test_one_copy_at_a_time(daemon: Start, large: Path) -> None:
    """A second one is told to wait, and the first goes on; the daemon answers queries meanwhile."""
    sql = f"select a.symbol, b.value from metrics a, range({10**6}) r, metrics b"
    process, running = at_work(large, daemon, "export", "--to", "x.csv", "--sql", sql)
    assert command("backup", "b.db") == (
        1,
        "",
        "oculus: another backup or export is under way; try again when it is done\n",
    )
    assert process.sql("select 1") == [[1]]
    assert running.poll() is None
    running.kill()
    running.wait()
    wait_for(lambda: beside() == {"oculus.db.sock"})


@pytest.fixture
def small_disk() -> Iterator[Callable[[str, str], None]]:
    """Mount small file systems in memory; they are gone at the end."""
    mounted: list[str] = []

    def mount(path: str, size: str) -> None:
        Path(path).mkdir(exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True, timeout=20
        )
        if done.returncode:
            pytest.skip("mounting is not permitted here")
        mounted.append(path)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], timeout=20)


def test_a_copy_never_fills_the_disk(
    daemon: Start, large: Path, small_disk: Callable[[str, str], None]
) -> None:
    """A backup that will not fit is refused, an export that grows too large is given up; samples go on."""
    shutil.copy(large, "oculus.db")
    small_disk("oculus.db.copies", "24m")
    process = daemon(QUIET)
    status, _, err = command("backup", "b.db")
    assert status == 1
    assert err.startswith(
        "oculus: there is not enough room beside the database: 26 MB are free, and the copy needs"
    )
    status, _, err = command("export", "--to", "x.csv")
    assert status == 1
    assert "there is not enough room beside the database" in err
    assert err.count("\n") == 1
    assert not list(Path().glob("[bx].*"))
    wait_for(lambda: not list(Path("oculus.db.copies").iterdir()))
    push(process, ("custom.after", 1.0))
    assert process.stop() == 0


def test_a_destination_that_fills_up_has_nothing_in_part(
    large: Path, small_disk: Callable[[str, str], None]
) -> None:
    """The copy is taken away again, and the line says why."""
    shutil.copy(large, "oculus.db")
    small_disk("stick", "1m")
    assert command("backup", "stick/b.db") == (
        1,
        "",
        "oculus: stick/b.db cannot be written: No space left on device\n",
    )
    assert list(Path("stick").iterdir()) == []
    assert beside() == set()


# -- export -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "file"])
def test_an_export_has_all_rows(daemon: Start, *, running: bool) -> None:
    """More than the thousand of a query: all of `metrics`, or all that a statement gives."""
    fill("oculus.db", 5000)
    if running:
        daemon(LOCKED)
    assert command("export", "--to", "all.parquet")[::2] == (0, "")
    with duckdb.connect() as connection:
        found = connection.execute("select count(*), count(distinct value) from 'all.parquet'").fetchall()
        assert found == [(5001, 5001)]
        used = connection.execute(
            "select distinct compression from parquet_metadata('all.parquet')"
        ).fetchall()
        assert used == [("ZSTD",)]
    sql = "select symbol, value, null as x from metrics where symbol like 'custom.s%' -- no first\n ; -- end"
    assert command("export", "--to", "some.csv", "--sql", "-", stdin=sql)[::2] == (0, "")
    header, *rows = list(csv.reader(io.StringIO(Path("some.csv").read_text())))
    assert header == ["symbol", "value", "x"]
    assert len(rows) == 5000
    assert stat.S_IMODE(Path("some.csv").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "sql",
    [
        "drop table metrics",
        "select 1; select 2",
        "copy metrics to 'x.csv'",
        "select * from read_text('/etc/passwd')",
        "select * from nothing",
        "select 1) to 'x.csv' (format csv); --",
        "",
    ],
)
def test_an_export_takes_only_what_reads(sql: str) -> None:
    """The wall is the same as that of /api/query."""
    fill("oculus.db", 10)
    before = Path("oculus.db").read_bytes()
    status, out, err = command("export", "--to", "y.csv", "--sql", sql)
    assert (status, out) == (1, "")
    assert err.startswith("oculus: ")
    assert Path("oculus.db").read_bytes() == before
    assert {path.name for path in Path().iterdir()} == {"oculus.db"}


def on_terminal(*arguments: str) -> tuple[int, str]:
    """Run a command whose standard error is a terminal; return exit status and what it drew there."""
    ours, theirs = pty.openpty()
    drawn: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                drawn.append(data)
        except OSError:  # the other end is closed
            pass

    running = subprocess.Popen(
        [*CHECKOUT, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(Path.cwd())},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    reader = gevent.get_hub().threadpool.spawn(read)
    status = int(running.wait(timeout=120))
    reader.get(timeout=20)
    os.close(ours)
    return status, b"".join(drawn).decode()


@pytest.mark.parametrize("running", [True, False], ids=["daemon", "file"])
def test_a_terminal_shows_how_far_it_is(daemon: Start, large: Path, *, running: bool) -> None:
    """A bar with the part that is done, which only grows, and which is taken away at the end."""
    shutil.copy(large, "oculus.db")
    if running:
        daemon(QUIET)
    status, drawn = on_terminal("export", "--to", "x.csv")
    assert status == 0
    parts = [int(text.rpartition(" ")[2]) for text in drawn.split("%")[:-1]]
    assert parts == sorted(parts)
    assert parts[-1] > 10
    assert drawn.endswith("\r\x1b[K")


# -- compact ----------------------------------------------------------------------------------------------


def test_compact_makes_the_file_smaller_and_keeps_every_row(large: Path) -> None:
    """Ordered by shard, symbol and time; the same rows; both sizes told; permissions and links stay."""
    shutil.copy(large, "real.db")
    Path("real.db").chmod(0o640)
    Path("oculus.db").symlink_to("real.db")
    with duckdb.connect("real.db") as connection:  # leaves room within the file
        later = 1_780_000_000_000_000 + MANY // 2 * 1000
        connection.execute("delete from metrics where ts >= make_timestamptz($1)", [later])
    before = Path("real.db").stat().st_size
    content = "select count(*), bit_xor(hash(ts, category, symbol, value, tags)) from metrics"
    rows = rows_of("oculus.db", content)
    status, out, err = command("compact")
    assert (status, err) == (0, "")
    assert out.startswith("oculus.db: ")
    assert Path("oculus.db").is_symlink()
    assert stat.S_IMODE(Path("real.db").stat().st_mode) == 0o640
    assert Path("real.db").stat().st_size < before
    assert rows_of("oculus.db", content) == rows
    order = "select {'a': shard, 'b': symbol, 'c': ts} as place, lag(place) over (order by rowid) as before"
    assert rows_of("oculus.db", f"select count(*) from ({order} from metrics) where before > place") == [(0,)]
    assert {path.name for path in Path().iterdir()} == {"oculus.db", "real.db"}
    with Storage("oculus.db") as store:
        store.write([Sample("custom.after", 1.0)])
        found = "select count(*) from metrics where symbol = 'custom.s7' and shard = shard_of('custom.s7')"
        assert store.query(found).rows == [[MANY // 200]]


def test_compact_beside_a_daemon_is_refused(daemon: Start) -> None:
    """The line says what the daemon does by itself, and what to do."""
    daemon(QUIET)
    told = (
        "oculus: a daemon has oculus.db open; it compacts the file by itself as it runs, and a full rewrite"
        " needs it stopped (stop it, and run this again)\n"
    )
    assert command("compact") == (1, "", told)


def test_compact_without_room_is_refused(large: Path, small_disk: Callable[[str, str], None]) -> None:
    """Before anything is written."""
    small_disk("disk", "64m")
    shutil.copy(large, "disk/o.db")
    status, _, err = command("compact", "--db", "disk/o.db")
    assert status == 1
    assert err.startswith("oculus: there is not enough room to rewrite ")
    assert err.count("\n") == 1
    assert [path.name for path in Path("disk").iterdir()] == ["o.db"]


def test_kill_9_during_compact_leaves_the_old_file_or_the_new_one(large: Path) -> None:
    """At whatever moment: every row is there, and the next run or start removes the rest."""
    shutil.copy(large, "oculus.db")
    content = "select count(*), bit_xor(hash(ts, category, symbol, value, tags)) from metrics"
    rows = rows_of("oculus.db", content)
    old = Path("oculus.db").stat().st_ino
    started = time.monotonic()
    assert command("compact")[0] == 0
    whole = time.monotonic() - started
    assert Path("oculus.db").stat().st_ino != old
    for part in (0.3, 0.6, 0.8, 0.95):
        running = begun("compact")
        gevent.sleep(part * whole)
        running.kill()
        running.wait()
        assert rows_of("oculus.db", content) == rows
        assert not Path("oculus.db.wal").exists()
    assert command("compact")[0] == 0
    assert beside() == set()
    assert rows_of("oculus.db", content) == rows
