"""What a page is asked for by its address: a frozen dataclass, each field a parameter with its default."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any
from urllib.parse import urlencode


class Filters:
    """Base of such classes."""

    __slots__ = ()

    def link(self, **changes: str | int) -> str:
        """Return the query part of an address with other values, from its `?` on; what is as ever is left
        out."""
        other: Any = replace(self, **changes)  # type: ignore[type-var]
        said = {field.name: getattr(other, field.name) for field in fields(other)}
        asked = {field.name: said[field.name] for field in fields(other) if said[field.name] != field.default}
        return f"?{urlencode(asked)}" if asked else ""
