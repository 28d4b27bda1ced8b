"""What can go wrong with a service: one small vocabulary that all stand-ins share.

`standin.fault = faults.html()` lasts until `standin.fault = None`. Each takes `only`: a path prefix
(`/api/v3/coins`), `ws` or `rest` for one half of a service, or an item (`bitcoin`) whose requests, or whose
part of an answer, alone are touched.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

HUGE = 50 * 1024 * 1024  # bytes: what a client must refuse to hold in memory
BOMB = 100 * 1024 * 1024  # bytes that the gzip bomb unpacks to, from about 0.5 MB on the wire
DRIP = 0.2  # seconds between two bytes: each read succeeds, the answer takes minutes
CHUNK = 64 * 1024

# These change the body of a right answer; all others replace the answer.
SPOILS = frozenset({"null", "nan", "renamed"})


@dataclass(frozen=True)
class Fault:
    """One way in which a service fails."""

    kind: str
    only: str = ""
    status: int = 500
    retry_after: int | None = None  # seconds
    location: str = ""


def rate_limited(retry_after: int | None = 30, only: str = "") -> Fault:
    """Answer what this service answers to too many requests; `retry_after` where it names a time."""
    return Fault("rate_limited", only, retry_after=retry_after)


def error(status: int = 500, only: str = "") -> Fault:
    """Answer with an HTTP status and a page of text, as a gateway does."""
    return Fault("error", only, status=status)


def html(only: str = "") -> Fault:
    """Answer 200 with an HTML page."""
    return Fault("html", only)


def malformed(only: str = "") -> Fault:
    """Answer 200 with the first half of the right body."""
    return Fault("malformed", only)


def null(only: str = "") -> Fault:
    """Give null (an empty field in CSV) instead of the price."""
    return Fault("null", only)


def nan(only: str = "") -> Fault:
    """Give NaN instead of the price."""
    return Fault("nan", only)


def renamed(only: str = "") -> Fault:
    """Give the price under another name."""
    return Fault("renamed", only)


def huge(only: str = "") -> Fault:
    """Answer with a body of 50 MB whose length is not announced."""
    return Fault("huge", only)


def bomb(only: str = "") -> Fault:
    """Answer with a small gzip body that unpacks to 100 MB."""
    return Fault("bomb", only)


def drip(only: str = "") -> Fault:
    """Answer rightly, one byte every 0.2 s."""
    return Fault("drip", only)


def redirect(location: str = "", only: str = "") -> Fault:
    """Answer 302 to another host: `location`, or the same path at 127.0.0.2."""
    return Fault("redirect", only, location=location)


def hang(only: str = "") -> Fault:
    """Take the request and never answer."""
    return Fault("hang", only)


def reset(only: str = "") -> Fault:
    """Take the request and reset the connection."""
    return Fault("reset", only)


def down(only: str = "") -> Fault:
    """Refuse connections and end the open ones. With `only`, those requests are reset instead."""
    return Fault("down" if not only else "reset", only)


# One of each, for tests that go through all of them.
ALL = {
    fault.kind: fault
    for fault in (
        rate_limited(), error(), html(), malformed(), null(), nan(), renamed(), huge(), bomb(), drip(),
        redirect(), hang(), reset(), down(),
    )
}  # fmt: skip


def huge_body() -> Iterator[bytes]:
    """Yield 50 MB of JSON."""
    yield b'{"padding":"'
    block = b"x" * CHUNK
    for _ in range(HUGE // CHUNK):
        yield block
    yield b'"}'


@cache
def gzip_bomb() -> bytes:
    """Return a gzip body of JSON white space; made once."""
    packer = zlib.compressobj(1, wbits=31)
    block = b" " * (1024 * 1024)
    return b"".join([*(packer.compress(block) for _ in range(BOMB // len(block))), packer.flush()])


def spoil(body: Any, fault: Fault, is_price: Callable[[str], bool]) -> Any:
    """Return the body with its prices spoiled, those of the item `only` when the fault names one."""
    return _walk(body, fault, is_price, not fault.only or fault.only.startswith("/") or fault.only == "rest")


def _walk(node: Any, fault: Fault, is_price: Callable[[str], bool], inside: bool) -> Any:
    if isinstance(node, list):
        return [_walk(child, fault, is_price, inside) for child in node]
    if not isinstance(node, dict):
        return node
    only = fault.only.lower()
    inside = inside or any(isinstance(value, str) and value.lower() == only for value in node.values())
    found = {}
    for key, value in node.items():
        if inside and is_price(key):
            name = f"{key}_v2" if fault.kind == "renamed" else key
            found[name] = value if fault.kind == "renamed" else _spoiled(value, fault.kind)
        else:
            found[key] = _walk(value, fault, is_price, inside or key.lower() == only)
    return found


def _spoiled(value: Any, kind: str) -> Any:
    """Return null or NaN in the form that the value has: number, text, list, or a list inside a text."""
    if isinstance(value, list):
        if value and isinstance(value[0], list):  # a series of [time, value]
            return [[*row[:-1], _spoiled(row[-1], kind)] for row in value]
        return [_spoiled(value[0], kind), *value[1:]] if value else value
    if isinstance(value, str) and value.startswith("["):
        return json.dumps([_spoiled(each, kind) for each in json.loads(value)])
    if isinstance(value, dict):
        return {key: _spoiled(each, kind) for key, each in value.items()}
    if kind == "null":
        return None
    return "NaN" if isinstance(value, str) else math.nan
