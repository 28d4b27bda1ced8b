"""Whether all is well: each part that is not is told, and nothing else; with the daemon's own parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent
import pytest

from oculus import health
from oculus.collectors import collector_class
from oculus.collectors.base import Context
from oculus.collectors.scheduler import Scheduler
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.health import Health
from oculus.holdup import LIMIT
from oculus.pipe import Pipe
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.loop import RuleLoop
from oculus.storage.database import Database
from oculus.storage.writer import Writer
from oculus.supervise import Supervisor, Watchdog


class World:
    """The parts, with all greenlets running that are needed."""

    def __init__(self, folder: Path) -> None:
        self.supervisor = Supervisor(lambda worker, trace: None)
        self.database = Database(str(folder / "x.db"))
        self.pipe = Pipe(1_000)
        self.writer = Writer(
            self.database, self.pipe, batch=10, flush=0.01, on_commit=lambda batch: None,
            on_state=lambda error: None,
        )  # fmt: skip
        self.lost = ""
        self.loop = RuleLoop(
            RuleEngine(()), lambda step: None, lambda at, figures: Live(at, lambda symbol: None),
            lambda wanted, at: {}, lambda sql, params: [],
        )  # fmt: skip
        self.scheduler = Scheduler(self.supervisor, self.pipe.put, self.pipe.put_event)
        settings = collector_class("self").Settings(interval=Seconds(3600.0))
        spec = CollectorSpec("self", "oculus", settings)
        self.scheduler.start(collector_class("self")(spec, Context()))
        self.supervisor.spawn("writer", self.writer.run)
        for name in health._NEEDED:
            self.supervisor.spawn(name, lambda: gevent.sleep(600))
        self.watchdog = Watchdog()
        self.health = Health(
            supervisor=self.supervisor, scheduler=self.scheduler, writer=self.writer, rule_loop=self.loop,
            watchdog=self.watchdog, uplink_lost=lambda: self.lost,
        )  # fmt: skip

    def close(self) -> None:
        """Stop all."""
        self.scheduler.stop()
        self.pipe.close()
        self.supervisor.stop(*(worker.name for worker in self.supervisor.workers), timeout=5)
        self.writer.close()
        self.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The parts of a daemon."""
    made = World(tmp_path)
    yield made
    made.close()


def _rules(world: World) -> None:
    world.loop.looked_at = time.monotonic() - health.PASS - 1


def _commit(world: World) -> None:
    world.writer.busy_since = time.monotonic() - health.COMMIT - 1


def _refused(world: World) -> None:
    world.writer.error = "disk full"


def _greenlet(world: World) -> None:
    world.supervisor.stop("derived")


def _collector(world: World) -> None:
    world.supervisor.stop("collector self/oculus")


def _writer(world: World) -> None:
    world.supervisor.stop("writer")


def _hub(world: World) -> None:
    world.watchdog.observe(LIMIT + 0.1)


def _uplink(world: World) -> None:
    world.lost = "this host has lost the network"


@pytest.mark.parametrize(
    ("harm", "part", "told"),
    [
        (_refused, "database", "the database takes no samples: disk full"),
        (_writer, "database", "the writer is not running"),
        (_commit, "database", "a commit takes more than 60 s"),
        (_rules, "rules", "no rule was evaluated for 60 s"),
        (_greenlet, "greenlets", "not running: derived"),
        (_collector, "greenlets", "not running: self/oculus"),
        (_hub, "hub", "the hub was held for 5 s"),
        (_uplink, "uplink", "this host has lost the network"),
    ],
)
def test_what_is_not_well_is_told(world: World, harm: Callable[[World], None], part: str, told: str) -> None:
    """By its part, which is well before."""
    world.watchdog.observe(1.0)
    assert world.health.unwell() == {}
    harm(world)
    assert world.health.unwell() == {part: told}


def test_rules_are_looked_at_each_second(world: World) -> None:
    """Also when there is none: the loop turns."""
    before = world.loop.looked_at
    world.supervisor.spawn("a loop", world.loop.run)
    world.loop.changed(())
    with gevent.Timeout(10):
        while world.loop.looked_at == before:
            gevent.sleep(0.01)
