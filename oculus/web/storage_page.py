"""The store on the page of the system: where the space of the database file goes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from oculus.clock import iso
from oculus.storage.upkeep import StorageReport
from oculus.web import figures

# What the tables of the store hold.
_TABLES = {
    "metrics": "every sample",
    "rollup_1m": "one row a minute",
    "rollup_1h": "one row an hour",
    "events": "alerts, errors, starts",
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """A table of the store. `share`, and the sum of those before, are in percent."""

    name: str
    what: str
    rows: str
    size: str
    share: float
    start: float
    per_row: str
    oldest: str
    kept: str


@dataclass(frozen=True, slots=True)
class StorageContext:
    """Where the space of the database file goes. `full` is in percent."""

    path: str
    size: str
    used: str
    free: str
    limit: str
    full: int
    tables: list[TableRow]


def context(report: StorageReport) -> StorageContext:
    """Return what is shown of a report."""
    usage = report.usage
    total = sum(table.bytes for table in usage.tables) or 1
    before = accumulate((table.bytes for table in usage.tables), initial=0)
    return StorageContext(
        path=report.path,
        size=figures.size_text(report.size),
        used=figures.size_text(usage.used),
        free=figures.size_text(usage.free),
        limit=figures.size_text(report.limit) if report.limit else "",
        full=round(100 * usage.used / report.limit) if report.limit else 0,
        tables=[
            TableRow(
                name=table.table,
                what=_TABLES[table.table],
                rows=f"{table.rows:,}",
                size=figures.size_text(table.bytes),
                share=round(100 * table.bytes / total, 1),
                start=round(100 * start / total, 1),
                per_row=figures.size_text(table.bytes / table.rows) if table.rows else "–",
                oldest=iso(table.first) if table.first is not None else "",
                kept=figures.span_text(report.keep[table.table]),
            )
            for table, start in zip(usage.tables, before, strict=False)
        ],
    )
