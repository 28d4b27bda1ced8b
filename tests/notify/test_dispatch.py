"""The dispatcher: each transition to each of its channels, whatever one of them does."""

from __future__ import annotations

import sys

import gevent
import pytest

from oculus.model import Micros, Transition
from oculus.notify import ANNOUNCED, CHANNELS, channel
from oculus.notify.dispatch import Dispatcher
from tests.support.log import logged


def transition(*channels: str) -> Transition:
    """Return a step of an alert whose rule names these channels."""
    return Transition(
        ts=Micros(1), rule="r", state="firing", previous="inactive", severity="warn", message="m",
        started_at=Micros(1), channels=channels,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("channels", "reached"),
    [
        (("log",), ["log"]),
        (("log", "ops"), ["log", "ops"]),
        (("ops", "log"), ["ops", "log"]),
        (("ops", "ops"), ["ops"]),
        (("telegram",), ["log"]),
        (("telegram", "slack", "log"), ["log"]),
        (("telegram", "ops"), ["log", "ops"]),
        ((), []),
    ],
)
def test_a_transition_reaches_each_of_its_channels_once(
    channels: tuple[str, ...], reached: list[str]
) -> None:
    """In the rule's order, and one that is not there is replaced by the log."""
    seen: list[tuple[str, Transition]] = []
    dispatcher = Dispatcher(
        {name: lambda step, name=name: seen.append((name, step)) for name in ("log", "ops")}  # type: ignore[misc]
    )
    step = transition(*channels)
    dispatcher.dispatch(step)
    assert seen == [(name, step) for name in reached]
    assert (dispatcher.sent, dispatcher.failed) == (len(reached), 0)


def test_a_channel_that_fails_stops_no_other() -> None:
    """The failure is counted and logged, and the next channel has its turn."""
    seen: list[Transition] = []

    def broken(step: Transition) -> None:
        raise ConnectionError("no {route}")

    dispatcher = Dispatcher({"broken": broken, "log": seen.append})
    with logged(format="json") as log:
        dispatcher.dispatch(transition("broken", "log"))
        dispatcher.dispatch(transition("broken"))
    assert len(seen) == 1
    assert (dispatcher.sent, dispatcher.failed) == (1, 2)
    assert [(record["level"], record["message"]) for record in log.records] == [
        ("error", "channel broken failed: ConnectionError: no {route}")
    ] * 2


@pytest.mark.parametrize("name", CHANNELS)
def test_the_table_of_channels_leads_to_functions(name: str) -> None:
    """Each channel of the table can be loaded, and takes a transition."""
    with logged() as log:
        channel(name)(transition(name))
    assert len(log.lines) == 1


def test_channels_to_come_are_not_in_the_table() -> None:
    """What a configuration may name before it is there is told apart from what is there."""
    assert not ANNOUNCED & CHANNELS.keys()
    with pytest.raises(KeyError):
        channel("telegram")


def test_a_channel_cannot_end_the_program_nor_hold_it_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that calls sys.exit fails, and so does one that hangs, after a while."""
    monkeypatch.setattr("oculus.notify.dispatch.LONGEST", 0.05)
    dispatcher = Dispatcher({"exit": lambda step: sys.exit(3), "hang": lambda step: gevent.sleep(60)})
    with logged(format="json") as log:
        dispatcher.dispatch(transition("exit", "hang"))
    assert [record["message"] for record in log.records] == [
        "channel exit failed: it called sys.exit(3)",
        "channel hang failed: not done after 0.05 s",
    ]
    assert (dispatcher.sent, dispatcher.failed) == (0, 2)
