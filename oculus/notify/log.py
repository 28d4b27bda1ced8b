"""The `log` channel: each transition as one structured line. It needs nothing and cannot fail."""

from __future__ import annotations

from loguru import logger

from oculus.clock import iso
from oculus.model import Severity, Transition

_LEVELS: dict[Severity, str] = {"info": "INFO", "warn": "WARNING", "error": "ERROR", "critical": "CRITICAL"}


def send(transition: Transition) -> None:
    """Write the line: a firing alert at its severity's level, the other steps as information."""
    level = _LEVELS[transition.severity] if transition.state == "firing" else "INFO"
    fields = {
        "alert": transition.rule,
        "state": transition.state,
        "severity": transition.severity,
        "symbol": transition.symbol,
        "value": transition.value,
        "started_at": iso(transition.started_at),
    }
    told = {name: value for name, value in fields.items() if value is not None}
    logger.bind(**told).log(level, "alert {}: {}", transition.state, transition.message)
