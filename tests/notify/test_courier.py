"""Couriers: what is sent when, what is tried again, and what is remembered over a kill; on a real store."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import pytest

from oculus.clock import SECOND
from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError
from oculus.model import AlertState, Event, Micros, Severity, Transition
from oculus.notify import courier
from oculus.notify.backlog import Shelf
from oculus.notify.base import Channel, Undelivered
from oculus.notify.courier import REPLACED, ROOM, STORED, Courier, Outcome, Progress
from oculus.notify.notice import Notice
from oculus.notify.parcel import Held, Words
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
    room: int = ROOM
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
            time_now=lambda: self.now, chance=lambda: 0.5, room=self.room,
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

    def made(
        self, state: AlertState = "firing", rule: str = "r", severity: Severity = "warn", symbol: str = "x",
        suppressed: str = "",
    ) -> tuple[Transition, Event]:  # fmt: skip
        """Return a step of an alert, and its event."""
        previous: AlertState = "inactive" if state == "firing" else "firing"
        step = Transition(
            ts=self.now, rule=rule, state=state, previous=previous, severity=severity,
            message=f"{rule} {state}", started_at=self.now, symbol=symbol, labels={"symbol": symbol},
            channels=("ops",), suppressed=suppressed, memory=(f"alert/{rule}/{symbol}", None),
        )  # fmt: skip
        return step, replace(step.event(), channels=("ops",))

    def step(self, state: AlertState = "firing", **fields: Any) -> int:
        """Store a step of an alert and hand it over; return its event's id."""
        step, event = self.made(state, **fields)
        self.ledger.store(self.event, event)
        self.event += 1
        self.courier.take(self.event - 1, step)
        return self.event - 1

    def drain(self, steps: int) -> list[Transition]:
        """Go on, interval by interval, until nothing waits; return the steps that were told, each once."""
        for _ in range(steps):
            if not self.courier.waiting:
                break
            self.at(self.second + self.service.settings.group_interval + 1)
        found = (step for notice in self.service.got for step in notice.alerts)
        return list({(step.ts, step.alert): step for step in found}.values())

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


# -- more than fits into memory ------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"most": 1_000}])
def test_what_does_not_fit_waits_in_the_store(world: World) -> None:
    """And is told when there is room, in order, each once; a kill changes nothing of it."""
    world.room = 20
    world.kill()
    world.service.down = Undelivered("down")
    for number in range(90):
        world.step(symbol=f"s{number}")
    assert (world.courier.waiting, len(world.courier._held)) == (90, 20)
    world.at(30)
    world.kill()
    assert (world.courier.waiting, len(world.courier._held)) == (90, 20)
    world.service.down = None
    found = world.drain(60)
    assert [step.symbol for step in found] == [f"s{number}" for number in range(90)]
    assert world.states() == ["sent"] * 90
    assert {len(notice.alerts) for notice in world.service.got} > {20}  # each tells what fires before as well
    assert world.courier.waiting == 0


def test_an_alert_that_goes_to_and_fro_takes_no_more_room(world: World) -> None:
    """Only its last step is to be told; the others are noted meanwhile, which a kill does not undo."""
    world.service.down = Undelivered("down")
    first = world.step()
    world.at(30)
    for _ in range(200):
        world.second += 1
        world.step("resolved")
        world.second += 1
        world.step("firing")
    world.second += 1
    world.step("resolved")
    world.courier.step()
    assert (world.courier.waiting, len(world.courier._held)) == (2, 2)
    states = world.states()
    assert (states[first - 1], states[-1], set(states[1:-1])) == ("waiting", "waiting", {"passed"})
    world.kill()
    world.service.down = None
    assert world.at(2_000) == [["r firing"]]
    assert world.at(2_300) == [["r resolved"]]
    assert world.courier.waiting == 0
    assert world.rows("select distinct told from deliveries where state = 'passed'") == [(REPLACED,)]


def test_an_end_in_silence_is_not_told_of_by_what_it_replaces(world: World) -> None:
    """The end that is to be told was before it: that one is kept."""
    world.step()
    assert world.at(30) == [["r firing"]]
    world.second = 100
    world.step("resolved")
    world.second = 120
    world.step("resolved", suppressed="silenced")
    world.courier.step()
    assert world.states() == ["sent", "waiting", "passed"]
    world.kill()
    assert world.at(330) == [["r resolved"]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings", [{"most": 1_000, "group_wait": 5.0, "group_interval": 20.0, "repeat": 0}]
)
def test_whatever_happens_the_last_word_on_each_alert_is_right(world: World, seed: int) -> None:
    """Alerts fire and end at random, the service and the store come and go, and the process is killed."""
    chance = random.Random(seed)
    world.room = 10
    world.kill()
    fires: dict[str, bool] = {}
    heard: dict[str, list[str]] = {}
    for _ in range(150):
        world.second += chance.random() * 2
        symbol = f"s{chance.randrange(30)}"
        fires[symbol] = not fires.get(symbol, False)
        world.step("firing" if fires[symbol] else "resolved", symbol=symbol)
        if chance.random() < 0.3:
            world.courier.step()
        if chance.random() < 0.05:
            world.service.down = None if world.service.down else Undelivered("down")
        if chance.random() < 0.03:
            world.kill()
    world.service.down = None
    world.drain(100)
    for notice in world.service.got:
        for step in notice.alerts:
            said = heard.setdefault(str(step.symbol), [])
            if not said or said[-1] != step.state:
                said.append(step.state)
    for symbol, firing in fires.items():
        said = heard.get(symbol, [])
        # What was over before it could be told was not told.
        assert (said[-1] if said else "resolved") == ("firing" if firing else "resolved"), symbol
        assert all(before != after for before, after in pairwise(said))
    assert set(world.states()) <= {"sent", "passed"}
    assert len(world.courier._parcels) <= 1


