"""What a channel with settings is: they are given to it when it is made, and it sends one transition."""

from __future__ import annotations

from typing import ClassVar

from oculus.config.settings import ChannelSettings
from oculus.model import Transition


class Channel:
    """Base of channels. A subclass may set `Settings` to a class of its own, and implements `send`."""

    Settings: ClassVar[type[ChannelSettings]] = ChannelSettings

    def __init__(self, settings: ChannelSettings) -> None:
        self.settings = settings

    def send(self, transition: Transition) -> None:
        """Send one step of an alert. An exception is a failure, which is logged."""
        raise NotImplementedError
