"""`Storage` for scripts: in a plain process and in one with gevent's patches, and nothing on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import oculus
from oculus import Event, Sample, Storage
from oculus.clock import now
from oculus.errors import QueryError, StartError, StorageError
from oculus.model import Candle, Micros
from tests.support.process import printed, python

SCRIPT = """
import json, sys
from oculus import Event, Sample, Storage

with Storage(sys.argv[1]) as store:
    store.write(
        [Sample("custom.moon", 0.42, tags={"phase": "waxing"}), Sample("custom.sun", 1.0, 5)],
        [Event(7, "script", "system", "info", "hello")],
    )
    store.write([Sample("custom.moon", 0.43)])
    result = store.query("select symbol, count(*), max(value) from metrics group by 1 order by 1")
    print(json.dumps(result.rows))
    print(store.query("select message from events where id = $id", {"id": 1}).rows[0][0])
"""


@pytest.mark.parametrize("patched", [False, True], ids=["plain", "gevent"])
def test_a_script_writes_and_queries(tmp_path: Path, patched: bool) -> None:
    """The calls block and return; the process ends in silence, and the file is there for the next one."""
    path = tmp_path / "script.db"
    for runs in (1, 2):
        lines = printed(SCRIPT, path, patched=patched).splitlines()
        assert json.loads(lines[0]) == [["custom.moon", 2 * runs, 0.43], ["custom.sun", runs, 1.0]]
        assert lines[1] == "hello"


@pytest.mark.parametrize("patched", [False, True], ids=["plain", "gevent"])
def test_a_script_that_forgets_to_close_ends_in_silence(tmp_path: Path, patched: bool) -> None:
    """Nothing is lost, and nothing printed."""
    path = tmp_path / "script.db"
    code = """
    import sys
    from oculus import Sample, Storage
    store = Storage(sys.argv[1])
    store.write([Sample("custom.x", 1.0)])
    result = store.query("select count(*) from metrics")
    print(result.rows)
    """
    assert printed(code, path, patched=patched) == "[[1]]\n"
    assert printed(code, path, patched=patched) == "[[2]]\n"


def test_a_script_that_fails_keeps_what_it_wrote(tmp_path: Path) -> None:
    """An exception goes through, and the file is closed behind it."""
    path = tmp_path / "script.db"
    code = """
    import sys
    from oculus import Sample, Storage
    with Storage(sys.argv[1]) as store:
        store.write([Sample("custom.x", 1.0)])
        raise SystemExit("on purpose")
    """
    done = python(code, path)
    assert (done.returncode, done.stderr) == (1, "on purpose\n")
    with Storage(str(path)) as store:
        assert store.query("select count(*) from metrics").rows == [[1]]


def test_a_script_is_told_who_has_the_file(tmp_path: Path) -> None:
    """A file that is open elsewhere is refused in one line, which a script may print."""
    path = tmp_path / "held.db"
    code = """
    import sys
    from oculus import Storage
    from oculus.errors import StartError
    try:
        Storage(sys.argv[1])
    except StartError as error:
        print(error)
    """
    with Storage(str(path)):
        told = printed(code, path)
    assert told.startswith(f"{path} is in use by process ")
    assert told.count("\n") == 1


def test_the_library_needs_no_gevent(tmp_path: Path) -> None:
    """A script that only stores does not load the hub, nor a server."""
    code = """
    import sys
    from oculus import Storage
    Storage(sys.argv[1]).close()
    print(sorted(name for name in ("gevent", "bottle", "jinja2", "loguru") if name in sys.modules))
    """
    assert printed(code, tmp_path / "x.db") == "[]\n"


def test_importing_the_package_does_no_work() -> None:
    """Names are loaded when they are used."""
    code = """
    import sys
    import oculus
    print(sorted(name for name in sys.modules if name.startswith(("oculus", "duckdb", "gevent"))))
    """
    assert printed(code) == "['oculus']\n"
    for name in oculus.__all__:
        assert getattr(oculus, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = oculus.nothing


def test_samples_without_a_time_get_the_present(tmp_path: Path) -> None:
    """All of one call the same; a time that is given is kept."""
    with Storage(str(tmp_path / "x.db")) as store:
        before = now()
        store.write([Sample("custom.a", 1.0), Sample("custom.b", 1.0), Sample("custom.c", 1.0, Micros(5))])
        rows = store.query("select epoch_us(ts) from metrics order by symbol").rows
    assert before <= rows[0][0] <= now()
    assert rows[1] == rows[0]
    assert rows[2] == [5]


def test_candles_are_kept(tmp_path: Path) -> None:
    """With a time of their own or without one."""
    candle = Candle(open=1.0, high=3.0, low=0.5)
    with Storage(str(tmp_path / "x.db")) as store:
        store.write(
            [Sample("custom.a", 2.0, candle=candle), Sample("custom.b", 2.0, Micros(5), candle=candle)]
        )
        assert store.query("select open, high, low, value from metrics").rows == [[1.0, 3.0, 0.5, 2.0]] * 2


def test_event_ids_go_on(tmp_path: Path) -> None:
    """Over writes and over processes."""
    event = Event(Micros(1), "s", "system", "info", "m")
    for _ in range(2):
        with Storage(str(tmp_path / "x.db")) as store:
            store.write([], [event, event])
            store.write([], iter([event]))
    with Storage(str(tmp_path / "x.db")) as store:
        assert store.query("select id from events order by id").rows == [[n] for n in range(1, 7)]


def test_a_write_that_fails_writes_nothing(tmp_path: Path) -> None:
    """All of a call is stored, or none of it, and the store stays usable."""
    with Storage(str(tmp_path / "x.db")) as store:
        with pytest.raises(StorageError):
            store.write([Sample("custom.a", 1.0), Sample("custom.b", 1.0, tags={"x": object()})])  # type: ignore[dict-item]
        assert store.query("select count(*) from metrics").rows == [[0]]
        store.write([Sample("custom.a", 1.0)])
        assert store.query("select count(*) from metrics").rows == [[1]]


def test_queries_read_only(tmp_path: Path) -> None:
    """Also in a script: a mistake in a query costs no data. The number of rows is the caller's choice."""
    with Storage(str(tmp_path / "x.db")) as store:
        with pytest.raises(QueryError):
            store.query("drop table metrics")
        assert len(store.query("select * from range(5000)").rows) == 1000
        assert len(store.query("select * from range(5000)", max_rows=5000).rows) == 5000


def test_closing_twice_is_harmless_and_using_it_afterwards_is_an_error(tmp_path: Path) -> None:
    """A closed store says so."""
    store = Storage(str(tmp_path / "x.db"))
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.write([Sample("custom.a", 1.0)])


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """With the line that the daemon shows."""
    path = tmp_path / "notes.txt"
    path.write_text("notes")
    with pytest.raises(StartError, match="is not a DuckDB database"):
        Storage(str(path))
