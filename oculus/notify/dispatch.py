"""Hands transitions to the channels that their rules name. Runs off the probe path and never raises."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loguru import logger

from oculus.model import Transition

Send = Callable[[Transition], object]


class Dispatcher:
    """Sends each transition to each of its `channels` once; one that is not here is `log`."""

    def __init__(self, channels: Mapping[str, Send]) -> None:
        self.channels = channels
        self.sent = 0
        self.failed = 0

    def dispatch(self, transition: Transition) -> None:
        """Send one transition."""
        for name in dict.fromkeys(name if name in self.channels else "log" for name in transition.channels):
            try:
                self.channels[name](transition)
            except Exception as error:
                self.failed += 1
                logger.error("channel {} failed: {}", name, error)
            else:
                self.sent += 1
