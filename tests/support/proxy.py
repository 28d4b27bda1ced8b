"""A small HTTP proxy on loopback, which notes what it is asked for."""

from __future__ import annotations

import gevent
from gevent import socket

from tests.support.servers import TcpServer


class Proxy(TcpServer):
    """Takes CONNECT, and requests with a whole URL.

    All of it goes to the port `to` of this machine, whatever host is asked for; without one it is refused.
    """

    def __init__(self, to: int = 0) -> None:
        self.to = to
        self.asked: list[str] = []  # first lines of requests
        super().__init__(self._proxy)
        self.url = f"http://127.0.0.1:{self.port}"

    def _proxy(self, sock: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := sock.recv(65_536)):
                return
            head += piece
        first = head.partition(b"\r\n")[0].decode()
        self.asked.append(first)
        if not self.to:
            sock.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.to)) as target:
            if first.startswith("CONNECT"):
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                target.sendall(head)
            back = gevent.spawn(_pass_on, target, sock)
            _pass_on(sock, target)
            back.kill()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65_536):
            target.sendall(piece)
    except OSError:
        pass
