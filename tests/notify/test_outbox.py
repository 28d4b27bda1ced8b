"""The outbox: which channel is told of which step, and what happens to channels that come and go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError
from oculus.model import AlertState, Event, Micros, Transition
from oculus.notify import CHANNELS, channel_class
from oculus.notify.base import Channel
from oculus.notify.courier import Outcome
from oculus.notify.outbox import Outbox
from tests.support.log import logged


class Sink(Channel):
    """A channel that nothing is sent by here."""


class World:
    """An outbox without greenlets, and what it stores."""

    def __init__(self, *channels: str) -> None:
        self.outcomes: list[tuple[str, int, str]] = []
        self.passed_on: list[tuple[int, str]] = []
        self.running: list[str] = []
        self.down = False
        self.outbox = Outbox(self._settle, lambda event: None, self._spawn, self._end)
        self.configure(*channels)

    def configure(self, *channels: str, **settings: Any) -> None:
        """Have these channels from now on."""
        self.outbox.configure({name: Sink(ChannelSettings(**settings)) for name in channels})

    def _spawn(self, name: str, run: Callable[[], None]) -> None:
        self.running.append(name)

    def _end(self, *names: str) -> None:
        self.running = [name for name in self.running if name not in names]

    def _settle(
        self,
        outcomes: Sequence[tuple[str, Outcome]],
        states: Mapping[str, str | None],
        passed_on: Sequence[tuple[int, str]],
    ) -> None:
        if self.down:
            raise OculusError("no disk")
        self.outcomes += [(name, one.event, one.state) for name, one in outcomes]
        self.passed_on += passed_on

    def waiting(self) -> dict[str, int]:
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
    assert world.waiting() == {"ops": 1, "mail": 1}
    world.configure("mail")
    assert world.outcomes == [("ops", 8, "failed")]
    assert world.running == ['channel "mail"']


def test_what_waited_is_taken_up_again() -> None:
    """By the channels that are there still; what nobody can read, or tell, is given up."""
    world = World("ops")
    event = step("ops").event()
    broken = Event(Micros(1), "x", "alert", "warn", "m", {"rule": "r"})
    world.outbox.restore(
        [(1, "ops", event), (2, "gone", event), (3, "ops", broken)], {"notice/gone/[]": "{}"}
    )
    assert world.waiting() == {"ops": 1}
    assert world.outcomes == [("gone", 2, "failed"), ("ops", 3, "failed")]


def test_a_database_that_takes_nothing_holds_up_no_alert() -> None:
    """What is sent before it is stored is not sent again once it is."""
    world = World("ops")
    world.down = True
    given = step("ops")
    event = world.outbox.event(given)
    world.outbox.send_unstored(event, given)
    assert world.waiting() == {"ops": 1}
    world.down = False
    world.outbox.stored(9, [event])
    assert world.waiting() == {"ops": 1}
    world.configure()
    assert world.outcomes == [("ops", 9, "failed")]


def test_what_one_gives_up_another_tells() -> None:
    """The log too."""
    world = World("ops", "mail")
    world.outbox._pass_on("mail", [(4, step("ops"))])
    assert world.passed_on == [(4, "mail")]
    assert world.waiting() == {"ops": 0, "mail": 1}
    with logged() as log:
        world.outbox._pass_on("log", [(4, step("ops"))])
    assert len(log.lines) == 1


def test_a_changed_channel_keeps_what_waits() -> None:
    """A new token does not lose a message."""
    world = World("ops")
    world.outbox.stored(1, [world.outbox.event(step("ops"))])
    world.configure("ops", most=5)
    assert world.waiting() == {"ops": 1}
    assert world.outbox.couriers["ops"].settings.most == 5


@pytest.mark.parametrize("kind", CHANNELS)
def test_the_table_of_channels_leads_to_classes(kind: str) -> None:
    """Each can be loaded, and has settings of its own."""
    found = channel_class(kind)
    assert issubclass(found, Channel)
    assert issubclass(found.Settings, ChannelSettings)
