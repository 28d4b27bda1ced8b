"""What lint works with: the facts that are gathered, the findings that come out, and how they are worded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from oculus.hindsight.observe import Seen
from oculus.model import unit_of
from oculus.rules.rule import Rule

Level = Literal["warn", "info"]

QUERY_LIMIT = 5.0  # seconds that a query may take

# What values of these units, or of these names, can be.
_RANGES = {"bool": (0.0, 1.0)}
_NAMED: tuple[tuple[str, str, tuple[float, float]], ...] = (
    ("", ".loss", (0.0, 100.0)),
    ("", "used_percent", (0.0, 100.0)),
    ("pred.", "", (0.0, 1.0)),
)

# What a prediction market has besides probabilities.
_NO_SHARE = ".volume_24h"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a rule: what it is, and what to do. `warn` needs someone's attention."""

    rule: str
    level: Level
    code: str
    message: str
    advice: str


@dataclass(frozen=True, slots=True)
class QueryRun:
    """One run of a rule's query: how long it took, its rows, and why it failed, if it did.

    `alike` tells that it brought rows that no text column tells from each other.
    """

    seconds: float
    rows: int = 0
    alike: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the series that rules may read.

    `known` are all that ever were stored, with their tags, `recent` those with samples in the time looked at.
    `shown` are the seconds between their samples as stored; `configured` those that their collectors were
    told, 0 for what comes from outside. `derived` are the names of derived values. `seen` is by rule and
    alert what conditions came to, `queries` by rule what a run of its SQL did.
    """

    known: Mapping[str, Mapping[str, str]]
    recent: Collection[str]
    shown: Mapping[str, float]
    configured: Mapping[str, float]
    derived: Collection[str] = ()
    seen: Mapping[str, Mapping[str, Seen]] = field(default_factory=dict)
    queries: Mapping[str, QueryRun] = field(default_factory=dict)

    def reach(self, name: str) -> tuple[float, float] | None:
        """Return between which numbers a series must be, None where nothing says."""
        unit = unit_of(name, self.known.get(name, {}))
        if unit in _RANGES:
            return _RANGES[unit]
        if name.endswith(_NO_SHARE):
            return None
        fitting = (reach for head, tail, reach in _NAMED if name.startswith(head) and name.endswith(tail))
        return next(fitting, None)


def span(seconds: float) -> str:
    """Return a duration as a configuration has it, in two units at most."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    left = round(seconds)
    told: list[str] = []
    for name, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        if left >= size and len(told) < 2:
            told.append(f"{left // size}{name}")
            left %= size
    return "".join(told) or "0s"


def warn(rule: Rule, code: str, message: str, advice: str) -> Finding:
    """Return a finding that needs someone's attention."""
    return Finding(rule.settings.name, "warn", code, message, advice)


def info(rule: Rule, code: str, message: str, advice: str) -> Finding:
    """Return a finding that is good to know."""
    return Finding(rule.settings.name, "info", code, message, advice)
