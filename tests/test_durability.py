"""The daemon when its disk fails it: full, read-only, gone, damaged; and when it is killed.

What must hold each time: it answers, it says why it stores nothing, it keeps what it is given up to its
bounds, and once it can, it stores all of that in order and once. `tests/bench/kill.py` has the kills.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.bench.kill import run as kill_often
from tests.support import exposition
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

Start = Callable[..., Daemon]

CONFIG = """
database: {path: $DISK/oculus.db, flush: 50ms, checkpoint: 64KB}
collectors: [{type: self, interval: 200ms}]
log: {file: $DISK/oculus.log}
"""

NO_SAMPLES = "the database takes no samples"
AGAIN = "the database takes samples again"
NO_FOLD = "log cannot go into its file"
FOLD_AGAIN = "log goes into its file again"


class Numbers:
    """Pushes samples that count up."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.sent = 0

    def push(self, count: int = 500) -> None:
        """Push the next ones; fails unless they are accepted."""
        body = [{"symbol": "custom.n", "value": n} for n in range(self.sent, self.sent + count)]
        answer = self.daemon.post("/api/push", json=body)
        assert answer.status_code == 202, answer.text
        self.sent += count

    def push_until(self, what: Callable[[], Any]) -> Any:
        """Push more and more until `what()` is true; return its value."""

        def pushed() -> Any:
            self.push()
            return what()

        return wait_for(pushed, 20)

    def check(self) -> None:
        """Fail unless all are stored, each once and in order."""
        wait_for(
            lambda: self.daemon.sql("select count(*) from metrics where symbol = 'custom.n'") >= [[self.sent]]
        )
        ((count, wrong),) = self.daemon.sql(
            """select count(*), count(*) filter (value != place - 1) from
            (select value, row_number() over (order by rowid) as place
            from metrics where symbol = 'custom.n')"""
        )
        assert (count, wrong) == (self.sent, 0)


def not_ready(daemon: Daemon) -> str:
    """Return why the daemon is not ready, or an empty text."""
    answer = daemon.get("/readyz")
    return "" if answer.status_code == 200 else str(answer.json()["error"]["message"])


def counted(daemon: Daemon, text: str) -> int:
    """Return how many lines on standard error hold a text."""
    return sum(text in line for line in daemon.log().splitlines())


def told(daemon: Daemon, text: str) -> int:
    """Return how many stored events hold a text."""
    ((count,),) = daemon.sql("select count(*) from events where contains(message, $text)", text=text)
    return int(count)


def figures(daemon: Daemon) -> dict[str, float]:
    """Return the samples of /metrics by name."""
    families = exposition.parse(daemon.get("/metrics").text)
    return {
        name: value
        for family in families.values()
        for (name, labels), value in family.samples.items()
        if not labels
    }


def answers(daemon: Daemon, last: float) -> None:
    """Fail unless pages and the API answer as ever."""
    assert daemon.get("/", headers={"Accept": "text/html"}).status_code == 200
    assert daemon.get("/healthz").status_code == 200
    latest = daemon.latest("custom.n")
    assert latest is not None
    assert latest["value"] >= last
    assert daemon.sql("select 42") == [[42]]


