"""Long work on the hub in slices: other greenlets run between them, so that no page delays a probe."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import gevent

_T = TypeVar("_T")

SLICE = 0.004  # seconds of work between two yields to the hub


def slices(items: Iterable[_T]) -> Iterator[_T]:
    """Pass `items` through, and let other greenlets run whenever SLICE seconds have gone by."""
    until = time.perf_counter() + SLICE
    for item in items:
        yield item
        if time.perf_counter() > until:
            gevent.sleep(0)
            until = time.perf_counter() + SLICE


def json_list(key: str, items: Iterable[Any]) -> str:
    """Return `{"key": [items…]}` as JSON text, encoded item by item in slices."""
    return f'{{"{key}": [' + ", ".join(slices(map(json.dumps, items))) + "]}"
