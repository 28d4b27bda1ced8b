"""What a collector is: settings, tags, and one method that yields samples.

A collector measures and returns; it neither waits for its interval nor writes nor logs. The scheduler
does the rest.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from oculus.config.settings import CollectorSettings, CollectorSpec
from oculus.model import Event, Sample, Tags

_T = TypeVar("_T")


class CollectError(Exception):
    """A run failed for a reason that has a name; the text is told to the user as it is.

    `retry_in` is when the next run makes sense, in seconds from now; None leaves it to the interval. What is
    `told` already is not reported again: a source that serves a hundred collectors tells its failure once.
    """

    def __init__(self, message: str, *, retry_in: float | None = None, told: bool = False) -> None:
        super().__init__(message)
        self.retry_in = retry_in
        self.told = told


@dataclass(frozen=True, slots=True)
class Count:
    """A figure about something that collectors share, for `/metrics`."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    value: float
    labels: Mapping[str, str]


class Context:
    """What collectors of one daemon share: sockets, TLS settings, and the daemon's own figures.

    `report` takes an event into the log and the store. `spawn(name, run)` starts a greenlet that is kept
    alive, `end(name)` ends it. `excuse(stem, local)` gives the reason why the failure of a probe is not its
    target's (which may be on this host), or an empty text; it may take some seconds.
    """

    def __init__(
        self,
        stats: Callable[[], Mapping[str, float]] = dict,
        report: Callable[[Event], None] = lambda event: None,
        spawn: Callable[[str, Callable[[], None]], object] | None = None,
        end: Callable[[str], None] | None = None,
        excuse: Callable[[str, bool], str] = lambda stem, local: "",
    ) -> None:
        self.stats = stats
        self.report = report
        self.spawn = spawn
        self.end = end
        self.excuse = excuse
        self._shared: dict[Any, Any] = {}

    def shared(self, key: Any, make: Callable[[], _T]) -> _T:
        """Return what `make` gave for `key`, made at the first call and kept until `close`."""
        if key not in self._shared:
            self._shared[key] = make()
        found: _T = self._shared[key]
        return found

    def counts(self) -> Iterator[Count]:
        """Yield the figures of what is shared."""
        for thing in self._shared.values():
            counts = getattr(thing, "counts", None)
            if counts is not None:
                yield from counts()

    def close(self) -> None:
        """Close what was shared and can be closed."""
        for thing in self._shared.values():
            close = getattr(thing, "close", None)
            if close is not None:
                close()
        self._shared.clear()


class Collector:
    """Base of all collectors, built-in or plugged in.

    A subclass sets `type`, may set `Settings` to a settings class of its own, and implements `collect`.
    """

    type: ClassVar[str] = ""
    Settings: ClassVar[builtins.type[CollectorSettings]] = CollectorSettings

    # Its samples are quotes with a time of their own: one that is not newer than the last is that one, seen
    # again, and not stored twice.
    quotes: bool = False
    # It runs at whole intervals of the wall clock (candles of a minute end with the minute).
    aligned: bool = False
    # Seconds after which the run that follows makes sense, set by `collect` for that one time; None leaves
    # it to the interval.
    rest: float | None = None
    # A word for people about values that do not move, such as `closed`; set by `collect`.
    state: str = ""

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        self.spec = spec
        self.context = context
        self.tags = Tags({**spec.settings.tags, **self.describe()})

    @property
    def group(self) -> str:
        """What runs at the same moments, so that one request serves all of it; alone by default."""
        return self.spec.id

    def describe(self) -> Mapping[str, str]:
        """Return the tags that every sample carries besides the user's: `source` or `target`."""
        return {"source": self.spec.kind}

    def collect(self) -> Iterable[Sample]:
        """Measure once and yield samples.

        Runs in a greenlet of its own under `settings.longest_run()`. An exception is a failed run: it is
        reported once, and the samples yielded before it are kept.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds beyond a run; called once, when no run will follow."""
