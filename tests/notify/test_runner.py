"""Runners of actions: what is done when and in which order, what is tried again, what outlasts a kill; on a
real store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import gevent
import pytest
from gevent.event import Event as Signal

from oculus.clock import SECOND
from oculus.config.settings import ActionSettings, RuleSettings
from oculus.model import AlertState, Event, Micros, Transition
from oculus.notify.action import Action, Ran
from oculus.notify.backlog import Shelf
from oculus.notify.notice import Notice
from oculus.notify.outbox import Outbox
from oculus.notify.runner import AT_ONCE, ROOM, Runner
from tests.notify.ledgers import StoredLedger
from tests.rules.world import World as Rules
from tests.rules.world import rule
from tests.support.log import logged
from tests.support.servers import wait_for

START = 1_800_000_000 * SECOND
NAME = "action:r"
GOOD, BAD = Ran(True, "worked", 0, "out"), Ran(False, "broke: x", 3, "err")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeedSettings(ActionSettings):
    """Settings of the action of these tests."""

    type: ClassVar[str] = "deed"


class Deed(Action):
    """An action that notes what it is given, goes as it is told to, and hangs for some symbols."""

    def __init__(self, settings: ActionSettings) -> None:
        super().__init__(settings)
        self.got: list[Notice] = []
        self.results: list[Ran | Exception] = []
        self.hanging: set[str] = set()
        self.release = Signal()

    def run(self, notice: Notice) -> Ran:
        """Do it."""
        self.got.append(notice)
        if notice.alerts[0].symbol in self.hanging:
            self.release.wait()
        result = self.results.pop(0) if self.results else GOOD
        if isinstance(result, Exception):
            raise result
        return result

    @property
    def did(self) -> list[tuple[str | None, str]]:
        """The symbols and states, in the order in which they came."""
        return [(step.symbol, step.state) for notice in self.got for step in notice.alerts]


@dataclass
class World:
    """A runner with a clock that the test moves, on a real file; its pauses take no time."""

    folder: Path
    settings: dict[str, Any]
    second: float = 0.0
    event: int = 1
    room: int = ROOM
    told: list[Event] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.deed = Deed(DeedSettings(**self.settings))
        self.ledger = StoredLedger(str(self.folder / "x.db"))
        self.begin()

    def begin(self) -> None:
        """Start, or start again after a kill."""
        self.runner = Runner(
            NAME, self.deed, Shelf(self.ledger, NAME), self.told.append,
            time_now=lambda: self.now, chance=lambda: 1.0, pause=self._pause, room=self.room,
        )  # fmt: skip
        self.runner.restore({}, self.ledger.backlog().get(NAME, 0))

    def kill(self) -> None:
        """End as a kill does, and begin anew."""
        self.ledger.kill()
        self.begin()

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.second += seconds

    @property
    def now(self) -> Micros:
        """The time."""
        return Micros(START + int(self.second * SECOND))

    def made(self, state: AlertState = "firing", symbol: str = "x") -> tuple[Transition, Event]:
        """Return a step of an alert of the present, a moment after the one before, and its event."""
        self.second += 0.001
        step = Transition(
            ts=self.now, rule="r", state=state, previous="inactive" if state == "firing" else "firing",
            severity="warn", message="m", started_at=self.now, symbol=symbol, labels={"symbol": symbol},
            channels=(NAME,),
        )  # fmt: skip
        return step, replace(step.event(), channels=(NAME,))

    def store(self, event: Event) -> int:
        """Store an event; return its id."""
        self.ledger.store(self.event, event)
        self.event += 1
        return self.event - 1

    def step(self, state: AlertState = "firing", symbol: str = "x") -> int:
        """Store a step and hand it over; return its event's id."""
        step, event = self.made(state, symbol)
        number = self.store(event)
        self.runner.take(number, step)
        return number

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let it run."""
        greenlet = gevent.spawn(self.runner.run)
        try:
            yield
        finally:
            greenlet.kill()

    def work(self) -> None:
        """Let it run until nothing waits."""
        with self.running():
            wait_for(lambda: not self.runner.waiting)

    def rows(self) -> list[tuple[Any, ...]]:
        """Return what became of each step: state, tries and what was told."""
        statement = "select state, tries, told from deliveries order by event"
        return self.ledger.database.connection.execute(statement).fetchall()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Make runners with some settings."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World(tmp_path, settings))
        return made[-1]

    yield make
    for each in made:
        each.ledger.database.close()


def test_each_step_is_acted_upon_once_and_in_order(world: Callable[..., World]) -> None:
    """However fast the steps follow each other: none is left out since a later one is known."""
    here = world()
    for symbol in "xy":
        for state in ("firing", "resolved", "firing", "resolved"):
            here.step(state, symbol)
    here.work()
    for symbol in "xy":
        own = [state for found, state in here.deed.did if found == symbol]
        assert own == ["firing", "resolved", "firing", "resolved"]
    assert here.rows() == [("sent", 1, "worked")] * 8
    assert len({notice.id for notice in here.deed.got}) == 8
    assert (here.runner.sent, here.runner.failed) == (8, 0)


def test_an_audit_event_tells_each_run(world: Callable[..., World]) -> None:
    """One line for people, and what happened for programs."""
    here = world()
    number = here.step()
    here.step("resolved")
    here.deed.results = [GOOD, BAD]
    here.work()
    first, second = here.told
    assert (first.source, first.type, first.severity) == ("r", "audit", "info")
    assert first.message == "rule r: deed worked"
    assert first.payload.pop("seconds") >= 0  # type: ignore[attr-defined]
    assert first.payload == {
        "rule": "r", "action": NAME, "type": "deed", "outcome": "sent", "state": "firing", "symbol": "x",
        "labels": {"symbol": "x"}, "event": number, "id": here.deed.got[0].id, "tries": 1, "status": 0,
        "output": "out",
    }  # fmt: skip
    assert (second.severity, second.message) == ("error", "rule r: deed broke: x")
    assert [second.payload[key] for key in ("outcome", "status", "output")] == ["failed", 3, "err"]


def test_what_fails_is_tried_again_later_and_later(world: Callable[..., World]) -> None:
    """As often as `retry` allows, under one id, or when the service says; then it is given up."""
    here = world(retry=3)
    here.step()
    here.step("resolved")
    here.deed.results = [BAD, replace(BAD, retry_after=60.0), OSError("odd"), BAD, BAD]
    with logged() as log:
        here.work()
    assert here.pauses == [2.0, 60.0, 8.0, 2.0]
    assert here.deed.did == [("x", "firing")] * 4 + [("x", "resolved")] * 2
    assert len({notice.id for notice in here.deed.got[:4]}) == 1
    assert here.rows() == [("failed", 4, "broke: x"), ("sent", 2, "worked")]
    assert [event.message for event in here.told] == [
        "rule r: deed broke: x (given up after 4 tries)", "rule r: deed worked (after 2 tries)",
    ]  # fmt: skip
    assert sum("it is tried again" in line for line in log.lines) == 2


def test_some_failures_are_for_good(world: Callable[..., World]) -> None:
    """Trying again would not help."""
    here = world(retry=3)
    here.step()
    here.deed.results = [replace(BAD, permanent=True)]
    here.work()
    assert (here.pauses, here.rows()) == ([], [("failed", 1, "broke: x")])


def test_a_defect_is_a_failure(world: Callable[..., World]) -> None:
    """Whatever an action raises: the next step is acted upon."""
    here = world()
    here.step()
    here.step("resolved")
    here.deed.results = [ZeroDivisionError("by nought")]
    here.work()
    assert here.rows() == [("failed", 1, "failed: ZeroDivisionError: by nought"), ("sent", 1, "worked")]


def test_nothing_is_done_about_old_steps(world: Callable[..., World]) -> None:
    """What waited through a long stop, or fails for that long."""
    here = world(retry=100, expire=600.0)
    here.step()
    here.deed.results = [BAD] * 100
    here.work()
    ((state, tries, told),) = here.rows()
    assert (state, told) == ("expired", "broke: x")
    assert 600 < sum(here.pauses) < 1200
    assert len(here.deed.got) == tries
    here.step(symbol="y")
    here.second += 601
    here.work()
    assert here.rows()[1] == ("expired", 0, "was not run: its turn came too late")
    assert here.told[-1].severity == "error"


def test_a_kill_loses_no_step_and_keeps_the_id(world: Callable[..., World]) -> None:
    """What was under way is begun anew under the same id, what waited comes after it."""
    here = world()
    here.step()
    here.step("resolved")
    here.deed.hanging = {"x"}
    with here.running():
        wait_for(lambda: here.deed.got)
    here.kill()
    here.deed.hanging = set()
    here.work()
    first, again, second = here.deed.got
    assert first.id == again.id != second.id
    assert here.deed.did[1:] == [("x", "firing"), ("x", "resolved")]
    assert here.rows() == [("sent", 1, "worked")] * 2
    here.kill()
    assert here.runner.waiting == 0


def test_alerts_that_hang_hold_up_no_other(world: Callable[..., World]) -> None:
    """As long as fewer do than may be under way at once."""
    here = world()
    here.deed.hanging = {f"h{number}" for number in range(AT_ONCE - 1)}
    for symbol in sorted(here.deed.hanging):
        here.step(symbol=symbol)
    here.step(symbol="x")
    number = here.step("resolved", "h0")
    with here.running():
        wait_for(lambda: ("x", "firing") in here.deed.did)
        assert here.deed.did == [(symbol, "firing") for symbol in (*sorted(here.deed.hanging), "x")]
        assert here.runner.waiting == AT_ONCE
        progress = here.runner.progress(number)
        assert progress is not None
        assert (progress.tries, progress.due) == (0, here.now)
        here.deed.release.set()
        wait_for(lambda: not here.runner.waiting)
    assert here.deed.did[-1] == ("h0", "resolved")
    assert here.runner.progress(number) is None


def test_a_try_that_never_ends_is_ended(world: Callable[..., World]) -> None:
    """After its timeout, whatever it does."""
    here = world(timeout=0.1)
    here.step()
    here.deed.hanging = {"x"}
    here.work()
    assert here.rows() == [("failed", 1, "was not done after 0.1 s")]


def test_what_comes_before_it_is_stored_is_acted_upon_once(world: Callable[..., World]) -> None:
    """A database that takes nothing keeps no action from being done; the outcome is noted when it does."""
    here = world()
    done, stored = here.made()
    waits, later = here.made("resolved")
    here.ledger.broken = True
    here.runner.take(None, done)
    here.work()
    here.runner.take(None, waits)
    here.ledger.broken = False
    for event, step in ((stored, done), (later, waits)):
        here.runner.number(here.store(event), step)
    assert here.rows() == [("sent", 1, "worked"), ("waiting", 0, None)]
    here.work()
    assert here.rows() == [("sent", 1, "worked")] * 2
    assert len(here.deed.got) == 2


def test_what_does_not_fit_waits_in_the_store(world: Callable[..., World]) -> None:
    """And is done when there is room, for each alert in order; a kill changes nothing of it."""
    here = world()
    here.room = 10
    here.kill()
    here.deed.hanging = {"s0", "s1", "s2", "s3"}
    given = [(f"s{number % 7}", state) for number in range(28) for state in ("firing", "resolved")]
    for symbol, state in given:
        here.step(state, symbol)  # type: ignore[arg-type]
    assert (here.runner.waiting, len(here.runner._held)) == (56, 10)
    here.kill()
    assert here.runner.waiting == 56
    with here.running():
        wait_for(lambda: len(here.deed.got) == AT_ONCE)
        here.step("firing", "s0")
        here.deed.release.set()
        here.deed.hanging = set()
        wait_for(lambda: not here.runner.waiting)
    for symbol in sorted({symbol for symbol, _ in given}):
        wanted = [state for each, state in given if each == symbol] + ["firing"] * (symbol == "s0")
        assert [state for each, state in here.deed.did if each == symbol] == wanted
    assert [state for state, _, _ in here.rows()] == ["sent"] * 57


def test_what_is_not_stored_yet_comes_after_what_waits_in_the_store(world: Callable[..., World]) -> None:
    """It is taken up once it is stored."""
    here = world()
    here.room = 1
    here.kill()
    here.step("firing")
    here.step("resolved")
    step, event = here.made("firing")
    here.runner.take(None, step)
    here.runner.number(here.store(event), step)
    here.work()
    assert [state for _, state in here.deed.did] == ["firing", "resolved", "firing"]
    assert [state for state, _, _ in here.rows()] == ["sent"] * 3


def test_what_waits_for_an_action_that_is_gone_is_given_up(world: Callable[..., World]) -> None:
    """Noted, and told."""
    here = world()
    here.step()
    here.runner.give_up("it is gone")
    assert here.rows() == [("failed", 0, "was not run: it is gone")]
    assert here.told[0].message == "rule r: deed was not run: it is gone"
    assert here.runner.waiting == 0


def test_a_changed_action_is_tried_at_once(tmp_path: Path) -> None:
    """A right URL in place of a wrong one does not wait for the pause to be over."""
    world = World(tmp_path, {"retry": 1_000})
    # Real time, and real pauses.
    runner = Runner(NAME, world.deed, Shelf(world.ledger, NAME), world.told.append)
    step, event = world.made()
    step = replace(step, ts=runner._now())
    world.deed.results = [replace(BAD, retry_after=3_000.0)]
    number = world.store(event)
    runner.take(number, step)
    greenlet = gevent.spawn(runner.run)
    try:
        progress = wait_for(lambda: (found := runner.progress(number)) and found.error and found)
        assert (progress.tries, progress.error) == (1, "broke: x")
        assert progress.due > step.ts + 2_000 * SECOND
        other = Deed(DeedSettings(retry=5))
        runner.use(other)
        wait_for(lambda: not runner.waiting)
    finally:
        greenlet.kill()
    assert other.did == [("x", "firing")]
    world.ledger.database.close()


# -- which steps ask for it ----------------------------------------------------------------------------------


def acting(actions: Sequence[tuple[str, ...]], **settings: Any) -> RuleSettings:
    """Return a rule with an action for each of these lists of states."""
    made = tuple(DeedSettings(on=on) for on in actions)  # type: ignore[arg-type]
    return replace(rule(**settings), actions=made)


def asked(transitions: Sequence[Transition]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the state of each step, and the actions that it asks for."""
    return [(step.state, tuple(name for name in step.channels if name != "log")) for step in transitions]


