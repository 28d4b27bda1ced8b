"""How numbers are shown: units and precision that suit the value, trends, and sparklines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SPARK_WIDTH = 120  # of the sparkline's own coordinates; the page scales it
SPARK_HEIGHT = 28


@dataclass(frozen=True, slots=True)
class Shape:
    """What a history looks like. `trend` looks past noise; `direction` is the sign of `change`."""

    trend: str
    direction: str
    change: str
    spark: str


def shape(history: Sequence[float]) -> Shape:
    """Return everything that is shown of a history."""
    change = change_text(history)
    direction = {"+": "up", "−": "down"}.get(change[:1])
    usual = trend(history)
    return Shape(usual, direction or ("flat" if change else usual), change, spark(history))


def value_text(value: float, unit: str) -> str:
    """Return a value as people read it, without its unit: `12.4`, `97,412`, `up`."""
    if unit == "bool":
        return "up" if value >= 0.5 else "down"
    if unit == "probability":
        value *= 100  # as odds are read: a percent, and a tenth of it near the ends
        return f"{value:.0f}" if value == round(value) else f"{value:.1f}"
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e15:
        return f"{value:.4g}"  # all digits would not fit a row
    if 1 <= size < 100_000 and len(unit) == 3 and unit.isalpha() and unit.isupper():
        return f"{value:,.2f}"  # a currency: prices keep their cents
    if value == int(value):
        return f"{int(value):,}"
    if size >= 1000:
        return f"{value:,.0f}" if size >= 10_000 else f"{value:,.1f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    if 1e-9 < size < 1e-4:  # as prices of small coins are written, not 2.1e-05
        return f"{value:.{2 - math.floor(math.log10(size))}f}"
    return f"{value:.3g}"


# Signs that stand before an amount; others stand behind it by their code.
_SIGNS = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "USDT": "$", "USDC": "$"}


def measure(value: float, unit: str, *, cents: bool = False) -> tuple[str, str]:
    """Return a value as people read it, and what stands behind it: bytes in the size that fits, money with
    its sign, and without cents from ten thousand on unless they are asked for."""
    sign = _SIGNS.get(unit)
    if sign is not None and math.isfinite(value) and abs(value) < 1e15:
        amount = abs(value)
        if cents and amount >= 1:
            text = f"{amount:,.2f}"
        else:
            text = f"{amount:,.0f}" if amount >= 10_000 else value_text(amount, unit[:3])
        return f"{'−' if value < 0 else ''}{sign}{text}", ""
    if unit in ("B", "B/s") and math.isfinite(value):
        number, _, size = size_text(abs(value)).partition(" ")
        return f"{'−' if value < 0 else ''}{number}", size + unit[1:]
    return value_text(value, unit), unit_text(unit)


def full_text(value: float, unit: str) -> str:
    """Return a value with its unit and all digits that matter: `$97,412.10`, `12.4 ms`, `63 %`."""
    text, behind = measure(value, unit, cents=True)
    return f"{text}\u00a0{behind}" if behind else text


def unit_text(unit: str) -> str:
    """Return what stands behind a value."""
    return {"bool": "", "code": "", "probability": "%"}.get(unit, unit)


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


def change_text(history: Sequence[float]) -> str:
    """Return the change from the first value to the last as `+1.24%`, or nothing where it says little."""
    if len(history) < 2 or not history[0]:
        return ""
    return percent_text((history[-1] - history[0]) / abs(history[0]) * 100)


def percent_text(percent: float) -> str:
    """Return a change in percent as `+1.24%`, or nothing where it says little."""
    if not abs(percent) < 1000:  # nor a number at all
        return ""
    text = f"{abs(percent):.1f}" if abs(percent) >= 100 else f"{abs(percent):.2f}"
    return "0.00%" if text == "0.00" else ("−" if percent < 0 else "+") + text + "%"


def share_text(part: float, whole: float) -> str:
    """Return a share as `99.98 %`: `100 %` for all of it and nothing less, `0 %` for none of it."""
    if part <= 0:
        return "0 %"
    if part >= whole:
        return "100 %"
    hundredths = math.floor(part / whole * 10_000 + 1e-6)  # what is a whole number may come out a little less
    return f"{min(max(hundredths, 1), 9_999) / 100:.2f} %"


def percent(text: str) -> float:
    """Return the number that a change's text tells, 0 for none."""
    return float(text.rstrip("%").replace("−", "-") or 0)


def spark(history: Sequence[float], bounds: tuple[float, float] | None = None) -> str:
    """Return the `points` of an SVG polyline between the least and the greatest value, or others that are
    given; nothing when there is no line to draw yet."""
    if len(history) < 2:
        return ""
    low, high = bounds or (min(history), max(history))
    step = SPARK_WIDTH / (len(history) - 1)
    span = high - low
    if not 0 < span < math.inf:
        return " ".join(f"{index * step:.1f},{SPARK_HEIGHT / 2:.1f}" for index in range(len(history)))
    base, room = SPARK_HEIGHT - 2, SPARK_HEIGHT - 4
    return " ".join(
        f"{index * step:.1f},{base - (value - low) / span * room:.1f}" for index, value in enumerate(history)
    )


def size_text(size: float) -> str:
    """Return bytes as people read them: `640 kB`, `42.1 MB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")):
        if size >= unit:
            return f"{size / unit:.0f} {name}" if size >= 100 * unit else f"{size / unit:.3g} {name}"
    return f"{size:.3g} B"


def rate_text(rate: float) -> str:
    """Return how many a second as people read it: `0.4`, `12`, `3.1 k`."""
    if rate >= 10_000:
        return f"{rate / 1000:.0f} k"
    return f"{rate / 1000:.1f} k" if rate >= 1000 else f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def span_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit: `30s`, `5m`, `2h`, `3d`."""
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            count = seconds / size
            return f"{count:.0f}{name}" if count >= 100 else f"{count:.3g}{name}"
    return f"{seconds:.3g}s"
