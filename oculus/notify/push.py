"""What the services that wake phones share: how loud a notice is."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from oculus.config.decode import did_you_mean
from oculus.notify.notice import Notice


def level(notice: Notice) -> str:
    """Return what decides how loud a notice is: the severity of what fires, or `resolved`."""
    return notice.severity if notice.fires else "resolved"


def check_priorities(given: Mapping[str, int], levels: Collection[str], low: int, high: int) -> None:
    """Raise ValueError unless these are priorities of known levels from `low` to `high`."""
    for name, priority in given.items():
        if name not in levels:
            raise ValueError(f'unknown level "{name}"{did_you_mean(name, levels)}')
        if not low <= priority <= high:
            raise ValueError(f"{name}: {priority} is out of range ({low} to {high})")
