"""The one bounded queue between everything that measures and the one writer.

It is bounded in rows and in bytes. `put` is for collectors and never blocks: past a bound the oldest samples
go, and are counted by the bound. `offer` is for senders that can wait: it holds back one that outruns the
consumer, and past a bound it refuses. Events are few and dear, and have a bound of their own.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence

from gevent.event import Event as Signal

from oculus.errors import TooLarge
from oculus.model import Batch, Event, Sample, Tags

# Events kept while the database takes none; at one per state change this outlasts any outage.
MAX_EVENTS = 10_000  # events

# What samples may take while they wait: 300,000 of collectors, a sixth of what a small board has.
MAX_BYTES = 64 * 10**6  # bytes

# What a sample takes without the text of its symbol and without tags; measured with tracemalloc on CPython
# 3.11: 72 for itself, 24 for the value, 32 for the time, 49 for a symbol's header, 8 in the run, 8 in the
# batch. A candle, which few have, takes 130 more.
_SAMPLE = 198  # bytes

# What tags of their own take without the texts: 72 for the dict, 192 and more for its table and the JSON.
_TAGS = 250  # bytes
_TEXT = sys.getsizeof("")  # bytes of a text's header

# A batch takes at most this share of the bytes, and a run: the writer holds it while new samples come.
_BATCH_SHARE = 4

# A sender that outruns the consumer waits for it, so that what was accepted is soon stored; but only as long
# as the consumer comes back within this time: while the database takes nothing there is nothing to wait for.
_PATIENCE = 1.0  # seconds

QUEUE_FULL = "queue_full"
QUEUE_MEMORY = "queue_memory"


def weigh(samples: Sequence[Sample]) -> int:
    """Return the bytes that a run takes in memory, by estimate; each Tags instance is counted once ever.

    It costs 0.2 µs for a sample. An instance that comes again is a collector's own, and no burden of the
    queue's.
    """
    weight = _SAMPLE * len(samples)
    last: Mapping[str, str] | None = None
    for sample in samples:
        weight += len(sample.symbol)
        if sample.tags is not last:
            last = sample.tags
            weight += _tags_weight(last)
    return weight


def _tags_weight(tags: Mapping[str, str]) -> int:
    if isinstance(tags, Tags):
        if tags.counted:
            return 0
        tags.counted = True
    # A text is held twice: with its header, and within the JSON without.
    texts = sum(sys.getsizeof(key) + sys.getsizeof(text) for key, text in tags.items())
    return _TAGS + 2 * texts - 2 * _TEXT * len(tags)


class _Run:
    """Samples that were queued together, and what they take."""

    __slots__ = ("samples", "weight")

    def __init__(self, samples: Sequence[Sample], weight: int) -> None:
        self.samples = samples
        self.weight = weight  # bytes

    def cut(self, rows: int) -> None:
        """Drop its oldest samples."""
        self.weight -= self.weight * rows // len(self.samples)
        self.samples = self.samples[rows:]


class Pipe:
    """A bounded queue of sample runs and events, with one consumer.

    Counters only grow: `accepted`, `drops` and `refused` are samples, `dropped_events` events. The bytes of
    the batch that the consumer took last count until it comes for the next: it may have to keep it.
    """

    def __init__(self, max_rows: int, max_bytes: int = MAX_BYTES) -> None:
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.accepted = 0
        self.drops = {QUEUE_FULL: 0, QUEUE_MEMORY: 0}  # samples that were dropped, by reason
        self.refused = 0
        self.dropped_events = 0
        self.high_water = 0
        self._runs: deque[_Run] = deque()
        self._events: deque[Event] = deque()
        self._memories: dict[str, str] = {}
        self._rows = 0
        self._waiting = 0  # bytes of the runs
        self._taken = 0  # bytes of the last batch
        self._wanted = max_rows
        self._first_at = 0.0
        self._patience = _PATIENCE
        self._taken_at = 0.0  # monotonic; infinite while the consumer waits for a batch
        self._room = Signal()
        self._closed = Signal()
        self._some = Signal()
        self._enough = Signal()

    def __len__(self) -> int:
        """Samples that wait now."""
        return self._rows

    @property
    def bytes(self) -> int:
        """What the samples take that wait or are being written, by estimate."""
        return self._waiting + self._taken

    @property
    def dropped(self) -> int:
        """Samples that were dropped for any reason."""
        return sum(self.drops.values())

    @property
    def events(self) -> int:
        """Events that wait now."""
        return len(self._events)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return bool(self._closed.is_set())

    def put(self, samples: Sequence[Sample]) -> None:
        """Queue a run of stamped samples; drops the oldest queued ones when there is no room.

        The run itself is dropped only as far as it exceeds the whole queue.
        """
        if not samples:
            return
        run = _Run(samples, weigh(samples))
        if len(samples) > self.max_rows:
            self._drop(run, len(samples) - self.max_rows, QUEUE_FULL)
        if run.weight > self.max_bytes:
            self._drop(run, _rows_of(run, run.weight - self.max_bytes), QUEUE_MEMORY)
        while self._runs and self._rows + len(run.samples) > self.max_rows:
            self._drop_oldest(self._rows + len(run.samples) - self.max_rows, QUEUE_FULL)
        while self._runs and self.bytes + run.weight > self.max_bytes:
            excess = self.bytes + run.weight - self.max_bytes
            self._drop_oldest(_rows_of(self._runs[0], excess), QUEUE_MEMORY)
        self._append(run)

    def offer(self, samples: Sequence[Sample]) -> bool:
        """Queue a run of stamped samples if all of it fits; return whether it did.

        Waits while a whole batch waits already and the consumer is at work, at most 1 s. Raises TooLarge for
        a run that would not fit if nothing else waited.
        """
        run = _Run(samples, weigh(samples))
        if len(samples) > self.max_rows:
            raise TooLarge(f"{len(samples)} samples; the queue takes {self.max_rows} (send fewer at once)")
        if run.weight > self.max_bytes:
            raise TooLarge(
                f"the samples take {run.weight / 1e6:.1f} MB of memory; the queue has"
                f" {self.max_bytes / 1e6:.1f} MB (send fewer at once, or with shorter tags)"
            )
        self._wait_for_consumer()
        if self._rows + len(samples) > self.max_rows or self.bytes + run.weight > self.max_bytes:
            self.refused += len(samples)
            return False
        if samples:
            self._append(run)
        return True

    def put_event(self, event: Event) -> None:
        """Queue an event."""
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self.dropped_events += 1
        self._events.append(event)
        if event.memory is not None:
            self._memories.pop(event.memory[0], None)
        self._notify()

    def remember(self, memories: Mapping[str, str]) -> None:
        """Queue texts that are to be remembered under their keys, in place of those that wait."""
        self._memories |= memories
        self._notify()

    def take(self, max_rows: int, linger: float) -> Batch | None:
        """Wait for a batch: until `max_rows` samples wait or the first has waited `linger` seconds.

        Runs are kept whole, so a batch may exceed `max_rows` by a run; long tags make it smaller. Returns
        None once the pipe is closed and empty.
        """
        self._wanted = max_rows
        self._taken = 0
        self._taken_at = math.inf
        self._some.wait()
        if not self.closed and not self._is_enough():
            self._enough.clear()
            self._enough.wait(max(0.0, self._first_at + linger - time.monotonic()))
        samples: list[Sample] = []
        most = self.max_bytes // _BATCH_SHARE
        while self._runs and len(samples) < max_rows and self._taken < most:
            run = self._runs.popleft()
            samples.extend(run.samples)
            self._waiting -= run.weight
            self._taken += run.weight
        self._rows -= len(samples)
        self._taken_at = time.monotonic()
        self._room.set()
        batch = Batch(tuple(samples), tuple(self._events), tuple(self._memories.items()))
        self._events.clear()
        self._memories.clear()
        if not self._runs:
            if self.closed:
                return batch or None
            self._some.clear()
        return batch

    def close(self) -> None:
        """Let the consumer drain what waits, at once, and then end. What is put later is still taken
        until the consumer sees the pipe empty."""
        self._closed.set()
        self._room.set()
        self._some.set()
        self._enough.set()

    def hurry(self) -> None:
        """Hold no sender back from now on: a stop leaves little time."""
        self._patience = 0.0
        self._room.set()

    def wait_closed(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the close; return whether it has come."""
        return bool(self._closed.wait(timeout))

    def _wait_for_consumer(self) -> None:
        began = time.monotonic()
        while self._is_enough() and not self.closed:
            left = min(began, self._taken_at) + self._patience - time.monotonic()
            if left <= 0:
                return
            self._room.clear()
            self._room.wait(left)

    def _append(self, run: _Run) -> None:
        self._runs.append(run)
        self._rows += len(run.samples)
        self._waiting += run.weight
        self.accepted += len(run.samples)
        self.high_water = max(self.high_water, self._rows)
        self._notify()

    def _is_enough(self) -> bool:
        return self._rows >= self._wanted or self._waiting >= self.max_bytes // _BATCH_SHARE

    def _notify(self) -> None:
        if not self._some.is_set():
            self._first_at = time.monotonic()
            self._some.set()
        if self.closed or self._is_enough():
            self._enough.set()

    def _drop(self, run: _Run, rows: int, reason: str) -> None:
        self.drops[reason] += rows
        run.cut(rows)

    def _drop_oldest(self, rows: int, reason: str) -> None:
        oldest = self._runs[0]
        lost, weight = min(rows, len(oldest.samples)), oldest.weight
        self._drop(oldest, lost, reason)
        if not oldest.samples:
            self._runs.popleft()
        self._rows -= lost
        self._waiting -= weight - oldest.weight


def _rows_of(run: _Run, weight: int) -> int:
    """Return how many samples of a run weigh at least `weight` bytes, if the run does."""
    return min(len(run.samples), -(-weight * len(run.samples) // run.weight))
