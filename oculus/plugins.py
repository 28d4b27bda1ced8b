"""Plugins: collectors and channels that are not built in, from files, modules and installed packages.

A plugin's code is run when it is loaded, and nothing that it does then may end the program or hold it up:
whatever is wrong is a mistake of the configuration, told in one line with its place. A file that has changed
is loaded anew, under another module name: what runs keeps its old classes until the new ones are in force.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import gevent

from oculus.collectors import KINDS
from oculus.collectors.base import Collector
from oculus.config.decode import check_class
from oculus.config.settings import ChannelSettings, CollectorSettings
from oculus.errors import ConfigError, place_of, reason
from oculus.model import slug
from oculus.notify.base import Channel

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

# Installed packages name here what they bring: `moon = "oculus_moon:Moon"`.
GROUPS = {"collectors": "oculus.collectors", "channels": "oculus.channels"}

# A kind is one word, or a probe of the network.
_KIND = re.compile(r"(?:network/)?[a-z0-9_]+")

# Large libraries take seconds to import from a slow card.
PATIENCE = 20.0  # seconds that a plugin may take to load
_AGAIN = 0.5  # seconds after which one that catches everything is interrupted again

_TAKEN = {*KINDS, *(kind.partition("/")[0] for kind in KINDS)}


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What a plugin gave, and the digest of the files that it was loaded from."""

    digest: str
    kinds: Mapping[str, type[Collector]]


class Plugins:
    """Loads plugins, and keeps what is loaded: a file gives the same classes until it is changed."""

    def __init__(self, patience: float = PATIENCE) -> None:
        """`patience` is how long one may take to load, in seconds."""
        self._patience = patience
        self._loaded: dict[str, _Loaded] = {}
        self._found: dict[str, dict[str, list[EntryPoint]]] = {}

    def load(self, named: str, beside: str) -> Mapping[str, type[Collector]]:
        """Return the collector classes, by kind, of a file, a folder or a module; raises ConfigError.

        A name with a slash or with `.py` at its end is that of a file, relative to the folder of the file
        `beside`; a folder is a package.
        """
        if named.endswith(".py") or "/" in named:
            return self._file(Path(beside).parent / Path(named).expanduser())
        return self._module(named, Path(beside).parent)

    def installed(self, group: Literal["collectors", "channels"]) -> Collection[str]:
        """Return the names that installed packages bring. Looking for them takes 10 to 100 ms, once."""
        if group not in self._found:
            from importlib.metadata import entry_points

            found = self._found[group] = {}
            for point in entry_points(group=GROUPS[group]):
                same = found.setdefault(point.name, [])
                # A package may be seen twice, where two folders of the path hold it.
                if all(point.value != other.value for other in same):
                    same.append(point)
        return self._found[group].keys()

    def collector(self, kind: str) -> type[Collector]:
        """Return the class of an installed kind; raises ConfigError."""
        cls = self._entry("collectors", kind)
        if not isinstance(cls, type) or not issubclass(cls, Collector):
            raise ConfigError([f'the installed "{kind}" is no collector (a subclass of oculus.Collector)'])
        mistakes = list(_faults(cls))
        if cls.type != kind:
            mistakes.append(f"its type is {cls.type!r}")
        if mistakes:
            raise ConfigError([f'the installed "{kind}": {mistake}' for mistake in mistakes])
        return cls

    def channel(self, name: str) -> Callable[..., object]:
        """Return an installed channel: a function that sends one Transition, or a subclass of Channel.

        Raises ConfigError.
        """
        found: Callable[..., object] = self._entry("channels", name)
        what = f'the installed channel "{name}"'
        if isinstance(found, type) and issubclass(found, Channel):
            mistakes = [f"{what}: {fault}" for fault in _settings_faults(found.Settings, ChannelSettings)]
            if found.send is Channel.send:
                mistakes.append(f"{what} has no send()")
            if mistakes:
                raise ConfigError(mistakes)
        elif isinstance(found, type) or not callable(found):
            raise ConfigError([f"{what} is no function and no subclass of oculus.Channel"])
        return found

    def blame(self, failure: Exception, plugin: Any) -> str:
        """Return what a plugin's settings raised, as one line with its place."""
        return reason(failure, plugin.__module__)

    def _entry(self, group: Literal["collectors", "channels"], name: str) -> Any:
        self.installed(group)
        first, *others = self._found[group][name]
        if others:
            brought = " and ".join(_package(point) for point in (first, *others))
            raise ConfigError([f'"{name}" is brought by {brought} (uninstall one)'])
        with self._contained(f'the installed "{name}" of {_package(first)}', first.module):
            return first.load()

    @contextmanager
    def _contained(self, what: str, module: str) -> Iterator[None]:
        """Turn whatever a plugin's code raises into a mistake in one line, and end it when it hangs."""
        try:
            with _bounded(self._patience):
                yield
        except SyntaxError as error:
            place = f"{error.filename}:{error.lineno}" if error.filename else what
            raise ConfigError([f"{place}: {error.msg}"]) from None
        except ConfigError:
            raise
        except _TooLong as error:
            told = f"{what} is not loaded after {self._patience:g} s"
            place = place_of(error, module)
            raise ConfigError([f"{told}: it hangs at {place}" if place else told]) from None
        except (Exception, SystemExit) as error:
            raise ConfigError([f"{place_of(error, module) or what}: {reason(error)}"]) from None

    def _file(self, path: Path) -> Mapping[str, type[Collector]]:
        try:
            source = path / "__init__.py" if path.is_dir() else path
            digest = _digest(source)
        except (OSError, ValueError) as error:
            raise ConfigError([_unreadable(path, error)]) from None
        known = self._loaded.get(str(path.absolute()))
        if known is not None and known.digest == digest:
            return known.kinds
        name = f"oculus_plugin_{slug(path.stem)}_{digest[:12]}"
        if source != path:
            spec = spec_from_file_location(name, source, submodule_search_locations=[str(path)])
        else:
            spec = spec_from_file_location(name, source)
        if spec is None:
            raise ConfigError([f"{path} is not a Python file (a name that ends in .py)"])
        with self._contained(str(path), name):
            module = _run(spec)
        kinds = _kinds(module, str(path))
        self._loaded[str(path.absolute())] = _Loaded(digest, kinds)
        return kinds

    def _module(self, named: str, folder: Path) -> Mapping[str, type[Collector]]:
        importlib.invalidate_caches()
        known = self._loaded.get(f"module {named}")
        with self._contained(f"module {named}", named):
            try:
                spec = find_spec(named)
            except ModuleNotFoundError as error:
                if error.name is None or not f"{named}.".startswith(f"{error.name}."):
                    raise
                spec = None
        if spec is None:
            hint = f"a file is named with its ending: {named}.py"
            if (folder / named).is_dir():
                hint = f"a folder is named with a slash: {named}/"
            raise ConfigError([f"there is no module {named} ({hint})"])
        digest = _digest(Path(spec.origin)) if spec.origin and Path(spec.origin).is_file() else ""
        if known is not None and known.digest == digest:
            return known.kinds
        with self._contained(f"module {named}", named):
            module = _import(named, anew=known is not None)
        kinds = _kinds(module, f"module {named}")
        self._loaded[f"module {named}"] = _Loaded(digest, kinds)
        return kinds


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if path.is_dir():
            return f"{path} is a folder without an __init__.py (name its files one by one)"
        return f"there is no file {path}"
    return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"


