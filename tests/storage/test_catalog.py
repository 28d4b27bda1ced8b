"""What the catalogue says of tables and functions is so in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oculus.storage import Storage, catalog

# As `call` stands, with something in place of `…`.
FILLED = {
    "series('…')": "series('custom.a')",
    "shard_of('…')": "shard_of('custom.a')",
    "count_if(…)": "count_if(value > 1)",
    "corr(…)": "corr(value, shard)",
    "regr_slope(…)": "regr_slope(value, shard)",
    "row_number() over (order by …)": "row_number() over (order by ts)",
    "coalesce(…)": "coalesce(high, value)",
    "greatest(…)": "greatest(value, 1)",
    "least(…)": "least(value, 1)",
    "regexp_extract(symbol, '…', 1)": "regexp_extract(symbol, '(a)', 1)",
    "starts_with(symbol, '…')": "starts_with(symbol, 'custom')",
    "range(…)": "range(5)",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Storage]:
    """An empty store."""
    with Storage(str(tmp_path / "x.db")) as store:
        yield store


def test_every_column_has_its_line(store: Storage) -> None:
    """A new column must be explained, and nothing is explained that is not there."""
    tables = store.read(catalog.tables)
    assert [table.name for table in tables] == list(catalog.TABLES)
    assert all(table.columns for table in tables)
    assert not [(table.name, column.name) for table in tables for column in table.columns if not column.what]
    columns = {column.name for table in tables for column in table.columns}
    columns |= {f"{table.name}.{column.name}" for table in tables for column in table.columns}
    assert catalog._COLUMNS.keys() <= columns


@pytest.mark.parametrize("function", catalog.FUNCTIONS, ids=lambda function: function.call)
def test_every_function_can_be_called(store: Storage, function: catalog.Function) -> None:
    """As it stands there, in a query that users may run."""
    call = FILLED.get(function.call, function.call)
    assert "…" not in call
    store.query(f"from {call}" if call.startswith("series") else f"select {call} from metrics")
