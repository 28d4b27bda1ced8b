"""DuckDB's values as JSON, without loss of meaning: the table of `docs/api.md` in code."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from oculus.clock import iso
from oculus.model import Micros

# Whole numbers that every JSON reader keeps exactly; JavaScript rounds larger ones.
EXACT = 2**53 - 1

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

# What Python's own types cannot hold: months, nanoseconds, infinities and the years beyond 9999. The database
# itself turns these into text; within lists and structures only the first two.
_TEXT = frozenset({"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"})
_TEXT_WITHIN = re.compile(r"""("(?:[^"]|"")*"|'(?:[^']|'')*')|\b(?:INTERVAL|TIMESTAMP_NS)\b""")


def as_text(kind: str) -> str | None:
    """Return the type to cast a column of type `kind` to before it is fetched, None to take it as it is."""
    if kind in _TEXT:
        return "VARCHAR"
    if kind.startswith("ENUM"):
        return None
    cast = _TEXT_WITHIN.sub(lambda found: found[1] or "VARCHAR", kind)
    return cast if cast != kind else None


def shown(value: Any, kind: str, *, text: bool) -> Any:
    """Return a value of a column of type `kind` for JSON; `text` tells that it was cast to text."""
    if value is None:
        return None
    if text and kind.startswith("TIMESTAMP"):
        # Infinities and years before Christ have no form in ISO 8601.
        return value if "(" in value or "inf" in value else str(value).replace(" ", "T", 1)
    if kind == "TIMESTAMP WITH TIME ZONE" and isinstance(value, datetime.datetime) and value.tzinfo is None:
        # The client has no other way to say so: every finite time has a zone.
        return "infinity" if value.year > 1 else "-infinity"
    if kind.startswith("MAP(") and isinstance(value, Mapping) and not kind.startswith("MAP(VARCHAR"):
        # Keys that Python cannot hash come as a list beside the list of their values.
        pairs = zip(value["key"], value["value"], strict=True) if "key" in value else value.items()
        return [[jsonable(key), jsonable(item)] for key, item in pairs]
    return jsonable(value)


def jsonable(value: Any) -> Any:
    """Return a value of DuckDB as one that JSON has: times in ISO 8601, what JSON lacks as text."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if -EXACT <= value <= EXACT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat()
        return iso(Micros((value - _EPOCH) // datetime.timedelta(microseconds=1)))
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: jsonable(item) for key, item in value.items()}
        return [[jsonable(key), jsonable(item)] for key, item in value.items()]
    if isinstance(value, list | tuple | set):
        return [jsonable(item) for item in value]
    return str(value)  # UUIDs, and whatever else comes to be


def size_of(row: list[Any]) -> int:
    """Return the characters of a row as JSON."""
    return len(json.dumps(row))
