"""The scheduler: one greenlet per collector, start to start on the monotonic clock.

- A phase from a hash of the name spreads the starts, so that 1,000 collectors do not fire together and a
  restart does not shift them against each other. Collectors of one group share a phase and a grid, so that
  one request can serve them; aligned ones run when an interval of the wall clock ends.
- A tick that comes while the run before it still goes is skipped and counted, never queued.
- What a run measures is stamped with the run's start, or with its turn where the two are nearly the same.
- A run is ended after `longest_run()` seconds whatever it does.
- A run that fails is reported once, and once more when the collector works again.
- A collector may ask for its next run at another time than its turn: a closed market rests, a source that
  wants thirty seconds of silence is asked right after them.
- A quote that is seen again is not stored again, but its series counts as confirmed.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gevent
from loguru import logger

from oculus.clock import LAST_TIME, SECOND, iso, now
from oculus.collectors.base import CollectError, Collector
from oculus.collectors.contained import module_of
from oculus.cooperate import slices
from oculus.errors import reason
from oculus.masking import mask
from oculus.model import Event, Micros, Sample, Tags, is_symbol
from oculus.supervise import Supervisor

# The first run of a collector comes within this time even if its interval is longer: nobody wants to
# wait an hour for the first value. Its later runs keep the hash's phase.
FIRST_WITHIN = 30.0  # seconds

# Most samples of one run; a collector that yields without end is cut off here.
MAX_SAMPLES = 100_000

# Most series of one collector: one that makes names up without end would fill pages and memory. Series end
# and others begin (containers come and go), so only those count that it brought lately: in the present span
# of time and the one before it, each of which lasts several intervals at least.
MAX_SERIES = 10_000
_SPAN = 12 * 3600.0  # seconds
_SPAN_INTERVALS = 3

# A run that was ended has this long for its own clean-up; one that catches what ends it is told then.
_TO_END = 1.0  # seconds

# What a collector holds may be given back this long; the stop of the whole program waits for it.
_TO_CLOSE = 0.5  # seconds

# A run is followed by the next no sooner than this, whatever the collector asks for: the hub must turn.
_LEAST_REST = 0.01  # seconds

# An aligned collector runs this long after the interval has ended, for what is still on its way.
GRACE = 0.25  # seconds

# A failure may ask for its next run no sooner than this, unless the interval is shorter.
_LEAST_RETRY = 1.0  # seconds

# A quote that was stamped further ahead than this came from a clock that was wrong, or set back since: the
# next ones need not be newer.
_AHEAD = 1 * SECOND

# Tags that samples of a collector carry besides its own are merged once. As many are kept as its series have
# in two runs, and so many in any case.
_MERGED = 100

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
    due: float | None = None  # when the next run is to start, or the present one was, monotonic
    rest: float | None = None  # seconds to the next run, where it is not the interval that tells
    pace: float = 0.0  # seconds that the last run that went well asked to rest
    told: bool = False  # whether its failure was reported as its own
    series: set[str] = field(default_factory=set)  # that it brought in this span of time
    before: set[str] = field(default_factory=set)  # that it brought in the last one, and not in this one
    span: float = -math.inf  # when this one began, monotonic
    refused: str = ""  # a series too many that the run brought
    merged: dict[Tags, Tags] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Kind and name of the collector."""
        return self.collector.spec.id

    @property
    def every(self) -> float:
        """Seconds from one run that goes well to the next, at most: a failure makes no value fresher."""
        return max(self.collector.spec.settings.interval, self.pace)


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
    """Runs collectors and hands their stamped samples to `put`, events to `put_event`.

    `last(symbol)` gives time and value of a series' last sample, also of a past run of the program;
    `settled()` returns once it can, and collectors of quotes wait for that.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        put: Callable[[Sequence[Sample]], None],
        put_event: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = gevent.sleep,
        last: Callable[[str], tuple[Micros, float] | None] = lambda symbol: None,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._supervisor = supervisor
        self._put = put
        self._put_event = put_event
        self._last = last
        self._settled = settled
        self._jobs: dict[str, Job] = {}
        self._begun: dict[str, float] = {}  # group → when its first collector began, monotonic
        self._quotes: dict[str, tuple[Micros, float] | None] = {}  # symbol → the last quote
        self.origins: dict[str, Job] = {}  # symbol → the collector that brings it
        self.confirmed: dict[str, float] = {}  # symbol → when it was last brought, monotonic

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
        for job in going:
            with gevent.Timeout(_TO_CLOSE) as timer:
                try:
                    job.collector.close()
                except gevent.Timeout as fired:
                    told = f"not done after {_TO_CLOSE:g} s" if fired is timer else f"timed out: {fired}"
                    logger.error("collector {} could not be closed: {}", job.id, told)
                except (Exception, SystemExit) as failure:
                    logger.error("collector {} could not be closed: {}", job.id, reason(failure))
        left = {job.collector.group for job in self._jobs.values()}
        self._begun = {group: begun for group, begun in self._begun.items() if group in left}

    def once(self, collector: Collector) -> Job:
        """Run a collector here and now, and return how that went."""
        job = Job(collector)
        self._run(job)
        return job

    def _loop(self, job: Job) -> None:
        collector, clock = job.collector, self._monotonic
        interval = collector.spec.settings.interval
        if collector.quotes:
            self._settled()
        begun = self._begun.setdefault(collector.group, clock())
        share = phase(collector.group)
        grid = begun + share * interval  # when the next regular run is due
        grid += max(0, math.ceil((clock() - grid) / interval)) * interval
        due = grid
        if collector.aligned or grid - clock() > FIRST_WITHIN:
            due = max(clock(), begun + share * min(interval, FIRST_WITHIN))
        while True:
            job.due = due
            self._sleep_until(due)
            job.lateness = clock() - due
            self._run(job)
            present = clock()
            if collector.aligned:
                grid = present + until_boundary(now(), interval)
            elif due >= grid:
                grid += interval
                missed = max(0, math.ceil((present - grid) / interval))
                job.skipped += missed
                grid += missed * interval
            due = grid
            if job.rest is not None:
                due = present + job.rest
                grid += max(0, math.ceil((due - grid) / interval)) * interval

    def _run(self, job: Job) -> None:
        """Run once; never raises for what the collector did."""
        collector = job.collector
        ts = job.last_run = turn(now(), job.last_run, collector.spec.settings.interval)
        started = self._monotonic()
        samples: list[Sample] = []
        error = ""
        settings = collector.spec.settings
        if started - job.span > max(_SPAN, _SPAN_INTERVALS * job.every):
            self._forget(job, started)
        limit, job.rest, told = settings.longest_run(), None, False
        overdue = f"not done after {limit:g} s"
        stuck = gevent.get_hub().loop.timer(limit + _TO_END)
        stuck.start(gevent.spawn, self._note, job, f"{overdue}, and cannot be ended", ts, False)
        with closing(stuck), gevent.Timeout(limit) as timer:
            try:
                for count, sample in enumerate(slices(collector.collect())):
                    if count >= MAX_SAMPLES:
                        raise RunFailed(f"more than {MAX_SAMPLES} samples in one run")
                    self._take(_stamped(sample, ts, job), job, samples)
                if job.refused:
                    refused, job.refused = job.refused, ""
                    raise RunFailed(f"more than {MAX_SERIES} series; those beyond are left out, as {refused}")
                job.rest, collector.rest = collector.rest, None
                if job.rest is not None:
                    job.rest = max(_LEAST_REST, job.rest)
                job.pace = job.rest or 0.0
            except gevent.Timeout as fired:
                error = overdue if fired is timer else f"timed out: {fired}"
            except CollectError as failure:
                error, job.rest, told = str(failure), failure.retry_in, failure.told
                if job.rest is not None:
                    job.rest = max(job.rest, min(_LEAST_RETRY, settings.interval))
            except RunFailed as failure:
                error = str(failure)
            except (Exception, SystemExit) as failure:
                error = reason(failure, module_of(collector.spec))
            except gevent.GreenletExit:  # ended by a reload or the stop of the program
                self._put(samples)
                raise
        job.runs += 1
        job.last_seconds = self._monotonic() - started
        self._put(samples)
        self._note(job, error, ts, told)

    def _take(self, sample: Sample, job: Job, samples: list[Sample]) -> None:
        """Add a sample to those of a run, unless it is a quote that was seen before."""
        symbol = sample.symbol
        if symbol not in job.series:
            if symbol in job.before:
                job.before.remove(symbol)
            elif len(job.series) + len(job.before) >= MAX_SERIES:
                job.refused = job.refused or symbol
                return
            job.series.add(symbol)
            self.origins[symbol] = job
        if job.collector.quotes:
            quote = (sample.ts or Micros(0), sample.value)
            if symbol not in self._quotes:
                self._quotes[symbol] = self._last(symbol)
            known = self._quotes[symbol]
            self.confirmed[symbol] = self._monotonic()
            if known is not None and (quote == known or quote[0] < known[0] <= now() + _AHEAD):
                return
            self._quotes[symbol] = quote
        samples.append(sample)

    def _forget(self, job: Job, present: float) -> None:
        """Begin another span of time: what a collector did not bring in the last one counts no more."""
        for symbol in job.before:
            if self.origins.get(symbol) is job:
                del self.origins[symbol]
                self.confirmed.pop(symbol, None)
                self._quotes.pop(symbol, None)
        job.before, job.series, job.span = job.series, set(), present

    def _sleep_until(self, due: float) -> None:
        # The hub's timers may fire up to a loop's length early; a second look costs nothing.
        while (left := due - self._monotonic()) > 0:
            self._sleep(left)

    def _note(self, job: Job, error: str, ts: Micros, told: bool) -> None:
        """Count a run, and report the first failure and the recovery, unless the source has told them."""
        error = mask(error)
        job.failures += bool(error)
        job.last_error = error or job.last_error
        job.failing = bool(error)
        if (job.failing and not told) == job.told:
            return
        payload = {"collector": job.id, "error": error}
        if job.failing and not told:
            job.told = True
            message = f"collector {job.id} failed: {error}"
            self._put_event(Event(ts, job.id, "error", "error", message, payload))
        elif not job.failing:
            job.told = False
            message = f"collector {job.id} works again"
            self._put_event(Event(ts, job.id, "system", "info", message, payload | {"at": iso(ts)}))


def until_boundary(present: Micros, interval: float) -> float:
    """Return the seconds until the interval of the wall clock ends, and its last samples have come."""
    step = int(interval * SECOND)
    left = step - (present - int(GRACE * SECOND)) % step
    return left / SECOND


def _stamped(sample: Any, ts: Micros, job: Job) -> Sample:
    """Return the sample with its time and the collector's tags; raises RunFailed for what is no sample."""
    if not isinstance(sample, Sample) or not isinstance(sample.symbol, str):
        raise RunFailed(f"{repr(sample)[:100]} is no sample")
    if not is_symbol(sample.symbol):
        raise RunFailed(f"{sample.symbol!r} is not a symbol")
    value, candle = sample.value, sample.candle
    if not hasattr(value, "__float__") or not math.isfinite(value):
        raise RunFailed(f"{sample.symbol} is {value}, which is no finite number")
    if (
        candle is not None
        and not candle.low <= min(candle.open, value) <= max(candle.open, value) <= candle.high
    ):
        raise RunFailed(f"{sample.symbol} has a candle that is none: {candle} with the close {value}")
    when = ts if sample.ts is None else sample.ts
    if type(when) is not int or not 0 <= when < LAST_TIME:
        raise RunFailed(f"{sample.symbol} has the time {when!r}, which is not microseconds since 1970")
    tags = _merged(sample, job) if sample.tags else job.collector.tags
    return Sample(sample.symbol, float(value), when, tags, candle)


def _merged(sample: Sample, job: Job) -> Tags:
    """Return the collector's tags with the sample's; what carries the same ones shares an instance."""
    given = sample.tags
    known = job.merged.get(given) if isinstance(given, Tags) else None
    if known is not None:
        return known
    if not all(isinstance(text, str) for pair in given.items() for text in pair):
        raise RunFailed(f"{sample.symbol} has a tag that is not a text")
    merged = Tags({**job.collector.tags, **given})
    merged.json.encode()  # half a surrogate pair is refused here, not by the database
    if isinstance(given, Tags):
        if len(job.merged) >= max(_MERGED, 2 * len(job.series)):
            job.merged.clear()
        job.merged[given] = merged
    return merged
