"""The outbox: which channel is told of which step, and what happens to channels that come and go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest

from oculus.clock import now
from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError
from oculus.model import AlertState, Event, Micros, Transition
from oculus.notify import CHANNELS, channel_class
from oculus.notify.base import Channel
from oculus.notify.courier import Courier, Outcome
from oculus.notify.outbox import Outbox
from oculus.notify.parcel import Held
from tests.support.log import logged


class Sink(Channel):
    """A channel that nothing is sent by here."""


class World:
    """An outbox without greenlets, and what it stores."""

    def __init__(self, *channels: str) -> None:
        self.outcomes: list[tuple[str, int, str]] = []
        self.states: dict[str, str | None] = {}
        self.given_up: list[str] = []
        self.stored: dict[str, list[tuple[int, Event | None]]] = {}
        self.passed_on: list[tuple[int, str]] = []
        self.running: list[str] = []
        self.down = False
        self.outbox = Outbox(self, lambda event: None, self._spawn, self._end)
        self.configure(*channels)

    def configure(self, *channels: str, **settings: Any) -> None:
        """Have these channels from now on."""
        self.outbox.configure({name: Sink(ChannelSettings(**settings)) for name in channels})

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        self.running.append(name)

    def _end(self, *names: str) -> None:
        self.running = [name for name in self.running if name not in names]

    def settle(
        self,
        outcomes: Sequence[tuple[str, Outcome]],
        states: Mapping[str, str | None],
        passed_on: Sequence[tuple[int, str]],
    ) -> None:
        """Note what is to be stored."""
        if self.down:
            raise OculusError("no disk")
        self.outcomes += [(name, one.event, one.state) for name, one in outcomes]
        self.states |= states
        self.passed_on += passed_on

    def give_up(self, channels: Collection[str], at: Micros, told: str) -> None:
        """Note which channels are gone."""
        self.given_up += channels

    def waiting(self, channel: str, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Return what waits in the store."""
        return [found for found in self.stored.get(channel, ()) if found[0] not in held]

    def events(self, ids: Sequence[int]) -> Mapping[int, Event]:
        """Return events, of which there are none."""
        return {}

    def held(self) -> dict[str, int]:
        """Return how many steps wait for each channel."""
        return {name: courier.waiting for name, courier in self.outbox.couriers.items()}


def step(
    *channels: str, state: AlertState = "firing", previous: AlertState = "inactive", **more: Any
) -> Transition:
    """Return a step of an alert whose rule names these channels."""
    given: dict[str, Any] = {
        "ts": Micros(1),
        "message": "m",
        "started_at": Micros(1),
        "severity": "warn",
    } | more
    return Transition(rule="r", state=state, previous=previous, channels=channels, **given)


@pytest.mark.parametrize(
    ("channels", "logged_lines", "queued"),
    [
        (("log",), 1, ()),
        (("log", "ops"), 1, ("ops",)),
        (("ops", "ops"), 0, ("ops",)),
        (("telegram",), 1, ()),
        (("telegram", "slack", "log"), 1, ()),
        (("telegram", "ops"), 1, ("ops",)),
        ((), 0, ()),
    ],
)
def test_each_channel_is_told_once(
    channels: tuple[str, ...], logged_lines: int, queued: tuple[str, ...]
) -> None:
    """One that is not there is replaced by the log, which needs no queue."""
    world = World("ops")
    with logged() as log:
        event = world.outbox.event(step(*channels))
    assert (len(log.lines), event.channels) == (logged_lines, queued)


