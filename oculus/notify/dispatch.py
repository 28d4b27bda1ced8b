"""Hands transitions to the channels that their rules name. Runs off the probe path and never raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import gevent
from loguru import logger

from oculus.errors import OculusError, reason
from oculus.model import Transition

Send = Callable[[Transition], object]

# Rules wait for the one that is being sent.
LONGEST = 10.0  # seconds


class Dispatcher:
    """Sends each transition to each of its `channels` once; one that is not here is `log`."""

    def __init__(self, channels: Mapping[str, Send]) -> None:
        self.channels = channels
        self.sent = 0
        self.failed = 0

    def dispatch(self, transition: Transition) -> None:
        """Send one transition, unless it is suppressed."""
        if transition.suppressed:
            return
        for name in dict.fromkeys(name if name in self.channels else "log" for name in transition.channels):
            with gevent.Timeout(LONGEST) as timer:
                try:
                    self.channels[name](transition)
                except gevent.Timeout as fired:
                    told = f"not done after {LONGEST:g} s" if fired is timer else f"timed out: {fired}"
                except OculusError as error:
                    told = str(error)
                except (Exception, SystemExit) as error:
                    told = reason(error)
                else:
                    self.sent += 1
                    continue
            self.failed += 1
            logger.error("channel {} failed: {}", name, told)
