"""Sandboxed Jinja2: what the texts that a user writes for messages and bodies are made with.

A template sees the values that it is given and nothing else, and cannot change them. Whoever renders one says
what becomes of a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from oculus.errors import ExpressionError


@lru_cache(maxsize=2)
def _environment(strict: bool = False) -> Any:
    from jinja2 import StrictUndefined, Undefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    undefined = StrictUndefined if strict else Undefined
    return ImmutableSandboxedEnvironment(autoescape=False, undefined=undefined)


@lru_cache(maxsize=10_000)
def _compiled(template: str, strict: bool = False) -> Any:
    return _environment(strict).from_string(template)


def check(template: str) -> None:
    """Raise ExpressionError when `template` is not Jinja2."""
    from jinja2 import TemplateSyntaxError

    if "{" not in template:  # plain text needs no compiler
        return
    try:
        _compiled(template)
    except TemplateSyntaxError as error:
        raise ExpressionError(f"{error.message} (in line {error.lineno} of the template)", 0) from None
    except Exception as error:  # nested too deeply, a number of thousands of digits …
        raise ExpressionError(f"cannot be used as a template: {error}", 0) from None


def names(template: str) -> Iterator[tuple[str, int]]:
    """Yield the names that a right template reads from outside, each with the first line that has it."""
    from jinja2 import meta, nodes

    if "{" not in template:
        return
    environment = _environment()
    tree = environment.parse(template)
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    for name in sorted(meta.find_undeclared_variables(tree) - environment.globals.keys()):
        yield name, lines.get(name, 1)


def render(template: str, values: Mapping[str, Any], longest: int, *, strict: bool = False) -> str:
    """Return a template filled in, of which no more than `longest` characters are made.

    What is not there is an empty text, or with `strict` a failure. Raises whatever the template does: a
    user's may fail in any way.
    """
    if "{" not in template:
        return template[:longest]
    pieces: list[str] = []
    room = longest
    for piece in _compiled(template, strict).generate(values):
        pieces.append(piece[:room])
        room -= len(piece)
        if room <= 0:
            break
    return "".join(pieces)
