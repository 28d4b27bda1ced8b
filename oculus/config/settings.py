"""What can be set: one frozen dataclass per section of the configuration file.

Collector kinds derive their own settings from `CollectorSettings`, beside the collector.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

from oculus.config.decode import Seconds, Size, between, setting
from oculus.cron import check_cron
from oculus.errors import ExpressionError
from oculus.model import AlertState, Severity, is_symbol, slug
from oculus.windows import Window, parse_cron, parse_once, parse_weekly
from oculus.zones import check_zone, zone_or_local

# Shortest interval and timeout: below this the measuring costs more than the measured.
SHORTEST = 0.1  # seconds
LONGEST = 366 * 86_400.0  # seconds

_duration = between(SHORTEST, LONGEST, "s")

# What a missing or stale value means to a rule: nothing new, that all is well, or what the rule is about.
NoData = Literal["keep", "ok", "alert"]


class SqlParam:
    """A value of a query's parameter: a number where it reads as one, else text."""

    @staticmethod
    def parse(text: str) -> int | float | str:
        """Return the value."""
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text


def _check_slug(name: str) -> None:
    if slug(name) == "_":
        raise ValueError(f"{name!r} has no letter or digit (a name such as site)")


def check_symbol(symbol: str) -> None:
    """Raise ValueError unless `symbol` can be the name of a series, or is empty."""
    if symbol and not is_symbol(symbol):
        raise ValueError(f"{symbol!r} is not a symbol (dotted lower-case names such as crypto.price.btc_usd)")


def _check_rule_name(name: str) -> None:
    if not name.strip() or "/" in name or len(name) > 100:
        raise ValueError(f"{name!r} cannot name a rule (a name such as slow_site)")


