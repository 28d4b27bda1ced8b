"""A web server for the load bench: answers every path, and reports when each was asked for.

Kept small so that the machine's time goes to what is measured. Prints its port, then serves until its
standard input ends; then prints one JSON object: path → arrival times on the monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time

import gevent
from gevent import socket
from gevent.fileobject import FileObject
from gevent.server import StreamServer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def main() -> None:
    """Serve until told to stop."""
    arrivals: dict[str, list[float]] = {}

    def serve(sock: socket.socket, address: tuple[str, int]) -> None:
        arrived = time.monotonic()
        try:
            line = sock.recv(4096).split(b" ", 2)
            if len(line) > 1:
                arrivals.setdefault(line[1].decode(), []).append(arrived)
                sock.sendall(ANSWER)
        except OSError:
            pass

    server = StreamServer(("127.0.0.1", 0), serve, backlog=4096)
    server.start()
    print(server.server_port, flush=True)
    stopped = gevent.spawn(FileObject(sys.stdin.fileno(), "rb").read)
    stopped.join()
    print(json.dumps(arrivals), flush=True)


if __name__ == "__main__":
    main()
