"""The figures of a window of a series in words: what its page shows of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from oculus.clock import DAY, now
from oculus.model import Micros
from oculus.storage import queries
from oculus.storage.latest import Series
from oculus.storage.summary import Summary, Uptime
from oculus.storage.tiers import HOUR, MINUTE, floor
from oculus.web import figures, points

# Units whose values are no amounts: a mean or a change of them says nothing.
_NO_AMOUNTS = frozenset({"bool", "code"})

# Categories in which more is better and less is worse, for those who own some.
_QUOTED = ("crypto.", "stock.", "market.", "pred.")

_MEANS = {"1m": "1-minute means", "1h": "1-hour means"}


@dataclass(frozen=True, slots=True)
class Stat:
    """A figure: its name, its value, what is to be known about it, and `rise`, `fall`, `good`, `bad`, or
    nothing."""

    name: str
    text: str
    note: str = ""
    tone: str = ""


def stats(
    cursor: queries.Cursor, series: Series, state: tuple[str, float], start: Micros, end: Micros
) -> Iterator[Stat]:
    """Yield the figures of [start, end), and how much the value has moved in a day."""
    found, up = points.figures_of(cursor, series.symbol, *state, start, end)
    amounts = series.unit not in _NO_AMOUNTS
    if amounts and found.first is not None and found.last is not None:
        yield _change("Change", found.first, found.last, series)
    if amounts:
        before = _a_day_ago(cursor, series.symbol)
        if before is not None:
            yield _change("24 hours", before, series.value, series)
    if found.low is not None and found.high is not None and series.unit != "bool":
        yield Stat("Min", figures.full_text(found.low, series.unit))
        yield Stat("Max", figures.full_text(found.high, series.unit))
    if amounts:
        yield from _middle(found, series.unit)
    if up is not None:
        yield from _times(up)
    yield Stat("Samples", f"{found.count:,}")


def _middle(found: Summary, unit: str) -> Iterator[Stat]:
    if found.mean is not None and math.isfinite(found.mean):
        yield Stat("Mean", figures.full_text(found.mean, unit))
    if found.p95 is not None:
        of = _MEANS.get(found.p95_source)
        note = f"of {of}: older samples are gone" if of else ""
        yield Stat("p95", figures.full_text(found.p95, unit), note)


def _times(up: Uptime) -> Iterator[Stat]:
    """Yield the uptime, and the time of which nothing is known as its own share."""
    whole = up.up + up.down + up.unknown
    if up.percent is not None:
        note = f"down for {figures.span_text(round(up.down, 1))}" if up.down else ""
        yield Stat("Uptime", share_text(up.percent), note, "bad" if up.down else "good")
    if whole and up.unknown >= 1:
        note = f"{figures.span_text(round(up.unknown))} without any result"
        yield Stat("Unknown", share_text(up.unknown / whole * 100), note)


def share_text(percent: float) -> str:
    """Return a share with two digits; only what is whole is 100 %, and only nothing is 0 %."""
    if percent in (0, 100):
        return f"{percent:.0f}\u00a0%"
    return f"{min(max(percent, 0.01), 99.99):.2f}\u00a0%"


def _change(name: str, first: float, last: float, series: Series) -> Stat:
    moved = last - first
    sign, tone = ("+", "rise") if moved > 0 else ("−", "fall") if moved < 0 else ("", "")
    text = f"{sign}{figures.full_text(abs(moved), series.unit)}"
    percent = figures.change_text((first, last))
    return Stat(
        name, percent or text, text if percent else "", tone if series.category.startswith(_QUOTED) else ""
    )


def _a_day_ago(cursor: queries.Cursor, symbol: str) -> float | None:
    """Return the last value of the two hours up to a day ago."""
    end = floor(Micros(now() - DAY), MINUTE)
    found = queries.points(cursor, symbol, Micros(end - 2 * HOUR), end, 2 * HOUR)
    return found[-1].close if found else None
