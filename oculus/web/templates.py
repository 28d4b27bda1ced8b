"""Rendering: Jinja2 templates of `views/`, in slices so that a long page does not hold the hub."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oculus import __version__
from oculus.clock import iso
from oculus.cooperate import slices
from oculus.web import figures

if TYPE_CHECKING:
    import jinja2


class Templates:
    """The pages and fragments under one folder."""

    def __init__(self, folder: Path, *, token: bool) -> None:
        self._folder = folder
        self._token = token

    @cached_property
    def _environment(self) -> jinja2.Environment:
        # Imported here: a daemon is ready 30 ms sooner, and compiles the templates right after.
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._folder),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.globals.update(version=__version__, has_login=self._token)
        environment.filters.update(span=figures.span_text, iso=iso)
        return environment

    def page(self, name: str, context: Any) -> str:
        """Render `pages/<name>.html` with a context class."""
        return self._render(f"pages/{name}.html", context, page=name)

    def fragment(self, name: str, context: Any) -> str:
        """Render `fragments/<name>.html` with a context class."""
        return self._render(f"fragments/{name}.html", context)

    def compile(self) -> None:
        """Compile every template now, so that the first visitor does not wait for it."""
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def _render(self, name: str, context: Any, **more: Any) -> str:
        values = {field.name: getattr(context, field.name) for field in fields(context)}
        return "".join(slices(self._environment.get_template(name).generate(values | more)))
