"""Steps in a native thread, of which any may hang: it is left behind, named, and the others go on.

A network file system whose server is gone keeps whoever asks it, for ever, and so may a sensor: neither the
hub nor the rest of a collector's work may wait for that.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import gevent

from oculus.collectors.base import CollectError
from oculus.threads import Call, NativeThreads

_T = TypeVar("_T")
Step = tuple[str, Callable[[], _T]]  # with its name, as a message has it

# Steps of one collector that may hang at once, each of which keeps a thread.
MOST_STUCK = 16


class _Worker(Generic[_T]):
    """Takes steps from a queue that it may share with a successor, until there are none or it is given up."""

    def __init__(self, steps: deque[Step[_T]], results: dict[str, _T], faults: dict[str, str]) -> None:
        self._steps, self._results, self._faults = steps, results, faults
        self.doing = ("", time.monotonic())  # a step's name, and since when
        self.given_up = False

    def work(self) -> None:
        """Do it; runs in a native thread."""
        while self._steps and not self.given_up:
            try:
                name, step = self._steps.popleft()
            except IndexError:  # the other one was quicker
                return
            self.doing = (name, time.monotonic())
            try:
                self._results[name] = step()
            except (OSError, CollectError) as error:
                self._faults[name] = getattr(error, "strerror", None) or str(error)
            except Exception as error:
                self._faults[name] = f"{type(error).__name__}: {error}"


class Steps:
    """Runs steps; a step that did not end is not begun again before it has.

    It keeps one thread, and one more for each step that hangs.
    """

    def __init__(self, patience: float) -> None:
        """`patience` is how long one step may take, in seconds."""
        self._patience = patience
        self._threads = NativeThreads(MOST_STUCK)
        self._stuck: dict[str, Call[None]] = {}

    def run(self, steps: Iterable[Step[_T]]) -> tuple[dict[str, _T], dict[str, str]]:
        """Return what the steps return, by name, and for those that failed or hang, why."""
        self._stuck = {name: call for name, call in self._stuck.items() if not call.wait(0)}
        wanted = list(steps)
        waiting = deque(step for step in wanted if step[0] not in self._stuck)
        results: dict[str, _T] = {}
        faults = dict.fromkeys(self._stuck, "still does not answer")
        while waiting and len(self._stuck) < MOST_STUCK:
            worker = _Worker(waiting, results, faults)
            call = self._threads.start(worker.work)
            hangs = self._wait(worker, call)
            if hangs:
                self._stuck[hangs] = call
                faults[hangs] = f"no answer within {self._patience:g} s"
        faults |= {name: f"not tried, since {len(self._stuck)} others hang" for name, _ in waiting}
        # In the order of the steps, and as it is now: what comes late belongs to no run.
        names = [name for name, _ in wanted]
        found = {name: results[name] for name in names if name in results and name not in faults}
        return found, {name: faults[name] for name in names if name in faults}

    def _wait(self, worker: _Worker[_T], call: Call[None]) -> str:
        """Wait until a worker is done; return the step that takes too long, if one does."""
        while True:
            doing = worker.doing
            left = doing[1] + self._patience - time.monotonic()
            if call.wait(max(0.0, left)):
                return ""
            if left <= 0:
                worker.given_up = True
                if worker.doing is doing:
                    return doing[0]
                # Else it came to its end just now, and goes no further than the next.

    def close(self) -> None:
        """End the threads; those that hang end when what they wait for does."""
        gevent.spawn(self._end, list(self._stuck.values()))

    def _end(self, stuck: list[Call[None]]) -> None:
        for call in stuck:
            call.result()
        self._threads.close()