def _check_url(url: str) -> None:
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} is not a URL (such as https://oculus.example.com)")


def _check_path(path: str) -> None:
    # DuckDB would keep everything in memory, and lose it.
    if not path or "\0" in path:
        raise ValueError(f"{path!r} is not a file name (a path such as oculus.db)")


def _check_max_size(size: int) -> None:
    # Below this a day of a few series would not fit, and the file's own blocks are a part of it.
    if 0 < size < 32 * 10**6:
        raise ValueError(f"{size} B is too small (32MB or more, or 0B for no limit)")


def _check_log_file(path: str) -> None:
    # Braces have a meaning to the logging library.
    if any(sign in path for sign in "\0{}"):
        raise ValueError(f"{path!r} is not a file name (a path such as oculus.log)")


def _check_tags(tags: Mapping[str, str]) -> None:
    for key in tags:
        if not is_symbol(key):
            raise ValueError(f"{key!r} is not a tag name (lower-case letters, digits, _)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """`server:`: where the pages and the API are served."""

    bind: str = setting("127.0.0.1", help="address to listen on")
    port: int = setting(8080, help="TCP port; 0 takes a free one", check=between(0, 65535))
    token: str = setting("", help="password of the pages and the API; none when empty", secret=True)
    insecure: bool = setting(False, help="allow to listen beyond loopback without a token")
    hosts: tuple[str, ...] = setting((), help="host names that this server answers to besides its addresses")
    public_url: str = setting(
        "", help="address at which people reach the pages, for links in messages", check=_check_url
    )
    public_status: bool = setting(False, help="show the status page and its badges without the token")

    @property
    def loopback(self) -> bool:
        """Whether only this host can connect."""
        if self.bind == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.bind).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSettings:
    """`database:`: the DuckDB file and how it is written."""

    path: str = setting(
        "oculus.db", help="the DuckDB file, relative to the working directory", check=_check_path
    )
    retention: Seconds = setting(
        Seconds(7 * 86_400.0), help="how long samples are kept", check=between(60, LONGEST * 100, "s")
    )
    retention_1m: Seconds = setting(
        Seconds(90 * 86_400.0),
        help="how long 1-minute rollups are kept",
        check=between(3_600, LONGEST * 100, "s"),
    )
    retention_1h: Seconds = setting(
        Seconds(1_826 * 86_400.0),
        help="how long 1-hour rollups are kept",
        check=between(86_400, LONGEST * 100, "s"),
    )
    max_size: Size = setting(
        Size(0),
        help="most space that the file may take, 0 for any; the oldest samples go first",
        check=_check_max_size,
    )
    flush: Seconds = setting(
        Seconds(1.0), help="longest time that a sample waits to be written", check=between(0.01, 60, "s")
    )
    batch: int = setting(5_000, help="samples that are written at once", check=between(1, 100_000))
    queue: int = setting(
        200_000, help="samples that may wait to be written", check=between(1_000, 10_000_000)
    )
    queue_memory: Size = setting(
        Size(64 * 10**6), help="memory that they may take meanwhile", check=between(8e6, 1e12, "B")
    )
    checkpoint: Size = setting(
        Size(16 * 2**20),
        help="size of the log at which it goes into the file",
        check=between(64e3, 1e12, "B"),
    )
    memory_limit: Size = setting(
        Size(64 * 10**6), help="most memory that DuckDB takes", check=between(32e6, 1e13, "B")
    )
    threads: int = setting(1, help="threads that one query may use", check=between(1, 64))

    @property
    def keep(self) -> dict[str, float]:
        """How long the rows of each table are kept, in seconds. A rollup is kept as long as its source."""
        minutes = max(self.retention, self.retention_1m)
        return {
            "metrics": self.retention,
            "rollup_1m": minutes,
            "rollup_1h": max(minutes, self.retention_1h),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`log:`: what is logged, how and where."""

    level: Literal["debug", "info", "warning", "error"] = setting("info", help="least level that is shown")
    format: Literal["text", "json"] = setting("text", help="lines for people or for programs")
    file: str = setting("", help="also log to this file, a new one each day", check=_check_log_file)
    keep: Seconds = setting(
        Seconds(7 * 86_400.0), help="how long the files of past days are kept", check=_duration
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorSettings:
    """What every collector can be told."""

    name: str = setting("", help="name in the symbols; made from the target when left out", check=_check_slug)
    interval: Seconds = setting(Seconds(60.0), help="time from start to start", check=_duration)
    timeout: Seconds = setting(Seconds(10.0), help="longest time of one run", check=_duration)
    tags: Mapping[str, str] = setting(factory=dict, help="labels added to every sample", check=_check_tags)

    def default_name(self) -> str:
        """Return the name where the user gives none; empty when the kind must be named."""
        return ""

    def longest_run(self) -> float:
        """Return the seconds after which a run is ended whatever it does."""
        return self.timeout


# What the names of actions begin with: they stand among those of channels, which cannot begin so.
ACTION = "action:"


def _check_on(states: tuple[str, ...]) -> None:
    if not states:
        raise ValueError("is empty (firing, resolved, or both)")


def retries(default: int) -> Any:
    """Declare how often an action is tried again."""
    return setting(default, help="further tries after one that failed", check=between(0, 1_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSettings:
    """What every action of a rule can be told. `type` is its kind."""

    type: ClassVar[str] = ""

    on: tuple[Literal["firing", "resolved"], ...] = setting(
        ("firing", "resolved"), help="steps of an alert at which it is carried out", check=_check_on
    )
    timeout: Seconds = setting(Seconds(10.0), help="limit of one try", check=between(0.1, 300, "s"))
    retry: int = retries(0)
    expire: Seconds = setting(
        Seconds(3_600.0),
        help="age of a step at which nothing is done about it any more",
        check=between(1, LONGEST, "s"),
    )

    @property
    def title(self) -> str:
        """What messages call it, without secrets: a verb and its object follow."""
        return self.type


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSettings:
    """One entry of `rules:`."""

    name: str = setting(help="name of the rule", check=_check_rule_name)
    condition: str = setting("", help="expression that is true while something is wrong")
    sql: str = setting("", help="query whose rows are what is wrong, instead of a condition")
    params: Mapping[str, SqlParam] = setting(factory=dict, help="values of the query's $names")
    every: Seconds = setting(Seconds(0.0), help="time from one evaluation to the next", check=_duration)
    schedule: str = setting("", help="cron expression of the query's runs, instead of every")
    timezone: str = setting("", help="zone of schedule, time and weekday", check=check_zone)
    for_: Seconds = setting(
        Seconds(0.0), key="for", help="how long it must hold before it fires", check=between(0, LONGEST, "s")
    )
    keep_firing_for: Seconds = setting(
        Seconds(0.0), help="how long it fires on after it held last", check=between(0, LONGEST, "s")
    )
    until: str = setting("", help="what must hold for it to resolve, where that is not the contrary")
    no_data: NoData = setting("keep", help="what it means that a value is missing or stale")
    severity: Severity = setting("warn", help="how bad it is")
    message: str = setting("", help="text of the alert, a Jinja2 template")
    cooldown: Seconds = setting(
        Seconds(0.0), help="least time from one firing to the next", check=between(0, LONGEST, "s")
    )
    repeat: Seconds = setting(
        Seconds(0.0), help="how often it is told again while it fires", check=between(0, LONGEST, "s")
    )
    flap: int = setting(
        5, help="firings an hour beyond which it is not told (0: always)", check=between(0, 1_000)
    )
    limit: int = setting(1_000, help="most alerts of this rule at a time", check=between(1, 100_000))
    depends_on: tuple[str, ...] = setting((), help="rules that silence this one while they fire")
    equal: tuple[str, ...] = setting((), help="labels that must be equal for depends_on")
    channels: tuple[str, ...] = setting(("log",), help="where its alerts go")
    actions: tuple[ActionSettings, ...] = setting(
        (), help="what is done when it fires and resolves", apart=True
    )

    def __post_init__(self) -> None:
        if bool(self.condition) == bool(self.sql):
            raise ValueError("needs one of condition and sql")
        if self.condition and (self.schedule or self.params):
            raise ValueError("schedule and params are for sql")
        if self.schedule and self.every:
            raise ValueError("needs one of every and schedule")
        if self.sql and self.until:
            raise ValueError("until is for a condition; let the query tell")
        if self.schedule:
            check_cron(self.schedule)

    @property
    def named_actions(self) -> dict[str, ActionSettings]:
        """The actions by their names; no name of a rule has a `/`."""
        return {
            f"{ACTION}{self.name}" + (f"/{number}" if number > 1 else ""): action
            for number, action in enumerate(self.actions, 1)
        }

    def acting(self, state: AlertState) -> tuple[str, ...]:
        """Return the names of the actions that a step to this state asks for."""
        return tuple(name for name, action in self.named_actions.items() if state in action.on)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedSettings:
    """One entry of `derived:`."""

    name: str = setting(help="symbol of the series that it makes", check=check_symbol)
    formula: str = setting(help="expression over other series")
    interval: Seconds = setting(Seconds(60.0), help="time from one value to the next", check=_duration)
    unit: str = setting("", help="unit of the values")
    tags: Mapping[str, str] = setting(factory=dict, help="tags of the values", check=_check_tags)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("has no name (such as custom.ratio)")


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceSettings:
    """One entry of `maintenance:`: a window, and the probes whose failures do not count in it."""

    name: str = setting("maintenance", help="what the window is called")
    match: tuple[str, ...] = setting(("*",), help="probes that it is for: net.http.site, net.tcp.*")
    weekly: str = setting("", help="days and times of day: sun 02:00-04:00")
    cron: str = setting("", help="cron expression of its beginnings")
    duration: Seconds = setting(Seconds(3_600.0), help="how long it lasts after each", check=_duration)
    start: str = setting("", help="beginning of a window that comes once: 2026-12-01 22:00")
    end: str = setting("", help="its end")
    timezone: str = setting("", help="zone of all these times; this host's when left out", check=check_zone)

    def __post_init__(self) -> None:
        if bool(self.weekly) + bool(self.cron) + bool(self.start or self.end) != 1:
            raise ValueError("needs one of weekly, cron with duration, or start and end")
        self.window()

    def window(self) -> Window:
        """Return the window; raises ValueError."""
        zone = zone_or_local(self.timezone)
        if self.weekly:
            return parse_weekly(self.weekly, zone)
        if self.cron:
            return parse_cron(self.cron, self.duration, zone)
        return parse_once(self.start, self.end, zone)


def _check_patterns(patterns: tuple[str, ...]) -> None:
    for pattern in patterns:
        if not re.fullmatch(r"[a-z0-9_.*?\[\]!-]+", pattern):
            raise ValueError(f"{pattern!r} is not a symbol or a pattern of them (such as net.http.*)")


def _check_some_patterns(patterns: tuple[str, ...]) -> None:
    if not patterns:
        raise ValueError("is empty (targets such as net.http.site or net.tcp.*)")
    _check_patterns(patterns)


def _check_named(names: Mapping[str, str]) -> None:
    for symbol, name in names.items():
        check_symbol(symbol)
        if not name.strip():
            raise ValueError(f"{symbol} has an empty name")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusGroup:
    """One entry of `status.groups`."""

    name: str = setting(help="heading of the group")
    symbols: tuple[str, ...] = setting(
        help="targets in it, in order: net.http.site, net.tcp.*", check=_check_some_patterns
    )

    def places(self, target: str) -> int | None:
        """Return which of its symbols is the first to name a target (`net.http.site`), or None."""
        ways = (target, f"{target}.up")
        return next(
            (
                place
                for place, pattern in enumerate(self.symbols)
                if any(fnmatchcase(way, pattern) for way in ways)
            ),
            None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSettings:
    """`status:`: what the status page shows."""

    title: str = setting("Status", help="heading of the page")
    description: str = setting("", help="a line below it")
    announcement: str = setting("", help="news to tell at its top, such as planned work")
    groups: tuple[StatusGroup, ...] = setting((), help="what is shown, in order; all targets when left out")
    names: Mapping[str, str] = setting(
        factory=dict, help="what targets are called: {net.http.site: Website}", check=_check_named
    )
    badges: tuple[str, ...] = setting(
        (), help="further series whose badges need no token: crypto.price.*", check=_check_patterns
    )

    def shows(self, target: str) -> bool:
        """Tell whether a target stands on the page."""
        return not self.groups or any(group.places(target) is not None for group in self.groups)


def _check_template(text: str) -> None:
    from oculus.templates import check

    try:
        check(text)
    except ExpressionError as error:
        raise ValueError(f"is no template: {error}") from None


def _check_quiet(text: str) -> None:
    if text:
        parse_weekly(text, UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSettings:
    """What every channel can be told: how alerts become messages, and what happens to those that fail."""

    group_by: tuple[str, ...] = setting(
        ("rule",), help="what the alerts of one message have in common: labels, rule, severity"
    )
    group_wait: Seconds = setting(
        Seconds(30.0),
        help="time from the first alert of a group to its message",
        check=between(0, LONGEST, "s"),
    )
    group_interval: Seconds = setting(
        Seconds(300.0), help="time from one message of a group to the next", check=between(0.1, LONGEST, "s")
    )
    repeat: Seconds = setting(
        Seconds(14_400.0), help="how often it is told again that a group fires (0s: never)",
        check=between(0, LONGEST, "s"),
    )  # fmt: skip
    resolved: bool = setting(True, help="whether it is told that an alert is over")
    severity: Severity = setting("info", help="least severity that it tells")
    most: int = setting(
        20, help="most alerts in a message; further ones are counted", check=between(1, 1_000)
    )
    quiet: str = setting(
        "", help="time of day in which it tells only what is critical: 22:00-07:00", check=_check_quiet
    )
    timezone: str = setting("", help="zone of quiet; this host's when left out", check=check_zone)
    timeout: Seconds = setting(Seconds(20.0), help="limit of one try to send", check=between(0.1, 300, "s"))
    expire: Seconds = setting(
        Seconds(86_400.0),
        help="how long a message is tried that does not get through",
        check=between(1, LONGEST, "s"),
    )
    fallback: str = setting("", help="channel that tells what this one gives up")
    template: str = setting("", help="text of its messages, a Jinja2 template", check=_check_template)


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A channel of an installed package: a function that sends a transition, or a class with settings."""

    plugin: Callable[..., object]
    settings: ChannelSettings | None = None


@dataclass(frozen=True, slots=True)
class CollectorSpec:
    """One entry of `collectors:`, ready to be started. `name` is the slug that stands in its symbols.

    `plugin` is the class of a kind that is not built in: a plugin that was changed is another class.
    """

    kind: str
    name: str
    settings: CollectorSettings
    plugin: type | None = None

    @property
    def id(self) -> str:
        """What no two collectors share: kind and name, such as `network/http/site`."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole configuration, checked. `warnings` are lines for the user; `channels` are those of installed
    packages, by the names that rules call them.
    """

    server: ServerSettings
    database: DatabaseSettings
    log: LogSettings
    collectors: tuple[CollectorSpec, ...]
    rules: tuple[RuleSettings, ...]
    warnings: tuple[str, ...] = ()
    derived: tuple[DerivedSettings, ...] = ()
    maintenance: tuple[MaintenanceSettings, ...] = ()
    canaries: tuple[str, ...] = ()
    channels: Mapping[str, ChannelSpec] = field(default_factory=dict)
    heartbeat: Any = None  # of the class that the vocabulary gives
    status: StatusSettings = StatusSettings()
