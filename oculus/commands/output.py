"""What commands print: results as table, CSV or JSON on standard output, progress on a terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
import unicodedata
from collections.abc import Sequence
from typing import Any

Rows = Sequence[Sequence[Any]]
Columns = Sequence[tuple[str, str]]

# DuckDB's types whose values stand to the right.
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BIGNUM")

_NARROWEST = 8  # characters that a column keeps on a terminal that is too narrow
_GAP = "  "

# What would move the cursor of a terminal, or break a line of the table, is written out.
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", 0x2028: "\\u2028", 0x2029: "\\u2029"}

_REDRAW = 0.1  # seconds between two looks of the progress bar
_BAR = 24  # characters


def table(columns: Columns, rows: Rows, width: int | None) -> str:
    """Return lines for people: aligned, numbers to the right, no wider than `width` if that is given."""
    right = [kind.removeprefix("U").startswith(_NUMBERS) and "[" not in kind for _, kind in columns]
    cells = [[clean(name) for name, _ in columns], *([_cell(value) for value in row] for row in rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(columns))]
    if width is not None:
        _squeeze(widths, width - len(_GAP) * (len(columns) - 1))
    cells.insert(1, ["─" * size for size in widths])
    lines = []
    for row in cells:
        padded = []
        for text, size, to_right in zip(row, widths, right, strict=True):
            text = _cut(text, size)  # noqa: PLW2901
            space = " " * (size - _width(text))
            padded.append(space + text if to_right else text + space)
        lines.append(_GAP.join(padded).rstrip())
    lines.append(f"({len(rows)} row{'' if len(rows) == 1 else 's'})")
    return "\n".join(lines) + "\n"


def csv_text(columns: Columns, rows: Rows) -> str:
    """Return RFC 4180: a header, CRLF, quotes where they are needed; NULL is empty."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([name for name, _ in columns])
    writer.writerows([None if value is None else _plain(value) for value in row] for row in rows)
    return out.getvalue()


def json_text(columns: Columns, rows: Rows) -> str:
    """Return a list of objects, one to a line; a name that comes again gets a number behind it."""
    names: list[str] = []
    for name, _ in columns:
        number, unique = 1, name
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        names.append(unique)
    objects = (json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows)
    body = ",\n ".join(objects)
    return f"[{body}]\n"


def terminal_width() -> int | None:
    """Return the columns of the terminal that standard output is, None when it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def size_text(size: float) -> str:
    """Return bytes for people."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


class Progress:
    """A line on standard error that is drawn again and again; nothing where that is no terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = sys.stderr.isatty()
        self._started = time.monotonic()
        self._drawn = 0.0
        self._part = 0.0

    def show(self, part: float | None, size: int) -> None:
        """Draw `part` (0 to 1, None while unknown) and `size` bytes so far."""
        now = time.monotonic()
        if not self._shown or now - self._drawn < _REDRAW:
            return
        self._drawn = now
        self._part = max(self._part, part or 0.0)  # it only goes forward, between two statements too
        full = round(self._part * _BAR)
        rate = size / max(now - self._started, 0.001)
        bar = "█" * full + "·" * (_BAR - full)
        self._draw(
            f"{self._what} {bar} {self._part:4.0%}"
            + (f"  {size_text(size)}, {size_text(rate)}/s" if size else "")
        )

    def clear(self) -> None:
        """Take the line away."""
        if self._shown and self._drawn:
            self._draw("")

    def _draw(self, line: str) -> None:
        sys.stderr.write(f"\r{line}\x1b[K")
        sys.stderr.flush()


def _cell(value: Any) -> str:
    return "NULL" if value is None else clean(_plain(value))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def clean(text: str) -> str:
    """Return a text that cannot move the cursor of a terminal, nor break a line."""
    return text.translate(_CONTROL)


def _width(text: str) -> int:
    """Return the columns that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in text)
    return len(text) + wide - sum(unicodedata.combining(sign) > 0 for sign in text)


def _cut(text: str, size: int) -> str:
    if _width(text) <= size:
        return text
    while _width(text) > size - 1:
        text = text[:-1]
    return f"{text}…"


def _squeeze(widths: list[int], room: int) -> None:
    """Narrow the widest columns until all fit, but none below the least width."""
    while sum(widths) > room:
        widest = max(range(len(widths)), key=lambda index: widths[index])
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
