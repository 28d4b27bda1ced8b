"""Couriers: what is sent when, what is tried again, and what is remembered over a kill; on a real store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.clock import SECOND
from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError
from oculus.model import AlertState, Event, Micros, Severity, Transition
from oculus.notify.backlog import Shelf
from oculus.notify.base import Channel, Undelivered
from oculus.notify.courier import STORED, Courier, Held, Outcome, Progress, Words
from oculus.notify.notice import Notice
from tests.notify.ledgers import StoredLedger

START = 1_800_000_000 * SECOND


class Service(Channel):
    """A channel that notes what it is given, and fails as it is told to."""

    def __init__(self, settings: ChannelSettings) -> None:
        super().__init__(settings)
        self.got: list[Notice] = []
        self.faults: list[BaseException | None] = []
        self.down: BaseException | None = None

    def deliver(self, notice: Notice) -> str:
        """Take a message."""
        fault = self.faults.pop(0) if self.faults else self.down
        if isinstance(fault, gevent.Timeout):
            gevent.sleep(60)
        if fault is not None:
            raise fault
        self.got.append(notice)
        return f"id {len(self.got)}"


@dataclass
class World:
    """A courier with a clock that the test moves, on a real file."""

    folder: Path
    settings: dict[str, Any]
    second: float = 0.0
    event: int = 1
    told: list[Event] = field(default_factory=list)
    passed: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = Service(ChannelSettings(**self.settings))
        self.ledger = StoredLedger(str(self.folder / "x.db"))
        self.begin()

    def begin(self) -> None:
        """Start, or start again after a kill."""
        self.courier = Courier(
            "ops", self.service, Shelf(self.ledger, "ops"), self.told.append, self._pass_on,
            time_now=lambda: self.now, chance=lambda: 0.5,
        )  # fmt: skip
        waiting = self.ledger.backlog()
        self.courier.restore(self.ledger.remembered(f"{STORED}ops/"), waiting.get("ops", 0))
        self.courier._refill()  # its greenlet does that first

    def kill(self) -> None:
        """End as a kill does, and begin anew."""
        self.ledger.kill()
        self.begin()

    def _pass_on(self, name: str, held: Sequence[Held], words: Words) -> None:
        self.passed += [(name, one.event) for one in held]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query of the store gives."""
        found: list[tuple[Any, ...]] = self.ledger.database.connection.execute(sql).fetchall()
        return found

    @property
    def now(self) -> Micros:
        """The time."""
        return Micros(START + int(self.second * SECOND))

    def step(
        self, state: AlertState = "firing", rule: str = "r", severity: Severity = "warn", symbol: str = "x"
    ) -> int:
        """Store a step of an alert and hand it over; return its event's id."""
        previous: AlertState = "inactive" if state == "firing" else "firing"
        step = Transition(
            ts=self.now, rule=rule, state=state, previous=previous, severity=severity,
            message=f"{rule} {state}", started_at=self.now, symbol=symbol, labels={"symbol": symbol},
            channels=("ops",),
        )  # fmt: skip
        event = Event(
            **{**{name: getattr(step.event(), name) for name in Event.__slots__}, "channels": ("ops",)}
        )
        self.ledger.store(self.event, event)
        self.courier.take(self.event, step)
        self.event += 1
        return self.event - 1

    def at(self, second: float) -> list[list[str]]:
        """Go on to a second and send what is due; return the messages' alerts."""
        self.second = second
        before = len(self.service.got)
        self.courier.step()
        return [
            [f"{step.rule} {step.state}" for step in notice.alerts] for notice in self.service.got[before:]
        ]

    def states(self) -> list[str]:
        """Return what became of all deliveries, by event."""
        return [state for (state,) in self.rows("select state from deliveries order by event")]


@pytest.fixture
def settings() -> dict[str, Any]:
    """What the channel is told, if anything."""
    return {}


@pytest.fixture
def world(tmp_path: Path, settings: dict[str, Any]) -> Iterator[World]:
    """A world."""
    made = World(tmp_path, settings)
    yield made
    made.ledger.database.close()


