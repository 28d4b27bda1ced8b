"""The configuration file → typed settings: `load` reads, checks everything, and reports all mistakes at once.

Which collector kinds and channels exist is told by a `Vocabulary`, so that this package depends on none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from oculus.config import document
from oculus.config.decode import decode, did_you_mean, encode
from oculus.config.document import Mistakes, Node
from oculus.config.kinds import LOG, Channels, Kinds, PluginSource
from oculus.config.settings import (
    ACTION,
    ActionSettings,
    CollectorSettings,
    CollectorSpec,
    DatabaseSettings,
    DerivedSettings,
    LogSettings,
    MaintenanceSettings,
    RuleSettings,
    ServerSettings,
    Settings,
    StatusSettings,
)
from oculus.errors import ConfigError, ExpressionError

__all__ = ["Settings", "Vocabulary", "kinds", "load", "loads", "read_rules", "rule_yaml"]

_T = TypeVar("_T")

# Keys of the contract that this version does not serve yet: told apart from misspelt ones.
_ANNOUNCED_KEYS = ("export",)

# What a rule does stands under either of these: one mapping, or a list.
_ACTION_KEYS = frozenset({"action", "actions"})


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a configuration may speak of.

    `collectors` gives the settings class of each kind, `type` or `type/probe`; the class is made when it
    is asked for, so that only the kinds in use are imported; `channels` likewise the class of each kind of
    channel, `actions` the settings of each kind of action, and `heartbeat` the class of that section.
    `check_condition`, `check_rule` (do its
    expressions fit together?) , `check_message` and `check_derived` raise ExpressionError,
    `check_canary` ValueError. `plugins` gives the kinds and channels that are not built in.
    """

    collectors: Mapping[str, Callable[[], type[CollectorSettings]]]
    channels: Mapping[str, Callable[[], type]]
    actions: Mapping[str, Callable[[], type[ActionSettings]]]
    heartbeat: Callable[[], type]
    check_condition: Callable[[str], object]
    check_rule: Callable[[RuleSettings], object]
    check_message: Callable[[str], object]
    check_derived: Callable[[Sequence[DerivedSettings]], object]
    check_canary: Callable[[str], object]
    plugins: PluginSource


