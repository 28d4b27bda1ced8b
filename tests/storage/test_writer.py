"""The writer: batches by count and by time, and nothing lost or doubled when the database fails."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.model import Batch, Event, Micros, Sample
from oculus.pipe import Pipe
from oculus.storage.database import Database
from oculus.storage.writer import Writer
from oculus.supervise import Supervisor, Worker
from tests.support.process import GEVENT, printed, python
from tests.support.servers import wait_for


class Bench:
    """A writer with its pipe, and what it told."""

    def __init__(self, database: Database, **options: Any) -> None:
        self.database = database
        self.pipe = Pipe(1_000_000)
        self.commits: list[Batch] = []
        self.states: list[str] = []
        self.deaths: list[str] = []
        self.listen: Callable[[Batch], None] = self.commits.append
        settings: dict[str, Any] = {"batch": 100, "flush": 0.01} | options
        self.writer = Writer(
            database,
            self.pipe,
            on_commit=self._committed,
            on_state=self.states.append,
            **settings,
        )
        self.supervisor = Supervisor(self._died, sleep=lambda _: gevent.sleep(0))
        self.worker: Worker | None = None

    def _committed(self, batch: Batch) -> None:
        self.listen(batch)

    def _died(self, worker: Worker, trace: str) -> None:
        self.deaths.append(worker.last_error)

    def start(self) -> None:
        """Let it write."""
        self.worker = self.supervisor.spawn("writer", self.writer.run)

    def finish(self) -> None:
        """Drain and end it."""
        self.pipe.close()
        assert self.worker is not None
        assert self.worker.join(20.0)

    def numbers(self) -> list[float]:
        """Return the stored values in the order of the table."""
        rows = self.writer.call(lambda connection: connection.execute("select value from metrics").fetchall())
        return [row[0] for row in rows]


@pytest.fixture
def bench(database: Database) -> Iterator[Callable[..., Bench]]:
    """Make writers; their threads end with the test."""
    made: list[Bench] = []

    def make(**options: Any) -> Bench:
        made.append(Bench(database, **options))
        return made[-1]

    yield make
    for each in made:
        each.supervisor.stop("writer")
        each.writer.close()


Benches = Callable[..., Bench]


def run(count: int, start: int = 0) -> list[Sample]:
    """Return samples whose values count up."""
    return [Sample("custom.x", float(number), Micros(number)) for number in range(start, start + count)]


def event(number: int = 0) -> Event:
    """Return an event."""
    return Event(Micros(number), "test", "system", "info", f"event {number}")


def test_a_full_batch_is_written_at_once(bench: Benches) -> None:
    """As soon as `batch` samples wait, however long `flush` is."""
    made = bench(batch=10, flush=3600.0)
    made.start()
    made.pipe.put(run(9))
    gevent.sleep(0.05)
    assert made.commits == []
    made.pipe.put(run(1, 9))
    wait_for(lambda: made.commits)
    assert made.numbers() == [float(number) for number in range(10)]


def test_a_small_batch_is_written_after_a_while(bench: Benches) -> None:
    """A lone sample waits `flush` seconds, and what came meanwhile goes with it."""
    made = bench(batch=1000, flush=0.2)
    made.start()
    started = time.monotonic()
    made.pipe.put(run(1))
    gevent.sleep(0.05)
    made.pipe.put(run(1, 1))
    wait_for(lambda: made.commits, every=0.005)
    assert time.monotonic() - started >= 0.19
    assert [len(batch.samples) for batch in made.commits] == [2]


def test_everything_is_written_once_and_in_order(bench: Benches) -> None:
    """A thousand runs of all sizes: each sample is stored once, and told to the listener after its commit."""
    made = bench(batch=500, flush=0.001)
    made.start()
    start = 0
    for size in [1, 2, 700, 3, 40] * 40:
        made.pipe.put(run(size, start))
        start += size
        if size == 3:
            gevent.sleep(0.001)
    made.finish()
    assert made.numbers() == [float(number) for number in range(start)]
    assert [sample.value for batch in made.commits for sample in batch.samples] == made.numbers()
    assert made.writer.rows == start
    assert made.writer.commits == len(made.commits)
    assert made.writer.last_commit is not None
    assert made.writer.seconds > 0.0


def test_the_listener_sees_what_is_committed(bench: Benches) -> None:
    """When it is called, the rows are in the database."""
    made = bench()
    seen: list[int] = []
    made.listen = lambda batch: seen.append(len(made.numbers()))
    made.start()
    made.pipe.put(run(3))
    made.finish()
    assert seen == [3]


def test_closing_drains_what_waits(bench: Benches) -> None:
    """A stop writes everything at once, and the writer ends by itself."""
    made = bench(batch=10, flush=3600.0)
    made.start()
    made.pipe.put(run(5))
    gevent.sleep(0.02)
    for start in range(5, 95, 10):
        made.pipe.put(run(10, start))
    made.pipe.put_event(event())
    started = time.monotonic()
    made.finish()
    assert time.monotonic() - started < 10.0
    assert made.numbers() == [float(number) for number in range(95)]
    assert made.deaths == []


def test_event_ids_go_on_where_they_ended(bench: Benches, database: Database) -> None:
    """Ids count up without a gap, over batches and over restarts."""
    for _ in range(2):
        made = bench(flush=0.001)
        made.start()
        for number in range(3):
            made.pipe.put_event(event(number))
            gevent.sleep(0.01)
        made.finish()
    rows = database.connection.execute("select id, message from events order by id").fetchall()
    assert rows == [(number + 1, f"event {number % 3}") for number in range(6)]


def test_calls_run_between_batches(bench: Benches) -> None:
    """Other work on the connection is done by the same thread, and its outcome handed back."""
    made = bench()
    assert made.writer.call(lambda connection, x: x + 1, 41) == 42
    with pytest.raises(ZeroDivisionError):
        made.writer.call(lambda connection: 1 / 0)


# -- failures ------------------------------------------------------------------------------------------


def test_a_batch_that_is_refused_for_good_does_not_stop_the_next(bench: Benches) -> None:
    """What no retry can help is counted as lost and told; the writer goes on."""
    made = bench(batch=1, flush=0.001)
    made.start()
    made.pipe.put([Sample("custom.x", 1.0, "never")])  # type: ignore[arg-type]
    wait_for(lambda: made.writer.lost)
    assert made.writer.error != ""
    made.pipe.put(run(2, 10))
    made.finish()
    assert made.numbers() == [10.0, 11.0]
    assert made.writer.lost == 1
    assert made.writer.error == ""
    assert len(made.states) == 2
    assert "cannot be stored" in made.states[0]
    assert made.states[1] == ""
    assert made.deaths == []


def test_a_value_that_is_none_does_not_stop_the_next(bench: Benches) -> None:
    """Whatever a batch holds, the writer survives it."""
    made = bench(batch=1, flush=0.001)
    made.start()
    made.pipe.put([Sample("custom.x", 1.0, Micros(1), {"a": object()})])  # type: ignore[dict-item]
    wait_for(lambda: made.writer.lost)
    made.pipe.put(run(1))
    made.finish()
    assert made.numbers() == [0.0]
    assert made.deaths == []


def test_a_listener_that_fails_does_not_double_the_batch(bench: Benches) -> None:
    """What is committed is not written again, though the writer died behind it and was started anew."""
    made = bench(batch=1, flush=0.001)
    failures = iter([True, False, True])

    def listen(batch: Batch) -> None:
        if next(failures, False):
            raise RuntimeError("listener")
        made.commits.append(batch)

    made.listen = listen
    made.start()
    for start in range(4):
        made.pipe.put(run(1, start))
        made.pipe.put_event(event(start))
        gevent.sleep(0.02)
    made.finish()
    assert made.numbers() == [0.0, 1.0, 2.0, 3.0]
    assert made.deaths == ["RuntimeError: listener"] * 2
    ids = made.writer.call(
        lambda connection: connection.execute("select id from events order by id").fetchall()
    )
    assert ids == [(1,), (2,), (3,), (4,)]


def test_a_writer_that_is_ended_in_a_retry_goes_on_with_its_batch(bench: Benches) -> None:
    """The batch in hand survives a restart of the greenlet, and is counted as waiting until then."""
    made = bench(batch=1, flush=0.001)
    path = made.database.path
    made.writer.call(lambda connection: connection.close())
    made.database.path = f"{path}.d/missing"  # nor can it be opened anew
    made.start()
    made.pipe.put(run(5))
    wait_for(lambda: made.states)
    assert made.writer.waiting == 5
    made.supervisor.stop("writer")
    made.database.path = path
    assert made.writer.waiting == 5
    made.start()
    made.finish()
    assert made.numbers() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert made.writer.waiting == 0
    assert made.writer.lost == 0


# The disk is full: a limit on the size of files stands for it, in a process of its own.
FULL_DISK = """
import json, resource, sys
import gevent
from oculus.model import Batch, Event, Micros, Sample
from oculus.pipe import Pipe
from oculus.storage import queries
from oculus.storage.database import Database
from oculus.storage.readers import Readers
from oculus.storage.writer import Writer

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def put(count):
    global put_so_far
    pipe.put([Sample("custom.x", n * 1.1, Micros(n)) for n in range(put_so_far, put_so_far + count)])
    put_so_far += count
    gevent.sleep(0.05)

