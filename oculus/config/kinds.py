"""Which collector kinds an entry may name: built-in ones, those of `plugins:`, and installed ones.

What a plugin is, and how it is loaded, is told by a `PluginSource`, so that this package depends on none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from oculus.config.decode import decode, did_you_mean
from oculus.config.document import Mistakes, Node
from oculus.config.settings import ChannelSpec, CollectorSettings, CollectorSpec
from oculus.errors import ConfigError
from oculus.model import slug

# Longest name of a collector; one made from a long URL would leave no room in the symbols (MAX_SYMBOL).
_MAX_NAME = 100  # characters


class PluginSource(Protocol):
    """Where plugins come from. What fails raises ConfigError, whose mistakes are told at the entry."""

    def load(self, named: str, beside: str) -> Mapping[str, type]:
        """Return the collector classes, by kind, of a module or a file; relative to that of `beside`."""

    def installed(self, group: Literal["collectors", "channels"]) -> Collection[str]:
        """Return the names that installed packages bring; looking for them takes a while."""

    def collector(self, kind: str) -> type:
        """Return the class of an installed kind."""

    def channel(self, name: str) -> Callable[..., object]:
        """Return the function of an installed channel, or its class, which has `Settings`."""

    def blame(self, failure: Exception, plugin: Any) -> str:
        """Return what a plugin's code raised as one line, with its place."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of collector. `plugin` is the class of one that is not built in."""

    name: str
    settings: type[CollectorSettings]
    plugin: type | None = None


class Kinds:
    """The kinds that one configuration may name. Installed ones are looked for when a name is unknown."""

    def __init__(
        self, builtin: Mapping[str, Callable[[], type[CollectorSettings]]], plugins: PluginSource
    ) -> None:
        self._builtin = builtin
        self._plugins = plugins
        self._plugged: dict[str, type] = {}
        self._origins: dict[str, str] = {}
        self._installed: frozenset[str] | None = None
        self._broken = False  # a plugin is: a kind that is unknown may be one of its kinds

    def plug(self, node: Node | None, mistakes: Mistakes) -> None:
        """Load what `plugins:` names."""
        if node is None or node.value is None:
            return
        for index, item in enumerate(node.value if isinstance(node.value, list) else [node]):
            path = f"plugins[{index}]"
            if item.broken or not isinstance(item.value, str) or not item.value:
                self._broken = True
                if not item.broken:
                    mistakes.add(item, path, f"is {item.kind} (a Python file, a folder or a module)")
                continue
            try:
                found = self._plugins.load(item.value, item.file)
            except ConfigError as error:
                self._broken = True
                for mistake in error.mistakes:
                    mistakes.add(item, path, mistake)
                continue
            for kind, cls in found.items():
                first = self._origins.setdefault(kind, path)
                if first != path:
                    mistakes.add(item, path, f'{item.value} brings the kind "{kind}", which {first} has')
                self._plugged.setdefault(kind, cls)

    @property
    def names(self) -> list[str]:
        """All kinds, those of installed packages too."""
        return sorted({*self._builtin, *self._plugged, *self._look()})

    @property
    def words(self) -> list[str]:
        """All that `find` understands."""
        return [*self.names, *(name.partition("/")[2] for name in self.names if "/" in name)]

    def get(self, name: str) -> Kind | None:
        """Return a kind, None when there is none of that name; raises ConfigError for a broken one."""
        if name in self._builtin:
            return Kind(name, self._builtin[name]())
        cls: Any = self._plugged.get(name)
        if cls is None:
            if name not in self._look():
                return None
            cls = self._plugged[name] = self._plugins.collector(name)
        return Kind(name, cls.Settings, cls)

    def find(self, word: str) -> Kind | None:
        """Return the kind that a person means by `crypto`, `network/http` or just `http`."""
        names = (word, f"network/{word}")
        for name in names:
            if name in self._builtin or name in self._plugged:
                return self.get(name)
        return next((self.get(name) for name in names if name in self._look()), None)

    def of(self, node: Node, path: str, mistakes: Mistakes) -> Kind | None:
        """Return the kind that an entry of `collectors:` names, or None when there is no such kind."""
        wanted = self._word(node, "type", path, _types, mistakes)
        if wanted is None:
            return None
        start = f"{wanted}/"
        if any(name.startswith(start) for name in (*self._builtin, *self._plugged)):
            probe = self._word(node, "probe", path, lambda names: _below(names, start), mistakes)
            if probe is None:
                return None
            wanted = start + probe
        assert isinstance(node.value, dict)
        try:
            return self.get(wanted)
        except ConfigError as error:
            for mistake in error.mistakes:
                mistakes.add(node.value["probe" if "/" in wanted else "type"], path, mistake)
            return None

    def collector(
        self, kind: Kind, node: Node, path: str, mistakes: Mistakes, unnamed: str = ""
    ) -> CollectorSpec | None:
        """Return the collector that a mapping describes, or None when anything in it is wrong.

        `unnamed` is the name of one that is given none and makes none.
        """
        told_by = frozenset({"type", "probe"} if "/" in kind.name else {"type"})
        prefix = f"{path}." if path else ""
        try:
            settings = decode(node, kind.settings, path, mistakes, ignore=told_by)
            if settings is None:
                return None
            name = settings.name or settings.default_name()
        except Exception as failure:
            if kind.plugin is None:
                raise
            mistakes.add(node, path, self._plugins.blame(failure, kind.plugin))
            return None
        if not name:
            name = unnamed or (kind.name if kind.plugin is not None else "")  # of most plugins there is one
        if not name:
            mistakes.add(node, f"{prefix}name", "is missing (the name that its symbols carry)")
            return None
        spec = CollectorSpec(kind.name, slug(name), settings, kind.plugin)
        if len(spec.name) > _MAX_NAME:
            told = (
                f'the name "{spec.name[:20]}…" has more than {_MAX_NAME} characters (give it a shorter one)'
            )
            mistakes.add(node, f"{prefix}name", told)
            return None
        return spec

    def _word(
        self, node: Node, key: str, path: str, words: Callable[[Iterable[str]], Iterable[str]],
        mistakes: Mistakes,
    ) -> str | None:  # fmt: skip
        """Return the value of `key`, which must be one of the words that are made from the kinds' names."""
        assert isinstance(node.value, dict)
        child = node.value.get(key)
        known = {*words(self._builtin), *words(self._plugged)}
        if child is None or not isinstance(child.value, str):
            mistakes.add(child or node, f"{path}.{key}", f"is missing (one of: {', '.join(sorted(known))})")
            return None
        if child.value in known:
            return child.value
        known.update(words(self._look()))
        if child.value in known:
            return child.value
        if not self._broken:
            told = f'unknown {key} "{child.value}"{did_you_mean(child.value, known)}'
            mistakes.add(child, f"{path}.{key}", told)
        return None

    def _look(self) -> frozenset[str]:
        if self._installed is None:
            self._installed = frozenset(self._plugins.installed("collectors"))
        return self._installed


