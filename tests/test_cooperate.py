"""Long work in slices: other greenlets get their turn, and nothing of the work changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from oculus.cooperate import SLICE, slices
from tests.support.servers import TcpServer

STEP = SLICE / 4


def busy(items: int) -> Iterator[int]:
    """Yield numbers, each after a moment's work that holds the interpreter."""
    for item in range(items):
        until = time.perf_counter() + STEP
        while time.perf_counter() < until:
            pass
        yield item


def turns_during(work: Iterator[object], pause: float = 0.0) -> int:
    """Return how often another greenlet, which sleeps for `pause`, ran while `work` was consumed."""
    turns = 0
    done = False

    def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            gevent.sleep(pause)

    beside = gevent.spawn(other)
    for _ in work:
        pass
    done = True
    beside.join()
    return turns


@pytest.mark.parametrize("pause", [0.0, 0.001], ids=["ready", "timer"])
def test_other_greenlets_run_between_slices(pause: float) -> None:
    """A hundred slices of work let another one run about as often, one that waits for a timer too."""
    assert turns_during(slices(busy(400)), pause) >= 40
    assert turns_during(busy(400), pause) <= 1


def test_sockets_are_served_between_slices(tcp_server: Callable[..., TcpServer]) -> None:
    """A client that talks to this process gets its answers while the work goes on."""

    def echo(sock: socket.socket) -> None:
        while data := sock.recv(100):
            sock.sendall(data)

    answers = 0
    done = False
    server = tcp_server(echo)

    def client() -> None:
        nonlocal answers
        with socket.create_connection(("127.0.0.1", server.port)) as sock:
            while not done:
                sock.sendall(b"ping")
                answers += len(sock.recv(100)) == 4

    beside = gevent.spawn(client)
    gevent.sleep(0.05)
    answers = 0
    for _ in slices(busy(400)):
        pass
    done = True
    assert answers >= 20
    beside.join()


def test_short_work_does_not_yield() -> None:
    """Work below one slice costs no switch."""
    assert turns_during(slices(iter(range(10)))) <= 1


def test_slices_pass_every_item_on_in_order() -> None:
    """Nothing is lost or doubled at the borders."""
    assert list(slices(busy(50))) == list(range(50))