put_so_far = 0
path, checkpoint = sys.argv[1], sys.argv[2] == "checkpoint"
database = Database(path)
readers = Readers(database)
pipe = Pipe(1_000_000)
states, commits = [], []
writer = Writer(
    database, pipe, batch=500, flush=0.01,
    on_commit=lambda batch: commits.append(len(batch.samples)), on_state=states.append,
)
running = gevent.spawn(writer.run)
put(2000)
while writer.rows < 2000:
    gevent.sleep(0.01)
limit(20_000)
if checkpoint:
    def fail(connection):
        try:
            connection.execute("checkpoint")
        except Exception as error:
            return str(error)
    failed = writer.call(fail)
else:
    failed = ""
before = writer.rows
for _ in range(5):
    put(700)
    pipe.put_event(Event(Micros(put_so_far), "s", "system", "info", "while it is full"))
while not states:
    gevent.sleep(0.01)
gevent.sleep(0.5)
stuck = {"waiting": len(pipe) + writer.waiting, "error": bool(writer.error), "lost": writer.lost}
written_while_full = writer.rows - before
limit(resource.RLIM_INFINITY)
put(10)
pipe.close()
running.join(30)
series = readers.run(queries.series, Micros(0))
readers.close()
writer.close()
database.close()
database = Database(path)
stored = database.connection.execute(
    "select count(*), count(distinct ts), min(epoch_us(ts)), max(epoch_us(ts)) from metrics"
).fetchone()
events = database.connection.execute("select count(*), count(distinct id) from events").fetchone()
database.close()
print(json.dumps({
    "failed": failed, "put": put_so_far, "stored": stored, "events": events, "stuck": stuck,
    "states": [bool(state) for state in states], "ended": running.dead, "lost": writer.lost,
    "rows": writer.rows, "commits": sum(commits), "while_full": written_while_full,
    "series": [entry.symbol for entry in series],
}))
"""


@pytest.mark.parametrize("when", ["commit", "checkpoint"])
def test_a_full_disk_loses_and_doubles_nothing(tmp_path: Path, when: str) -> None:
    """While there is no space the samples are kept, and told once; when there is, all of them are written.

    A checkpoint that finds the disk full makes DuckDB give the whole database up: it is opened anew, and
    readers go on with it.
    """
    told = json.loads(printed(GEVENT + FULL_DISK, tmp_path / "oculus.db", when))
    if when == "checkpoint":
        assert "Failed to create checkpoint" in told["failed"]
    assert told["ended"]
    assert told["stuck"]["error"]
    assert told["stuck"]["lost"] == told["lost"] == 0
    assert told["stuck"]["waiting"] == 3500 - told["while_full"] > 0
    assert told["put"] == 2000 + 3500 + 10
    assert told["stored"] == [told["put"], told["put"], 0, told["put"] - 1]
    assert told["rows"] == told["commits"] == told["put"]
    assert told["events"] == [5, 5]
    assert told["states"] == [True, False]
    assert told["series"] == ["custom.x"]


KILLED = """
import os, signal, sys
import gevent
from oculus.model import Micros, Sample
from oculus.pipe import Pipe
from oculus.storage.database import Database
from oculus.storage.writer import Writer

