"""query, backup, export and compact: what they do, with the daemon or with the file itself.

Each returns when it is done and raises OculusError with one line when it failed.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from oculus import beside
from oculus.commands import output
from oculus.commands.client import Client
from oculus.commands.delivery import Destination
from oculus.errors import QueryError, StartError

if TYPE_CHECKING:
    from oculus.cli import Arguments
    from oculus.storage.copies import Copy
    from oculus.storage.database import Database

_T = TypeVar("_T")

# A daemon that starts or stops holds the file, and cannot be asked: these are waited for.
_PAUSES = (0.2, 0.4, 0.8)  # seconds

_TICK = 0.1  # seconds between two looks at work of our own


@dataclass(frozen=True, slots=True)
class Store:
    """Which database a command is about, and how it is opened when no daemon has it."""

    path: str
    memory_limit: int
    threads: int


def carry_out(arguments: Arguments) -> None:
    """Do what the command line says; raises OculusError."""
    store = store_of(arguments)
    if arguments.command == "query":
        query(store, _statement(arguments.sql), dict(arguments.param), arguments.format)
    elif arguments.command == "compact":
        compact(store)
    elif arguments.command == "backup":
        copy(store, "backup", "", arguments.destination, force=arguments.force)
    else:
        sql = "" if arguments.sql is None else _statement(arguments.sql)
        kind: Literal["parquet", "csv"] = "csv" if arguments.destination.endswith(".csv") else "parquet"
        copy(store, kind, sql, arguments.destination, force=arguments.force)


def query(store: Store, sql: str, params: Mapping[str, Any], form: Literal["table", "csv", "json"]) -> None:
    """Print the rows of a statement that reads, at most a thousand."""
    answer = either(store, lambda client: client.query(sql, params), lambda: _query(store, sql, params))
    columns = [(column["name"], column["type"]) for column in answer["columns"]]
    rows = answer["rows"]
    if form == "table":
        text = output.table(columns, rows, output.terminal_width())
    else:
        text = output.csv_text(columns, rows) if form == "csv" else output.json_text(columns, rows)
    sys.stdout.reconfigure(newline="", errors="backslashreplace")  # type: ignore[union-attr]
    sys.stdout.write(text)
    sys.stdout.flush()
    if answer["truncated"]:
        print(
            f"oculus: only the first {len(rows)} rows are shown (oculus export writes all of them)",
            file=sys.stderr,
        )


def copy(store: Store, kind: Literal["backup", "parquet", "csv"], sql: str, to: str, *, force: bool) -> None:
    """Write a backup or an export to the file `to`."""
    destination = Destination(to, store.path, force=force)
    started = time.monotonic()
    progress = output.Progress("backup" if kind == "backup" else "export")

    def asked(client: Client) -> int:
        name = client.copy(kind, sql, progress.show)
        progress.clear()
        return destination.take(beside.copies_of(store.path) / name)

    def own() -> int:
        with opened(store) as database:
            made = _make(database, kind, sql, progress)
            try:
                return destination.take(made.path)
            finally:
                made.discard()

    try:
        size = either(store, asked, own)
    finally:
        progress.clear()
    _done(f"{to}: {output.size_text(size)} in {time.monotonic() - started:.1f} s")


def compact(store: Store) -> None:
    """Rewrite the database file, with no daemon running."""
    client = Client.of(store.path)
    if client is not None:
        client.close()
        raise StartError(
            f"a daemon has {store.path} open; it compacts the file by itself as it runs, and a full rewrite"
            " needs it stopped (stop it, and run this again)"
        )
    _must_exist(store)
    from oculus.storage.compact import compact as rewrite

    started = time.monotonic()
    progress = output.Progress("compact")
    try:
        done = rewrite(
            store.path,
            store.memory_limit,
            store.threads,
            lambda rows, total: progress.show(rows / total if total else 1.0, 0),
        )
    finally:
        progress.clear()
    before, after = output.size_text(done.before), output.size_text(done.after)
    _done(f"{store.path}: {before} before, {after} now, {time.monotonic() - started:.1f} s")


def parameter(text: str) -> tuple[str, Any]:
    """Return NAME=VALUE as a name and a value: a number, true, false, null or "text" as JSON has it, else
    the text as it stands. Raises ValueError."""
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise ValueError(f"{text!r} is not NAME=VALUE")
    try:
        found = json.loads(value)
    except ValueError:
        found = value
    return name, value if isinstance(found, list | dict) else found


def store_of(arguments: Arguments) -> Store:
    """Return which database is meant; raises ConfigError."""
    from oculus.config.settings import DatabaseSettings

    database = DatabaseSettings()
    if arguments.config is not None:
        from oculus.config import load
        from oculus.vocabulary import vocabulary  # knows all collectors, which costs 0.1 s

        database = load(arguments.config, vocabulary()).database
    return Store(arguments.db or database.path, database.memory_limit, database.threads)


def _statement(sql: str | None) -> str:
    found = sys.stdin.read() if sql in (None, "-") else str(sql)
    if not found.strip():
        raise QueryError("the statement is empty")
    return found


def either(store: Store, asked: Callable[[Client], _T], own: Callable[[], _T]) -> _T:
    """Return what the running daemon gives, else what the file does that no daemon has open."""
    for pause in (*_PAUSES, None):
        client = Client.of(store.path)
        if client is not None:
            try:
                return asked(client)
            finally:
                client.close()
        _must_exist(store)
        try:
            return own()
        except StartError as error:
            if pause is None or "is in use by" not in str(error):
                raise
            time.sleep(pause)
    raise AssertionError


def _must_exist(store: Store) -> None:
    if not Path(store.path).exists():
        raise StartError(f"there is no database {store.path} (name it with --db or --config)")


def _query(store: Store, sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
    from oculus.storage import Storage

    with Storage(store.path) as opened:
        result = opened.query(sql, params or None)
    columns = [{"name": name, "type": kind} for name, kind in result.columns]
    return {"columns": columns, "rows": result.rows, "truncated": result.truncated}


@contextmanager
def opened(store: Store) -> Iterator[Database]:
    """Open the file, which no daemon has open, for the length of a block."""
    from oculus.storage import copies
    from oculus.storage.database import Database

    database = Database(store.path, store.memory_limit, store.threads)
    try:
        copies.clean(store.path)
        yield database
    finally:
        database.close()


def _make(
    database: Database, kind: Literal["backup", "parquet", "csv"], sql: str, progress: output.Progress
) -> Copy:
    """Make a copy in a thread of its own, so that this one can show how far it is and be interrupted."""
    from oculus.storage.copies import Copy, Wanted

    made = Copy(database, Wanted(kind, sql))
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.run()
        except BaseException as error:  # raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_TICK)
            made.watch()
            progress.show(made.progress(), made.size())
    except BaseException:
        while thread.is_alive():
            made.cancel()
            thread.join(_TICK)
        made.discard()
        raise
    progress.clear()
    if failed:
        raise failed[0]
    return made


def _done(line: str) -> None:
    with suppress(BrokenPipeError):
        print(line)
