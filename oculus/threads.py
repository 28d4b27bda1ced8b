"""Native threads for what would hold the hub: DuckDB calls go through here and nowhere else.

Name resolution keeps gevent's own pool to itself, so that slow DNS cannot starve the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from gevent.event import AsyncResult
from gevent.event import Event as Signal
from gevent.threadpool import ThreadPool

_T = TypeVar("_T")


class Call(Generic[_T]):
    """A call that runs in a native thread."""

    def __init__(self, pool: ThreadPool, work: Callable[..., _T], arguments: tuple[Any, ...]) -> None:
        # The pool would print the traceback of an error besides handing it over, so none reaches it.
        self._outcome: AsyncResult[tuple[_T | None, BaseException | None]]
        self._outcome = pool.spawn(_guarded, work, arguments)

    def then(self, do: Callable[[], None]) -> None:
        """Have `do` called in the hub once the call has ended; it must not wait."""
        self._outcome.rawlink(lambda outcome: do())

    def wait(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds; return whether the call has ended."""
        self._outcome.wait(timeout)
        return self._outcome.ready()

    def result(self) -> _T:
        """Wait for the end, and return or raise what the call does."""
        value, error = self._outcome.get()  # type: ignore[misc]
        if error is None:
            return value  # type: ignore[return-value]
        try:
            raise error
        finally:
            # Its traceback leads back to here, and from here to it: all that the call was given would stay
            # until the garbage collector comes.
            del error, self


class NativeThreads:
    """A pool of native threads that greenlets call into; at most `size` calls run at once.

    Calls begin in the order in which they were asked for. gevent's own pool lets a greenlet that calls again
    and again go before one that waits: upkeep would never come to its turn beside a busy writer.
    """

    def __init__(self, size: int) -> None:
        self._pool = ThreadPool(size)
        self._free = size
        self._turns: deque[Signal] = deque()

    def start(self, work: Callable[..., _T], *arguments: Any) -> Call[_T]:
        """Begin `work` in a thread, once there is one."""
        self._wait_for_turn()
        try:
            call = Call(self._pool, work, arguments)
        except BaseException:
            self._pass_on()
            raise
        call.then(self._pass_on)
        return call

    def _wait_for_turn(self) -> None:
        if self._free:
            self._free -= 1
            return
        turn = Signal()
        self._turns.append(turn)
        try:
            turn.wait()
        except BaseException:
            if turn in self._turns:
                self._turns.remove(turn)
            else:  # the thread was handed over just now
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Hand a thread that is free now to who waits for it longest."""
        if self._turns:
            self._turns.popleft().set()
        else:
            self._free += 1

    def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run `work` in a thread and wait for it in this greenlet; returns or raises what it does."""
        return self.start(work, *arguments).result()

    def close(self) -> None:
        """Wait for calls that run, and end the threads."""
        self._pool.join()
        self._pool.kill()


def _guarded(work: Callable[..., _T], arguments: tuple[Any, ...]) -> tuple[_T | None, BaseException | None]:
    try:
        return work(*arguments), None
    except BaseException as error:
        return None, error
