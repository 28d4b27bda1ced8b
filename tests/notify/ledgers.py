"""Deliveries for the tests of couriers and runners, in a real file; it can be told to take nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from oculus.errors import OculusError
from oculus.model import Batch, Event, Micros
from oculus.notify.courier import Outcome
from oculus.storage import ingest, outbox
from oculus.storage.database import Database


class StoredLedger:
    """A ledger without threads. `broken` makes each call fail, as a disk that is gone does."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.database = Database(path)
        self.broken = False
        self.settled = 0  # calls

    def kill(self) -> None:
        """Open the file anew, as the next start does."""
        self.database.close()
        self.database = Database(self.path)
        self.broken = False

    def store(self, first: int, *events: Event) -> None:
        """Store events with ids from `first` on."""
        ingest.write(self.database.connection, Batch((), events), first)

    def backlog(self) -> dict[str, int]:
        """Return how many deliveries wait, by channel."""
        return outbox.backlog(self.database.connection)

    def remembered(self, prefix: str) -> dict[str, str]:
        """Return what is stored by the keys that begin so, which is left out of them."""
        states = ingest.read_states(self.database.connection, prefix)
        return {key.removeprefix(prefix): text for key, text in states.items()}

    def settle(
        self,
        outcomes: Sequence[tuple[str, Outcome]],
        states: Mapping[str, str | None],
        passed_on: Sequence[tuple[int, str]],
    ) -> None:
        """Note outcomes, states, and what another channel tells."""
        self._work()
        self.settled += 1
        found = [
            outbox.Outcome(one.event, channel, one.state, one.at, one.tries, one.notice, one.told)
            for channel, one in outcomes
        ]
        outbox.settle(self.database.connection, found, states, passed_on)

    def give_up(self, channels: Collection[str], at: Micros, told: str) -> None:
        """Note that nothing of what waits for these channels will be sent."""
        self._work()
        outbox.give_up(self.database.connection, channels, at, told)

    def waiting(self, channel: str, held: Sequence[int], limit: int) -> Sequence[tuple[int, Event | None]]:
        """Return the oldest events that wait."""
        self._work()
        return outbox.waiting(self.database.connection, channel, held, limit)

    def events(self, ids: Sequence[int]) -> Mapping[int, Event]:
        """Return events by their ids."""
        self._work()
        return outbox.events(self.database.connection, ids)

    def _work(self) -> None:
        if self.broken:
            raise OculusError("the disk is gone")
