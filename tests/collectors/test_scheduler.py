"""The scheduler: when collectors run, what becomes of their samples, and how their failures are told."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import gevent
import pytest
from gevent.event import Event as Signal

from oculus.clock import SECOND, now
from oculus.collectors.base import CollectError, Collector, Context
from oculus.collectors.scheduler import (
    FIRST_WITHIN,
    MAX_SAMPLES,
    MAX_SERIES,
    Scheduler,
    phase,
    turn,
    until_boundary,
)
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSettings, CollectorSpec
from oculus.model import Candle, Event, Micros, Sample, Tags
from oculus.supervise import Supervisor, Worker
from tests.support.clocks import Clock
from tests.support.servers import wait_for

Collect = Callable[[], Iterable[Sample]]


class Plugged(Collector):
    """A collector that does what a function does."""

    def __init__(self, collect: Collect, name: str, **settings: Any) -> None:
        seconds = {"interval": 1.0, "timeout": 5.0} | settings
        made = CollectorSettings(
            tags={"who": "test"}, interval=Seconds(seconds["interval"]), timeout=Seconds(seconds["timeout"])
        )
        super().__init__(CollectorSpec("test", name, made), Context())
        self._collect = collect

    def collect(self) -> Iterable[Sample]:
        """Do it."""
        return self._collect()


class Bench:
    """A scheduler on a hand-moved clock, and everything that it hands on."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.deaths: list[str] = []
        self.supervisor = Supervisor(self._died, self.clock, self.clock.sleep)
        self.scheduler = Scheduler(
            self.supervisor, self._put, self.events.append, self.clock, self.clock.sleep
        )

    def _put(self, samples: Sequence[Sample]) -> None:
        self.samples += samples

    def _died(self, worker: Worker, trace: str) -> None:
        self.deaths.append(worker.last_error)

    def starts(self, count: int, seconds: float = 0.0, name: str = "c", **settings: Any) -> list[float]:
        """Return when the first `count` runs of a collector start, each taking some seconds."""
        began = self.clock()
        starts: list[float] = []

        def collect() -> Iterator[Sample]:
            starts.append(self.clock() - began)
            if len(starts) >= count:
                gevent.sleep(60)  # held here until the scheduler is stopped
            self.clock.sleep(seconds)
            yield Sample("custom.x", 1.0)

        self.scheduler.start(Plugged(collect, name, **settings))
        wait_for(lambda: len(starts) >= count)
        return starts

    def run(self, collect: Collect, runs: int = 1, **settings: Any) -> None:
        """Let a collector run so many times, and stop it."""
        begun = 0

        def limited() -> Iterable[Sample]:
            nonlocal begun
            begun += 1
            if begun > runs:
                gevent.sleep(60)  # held here until the scheduler is stopped
            return collect()

        self.scheduler.start(Plugged(limited, "c", **settings))
        wait_for(lambda: begun > runs)
        self.scheduler.stop("test/c")


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A scheduler; its collectors end with the test."""
    made = Bench()
    yield made
    made.scheduler.stop()


# -- when ----------------------------------------------------------------------------------------------


def test_phases_spread_over_the_interval() -> None:
    """A thousand collectors do not fire together: no tenth of the interval gets more than its share."""
    tenths = [0] * 10
    for number in range(1000):
        tenths[int(phase(f"network/http/site_{number}") * 10)] += 1
    assert all(60 <= count <= 140 for count in tenths)


def test_a_phase_depends_on_the_name_alone() -> None:
    """The phase is the same after each restart, on every machine."""
    assert phase("network/http/site") == pytest.approx(0.25329, abs=1e-5)


def test_runs_are_an_interval_apart_from_start_to_start(bench: Bench) -> None:
    """What a run takes does not move the next one."""
    starts = bench.starts(5, seconds=0.7, interval=1.0)
    assert starts == pytest.approx([phase("test/c") + count for count in range(5)])
    (job,) = bench.scheduler.jobs
    assert job.skipped == 0
    assert job.lateness == pytest.approx(0.0, abs=1e-6)


def test_ticks_that_a_run_overlaps_are_skipped_and_counted(bench: Bench) -> None:
    """A run of two and a half intervals leaves two ticks out; they are not made up for later."""
    starts = bench.starts(4, seconds=2.5, interval=1.0)
    assert starts == pytest.approx([phase("test/c") + count for count in (0, 3, 6, 9)])
    assert bench.scheduler.jobs[0].skipped == 6


def test_a_single_long_run_is_followed_by_the_usual_rhythm(bench: Bench) -> None:
    """Nothing is queued while a run takes long: no burst follows."""
    starts: list[float] = []

    def collect() -> Iterator[Sample]:
        starts.append(bench.clock())
        bench.clock.sleep(7.2 if len(starts) == 1 else 0.1)
        yield Sample("custom.x", 1.0)

    bench.run(collect, runs=4, interval=1.0)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[:3] == pytest.approx([8.0, 1.0, 1.0])
    assert bench.scheduler.jobs == []


def test_the_first_run_of_a_long_interval_comes_soon(bench: Bench) -> None:
    """Nobody waits an hour for the first value; the later runs keep their phase."""
    share = phase("test/c")
    assert share * 3600 > FIRST_WITHIN
    starts = bench.starts(4, interval=3600.0)
    assert starts[0] <= FIRST_WITHIN
    assert starts == pytest.approx([share * FIRST_WITHIN] + [share * 3600 + 3600 * n for n in range(3)])


def test_a_first_run_that_comes_soon_anyway_is_not_doubled(bench: Bench) -> None:
    """Within the first 30 seconds there is one run of a collector whose phase falls there."""
    starts = bench.starts(2, interval=FIRST_WITHIN)
    assert starts == pytest.approx([phase("test/c") * FIRST_WITHIN, (phase("test/c") + 1) * FIRST_WITHIN])


def test_a_late_start_is_measured(bench: Bench) -> None:
    """`lateness` tells by how much a run missed its time (here: its clock was held up by 0.4 s)."""
    bench.clock.late = 0.4
    starts = bench.starts(2)
    assert starts[0] == pytest.approx(phase("test/c") + 0.4)
    assert bench.scheduler.jobs[0].lateness == pytest.approx(0.4)


def test_a_stopped_collector_does_not_run_again(bench: Bench) -> None:
    """`stop` ends the named collectors and leaves the others."""

    def sampling(symbol: str) -> Collect:
        return lambda: [Sample(symbol, 1.0)]

    bench.scheduler.start(Plugged(sampling("custom.a"), "a"))
    bench.scheduler.start(Plugged(sampling("custom.b"), "b"))
    wait_for(lambda: {sample.symbol for sample in bench.samples} == {"custom.a", "custom.b"})
    bench.scheduler.stop("test/a")
    bench.samples.clear()
    wait_for(lambda: len(bench.samples) > 20)
    assert {sample.symbol for sample in bench.samples} == {"custom.b"}
    assert [job.id for job in bench.scheduler.jobs] == ["test/b"]
    bench.scheduler.stop()
    bench.samples.clear()
    gevent.sleep(0.01)
    assert bench.samples == []


def test_a_stopped_collector_can_be_started_again(bench: Bench) -> None:
    """A reload stops a changed collector and starts its successor under the same name."""
    for symbol in ("custom.old", "custom.new"):
        bench.run(lambda symbol=symbol: [Sample(symbol, 1.0)])  # type: ignore[misc]
    assert {"custom.old", "custom.new"} == {sample.symbol for sample in bench.samples}


# -- what is handed on ---------------------------------------------------------------------------------


def test_samples_get_the_time_of_the_run_and_the_collectors_tags(bench: Bench) -> None:
    """All samples of a run share one time; a sample's own time and tags go before."""
    before = now()
    bench.run(
        lambda: [
            Sample("custom.a", 1),
            Sample("custom.b", 2.5, tags={"who": "me", "more": "yes"}),
            Sample("custom.c", True, ts=Micros(12345)),
        ]
    )
    first, second, third = bench.samples[:3]
    assert first.ts is not None
    assert before <= first.ts <= now()
    assert second.ts == first.ts
    assert third.ts == 12345
    assert first.tags == {"who": "test", "source": "test"}
    assert second.tags == {"who": "me", "source": "test", "more": "yes"}
    assert [(type(sample.value), sample.value) for sample in bench.samples[:3]] == [
        (float, 1.0), (float, 2.5), (float, 1.0),
    ]  # fmt: skip