def test_what_breaks_together_is_told_together(world: World) -> None:
    """After the wait, then with the next interval; each delivery has its outcome."""
    world.step(symbol="a")
    assert world.at(10) == []
    world.step(symbol="b")
    assert world.at(29.9) == []
    assert world.at(30) == [["r firing", "r firing"]]
    world.step("resolved", symbol="a")
    assert world.at(300) == []
    assert world.at(330) == [["r firing", "r resolved"]]
    assert world.states() == ["sent"] * 3
    (row,) = world.rows("select tries, notice, told from deliveries limit 1")
    assert row == (1, world.service.got[0].id, "id 1")
    assert world.told == []


def test_what_is_over_before_it_is_told_is_not(world: World) -> None:
    """Its deliveries are passed, and nothing of it is kept."""
    world.step()
    world.second = 5
    world.step("resolved")
    assert world.at(30) == []
    assert world.states() == ["passed"] * 2
    assert world.ledger.remembered(STORED) == {}


def test_an_outage_delays_and_loses_nothing(world: World) -> None:
    """It waits longer and longer; one event tells that it fails, one that it works again."""
    world.service.down = Undelivered("the network is unreachable")
    world.step()
    tries = []
    for second in range(30, 700):
        before = world.courier.failed
        world.at(second)
        if world.courier.failed > before:
            tries.append(second)
    assert tries == [30, 32, 35, 41, 53, 77, 125, 221, 413, 638]
    world.step(rule="other")
    world.service.down = None
    assert world.at(860) == []
    assert world.at(900) == [["r firing"], ["other firing"]]
    assert [event.message for event in world.told] == [
        "channel ops fails, its messages wait: the network is unreachable", "channel ops works again",
    ]  # fmt: skip
    notice = world.service.got[0]
    assert notice.late == 900


def test_how_far_a_step_has_come_can_be_asked(world: World) -> None:
    """While its group waits, and between two tries; not once it has been told."""
    first = world.step()
    assert world.courier.progress(first) == Progress(0, "", Micros(START + 30 * SECOND), quiet=False)
    world.service.down = Undelivered("503: busy")
    for second in (30, 32):
        world.at(second)
    due = Micros(START + 35 * SECOND)
    assert world.courier.progress(first) == Progress(2, "503: busy", due, quiet=False)
    world.second = 33
    after = world.step("resolved")  # which is for the message after that one
    assert world.courier.progress(after) == Progress(0, "", Micros(START + 330 * SECOND), quiet=False)
    world.service.down = None
    world.at(35)
    assert world.courier.progress(first) is None
    assert world.courier.progress(999) is None


@pytest.mark.parametrize("settings", [{"quiet": "00:00-23:00", "timezone": "UTC"}])
def test_in_quiet_hours_nothing_is_due(world: World) -> None:
    """What waits for their end says so."""
    assert world.courier.progress(world.step()) == Progress(0, "", None, quiet=True)


def test_a_kill_forgets_no_try(world: World) -> None:
    """The record counts those before it."""
    world.service.down = Undelivered("503: busy")
    event = world.step()
    for second in (30, 32):
        world.at(second)
    world.kill()
    found = world.courier.progress(event)
    assert found is not None
    assert found.tries == 2
    world.service.down = None
    assert world.at(33) == [["r firing"]]
    (row,) = world.rows("select state, tries from deliveries")
    assert row == ("sent", 3)


def test_a_service_says_when_it_may_be_asked_again(world: World) -> None:
    """Its word goes before our own waits."""
    world.service.faults = [Undelivered("slow down", retry_after=17.0)]
    world.step()
    world.at(30)
    assert world.at(46.9) == []
    assert world.at(47) == [["r firing"]]


@pytest.mark.parametrize("settings", [{"fallback": "mail"}])
def test_what_cannot_succeed_is_given_up_at_once(world: World) -> None:
    """With an event, and the other channel tells it."""
    world.service.faults = [Undelivered("401: the token is wrong", permanent=True)]
    event = world.step()
    assert world.at(30) == []
    assert world.states() == ["failed"]
    assert world.passed == [("mail", event)]
    assert "gives a message up ([warn] r (x)): 401: the token is wrong" in world.told[0].message
    world.second = 40
    world.step("resolved")
    assert world.at(330) == [["r resolved"]]


