"""The outbox: hands each stored step of an alert to the couriers of its channels.

Nothing is sent on the way of probes and rules: a step is logged at once, and the rest is queued with it in
one transaction. What waited at the last stop, or kill, goes on at the next start.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from loguru import logger

from oculus.clock import now
from oculus.errors import OculusError
from oculus.model import Event, Transition
from oculus.notify import log
from oculus.notify.base import Channel
from oculus.notify.courier import STORED, Courier, Outcome
from oculus.notify.notice import Notice

LOG = "log"

# Notes outcomes by channel, what is remembered by key, and what another channel tells instead.
Settle = Callable[[Sequence[tuple[str, Outcome]], Mapping[str, str | None], Sequence[tuple[int, str]]], None]


class Outbox:
    """Couriers by the names of their channels. `spawn` and `end` start and stop greenlets by name."""

    def __init__(
        self,
        settle: Settle,
        report: Callable[[Event], object],
        spawn: Callable[[str, Callable[[], None]], object],
        end: Callable[..., object],
        dress: Callable[[Notice, int | None], Notice] = lambda notice, event: notice,
    ) -> None:
        self._settle = settle
        self._report = report
        self._spawn = spawn
        self._end = end
        self._dress = dress
        self._direct: dict[int, list[tuple[str, Transition]]] = {}  # by the identity of their events
        self.couriers: dict[str, Courier] = {}
        self.logged = 0

    def configure(self, channels: Mapping[str, Channel]) -> None:
        """Send by these channels from now on; what waits for one that is gone is given up."""
        for name in [name for name in self.couriers if name not in channels]:
            courier = self.couriers.pop(name)
            self._end(_greenlet(name))
            courier.give_up("the channel is not configured any more")
            courier.channel.close()
        for name, channel in channels.items():
            known = self.couriers.get(name)
            if known is None:
                self.couriers[name] = self._courier(name, channel)
                self._spawn(_greenlet(name), self.couriers[name].run)
            elif (type(known.channel), known.settings) != (type(channel), channel.settings):
                known.channel.close()
                known.use(channel)

    def _courier(self, name: str, channel: Channel) -> Courier:
        def settle(outcomes: Sequence[Outcome], states: Mapping[str, str | None]) -> None:
            self._settle([(name, one) for one in outcomes], states, ())

        return Courier(name, channel, settle, self._report, self._pass_on, self._dress)

    def restore(self, waiting: Iterable[tuple[int, str, Event]], stored: Mapping[str, str]) -> None:
        """Take up what waits, oldest first, and what couriers remembered, by its keys with STORED."""
        by_name: dict[str, dict[str, str]] = {name: {} for name in self.couriers}
        for key, text in stored.items():
            name, _, group = key.removeprefix(STORED).partition("/")
            by_name.get(name, {})[group] = text
        for name, texts in by_name.items():
            self.couriers[name].restore(texts)
        gone: list[tuple[str, Outcome]] = []
        for number, name, event in waiting:
            try:
                step = Transition.of_event(event)
            except (KeyError, TypeError) as error:
                gone.append((name, Outcome(number, "failed", now(), told=f"it cannot be read: {error}")))
                continue
            if name in self.couriers:
                self.couriers[name].take(number, step)
            else:
                told = "the channel is not configured any more"
                gone.append((name, Outcome(number, "failed", now(), told=told)))
        if gone:
            self._store(gone)

    # -- steps --------------------------------------------------------------------------------------------

    def event(self, step: Transition) -> Event:
        """Log a step, and return its event, with the channels that are to tell it once it is stored."""
        names = dict.fromkeys(name if name in self.couriers else LOG for name in step.channels)
        if step.suppressed or step.state not in ("firing", "resolved"):
            # The end of an alert that is not told ends it in its group.
            names = {name: None for name in names if name != LOG and step.previous == "firing"}
        elif LOG in names:
            log.send(step)
            self.logged += 1
        return replace(step.event(), channels=tuple(name for name in names if name != LOG))

    def stored(self, first_id: int, events: Sequence[Event]) -> None:
        """Hand over the steps among events that were stored, with ids from `first_id` on."""
        for number, event in enumerate(events, first_id):
            taken = self._direct.pop(id(event), None) if self._direct else None
            if taken is not None:
                for name, step in taken:
                    if name in self.couriers:
                        self.couriers[name].number(number, step)
            elif event.channels:
                step = Transition.of_event(event)
                for name in event.channels:
                    if name in self.couriers:
                        self.couriers[name].take(number, step)

    def send_unstored(self, event: Event, step: Transition) -> None:
        """Hand a step over that the database does not take now: it may be about that very fault."""
        taken = [(name, step) for name in event.channels if name in self.couriers]
        if taken:
            self._direct[id(event)] = taken
            for name, _ in taken:
                self.couriers[name].take(None, step)

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

    def _pass_on(self, name: str, steps: Iterable[tuple[int, Transition]]) -> None:
        """Have another channel tell what one gave up."""
        if name == LOG or name not in self.couriers:
            for _, step in steps:
                log.send(step)
            return
        courier = self.couriers[name]
        found = list(steps)
        self._store([], [(number, name) for number, _ in found])
        for number, step in found:
            courier.take(number, step)

    def _store(
        self, outcomes: Sequence[tuple[str, Outcome]], passed_on: Sequence[tuple[int, str]] = ()
    ) -> None:
        try:
            self._settle(outcomes, {}, passed_on)
        except OculusError as error:
            logger.debug("deliveries cannot be noted: {}", error)


def _greenlet(name: str) -> str:
    return f"channel {json.dumps(name)}"
