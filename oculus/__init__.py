"""Oculus: one file that watches numbers, stores every sample in DuckDB, and raises alerts.

Importing the package does no work: the public names are loaded when they are first used, and
nothing is patched or started.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from oculus.collectors.base import CollectError, Collector, Context
    from oculus.config.decode import Seconds, Size, between, setting
    from oculus.config.settings import (
        ChannelSettings,
        CollectorSettings,
        CollectorSpec,
        RuleSettings,
    )
    from oculus.hindsight.script import backtest, evaluate
    from oculus.model import Candle, Event, Sample, Transition
    from oculus.notify.base import Channel
    from oculus.rules.engine import RuleEngine
    from oculus.storage import Storage

_PUBLIC = {
    "Candle": "oculus.model",
    "Channel": "oculus.notify.base",
    "ChannelSettings": "oculus.config.settings",
    "CollectError": "oculus.collectors.base",
    "Collector": "oculus.collectors.base",
    "CollectorSettings": "oculus.config.settings",
    "CollectorSpec": "oculus.config.settings",
    "Context": "oculus.collectors.base",
    "Event": "oculus.model",
    "RuleEngine": "oculus.rules.engine",
    "RuleSettings": "oculus.config.settings",
    "Sample": "oculus.model",
    "Seconds": "oculus.config.decode",
    "Size": "oculus.config.decode",
    "Storage": "oculus.storage",
    "Transition": "oculus.model",
    "backtest": "oculus.hindsight.script",
    "between": "oculus.config.decode",
    "evaluate": "oculus.hindsight.script",
    "setting": "oculus.config.decode",
}

__all__ = [
    "Candle",
    "Channel",
    "ChannelSettings",
    "CollectError",
    "Collector",
    "CollectorSettings",
    "CollectorSpec",
    "Context",
    "Event",
    "RuleEngine",
    "RuleSettings",
    "Sample",
    "Seconds",
    "Size",
    "Storage",
    "Transition",
    "__version__",
    "backtest",
    "between",
    "evaluate",
    "setting",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
