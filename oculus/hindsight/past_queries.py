"""The queries of rules in SQL, asked as of times of the past. Blocking."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from oculus.clock import SECOND, iso
from oculus.config.settings import RuleSettings
from oculus.errors import QueryError
from oculus.hindsight.findings import span
from oculus.model import Micros
from oculus.rules.rows import Row, rows_of
from oculus.rules.schedule import SQL_EVERY
from oculus.storage import history
from oculus.storage.asof import PastQuery
from oculus.storage.ingest import read_marks

# How often a query is asked at most, each time some milliseconds: over a longer time more seldom.
MOST_QUERIES = 2_000


class PastQueries:
    """What a replay asks: queries read samples, and so are not asked before the oldest that are kept."""

    def __init__(
        self,
        cursor: history.Cursor,
        rules: Sequence[RuleSettings],
        start: Micros,
        until: Micros,
        in_time: Callable[[], None],
    ) -> None:
        """`in_time` raises QueryTimeout once it takes too long."""
        self._cursor = cursor
        self._in_time = in_time
        self._queries: dict[str, PastQuery] = {}
        self._refused: dict[str, QueryError] = {}
        for rule in rules:
            if rule.sql:
                try:
                    self._queries[rule.name] = PastQuery.of(cursor, rule.sql)
                except QueryError as error:
                    self._refused[rule.name] = error
        kept = read_marks(cursor).kept["metrics"]
        self._clipped = kept > start
        self.start = min(until, max(start, kept))
        self.spacing = (until - self.start) // MOST_QUERIES
        self.asked = False

    def ask(self, rule: RuleSettings, at: Micros) -> list[Row]:
        """Return the rows of a rule's query as of a time; raises QueryError or QueryTimeout."""
        self._in_time()
        if rule.name in self._refused:
            raise self._refused[rule.name]
        self.asked = True
        found = self._queries[rule.name].ask(self._cursor, rule.params, at)
        if found.truncated:
            raise QueryError(f"the query has more than {len(found.rows)} rows")
        return rows_of(found.columns, found.rows)

    def note(self, rule: RuleSettings, *, spaced: bool) -> str:
        """Return in what the replay of a rule's query was coarser than the daemon, or nothing.

        `spaced` tells that turns were left out.
        """
        if rule.name not in self._queries:
            return ""
        notes = []
        if self._clipped:
            notes.append(f"its query was asked from {iso(self.start)} on: older samples are gone")
        if spaced and rule.schedule:
            notes.append(f"its query was asked every {span(self.spacing / SECOND)} at most")
        elif spaced:
            every = rule.every or SQL_EVERY
            often = math.ceil(self.spacing / (every * SECOND)) * every
            notes.append(f"its query was asked every {span(often)} instead of every {span(every)}")
        return "; ".join(notes)
