"""`oculus doctor`: what a host permits and lacks, on this host and on ones that are made poor for it."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oculus.model import Sample
from oculus.storage import Storage
from tests.support.command import Ended, oculus
from tests.support.daemon import CHECKOUT, Daemon
from tests.support.mounts import run_beside_dead_disk
from tests.support.namespace import run_in_namespace

LOOKS = [
    "program", "clock", "time zones", "memory", "open files", "disk", "temporary files", "database", "routes",
    "name lookup", "ping", "TLS",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def findings(*arguments: str, about: str = "", **options: Any) -> list[dict[str, str]]:
    """Return what the doctor found, or what it found about one thing."""
    ended = oculus("doctor", "--format", "json", *arguments, **options)
    found: list[dict[str, str]] = ended.json()
    assert ended.status == int(any(one["level"] == "fail" for one in found))
    return [one for one in found if about in ("", one["about"])]


def limited(kind: str, value: int) -> tuple[str, ...]:
    """Return what runs the program with a limit of its resources."""
    number = getattr(resource, kind)
    code = (
        f"import os, resource, sys; resource.setrlimit({number}, ({value}, {value}));"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    return (sys.executable, "-c", code, *CHECKOUT)


def test_a_host_is_looked_at_from_all_sides() -> None:
    """A line for each thing, a sum at the end; nothing is made or left behind."""
    ended: Ended = oculus("doctor")
    assert ended.err == ""
    *lines, last = ended.out.splitlines()
    assert all(line.split()[0] in ("ok", "warn", "fail") for line in lines)
    assert " ok, " in last
    assert [one for one in LOOKS if not any(line[6:].startswith(one) for line in lines)] == []
    assert list(Path().iterdir()) == []
    assert findings(about="program")[0]["message"].startswith("Oculus ")


def test_the_configuration_is_looked_at() -> None:
    """What it needs is held against what there is; a mistake in it is a failure."""
    Path("c.yaml").write_text("collectors: [{type: self}]\n")
    (good,) = findings("--config", "c.yaml", about="configuration")
    assert (good["level"], good["message"]) == ("ok", "c.yaml is right, 1 collectors and 0 rules")
    Path("c.yaml").write_text("colectors: []\nx: 1\n")
    (bad,) = findings("--config", "c.yaml", about="configuration")
    assert bad["level"] == "fail"
    assert bad["message"].startswith("c.yaml:1: colectors: unknown key")
    assert bad["message"].endswith(", and 1 more")


def test_too_few_open_files_are_a_failure() -> None:
    """The limit is held against the number of collectors."""
    targets = "".join(
        f"  - {{type: network, probe: tcp, target: '127.0.0.1:{port}'}}\n" for port in range(1, 301)
    )
    Path("c.yaml").write_text(f"collectors:\n{targets}")
    (few,) = findings("--config", "c.yaml", about="open files", program=limited("RLIMIT_NOFILE", 256))
    assert few["level"] == "fail"
    assert few["message"] == "256 may be open at once, and 300 collectors may need 664"
    assert "ulimit -n 4096" in few["advice"]
    (enough,) = findings("--config", "c.yaml", about="open files", program=limited("RLIMIT_NOFILE", 1024))
    assert enough["level"] == "ok"


def test_a_missing_folder_and_a_full_or_volatile_disk_are_told() -> None:
    """Where the database is to be."""
    (missing,) = findings("--db", "no/o.db", about="disk")
    assert missing["level"] == "fail"
    assert "there is no folder " in missing["message"]
    if os.access("/dev/shm", os.W_OK):
        volatile, speed = findings("--db", "/dev/shm/oculus-doctor.db", about="disk")
        assert volatile["level"] == "warn"
        assert "it is in memory" in volatile["message"]
        assert "a write is on the disk after" in speed["message"]


def test_a_full_disk_is_told_as_that(tmp_path: Path) -> None:
    """Not as one of another user's, and wherever the disk is."""
    space, written = run_beside_dead_disk(
        """
        from oculus.commands import host
        from oculus.commands.findings import Needs
        full = mount("tmpfs", "full", "tmpfs", 0, "size=64k")
        open(f"{full}/ballast", "wb", buffering=0).write(bytes(64 * 1024))
        tell(list(host.disk(Needs(f"{full}/o.db", 0, 0, False, (), False))))
        """,
        tmp_path,
    )
    assert space[0] == written[0] == "fail"
    assert "too little to store samples" in space[1]
    assert "cannot be written to: no space left on device" in written[1]
    assert "make room" in written[2]


