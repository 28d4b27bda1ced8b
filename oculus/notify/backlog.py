"""Steps of one channel that wait in the store alone, since memory has no room for them.

Each step that waits is a row of `deliveries`. A channel has so many of them in memory at most; the rest is
read in pages, oldest first, when there is room: an outage of months takes no more than one of hours.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from oculus.cooperate import slices
from oculus.errors import OculusError
from oculus.model import Event, Micros, Transition

if TYPE_CHECKING:
    from oculus.notify.courier import Outcome

# Steps that are read at once, as a part of those that fit: a thousand take 5 to 15 ms beside a million rows.
PAGES = 10


class Ledger(Protocol):
    """The deliveries as they are stored; each call waits for the database, and raises OculusError."""

    def settle(
        self,
        outcomes: Sequence[tuple[str, Outcome]],
        states: Mapping[str, str | None],
        passed_on: Sequence[tuple[int, str]],
    ) -> None:
        """Note outcomes by channel, what is remembered by key, and the events that another channel tells
        instead, in one transaction."""

    def give_up(self, channels: Collection[str], at: Micros, told: str) -> None:
        """Note that nothing of what waits for these channels will be sent."""

    def waiting(self, channel: str, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Return the oldest events that wait for a channel, but for those that it holds; None is one that is
        gone."""

    def events(self, ids: Sequence[int]) -> Mapping[int, Event]:
        """Return events by their ids, as far as they are stored."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """One channel's part of the ledger."""

    ledger: Ledger
    channel: str

    def settle(self, outcomes: Sequence[Outcome], states: Mapping[str, str | None]) -> None:
        """Note outcomes, and what is remembered by key."""
        self.ledger.settle([(self.channel, one) for one in outcomes], states, ())

    def waiting(self, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Return the oldest events that wait, but for those that are held."""
        return self.ledger.waiting(self.channel, held, limit)

    def steps(self, ids: Sequence[int]) -> dict[int, Transition]:
        """Return the steps that events record, as far as they are stored and can be read."""
        found = {}
        for id, event in self.ledger.events(ids).items():
            step = step_of(event)
            if isinstance(step, Transition):
                found[id] = step
        return found


class Backlog:
    """What of one channel waits in the store alone: `left` steps, as far as is known; `room` is how many may
    be held in memory.

    While any are left, whatever comes waits there too, so that the steps of an alert stay in order.
    """

    def __init__(self, shelf: Shelf, room: int) -> None:
        self._shelf = shelf
        self._room = room
        self._page = max(1, room // PAGES)
        self.left = 0

    def keeps(self, held: int) -> bool:
        """Tell whether a step that was stored has to wait there, when so many are held; it is counted."""
        if not self.left and held < self._room:
            return False
        self.left += 1
        return True

    def ready(self, held: int) -> bool:
        """Tell whether there is something to read, and room for it."""
        return self.left > 0 and (not held or held + self._page <= self._room)

    def give_up(self, at: Micros, told: str) -> None:
        """Note that nothing of what waits there will be sent, if that can be; else the next start does it."""
        if self.left:
            try:
                self._shelf.ledger.give_up([self._shelf.channel], at, told)
            except OculusError as error:
                logger.debug("what waits for {} cannot be given up: {}", self._shelf.channel, error)

    def page(self, held: Collection[int]) -> Iterator[tuple[int, Transition | str]]:
        """Yield the next steps, or why one cannot be read. Other greenlets run meanwhile."""
        before = self.left
        found = self._shelf.waiting(list(held), self._page)
        for event, stored in slices(found):
            yield event, step_of(stored)
        # What had been stored before was seen; what has been kept back meanwhile may not have been.
        self.left -= before if len(found) < self._page else min(len(found), self.left - 1)


def step_of(event: Event | None) -> Transition | str:
    """Return the step that a stored event records, or why it cannot be read."""
    if event is None:
        return "its event is gone"
    try:
        return Transition.of_event(event)
    except (KeyError, TypeError) as error:
        return f"it cannot be read: {error}"
