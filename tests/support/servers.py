"""Real servers on loopback, port 0, for what probes and pages talk to."""

from __future__ import annotations

import itertools
import os
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
from gevent import socket
from gevent.pywsgi import WSGIServer
from gevent.server import StreamServer

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def ok(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer 200 with a short text."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok\n"]


class TcpServer:
    """Accepts connections and hands each to `serve(socket)`, over TLS when `context` is given; closes them
    when it returns."""

    def __init__(
        self,
        serve: Callable[[socket.socket], None] | None = None,
        host: str = "127.0.0.1",
        *,
        context: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self._serve = serve
        self.accepted = 0
        options: dict[str, Any] = {} if context is None else {"ssl_context": context}
        self._server = StreamServer((host, port), self._handle, **options)
        self._server.start()
        self.port: int = self._server.server_port or 0

    def _handle(self, sock: socket.socket, address: Any) -> None:
        self.accepted += 1
        try:
            if self._serve is not None:
                self._serve(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def stop(self) -> None:
        """Close the listening socket and all connections."""
        self._server.stop(timeout=0)


class HttpServer:
    """A WSGI application on a real socket, with TLS when `context` is given."""

    def __init__(
        self,
        application: Application = ok,
        *,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        options: dict[str, Any] = {} if context is None else {"ssl_context": context}
        self._server = WSGIServer((host, port), application, log=None, error_log=None, **options)
        self._server.start()
        self.port: int = self._server.server_port or 0
        scheme = "http" if context is None else "https"
        self.url = f"{scheme}://{'[' + host + ']' if ':' in host else host}:{self.port}"

    def stop(self) -> None:
        """Close the listening socket and all connections."""
        self._server.stop(timeout=0)


# Below the kernel's own range (32768 and up on Linux), from which any outgoing connection may get its port
# between the look and the use; each process of tests starts elsewhere, and hands no port out twice.
_FIRST = 10_000 + os.getpid() * 97 % 20_000
_PORTS: Iterator[int] = itertools.cycle([*range(_FIRST, 32_000), *range(10_000, _FIRST)])


def free_port() -> int:
    """Return a port on which nobody listens, and which no outgoing connection gets."""
    for port in itertools.islice(_PORTS, 22_000):
        with socket.socket() as sock:
            try:
                sock.bind(("0.0.0.0", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def wait_for(what: Callable[[], Any], seconds: float = 10.0, every: float = 0.05) -> Any:
    """Return the first true value of `what()`; fails when there is none within `seconds`."""
    with gevent.Timeout(seconds, TimeoutError(f"not within {seconds} s")):
        while not (value := what()):
            gevent.sleep(every)
        return value


@contextmanager
def full_port() -> Iterator[int]:
    """Give a port whose backlog is full: the kernel drops further packets to it, as a firewall does."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            gevent.sleep(0.1)  # until the kernel has counted them
            yield int(address[1])
        finally:
            for filler in fillers:
                filler.close()
