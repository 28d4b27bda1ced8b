"""What a settings class documents of itself, for people: keys, types, defaults and help."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from oculus.config.decode import Seconds, Size, keys_of, shown

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Seconds: "duration",
    Size: "size",
}


@dataclass(frozen=True, slots=True)
class Described:
    """A setting. `default` is as one would write it, empty for none; that of a secret is not told."""

    key: str  # those of a section within are dotted
    type: str
    default: str
    required: bool
    secret: bool
    help: str


def describe(cls: type, prefix: str = "", *, needed: bool = True) -> Iterator[Described]:
    """Yield every setting of a class, those of sections within it too.

    What a section requires that may be left out as a whole is not required.
    """
    hints = get_type_hints(cls)
    for key, field in keys_of(cls).items():
        hint, path = _inner(hints[field.name]), prefix + key
        secret = bool(field.metadata.get("secret"))
        default, required = _default(field, hint)
        if not is_section(hint):
            told = "" if secret else default
            about = str(field.metadata.get("help", ""))
            yield Described(path, _type(hint), told, required and needed, secret, about)
        for section, below in _sections(hint, path):
            yield from describe(section, below, needed=required and needed)


def _sections(hint: Any, path: str) -> Iterator[tuple[type, str]]:
    """Yield the sections that a type holds, each with what its keys begin with."""
    if is_section(hint):
        yield hint, f"{path}."
    elif get_origin(hint) in (tuple, list):
        yield from _sections(get_args(hint)[0], f"{path}[]")
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _sections(part, path)


def is_section(hint: Any) -> bool:
    """Tell whether a type is a mapping of settings, not a value that is written as one text."""
    return dataclasses.is_dataclass(hint) and not hasattr(hint, "parse")


def is_compound(hint: Any) -> bool:
    """Tell whether what a type decodes is more than one text."""
    hint = _inner(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_compound(part) for part in get_args(hint))
    return is_section(hint) or get_origin(hint) not in (None, Literal)


def _inner(hint: Any) -> Any:
    """Return the type of a setting that may also be None."""
    if get_origin(hint) in (Union, types.UnionType):
        inner = [part for part in get_args(hint) if part is not types.NoneType]
        return inner[0] if len(inner) == 1 else Union[tuple(inner)]  # noqa: UP007 - of a list
    return hint


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Literal:
        return " or ".join(str(value) for value in arguments if value != "")
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(part) for part in arguments))
    if origin in (tuple, list):
        return f"list of {_type(arguments[0])}"
    if origin is not None:
        return f"mapping of {_type(arguments[1])}"
    if is_section(hint):
        return "mapping of settings"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", getattr(hint, "__name__", str(hint))).lower()


def _default(field: dataclasses.Field[Any], hint: Any) -> tuple[str, bool]:
    if field.default is not dataclasses.MISSING:
        return written(field.default, hint), False
    if field.default_factory is not dataclasses.MISSING:
        return written(field.default_factory(), hint), False
    return "", True


def written(value: Any, hint: Any) -> str:
    """Return a value as one would write it in a configuration; empty for what is nothing."""
    if value is None or (hint is Seconds and not value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if hint in (Seconds, Size):
        return shown(value, "s" if hint is Seconds else "B")
    if isinstance(value, int | float):
        return shown(value)
    if isinstance(value, tuple | list):
        return ", ".join(written(item, type(item)) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {written(item, type(item))}" for key, item in value.items())
    return str(value)
