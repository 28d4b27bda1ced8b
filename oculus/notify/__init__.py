"""Channels and actions: where alerts go, and what is done about them. One file each, and the tables that name
them.

To add a channel: write its file, add a line here, and a test file.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import gevent

from oculus.config.settings import ChannelSettings
from oculus.errors import reason
from oculus.notify.base import Channel, Undelivered
from oculus.notify.notice import Notice

if TYPE_CHECKING:
    from oculus.config.settings import ChannelSpec, Settings
    from oculus.model import Transition
    from oculus.notify.action import Action

# Kind → module:class. The log is no entry: it needs no configuration, and nothing is sent.
CHANNELS = {
    "apprise": "oculus.notify.apprise:Apprise",
    "discord": "oculus.notify.discord:Discord",
    "email": "oculus.notify.mail:Email",
    "gotify": "oculus.notify.gotify:Gotify",
    "ntfy": "oculus.notify.ntfy:Ntfy",
    "pagerduty": "oculus.notify.pagerduty:PagerDuty",
    "slack": "oculus.notify.slack:Slack",
    "telegram": "oculus.notify.telegram:Telegram",
    "webhook": "oculus.notify.webhook:Webhook",
}

# Kind of action → module:class.
ACTIONS = {
    "exec": "oculus.notify.exec:Exec",
    "http_post": "oculus.notify.http_post:HttpPost",
}

# One that is installed may take this long to be made.
_TO_MAKE = 5.0  # seconds

# A function takes each step as it comes.
_EACH = ChannelSettings(
    group_by=("rule", "symbol"), group_wait=0.0, group_interval=1.0, repeat=0.0, timeout=10.0  # type: ignore[arg-type]
)  # fmt: skip


def channel_class(kind: str) -> type[Channel]:
    """Return the class of a channel of the table; KeyError when there is no such kind."""
    return cast("type[Channel]", _loaded(CHANNELS[kind]))


def action_class(kind: str) -> type[Action]:
    """Return the class of an action of the table; KeyError when there is no such kind."""
    return cast("type[Action]", _loaded(ACTIONS[kind]))


def _loaded(place: str) -> object:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def all_made(settings: Settings) -> dict[str, Channel | Action]:
    """Return the channels of a configuration and the actions of its rules, in use, by their names."""
    found: dict[str, Channel | Action] = {name: made(spec) for name, spec in settings.channels.items()}
    for rule in settings.rules:
        for name, action in rule.named_actions.items():
            found[name] = action_class(action.type)(action)
    return found


def made(spec: ChannelSpec) -> Channel:
    """Return a channel in use. One that cannot be made gives up each message instead."""
    if spec.settings is None:
        return _Function(spec.plugin)
    with gevent.Timeout(_TO_MAKE) as timer:
        try:
            return cast("Channel", spec.plugin(spec.settings))
        except gevent.Timeout as fired:
            if fired is not timer:
                raise
            told = f"not done after {_TO_MAKE:g} s"
        except (Exception, SystemExit) as failure:
            told = reason(failure, spec.plugin.__module__)
    return _Broken(spec.settings, f"it cannot be made: {told}")


class _Function(Channel):
    """A function of an installed package, which takes each step of an alert."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(_EACH)
        self.function = function

    def send(self, transition: Transition) -> None:
        self.function(transition)


class _Broken(Channel):
    """A channel that could not be made."""

    def __init__(self, settings: ChannelSettings, told: str) -> None:
        super().__init__(settings)
        self.told = told

    def deliver(self, notice: Notice) -> str:
        raise Undelivered(self.told, permanent=True)
