"""Native threads: what they return and raise, how many there are, and that the hub goes on."""

from __future__ import annotations

import gc
import time
import weakref
from contextlib import suppress
from threading import get_ident

import gevent
import pytest
from gevent.monkey import get_original

from oculus.threads import NativeThreads
from tests.support.servers import wait_for

block = get_original("time", "sleep")
native_ident = get_original("threading", "get_ident")


def test_outcomes_are_handed_over(capfd: pytest.CaptureFixture[str]) -> None:
    """Values and errors come back to the greenlet that called; nothing is printed."""
    threads = NativeThreads(1)
    assert threads.run(lambda x, y: x + y, 1, 2) == 3
    with pytest.raises(ZeroDivisionError):
        threads.run(lambda: 1 / 0)
    with pytest.raises(SystemExit):
        threads.run(lambda: (_ for _ in ()).throw(SystemExit(3)))
    assert threads.run(lambda: "still works") == "still works"
    threads.close()
    assert capfd.readouterr() == ("", "")


def test_a_failed_call_keeps_nothing() -> None:
    """What it was given is free as soon as its error is dealt with, without the garbage collector."""

    class Body:
        pass

    def fail(body: Body) -> None:
        raise ValueError(body)

    threads = NativeThreads(1)
    gc.disable()
    try:
        body = Body()
        left = weakref.ref(body)
        with suppress(ValueError):
            threads.run(fail, body)
        del body
        wait_for(lambda: left() is None, 5)
    finally:
        gc.enable()
        threads.close()


def test_calls_run_outside_the_hubs_thread() -> None:
    """One thread does all calls of a pool of one."""
    threads = NativeThreads(1)
    idents = {threads.run(native_ident) for _ in range(5)}
    threads.close()
    assert len(idents) == 1
    assert idents != {get_ident()}
    assert idents != {native_ident()}


def test_the_hub_goes_on_while_a_call_blocks() -> None:
    """Greenlets run while a thread sits in a blocking call, and waiting has a time limit."""
    threads = NativeThreads(1)
    call = threads.start(block, 0.4)
    looks = 0
    while not call.wait(0.01):
        looks += 1
    threads.close()
    assert looks >= 5


def test_no_more_calls_run_at_once_than_there_are_threads() -> None:
    """Further calls wait for their turn."""
    threads = NativeThreads(2)
    running: set[int] = set()
    most = 0

    def work(number: int) -> None:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        block(0.05)
        running.discard(number)

    gevent.joinall([gevent.spawn(threads.run, work, number) for number in range(6)], raise_error=True)
    threads.close()
    assert most == 2


def test_closing_waits_for_calls() -> None:
    """A call under way is finished, not cut off."""
    threads = NativeThreads(1)
    done: list[float] = []

    def work() -> None:
        block(0.2)
        done.append(time.monotonic())

    threads.start(work)
    gevent.sleep(0.02)
    threads.close()
    assert len(done) == 1


def test_who_waits_longest_is_next() -> None:
    """A greenlet that calls without end leaves the others their turn."""
    threads = NativeThreads(1)
    order: list[str] = []

    def busy() -> None:
        while len(order) < 50:
            threads.run(order.append, "busy")

    def other() -> None:
        gevent.sleep(0.001)
        threads.run(order.append, "other")

    gevent.joinall([gevent.spawn(busy), gevent.spawn(other)], timeout=10, raise_error=True)
    threads.close()
    assert "other" in order[:-1]


def test_one_that_gives_up_waiting_leaves_its_place() -> None:
    """Killed before its turn, or just as it comes: the thread goes on to the next."""
    threads = NativeThreads(1)
    threads.start(block, 0.05)
    waiting = [gevent.spawn(threads.run, block, 0.0) for _ in range(3)]
    gevent.sleep(0.01)
    waiting[0].kill()
    assert threads.run(lambda: 7) == 7
    gevent.joinall(waiting[1:], raise_error=True)
    turns = threads.start(block, 0.02)
    late = gevent.spawn(threads.run, block, 0.0)
    gevent.sleep(0)
    turns.then(lambda: late.kill(block=False))
    turns.result()
    late.join()
    assert threads.run(lambda: 8) == 8
    threads.close()
