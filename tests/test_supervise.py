"""Greenlets that are kept running, and the watchdog of the hub."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import gevent
import pytest
from gevent.monkey import get_original

from oculus.supervise import LATENESS_BOUNDS, RESTART_FIRST, RESTART_LAST, Supervisor, Watchdog, Worker
from tests.support.clocks import Clock
from tests.support.servers import wait_for

block_the_hub = get_original("time", "sleep")


class Reports:
    """A supervisor on a hand-moved clock, and what it reported."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[tuple[str, str, str]] = []
        self.supervisor = Supervisor(self._report, self.clock, self.clock.sleep)

    def _report(self, worker: Worker, trace: str) -> None:
        self.told.append((worker.name, worker.last_error, trace))


def dying(times: list[float], clock: Clock, lives: int, life: Callable[[int], float] = lambda _: 0.0) -> None:
    """Note the time, live for a while, and die, unless all lives are used up."""
    times.append(clock())
    if len(times) <= lives:
        clock.now += life(len(times))
        raise ValueError(f"death {len(times)}")


def test_a_greenlet_that_dies_is_started_again_after_growing_pauses() -> None:
    """Pauses double from the first to the last, so that a broken one does not take the processor."""
    reports = Reports()
    times: list[float] = []
    worker = reports.supervisor.spawn("w", lambda: dying(times, reports.clock, 9))
    assert worker.join(10.0)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert pauses[0] == RESTART_FIRST
    assert pauses[-1] == RESTART_LAST
    assert worker.restarts == 9


def test_one_that_lived_long_is_started_again_soon() -> None:
    """After a long life the pauses start over."""
    reports = Reports()
    times: list[float] = []
    lives = {4: RESTART_LAST + 1}
    worker = reports.supervisor.spawn(
        "w", lambda: dying(times, reports.clock, 5, lambda number: lives.get(number, 0.0))
    )
    assert worker.join(10.0)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert pauses == [0.5, 1.0, 2.0, RESTART_LAST + 1 + 0.5, 1.0]


def test_each_death_is_reported_with_its_traceback() -> None:
    """The report has the worker, and where it died."""
    reports = Reports()
    times: list[float] = []
    reports.supervisor.spawn("w", lambda: dying(times, reports.clock, 2)).join(10.0)
    assert [(name, error) for name, error, _ in reports.told] == [
        ("w", "ValueError: death 1"), ("w", "ValueError: death 2"),
    ]  # fmt: skip
    assert "in dying" in reports.told[0][2]
    assert reports.told[0][2].startswith("Traceback")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), gevent.Timeout(1), Exception()])
def test_every_kind_of_death_is_survived(error: BaseException) -> None:
    """Also what is no Exception: a plugin that calls sys.exit ends itself, not the program."""
    reports = Reports()
    lives = iter([error])

    def run() -> None:
        for death in lives:
            raise death

    worker = reports.supervisor.spawn("w", run)
    assert worker.join(10.0)
    assert worker.restarts == 1
    assert reports.told[0][1].startswith(type(error).__name__)


def test_one_that_returns_has_finished() -> None:
    """It is neither reported nor started again, and its name is free."""
    reports = Reports()
    runs: list[int] = []
    worker = reports.supervisor.spawn("w", lambda: runs.append(1))
    assert worker.join(10.0)
    assert not worker.alive
    assert runs == [1]
    assert reports.told == []
    again = reports.supervisor.spawn("w", lambda: runs.append(2))
    assert again.join(10.0)
    assert runs == [1, 2]
    assert reports.supervisor.workers == [again]


def test_a_stop_is_no_death() -> None:
    """A worker that is stopped ends without a report, wherever it is, and is forgotten."""
    reports = Reports()
    ended: list[str] = []

    def run() -> None:
        try:
            gevent.sleep(60)
        finally:
            ended.append("cleaned up")

    worker = reports.supervisor.spawn("w", run)
    other = reports.supervisor.spawn("other", lambda: gevent.sleep(60))
    gevent.sleep(0)
    reports.supervisor.stop("w", "never there")
    assert not worker.alive
    assert other.alive
    assert ended == ["cleaned up"]
    assert reports.told == []
    assert reports.supervisor.workers == [other]
    reports.supervisor.stop("other")


