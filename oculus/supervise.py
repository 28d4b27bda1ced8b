"""Greenlets that are named, restarted when they die, and reported; and the watchdog of the hub.

One `Supervisor` owns every long-lived greenlet of a daemon, so that the status page can list them and a
stop can end them.
"""

from __future__ import annotations

import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent import Greenlet

from oculus.masking import mask

# Delay before a dead greenlet is started again: doubles from the first to the last of these, and starts
# over once the greenlet has lived longer than the last.
RESTART_FIRST = 0.5  # seconds
RESTART_LAST = 30.0  # seconds


@dataclass(slots=True)
class Worker:
    """A supervised greenlet: its name, the greenlet that runs now, and how it fared."""

    name: str
    run: Callable[[], None]
    greenlet: Greenlet[..., None] | None = None
    restarts: int = 0
    last_error: str = ""

    @property
    def alive(self) -> bool:
        """Whether it is running at this moment."""
        return self.greenlet is not None and not self.greenlet.dead

    def join(self, timeout: float) -> bool:
        """Wait until it has finished, at most `timeout` seconds; return whether it has."""
        if self.greenlet is not None:
            self.greenlet.join(timeout)
        return not self.alive


class Supervisor:
    """Starts greenlets and keeps them running until they are stopped.

    `report(worker, traceback)` is called each time one dies with an exception. A `run` that returns has
    finished its work and is not started again.
    """

    def __init__(
        self,
        report: Callable[[Worker, str], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._report = report
        self._monotonic = monotonic
        self._sleep = sleep
        self._workers: dict[str, Worker] = {}

    def spawn(self, name: str, run: Callable[[], None]) -> Worker:
        """Start `run` in a greenlet of its own under `name`, which no other live worker may carry."""
        before = self._workers.get(name)
        if before is not None and before.alive:
            raise ValueError(f"a worker named {name!r} is running already")
        worker = Worker(name, run)
        self._workers[name] = worker
        worker.greenlet = gevent.spawn(self._keep, worker)
        return worker

    def _keep(self, worker: Worker) -> None:
        delay = RESTART_FIRST
        while True:
            started = self._monotonic()
            try:
                worker.run()
            except gevent.GreenletExit:
                return
            except BaseException as error:
                # SystemExit and KeyboardInterrupt too: a plugin that calls sys.exit ends itself, not us.
                worker.restarts += 1
                worker.last_error = mask(f"{type(error).__name__}: {error}")
                self._report(worker, mask(traceback.format_exc()))
            else:
                return
            if self._monotonic() - started > RESTART_LAST:
                delay = RESTART_FIRST
            self._sleep(delay)
            delay = min(delay * 2, RESTART_LAST)

    def stop(self, *names: str, timeout: float = 0.5) -> None:
        """End the named workers and wait for them, at most `timeout` seconds in all."""
        greenlets = []
        for name in names:
            worker = self._workers.pop(name, None)
            if worker is not None and worker.greenlet is not None:
                greenlets.append(worker.greenlet)
        gevent.killall(greenlets, block=False)
        gevent.joinall(greenlets, timeout=timeout)

    @property
    def workers(self) -> list[Worker]:
        """All workers, in the order of their start."""
        return list(self._workers.values())


# Upper bounds of the histogram of hub lateness, as exported at /metrics.
LATENESS_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)  # seconds


class Watchdog:
    """Measures how late the hub runs a greenlet that asked to be woken.

    Lateness of a timer is what every probe and request suffers when something holds the interpreter.
    """

    PERIOD = 0.05  # seconds between two looks: 20 a second cost 0.1 % of a core
    WINDOW = 1200  # looks that quantiles are taken over: one minute

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENESS_BOUNDS) + 1)
        self.total = 0.0
        self._peak = 0.0
        self._recent: deque[float] = deque(maxlen=self.WINDOW)

    def run(self) -> None:
        """Measure for ever."""
        while True:
            due = time.perf_counter() + self.PERIOD
            gevent.sleep(self.PERIOD)
            self.observe(max(0.0, time.perf_counter() - due))

    def observe(self, lateness: float) -> None:
        """Count one measured lateness, in seconds."""
        self.counts[bisect_left(LATENESS_BOUNDS, lateness)] += 1
        self.total += lateness
        self._peak = max(self._peak, lateness)
        self._recent.append(lateness)

    def take_peak(self) -> float:
        """Return the worst lateness since the last call."""
        peak, self._peak = self._peak, 0.0
        return peak

    def quantile(self, q: float) -> float:
        """Return the q-quantile (0–1) of the last minute's lateness in seconds; 0 before the first look."""
        ordered = sorted(self._recent)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0
