"""The tiers: raw samples, 1-minute and 1-hour rollups, and which of them answers for which time.

Pure: the marks that the store keeps come in as values, and parts of a range come out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from oculus.clock import SECOND
from oculus.model import Micros

MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND


@dataclass(frozen=True, slots=True)
class Tier:
    """Rollups of one width. Users read `view`; `table` leaves out what follows from other columns.

    `source` is the relation that it is built from, with the columns of a rollup.
    """

    name: str
    width: int  # microseconds
    table: str
    view: str
    source: str
    source_table: str


# What a sample is a rollup of: its interval when it is a candle, or else itself.
OPEN, HIGH, LOW = (f"coalesce({column}, value)" for column in ("open", "high", "low"))
_SAMPLES = f"""(select ts, category, symbol, {OPEN} as open, {HIGH} as high, {LOW} as low, value as close,
    value as sum, 1 as count, shard from metrics where value is not null and not isnan(value))"""

TIERS = (
    Tier("1m", MINUTE, "rollup_1m", "metrics_1m", _SAMPLES, "metrics"),
    Tier("1h", HOUR, "rollup_1h", "metrics_1h", "metrics_1m", "rollup_1m"),
)

# Tables that are kept for a time and rewritten in order, the finest first.
TABLES = ("metrics", *(tier.table for tier in TIERS))


# Tables that are kept for less are never put in order: they are small, and their rows go one by one.
ORDERED_LEAST = 2 * 86_400.0  # seconds


@dataclass(frozen=True, slots=True)
class Marks:
    """How far each table reaches, in microseconds; what is not known is 0.

    `built` of a tier is the end of what was rolled up: later samples are in its source alone. `kept` of a
    table is the limit that was last applied to it: older rows are gone. `ordered` of a table is the end of
    what lies in order as a whole.
    """

    built: Mapping[str, Micros]
    kept: Mapping[str, Micros]
    ordered: Mapping[str, Micros]

    @classmethod
    def of(cls, rows: Mapping[str, str]) -> Marks:
        """Return the marks in rows of `oculus_state`."""
        return cls(
            {tier.table: Micros(int(rows.get(built_key(tier.table), 0))) for tier in TIERS},
            {table: Micros(int(rows.get(kept_key(table), 0))) for table in TABLES},
            {table: Micros(int(rows.get(ordered_key(table), 0))) for table in TABLES},
        )


def built_key(table: str) -> str:
    """Return the key of `oculus_state` under which stands how far a tier was built."""
    return f"built:{table}"


def kept_key(table: str) -> str:
    """Return the key of `oculus_state` under which stands from when on a table is whole."""
    return f"kept:{table}"


def ordered_key(table: str) -> str:
    """Return the key of `oculus_state` under which stands up to when a table lies in order."""
    return f"ordered:{table}"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a range, [start, end), and the relation that answers for it."""

    relation: str
    start: Micros
    end: Micros


def source_of(relation: str) -> str:
    """Return what a relation holds: `samples`, or rollups by their name."""
    return next((tier.name for tier in TIERS if tier.view == relation), "samples")


def floor(ts: Micros, width: int) -> Micros:
    """Return the start of the bucket that `ts` falls in."""
    return Micros(ts // width * width)


@lru_cache(maxsize=20_000)
def shard_of(symbol: str) -> int:
    """Return the place of a symbol in the order of closed rows, as the macro of that name does in SQL."""
    lower = int.from_bytes(hashlib.md5(symbol.encode(), usedforsecurity=False).digest()[8:], "little")
    return lower % 65_535 + 1


def fitting(step: int) -> int:
    """Return a step not shorter than the given one that rollups can answer: whole minutes, or whole hours."""
    for tier in reversed(TIERS):
        if step > tier.width:
            return -(-step // tier.width) * tier.width
    return max(step, SECOND)


def aligned(start: Micros, step: int) -> Micros:
    """Return the time up to which a range must begin earlier for rollups to answer steps of this length."""
    return floor(start, next((tier.width for tier in reversed(TIERS) if step % tier.width == 0), 1))


def parts(start: Micros, end: Micros, step: int, marks: Marks) -> list[Part]:
    """Return who answers for [start, end) in buckets of `step`, oldest part first, without overlap.

    A rollup answers where its buckets fall into those asked for as a whole, and it is built; samples answer
    for the rest. Where the finer rows are gone, the next coarser ones stand in, whatever the step.
    """
    minute, hour = TIERS
    fits = [tier for tier in (hour, minute) if step % tier.width == 0 and start % tier.width == 0]
    # Each relation with the time from which it is preferred to the coarser one before it.
    hour_end = marks.built[hour.table] if hour in fits else marks.kept[minute.table]
    minute_end = marks.built[minute.table] if minute in fits else marks.kept["metrics"]
    # A rollup answers for whole buckets only, and a coarser one not beyond what it was built of.
    hour_end = floor(min(hour_end, marks.built[hour.table]), hour.width)
    minute_end = max(hour_end, floor(min(minute_end, marks.built[minute.table]), minute.width))
    edges = ((hour.view, hour_end), (minute.view, minute_end), ("metrics", end))
    found: list[Part] = []
    at = start
    for relation, edge in edges:
        until = Micros(min(edge, end))
        if until > at:
            found.append(Part(relation, at, until))
            at = until
    return found
