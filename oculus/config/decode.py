"""Nodes to typed settings: one frozen dataclass per section, every mistake at once.

A settings class is its own documentation: `setting()` keeps the help text beside the type and default,
and decoding, `oculus check` and the tests of the manual read the same fields. A setting that is a secret may
stand in a file of its own, which `<key>_file` names.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Literal, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from oculus.config.document import Mistakes, Node
from oculus.config.secret_files import hide, texts, with_secrets
from oculus.masking import HIDDEN, mask

Seconds = NewType("Seconds", float)
Size = NewType("Size", int)

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|[smhdw])")
_SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SHOWN: dict[str, dict[str, float]] = {
    "s": {name: _UNITS[name] for name in ("d", "h", "m", "s", "ms")},
    "B": {name: _SIZES[name] for name in ("TB", "GB", "MB", "KB")},
}

_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")


class Doubt(ValueError):
    """A check's word that a value is likely not what was meant: a warning, and the value is taken."""


def setting(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    check: Callable[[Any], None] | None = None,
    key: str | None = None,
    secret: bool = False,
    apart: bool = False,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """Declare a field of a settings class.

    `check` raises ValueError with what is wrong and, in brackets, what would be right. `key` is the name
    in the file where Python cannot have it (`for`). A `secret` is never printed, and `<key>_file` may name
    a file that holds it. What stands `apart` is not decoded with the rest: its kinds are known elsewhere.
    """
    metadata = {"help": help, "check": check, "key": key, "secret": secret, "apart": apart}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


def encode(settings: Any) -> dict[str, Any]:
    """Return what a file says of settings, with their kind; defaults are left out, and secrets hidden."""
    kind = getattr(type(settings), "type", None)
    said: dict[str, Any] = {"type": kind} if isinstance(kind, str) else {}
    for key, field in keys_of(type(settings)).items():
        value = getattr(settings, field.name)
        made = field.default_factory
        default = field.default if made is dataclasses.MISSING else made()
        if value != default:
            hint = get_type_hints(type(settings))[field.name]
            value = _hidden(value) if field.metadata.get("secret") else value
            said[key] = _duration_text(value) if hint is Seconds else _plain(value)
    return said


def _hidden(value: Any) -> Any:
    return dict.fromkeys(value, HIDDEN) if isinstance(value, Mapping) else HIDDEN


def _duration_text(seconds: float) -> str:
    """Return a duration as it is written: in the largest unit that gives a whole number."""
    for unit in ("w", "d", "h", "m", "s", "ms"):
        count = seconds / _UNITS[unit]
        if count >= 1 and count == int(count):
            return f"{int(count)}{unit}"
    return f"{seconds!r}s"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return encode(value) if dataclasses.is_dataclass(value) else value


# -- scalars ------------------------------------------------------------------------------------------


def parse_duration(text: str) -> Seconds:
    """Return the seconds of `500ms`, `30s`, `1h30m` …; raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
        hint = f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else "such as 500ms, 30s, 5m, 1h or 7d"
        raise ValueError(f"{text!r} is not a duration ({hint})")
    return Seconds(sum(float(number) * _UNITS[unit] for number, unit in parts))


def parse_size(text: str) -> Size:
    """Return the bytes of `128MB`, `2GiB` …; raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)", text, re.IGNORECASE)
    if match is None:
        raise ValueError(f"{text!r} is not a size (such as 128MB or 2GiB)")
    size = float(match[1]) * _SIZES[match[2].upper()]
    if not math.isfinite(size):
        raise ValueError(f"{text!r} is not a finite size")
    return Size(int(size))


def _text(text: str) -> str:
    return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite number")
    return value


def _boolean(text: str) -> bool:
    lowered = text.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ValueError(f"{text!r} is neither true nor false")


_SCALARS: dict[Any, Callable[[str], Any]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _boolean,
    Seconds: parse_duration,
    Size: parse_size,
}

# What decoding a node gives when the node is wrong: the mistake is noted, the caller goes on.
_WRONG = object()

