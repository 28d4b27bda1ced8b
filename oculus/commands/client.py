"""Talking to the running daemon over the socket beside its database."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from oculus import beside
from oculus.errors import OculusError, StartError

# An answer to a query is there after 5 s at most; a copy tells of itself five times a second.
_SILENCE = 30.0  # seconds

Told = Callable[[float | None, int], None]


class Refused(OculusError):
    """The daemon answered with an error."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost")
        connected.settimeout(_SILENCE)
        self.sock = connected


class Client:
    """The daemon that has a database open."""

    def __init__(self, connected: socket.socket) -> None:
        self._http = _Connection(connected)

    @classmethod
    def of(cls, database: str) -> Client | None:
        """Return the daemon of a database file, None when none runs; raises StartError."""
        path = beside.socket_of(database)
        try:
            connected = beside.connect(path)
        except PermissionError:
            told = f"{path}: the daemon runs as another user (run this command as that user)"
            raise StartError(told) from None
        except OSError as error:
            raise StartError(f"{path}: the daemon cannot be reached: {error.strerror or error}") from None
        return None if connected is None else cls(connected)

    def query(self, sql: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of /api/query; raises Refused."""
        return self.call("POST", "/api/query", {"sql": sql, "params": dict(params) or None})

    def call(self, method: str, path: str, body: Any = None, patience: float = _SILENCE) -> dict[str, Any]:
        """Return the JSON that a path of the API answers within `patience` seconds; raises Refused."""
        with _told_plainly():
            self._http.sock.settimeout(patience)
            data = None if body is None else json.dumps(body)
            self._http.request(method, path, data, {"Content-Type": "application/json"})
            answer = json.loads(self._http.getresponse().read())
        _check(answer)
        return dict(answer)

    def damage(self) -> bool:
        """Tell whether the daemon has met a damaged part of the database; raises Refused."""
        with _told_plainly():
            self._http.request("GET", "/metrics")
            text = self._http.getresponse().read().decode(errors="replace")
        return re.search(r"^oculus_database_damaged 1\b", text, re.MULTILINE) is not None

    def copy(self, kind: str, sql: str, told: Told) -> str:
        """Have a copy made; return its name in the folder of copies, where it lasts until `close`.

        `told(part, bytes)` is called while it is made. Raises Refused.
        """
        for line in self._lines(f"/local/{kind}", sql):
            _check(line)
            if "file" in line:
                return str(line["file"])
            told(line["progress"], line["bytes"])
        raise Refused("the daemon ended before the copy was whole")

    def work(self, kind: str, request: Mapping[str, Any], told: Told) -> dict[str, Any]:
        """Have long work done; return what it came to. `told(part, bytes)` is called meanwhile.

        Raises Refused.
        """
        for line in self._lines(f"/local/{kind}", json.dumps(request)):
            _check(line)
            if "result" in line:
                return dict(line["result"])
            told(line["progress"], line["bytes"])
        raise Refused("the daemon ended before it had answered")

    def _lines(self, path: str, body: str) -> Iterator[dict[str, Any]]:
        with _told_plainly():
            self._http.request("POST", path, body.encode())
            answer = self._http.getresponse()
        while True:
            with _told_plainly():
                line = answer.readline()
                if not line:
                    return
                values = json.loads(line)
            yield values

    def close(self) -> None:
        """Hang up: the daemon ends what it was doing for this client."""
        self._http.close()


@contextmanager
def _told_plainly() -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise Refused(f"the daemon has not answered for {_SILENCE:.0f} s") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise Refused("the daemon ended before it had answered") from None


def _check(answer: Mapping[str, Any]) -> None:
    if "error" in answer:
        raise Refused(str(answer["error"]["message"]))
