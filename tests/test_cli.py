"""The command line as people meet it: real processes, exit statuses, and one clear line for what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pytest
from gevent import socket, subprocess

from oculus import __version__
from oculus.config.builtin import STARTER
from oculus.model import Sample
from oculus.storage import Storage
from oculus.storage.schema import VERSION
from tests.support.command import Ended, oculus
from tests.support.configs import mistakes_of
from tests.support.daemon import ROOT, Daemon

# Root passes permission bits by; a process without these rights is bound by them like any other.
AS_ANYBODY = (
    sys.executable,
    "-c",
    (
        "import ctypes, os, sys\n"
        "PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2\n"
        "for right in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):\n"
        "    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, right, 0, 0, 0)\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    ),
)


def refused(status: int, line: str) -> Ended:
    """Return the end of a start that is refused with one line."""
    return Ended(status, "", f"oculus: {line}\n")


def wrong(line: str) -> Ended:
    """Return the end of a start whose configuration has one mistake: it stands alone, from its place on."""
    return Ended(2, "", f"{line}\n")


def tree() -> dict[str, bytes | None]:
    """Return the content of every file below the working directory, None for a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in Path().rglob("*")}


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- help, version, usage ---------------------------------------------------------------------------------


def test_version_is_told() -> None:
    """`--version` names program and version."""
    assert oculus("--version") == Ended(0, f"oculus {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["run", "--help"], ["check", "-h"], ["init", "--help"]]
)
def test_help_is_told(arguments: list[str]) -> None:
    """Every command explains itself on standard output."""
    ended = oculus(*arguments)
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("usage: oculus")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["--port", "x"], ["check", "--help"]]
)
def test_what_needs_no_daemon_loads_none_of_it(arguments: list[str]) -> None:
    """Help, version and usage errors are answered without the heavy packages."""
    program = (
        "import sys\n"
        f"sys.argv = ['oculus', *{arguments!r}]\n"
        "from oculus.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'gevent', 'duckdb', 'yaml', 'bottle', 'jinja2', 'loguru', 'requests', 'tenacity', 'ssl',"
        " 'oculus.app', 'oculus.config.document', 'asyncio'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60
    )
    assert done.stderr.decode().splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("command", ["init", "check"])
def test_a_configuration_is_handled_without_the_hub_and_the_database(command: str) -> None:
    """Writing and checking one need little of what a running daemon needs."""
    if command == "check":
        Path("c.yaml").write_text(STARTER)
    program = (
        "import sys\n"
        f"sys.argv = ['oculus', '{command}', 'c.yaml']\n"
        "from oculus.__main__ import main\n"
        "status = main()\n"
        "print(status, sorted({'duckdb', 'bottle', 'oculus.app'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60
    )
    assert done.stderr.decode() == "0 []\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["bogus"], "invalid choice: 'bogus'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["--port", "http"], "argument --port: 'http' is not a port (0 to 65535)"),
        (["--port", "65536"], "argument --port: '65536' is not a port (0 to 65535)"),
        (["--port", "-1"], "argument --port: '-1' is not a port (0 to 65535)"),
        (["--log-level", "loud"], "argument --log-level: invalid choice: 'loud'"),
        (["--config"], "argument --config: expected one argument"),
        (["--conf", "x"], "unrecognized arguments: --conf x"),
        (["--db", ""], "argument --db: the path is empty"),
        (["check", "a", "b"], "unrecognized arguments: b"),
        (["c.yaml"], "invalid choice: 'c.yaml'"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], error: str) -> None:
    """Usage and error go to standard error, and the status is 2."""
    ended = oculus(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("usage: oculus")
    assert error in ended.err.splitlines()[-1]
    assert tree() == {}


# -- check --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["check"], ["check", "config.yaml"], ["check", "--config", "config.yaml"]]
)
def test_check_approves_a_right_configuration(arguments: list[str]) -> None:
    """One line on standard output, status 0, and nothing is made."""
    Path("config.yaml").write_text(STARTER)
    before = tree()
    assert oculus(*arguments) == Ended(0, "config.yaml: good, 3 collectors and 1 rules\n", "")
    assert tree() == before