def test_a_stop_reaches_one_that_waits_for_its_restart() -> None:
    """Between two lives a worker can be stopped as well."""
    told: list[str] = []
    supervisor = Supervisor(lambda worker, trace: told.append(worker.last_error))

    def run() -> None:
        raise ValueError("dead")

    worker = supervisor.spawn("w", run)
    wait_for(lambda: told)
    assert not worker.join(0.0)
    supervisor.stop("w")
    assert worker.join(0.0)
    assert told == ["ValueError: dead"]


def test_a_stop_does_not_wait_for_ever() -> None:
    """One that refuses to end is left behind after the time limit."""
    supervisor = Supervisor(lambda worker, trace: None)
    released = gevent.event.Event()

    def run() -> None:
        while not released.is_set():
            try:
                released.wait()
            except gevent.GreenletExit:
                continue

    worker = supervisor.spawn("w", run)
    gevent.sleep(0)
    supervisor.stop("w", timeout=0.05)
    assert worker.alive
    released.set()
    assert worker.join(10.0)


def test_two_live_workers_cannot_have_one_name() -> None:
    """A name is a worker's identity."""
    supervisor = Supervisor(lambda worker, trace: None)
    supervisor.spawn("w", lambda: gevent.sleep(60))
    with pytest.raises(ValueError, match="'w' is running already"):
        supervisor.spawn("w", lambda: None)
    supervisor.stop("w")


def test_joining_has_a_time_limit() -> None:
    """`join` tells whether the worker has ended."""
    supervisor = Supervisor(lambda worker, trace: None)
    worker = supervisor.spawn("w", lambda: gevent.sleep(60))
    assert not worker.join(0.01)
    supervisor.stop("w")
    assert worker.join(0.0)


# -- the watchdog --------------------------------------------------------------------------------------


def test_a_blocked_hub_is_measured() -> None:
    """Something that holds the interpreter shows in the quantiles and in the histogram."""
    watchdog = Watchdog()
    watching = gevent.spawn(watchdog.run)
    gevent.sleep(0)  # it has begun to wait
    block_the_hub(0.4)
    wait_for(lambda: sum(watchdog.counts) >= 1)
    watching.kill()
    assert 0.3 <= watchdog.quantile(1.0) < 5.0
    assert watchdog.total >= 0.3
    assert sum(watchdog.counts[LATENESS_BOUNDS.index(0.25) + 1 :]) == 1


def test_lateness_is_counted_by_its_bound() -> None:
    """A bucket holds what is at most its bound; the last one the rest."""
    watchdog = Watchdog()
    for lateness in (0.0, 0.001, 0.0011, 1.0, 1.5):
        watchdog.observe(lateness)
    assert watchdog.counts == [2, 1] + [0] * (len(LATENESS_BOUNDS) - 3) + [1, 1]
    assert watchdog.total == pytest.approx(2.5021)


def test_the_worst_is_told_once() -> None:
    """Each look at it begins anew."""
    watchdog = Watchdog()
    for lateness in (0.001, 0.25, 0.002):
        watchdog.observe(lateness)
    assert (watchdog.take_peak(), watchdog.take_peak()) == (0.25, 0.0)


def test_quantiles_are_those_of_the_last_minute() -> None:
    """Old measurements go; before the first there is nothing to tell."""
    watchdog = Watchdog()
    assert watchdog.quantile(0.99) == 0.0
    watchdog.observe(9.0)
    for number in range(Watchdog.WINDOW):
        watchdog.observe(number / Watchdog.WINDOW)
    assert watchdog.quantile(0.0) == 0.0
    assert watchdog.quantile(0.5) == pytest.approx(0.5)
    assert watchdog.quantile(0.99) == pytest.approx(0.99)
    assert watchdog.quantile(1.0) < 1.0
