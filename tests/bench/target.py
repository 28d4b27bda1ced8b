"""What the benches probe: a server that answers HTTP at any path and takes TCP connections, and keeps times.

    python -m tests.bench.target            # one pair of ports
    python -m tests.bench.target --pairs 2  # one for each program that is measured

Kept small so that the machine's time goes to what is measured. Prints the ports as one line of JSON, an
HTTP and a TCP port for each pair, then serves until its standard input ends; then prints, for each pair,
target → arrival times on the monotonic clock. A target is a path, or an address out of 127.0.0.0/8.
"""

from __future__ import annotations

import argparse
import json
import resource
import select
import socket
import sys
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"

Arrivals = dict[str, list[float]]


def listen(address: str) -> socket.socket:
    """Return a listener on a free port; on every address of 127.0.0.0/8 when `address` is empty."""
    listener = socket.socket()
    if not address:  # otherwise other hosts could connect as well
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
    listener.bind((address, 0))
    listener.listen(4096)
    listener.setblocking(False)
    return listener


class Server:
    """All listeners and connections on one epoll."""

    def __init__(self, pairs: int) -> None:
        self.arrivals: list[Arrivals] = [{} for _ in range(pairs)]
        self.ports: list[tuple[int, int]] = []
        self._listeners: dict[int, tuple[socket.socket, Arrivals, bool]] = {}
        self._open: dict[int, tuple[socket.socket, Arrivals, float]] = {}
        self._poll = select.epoll()
        for arrivals in self.arrivals:
            http, tcp = listen("127.0.0.1"), listen("")
            self.ports.append((http.getsockname()[1], tcp.getsockname()[1]))
            for listener in (http, tcp):
                self._listeners[listener.fileno()] = (listener, arrivals, listener is http)
                self._poll.register(listener, select.EPOLLIN)

    def run(self) -> None:
        """Serve until standard input ends."""
        self._poll.register(sys.stdin, select.EPOLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number in self._listeners:
                    self._accept(*self._listeners[number])
                elif number in self._open:
                    self._answer(*self._open.pop(number))
                else:
                    return

    def _accept(self, listener: socket.socket, arrivals: Arrivals, is_http: bool) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # no more of them, or one that has gone already
                return
            arrived = time.monotonic()
            if is_http:
                self._open[sock.fileno()] = (sock, arrivals, arrived)
                self._poll.register(sock, select.EPOLLIN)
            else:
                arrivals.setdefault(sock.getsockname()[0], []).append(arrived)
                sock.close()

    def _answer(self, sock: socket.socket, arrivals: Arrivals, arrived: float) -> None:
        try:
            line = sock.recv(4096).split(b" ", 2)
            if len(line) > 1:
                arrivals.setdefault(line[1].decode(), []).append(arrived)
                sock.sendall(ANSWER)
        except OSError:  # the client has gone
            pass
        sock.close()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=1)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = Server(parser.parse_args().pairs)
    print(json.dumps(server.ports), flush=True)
    server.run()
    print(json.dumps(server.arrivals), flush=True)


if __name__ == "__main__":
    main()
