"""Native threads for what would hold the hub: DuckDB calls go through here and nowhere else.

Name resolution keeps gevent's own pool to itself, so that slow DNS cannot starve the database.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gevent.event import AsyncResult
from gevent.threadpool import ThreadPool

_T = TypeVar("_T")


class NativeThreads:
    """A pool of native threads that greenlets call into; at most `size` calls run at once."""

    def __init__(self, size: int) -> None:
        self._pool = ThreadPool(size)

    def run(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Run `work` in a thread and wait for it in this greenlet; returns or raises what it does."""
        return self.result(self.start(work, *arguments))

    def start(self, work: Callable[..., Any], *arguments: Any) -> AsyncResult:
        """Begin `work` in a thread; give what this returns to `result` to have its outcome."""
        return self._pool.spawn(_guarded, work, arguments)

    def result(self, started: AsyncResult) -> Any:
        """Wait for a started call, and return or raise what it does."""
        value, error = started.get()
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        """Wait for calls that run, and end the threads."""
        self._pool.join()
        self._pool.kill()


def _guarded(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
    # The pool would print the traceback of an error besides handing it over, so none reaches it.
    try:
        return work(*arguments), None
    except BaseException as error:
        return None, error
