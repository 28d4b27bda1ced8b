"""How services write numbers and times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "payloads"


@cache
def _read(name: str) -> str:
    return (FOLDER / name).read_text()


def payload(name: str) -> Any:
    """Return a documented body, to be changed at will: parsed when the file is JSON, else its text."""
    text = _read(name)
    return json.loads(text) if name.endswith(".json") else text


def fixed(value: float, places: int) -> str:
    """Return a number with so many decimals, or more when it has more: what a test sets comes exactly."""
    text = f"{value:.{places}f}"
    return text if float(text) == value else format(Decimal(repr(value)), "f")


def iso(at: float, digits: int = 6, end: str = "Z") -> str:
    """Return a time as RFC 3339 in UTC, with so many decimals of a second."""
    micros = round(at * 1e6)
    seconds, fraction = divmod(micros, 1_000_000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{f'{fraction:06d}000'[:digits]}{end}" if digits else text + end


def millis(at: float) -> int:
    """Return a time as milliseconds since 1970."""
    return round(at * 1000)


def midnight(at: float) -> float:
    """Return 00:00 UTC of the day."""
    return at - at % 86_400
