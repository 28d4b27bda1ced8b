"""Probes made from a few settings and run once, and the raw servers that they are pointed at."""

from __future__ import annotations

import socket as plain_socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gevent
from gevent import socket

from oculus.collectors import collector_class
from oculus.collectors.base import Collector, Context
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.model import Sample

# A run takes this long at most, or the probe hangs.
LIMIT = 30.0  # seconds

Serve = Callable[[socket.socket], None]


def probe(kind: str, target: str, context: Context | None = None, **settings: Any) -> Collector:
    """Return a network probe named `t`: `probe("http", url, timeout=1.0)`."""
    cls = collector_class(f"network/{kind}")
    settings = {key: Seconds(value) if key == "timeout" else value for key, value in settings.items()}
    made = cls.Settings(target=target, **settings)  # type: ignore[call-arg]
    return cls(CollectorSpec(f"network/{kind}", "t", made), context or Context())


def run(collector: Collector) -> dict[str, Sample]:
    """Run a collector once; return its samples by the last part of their symbols."""
    with gevent.Timeout(LIMIT, TimeoutError("the probe hangs")):
        samples = list(collector.collect())
    found = {sample.symbol.rpartition(".")[2]: sample for sample in samples}
    assert len(found) == len(samples), "a symbol came twice"
    return found


def values(samples: dict[str, Sample]) -> dict[str, float]:
    """Return the values of samples by the last part of their symbols."""
    return {part: sample.value for part, sample in samples.items()}


def failure(samples: dict[str, Sample]) -> tuple[str, str]:
    """Return phase and error of a failed run; fails unless it is one, with nothing invented."""
    up = samples["up"]
    assert up.value == 0.0
    assert "rtt" not in samples
    assert set(up.tags) == {"error", "phase"}
    assert "\n" not in up.tags["error"]
    return up.tags["phase"], up.tags["error"]


def answer(*pieces: bytes, pause: float = 0.0, hold: bool = False) -> Serve:
    """Serve by reading a request and sending these pieces; `hold` keeps the connection open behind them."""

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        for piece in pieces:
            sock.sendall(piece)
            gevent.sleep(pause)
        if hold:
            sock.recv(1)

    return serve


def forever(start: bytes, repeated: bytes) -> Serve:
    """Serve by sending `start`, and then `repeated` until the client has enough."""

    def serve(sock: socket.socket) -> None:
        read_request(sock)
        sock.sendall(start)
        while True:
            sock.sendall(repeated)
            gevent.sleep(0)

    return serve


def in_turn(*serves: Serve) -> Serve:
    """Serve each connection with the next of these, and those beyond with the last."""
    waiting = list(serves)

    def serve(sock: socket.socket) -> None:
        chosen = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        chosen(sock)

    return serve


def reset(sock: socket.socket) -> None:
    """Serve by reading a request and answering with a TCP reset."""
    read_request(sock)
    sock.setsockopt(plain_socket.SOL_SOCKET, plain_socket.SO_LINGER, struct.pack("ii", 1, 0))


def read_request(sock: socket.socket) -> bytes:
    """Return a request's head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def ok(body: bytes = b"ok", status: str = "200 OK", headers: Iterable[str] = ()) -> bytes:
    """Return a whole answer with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8") + body


def open_files() -> int:
    """Return how many files and sockets this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
