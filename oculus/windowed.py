"""Figures over the recent samples of a series: what conditions ask of the store, and of recorded history."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reduction = Literal["avg", "min", "max", "sum", "count", "stddev", "quantile", "base", "rate"]


@dataclass(frozen=True, slots=True)
class Window:
    """A figure over the samples of one series in (now − seconds, now]; NaN is no sample.

    `stddev` is that of the population; `quantile` interpolates between neighbours, `parameter` being 0 to 1;
    `count` of nothing is 0, every other figure of nothing unknown. `base` is the newest value at or before
    now − seconds, not older than the look-back there. `rate` is the increase of a counter per second from the
    first sample to the last, where a smaller value than the one before is a reset to 0; two samples at least.
    The lowest and highest of a sample that stands for an interval are its low and high.
    """

    reduction: Reduction
    symbol: str
    seconds: float
    parameter: float = 0.0