def test_check_tells_warnings_and_approves() -> None:
    """What is accepted though it is likely not what was meant is told, and is no failure."""
    Path("c.yaml").write_text("rules: [{name: a, condition: x > 1, channels: [slack]}]\n")
    assert oculus("check", "c.yaml") == Ended(
        0,
        "c.yaml: good, 0 collectors and 1 rules\n",
        (
            'c.yaml:1: rules[0].channels[0]: the channel "slack" is not configured;'
            " its alerts go to the log (warning)\n"
        ),
    )


def test_check_tells_every_mistake() -> None:
    """Each mistake is a line that begins with its place, and standard output counts them."""
    text = "servr: {}\nserver: {port: x}\ncollectors: [{type: self, interval: 5}]\n"
    mistakes = mistakes_of(text)
    assert len(mistakes) == 3
    assert oculus("check", "c.yaml") == Ended(2, "c.yaml: 3 mistakes\n", "\n".join([*mistakes, ""]))


def test_check_reads_the_environment() -> None:
    """Variables of the shell are those of the daemon to come."""
    Path("c.yaml").write_text("server: {port: '${OCULUS_TEST_PORT}'}\n")
    assert oculus("check", "c.yaml", environ={"OCULUS_TEST_PORT": "80"}).status == 0
    assert oculus("check", "c.yaml").status == 2


def test_check_refuses_what_run_would_refuse() -> None:
    """An open server without a token is told before the daemon is started."""
    Path("c.yaml").write_text("server: {bind: 0.0.0.0}\n")
    ended = oculus("check", "c.yaml")
    assert (ended.status, ended.out) == (2, "c.yaml: 1 mistake\n")
    assert ended.err.startswith("server.bind: 0.0.0.0 lets other hosts connect, and no token is set")


def test_check_of_a_missing_file_is_a_mistake() -> None:
    """Without a name it looks for config.yaml."""
    assert oculus("check") == Ended(2, "config.yaml: 1 mistake\n", "config.yaml: there is no such file\n")


# -- init ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "name"), [(["init"], "config.yaml"), (["init", "mine.yaml"], "mine.yaml")]
)
def test_init_writes_a_configuration_that_check_approves(arguments: list[str], name: str) -> None:
    """A newcomer gets a file that works, and the command to start with."""
    assert oculus(*arguments) == Ended(0, f"{name} is written; start with: oculus --config {name}\n", "")
    assert Path(name).read_text() == STARTER
    assert oculus("check", name).status == 0


@pytest.mark.parametrize("kind", ["file", "empty file", "folder", "dangling link"])
def test_init_overwrites_nothing(kind: str) -> None:
    """What carries the name already stays as it was."""
    path = Path("config.yaml")
    if kind == "folder":
        path.mkdir()
    elif kind == "dangling link":
        path.symlink_to("elsewhere")
    else:
        path.write_text("mine\n" if kind == "file" else "")
    before = tree()
    assert oculus("init") == refused(
        1, "config.yaml is there already, and was left as it is (name another file)"
    )
    assert tree() == before
    assert not Path("elsewhere").exists()


def test_init_in_a_missing_folder_is_refused() -> None:
    """Folders are not made up."""
    assert oculus("init", "no/c.yaml") == refused(1, "no/c.yaml cannot be written: No such file or directory")
    assert tree() == {}


