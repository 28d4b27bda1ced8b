"""How the daemon itself fares, as plain values: what the application tells the page of the system."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from oculus.model import Micros


@dataclass(frozen=True, slots=True)
class History:
    """The last minutes in equal steps of `every` seconds, oldest first: the worst lateness of the hub in
    seconds, samples and processor seconds per second, bytes of memory, and the share of the queue that is
    taken."""

    every: float = 1.0
    lateness: Sequence[float] = ()
    samples: Sequence[float] = ()
    processor: Sequence[float] = ()
    memory: Sequence[float] = ()
    queue: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class CollectorState:
    """A collector and how its last run went. No `next_run` while it runs, or before it was first given a
    turn; `word` is about values that do not move."""

    kind: str
    name: str
    interval: float
    last_run: Micros | None
    next_run: Micros | None
    last_seconds: float
    runs: int
    failures: int
    skipped: int
    series: int
    failing: bool
    error: str
    word: str


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A supervised greenlet."""

    name: str
    alive: bool
    restarts: int
    error: str


@dataclass(frozen=True, slots=True)
class ChannelState:
    """A channel of messages, or an action."""

    name: str
    kind: str
    sent: int
    failed: int
    waiting: int
    error: str
    failing_since: Micros | None


@dataclass(frozen=True, slots=True)
class System:
    """Everything at one moment. `lateness` is of the last minute: median, 99th percentile and worst, in
    seconds. `lost` counts samples by the reason why they were. `collectors` are made as they are read."""

    python: str = ""
    process: int = 0
    uptime: float = 0.0
    lateness: tuple[float, float, float] = (0.0, 0.0, 0.0)
    queued: int = 0
    queue_capacity: int = 1
    queue_bytes: int = 0
    queue_bytes_capacity: int = 1
    high_water: int = 0
    lost: Mapping[str, int] = field(default_factory=dict)
    samples: int = 0
    memory: int = 0
    history: History = History()
    collectors: Iterable[CollectorState] = ()
    workers: Sequence[WorkerState] = ()
    channels: Sequence[ChannelState] = ()