def _digest(source: Path) -> str:
    """Return a digest of a Python file, or of all those of a package; raises OSError."""
    files = sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else []
    digest = hashlib.sha256(source.read_bytes())
    for file in files:
        digest.update(f"\0{file}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _run(spec: ModuleSpec) -> ModuleType:
    """Run a plugin's file as a module of its own."""
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # nothing is laid beside the file
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{spec.name}.")]:
            del sys.modules[name]
        raise
    finally:
        sys.dont_write_bytecode = before
    return module


def _import(named: str, *, anew: bool) -> ModuleType:
    """Import a module, with what is below it anew if wanted; after a failure the old ones are there still."""
    if not anew:
        return importlib.import_module(named)
    old = {name: module for name, module in sys.modules.items() if f"{name}.".startswith(f"{named}.")}
    for name in old:
        del sys.modules[name]
    try:
        return importlib.import_module(named)
    except BaseException:
        sys.modules.update(old)
        raise


class _TooLong(BaseException):
    """Raised within a plugin's code that takes too long; no `except Exception` of its own catches it."""


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Raise _TooLong in the code within when it takes longer, whether it waits or computes."""
    loader = gevent.getcurrent()

    def interrupt(number: int, frame: object) -> None:
        # While another greenlet runs this one waits, and the timeout ends that.
        if gevent.getcurrent() is loader:
            raise _TooLong

    with gevent.Timeout(seconds, _TooLong()):
        if threading.current_thread() is not threading.main_thread():  # signals are not for it
            yield
            return
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _kinds(module: ModuleType, what: str) -> dict[str, type[Collector]]:
    """Return the collectors of a module by kind; raises ConfigError."""
    found: dict[str, type[Collector]] = {}
    mistakes: list[str] = []
    for cls in vars(module).values():
        own = isinstance(cls, type) and f"{cls.__module__}.".startswith(f"{module.__name__}.")
        # A class without a type of its own is the base of others.
        if not own or not issubclass(cls, Collector) or not cls.__dict__.get("type"):
            continue
        mistakes += [f"{what}: {cls.__name__}: {fault}" for fault in _faults(cls)]
        other = found.setdefault(cls.type, cls)
        if other is not cls:
            mistakes.append(f'{what}: {other.__name__} and {cls.__name__} both have the type "{cls.type}"')
    if not found:
        mistakes.append(f"{what} holds no collector (a subclass of oculus.Collector that sets `type`)")
    if mistakes:
        raise ConfigError(mistakes)
    return found


def _faults(cls: type[Collector]) -> Iterator[str]:
    """Yield what keeps a class from being a kind."""
    kind: Any = cls.type
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        yield f"its type {kind!r} is no name (lower-case letters, digits and _)"
    elif kind in _TAKEN:
        yield f'the type "{kind}" is built in (give it another one)'
    if cls.collect is Collector.collect:
        yield "it has no collect()"
    yield from _settings_faults(cls.Settings, CollectorSettings)


def _settings_faults(settings: Any, common: type) -> Iterator[str]:
    """Yield what keeps a class from being decoded; it is to be derived from the one that all have."""
    if not isinstance(settings, type) or not issubclass(settings, common):
        yield f"its Settings is not derived from oculus.{common.__name__}"
        return
    for base in settings.__mro__:
        if issubclass(base, common) and "__dataclass_fields__" not in vars(base):
            yield f"{base.__name__} has no @dataclass(frozen=True, kw_only=True) above it"
            return
    assert is_dataclass(settings)
    for field in fields(settings):
        if "help" not in field.metadata:
            yield f"{settings.__name__}.{field.name} is not made with setting(…)"
            return
    try:
        check_class(settings)
    except Exception as error:
        yield f"{settings.__name__} has a type that a configuration file cannot give: {reason(error)}"