@pytest.mark.parametrize(
    ("given", "lines", "queued"),
    [
        (step("log", "ops", state="pending"), 0, ()),
        (step("log", "ops", suppressed="silenced"), 0, ()),
        (step("log", "ops", state="firing", previous="firing"), 1, ("ops",)),
        (step("log", "ops", state="resolved", previous="firing"), 1, ("ops",)),
        # Nobody is told, but the group has to know that it is over.
        (step("log", "ops", state="resolved", previous="firing", suppressed="silenced"), 0, ("ops",)),
        (step("log", "ops", state="pending", previous="firing"), 0, ("ops",)),
    ],
)
def test_what_is_told(given: Transition, lines: int, queued: tuple[str, ...]) -> None:
    """Firing and resolved, unless it is suppressed."""
    world = World("ops")
    with logged() as log:
        event = world.outbox.event(given)
    assert (len(log.lines), event.channels) == (lines, queued)


def test_what_was_stored_is_handed_over() -> None:
    """With the ids that it was stored under."""
    world = World("ops", "mail")
    events = [Event(Micros(1), "x", "system", "info", "other"), world.outbox.event(step("ops", "mail"))]
    world.outbox.stored(7, events)
    assert world.held() == {"ops": 1, "mail": 1}
    world.configure("mail")
    assert world.outcomes == [("ops", 8, "failed")]
    assert world.running == ['channel "mail"']


def test_what_waited_is_taken_up_again() -> None:
    """By the channels that are there still; what nobody can read, or tell, is given up."""
    world = World("ops")
    event = step("ops", ts=now()).event()
    broken = Event(Micros(1), "x", "alert", "warn", "m", {"rule": "r"})
    world.stored["ops"] = [(1, event), (3, broken), (4, None)]
    world.outbox.restore({"ops": 3, "gone": 1}, {"notice/gone/[]": "{}"})
    assert world.held() == {"ops": 3}
    assert (world.given_up, world.states) == (["gone"], {"notice/gone/[]": None})
    courier = world.outbox.couriers["ops"]
    assert isinstance(courier, Courier)
    courier.step()
    assert world.held() == {"ops": 1}
    assert world.outcomes == [("ops", 3, "failed"), ("ops", 4, "failed")]


def test_a_database_that_takes_nothing_holds_up_no_alert() -> None:
    """What is sent before it is stored is not sent again once it is."""
    world = World("ops")
    world.down = True
    given = step("ops")
    event = world.outbox.event(given)
    world.outbox.send_unstored(event, given)
    assert world.held() == {"ops": 1}
    world.down = False
    world.outbox.stored(9, [event])
    assert world.held() == {"ops": 1}
    world.configure()
    assert world.outcomes == [("ops", 9, "failed")]


def test_what_one_gives_up_another_tells() -> None:
    """The log too."""
    world = World("ops", "mail")
    given = {number: step("ops", labels={"number": str(number)}) for number in (4, -1, 5)}
    held = [Held.of(number, given[number]) for number in (4, -1)]

    def words(wanted: Sequence[Held]) -> list[Transition]:
        return [given[one.event] for one in wanted]

    world.outbox._pass_on("mail", held, words)
    assert world.passed_on == [(4, "mail")]  # the other one is not stored
    assert world.held() == {"ops": 0, "mail": 2}
    world.down = True
    world.outbox._pass_on("mail", [Held.of(5, given[5])], words)
    assert world.held() == {"ops": 0, "mail": 3}
    with logged() as log:
        world.outbox._pass_on("log", held, words)
    assert len(log.lines) == 2


def test_a_changed_channel_keeps_what_waits() -> None:
    """A new token does not lose a message."""
    world = World("ops")
    world.outbox.stored(1, [world.outbox.event(step("ops"))])
    world.configure("ops", most=5)
    assert world.held() == {"ops": 1}
    settings = world.outbox.couriers["ops"].settings
    assert isinstance(settings, ChannelSettings)
    assert settings.most == 5


@pytest.mark.parametrize("kind", CHANNELS)
def test_the_table_of_channels_leads_to_classes(kind: str) -> None:
    """Each can be loaded, and has settings of its own."""
    found = channel_class(kind)
    assert issubclass(found, Channel)
    assert issubclass(found.Settings, ChannelSettings)
