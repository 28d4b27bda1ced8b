"""A view of values that a test writes down."""

from __future__ import annotations

from collections.abc import Mapping

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.rules.live import Live
from oculus.rules.view import Point
from oculus.windowed import Window


def seen(
    values: Mapping[str, float | None],
    *,
    now: float = 0,
    ts: Mapping[str, float] | None = None,
    previous: Mapping[str, float] | None = None,
    figures: Mapping[Window, float | None] | None = None,
    markets: Mapping[str, bool] | None = None,
    interval: float = 0.0,
) -> Live:
    """Return a view at `now` (seconds since 1970) of samples taken at `ts` or now; None is no sample."""
    times = ts or {}

    def last(symbol: str) -> tuple[Point, float] | None:
        value = values.get(symbol)
        if value is None:
            return None
        taken = Micros(int(times.get(symbol, now) * SECOND))
        return Point(taken, value, (previous or {}).get(symbol)), interval

    return Live(Micros(int(now * SECOND)), last, figures or {}, (markets or {}).get)