def load(path: str, vocabulary: Vocabulary, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the file at `path` and return its settings; raises ConfigError with every mistake."""
    mistakes = Mistakes()
    return _settings(document.read(path, mistakes, environ), vocabulary, mistakes)


def kinds(path: str | None, vocabulary: Vocabulary, environ: Mapping[str, str] = os.environ) -> Kinds:
    """Return the kinds that the file at `path` may name, or one without plugins; raises ConfigError."""
    found = Kinds(vocabulary.collectors, vocabulary.plugins)
    if path is not None:
        mistakes = Mistakes()
        sections = document.read(path, mistakes, environ).value
        assert isinstance(sections, dict)
        found.plug(sections.get("plugins"), mistakes)
        if mistakes.errors:
            raise ConfigError(mistakes.errors)
    return found


def loads(text: str, name: str, vocabulary: Vocabulary, environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of a YAML text that messages call `name`; raises ConfigError."""
    mistakes = Mistakes()
    return _settings(document.parse(text, name, mistakes, environ), vocabulary, mistakes)


def read_rules(text: str, vocabulary: Vocabulary, others: Collection[str] = ()) -> tuple[RuleSettings, ...]:
    """Return the rules of a YAML (or JSON) text: one, or a list; raises ConfigError.

    They may depend on `others`; their channels are not looked at, and they have no actions. Environment
    variables are not filled in.
    """
    mistakes = Mistakes()
    given = document.fragment(text, "rule", mistakes)
    listed = replace(given, value=[given]) if isinstance(given.value, dict) else given
    entries = [] if mistakes.errors else _items({"rules": listed}, "rules", mistakes)
    rules = _rules(entries, vocabulary, mistakes, others)
    if not rules and not mistakes.errors:
        mistakes.add(given, "", "there is no rule in it")
    if mistakes.errors:
        alone = listed is not given
        raise ConfigError([told.replace("rules[0].", "", 1) if alone else told for told in mistakes.errors])
    return rules


def rule_yaml(rule: RuleSettings) -> str:
    """Return a rule as it stands in a file, defaults left out."""
    return document.written(encode(rule))


def _settings(root: Node, vocabulary: Vocabulary, mistakes: Mistakes) -> Settings:
    sections = root.value
    assert isinstance(sections, dict)
    known = [
        "server", "database", "collectors", "rules", "notifications", "log", "include", "plugins",
        "maintenance", "canaries", "derived", "heartbeat", "status",
    ]  # fmt: skip
    for key, node in sections.items():
        if key in _ANNOUNCED_KEYS:
            mistakes.add(node, key, "is not available in this version", line=root.key_lines[key])
        elif key not in known:
            text = f"unknown key{did_you_mean(key, known)}"
            mistakes.add(node, key, text, line=root.key_lines[key])
    server = _section(sections, "server", ServerSettings, mistakes)
    database = _section(sections, "database", DatabaseSettings, mistakes)
    log = _section(sections, "log", LogSettings, mistakes)
    status = _section(sections, "status", StatusSettings, mistakes)
    known_kinds = Kinds(vocabulary.collectors, vocabulary.plugins)
    known_kinds.plug(sections.get("plugins"), mistakes)
    collectors = _collectors(sections, known_kinds, mistakes)
    channels = Channels(vocabulary.channels, vocabulary.plugins)
    _channels(sections, channels, mistakes)
    rules = _rules(
        _items(sections, "rules", mistakes), vocabulary, mistakes,
        look=lambda node, path: _rule_channels(node, path, channels, mistakes),
        act=lambda node, path: _actions(node, path, vocabulary.actions, mistakes),
    )  # fmt: skip
    derived = _derived(sections, vocabulary.check_derived, mistakes)
    heartbeat = None
    if "heartbeat" in sections:
        heartbeat = _section(sections, "heartbeat", vocabulary.heartbeat(), mistakes)
    windows = [
        decode(node, MaintenanceSettings, path, mistakes)
        for path, node in _items(sections, "maintenance", mistakes)
    ]
    canaries = _canaries(sections, vocabulary.check_canary, mistakes)
    if mistakes.errors:
        raise ConfigError(mistakes.errors)
    assert server is not None
    assert database is not None
    assert log is not None
    assert status is not None
    if server.public_status and server.token:
        _warn_of_addresses(sections["server"], status, collectors, mistakes)
    return Settings(
        server, database, log, collectors, rules, tuple(mistakes.warnings),
        derived=derived,
        maintenance=tuple(window for window in windows if window is not None),
        canaries=canaries,
        channels=channels.used,
        heartbeat=heartbeat,
        status=status,
    )  # fmt: skip


def _derived(
    sections: dict[str, Node], check: Callable[[Sequence[DerivedSettings]], object], mistakes: Mistakes
) -> tuple[DerivedSettings, ...]:
    """Return the derived values; each is checked for itself, and all of them for cycles."""
    found: dict[str, DerivedSettings] = {}
    right = True
    for path, node in _items(sections, "derived", mistakes):
        made = decode(node, DerivedSettings, path, mistakes)
        if made is None:
            right = False
        elif made.name in found:
            mistakes.add(node, f"{path}.name", f'"{made.name}" is there twice')
        else:
            found[made.name] = made
            try:
                check((replace(made, name="_"),))
            except ExpressionError as error:
                mistakes.add(node, f"{path}.formula", error.told, below=error.pointed)
                right = False
    if right and found:
        try:
            check(tuple(found.values()))
        except ExpressionError as error:
            mistakes.add(sections["derived"], "derived", f"is made of itself: {error}")
    return tuple(found.values())


def _canaries(
    sections: dict[str, Node], check: Callable[[str], object], mistakes: Mistakes
) -> tuple[str, ...]:
    """Return the hosts that tell whether this one has a way out: none, or two and more."""
    node = sections.get("canaries")
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        mistakes.add(node, "canaries", f"is {node.kind} (a list of hosts)")
        return ()
    found = []
    for index, item in enumerate(node.value):
        if not isinstance(item.value, str) or item.broken:
            mistakes.add(item, f"canaries[{index}]", f"is {item.kind} (a host, such as 1.1.1.1)")
        elif item.value in found:
            mistakes.add(item, f"canaries[{index}]", f"{item.value} is there twice")
        else:
            found.append(item.value)
            try:
                check(item.value)
            except ValueError as error:
                mistakes.add(item, f"canaries[{index}]", str(error))
    if len(node.value) == 1:
        mistakes.add(node, "canaries", "is one host, whose outage would look like ours (name two or more)")
    return tuple(found)


def _warn_of_addresses(
    server: Node, status: StatusSettings, collectors: Sequence[CollectorSpec], mistakes: Mistakes
) -> None:
    """Warn of targets that a public page would call by their address, since they have no other name."""
    told = [
        spec.name
        for spec in collectors
        if spec.kind.startswith("network/") and not spec.settings.name
        for target in [f"net.{spec.kind.partition('/')[2]}.{spec.name}"]
        if status.shows(target) and target not in status.names
    ]
    if told:
        names = ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
        mistakes.warn(
            server, "server.public_status",
            f"everybody can read the addresses of {names} (give them a name, or one in status.names)",
        )  # fmt: skip


def _section(sections: dict[str, Node], key: str, cls: type[_T], mistakes: Mistakes) -> _T | None:
    node = sections.get(key)
    return cls() if node is None else decode(node, cls, key, mistakes)


def _items(sections: dict[str, Node], key: str, mistakes: Mistakes) -> list[tuple[str, Node]]:
    """Return the mappings of a list section, each with its path; anything else is a mistake."""
    node = sections.get(key)
    if node is None or node.value is None:
        return []
    if not isinstance(node.value, list):
        mistakes.add(node, key, f"is {node.kind} (a list)")
        return []
    items = []
    for index, item in enumerate(node.value):
        path = f"{key}[{index}]"
        if isinstance(item.value, dict):
            items.append((path, item))
        else:
            mistakes.add(item, path, f"is {item.kind} (a mapping of settings)")
    return items


def _collectors(sections: dict[str, Node], kinds: Kinds, mistakes: Mistakes) -> tuple[CollectorSpec, ...]:
    specs: list[CollectorSpec] = []
    taken: dict[str, str] = {}
    for path, node in _items(sections, "collectors", mistakes):
        kind = kinds.of(node, path, mistakes)
        spec = None if kind is None else kinds.collector(kind, node, path, mistakes)
        if spec is None:
            continue
        first = taken.setdefault(spec.id, path)
        if first != path:
            told = f'the name "{spec.name}" is taken by {first} (give one of them another name)'
            mistakes.add(node, f"{path}.name", told)
            continue
        specs.append(spec)
    return tuple(specs)


def _channels(sections: dict[str, Node], channels: Channels, mistakes: Mistakes) -> None:
    """Take the channels of `notifications:` into use."""
    node = sections.get("notifications")
    if node is None or node.value is None:
        return
    if not isinstance(node.value, dict):
        mistakes.add(node, "notifications", f"is {node.kind} (a mapping of channels)")
        return
    for name, channel in node.value.items():
        given = channel.value.get("type") if isinstance(channel.value, dict) else None
        kind = given.value if given is not None and isinstance(given.value, str) else name
        path = f"notifications.{name}"
        line = node.key_lines.get(name)
        if name.startswith(ACTION):
            told = f'begins with "{ACTION}", as the names of actions do (give it another name)'
            mistakes.add(channel, path, told, line=line)
        elif kind == LOG:
            channels.logs.add(name)
            if isinstance(channel.value, dict) and channel.value.keys() - {"type"}:
                mistakes.add(channel, path, 'the channel "log" takes no settings', line=line)
        elif not channels.use(name, kind, channel, path, mistakes):
            known = {LOG, *channels.builtin, *channels.names}
            mistakes.add(channel, path, f'unknown channel "{kind}"{did_you_mean(kind, known)}', line=line)
    for name, spec in channels.used.items():
        fallback = spec.settings.fallback if spec.settings is not None else ""
        if fallback and (
            fallback == name or fallback not in (*channels.logs, *channels.used, *channels.wrong)
        ):
            told = "is the channel itself" if fallback == name else f'names no channel: "{fallback}"'
            mistakes.add(node.value[name], f"notifications.{name}.fallback", told)


def _rules(
    entries: list[tuple[str, Node]], vocabulary: Vocabulary, mistakes: Mistakes,
    others: Collection[str] = (), look: Callable[[Node, str], None] = lambda node, path: None,
    act: Callable[[Node, str], tuple[ActionSettings, ...]] = lambda node, path: (),
) -> tuple[RuleSettings, ...]:  # fmt: skip
    """Return the rules of these entries, which come with their paths and are given to `look` and, for their
    actions, to `act`.

    `others` are rules of other files that they may depend on.
    """
    rules: list[RuleSettings] = []
    taken: dict[str, str] = {}
    places: dict[str, tuple[str, Node]] = {}
    for path, node in entries:
        assert isinstance(node.value, dict)
        rule = decode(node, RuleSettings, path, mistakes, ignore=_ACTION_KEYS)
        # Looked at whatever else is wrong with the rule: all mistakes are told at once.
        right = [
            _expression(node, key, path, vocabulary.check_condition, mistakes)
            for key in ("condition", "until")
        ]
        _expression(node, "message", path, vocabulary.check_message, mistakes)
        if rule is not None and all(right):
            try:
                vocabulary.check_rule(rule)
            except ExpressionError as error:
                mistakes.add(node, f"{path}.until", str(error))
        look(node, path)
        actions = act(node, path)
        name = node.value.get("name")
        if name is not None and isinstance(name.value, str):
            first = taken.setdefault(name.value, path)
            if first != path:
                mistakes.add(node, f"{path}.name", f'the name "{name.value}" is taken by {first}')
        if rule is not None:
            rule = replace(rule, actions=actions)
            rules.append(rule)
            places[rule.name] = path, node
    for rule in rules:
        path, node = places[rule.name]
        for other in rule.depends_on:
            if (other not in taken and other not in others) or other == rule.name:
                told = (
                    "is the rule itself"
                    if other == rule.name
                    else f'names no rule: "{other}"{did_you_mean(other, (*taken, *others))}'
                )
                mistakes.add(node, f"{path}.depends_on", told)
    return tuple(rules)


def _expression(rule: Node, key: str, path: str, check: Callable[[str], Any], mistakes: Mistakes) -> bool:
    """Check what a rule says under a key, if anything; return whether it is right."""
    assert isinstance(rule.value, dict)
    node = rule.value.get(key)
    if node is None or not isinstance(node.value, str) or node.broken:
        return True
    try:
        check(node.value)
    except ExpressionError as error:
        mistakes.add(node, f"{path}.{key}", error.told, below=error.pointed)
        return False
    return True


def _actions(
    rule: Node, path: str, kinds: Mapping[str, Callable[[], type[ActionSettings]]], mistakes: Mistakes
) -> tuple[ActionSettings, ...]:
    """Return what a rule does by itself: one action, or a list."""
    assert isinstance(rule.value, dict)
    found = []
    given = {key: node for key, node in rule.value.items() if key in _ACTION_KEYS and node.value is not None}
    if len(given) > 1:
        mistakes.add(rule, path, "has action and actions (keep one of them)")
    for key, node in given.items():
        listed = isinstance(node.value, list)
        for index, item in enumerate(node.value if isinstance(node.value, list) else [node]):
            here = f"{path}.{key}[{index}]" if listed else f"{path}.{key}"
            if not isinstance(item.value, dict):
                mistakes.add(item, here, f"is {item.kind} (a mapping such as {{type: exec, command: […]}})")
                continue
            told = item.value.get("type")
            kind = None if told is None else told.value
            if not isinstance(kind, str):
                mistakes.add(told or item, f"{here}.type", f"is missing (one of: {', '.join(sorted(kinds))})")
            elif kind not in kinds:
                assert told is not None
                if not told.broken:
                    text = f'unknown type "{kind}"{did_you_mean(kind, kinds)}'
                    mistakes.add(told, f"{here}.type", text)
            else:
                found.append(decode(item, kinds[kind](), here, mistakes, ignore=frozenset({"type"})))
    return tuple(action for action in found if action is not None)


def _rule_channels(rule: Node, path: str, channels: Channels, mistakes: Mistakes) -> None:
    """Check the channels that a rule names; one that needs no settings need not be configured."""
    assert isinstance(rule.value, dict)
    listed = rule.value.get("channels")
    if listed is None:
        return
    for index, node in enumerate(listed.value if isinstance(listed.value, list) else [listed]):
        name = node.value
        here = f"{path}.channels[{index}]"
        if (
            not isinstance(name, str)
            or node.broken
            or name in (*channels.logs, *channels.used, *channels.wrong)
        ):
            continue
        if name in channels.builtin:
            mistakes.warn(node, here, f'the channel "{name}" is not configured; its alerts go to the log')
        elif not channels.use(name, name, replace(node, value=None), here, mistakes):
            known = {*channels.logs, *channels.used, *channels.builtin, *channels.names}
            mistakes.add(node, here, f'unknown channel "{name}"{did_you_mean(name, known)}')