pipe = Pipe(1_000_000)
committed = 0

def on_commit(batch):
    global committed
    committed += len(batch.samples)
    print(committed, flush=True)
    if committed > 5000:
        os.kill(os.getpid(), signal.SIGKILL)

writer = Writer(
    Database(sys.argv[1]), pipe, batch=100, flush=0.001, on_commit=on_commit, on_state=print
)
gevent.spawn(writer.run)
for start in range(0, 100_000, 50):
    pipe.put([Sample("custom.x", 1.0, Micros(n)) for n in range(start, start + 50)])
    gevent.sleep(0)
gevent.sleep(20)
"""


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    """`kill -9` right after a commit: all that was told as committed is there, whole and once."""
    path = tmp_path / "oculus.db"
    done = python(KILLED, path, patched=True)
    assert done.returncode == -9, done.stderr
    committed = int(done.stdout.split()[-1])
    opened = Database(str(path))
    row = opened.connection.execute(
        "select count(*), count(distinct ts), max(epoch_us(ts)) from metrics"
    ).fetchone()
    opened.close()
    assert row is not None
    count, distinct, last = row
    assert count == distinct == last + 1
    assert count >= committed > 5000


# A checkpoint that finds no room, in a process of its own: the file may not grow, the log may.
FULL_CHECKPOINT = """
import json, os, resource, sys
import gevent
from oculus.model import Batch, Event, Micros, Sample
from oculus.pipe import Pipe
from oculus.storage import queries
from oculus.storage.database import Database
from oculus.storage.readers import Readers
from oculus.storage.writer import Writer