def test_samples_without_tags_share_the_collectors(bench: Bench) -> None:
    """One set of tags serves all samples of a collector: their JSON is made once."""
    bench.run(lambda: [Sample("custom.a", 1.0), Sample("custom.b", 2.0)])
    assert bench.samples[0].tags is bench.samples[1].tags


def test_the_interval_of_each_symbol_is_known(bench: Bench) -> None:
    """Rules and pages ask how often a series comes, to tell when it is stale."""
    bench.run(lambda: [Sample("custom.a", 1.0)], interval=7.0)
    assert {symbol: job.every for symbol, job in bench.scheduler.origins.items()} == {"custom.a": 7.0}


# -- failures ------------------------------------------------------------------------------------------


def a_sample_and_then(fail: Callable[[], Any]) -> Collect:
    """Return a collector's work that yields a sample, and then does something that fails."""

    def collect() -> Iterator[Sample]:
        yield Sample("custom.good", 1.0)
        yield fail()

    return collect


def divide() -> float:
    """Raise as a bug does."""
    return 1 / 0


@pytest.mark.parametrize(
    ("fail", "told"),
    [
        (divide, "ZeroDivisionError: division by zero"),
        (lambda: 5, "5 is no sample"),
        (lambda: None, "None is no sample"),
        (lambda: ("custom.x", 1.0), "('custom.x', 1.0) is no sample"),
        (lambda: Sample("Custom X", 1.0), "failed: 'Custom X' is not a symbol"),
        (lambda: Sample("", 1.0), "failed: '' is not a symbol"),
        (lambda: Sample("custom..x", 1.0), "failed: 'custom..x' is not a symbol"),
        (lambda: Sample("custom.x\n", 1.0), "failed: 'custom.x\\n' is not a symbol"),
        (lambda: Sample("x" * 500, 1.0), "is not a symbol"),
        (lambda: Sample(None, 1.0), "Sample(symbol=None"),  # type: ignore[arg-type]
        (lambda: Sample(["x"], 1.0), "Sample(symbol=['x']"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", math.nan), "failed: custom.x is nan, which is no finite number"),
        (lambda: Sample("custom.x", -math.inf), "failed: custom.x is -inf, which is no finite number"),
        (lambda: Sample("custom.x", 10**400), "OverflowError"),
        (lambda: Sample("custom.x", "1"), "is 1, which is no finite number"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", None), "is None, which is no finite number"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", 1.0, ts="now"), "custom.x has the time 'now'"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", 1.0, ts=1.5), "custom.x has the time 1.5"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", 1.0, ts=Micros(-1)), "custom.x has the time -1"),
        (lambda: Sample("custom.x", 1.0, ts=Micros(2**62)), "custom.x has the time 4611686018427387904"),
        (lambda: Sample("custom.x", 1.0, tags={"a": 1}), "has a tag that is not a text"),  # type: ignore[dict-item]
        (lambda: Sample("custom.x", 1.0, tags={1: "a"}), "has a tag that is not a text"),  # type: ignore[dict-item]
        (lambda: Sample("custom.x", 1.0, tags=5), "AttributeError"),  # type: ignore[arg-type]
        (lambda: Sample("custom.x", 1.0, tags={"a": "\ud800"}), "UnicodeEncodeError"),
    ],
)
def test_rubbish_fails_the_run_and_keeps_what_came_before(
    bench: Bench, fail: Callable[[], Any], told: str
) -> None:
    """Whatever a collector raises or yields: good samples before it are kept, none of it goes on to the
    store, the failure is told once, and the schedule goes on."""
    bench.run(a_sample_and_then(fail), runs=3)
    assert [sample.symbol for sample in bench.samples] == ["custom.good"] * 3
    assert [(event.type, event.severity) for event in bench.events] == [("error", "error")]
    assert bench.events[0].message.startswith("collector test/c failed: ")
    assert told in bench.events[0].message
    assert set(bench.scheduler.origins) == {"custom.good"}
    assert bench.deaths == []


