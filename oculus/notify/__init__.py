"""Channels: where alerts go. One file per channel, and the table that names them.

To add a channel: write its file, add a line here, and a test file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import gevent

from oculus.errors import OculusError, reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from oculus.config.settings import ChannelSpec
    from oculus.model import Transition

# Channel → module:function that sends one transition. `log` needs no configuration.
CHANNELS = {"log": "oculus.notify.log:send"}

# Channels of the configuration contract that this version does not serve yet: their alerts go to the log.
ANNOUNCED = frozenset({"discord", "email", "slack", "telegram", "webhook"})


def channel(name: str) -> Callable[[Transition], None]:
    """Return the function that sends to a channel; KeyError when there is no such channel."""
    module, _, function = CHANNELS[name].partition(":")
    return cast("Callable[[Transition], None]", getattr(import_module(module), function))


# One that is installed may take this long to be made.
_TO_MAKE = 5.0  # seconds


def installed(spec: ChannelSpec) -> Callable[[Transition], object]:
    """Return what sends to an installed channel. One that cannot be made fails at each transition instead."""
    if spec.settings is None:
        return spec.plugin
    with gevent.Timeout(_TO_MAKE) as timer:
        try:
            made: Any = spec.plugin(spec.settings)
            return cast("Callable[[Transition], object]", made.send)
        except gevent.Timeout as fired:
            if fired is not timer:
                raise
            told = f"not done after {_TO_MAKE:g} s"
        except (Exception, SystemExit) as failure:
            told = reason(failure, spec.plugin.__module__)

    def fail(transition: Transition) -> None:
        raise OculusError(f"it cannot be made: {told}")

    return fail