def put(count):
    global so_far
    pipe.put([Sample("custom.x", n * 1.1, Micros(n)) for n in range(so_far, so_far + count)])
    so_far += count
    while writer.rows < so_far:
        gevent.sleep(0.005)

so_far = 0
database = Database(sys.argv[1], checkpoint=100_000)
database.connection.execute("insert into oculus_state select range, hash(range) from range(200000)")
database.connection.execute("checkpoint")
readers = Readers(database)
pipe = Pipe(1_000_000)
states, folds, failed_reads, reads = [], [], [], 0
writer = Writer(
    database, pipe, batch=500, flush=0.01,
    on_commit=lambda batch: None, on_state=states.append, on_fold=folds.append,
)
running = gevent.spawn(writer.run)

def read():
    global reads
    while not running.dead:
        try:
            readers.run(queries.events)
            reads += 1
        except Exception as error:
            failed_reads.append(repr(error))
        gevent.sleep(0)

reading = [gevent.spawn(read) for _ in range(3)]
limit = os.path.getsize(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
for _ in range(20):
    put(500)
while not folds:
    put(500)
put(500)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
pipe.close()
running.join(30)
gevent.joinall(reading, timeout=10)
readers.close()
writer.close()
os.kill(os.getpid(), 9) if sys.argv[2] == "kill" else database.close()
"""

_TOLD = """
print(json.dumps({"folds": [bool(f) for f in folds], "states": [bool(s) for s in states], "put": so_far,
    "failed": failed_reads[:3], "reads": reads > 10}), flush=True)
"""


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_checkpoint_on_a_full_disk_doubles_and_stops_nothing(tmp_path: Path, end: str) -> None:
    """Its failure is told once, commits go on, readers meanwhile find what they ask for."""
    path = tmp_path / "oculus.db"
    code = FULL_CHECKPOINT.replace("readers.close()\n", f"readers.close()\n{_TOLD}")
    done = python(code, path, end, patched=True)
    assert done.returncode == (0 if end == "close" else -9), done.stderr
    told = json.loads(done.stdout)
    assert told["folds"] == [True]
    assert told["states"] == []
    assert (told["failed"], told["reads"]) == ([], True)
    opened = Database(str(path))
    row = opened.connection.execute(
        "select count(*), count(distinct ts), max(epoch_us(ts)) from metrics"
    ).fetchone()
    opened.close()
    assert row == (told["put"], told["put"], told["put"] - 1)
