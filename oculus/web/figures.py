"""How numbers are shown: units and precision that suit the value, trends, and sparklines."""

from __future__ import annotations

import math
from collections.abc import Sequence

SPARK_WIDTH = 120  # of the sparkline's own coordinates; the page scales it
SPARK_HEIGHT = 28


def value_text(value: float, unit: str) -> str:
    """Return a value as people read it, without its unit: `12.4`, `97,412`, `up`."""
    if unit == "bool":
        return "up" if value >= 0.5 else "down"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}" if size >= 10_000 else f"{value:,.1f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def unit_text(unit: str) -> str:
    """Return what stands behind a value."""
    return "" if unit in ("bool", "code") else unit


def trend(history: Sequence[float]) -> str:
    """Return `up`, `down` or `flat`: the last value against the mean of those before it.

    A change within a twentieth of the history's own size, or of its range, is noise.
    """
    if len(history) < 2:
        return "flat"
    before = history[:-1]
    mean = sum(before) / len(before)
    noise = max(0.05 * abs(mean), 0.25 * (max(before) - min(before)))
    change = history[-1] - mean
    return "flat" if abs(change) <= noise else "up" if change > 0 else "down"


def spark(history: Sequence[float]) -> str:
    """Return the `points` of an SVG polyline, or nothing when there is no line to draw yet."""
    if len(history) < 2:
        return ""
    low, high = min(history), max(history)
    scale = (SPARK_HEIGHT - 4) / (high - low) if high > low else 0.0
    base = SPARK_HEIGHT - 2 if high > low else SPARK_HEIGHT / 2
    step = SPARK_WIDTH / (len(history) - 1)
    return " ".join(
        f"{index * step:.1f},{base - (value - low) * scale:.1f}" for index, value in enumerate(history)
    )


def span_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit: `30s`, `5m`, `2h`, `3d`."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.3g}{name}"
    return f"{seconds:.3g}s"
