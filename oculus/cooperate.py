"""Long work on the hub in slices: other greenlets run between them, so that no page delays a probe."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import gevent

_T = TypeVar("_T")

SLICE = 0.004  # seconds of work between two yields to the hub

# A timer, if a short one: `gevent.sleep(0)` would only let what is ready now run, up to fifty times before
# the hub looks at timers and sockets again, which is 0.2 s of slices.
_PAUSE = 1e-6  # seconds


def pause() -> None:
    """Let every other greenlet that has something to do run first, timers and sockets included."""
    gevent.sleep(_PAUSE)


def slices(items: Iterable[_T]) -> Iterator[_T]:
    """Pass `items` through, and let other greenlets run whenever SLICE seconds have gone by."""
    until = time.perf_counter() + SLICE
    for item in items:
        yield item
        if time.perf_counter() > until:
            pause()
            until = time.perf_counter() + SLICE