class Outage:
    """A disk in `folder` that can be made to take nothing more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, daemon: Daemon) -> None:
        """Let it take nothing from now on."""
        raise NotImplementedError

    def end(self, daemon: Daemon) -> None:
        """Let it take everything again."""
        raise NotImplementedError


class FullDisk(Outage):
    """A file system that something else fills."""

    def begin(self, daemon: Daemon) -> None:
        with (self.folder / "ballast").open("ab", buffering=0) as ballast, suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def end(self, daemon: Daemon) -> None:
        (self.folder / "ballast").unlink()


class FileLimit(Outage):
    """A limit on the size of files, which needs no privilege."""

    def begin(self, daemon: Daemon) -> None:
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))

    def end(self, daemon: Daemon) -> None:
        both = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, both)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with a few megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(params=[FullDisk, FileLimit])
def outage(request: pytest.FixtureRequest, tmp_path: Path) -> Outage:
    """Each way in which a disk takes nothing more."""
    if request.param is FullDisk:
        return FullDisk(request.getfixturevalue("small_disk"))
    (tmp_path / "disk").mkdir()
    return FileLimit(tmp_path / "disk")


def test_a_full_disk_loses_nothing_and_is_told_once(daemon: Start, outage: Outage) -> None:
    """The daemon answers throughout, says why it is not ready, and stores everything once there is space."""
    oculus = daemon(CONFIG.replace("$DISK", str(outage.folder)))
    numbers = Numbers(oculus)
    numbers.push()
    numbers.check()
    outage.begin(oculus)
    reason = numbers.push_until(lambda: not_ready(oculus))
    assert "takes no samples" in reason
    assert "No space left" in reason or "File too large" in reason
    stuck_at = oculus.latest("custom.n")
    assert stuck_at is not None
    for _ in range(10):
        numbers.push()
        answers(oculus, 499)
    assert oculus.latest("custom.n") == stuck_at
    assert figures(oculus)["oculus_queue_samples"] >= 5000
    assert figures(oculus)["oculus_hub_lateness_p99_seconds"] < 0.1
    assert counted(oculus, NO_SAMPLES) == 1
    outage.end(oculus)
    wait_for(lambda: not not_ready(oculus))
    numbers.check()
    wait_for(lambda: told(oculus, AGAIN))
    assert (counted(oculus, NO_SAMPLES), counted(oculus, AGAIN)) == (1, 1)
    assert (told(oculus, NO_SAMPLES), told(oculus, AGAIN)) == (1, 1)
    ids = oculus.sql("select count(*), count(distinct id), max(id) from events")[0]
    assert ids[0] == ids[1] == ids[2]
    assert figures(oculus)["oculus_worker_restarts_total"] == 0
    assert oculus.stop() == 0
    again = daemon(CONFIG.replace("$DISK", str(outage.folder)), port=oculus.port)
    numbers.daemon = again
    numbers.check()


def test_a_stop_on_a_full_disk_says_what_is_lost(daemon: Start, outage: Outage) -> None:
    """Exit status 1 within five seconds and one line with the number; what was committed is there."""
    config = CONFIG.replace("$DISK", str(outage.folder))
    oculus = daemon(config)
    numbers = Numbers(oculus)
    numbers.push()
    numbers.check()
    stored = numbers.sent
    outage.begin(oculus)
    numbers.push_until(lambda: not_ready(oculus))
    asked = time.monotonic()
    assert oculus.stop() == 1
    assert time.monotonic() - asked < 5
    assert "samples that the database did not take" in oculus.log().splitlines()[-1]
    with suppress(FileNotFoundError):
        (outage.folder / "ballast").unlink()
    again = daemon(config, port=oculus.port)
    ((count, most),) = again.sql("select count(*), max(value) + 1 from metrics where symbol = 'custom.n'")
    assert stored <= count == most <= numbers.sent


def test_space_that_returns_during_a_stop_is_used(daemon: Start, outage: Outage) -> None:
    """The last moments of a stop are tries in short steps, whatever the pause had grown to."""
    config = CONFIG.replace("$DISK", str(outage.folder))
    oculus = daemon(config)
    numbers = Numbers(oculus)
    numbers.push()
    numbers.check()
    outage.begin(oculus)
    numbers.push_until(lambda: not_ready(oculus))
    gevent.sleep(2)
    oculus.signal(signal.SIGTERM)
    gevent.sleep(0.5)
    outage.end(oculus)
    assert oculus.process.wait(timeout=10) == 0
    numbers.daemon = daemon(config, port=oculus.port)
    numbers.check()


def test_a_checkpoint_that_fails_stops_no_writing(daemon: Start, tmp_path: Path) -> None:
    """The log takes the samples, whatever happens to the file; nothing is doubled, and it is told once."""
    config = CONFIG.replace("$DISK", str(tmp_path))
    oculus = daemon(config)
    numbers = Numbers(oculus)
    numbers.push_until(lambda: oculus.database.stat().st_size > 10**6)
    numbers.check()
    limit = oculus.database.stat().st_size
    resource.prlimit(oculus.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    readers = [
        gevent.spawn(lambda: [oculus.json("/api/metrics/custom.n") for _ in range(50)]) for _ in range(2)
    ]
    numbers.push_until(lambda: counted(oculus, NO_FOLD))
    for _ in range(5):
        numbers.push()
        assert not not_ready(oculus)
        answers(oculus, 0)
    gevent.joinall(readers, raise_error=True)
    numbers.check()
    wait_for(lambda: told(oculus, NO_FOLD))
    numbers.push_until(lambda: not_ready(oculus))  # at last the log is full too
    FileLimit(tmp_path).end(oculus)
    wait_for(lambda: not not_ready(oculus))
    numbers.check()
    assert counted(oculus, NO_FOLD) == told(oculus, NO_FOLD) == 1
    oculus.process.kill()
    oculus.process.wait()
    numbers.daemon = daemon(config, port=oculus.port)
    numbers.check()
    assert numbers.daemon.stop() == 0
    assert "Traceback" not in oculus.log()


def test_past_its_bound_the_oldest_go(daemon: Start, tmp_path: Path) -> None:
    """The newest are kept, and what went is counted with its reason; pushes are refused instead."""
    config = "database: {flush: 50ms, queue: 1000}\ncollectors: [{type: self, interval: 100ms}]\n"
    oculus = daemon(config)
    numbers = Numbers(oculus)
    FileLimit(tmp_path).begin(oculus)
    wait_for(lambda: not_ready(oculus))

    def full() -> bool:
        body = [{"symbol": "custom.n", "value": 0}] * 100
        return bool(oculus.post("/api/push", json=body).status_code == 503)

    wait_for(full)
    assert oculus.post("/api/push", json=[{"symbol": "custom.n", "value": 0}] * 1001).status_code == 413

    def dropped() -> float:
        family = exposition.parse(oculus.get("/metrics").text)["oculus_samples_dropped_total"]
        return family.samples["oculus_samples_dropped_total", (("reason", "queue_full"),)]

    wait_for(dropped, 30)
    FileLimit(tmp_path).end(oculus)
    wait_for(lambda: not not_ready(oculus))
    numbers.push(10)
    assert oculus.stop() == 0


def test_a_folder_that_is_deleted_is_noticed(daemon: Start, tmp_path: Path) -> None:
    """Files without a name would lose what is written; it is kept, and goes on when the folder is back."""
    folder = tmp_path / "disk"
    folder.mkdir()
    oculus = daemon(CONFIG.replace("$DISK", str(folder)).replace("log:", "#"))
    numbers = Numbers(oculus)
    numbers.push()
    numbers.check()
    shutil.rmtree(folder)
    assert "removed or replaced" in wait_for(lambda: not_ready(oculus))
    gevent.sleep(1)
    answers_without_store = oculus.get("/", headers={"Accept": "text/html"})
    assert answers_without_store.status_code == 200
    before = numbers.sent
    numbers.push()
    folder.mkdir()
    wait_for(lambda: not not_ready(oculus))
    wait_for(
        lambda: (
            oculus.sql("select count(*), min(value) from metrics where symbol = 'custom.n'")
            == [[500, before]]
        )
    )
    assert (told(oculus, NO_SAMPLES), told(oculus, AGAIN)) == (1, 1)
    assert oculus.stop() == 0
    assert "Traceback" not in oculus.log()


# -- damage ----------------------------------------------------------------------------------------------


def damage(path: Path, place: float) -> None:
    """Overwrite some bytes of a file, at a share of its length."""
    with path.open("r+b") as file:
        file.seek(int(path.stat().st_size * place))
        file.write(random.Random(1).randbytes(3000))


def many_samples(daemon: Start, tmp_path: Path) -> None:
    """Leave a database with enough samples for data blocks of its own."""
    oculus = daemon("database: {flush: 50ms}\n")
    generator = random.Random(2)
    for _ in range(12):
        body = [{"symbol": f"custom.s{n % 50}", "value": generator.random()} for n in range(10_000)]
        assert oculus.post("/api/push", json=body).status_code == 202
    assert oculus.stop() == 0


def test_damage_met_while_running_is_told_once(daemon: Start, tmp_path: Path) -> None:
    """Reads of a damaged part fail with a clear answer, all else goes on; `--recover` begins a new file."""
    many_samples(daemon, tmp_path)
    path = tmp_path / "oculus.db"
    damage(path, 0.5)
    before = path.read_bytes()
    oculus = daemon("database: {flush: 50ms}\n")
    for _ in range(3):
        answer = oculus.post("/api/query", json={"sql": "select sum(value) from metrics"})
        assert answer.status_code != 500
        assert "Corrupt" in answer.text
    line = oculus.wait_log("is damaged")
    assert "CRITICAL" in line
    assert "--recover" in line
    numbers = Numbers(oculus)
    numbers.push()
    wait_for(lambda: (oculus.latest("custom.n") or {}).get("value") == 499)
    assert not not_ready(oculus)
    assert counted(oculus, "is damaged") == 1
    assert figures(oculus)["oculus_database_damaged"] == 1
    oculus.process.kill()
    oculus.process.wait()
    assert len(before) <= path.stat().st_size

    again = daemon("database: {flush: 50ms}\n", "--recover")
    line = again.wait_log("a new database is begun")
    (aside,) = [found for found in tmp_path.glob("oculus.db.broken-*") if not found.name.endswith(".wal")]
    assert str(aside.name) in line
    assert again.sql("select count(*) from metrics where symbol != 'custom.n'") == [[0]]
    wait_for(lambda: told(again, "a new database is begun") == 1)
    assert "Traceback" not in again.log()
    assert again.stop() == 0


def test_a_damaged_file_is_refused_and_recover_sets_it_aside(daemon: Start, tmp_path: Path) -> None:
    """Exit status 1, and one line that names the file and the way out; no byte of it is changed or lost."""
    many_samples(daemon, tmp_path)
    path = tmp_path / "oculus.db"
    os.truncate(path, path.stat().st_size // 2)
    before = path.read_bytes()
    refused = daemon("{}\n", ready=False)
    assert refused.process.wait(timeout=20) == 1
    line = refused.log().splitlines()[-1]
    assert line.startswith("oculus: oculus.db is damaged")
    assert "--recover" in line
    assert path.read_bytes() == before
    recovered = daemon("database: {flush: 50ms}\n", "--recover")
    (aside,) = tmp_path.glob("oculus.db.broken-*")
    assert aside.read_bytes() == before
    Numbers(recovered).push()
    assert recovered.stop() == 0
    # It is whole now, and the flag may stay.
    again = daemon("database: {flush: 50ms}\n", "--recover")
    wait_for(lambda: again.sql("select count(*) from metrics where symbol = 'custom.n'") == [[500]])
    assert len(list(tmp_path.glob("oculus.db.broken-*"))) == 1
    assert again.stop() == 0


# -- kills -----------------------------------------------------------------------------------------------


def test_kills_under_load_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    """A few rounds of the loop in `tests/bench/kill.py`."""
    print(json.dumps(kill_often(tmp_path, rounds=6, seed=1)))


@pytest.mark.soak
def test_a_hundred_kills_under_load_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    """The whole loop."""
    print(json.dumps(kill_often(tmp_path, rounds=140, seed=2)))