@pytest.mark.parametrize("settings", [{"expire": 60.0}])
def test_a_message_expires(world: World) -> None:
    """What is a day old helps nobody."""
    world.service.down = Undelivered("down")
    world.step()
    for second in range(30, 100):
        world.at(second)
    assert world.states() == ["expired"]


@pytest.mark.parametrize("settings", [{"timeout": 0.2}])
def test_a_channel_that_hangs_is_cut_off(world: World) -> None:
    """And tried again later."""
    world.service.faults = [gevent.Timeout()]
    world.step()
    assert world.at(30) == []
    assert world.courier.error == "not done after 0.2 s"
    assert world.at(32) == [["r firing"]]


def test_a_kill_repeats_a_message_at_most(world: World) -> None:
    """One that was sent and not noted is sent again with the same id; nothing else changes."""
    world.step(symbol="a")
    world.kill()
    assert world.at(29) == []
    world.second = 30
    sent: list[Notice] = []

    class Dying(Shelf):
        """It takes nothing any more once a message has gone out."""

        def settle(self, outcomes: Sequence[Outcome], states: Mapping[str, str | None]) -> None:
            if world.service.got:
                raise OculusError("killed")
            super().settle(outcomes, states)

    world.courier._shelf = Dying(world.ledger, "ops")
    assert world.at(30) == [["r firing"]]
    sent += world.service.got
    world.kill()
    assert world.at(31) == [["r firing"]]
    assert [notice.id for notice in world.service.got] == [sent[0].id] * 2
    assert world.states() == ["sent"]
    world.kill()
    world.second = 40
    world.step("resolved", symbol="a")
    world.kill()
    assert world.at(331) == [["r resolved"]]
    assert world.ledger.remembered(STORED) == {}


def test_a_kill_during_an_outage_keeps_the_order(world: World) -> None:
    """What changed meanwhile comes after what was claimed before."""
    world.service.down = Undelivered("down")
    world.step(symbol="a")
    world.at(30)
    world.second = 40
    world.step("resolved", symbol="a")
    world.kill()
    world.at(50)
    world.step(symbol="b")
    world.kill()
    world.service.down = None
    assert world.at(400) == [["r firing"]]
    assert world.at(700) == [["r firing", "r resolved"]]
    assert world.states() == ["sent"] * 3


@pytest.mark.parametrize("settings", [{"most": 2}])
def test_more_than_fit_are_counted(world: World) -> None:
    """The first are told, and how many there are besides."""
    for symbol in "abcde":
        world.step(symbol=symbol)
    assert world.at(30) == [["r firing", "r firing"]]
    assert world.service.got[0].more == 3
    assert world.service.got[0].title == "[warn] r: 5 alerts"
    assert world.states() == ["sent"] * 5


@pytest.mark.parametrize("settings", [{"severity": "error"}])
def test_what_is_less_severe_is_passed(world: World) -> None:
    """The channel is for what is worse."""
    world.step()
    world.step(severity="critical", rule="c")
    assert world.at(30) == [["c firing"]]
    assert world.states() == ["passed", "sent"]


@pytest.mark.parametrize("settings", [{"quiet": "00:00-23:00", "timezone": "UTC", "repeat": 0}])
def test_quiet_hours_wait_for_the_morning(world: World) -> None:
    """START is at 08:00 UTC. What is critical is told at once."""
    world.step()
    world.step(severity="critical", rule="c")
    assert world.at(30) == [["c firing"]]
    assert world.at(54_000 - 1) == []
    assert world.at(54_000) == [["r firing"]]


def test_what_the_store_does_not_take_is_sent_still(world: World) -> None:
    """A full disk is no reason to be silent about it."""
    world.ledger.broken = True
    step = Transition(
        ts=world.now, rule="disk", state="firing", previous="inactive", severity="error", message="full",
        started_at=world.now,
    )  # fmt: skip
    world.courier.take(None, step)
    assert world.at(30) == [["disk firing"]]
    world.courier.number(7, step)
    assert world.courier.waiting == 0
