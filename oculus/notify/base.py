"""What a channel is: it is made from its settings, and sends notices, or single steps of alerts."""

from __future__ import annotations

from typing import ClassVar

from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError
from oculus.model import Transition
from oculus.notify.notice import Notice


class Undelivered(OculusError):
    """A service did not take a message. A `permanent` error is not tried again: the token is wrong, or the
    message; another one is, after `retry_after` seconds where the service says so."""

    def __init__(self, told: str, *, permanent: bool = False, retry_after: float | None = None) -> None:
        super().__init__(told)
        self.permanent = permanent
        self.retry_after = retry_after


class Channel:
    """Base of channels. A subclass may set `Settings` to a class of its own, and implements `send` (a step of
    an alert at a time), or `deliver` (all that is told at once)."""

    Settings: ClassVar[type[ChannelSettings]] = ChannelSettings
    # Whether it fills its settings' template in itself; else a notice comes with the text.
    fills_template: ClassVar[bool] = False

    def __init__(self, settings: ChannelSettings) -> None:
        self.settings = settings

    def send(self, transition: Transition) -> None:
        """Send one step of an alert. An exception is a failure, which is logged."""
        raise NotImplementedError

    def deliver(self, notice: Notice) -> str:
        """Send a message and return what the service said of it (its id, a status), for the record.

        Raises Undelivered. What has been taken must not be sent again by a second call for the same notice
        where the service can tell them apart.
        """
        for step in notice.alerts:
            self.send(step)
        return ""

    def close(self) -> None:
        """Let go of connections."""
