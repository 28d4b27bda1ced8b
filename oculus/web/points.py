"""Series over a range: several at once as columns, which is what charts draw, and the figures of a window."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from bottle import response

from oculus.clock import SECOND, iso, now
from oculus.model import Micros, is_symbol, unit_of
from oculus.storage import queries, summary, tiers
from oculus.storage import series as stored
from oculus.storage.latest import Series, old_after
from oculus.web import inputs
from oculus.web.problems import Problem, bad_request
from oculus.web.services import Services

MAX_POINTS = 5_000  # buckets of one series in one answer
MAX_SYMBOLS = 12  # series in one answer
MAX_CELLS = 20_000  # buckets of all series in one answer
POINTS = 300  # buckets when no step is given
DEFAULT_RANGE = 3_600 * SECOND  # up to now

_COLUMNS = ("open", "high", "low", "close", "avg", "count")


def span() -> tuple[Micros, Micros]:
    """Return the range that `from` and `to` ask for; raises Problem."""
    end = inputs.time_parameter("to", now())
    assert end is not None
    start = inputs.time_parameter("from", Micros(end - DEFAULT_RANGE))
    assert start is not None
    if start >= end:
        raise bad_request("from is not before to")
    return start, end


def window() -> tuple[Micros, Micros, int]:
    """Return the range that a request asks for and its step in microseconds; raises Problem.

    Without `step` it is one that rollups can answer, and the range begins where they do.
    """
    start, end = span()
    if inputs.query("step"):
        step = max(1, int(inputs.step_parameter("step", 1.0) * SECOND))
    else:
        step = tiers.fitting((end - start) // POINTS)
        start = tiers.aligned(start, step)
    if (end - start) // step > MAX_POINTS:
        raise bad_request(f"that is more than {MAX_POINTS} points; take a longer step or a shorter range")
    return start, end, step


def gone(services: Services, symbol: str) -> Series:
    """Return a series that is measured no more, as the store has it; raises Problem when there was none."""
    found = services.readers.run(queries.last, symbol)
    if found is None:
        raise Problem(404, "not_found", f"there is no series {symbol!r}")
    return Series(symbol, found.ts, found.history[-1], found.tags)


# -- points of several series -------------------------------------------------------------------------------


def points(services: Services) -> str:
    """GET /api/points: series over one range, in columns."""
    symbols = list(dict.fromkeys(inputs.queries("symbol")))
    if not 1 <= len(symbols) <= MAX_SYMBOLS or not all(map(is_symbol, symbols)):
        raise bad_request(f"name 1 to {MAX_SYMBOLS} series, each as symbol=…")
    start, end, step = window()
    if (end - start) // step * len(symbols) > MAX_CELLS:
        raise bad_request(f"that is more than {MAX_CELLS} points in all; take a longer step or fewer series")
    known = {symbol: services.latest.get(symbol) for symbol in symbols}
    response.content_type = "application/json"
    told, resolution = services.readers.run(_read, known, start, end, step)
    about: list[dict[str, Any]] = []
    for symbol, series in known.items():
        every = services.every(symbol)
        about.append(
            {
                "symbol": symbol,
                "interval": every or None,
                "stale": series is None or services.stale(series),
                "last": None if series is None else {"ts": iso(series.ts), "value": series.value},
            }
        )
    each = (f"{json.dumps(one)[:-1]}, {columns}}}" for one, columns in zip(about, told, strict=True))
    head = {"from": iso(start), "to": iso(end), "step": step / SECOND, "resolution": resolution}
    return f'{json.dumps(head)[:-1]}, "series": [{", ".join(each)}]}}'


def _read(
    cursor: queries.Cursor, known: dict[str, Series | None], start: Micros, end: Micros, step: int
) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns of each series as JSON, made in the reader's thread, and who answered."""
    found = stored.charts(cursor, list(known), start, end, step)
    told = []
    for symbol, series in known.items():
        if series is None:
            last = queries.last(cursor, symbol)
            unit = "" if last is None else unit_of(symbol, last.tags)
        else:
            unit = series.unit
        told.append(_columns(unit, found.points[symbol]))
    return told, sources(found.parts)


def _columns(unit: str, found: Sequence[queries.Point]) -> str:
    columns: dict[str, Any] = {"unit": unit, "ts": [_epoch(point.ts) for point in found]}
    for name in _COLUMNS:
        columns[name] = [getattr(point, name) for point in found]
    columns["avg"] = [value if math.isfinite(value) else None for value in columns["avg"]]
    return json.dumps(columns, separators=(",", ":"))[1:-1]


def _epoch(ts: Micros) -> float:
    """Return a time in seconds, as a whole number where it is one."""
    return ts / SECOND if ts % SECOND else ts // SECOND


def sources(parts: Sequence[tiers.Part]) -> list[dict[str, str]]:
    """Return who answered for which part of a range, neighbours of one kind as one."""
    told: list[dict[str, str]] = []
    for part in parts:
        source = tiers.source_of(part.relation)
        if told and told[-1]["source"] == source:
            told[-1]["to"] = iso(part.end)
        else:
            told.append({"source": source, "from": iso(part.start), "to": iso(part.end)})
    return told


# -- figures of a window ------------------------------------------------------------------------------------


def stats(services: Services, symbol: str) -> dict[str, Any]:
    """GET /api/metrics/{symbol}/stats: what a series did in a window."""
    series = services.latest.get(symbol) or gone(services, symbol)
    start, end = span()
    found, up = services.readers.run(figures_of, symbol, *state_of(services, symbol), start, end)
    return {
        "symbol": symbol,
        "unit": series.unit,
        "from": iso(start),
        "to": iso(end),
        "resolution": sources(found.parts),
        "count": found.count,
        "first": found.first,
        "last": found.last,
        "min": found.low,
        "max": found.high,
        "mean": found.mean,
        "p95": found.p95,
        "p95_source": found.p95_source,
        "uptime": None
        if up is None
        else {
            "percent": up.percent,
            "up_seconds": round(up.up, 3),
            "down_seconds": round(up.down, 3),
            "unknown_seconds": round(up.unknown, 3),
        },
    }


def state_of(services: Services, symbol: str) -> tuple[str, float]:
    """Return the series that tells whether the target of a series is up, and for how long each of its values
    counts in seconds (0: not known); an empty text where there is none."""
    stem, _, part = symbol.rpartition(".")
    state = symbol if part == "up" else f"{stem}.up"
    if not stem or (part != "up" and services.latest.get(state) is None):
        return "", 0.0
    every = services.every(state)
    return state, old_after(every) if every else 0.0


def figures_of(
    cursor: queries.Cursor, symbol: str, state: str, held: float, start: Micros, end: Micros
) -> tuple[summary.Summary, summary.Uptime | None]:
    """Return the figures of a window, and the times of a state; what is to come is not unknown."""
    until = min(end, now())
    up = summary.uptime(cursor, state, start, until, held) if state and until > start else None
    return summary.summary(cursor, symbol, start, end), up
