"""Long work in steps: whoever runs it can tell how far it is, pass on what it made, and stop between two."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from oculus.model import Micros, Sample


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the part of the work that is done, 0 to 1, the samples that it made, which are to be stored,
    and with the last step what all of it came to, as JSON."""

    part: float
    samples: Sequence[Sample] = ()
    result: dict[str, Any] = field(default_factory=dict)


Steps = Iterator[Step]

# The seconds between two samples of a series as configured; 0 where nobody says.
Every = Callable[[str], float]


def nowhere(symbol: str) -> float:
    """Return that no interval is configured."""
    return 0.0


def share(at: int, since: Micros, until: Micros) -> float:
    """Return the part of [since, until) that is over at a time."""
    return min(1.0, max(0.0, (at - since) / max(1, until - since)))
