"""What users' SQL can name, for those who write it: the tables as they are, and functions worth knowing."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

# The tables for users, in the order of their use, and what a row of each is.
TABLES = {
    "metrics": "every sample",
    "metrics_1m": "a row for each minute of a series; the newest minutes are in metrics alone",
    "metrics_1h": "a row for each hour of a series, kept for years",
    "events": "steps of alerts, errors, starts and stops",
    "deliveries": "which message went where",
}

# What a column holds, by its name, or by table and name where that differs.
_COLUMNS = {
    "ts": "time, UTC",
    "category": "first two parts of the symbol",
    "symbol": "name of the series",
    "value": "the number",
    "tags": "labels: target, source, error of a failed probe …",
    "shard": "place in the file: shard_of(symbol), 0 while new",
    "open": "first value",
    "high": "greatest value",
    "low": "least value",
    "close": "last value",
    "sum": "sum of the values",
    "count": "number of values",
    "metrics.open": "first of an interval; NULL for one measurement",
    "metrics.high": "greatest of an interval, else NULL",
    "metrics.low": "least of an interval, else NULL",
    "id": "grows by one",
    "source": "rule, collector or part of the daemon",
    "type": "alert, error, system or audit",
    "severity": "info, warn, error or critical",
    "message": "for people",
    "payload": "of an alert: rule, state, symbol, value, explanation …",
    "event": "the step: id in events",
    "channel": "name of the channel",
    "state": "waiting, sent, failed, expired or passed",
    "ended": "when it was sent, or given up",
    "tries": "how often it was tried",
    "notice": "id of the message",
    "told": "what the service said, or why it failed",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its type, and what it holds."""

    name: str
    type: str
    what: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table or view, and what a row of it is."""

    name: str
    what: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function as it is called (`…` stands for what must be filled in), and what it gives."""

    call: str
    what: str


FUNCTIONS = (
    Function("series('…')", "one series, fast: ts, value, tags"),
    Function("shard_of('…')", "where a series lies in the file"),
    Function("now()", "the present time"),
    Function("time_bucket(interval 1 hour, ts)", "start of the hour (5 minute, 1 day …)"),
    Function("date_trunc('day', ts)", "start of the day, of the host's zone"),
    Function("date_part('hour', ts)", "a part of a time"),
    Function("strftime(ts, '%H:%M')", "a time as text"),
    Function("epoch_ms(ts)", "a time as milliseconds since 1970"),
    Function("count(*)", "number of rows"),
    Function("count_if(…)", "number of rows for which it is true"),
    Function("avg(value)", "mean"),
    Function("min(value)", "least"),
    Function("max(value)", "greatest"),
    Function("sum(value)", "sum"),
    Function("median(value)", "median"),
    Function("quantile_cont(value, 0.95)", "95th percentile"),
    Function("approx_quantile(value, 0.95)", "the same, roughly, with little memory"),
    Function("stddev_samp(value)", "standard deviation"),
    Function("arg_max(value, ts)", "the newest value"),
    Function("arg_min(value, ts)", "the oldest value"),
    Function("corr(…)", "correlation of two columns, -1 to 1"),
    Function("regr_slope(…)", "slope of y over x"),
    Function("lag(value) over (partition by symbol order by ts)", "value of the row before"),
    Function("lead(value) over (partition by symbol order by ts)", "value of the row after"),
    Function("row_number() over (order by …)", "number of the row"),
    Function("round(value, 2)", "rounded to two digits"),
    Function("coalesce(…)", "the first that is not NULL"),
    Function("greatest(…)", "the greatest of several"),
    Function("least(…)", "the least of several"),
    Function("split_part(symbol, '.', 3)", "third part of the name"),
    Function("regexp_extract(symbol, '…', 1)", "what a regular expression finds"),
    Function("starts_with(symbol, '…')", "whether a text begins so"),
    Function("range(…)", "numbers or times in a row, as a table too"),
)


def tables(cursor: duckdb.DuckDBPyConnection) -> tuple[Table, ...]:
    """Return the tables for users as the store has them."""
    rows = cursor.execute(
        """select table_name, column_name, data_type from duckdb_columns()
        where schema_name = 'main' and not internal order by table_name, column_index"""
    ).fetchall()
    return tuple(
        Table(
            name,
            what,
            tuple(
                Column(column, kind, _COLUMNS.get(f"{name}.{column}", _COLUMNS.get(column, "")))
                for table, column, kind in rows
                if table == name
            ),
        )
        for name, what in TABLES.items()
    )