def _types(names: Iterable[str]) -> Iterator[str]:
    return (name.partition("/")[0] for name in names)


def _below(names: Iterable[str], start: str) -> Iterator[str]:
    return (name.removeprefix(start) for name in names if name.startswith(start))


LOG = "log"  # the channel that is always there, and takes no settings


class Channels:
    """The kinds of channels: built in, or of installed packages, which are looked for when a name is unknown.

    `used` are those that are configured, or named by a rule.
    """

    def __init__(self, builtin: Mapping[str, Callable[[], type]], plugins: PluginSource) -> None:
        self.builtin = builtin
        self.logs = {LOG}  # names that stand for the log
        self.wrong: set[str] = set()  # names whose settings are wrong, which was told
        self._plugins = plugins
        self._names: frozenset[str] | None = None
        self.used: dict[str, ChannelSpec] = {}

    @property
    def names(self) -> frozenset[str]:
        """The kinds that are installed."""
        if self._names is None:
            self._names = frozenset(self._plugins.installed("channels"))
        return self._names

    def use(self, name: str, kind: str, node: Node, path: str, mistakes: Mistakes) -> bool:
        """Take the channel `kind` into use under a name, with its settings; return whether there is one."""
        if kind not in self.builtin and kind not in self.names:
            return False
        try:
            plugin: Any = self.builtin[kind]() if kind in self.builtin else self._plugins.channel(kind)
        except ConfigError as error:
            for mistake in error.mistakes:
                mistakes.add(node, path, mistake)
            return True
        if not isinstance(plugin, type):
            given = [key for key in node.value if key != "type"] if isinstance(node.value, dict) else []
            if given:
                mistakes.add(node, path, f'the channel "{kind}" takes no settings (leave out {given[0]})')
            self.used[name] = ChannelSpec(plugin)
            return True
        cls: Any = plugin
        try:
            settings = decode(node, cls.Settings, path, mistakes, ignore=frozenset({"type"}))
        except Exception as failure:
            if kind in self.builtin:
                raise
            mistakes.add(node, path, self._plugins.blame(failure, plugin))
            return True
        if settings is None:
            self.wrong.add(name)
        else:
            self.used[name] = ChannelSpec(plugin, settings)
        return True
