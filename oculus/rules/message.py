"""Alert messages: sandboxed Jinja2 over the alert. A template that fails never hides the alert."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from oculus.errors import ExpressionError

# A message is a line or a few; a template's loop must not make megabytes of it.
MAX_MESSAGE = 4_000  # characters


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(autoescape=False)


@lru_cache(maxsize=10_000)
def _compiled(template: str) -> Any:
    return _environment().from_string(template)


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


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the message for an alert with these values."""
    if "{" not in template:
        return template
    try:
        text: str = _compiled(template).render(values)
    except Exception as error:  # a user's template may fail in any way
        text = f"{template} [the message's template failed: {error}]"
    return text[:MAX_MESSAGE]
