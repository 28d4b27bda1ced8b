"""Channels: where alerts go. One file per channel, and the table that names them.

To add a channel: write its file, add a line here, and a test file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from oculus.model import Transition

# Channel → module:function that sends one transition. `log` needs no configuration.
CHANNELS = {"log": "oculus.notify.log:send"}

# Channels of the configuration contract that this version does not serve yet: their alerts go to the log.
ANNOUNCED = frozenset({"discord", "email", "slack", "telegram", "webhook"})


def channel(name: str) -> Callable[[Transition], None]:
    """Return the function that sends to a channel; KeyError when there is no such channel."""
    module, _, function = CHANNELS[name].partition(":")
    return cast("Callable[[Transition], None]", getattr(import_module(module), function))