@pytest.mark.parametrize("returned", [None, 5, Sample("custom.x", 1.0)])
def test_a_collector_that_returns_no_samples_fails(bench: Bench, returned: Any) -> None:
    """`collect` must return something to iterate over."""
    bench.run(lambda: returned, runs=2)
    assert len(bench.events) == 1
    assert "TypeError" in bench.events[0].message


def test_a_run_may_yield_nothing(bench: Bench) -> None:
    """A collector with nothing to tell has not failed."""
    bench.run(list, runs=2)
    assert bench.events == []


def test_a_failure_and_the_recovery_are_told_once_each(bench: Bench) -> None:
    """The first failure of a row and the first success after it are events; those in between are counted."""
    outcomes = itertools.chain([True, False, False, False, True, True, False], itertools.repeat(True))

    def collect() -> Iterator[Sample]:
        if not next(outcomes):
            raise ConnectionError("no answer")
        yield Sample("custom.x", 1.0)

    bench.scheduler.start(Plugged(collect, "c"))
    (job,) = bench.scheduler.jobs
    wait_for(lambda: job.runs >= 10)
    assert [(event.type, event.severity, event.message) for event in bench.events] == [
        ("error", "error", "collector test/c failed: ConnectionError: no answer"),
        ("system", "info", "collector test/c works again"),
        ("error", "error", "collector test/c failed: ConnectionError: no answer"),
        ("system", "info", "collector test/c works again"),
    ]
    assert all(event.source == "test/c" for event in bench.events)
    assert job.failures == 4
    assert not job.failing
    assert job.last_error == "ConnectionError: no answer"


