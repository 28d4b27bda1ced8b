"""The one bounded queue between everything that measures and the one writer.

It is bounded in rows. `put` is for collectors and never blocks: past the bound the oldest samples go,
and are counted. `offer` is for senders that can wait and try again: past the bound it refuses. Events are
few and dear, and have a bound of their own.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from gevent.event import Event as Signal

from oculus.model import Batch, Event, Sample

# Events kept while the database takes none; at one per state change this outlasts any outage.
MAX_EVENTS = 10_000  # events


class Pipe:
    """A bounded queue of sample runs and events, with one consumer.

    Counters only grow: `accepted`, `dropped` and `refused` are samples, `dropped_events` events.
    """

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.accepted = 0
        self.dropped = 0
        self.refused = 0
        self.dropped_events = 0
        self.high_water = 0
        self._runs: deque[Sequence[Sample]] = deque()
        self._events: deque[Event] = deque()
        self._rows = 0
        self._wanted = max_rows
        self._first_at = 0.0
        self._closed = False
        self._some = Signal()
        self._enough = Signal()

    def __len__(self) -> int:
        """Samples that wait now."""
        return self._rows

    @property
    def events(self) -> int:
        """Events that wait now."""
        return len(self._events)

    def put(self, samples: Sequence[Sample]) -> None:
        """Queue a run of stamped samples; drops the oldest queued ones when there is no room."""
        if not samples:
            return
        if len(samples) > self.max_rows:
            self.dropped += len(samples) - self.max_rows
            samples = samples[-self.max_rows :]
        while self._rows + len(samples) > self.max_rows:
            self._drop_oldest(self._rows + len(samples) - self.max_rows)
        self._append(samples)

    def offer(self, samples: Sequence[Sample]) -> bool:
        """Queue a run of stamped samples if all of it fits; return whether it did."""
        if self._rows + len(samples) > self.max_rows:
            self.refused += len(samples)
            return False
        if samples:
            self._append(samples)
        return True

    def put_event(self, event: Event) -> None:
        """Queue an event."""
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self.dropped_events += 1
        self._events.append(event)
        self._notify()

    def take(self, max_rows: int, linger: float) -> Batch | None:
        """Wait for a batch: until `max_rows` samples wait or the first has waited `linger` seconds.

        Runs are kept whole, so a batch may exceed `max_rows` by a run. Returns None once the pipe is
        closed and empty.
        """
        self._wanted = max_rows
        self._some.wait()
        if not self._closed and self._rows < max_rows:
            self._enough.clear()
            self._enough.wait(max(0.0, self._first_at + linger - time.monotonic()))
        samples: list[Sample] = []
        while self._runs and len(samples) < max_rows:
            samples.extend(self._runs.popleft())
        self._rows -= len(samples)
        events = tuple(self._events)
        self._events.clear()
        if not self._runs:
            if self._closed:
                return Batch(tuple(samples), events) if samples or events else None
            self._some.clear()
        return Batch(tuple(samples), events)

    def close(self) -> None:
        """Let the consumer drain what waits, at once, and then end. What is put later is still taken
        until the consumer sees the pipe empty."""
        self._closed = True
        self._some.set()
        self._enough.set()

    def _append(self, samples: Sequence[Sample]) -> None:
        self._runs.append(samples)
        self._rows += len(samples)
        self.accepted += len(samples)
        self.high_water = max(self.high_water, self._rows)
        self._notify()

    def _notify(self) -> None:
        if not self._some.is_set():
            self._first_at = time.monotonic()
            self._some.set()
        if self._rows >= self._wanted or self._closed:
            self._enough.set()

    def _drop_oldest(self, rows: int) -> None:
        oldest = self._runs.popleft()
        if len(oldest) > rows:
            self._runs.appendleft(oldest[rows:])
            lost = rows
        else:
            lost = len(oldest)
        self._rows -= lost
        self.dropped += lost
