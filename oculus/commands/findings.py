"""What `oculus doctor` finds, and what it looks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# What a look yields: ok, warn or fail, what that means, and what to do.
Found = tuple[str, str, str]
Report = Iterator[Found]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    about: str
    level: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a configuration asks of the host; `known` tells whether there is one."""

    database: str
    memory_limit: int  # bytes that DuckDB may take
    collectors: int
    pings: bool
    hosts: tuple[str, ...]  # that are asked for by name
    known: bool


def ok(message: str) -> Found:
    """Return a finding that is as it should be."""
    return "ok", message, ""


def warn(message: str, advice: str = "") -> Found:
    """Return a finding that someone should look at."""
    return "warn", message, advice


def fail(message: str, advice: str = "") -> Found:
    """Return a finding with which Oculus cannot work."""
    return "fail", message, advice
