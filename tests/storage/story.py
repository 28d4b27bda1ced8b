"""What happened to a store before it is asked: samples, rollups, and the order that upkeep makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from oculus.clock import DAY, SECOND
from oculus.model import Batch, Candle, Micros, Sample
from oculus.storage import ingest, retention, rollup, sort
from oculus.storage.database import Database
from oculus.storage.tiers import TABLES, floor

T0 = floor(Micros(1_800_000_000 * SECOND), DAY)
FOREVER = {"metrics": 1e9, "rollup_1m": 1e9, "rollup_1h": 1e9}


class Taken(NamedTuple):
    """A sample of a story: microseconds after T0."""

    symbol: str
    after: int
    value: float
    candle: Candle | None = None
    tags: Mapping[str, str] = {}


def write(database: Database, samples: Iterable[Taken]) -> None:
    """Commit samples as the writer does."""
    batch = Batch(
        tuple(Sample(one.symbol, one.value, Micros(T0 + one.after), one.tags, one.candle) for one in samples)
    )
    if batch:
        ingest.write(database.connection, batch, 1)


def roll(database: Database, upto: int) -> None:
    """Roll up what ended by `upto` after T0."""
    while rollup.advance(database.connection, Micros(T0 + upto), DAY):
        pass


def put_in_order(database: Database) -> None:
    """Put what is rolled up in order, as upkeep does."""
    connection = database.connection
    built = ingest.read_marks(connection).built["rollup_1m"]
    for table in TABLES:
        for stretch in sort.pieces(connection, table, Micros(0), built):
            for slice_ in sort.plan(connection, table, stretch):
                sort.rewrite(connection, table, slice_, stretch)


def expire(database: Database, after: int, **keep: float) -> None:
    """Delete what is too old at `after` T0; tables that are not named are kept."""
    retention.expire(database.connection, Micros(T0 + after), FOREVER | keep)