def test_time_zones_that_come_with_the_program_are_enough() -> None:
    """A small system has none of its own."""
    (zones,) = findings(about="time zones", environ={"PYTHONTZPATH": ""})
    assert zones["level"] == "ok"


def test_a_database_at_rest_is_read() -> None:
    """Size, rows and version of one that nobody has open; not a byte of it is changed."""
    (none,) = findings(about="database")
    assert none["message"] == "there is no oculus.db yet, the first start makes it"
    with Storage("oculus.db") as store:
        store.write([Sample("custom.x", float(number)) for number in range(1_000)])
    before = {path: path.read_bytes() for path in Path().iterdir()}
    (found,) = findings(about="database")
    assert found["level"] == "ok"
    assert "1,000 samples" in found["message"]
    assert found["message"].endswith("no daemon has it open, every row can be read")
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


def test_a_damaged_or_foreign_file_is_a_failure() -> None:
    """It is told, and left as it is."""
    Path("text.db").write_text("mine\n" * 5000)
    (foreign,) = findings("--db", "text.db", about="database")
    assert (foreign["level"], foreign["message"].partition(";")[0]) == (
        "fail",
        "text.db is not a DuckDB database",
    )
    with Storage("oculus.db") as store:
        for _ in range(5):
            store.write([Sample(f"custom.x{number}", number * 1.37) for number in range(20_000)])
    data = bytearray(Path("oculus.db").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 70_000] = os.urandom(70_000)
    Path("oculus.db").write_bytes(data)
    (damaged,) = findings(about="database")
    assert damaged["level"] == "fail"
    assert "damaged" in damaged["message"]
    assert Path("oculus.db").read_bytes() == data


def test_it_works_while_the_daemon_runs(daemon: Callable[..., Daemon]) -> None:
    """The daemon is asked about the database; a file that another program holds is told as such."""
    running = daemon("collectors: [{type: self, interval: 200ms}]\ndatabase: {flush: 50ms}\n")
    (found,) = findings("--config", "config.yaml", about="database")
    assert found["level"] == "ok"
    assert found["message"].startswith("a daemon has oculus.db open: ")
    assert running.stop() == 0


def test_a_clock_that_went_back_is_a_failure() -> None:
    """What was written in the future tells it, without the network."""
    with Storage("oculus.db"):
        pass
    ahead = time.time() + 3 * 86_400
    os.utime("oculus.db", (ahead, ahead))
    (found,) = findings(about="clock")
    assert found["level"] == "fail"
    assert "the database was written 3.0 days after that" in found["message"]


def test_a_host_without_a_network_is_told() -> None:
    """No route, no name; a name that the configuration needs is a failure, else a thing to look at."""
    told = run_in_namespace("""
        from oculus.commands import network
        from oculus.commands.findings import Needs
        none = Needs("o.db", 64_000_000, 0, False, (), False)
        named = Needs("o.db", 64_000_000, 1, True, ("db.example.com",), True)
        looks = (network.routes, none), (network.names, none), (network.names, named), (network.ping, named)
        tell([list(look(needs)) for look, needs in looks])
    """)
    routes, names, named, ping = told
    assert routes[0][:2] == ["warn", "no route leads out of this host: only what is on it can be reached"]
    assert names[0][0] == "warn"
    assert named[0][0] == "fail"
    assert "db.example.com is not found" in named[0][1]
    assert ping[0][0] in ("ok", "warn")


@pytest.mark.parametrize(
    ("first", "told"),
    [('set_kernel("ipv4/ping_group_range", "0 0")', "by datagram sockets"), ("", "by raw sockets")],
)
def test_how_this_host_pings_is_told(first: str, told: str) -> None:
    """By what the kernel permits; a new namespace permits no datagram sockets."""
    found = run_in_namespace(f"""
        {first}
        from oculus.commands import network
        from oculus.commands.findings import Needs
        tell([*network.ping(Needs("o.db", 64_000_000, 0, True, (), False))])
    """)
    assert found[0][0] == "ok"
    assert found[0][1].startswith(told)
