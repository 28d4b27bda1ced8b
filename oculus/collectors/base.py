"""What a collector is: settings, tags, and one method that yields samples.

A collector measures and returns; it neither waits for its interval nor writes nor logs. The scheduler
does the rest.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

from oculus.config.settings import CollectorSettings, CollectorSpec
from oculus.model import Sample, Tags

_T = TypeVar("_T")


class Context:
    """What collectors of one daemon share: sockets, TLS settings, and the daemon's own figures."""

    def __init__(self, stats: Callable[[], Mapping[str, float]] = dict) -> None:
        self.stats = stats
        self._shared: dict[Any, Any] = {}

    def shared(self, key: Any, make: Callable[[], _T]) -> _T:
        """Return what `make` gave for `key`, made at the first call and kept until `close`."""
        if key not in self._shared:
            self._shared[key] = make()
        found: _T = self._shared[key]
        return found

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

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        self.spec = spec
        self.context = context
        self.tags = Tags({**spec.settings.tags, **self.describe()})

    def describe(self) -> Mapping[str, str]:
        """Return the tags that every sample carries besides the user's: `source` or `target`."""
        return {"source": self.spec.kind}

    def collect(self) -> Iterable[Sample]:
        """Measure once and yield samples.

        Runs in a greenlet of its own under `settings.longest_run()`. An exception is a failed run: it is
        reported once, and the samples yielded before it are kept.
        """
        raise NotImplementedError
