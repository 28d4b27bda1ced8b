"""How a series stands now: the head of its page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from oculus.clock import iso
from oculus.cooperate import slices
from oculus.storage.latest import Series
from oculus.web import figures, points
from oculus.web.services import Services

RELATED_SHOWN = 16

# Kinds of which the series below one name belong together: the figures of a probe, the outcomes of a market.
_GROUPED = frozenset({"net", "heartbeat", "exec", "host", "pred", "oculus", "prom"})
_ORDER = ("rtt", "up", "status", "loss", "dns", "connect", "tls", "ttfb", "cert_days")


@dataclass(frozen=True, slots=True)
class Related:
    """Another series of the same target."""

    symbol: str
    name: str
    text: str


@dataclass(frozen=True)
class HeadContext:
    """`fragments/series.html`: how a series stands now.

    `state` is that of its target: up, down, unknown, or empty; `reason` is why, `note` a word about a value
    that does not move. `gone` tells that nobody measures it any more.
    """

    symbol: str
    category: str
    text: str
    unit: str
    value: float
    at: str
    stale: bool
    gone: bool
    state: str
    reason: str
    note: str
    related: tuple[Related, ...]


def head(services: Services, series: Series, gone: bool) -> HeadContext:
    """Return how a series stands; `gone` tells that it is only in the store."""
    state, reason = _state(services, series)
    text, unit = figures.measure(series.value, series.unit, cents=True)
    stale = not gone and services.stale(series)
    return HeadContext(
        symbol=series.symbol,
        category=series.category,
        text=text,
        unit=unit,
        value=series.value,
        at=iso(series.ts),
        stale=stale,
        gone=gone,
        state="" if gone else state,
        reason=reason,
        note="" if gone or stale else services.state(series.symbol),
        related=tuple(_related(services, series.symbol)),
    )


def _state(services: Services, series: Series) -> tuple[str, str]:
    """Return how the target of a series is, and why it is so."""
    latest = services.latest
    symbol, _ = points.state_of(services, series.symbol)
    if not symbol:
        return "", ""
    doubted = latest.get(f"{symbol.removesuffix('up')}unknown")
    if doubted is not None and doubted.value >= 0.5:
        return "unknown", doubted.tags.get("reason", "")
    up = latest.get(symbol)
    if up is None:
        return "", ""
    return ("up", "") if up.value >= 0.5 else ("down", up.tags.get("error", ""))


def _related(services: Services, symbol: str) -> Iterator[Related]:
    """Yield the series of the same target, this one among them; nothing for one that stands alone."""
    latest = services.latest
    parent, _, _ = symbol.rpartition(".")
    grouped = symbol.partition(".")[0] in _GROUPED and "." in parent
    base = parent if grouped or latest.get(parent) is not None else symbol
    found = [
        series
        for series in slices(latest)
        if series.symbol == base or (series.symbol.startswith(f"{base}.") and "." not in _rest(series, base))
    ]
    if len(found) < 2:
        return
    found.sort(key=lambda series: (_place(_rest(series, base)), series.symbol))
    for series in found[:RELATED_SHOWN]:
        text = figures.full_text(series.value, series.unit)
        yield Related(series.symbol, _rest(series, base) or base.rpartition(".")[2], text)


def _rest(series: Series, base: str) -> str:
    return series.symbol[len(base) + 1 :]


def _place(part: str) -> int:
    return _ORDER.index(part) if part in _ORDER else len(_ORDER) if part else -1