_T = TypeVar("_T")
_Decoder = Callable[[Node, str, Mistakes], Any]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean "x"?)` or the known words in brackets, to follow a message."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if close:
        return f' (did you mean "{close[0]}"?)'
    return f" (known: {', '.join(words)})" if words else ""


# -- compounds ----------------------------------------------------------------------------------------


def decode(
    node: Node, cls: type[_T], path: str, mistakes: Mistakes, ignore: frozenset[str] = frozenset()
) -> _T | None:
    """Return the settings that a mapping holds, or None when anything in it is wrong."""
    value = _dataclass(node, cls, path, mistakes, ignore)
    return None if value is _WRONG else value


def check_class(cls: type) -> None:
    """Raise TypeError or ValueError unless each setting of a class can be decoded."""
    _plan(cls)


def keys_of(cls: type) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a settings class by their names in the file."""
    return {field.metadata.get("key") or field.name: field for field in dataclasses.fields(cls)}


def _dataclass(
    node: Node, cls: type, path: str, mistakes: Mistakes, ignore: frozenset[str] = frozenset()
) -> Any:
    if node.value is None:
        node = dataclasses.replace(node, value={})
    if not isinstance(node.value, dict):
        mistakes.add(node, path, f"is {node.kind} (a mapping of settings)")
        return _WRONG
    before = len(mistakes.errors)
    known, files = _plan(cls), _file_keys(cls)
    found: dict[str, Any] = {}
    given, wrong = with_secrets(node, files, path, mistakes) if files else (node.value, False)
    for key, child in given.items():
        if key in ignore:
            continue
        here = f"{path}.{key}" if path else key
        if key not in known:
            text = f"unknown key{did_you_mean(key, [*keys_of(cls), *files])}"
            mistakes.add(child, here, text, line=node.key_lines.get(key))
            continue
        field, decoder = known[key]
        if child.value is None:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                mistakes.add(child, here, "is empty")
            continue
        told = len(mistakes.errors)
        if field.metadata.get("secret"):
            for text in texts(child):
                mask.learn(text)
        value = decoder(child, here, mistakes)
        check = field.metadata.get("check")
        if value is _WRONG:
            wrong = True
        elif check is not None:
            try:
                check(value)
            except Doubt as doubt:
                mistakes.warn(child, here, str(doubt))
            except ValueError as error:
                mistakes.add(child, here, str(error))
        if field.metadata.get("secret") and len(mistakes.errors) > told:
            hide(child, mistakes, told)
        found[field.name] = value
    for key, (field, _) in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and key not in given and f"{key}_file" not in node.value:
            mistakes.add(node, f"{path}.{key}" if path else key, f"is missing ({field.metadata['help']})")
    if wrong or len(mistakes.errors) > before:
        return _WRONG
    try:
        return cls(**found)
    except ValueError as error:  # a check over several fields, in __post_init__
        mistakes.add(node, path, str(error))
        return _WRONG


@cache
def _file_keys(cls: type) -> dict[str, str]:
    """Return the keys that name a file with a secret, each with the setting that it is for."""
    known = keys_of(cls)
    secrets = (key for key, field in known.items() if field.metadata.get("secret"))
    return {f"{key}_file": key for key in secrets if f"{key}_file" not in known}


@cache
def _plan(cls: type) -> dict[str, tuple[dataclasses.Field[Any], _Decoder]]:
    hints = get_type_hints(cls)
    return {
        key: (field, _decoder(hints[field.name]))
        for key, field in keys_of(cls).items()
        if not field.metadata.get("apart")
    }


def _decoder(hint: Any) -> _Decoder:
    """Return the function that decodes a node into a value of the type `hint`."""
    if hint in _SCALARS:
        return _scalar(_SCALARS[hint])
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not types.NoneType]
        return _decoder(inner[0]) if len(inner) == 1 else _single_or_mapping(*map(_decoder, inner))
    if origin is Literal:
        return _choice(arguments)
    if origin in (tuple, list):
        return _list(_decoder(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(_decoder(arguments[1]))
    if hasattr(hint, "parse"):
        return _scalar(hint.parse)
    if dataclasses.is_dataclass(hint):
        return lambda node, path, mistakes: _dataclass(node, hint, path, mistakes)  # type: ignore[arg-type]
    raise TypeError(f"no way to decode {hint!r} from a configuration file")


def _scalar(parse: Callable[[str], Any]) -> _Decoder:
    def decode_scalar(node: Node, path: str, mistakes: Mistakes) -> Any:
        if node.broken:
            return _WRONG
        if not isinstance(node.value, str):
            mistakes.add(node, path, f"is {node.kind} (a single value)")
            return _WRONG
        try:
            return parse(node.value)
        except ValueError as error:
            mistakes.add(node, path, str(error))
            return _WRONG

    return decode_scalar


def _single_or_mapping(single: _Decoder, mapping: _Decoder) -> _Decoder:
    """Return the decoder of a union, a scalar first: `tls: true` and `tls: {verify: false}`."""
    return lambda node, path, mistakes: (mapping if isinstance(node.value, dict) else single)(
        node, path, mistakes
    )


def _choice(allowed: tuple[Any, ...]) -> _Decoder:
    by_text = {str(value): value for value in allowed}

    def decode_choice(node: Node, path: str, mistakes: Mistakes) -> Any:
        if node.broken:
            return _WRONG
        if isinstance(node.value, str) and node.value in by_text:
            return by_text[node.value]
        mistakes.add(node, path, f"is {node.kind} (one of: {', '.join(by_text)})")
        return _WRONG

    return decode_choice


def _list(item: _Decoder) -> _Decoder:
    def decode_list(node: Node, path: str, mistakes: Mistakes) -> Any:
        if not isinstance(node.value, list):  # one item may stand without its brackets
            value = item(node, path, mistakes)
            return _WRONG if value is _WRONG else (value,)
        values = [item(child, f"{path}[{index}]", mistakes) for index, child in enumerate(node.value)]
        return _WRONG if any(value is _WRONG for value in values) else tuple(values)

    return decode_list


def _mapping(item: _Decoder) -> _Decoder:
    def decode_mapping(node: Node, path: str, mistakes: Mistakes) -> Any:
        if not isinstance(node.value, dict):
            mistakes.add(node, path, f"is {node.kind} (a mapping)")
            return _WRONG
        values = {key: item(child, f"{path}.{key}", mistakes) for key, child in node.value.items()}
        return _WRONG if any(value is _WRONG for value in values.values()) else values

    return decode_mapping


def between(low: float, high: float, unit: str = "") -> Callable[[Any], None]:
    """Return a check that a number lies in [low, high]; `unit`, `s` or `B`, only serves the message."""

    def check(value: float) -> None:
        if not low <= value <= high:
            # A number of hundreds of digits is no help, and fits no float.
            given = f"{shown(value, unit)} " if abs(value) < 1e15 else ""
            raise ValueError(f"{given}is out of range ({shown(low, unit)} to {shown(high, unit)})")

    return check


def shown(value: float, unit: str = "") -> str:
    """Return a number as a person would write it: 0.1 s is 100ms, 32,000,000 B are 32MB."""
    for name, size in _SHOWN.get(unit, {}).items():
        if value >= size and abs(value / size - round(value / size)) < 1e-9:
            return f"{value / size:.12g}{name}"
    return f"{value:.12g}{unit}"
