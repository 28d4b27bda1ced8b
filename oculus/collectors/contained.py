"""Keeping one collector's faults from all the others: a stand-in for what cannot be made.

What is not built in may raise anything at any time, and hang while it is made.
"""

from __future__ import annotations

from collections.abc import Iterator

import gevent

from oculus.collectors import collector_class
from oculus.collectors.base import CollectError, Collector, Context
from oculus.config.settings import CollectorSpec
from oculus.errors import reason
from oculus.model import Sample


def make(spec: CollectorSpec, context: Context) -> Collector:
    """Return the collector of a spec. One that cannot be made fails at each of its runs instead."""
    cls = spec.plugin or collector_class(spec.kind)
    limit = spec.settings.timeout
    with gevent.Timeout(limit) as timer:
        try:
            made = cls(spec, context)
            assert isinstance(made, Collector)
            return made
        except gevent.Timeout as fired:
            if fired is not timer:
                raise
            told = f"not done after {limit:g} s"
        except (Exception, SystemExit) as failure:
            told = reason(failure, module_of(spec))
    return Unmade(spec, context, f"cannot be made: {told}")


class Unmade(Collector):
    """Stands for a collector that could not be made, and fails with the reason."""

    def __init__(self, spec: CollectorSpec, context: Context, why: str) -> None:
        super().__init__(spec, context)
        self._why = why

    def collect(self) -> Iterator[Sample]:
        raise CollectError(self._why)


def module_of(spec: CollectorSpec) -> str:
    """Return the module of a plugin's collector, an empty text for what is built in."""
    return "" if spec.plugin is None else spec.plugin.__module__
