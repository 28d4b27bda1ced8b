"""The rows of a query as alerts: which columns tell one from another, and which are its numbers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# Types of columns by what they begin with.
_NUMBERS = ("DECIMAL", "DOUBLE", "FLOAT", "HUGEINT", "UHUGEINT", "BIGINT", "UBIGINT")
_TEXTS = ("VARCHAR", "ENUM", "UUID")

Row = Mapping[str, Any]


class Detail(str):
    """A text in a row that tells no alert from another, such as a time."""

    __slots__ = ()


def cell(kind: str, value: Any) -> Any:
    """Return a value of a query's result, of this DuckDB type, as the engine takes it."""
    if kind.startswith(_NUMBERS) and isinstance(value, str):  # too long for JSON's numbers, or none of them
        number = float(value)
        return number if math.isfinite(number) else Detail(value)
    return Detail(value) if isinstance(value, str) and not kind.startswith(_TEXTS) else value


def rows_of(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[Any]]) -> list[Row]:
    """Return the result of a query, whose columns are names and types, as the engine takes it."""
    return [
        {
            name: cell(kind, value)
            for (name, kind), value in zip(columns, row, strict=True)
            if value is not None
        }
        for row in rows
    ]


def keyed(rows: Iterable[Row]) -> dict[str, tuple[Mapping[str, str], Row]]:
    """Return each row with its labels by the key that follows from these; raises ValueError when two rows
    have the same."""
    found: dict[str, tuple[Mapping[str, str], Row]] = {}
    for row in rows:
        labels = {name: text(value) for name, value in row.items() if type(value) in (str, bool)}
        key = json.dumps(labels, sort_keys=True)
        if key in found:
            same = ", ".join(f"{name} {value}" for name, value in labels.items()) or "no text column"
            raise ValueError(f"two rows cannot be told from each other: {same}")
        found[key] = labels, row
    return found


def numbers(row: Row) -> dict[str, float]:
    """Return the numbers of a row by column."""
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def shown(row: Row) -> str:
    """Return a row in words."""
    return ", ".join(f"{name} = {text(value)}" for name, value in row.items())


def text(value: object) -> str:
    """Return a value as people write it."""
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, ".12g") if isinstance(value, float) else str(value)
