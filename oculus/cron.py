"""Cron expressions: whether one is right, and when it comes next in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from oculus.model import Micros

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def check_cron(text: str) -> None:
    """Raise ValueError unless `text` is a cron expression."""
    from cronsim import CronSim, CronSimError

    try:
        CronSim(text, datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise ValueError(f"{text!r} is not a cron expression (such as 30 3 * * *)") from None


def next_time(cron: str, zone: tzinfo, after: Micros) -> Micros | None:
    """Return when a cron expression first names a time later than this; None when it names none."""
    from cronsim import CronSim

    local = (_EPOCH + timedelta(microseconds=after)).astimezone(zone)
    # In the hour that comes twice the next local time may be one that has gone by: its first coming.
    for moment in CronSim(cron, local):
        ts = Micros((moment - _EPOCH) // timedelta(microseconds=1))
        if ts > after:
            return ts
    return None