class BusyLedger(StoredLedger):
    """A store into which a step comes right after its last page was read."""

    then: Callable[[], object] | None = None

    def waiting(self, channel: str, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Read a page."""
        found = super().waiting(channel, held, limit)
        if len(found) < limit and self.then is not None:
            then, self.then = self.then, None
            then()
        return found


def test_what_comes_while_a_page_is_read_stays_in_order(world: World) -> None:
    """A step that is stored after the read is neither taken before those of the page nor lost."""
    world.room = 20
    world.ledger.database.close()
    ledger = world.ledger = BusyLedger(world.ledger.path)
    world.begin()
    world.service.down = Undelivered("down")
    for number in range(25):
        world.step(symbol=f"s{number}")
    world.at(30)
    came: list[int] = []
    ledger.then = lambda: came.append(world.step("resolved", symbol="s24"))
    world.service.down = None
    world.drain(20)
    assert came == [26]
    told = [step.state for notice in world.service.got for step in notice.alerts if step.symbol == "s24"]
    assert told in ([], ["firing", "resolved"], ["resolved"])
    assert world.courier._parcels[(("rule", "r"),)].group.member("alert/r/s24") is None
    assert set(world.states()) <= {"sent", "passed"}


@pytest.mark.parametrize("settings", [{"most": 1_000}])
def test_words_that_are_not_in_memory_are_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those whose event is gone the rule is told still."""
    monkeypatch.setattr(courier, "WORDS", 3)
    for number in range(8):
        world.step(symbol=f"s{number}")
    assert len(world.courier._words) == 3
    world.rows("delete from events where id = 2")
    assert world.at(30) == [["r firing"] * 8]
    symbols = [step.symbol for step in world.service.got[0].alerts]
    assert symbols == ["s0", None, *(f"s{number}" for number in range(2, 8))]


def test_what_could_not_be_noted_is_noted_later(world: World) -> None:
    """A store that takes nothing for a while leaves no step waiting for ever, and none is told twice."""
    world.step()
    world.ledger.broken = True
    assert world.at(30) == [["r firing"]]
    assert world.states() == ["waiting"]
    world.ledger.broken = False
    assert world.at(31) == []
    assert world.states() == ["sent"]
    world.kill()
    assert world.at(1_000) == []


def test_what_is_not_stored_yet_comes_after_what_waits_in_the_store(world: World) -> None:
    """It is taken up once it is stored."""
    world.room = 10
    world.kill()
    for number in range(12):
        world.step(symbol=f"s{number}")
    world.second = 1
    step, event = world.made("resolved", symbol="s11")
    world.courier.take(None, step)
    assert len(world.courier._held) == 10
    world.ledger.store(world.event, event)
    world.courier.number(world.event, step)
    assert world.courier.waiting == 13
    world.drain(20)
    assert [step.symbol for step in world.service.got[0].alerts] == [f"s{number}" for number in range(10)]
    assert world.courier.waiting == 0
    assert set(world.states()) <= {"sent", "passed"}


def test_all_that_waits_is_given_up_with_its_channel(world: World) -> None:
    """Also what is in the store alone."""
    world.room = 10
    world.kill()
    for number in range(30):
        world.step(symbol=f"s{number}")
    world.courier.give_up("it is gone")
    assert world.states() == ["failed"] * 30


def test_other_groups_after_a_reload_lose_no_end(world: World) -> None:
    """An alert that was told with its rule ends with it; a new one is told by its symbol."""
    world.step(symbol="a")
    assert world.at(30) == [["r firing"]]
    world.service.settings = ChannelSettings(group_by=("rule", "symbol"))
    world.courier.use(world.service)
    world.second = 40
    world.step("resolved", symbol="a")
    world.step(symbol="b")
    assert world.at(70) == [["r firing"]]
    assert world.service.got[-1].group == {"rule": "r", "symbol": "b"}
    world.kill()
    assert world.at(330) == [["r resolved"]]
    assert world.service.got[-1].group == {"rule": "r"}
    world.second = 340
    world.step(symbol="a")
    assert world.at(371) == [["r firing"]]
    assert world.service.got[-1].group == {"rule": "r", "symbol": "a"}


def test_since_when_a_channel_fails_is_known(world: World) -> None:
    """Until it works again."""
    world.service.down = Undelivered("down")
    world.step()
    assert not world.courier.failing_since
    for second in (30, 32, 35):
        world.at(second)
    assert world.courier.failing_since == START + 30 * SECOND
    assert world.courier.error == "down"
    world.service.down = None
    world.at(100)
    assert not world.courier.failing_since
    assert world.courier.error == ""
