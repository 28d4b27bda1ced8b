"""The outbox: hands each stored step of an alert to its channels' couriers and its actions' runners.

Nothing is sent on the way of probes and rules: a step is logged at once, and the rest is queued with it in
one transaction. What waited at the last stop, or kill, goes on at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from loguru import logger

from oculus.clock import now
from oculus.config.settings import ACTION
from oculus.errors import OculusError
from oculus.model import Event, Transition
from oculus.notify import log
from oculus.notify.action import Action
from oculus.notify.backlog import Ledger, Shelf
from oculus.notify.base import Channel
from oculus.notify.courier import AT_ONCE, EARLY, STORED, Courier, Outcome, Progress, shorten
from oculus.notify.notice import Notice
from oculus.notify.parcel import Held, Words
from oculus.notify.runner import Runner

LOG = "log"

_GONE = "it is not configured any more"


class Outbox:
    """Couriers by the names of their channels, and runners by those of their actions. `spawn` and `end` start
    and stop greenlets by name."""

    def __init__(
        self,
        ledger: Ledger,
        report: Callable[[Event], object],
        spawn: Callable[[str, Callable[[], None]], object],
        end: Callable[..., object],
        dress: Callable[[Notice, int | None], Notice] = lambda notice, event: notice,
        silenced: Callable[[Transition], bool] = lambda step: False,
    ) -> None:
        self._ledger = ledger
        self._report = report
        self._spawn = spawn
        self._end = end
        self._dress = dress
        self._silenced = silenced
        # What was taken before it was stored, by the identity of its event, which is kept for as long.
        self._direct: dict[int, tuple[Event, list[tuple[str, Transition]]]] = {}
        self.couriers: dict[str, Courier | Runner] = {}
        self.logged = 0

    @property
    def channels(self) -> dict[str, Channel | Action]:
        """The channels and actions that are used now."""
        return {name: courier.channel for name, courier in self.couriers.items()}

    def configure(self, channels: Mapping[str, Channel | Action]) -> None:
        """Use these channels and actions from now on; what waits for one that is gone is given up."""
        for name in [name for name in self.couriers if name not in channels]:
            courier = self.couriers.pop(name)
            self._end(_greenlet(name))
            courier.give_up(_GONE)
            courier.channel.close()
        for name, channel in channels.items():
            known = self.couriers.get(name)
            if known is None:
                self.couriers[name] = self._courier(name, channel)
                self._spawn(_greenlet(name), self.couriers[name].run)
            elif (type(known.channel), known.settings) != (type(channel), channel.settings):
                known.channel.close()
                known.use(channel)  # type: ignore[arg-type]  # by its name it is of the same sort

    def _courier(self, name: str, channel: Channel | Action) -> Courier | Runner:
        shelf = Shelf(self._ledger, name)
        if isinstance(channel, Action):
            return Runner(name, channel, shelf, self._report, self._dress)
        return Courier(
            name, channel, shelf, self._report, self._pass_on, self._dress, silenced=self._silenced
        )

    def restore(self, waiting: Mapping[str, int], stored: Mapping[str, str]) -> None:
        """Take up what waits in the store, so many steps for each channel, and what couriers remembered, by
        its keys with STORED."""
        by_name: dict[str, dict[str, str]] = {name: {} for name in self.couriers}
        forgotten: dict[str, None] = {}
        for key, text in stored.items():
            name, _, group = key.removeprefix(STORED).partition("/")
            if name in by_name:
                by_name[name][group] = text
            else:
                forgotten[key] = None
        for name, texts in by_name.items():
            self.couriers[name].restore(texts, waiting.get(name, 0))
        gone = waiting.keys() - self.couriers.keys()
        try:
            if gone:
                self._ledger.give_up(gone, now(), _GONE)
            if forgotten:
                self._ledger.settle((), forgotten, ())
        except OculusError as error:
            logger.debug("what waits for channels that are gone cannot be given up: {}", error)

    # -- steps --------------------------------------------------------------------------------------------

    def event(self, step: Transition) -> Event:
        """Log a step, and return its event, with the channels that are to tell it once it is stored, and the
        actions that are to act upon it."""
        acting = [name for name in step.channels if name.startswith(ACTION)]
        told_by = (name for name in step.channels if name not in acting)
        names = dict.fromkeys(name if name in self.couriers else LOG for name in told_by)
        if step.suppressed or step.state not in ("firing", "resolved"):
            # The end of an alert that is not told ends it in its group.
            names = {name: None for name in names if name != LOG and step.previous == "firing"}
            acting = []
        elif LOG in names:
            log.send(step)
            self.logged += 1
        return replace(step.event(), channels=(*(name for name in names if name != LOG), *acting))

    def stored(self, first_id: int, events: Sequence[Event]) -> None:
        """Hand over the steps among events that were stored, with ids from `first_id` on."""
        gone: list[tuple[str, Outcome]] = []
        for number, event in enumerate(events, first_id):
            taken = self._direct.pop(id(event), None) if self._direct else None
            if taken is not None:
                for name, step in taken[1]:
                    if name in self.couriers:
                        self.couriers[name].number(number, step)
                    else:
                        gone.append((name, Outcome(number, "failed", now(), told=_GONE)))
            elif event.channels:
                step = Transition.of_event(event)
                for name in event.channels:
                    if name in self.couriers:
                        self.couriers[name].take(number, step)
                    else:  # a reload came in between
                        gone.append((name, Outcome(number, "failed", now(), told=_GONE)))
        if gone:
            self._store(gone)

    def send_unstored(self, event: Event, step: Transition) -> None:
        """Hand a step over that the database does not take now: it may be about that very fault."""
        taken = [(name, step) for name in event.channels if name in self.couriers]
        if taken:
            self._direct[id(event)] = event, taken
            shorten(self._direct, EARLY)
            for name, _ in taken:
                self.couriers[name].take(None, step)

    def progress(self, event: int, name: str) -> Progress | None:
        """Return how far a step has come that waits for a channel, by its event; None when it does not."""
        courier = self.couriers.get(name)
        return None if courier is None else courier.progress(event)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return how many messages were sent, how many tries failed, and how many steps wait."""
        couriers = self.couriers.values()
        return (
            self.logged + sum(courier.sent for courier in couriers),
            sum(courier.failed for courier in couriers),
            sum(courier.waiting for courier in couriers),
        )

    def close(self) -> None:
        """Stop sending; what is on its way goes on at the next start."""
        self._end(*map(_greenlet, self.couriers))
        for courier in self.couriers.values():
            courier.channel.close()

    def _pass_on(self, name: str, held: Sequence[Held], words: Words) -> None:
        """Have another channel tell what one gives up."""
        courier = self.couriers.get(name)
        if name == LOG or not isinstance(courier, Courier):
            for start in range(0, len(held), AT_ONCE):
                for step in words(held[start : start + AT_ONCE]):
                    log.send(step)
            return
        stored = [one for one in held if one.event >= 0]
        if stored and self._store([], [(one.event, name) for one in stored]):
            courier.more(len(stored))
            held = [one for one in held if one.event < 0]
        for step in words(held):
            courier.take_unstored(step)

    def _store(
        self, outcomes: Sequence[tuple[str, Outcome]], passed_on: Sequence[tuple[int, str]] = ()
    ) -> bool:
        try:
            self._ledger.settle(outcomes, {}, passed_on)
        except OculusError as error:
            logger.debug("deliveries cannot be noted: {}", error)
            return False
        return True


def _greenlet(name: str) -> str:
    return f"channel {json.dumps(name)}"
