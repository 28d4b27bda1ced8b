"""The page `/query`: an editor for SQL with the tables beside it. Its queries go to `/api/query`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from oculus.cooperate import slices
from oculus.errors import OculusError
from oculus.storage import catalog, sandbox
from oculus.web import inputs
from oculus.web.examples import STARTER, Example, examples
from oculus.web.services import Services
from oculus.web.templates import Templates


@dataclass(frozen=True, slots=True)
class Group:
    """Examples under one heading."""

    title: str
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class QueryContext:
    """`pages/query.html`: what the editor begins with, and what stands beside it."""

    sql: str
    groups: tuple[Group, ...]
    tables: tuple[catalog.Table, ...]
    unread: str  # why the tables cannot be read now
    functions: Sequence[catalog.Function]
    max_rows: int
    max_sql: int


class QueryPage:
    """Builds the context and renders it."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def query(self) -> str:
        """GET /query: `sql` fills the editor, and is not run before the visitor says so."""
        tables: tuple[catalog.Table, ...] = ()
        try:
            tables, unread = self._services.readers.run(catalog.tables), ""
        except OculusError as error:
            unread = str(error)
        context = QueryContext(
            sql=inputs.query("sql") or STARTER,
            groups=_groups(examples(slices(self._services.latest))),
            tables=tables,
            unread=unread,
            functions=catalog.FUNCTIONS,
            max_rows=sandbox.MAX_ROWS,
            max_sql=sandbox.MAX_SQL,
        )
        return self._templates.page("query", context)


def _groups(found: Sequence[Example]) -> tuple[Group, ...]:
    return tuple(Group(title, tuple(each)) for title, each in groupby(found, key=lambda one: one.group))