# -- a start that is refused for its configuration: status 2 ------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("server:\n\tport: 1\n", ("c.yaml:2: is not valid YAML: found character that cannot start any token,"
                                 " while scanning for the next token")),
        ("colectors: []\n", 'c.yaml:1: colectors: unknown key (did you mean "collectors"?)'),
        ("collectors:\n  - {type: self, interval: soon}\n",
         "c.yaml:2: collectors[0].interval: 'soon' is not a duration (such as 500ms, 30s, 5m, 1h or 7d)"),
        ("collectors:\n  - {type: self}\n  - {type: self}\n",
         ('c.yaml:3: collectors[1].name: the name "oculus" is taken by collectors[0]'
         " (give one of them another name)")),
        ("rules:\n  - {name: a, condition: x >}\n",
         "c.yaml:2: rules[0].condition: the condition ends too early\n    x >\n       ^"),
        ("server: {token: '${NOT_SET_ANYWHERE}'}\n",
         ("c.yaml:1: server.token: the environment variable NOT_SET_ANYWHERE is not set"
         " (set it, or ${NOT_SET_ANYWHERE:-default})")),
        ("include: more.yaml\n", "c.yaml:1: include: more.yaml: there is no such file"),
        ("server: {bind: 0.0.0.0}\n",
         ("server.bind: 0.0.0.0 lets other hosts connect, and no token is set"
         " (set server.token, or server.insecure: true if that is meant)")),
        ("server: {bind: '::', token: ''}\n",
         ("server.bind: :: lets other hosts connect, and no token is set"
         " (set server.token, or server.insecure: true if that is meant)")),
        ("\xff", "c.yaml:1: is not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_starts_nothing(text: str, line: str) -> None:
    """One line for the mistake, status 2, and no file is made."""
    Path("c.yaml").write_bytes(text.encode("latin-1"))
    before = tree()
    assert oculus("--config", "c.yaml", "--port", "0") == wrong(line)
    assert tree() == before


def test_a_missing_configuration_starts_nothing() -> None:
    """The daemon does not fall back to the built-in configuration."""
    assert oculus("run", "--config", "none.yaml") == wrong("none.yaml: there is no such file")
    assert oculus("--config", ".") == wrong(".: cannot be read: Is a directory")
    assert tree() == {}


def test_the_command_line_cannot_open_the_server_without_a_token() -> None:
    """`--bind` is held to the same rule as the file, the built-in configuration included."""
    line = (
        "server.bind: 0.0.0.0 lets other hosts connect, and no token is set"
        " (set server.token, or server.insecure: true if that is meant)"
    )
    assert oculus("--bind", "0.0.0.0", "--port", "0") == wrong(line)
    assert tree() == {}


def test_several_mistakes_are_several_lines() -> None:
    """Each is told with the program's name before it."""
    mistakes = mistakes_of("a: 1\nb: 2\n")
    assert oculus("--config", "c.yaml") == Ended(2, "", "".join(f"{line}\n" for line in mistakes))


# -- a start that this host does not allow: status 1 ----------------------------------------------------


def start(*arguments: str, prefix: Sequence[str] = ()) -> Ended:
    """Start a daemon without collectors on a free port; it is expected to be refused."""
    Path("c.yaml").write_text("")
    return oculus(
        "--config", "c.yaml", *(() if "--port" in arguments else ("--port", "0")), *arguments, prefix=prefix
    )


ELSEWHERE = "name another file with --db or database.path"


def test_an_occupied_port_is_told() -> None:
    """The line names address and port, and no database is made."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        before = {"c.yaml": b""}
        assert start("--port", str(port)) == refused(
            1,
            f"cannot listen on 127.0.0.1, port {port}: the port is in use by another program"
            " (choose another with --port)",
        )
        assert tree() == before


@pytest.mark.parametrize(
    ("bind", "line"),
    [
        ("192.0.2.1", "cannot listen on 192.0.2.1, port 0: this host has no such address (see server.bind)"),
        ("a..b", "cannot listen on a..b: it is no host name"),
        ("x" * 70, f"cannot listen on {'x' * 70}: it is no host name"),
    ],
)
def test_an_address_of_another_host_is_told(bind: str, line: str) -> None:
    """An address that is not this host's, or none at all, is one line."""
    Path("c.yaml").write_text("server: {insecure: true}\n")
    assert oculus("--config", "c.yaml", "--port", "0", "--bind", bind) == refused(1, line)


@pytest.fixture
def holder() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Hold a database open in another process, until its standard input is closed."""
    running: list[subprocess.Popen[bytes]] = []

    def hold(path: str) -> subprocess.Popen[bytes]:
        program = (
            "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield hold
    for process in running:
        process.kill()
        process.communicate()


def test_a_database_held_by_another_process_is_told(
    holder: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    """The line names the process that holds it."""
    with Storage("o.db"):
        pass
    before = Path("o.db").read_bytes()
    held_by = holder("o.db").pid
    assert start("--db", "o.db") == refused(
        1, f"o.db is in use by process {held_by} (stop it, or {ELSEWHERE})"
    )
    assert Path("o.db").read_bytes() == before


def test_a_second_daemon_on_one_database_is_refused(daemon: Callable[..., Daemon]) -> None:
    """The first one goes on undisturbed."""
    first = daemon("collectors: [{type: self, interval: 1s}]\n")
    path = str(first.database)
    assert start("--db", path) == refused(
        1, f"{path} is in use by process {first.process.pid} (stop it, or {ELSEWHERE})"
    )
    assert first.json("/api/metrics") is not None
    assert first.stop() == 0


@pytest.mark.parametrize(
    "content",
    [
        b"just some text\n",
        b"SQLite format 3\x00" + bytes(4096),
        bytes(range(256)) * 64,
        b"\x00" * 12_288,
        b"12345678DUCK" + b"\xff" * 12_288,
        b"x",
    ],
    ids=["text", "SQLite", "bytes", "zeros", "a wrong version", "one byte"],
)  # fmt: skip
def test_a_file_that_is_no_database_is_left_as_it_is(content: bytes) -> None:
    """Not a byte of somebody else's file is changed, and nothing is laid beside it."""
    Path("o.db").write_bytes(content)
    ended = start("--db", "o.db")
    assert tree() == {"c.yaml": b"", "o.db": content}
    assert (ended.status, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("oculus: o.db ")


def test_a_text_file_is_told_to_be_no_database() -> None:
    """The line says what it is not, and that it was left alone."""
    Path("notes.txt").write_text("mine\n" * 5000)
    assert start("--db", "notes.txt") == refused(
        1,
        "notes.txt is not a DuckDB database; it was left as it is"
        f" ({ELSEWHERE}, or set it aside with --recover)",
    )


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("no/o.db", f"no/o.db cannot be made: there is no folder no (make it, or {ELSEWHERE})"),
        ("c.yaml/o.db", f"c.yaml/o.db cannot be made: there is no folder c.yaml (make it, or {ELSEWHERE})"),
        (".", f". is a folder, not a database file ({ELSEWHERE})"),
        ("folder", f"folder is a folder, not a database file ({ELSEWHERE})"),
    ],
)
def test_a_path_that_cannot_be_a_database_is_told(path: str, line: str) -> None:
    """Missing folders are not made up, and a folder is no file."""
    Path("folder").mkdir()
    assert start("--db", path) == refused(1, line)
    assert tree() == {"c.yaml": b"", "folder": None}


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """Take the right to write away from files and folders; it is given back at the end."""
    changed: list[tuple[Path, int]] = []

    def protect(path: Path) -> None:
        mode = path.stat().st_mode
        changed.append((path, mode))
        path.chmod(mode & ~0o222)

    yield protect
    for path, mode in reversed(changed):
        path.chmod(mode)


