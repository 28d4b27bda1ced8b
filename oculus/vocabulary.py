"""What a configuration may speak of: gathered from the tables of the stages, for the daemon and `check`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, cast

from oculus.collectors import KINDS, collector_class
from oculus.config import Vocabulary
from oculus.config.kinds import PluginSource
from oculus.config.settings import ActionSettings, CollectorSettings
from oculus.notify import ACTIONS, CHANNELS, action_class, channel_class
from oculus.rules import expression, message, rule
from oculus.rules.derived import ordered, parse


class _Plugins:
    """The plugins of this process, which outlive a reload. What loads them is imported when it is needed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_loader(), name)


@cache
def _loader() -> PluginSource:
    from oculus.plugins import Plugins

    return Plugins()


def _check_canary(text: str) -> None:
    from oculus.collectors.network.uplink import check_canary

    check_canary(text)


def _heartbeat() -> type:
    from oculus.notify.deadman import HeartbeatSettings

    return HeartbeatSettings


def vocabulary() -> Vocabulary:
    """Return what a configuration may speak of in this version."""

    def settings_of(kind: str) -> Callable[[], type[CollectorSettings]]:
        return lambda: collector_class(kind).Settings

    def action_settings_of(kind: str) -> Callable[[], type[ActionSettings]]:
        return lambda: action_class(kind).Settings

    return Vocabulary(
        collectors={kind: settings_of(kind) for kind in KINDS},
        channels={kind: partial(channel_class, kind) for kind in CHANNELS},
        actions={kind: action_settings_of(kind) for kind in ACTIONS},
        heartbeat=_heartbeat,
        check_condition=expression.parse,
        check_rule=rule.check,
        check_message=message.check,
        check_derived=lambda settings: ordered(map(parse, settings)),
        check_canary=_check_canary,
        plugins=cast("PluginSource", _Plugins()),
    )