def test_actions_are_for_the_states_that_they_name() -> None:
    """Each under a name of its own; a step to another state asks for none."""
    both, ends = ("firing", "resolved"), ("resolved",)
    world = Rules(acting([both, ends], for_=5))
    found = []
    for second, value in enumerate((20.0, 20.0, 5.0)):
        world.set(second * 5, "load", value)
        found += asked(world.evaluate(second * 5))
    assert found == [("pending", ()), ("firing", (NAME,)), ("resolved", (NAME, f"{NAME}/2"))]


def test_what_is_told_again_is_not_acted_upon_again() -> None:
    """But what was silenced when it fired is, once it is told."""
    world = Rules(acting([("firing",)], repeat=60))
    world.set(0, "load", 20)
    assert asked(world.evaluate(0)) == [("firing", (NAME,))]
    world.set(70, "load", 20)
    assert asked(world.evaluate(70)) == [("firing", ())]
    world.silenced["r"] = "silence 1"
    for second, value in ((80, 5), (90, 20)):
        world.set(second, "load", value)
        (step,) = world.evaluate(second)
        assert step.suppressed
    del world.silenced["r"]
    assert asked(world.evaluate(91)) == [("firing", (NAME,))]


def box(world: World, *names: str) -> Outbox:
    """Return an outbox with these actions, without greenlets."""
    made = Outbox(world.ledger, lambda _: None, lambda *_: None, lambda *_: None)
    made.configure({name: Deed(DeedSettings()) for name in names})
    return made


def test_the_outbox_hands_steps_to_actions(world: Callable[..., World]) -> None:
    """Beside the log; what is suppressed is handed to none, nor is what is neither firing nor its end."""
    here = world()
    own = box(here, NAME)
    step = replace(here.made("resolved")[0], channels=("log", NAME))
    with logged() as log:
        assert own.event(step).channels == (NAME,)
        assert own.event(replace(step, suppressed="silence 1")).channels == ()
        assert own.event(replace(step, state="pending")).channels == ()
    assert len(log.lines) == 1
    own.stored(5, [own.event(step)])
    assert own.couriers[NAME].waiting == 1


def test_a_step_for_an_action_that_a_reload_took_is_settled(world: Callable[..., World]) -> None:
    """It does not wait for ever."""
    here = world()
    own = box(here, NAME)
    event = own.event(here.made()[0])
    own.configure({})
    here.ledger.store(1, event)
    own.stored(1, [event])
    assert here.rows() == [("failed", 0, "it is not configured any more")]
