"""Names what holds the hub: a native thread that looks at the hub's own when that has not turned for seconds.

A call that blocks, or a loop that never yields, stops every greenlet: nothing that runs in the hub can tell
who it is. A thread can, as long as the interpreter is handed over to it now and then; where a C function
keeps even that, the thread tells as soon as the function returns.
"""

from __future__ import annotations

import _thread
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import gevent
from loguru import logger

from oculus.supervise import Supervisor, Worker

# Long enough that no page, no query and no slow disk is told by mistake.
LIMIT = 5.0  # seconds
_LOOK = 1.0  # seconds between two looks

# Frames that are told: the innermost ones, where it stands still.
_FRAMES = 8


class HoldUp:
    """Watches one hub. `report(text)` is called in it once it turns again, with what held it and how long."""

    def __init__(self, report: Callable[[str], None], limit: float = LIMIT) -> None:
        self._report = report
        self._limit = limit
        self._beat = 0
        self._stopped = False

    def start(self) -> None:
        """Begin to watch the hub of this thread."""
        self._loop: Any = gevent.get_hub().loop
        # It beats by a timer of the loop itself: a greenlet of its own would cost as much again.
        self._timer = self._loop.timer(_LOOK, _LOOK)
        self._timer.start(self._turn)
        get_ident, start, sleep = _thread.get_ident, _thread.start_new_thread, time.sleep
        monkey = sys.modules.get("gevent.monkey")
        if monkey is not None:  # patched, they are about greenlets
            get_ident, start = monkey.get_original("_thread", ["get_ident", "start_new_thread"])
            sleep = monkey.get_original("time", "sleep")
        self._hub = get_ident()
        start(self._watch, (sleep,))

    def stop(self) -> None:
        """End the watch; its thread ends within a second."""
        self._stopped = True
        self._timer.stop()
        self._timer.close()

    def _turn(self) -> None:
        self._beat += 1

    def _watch(self, sleep: Callable[[float], None]) -> None:
        """Run in the native thread. Time is counted in looks: it stands still when the whole process does."""
        look = min(_LOOK, self._limit / 2)
        seen, still, culprit = self._beat, 0.0, ""
        while not self._stopped:
            sleep(look)
            if self._beat != seen:
                if culprit:
                    told = f"the hub was held for {still:.0f} s by {culprit}"
                    self._loop.run_callback_threadsafe(self._report, told)
                seen, still, culprit = self._beat, 0.0, ""
                continue
            still += look
            # The timer itself turns once a second only.
            if still >= self._limit + _LOOK and not culprit:
                culprit = self._tell(still)

    def _tell(self, still: float) -> str:
        """Log where the hub's thread is at this moment; return who that is."""
        frame = sys._current_frames().get(self._hub)
        culprit, places = holder(frame)
        told = "the hub is held for {:.0f} s by {}, and nothing else runs: it is in {}"
        logger.error(told, still, culprit, ", called from ".join(places))
        return f"{culprit} in {places[0]}"


def holder(frame: FrameType | None) -> tuple[str, list[str]]:
    """Return the name of the greenlet that a frame belongs to, and its innermost places."""
    places: list[str] = []
    name = "a greenlet without a name"
    while frame is not None:
        code = frame.f_code
        if len(places) < _FRAMES:
            places.append(f"{code.co_filename}:{frame.f_lineno} ({code.co_name})")
        if code is Supervisor._keep.__code__:
            worker = frame.f_locals.get("worker")
            name = worker.name if isinstance(worker, Worker) else name
        frame = frame.f_back
    return name, places or ["a place that cannot be seen"]
