"""How the daemon itself fares: looks at its own counters every few seconds, and tells the page of the
system."""

from __future__ import annotations

import os
import platform
import time
from collections import deque
from collections.abc import Iterator

import gevent

from oculus.clock import SECOND, now
from oculus.model import Micros
from oculus.notify.courier import Courier
from oculus.telemetry import Rates, Telemetry, processor_seconds, resident
from oculus.web.system import ChannelState, CollectorState, History, System, WorkerState

EVERY = 5.0  # seconds between two looks
KEPT = 120  # looks: ten minutes

# A greenlet for each of these is told of by what it runs.
_OTHERS = ("collector ", "channel ")


class Vitals:
    """Keeps the last minutes of a few figures, and reads the others from `telemetry` when asked."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._rates = Rates()
        self._lateness: deque[float] = deque(maxlen=KEPT)
        self._samples: deque[float] = deque(maxlen=KEPT)
        self._processor: deque[float] = deque(maxlen=KEPT)
        self._memory: deque[float] = deque(maxlen=KEPT)
        self._queue: deque[float] = deque(maxlen=KEPT)

    def run(self) -> None:
        """Look for ever."""
        while True:
            gevent.sleep(EVERY)
            self.look()

    def look(self) -> None:
        """Take the figures of this moment in."""
        told = self._telemetry
        growth = self._rates.per_second(samples=told.writer.rows, processor=processor_seconds())
        self._lateness.append(told.watchdog.take_peak())
        self._samples.append(growth["samples"])
        self._processor.append(growth["processor"])
        self._memory.append(float(resident()))
        pipe = told.pipe
        self._queue.append(max(len(pipe) / pipe.max_rows, pipe.bytes / pipe.max_bytes))

    def report(self) -> System:
        """Return everything as it is now."""
        told = self._telemetry
        pipe, writer, watchdog = told.pipe, told.writer, told.watchdog
        lost = pipe.drops | {"refused_by_database": writer.lost, "refused_push": pipe.refused}
        return System(
            python=platform.python_version(),
            process=os.getpid(),
            uptime=time.monotonic() - told.started,
            lateness=(watchdog.quantile(0.5), watchdog.quantile(0.99), watchdog.quantile(1.0)),
            queued=len(pipe) + writer.waiting,
            queue_capacity=pipe.max_rows,
            queue_bytes=pipe.bytes,
            queue_bytes_capacity=pipe.max_bytes,
            high_water=pipe.high_water,
            lost={why: count for why, count in lost.items() if count},
            samples=writer.rows,
            memory=resident(),
            history=History(
                EVERY,
                tuple(self._lateness),
                tuple(self._samples),
                tuple(self._processor),
                tuple(self._memory),
                tuple(self._queue),
            ),
            collectors=self._collectors(),
            workers=tuple(self._workers()),
            channels=tuple(self._channels()),
        )

    def _collectors(self) -> Iterator[CollectorState]:
        wall, monotonic = now(), time.monotonic()
        for job in self._telemetry.scheduler.jobs:
            spec, due = job.collector.spec, job.due
            ahead = due is not None and due > monotonic
            yield CollectorState(
                kind=spec.kind,
                name=spec.name,
                interval=spec.settings.interval,
                last_run=job.last_run,
                next_run=Micros(wall + int((due - monotonic) * SECOND))
                if ahead and due is not None
                else None,
                last_seconds=job.last_seconds,
                runs=job.runs,
                failures=job.failures,
                skipped=job.skipped,
                series=len(job.series) + len(job.before),
                failing=job.failing,
                error=job.last_error,
                word=job.collector.state,
            )

    def _workers(self) -> Iterator[WorkerState]:
        for worker in self._telemetry.supervisor.workers:
            if worker.restarts or not worker.name.startswith(_OTHERS):
                yield WorkerState(worker.name, worker.alive, worker.restarts, worker.last_error)

    def _channels(self) -> Iterator[ChannelState]:
        outbox = self._telemetry.outbox
        yield ChannelState("log", "log", outbox.logged, 0, 0, "", None)
        for name, courier in outbox.couriers.items():
            error, since = (
                (courier.error, courier.failing_since) if isinstance(courier, Courier) else ("", None)
            )
            kind = type(courier.channel).__name__.strip("_").lower()
            yield ChannelState(name, kind, courier.sent, courier.failed, courier.waiting, error, since)
