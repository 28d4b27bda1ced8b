"""The local socket: the same pages and API without token, host check and rate limit, and what only the
command line may ask for: live copies, and the long work of `work.py`.

A copy is answered as lines of JSON while it is made: `{"progress": 0.4, "bytes": n}`, then
`{"file": name, "bytes": n, "seconds": s}` or `{"error": {…}}`. The file lasts as long as the connection: the
client takes it away and hangs up. A client that hangs up earlier ends the work, and nothing is left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

import gevent
from loguru import logger

from oculus import beside
from oculus.errors import Busy, OculusError
from oculus.storage import copies
from oculus.storage.database import Database
from oculus.web.auth import LOCAL
from oculus.web.problems import problem_of
from oculus.web.server import WebServer, serving
from oculus.web.work import KINDS, LocalWork

TICK = 0.2  # seconds between two lines: also how soon a client that went away is noticed
MAX_REQUEST = 1_000_000  # bytes: above the longest statement

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class LocalServer:
    """Serves the socket beside the database."""

    def __init__(self, web: WebServer, database: Database) -> None:
        """Listen; raises OSError where that cannot be, on a file system without sockets for one."""
        self._path = beside.socket_of(database.path)
        self._application = web.application
        self._work = LocalWork(web.services, database)
        self._copier = web.services.copier
        # No client can set this key: what a header says arrives under HTTP_…
        self._server = serving(beside.listen(self._path), self._answer, {LOCAL: True})
        self._server.start()

    @classmethod
    def open(cls, web: WebServer, database: Database) -> LocalServer | None:
        """Listen, or warn that the command line cannot reach this daemon."""
        try:
            return cls(web, database)
        except OSError as error:
            path = beside.socket_of(database.path)
            logger.warning(
                "no socket at {} ({}): oculus query, backup and export work only while the daemon is stopped",
                path, error.strerror or error,
            )  # fmt: skip
            return None

    def stop(self, timeout: float) -> None:
        """Stop listening and end a copy that is being made; requests have `timeout` seconds to end."""
        self._server.stop(timeout=timeout)
        with suppress(OSError):
            beside.remove(self._path)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        work = environ["PATH_INFO"].removeprefix("/local/")
        if work in KINDS and environ["PATH_INFO"] == f"/local/{work}" and environ["REQUEST_METHOD"] == "POST":
            body = environ["wsgi.input"].read(MAX_REQUEST)
            start_response("200 OK", [("Content-Type", "application/x-ndjson")])
            return self._work.answer(work, body)
        kind = {"/local/backup": "backup", "/local/parquet": "parquet", "/local/csv": "csv"}.get(
            environ["PATH_INFO"]
        )
        if kind is None or environ["REQUEST_METHOD"] != "POST":
            answer: Iterable[bytes] = self._application(environ, start_response)
            return answer
        sql = environ["wsgi.input"].read(MAX_REQUEST).decode("utf-8", "replace")
        start_response("200 OK", [("Content-Type", "application/x-ndjson")])
        return self._copy(copies.Wanted(kind, sql))  # type: ignore[arg-type]

    def _copy(self, wanted: copies.Wanted) -> Iterator[bytes]:
        """Make a copy and yield the lines that tell of it."""
        try:
            self._copier.take_turn()
        except Busy as error:
            yield _failed(error)
            return
        started = time.monotonic()
        copy, call = self._copier.start(wanted)
        try:
            while not call.wait(TICK):
                copy.watch()
                yield _line(progress=copy.progress(), bytes=copy.size())
            call.result()
            seconds = round(time.monotonic() - started, 3)
            logger.info("{} made in {} s, {} bytes", wanted.kind, seconds, copy.size())
            yield _line(file=copy.path.name, bytes=copy.size(), seconds=seconds)
            while True:  # until the client has taken the file, and writing to it fails
                gevent.sleep(TICK)
                yield b"\n"
        except OculusError as error:
            yield _failed(error)
        finally:
            self._copier.end(copy, call)
            self._copier.discard(copy)
            self._copier.pass_on()


def _failed(error: OculusError) -> bytes:
    return _line(**problem_of(error).body())


def _line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"
