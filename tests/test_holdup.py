"""What holds the hub is named while it does, and told again afterwards."""

from __future__ import annotations

from collections.abc import Callable

import gevent
import pytest
from gevent.monkey import get_original

from oculus.holdup import HoldUp
from oculus.supervise import Supervisor
from tests.support.log import logged
from tests.support.servers import wait_for

block = get_original("time", "sleep")
clock = get_original("time", "monotonic")


def sleeping() -> None:
    """Block without a word."""
    block(2.5)


def spinning() -> None:
    """Compute without a pause."""
    until = clock() + 2.5
    while clock() < until:
        pass


@pytest.mark.parametrize("work", [sleeping, spinning])
def test_what_holds_the_hub_is_named(work: Callable[[], None]) -> None:
    """The worker and the line, in the log at once and as a report once the hub turns again."""
    told: list[str] = []
    supervisor = Supervisor(lambda worker, trace: None)
    watch = HoldUp(told.append, limit=0.5)
    with logged() as log:
        watch.start()
        try:
            supervisor.spawn("collector moon/moon", work)
            wait_for(lambda: told, 20.0)
        finally:
            watch.stop()
    (line,) = log.lines
    assert "s by collector moon/moon, and nothing else runs: it is in " in line
    assert f"({work.__name__})" in line
    (report,) = told
    assert report.startswith("the hub was held for ")
    assert "by collector moon/moon in " in report
    assert f"({work.__name__})" in report


def test_a_hub_that_turns_is_left_alone() -> None:
    """Work that yields is no hold-up, however long it takes."""
    told: list[str] = []
    watch = HoldUp(told.append, limit=0.5)
    with logged() as log:
        watch.start()
        gevent.sleep(3.0)
        watch.stop()
    assert (told, log.lines) == ([], [])
