"""Time zones by name, and this host's own."""

from __future__ import annotations

import os
import zoneinfo
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_LOCAL = Path("/etc/localtime")


@cache
def zone(name: str) -> zoneinfo.ZoneInfo:
    """Return a zone by its name; raises KeyError or ValueError for what is none.

    Small systems have no zone files of their own; the package pytz, which the database needs, brings some.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        folder = _bundled()
        if not folder or folder in zoneinfo.TZPATH:
            raise
        zoneinfo.reset_tzpath((*zoneinfo.TZPATH, folder))
        return zoneinfo.ZoneInfo(name)


def check_zone(name: str) -> None:
    """Raise ValueError unless `name` is a time zone's, or empty."""
    try:
        zone_or_local(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone (such as Europe/Berlin)") from None


def zone_or_local(name: str) -> zoneinfo.ZoneInfo:
    """Return a zone by its name, or this host's for an empty one; raises KeyError or ValueError for none."""
    return zone(name) if name else local_zone()


def local_zone() -> zoneinfo.ZoneInfo:
    """Return the zone that this host is set to, UTC where that cannot be told."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named:
        try:
            return zone(named)
        except (KeyError, ValueError, OSError):
            pass  # a rule written out, such as CET-1CEST, or a file's path
    try:
        with _LOCAL.open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return zone("UTC")


def _bundled() -> str:
    spec = find_spec("pytz")
    return str(Path(spec.origin).with_name("zoneinfo")) if spec and spec.origin else ""