def test_a_run_is_ended_after_its_time(bench: Bench) -> None:
    """A collector that waits for ever is cut off, and runs again at its next tick."""

    def collect() -> Iterator[Sample]:
        yield Sample("custom.before", 1.0)
        gevent.sleep(60)
        yield Sample("custom.after", 1.0)

    bench.run(collect, runs=2, timeout=0.1)
    assert [sample.symbol for sample in bench.samples] == ["custom.before"] * 2
    assert [event.message for event in bench.events] == ["collector test/c failed: not done after 0.1 s"]


def test_a_collectors_own_time_limit_is_a_failure_like_any_other(bench: Bench) -> None:
    """A gevent.Timeout of the collector's own is told apart from that of the run."""

    def collect() -> Iterator[Sample]:
        with gevent.Timeout(0.01):
            gevent.sleep(60)
        yield Sample("custom.x", 1.0)

    bench.run(collect, runs=2)
    assert [event.message for event in bench.events] == ["collector test/c failed: timed out: 0.01 seconds"]


def test_a_collector_that_does_not_let_itself_be_ended_is_named(bench: Bench) -> None:
    """It catches everything, for ever: nobody can end it, but it is told."""
    ended = Signal()

    def collect() -> Iterator[Sample]:
        while not ended.is_set():
            with suppress(BaseException):
                gevent.sleep(60)
        yield Sample("custom.x", 1.0)

    bench.scheduler.start(Plugged(collect, "c", timeout=Seconds(0.1)))
    wait_for(lambda: bench.events)
    told = "collector test/c failed: not done after 0.1 s, and cannot be ended"
    assert [event.message for event in bench.events] == [told]
    ended.set()