def test_a_read_only_folder_is_told(read_only: Callable[[Path], None]) -> None:
    """A database cannot be made where nothing may be written; root is bound by it as well here."""
    Path("place").mkdir()
    read_only(Path("place"))
    assert start("--db", "place/o.db", prefix=AS_ANYBODY) == refused(
        1, f"place/o.db cannot be written: the file or its folder is read-only ({ELSEWHERE})"
    )
    assert tree() == {"c.yaml": b"", "place": None}


def test_a_read_only_database_is_told(read_only: Callable[[Path], None]) -> None:
    """A history that may only be read is no place to write to."""
    with Storage("o.db"):
        pass
    before = Path("o.db").read_bytes()
    read_only(Path("o.db"))
    assert start("--db", "o.db", prefix=AS_ANYBODY) == refused(
        1, f"o.db cannot be written: the file or its folder is read-only ({ELSEWHERE})"
    )
    assert tree() == {"c.yaml": b"", "o.db": before}


def test_init_in_a_read_only_folder_is_told(read_only: Callable[[Path], None]) -> None:
    """The reason is the system's."""
    Path("place").mkdir()
    read_only(Path("place"))
    assert oculus("init", "place/c.yaml", prefix=AS_ANYBODY) == refused(
        1, "place/c.yaml cannot be written: Permission denied"
    )


