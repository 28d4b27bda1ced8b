"""The deliveries in the store, as couriers and runners know them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from oculus.masking import mask
from oculus.model import Event, Micros
from oculus.notify.courier import Outcome
from oculus.storage import outbox
from oculus.storage.readers import Readers
from oculus.storage.writer import Writer


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Implements `Ledger` of the outbox: what is written goes through the one writer."""

    writer: Writer
    readers: Readers

    def settle(
        self,
        outcomes: Sequence[tuple[str, Outcome]],
        states: Mapping[str, str | None],
        passed_on: Sequence[tuple[int, str]],
    ) -> None:
        """Note outcomes by channel, what is remembered by key, and what another channel tells instead."""
        told = [
            outbox.Outcome(one.event, channel, one.state, one.at, one.tries, one.notice, mask(one.told))
            for channel, one in outcomes
        ]
        self.writer.call(outbox.settle, told, states, passed_on)

    def give_up(self, channels: Collection[str], at: Micros, told: str) -> None:
        """Note that nothing of what waits for these channels will be sent."""
        self.writer.call(outbox.give_up, channels, at, told)

    def waiting(self, channel: str, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Return the oldest events that wait for a channel, but for those that it holds."""
        return self.readers.run(outbox.waiting, channel, held, limit)

    def events(self, ids: Sequence[int]) -> Mapping[int, Event]:
        """Return events by their ids, as far as they are stored."""
        return self.readers.run(outbox.events, ids)
