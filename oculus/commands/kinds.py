"""`oculus check --kinds`: what each kind of collector can be told, from its own settings class."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from oculus.collectors import collector_class
from oculus.commands import output
from oculus.config import kinds as kinds_of
from oculus.config.decode import did_you_mean
from oculus.config.describe import Described, describe
from oculus.config.kinds import Kind, Kinds
from oculus.config.settings import CollectorSettings
from oculus.errors import ConfigError
from oculus.vocabulary import vocabulary

if TYPE_CHECKING:
    from oculus.cli import Arguments

# Choices that are longer stand behind the help, so that the column of types stays narrow.
_LONGEST_TYPE = 24  # characters

# The help is wrapped at the terminal's width; where there is none, at this one.
_WIDTH = 110  # characters
_NARROWEST = 30  # characters of help


def carry_out(arguments: Arguments) -> None:
    """Print the kinds, or one; raises ConfigError."""
    words = vocabulary()
    known = kinds_of(arguments.config or arguments.file or None, words)
    wanted: list[Kind] = []
    named = sorted(words.plugins.installed("channels"))
    if arguments.kinds:
        kind = known.find(arguments.kinds)
        if kind is not None:
            wanted, named = [kind], []
        elif arguments.kinds in named:
            named = [arguments.kinds]
        else:
            hint = did_you_mean(arguments.kinds, [*known.words, *named])
            raise ConfigError([f'unknown kind "{arguments.kinds}"{hint}'])
    else:
        wanted += _all(known)
    channels = {name: words.plugins.channel(name) for name in named}
    if arguments.format == "json":
        records = [*map(_record, wanted), *(_record_of_channel(*item) for item in channels.items())]
        print(json.dumps(records, ensure_ascii=False, indent=1))
        return
    common = list(describe(CollectorSettings))
    if not arguments.kinds:
        print("Every collector can be told:")
        print(_table(common))
    for kind in wanted:
        print(f"{'' if arguments.kinds else chr(10)}{_head(kind)}")
        if summary := _summary(kind):
            print(f"  {summary}")
        own = [one for one in describe(kind.settings) if arguments.kinds or one not in common]
        if own:
            print(_table(own))
    for name, channel in channels.items():
        print(f"{'' if arguments.kinds else chr(10)}notifications: {name} (plugin)")
        if summary := _first_line(channel):
            print(f"  {summary}")
        if settings := _settings_of_channel(channel):
            print(_table(settings))


def _settings_of_channel(channel: Any) -> list[Described]:
    return list(describe(channel.Settings)) if isinstance(channel, type) else []  # type: ignore[attr-defined]


def _record_of_channel(name: str, channel: object) -> dict[str, Any]:
    settings = [_setting(one) for one in _settings_of_channel(channel)]
    return {"channel": name, "summary": _first_line(channel), "plugin": True, "settings": settings}


def _all(known: Kinds) -> Iterable[Kind]:
    for name in known.names:
        kind = known.get(name)
        assert kind is not None
        yield kind


def _head(kind: Kind) -> str:
    type_, _, probe = kind.name.partition("/")
    return f"type: {type_}" + (f", probe: {probe}" if probe else "") + (" (plugin)" if kind.plugin else "")


def _summary(kind: Kind) -> str:
    return _first_line(kind.plugin or collector_class(kind.name))


def _first_line(what: object) -> str:
    return (what.__doc__ or "").strip().partition("\n")[0]


def _setting(one: Described) -> dict[str, Any]:
    return {
        "key": one.key, "type": one.type, "default": one.default or None, "required": one.required,
        "secret": one.secret, "help": one.help,
    }  # fmt: skip


def _record(kind: Kind) -> dict[str, Any]:
    settings = [_setting(one) for one in describe(kind.settings)]
    plugin = kind.plugin is not None
    return {"kind": kind.name, "summary": _summary(kind), "plugin": plugin, "settings": settings}


def _table(settings: Iterable[Described]) -> str:
    """Return aligned lines: key, type, default and help, which goes on below itself."""
    rows = []
    for one in settings:
        kind, help = one.type, one.help
        if len(kind) > _LONGEST_TYPE:
            kind, help = "one of several", f"{help} ({kind})"
        if one.secret:
            kind = f"{kind}, secret"
        rows.append((one.key, kind, "required" if one.required else one.default, help))
    widths = [max(len(row[index]) for row in rows) for index in range(3)]
    room = shutil.get_terminal_size((_WIDTH, 24)).columns - sum(widths) - 8
    lines = []
    for *cells, help in rows:
        start = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        wrapped = textwrap.wrap(help, max(_NARROWEST, room)) or [""]
        lines.append(f"  {start}  {wrapped[0]}".rstrip())
        lines += [f"{'':{sum(widths) + 8}}{more}" for more in wrapped[1:]]
    return output.clean("\0".join(lines)).replace("\\x00", "\n")
