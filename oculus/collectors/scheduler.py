"""The scheduler: one greenlet per collector, start to start on the monotonic clock.

- A phase from a hash of the name spreads the starts, so that 1,000 collectors do not fire together and a
  restart does not shift them against each other.
- A tick that comes while the run before it still goes is skipped and counted, never queued.
- What a run measures is stamped with the run's start, or with its turn where the two are nearly the same.
- A run is ended after `longest_run()` seconds whatever it does.
- A run that fails is reported once, and once more when the collector works again.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gevent

from oculus.clock import LAST_TIME, SECOND, iso, now
from oculus.collectors.base import Collector
from oculus.model import Event, Micros, Sample, Tags, is_symbol
from oculus.supervise import Supervisor

# The first run of a collector comes within this time even if its interval is longer: nobody wants to
# wait an hour for the first value. Its later runs keep the hash's phase.
FIRST_WITHIN = 30.0  # seconds

# Most samples of one run; a collector that yields without end is cut off here.
MAX_SAMPLES = 100_000


# A run that starts this little off its turn is stamped with its turn. Where all stamps of a series are an
# interval apart to the microsecond they take no space in the store, else two bytes for each sample.
TOLERANCE = 0.05  # seconds, and at most this part of the interval:
TOLERANCE_SHARE = 0.01


class RunFailed(Exception):
    """A run failed for a reason that the scheduler found: out of time, or a sample that is none."""


@dataclass(slots=True)
class Job:
    """A collector that is being run, and how its runs went."""

    collector: Collector
    runs: int = 0
    failures: int = 0
    skipped: int = 0
    failing: bool = False
    last_error: str = ""
    last_run: Micros | None = None
    last_seconds: float = 0.0
    lateness: float = 0.0  # seconds from the due time to the start of the last run

    @property
    def id(self) -> str:
        """Kind and name of the collector."""
        return self.collector.spec.id


def phase(name: str) -> float:
    """Return a number in [0, 1) that depends on nothing but `name`."""
    return zlib.crc32(name.encode()) / 2**32


def turn(present: Micros, last: Micros | None, interval: float) -> Micros:
    """Return the stamp of a run: `present`, or whole intervals after `last` if that is nearly the same."""
    if last is None or present <= last:
        return present
    step = int(interval * SECOND)
    due = Micros(last + max(1, round((present - last) / step)) * step)
    tolerance = min(TOLERANCE, TOLERANCE_SHARE * interval) * SECOND
    return due if abs(present - due) <= tolerance else present


class Scheduler:
    """Runs collectors and hands their stamped samples to `put`, events to `put_event`."""

    def __init__(
        self,
        supervisor: Supervisor,
        put: Callable[[Sequence[Sample]], None],
        put_event: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._supervisor = supervisor
        self._put = put
        self._put_event = put_event
        self._jobs: dict[str, Job] = {}
        self.intervals: dict[str, float] = {}  # symbol → seconds between its samples

    @property
    def jobs(self) -> list[Job]:
        """All jobs, in the order of their start."""
        return list(self._jobs.values())

    def start(self, collector: Collector) -> None:
        """Begin to run a collector."""
        job = Job(collector)
        self._jobs[job.id] = job
        self._supervisor.spawn(f"collector {job.id}", lambda: self._loop(job))

    def stop(self, *ids: str) -> None:
        """End the named collectors, or all when none is named; what they measured stays queued."""
        going = [self._jobs.pop(id) for id in (ids or tuple(self._jobs))]
        self._supervisor.stop(*(f"collector {job.id}" for job in going))

    def _loop(self, job: Job) -> None:
        interval = job.collector.spec.settings.interval
        share = phase(job.id)
        due = self._monotonic() + share * interval
        if share * interval > FIRST_WITHIN:
            self._sleep_until(self._monotonic() + share * FIRST_WITHIN)
            self._run(job)
        while True:
            self._sleep_until(due)
            job.lateness = self._monotonic() - due
            self._run(job)
            due += interval
            behind = self._monotonic() - due
            if behind > 0:
                missed = math.ceil(behind / interval)
                job.skipped += missed
                due += missed * interval

    def _run(self, job: Job) -> None:
        """Run once; never raises for what the collector did."""
        collector = job.collector
        ts = job.last_run = turn(now(), job.last_run, collector.spec.settings.interval)
        started = self._monotonic()
        samples: list[Sample] = []
        error = ""
        settings = collector.spec.settings
        limit, interval = settings.longest_run(), settings.interval
        with gevent.Timeout(limit) as timer:
            try:
                for sample in collector.collect():
                    samples.append(_stamped(sample, ts, collector.tags))
                    self.intervals[sample.symbol] = interval
                    if len(samples) >= MAX_SAMPLES:
                        raise RunFailed(f"more than {MAX_SAMPLES} samples in one run")
            except gevent.Timeout as fired:
                error = f"not done after {limit:g} s" if fired is timer else f"timed out: {fired}"
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
        job.runs += 1
        job.last_seconds = self._monotonic() - started
        self._put(samples)
        self._note(job, error, ts)

    def _sleep_until(self, due: float) -> None:
        # The hub's timers may fire up to a loop's length early; a second look costs nothing.
        while (left := due - self._monotonic()) > 0:
            self._sleep(left)

    def _note(self, job: Job, error: str, ts: Micros) -> None:
        """Count a run, and report the first failure and the recovery."""
        job.failures += bool(error)
        job.last_error = error or job.last_error
        if bool(error) == job.failing:
            return
        job.failing = bool(error)
        payload = {"collector": job.id, "error": error}
        if error:
            message = f"collector {job.id} failed: {error}"
            self._put_event(Event(ts, job.id, "error", "error", message, payload))
        else:
            message = f"collector {job.id} works again"
            self._put_event(Event(ts, job.id, "system", "info", message, payload | {"at": iso(ts)}))


def _stamped(sample: Sample, ts: Micros, tags: Tags) -> Sample:
    """Return the sample with its time and the collector's tags; raises RunFailed for what is no sample."""
    if not is_symbol(sample.symbol):
        raise RunFailed(f"{sample.symbol!r} is not a symbol")
    value = sample.value
    if not math.isfinite(value):
        raise RunFailed(f"{sample.symbol} is {value}, which is no finite number")
    when = ts if sample.ts is None else sample.ts
    if type(when) is not int or not 0 <= when < LAST_TIME:
        raise RunFailed(f"{sample.symbol} has the time {when!r}, which is not microseconds since 1970")
    if not sample.tags:
        return Sample(sample.symbol, float(value), when, tags)
    merged = Tags({**tags, **sample.tags})
    if not all(isinstance(text, str) for pair in sample.tags.items() for text in pair):
        raise RunFailed(f"{sample.symbol} has a tag that is not a text")
    merged.json.encode()  # half a surrogate pair is refused here, not by the database
    return Sample(sample.symbol, float(value), when, merged)