def test_a_flood_is_cut_off(bench: Bench) -> None:
    """A collector that yields without end fails, with a bounded number of samples."""
    bench.run(lambda: (Sample("custom.x", float(number)) for number in itertools.count()))
    assert len(bench.samples) == MAX_SAMPLES
    assert "more than 100000 samples in one run" in bench.events[0].message


def test_a_flood_of_series_is_cut_off(bench: Bench) -> None:
    """A collector that makes names up keeps those that came first, and fails with one of the others."""
    numbers = itertools.count()

    def collect() -> Iterator[Sample]:
        yield Sample("custom.known", 1.0)
        for _ in range(MAX_SERIES):
            yield Sample(f"custom.n{next(numbers)}", 1.0)

    bench.run(collect, runs=2)
    assert len({sample.symbol for sample in bench.samples}) == MAX_SERIES
    assert [sample.symbol for sample in bench.samples].count("custom.known") == 2
    assert "more than 10000 series; those beyond are left out" in bench.events[0].message


def test_series_that_are_gone_make_room_for_others(bench: Bench) -> None:
    """Containers come and go: what was not brought for a span of time counts no more."""
    days = itertools.count()

    def collect() -> Iterator[Sample]:
        day = next(days)
        yield Sample("custom.known", 1.0)
        for number in range(MAX_SERIES // 3):
            yield Sample(f"custom.n{day}_{number}", 1.0)
        bench.clock.sleep(86_400)

    bench.run(collect, runs=6)
    assert bench.events == []
    assert len(bench.samples) == 6 * (1 + MAX_SERIES // 3)
    assert len(bench.scheduler.origins) <= 1 + 2 * (MAX_SERIES // 3)


def test_tags_of_many_series_are_merged_once(bench: Bench) -> None:
    """However many there are, a second run makes none anew; and what changes with each run is not kept."""
    given = [Tags({"device": str(number)}) for number in range(2_000)]
    runs = itertools.count()

    def collect() -> Iterator[Sample]:
        run = next(runs)
        yield Sample("custom.x", 1.0, None, Tags({"error": str(run)}))
        for number, tags in enumerate(given if run < 2 else ()):
            yield Sample(f"custom.n{number}", 1.0, None, tags)

    bench.run(collect, runs=2)
    first, second = bench.samples[1:2001], bench.samples[2002:]
    assert all(one.tags is other.tags for one, other in zip(first, second, strict=True))


def test_a_collector_that_asks_for_no_rest_leaves_time_to_the_others(bench: Bench) -> None:
    """One that wants to run again at once runs 100 times a second at most."""

    def collect() -> list[Sample]:
        collector.rest = -1.0
        return []

    collector = Plugged(collect, "c")
    bench.scheduler.start(collector)
    (job,) = bench.scheduler.jobs
    wait_for(lambda: job.runs >= 3)
    assert job.rest == 0.01


def test_a_collector_that_cannot_be_closed_keeps_no_other_from_it(bench: Bench) -> None:
    """An error of `close` is logged, and the next one is closed."""
    closed = []

    class Stubborn(Plugged):
        def close(self) -> None:
            closed.append(self.spec.name)
            raise ValueError("no")

    class Slow(Plugged):
        def close(self) -> None:
            gevent.sleep(60)

    bench.scheduler.start(Slow(list, "slow"))
    for name in ("a", "b"):
        bench.scheduler.start(Stubborn(list, name))
    started = time.monotonic()
    bench.scheduler.stop()
    assert closed == ["a", "b"]
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_collector_cannot_end_the_program(bench: Bench, error: type[BaseException]) -> None:
    """One that calls sys.exit has failed, any other end of it is reported and followed by a new start; the
    others do not notice."""
    exits = 0

    def collect() -> Iterator[Sample]:
        nonlocal exits
        exits += 1
        if exits <= 2:
            if error is SystemExit:
                sys.exit(3)
            raise error("stop")
        yield Sample("custom.survivor", 1.0)

    bench.scheduler.start(Plugged(collect, "c"))
    bench.scheduler.start(Plugged(lambda: [Sample("custom.other", 1.0)], "d"))
    wait_for(lambda: {"custom.survivor", "custom.other"} == {sample.symbol for sample in bench.samples})
    if error is SystemExit:
        assert bench.deaths == []
        assert bench.events[0].message == "collector test/c failed: it called sys.exit(3)"
    else:
        assert [death.partition(":")[0] for death in bench.deaths] == [error.__name__] * 2


# -- stamps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "after", "stamp"),
    [
        (30.0, 30.0012, 30.0),
        (30.0, 29.9990, 30.0),
        (30.0, 30.049, 30.0),
        (30.0, 30.051, 30.051),
        (1.0, 1.011, 1.011),
        (30.0, 90.004, 90.0),  # two ticks were skipped
        (30.0, 45.0, 45.0),  # a reload began it anew
        (0.1, 0.1009, 0.1),
        (0.1, 0.1011, 0.1011),
        (30.0, -3600.0, -3600.0),  # the clock was set back
        (3600.0, 3600.004, 3600.0),
    ],
)
def test_a_run_on_its_turn_is_stamped_with_it(interval: float, after: float, stamp: float) -> None:
    """Milliseconds of the scheduler's own lateness are no part of the time; more than that is."""
    last = Micros(1_800_000_000 * SECOND + 123_456)
    assert turn(Micros(last + round(after * SECOND)), last, interval) == last + round(stamp * SECOND)


def test_the_first_run_is_stamped_with_its_start() -> None:
    """There is no turn to go by yet."""
    assert turn(Micros(5), None, 30.0) == 5


# -- groups, rests and quotes ---------------------------------------------------------------------------


def test_collectors_of_a_group_run_at_the_same_moments() -> None:
    """One that starts later joins the grid of its group, so that one request can serve both."""
    starts: dict[str, list[float]] = {"a": [], "b": []}

    class Grouped(Plugged):
        group = "together"

    def noted(name: str) -> Collect:
        def collect() -> Iterable[Sample]:
            starts[name].append(time.monotonic())
            return ()

        return collect

    supervisor = Supervisor(lambda worker, trace: None)
    scheduler = Scheduler(supervisor, lambda samples: None, lambda event: None)
    try:
        scheduler.start(Grouped(noted("a"), "a", interval=0.5))
        gevent.sleep(0.2)
        scheduler.start(Grouped(noted("b"), "b", interval=0.5))
        wait_for(lambda: len(starts["b"]) >= 2)
    finally:
        scheduler.stop()
    assert min(abs(starts["b"][0] - start) for start in starts["a"]) < 0.1


def test_a_rest_puts_the_next_run_off_and_the_grid_stays(bench: Bench) -> None:
    """A closed market is asked later; the turns after that are those of before, and none was missed."""
    starts: list[float] = []
    began = bench.clock()

    class Resting(Plugged):
        def collect(self) -> Iterable[Sample]:
            starts.append(bench.clock() - began)
            if len(starts) == 2:
                self.rest = 3.3
            if len(starts) >= 4:
                gevent.sleep(60)
            return ()

    bench.scheduler.start(Resting(lambda: (), "c", interval=1.0))
    wait_for(lambda: len(starts) >= 4)
    share = phase("test/c")
    assert starts == pytest.approx([share, share + 1.0, share + 4.3, share + 5.0])
    assert bench.scheduler.jobs[0].skipped == 0


def test_a_failure_that_says_when_is_tried_again_right_then(bench: Bench) -> None:
    """A source that wants thirty seconds of silence is asked again after thirty, not at the next turn."""
    starts: list[float] = []
    began = bench.clock()

    def collect() -> Iterable[Sample]:
        starts.append(bench.clock() - began)
        if len(starts) == 1:
            raise CollectError("status 429", retry_in=30.0)
        if len(starts) >= 3:
            gevent.sleep(60)
        return ()

    bench.scheduler.start(Plugged(collect, "c", interval=25.0))
    wait_for(lambda: len(starts) >= 3)
    first = phase("test/c") * 25.0
    assert starts == pytest.approx([first, first + 30.0, first + 50.0])
    assert [event.message for event in bench.events] == [
        "collector test/c failed: status 429",
        "collector test/c works again",
    ]


def test_what_a_source_has_told_is_not_told_again(bench: Bench) -> None:
    """A failure that was reported already makes no event, nor does its end; it counts as one all the same."""
    outcomes = iter([CollectError("down", told=True), None, CollectError("own fault"), None])

    def collect() -> Iterable[Sample]:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return ()

    bench.run(collect, runs=4)
    assert [event.message for event in bench.events] == [
        "collector test/c failed: own fault",
        "collector test/c works again",
    ]


class Quoted(Plugged):
    """A collector of quotes."""

    quotes = True


def test_a_quote_seen_again_is_confirmed_and_not_stored(bench: Bench) -> None:
    """The same time and value, or an older time, is what was seen before; a new value at the time is new."""
    quotes = [(1, 5.0), (1, 5.0), (1, 6.0), (2, 6.0), (1, 9.0), (3, 6.0)]
    left = iter(quotes)

    def collect() -> Iterable[Sample]:
        ts, value = next(left, (0, 0.0))
        if not ts:
            gevent.sleep(60)
        return [Sample("crypto.price.btc_usd", value, Micros(ts))]

    bench.scheduler.start(Quoted(collect, "c"))
    wait_for(lambda: len(bench.samples) >= 4)
    assert [(sample.ts, sample.value) for sample in bench.samples] == [(1, 5.0), (1, 6.0), (2, 6.0), (3, 6.0)]
    assert bench.scheduler.confirmed.keys() == {"crypto.price.btc_usd"}


def test_a_quote_of_the_last_run_of_the_program_is_known(bench: Bench) -> None:
    """After a restart on a Sunday the close of Friday is not stored once more; nothing runs before that is
    known."""
    settled = Signal()
    scheduler = Scheduler(
        bench.supervisor, bench._put, bench.events.append, bench.clock, bench.clock.sleep,
        last={"stock.price.tsla": (Micros(7), 412.0)}.get, settled=settled.wait,
    )  # fmt: skip
    runs = itertools.count()

    def collect() -> Iterable[Sample]:
        run = next(runs)
        if run > 1:
            gevent.sleep(60)
        return [Sample("stock.price.tsla", 412.0 + run, Micros(7 + run))]

    scheduler.start(Quoted(collect, "c"))
    gevent.sleep(0.05)
    assert next(runs) == 0
    runs = itertools.count()
    settled.set()
    wait_for(lambda: bench.samples)
    scheduler.stop()
    assert [(sample.ts, sample.value) for sample in bench.samples] == [(8, 413.0)]


@pytest.mark.parametrize(
    ("second", "interval", "left"),
    [(0.0, 60.0, 0.25), (0.25, 60.0, 60.0), (59.0, 60.0, 1.25), (7.0, 5.0, 3.25), (1.1, 1.0, 0.15)],
)
def test_aligned_runs_follow_the_end_of_an_interval(second: float, interval: float, left: float) -> None:
    """They come a quarter of a second after it, for what is still on its way."""
    minute = 1_787_227_200 * SECOND
    assert until_boundary(Micros(minute + int(second * SECOND)), interval) == pytest.approx(left)


def test_a_stopped_collector_is_closed(bench: Bench) -> None:
    """It gives back what it holds, such as the subscription to a stream."""
    closed: list[str] = []

    class Closing(Plugged):
        def close(self) -> None:
            closed.append(self.spec.id)

    bench.scheduler.start(Closing(lambda: (), "c"))
    bench.scheduler.stop("test/c")
    assert closed == ["test/c"]


def test_a_candle_passes_through(bench: Bench) -> None:
    """What a sample tells of its interval is stored with it."""
    bench.run(lambda: [Sample("custom.x", 2.0, candle=Candle(1.0, 3.0, 0.5))])
    assert bench.samples[0].candle == Candle(1.0, 3.0, 0.5)


# -- quotes whose times lie -----------------------------------------------------------------------------


def _quoted(bench: Bench, quotes: list[tuple[int, float]]) -> list[tuple[int | None, float]]:
    """Return what is stored of quotes (seconds from now, value) that come one a run."""
    began = now()
    left = iter(quotes)

    def collect() -> Iterable[Sample]:
        try:
            after, value = next(left)
        except StopIteration:
            gevent.sleep(60)
            return []
        return [Sample("crypto.price.btc_usd", value, Micros(began + after * SECOND))]

    bench.scheduler.start(Quoted(collect, "c"))
    wait_for(lambda: bench.scheduler.jobs[0].runs == len(quotes))
    return [(sample.ts and round((sample.ts - began) / SECOND), sample.value) for sample in bench.samples]


def test_quotes_of_a_clock_that_was_ahead_do_not_shut_out_the_true_ones(bench: Bench) -> None:
    """A Pi that starts in another year stamps quotes with it; once its clock is right the next are taken."""
    assert _quoted(bench, [(86_400, 1.0), (86_400, 1.0), (0, 2.0), (-5, 3.0), (0, 2.0)]) == [
        (86_400, 1.0), (0, 2.0),
    ]  # fmt: skip


def test_a_failure_makes_no_value_fresher(bench: Bench) -> None:
    """How old a value may be is told by the runs that go well, however long a source wants its peace."""
    runs = itertools.count()
    paces: list[float] = []

    class Resting(Plugged):
        def collect(self) -> Iterable[Sample]:
            run = next(runs)
            paces.append(bench.scheduler.jobs[0].every)
            if run == 1:
                self.rest = 900.0
            elif run > 1:
                gevent.sleep(60) if run > 4 else None
                raise CollectError("refused", retry_in=3_600.0)
            return []

    bench.scheduler.start(Resting(list, "c"))
    wait_for(lambda: len(paces) > 4)
    assert paces[:5] == [1.0, 1.0, 900.0, 900.0, 900.0]


def test_a_failure_asks_for_no_haste(bench: Bench) -> None:
    """Who is told to come back at once comes back after a second."""
    starts: list[float] = []

    def collect() -> Iterable[Sample]:
        starts.append(bench.clock())
        if len(starts) > 4:
            gevent.sleep(60)
        raise CollectError("refused", retry_in=0.0)

    bench.scheduler.start(Plugged(collect, "c", interval=60.0))
    wait_for(lambda: len(starts) > 4)
    assert [after - before for before, after in itertools.pairwise(starts)] == pytest.approx([1.0] * 4)


def test_what_was_measured_before_an_end_is_kept(bench: Bench) -> None:
    """A collector that a reload ends in the midst of a run has not taken a candle for nothing."""

    def collect() -> Iterator[Sample]:
        yield Sample("custom.x", 1.0)
        gevent.sleep(60)

    bench.scheduler.start(Plugged(collect, "c"))
    wait_for(lambda: "custom.x" in bench.scheduler.origins)
    bench.scheduler.stop("test/c")
    assert [sample.value for sample in bench.samples] == [1.0]
    assert bench.deaths == []