def test_an_unreadable_configuration_is_told() -> None:
    """A file that may not be read is a mistake of the configuration."""
    Path("c.yaml").write_text("")
    Path("c.yaml").chmod(0)
    assert oculus("--config", "c.yaml", prefix=AS_ANYBODY) == wrong(
        "c.yaml: cannot be read: Permission denied"
    )


def test_a_log_file_that_cannot_be_written_is_told() -> None:
    """The daemon does not run without the log that it was told to keep."""
    Path("c.yaml").write_text("log: {file: .}\n")
    assert oculus("--config", "c.yaml", "--port", "0") == refused(
        1, "the log file . cannot be written: Is a directory"
    )
    assert tree().keys() == {"c.yaml"}


def test_a_database_of_a_newer_version_is_told() -> None:
    """A program that does not know the tables leaves them alone."""
    with Storage("o.db"):
        pass
    with duckdb.connect("o.db") as connection:
        connection.execute("insert into oculus_schema values (?, now())", [VERSION + 1])
    before = Path("o.db").read_bytes()
    assert start("--db", "o.db") == refused(
        1,
        f"o.db was written by a newer Oculus (tables of version {VERSION + 1}, this program knows {VERSION}):"
        " use that version, or name another file with --db",
    )
    assert tree() == {"c.yaml": b"", "o.db": before}


@pytest.mark.parametrize("table", ["metrics", "events"])
def test_a_database_of_another_program_is_left_as_it_is(table: str) -> None:
    """Tables that Oculus did not make are neither used nor changed."""
    with duckdb.connect("o.db") as connection:
        connection.execute(f"create table {table} as select 42 as answer")
    before = Path("o.db").read_bytes()
    assert start("--db", "o.db") == refused(
        1, f"o.db has a table '{table}' of another program (name another file)"
    )
    assert tree() == {"c.yaml": b"", "o.db": before}


def test_a_refused_start_can_be_repeated(
    holder: Callable[[str], subprocess.Popen[bytes]], daemon: Callable[..., Daemon]
) -> None:
    """Once the reason is gone, the same command starts, on the same file."""
    with Storage("oculus.db") as store:
        store.write([Sample("custom.before", 1.0)])
    held = holder("oculus.db")
    first = daemon("collectors: []\n", ready=False)
    assert first.process.wait(timeout=60) == 1
    assert first.log().count("\n") == 1
    held.communicate(b"", timeout=60)
    second = daemon("collectors: []\n")
    assert second.sql("select symbol from metrics") == [["custom.before"]]
    assert second.stop() == 0


# -- a start that works -----------------------------------------------------------------------------------


def test_the_command_line_goes_before_the_file(daemon: Callable[..., Daemon]) -> None:
    """Address, port, database and log of the command line replace those of the file."""
    process = daemon(
        "server: {port: 1}\ndatabase: {path: wrong.db}\nlog: {level: error, format: text}\ncollectors: []\n",
        "--db", "right.db", "--bind", "127.0.0.1", "--log-level", "info", "--log-format", "json",
    )  # fmt: skip
    assert process.stop() == 0
    assert Path("right.db").exists()
    assert not Path("wrong.db").exists()
    records = [json.loads(line) for line in process.log().splitlines()]
    assert records[0]["message"].startswith(f"Oculus {__version__} is at {process.url}, with 0 collectors")
    assert records[-1]["message"] == "Oculus stopped, everything is stored"
