"""Alert messages: sandboxed Jinja2 over the alert. A template that fails never hides the alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oculus import templates
from oculus.templates import check

__all__ = ["MAX_MESSAGE", "check", "render"]

# A message is a line or a few; a template's loop must not make megabytes of it.
MAX_MESSAGE = 4_000  # characters


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the message for an alert with these values."""
    if "{" not in template:
        return template
    try:
        return templates.render(template, values, MAX_MESSAGE)
    except Exception as error:  # a user's template may fail in any way
        return f"{template} [the message's template failed: {error}]"[:MAX_MESSAGE]
