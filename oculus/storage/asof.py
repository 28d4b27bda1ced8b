"""A user's query as of a moment of the past: rows that came later are not there, and now() is that moment.

The query is rewritten once, on DuckDB's own syntax tree: each table with times becomes the part of it up to
the moment, and each function that tells the present time the moment, which is a parameter. Blocking calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from oculus.errors import QueryError
from oculus.model import Micros
from oculus.storage import sandbox
from oculus.storage.guard import Checked, parsed
from oculus.storage.sandbox import Result
from oculus.storage.tiers import TIERS

_AT = "oculus_at"  # the parameter with the moment, in microseconds
_NOW = f"make_timestamptz(${_AT}::bigint)"

# How far each relation with times reaches at a moment: a rollup is there once its bucket is over.
_REACHES = {"metrics": f"ts <= {_NOW}", "events": f"ts <= {_NOW}"} | {
    tier.view: f"ts <= make_timestamptz(${_AT}::bigint - {tier.width})" for tier in TIERS
}
_SERIES = "series"

# What tells the present time, as functions or as words without parentheses, and what that is at a moment.
_CLOCKS = (
    dict.fromkeys(("now", "get_current_timestamp", "current_timestamp", "transaction_timestamp"), _NOW)
    | dict.fromkeys(("current_date", "today"), f"{_NOW}::date")
    | dict.fromkeys(("localtimestamp", "current_localtimestamp"), f"{_NOW}::timestamp")
)
_NO_CLOCKS = frozenset({"current_time", "get_current_time", "localtime", "current_localtime"})

Tree = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PastQuery:
    """A query that can be asked as of any moment."""

    text: str

    @classmethod
    def of(cls, cursor: duckdb.DuckDBPyConnection, sql: str) -> PastQuery:
        """Return it; raises QueryError for one that is not allowed, or cannot be asked about the past."""
        tree = parsed(cursor, sql)
        named = {str(entry.get("key", "")).lower() for node in _objects(tree) for entry in _ctes(node)}
        taken = named & (_REACHES.keys() | {_SERIES})
        if taken:
            raise QueryError(f"a part of it is called {min(taken)} as a table is: call it otherwise")
        rewriter = _Rewriter(cursor)
        told = json.dumps(rewriter.rewritten(tree))
        row = cursor.execute("select json_deserialize_sql($1::json)", [told]).fetchone()
        assert row is not None
        return cls(str(row[0]))

    def ask(self, cursor: duckdb.DuckDBPyConnection, params: Mapping[str, Any], at: Micros) -> Result:
        """Return its result as of a moment; raises QueryError."""
        # A parameter that the query does not name would be an error.
        moment = {_AT: at} if f"${_AT}" in self.text else {}
        return sandbox.run(cursor, Checked(self.text), self.text, {**params, **moment} or None)


class _Rewriter:
    """Puts trees of our own into that of a query."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor

    def rewritten(self, node: Any) -> Any:
        """Return a tree in which everything is as of the moment; raises QueryError where that cannot be."""
        if isinstance(node, list):
            return [self.rewritten(item) for item in node]
        if not isinstance(node, dict):
            return node
        kind = node.get("type")
        if kind == "BASE_TABLE":
            return self._table(node)
        if kind == "TABLE_FUNCTION" and _name(node.get("function")) == _SERIES:
            bare = {**node, "alias": "", "column_name_alias": []}
            kept = {"column_name_alias": node.get("column_name_alias", [])}
            return self._part(bare, _SERIES, str(node.get("alias") or _SERIES)) | kept
        changed = {key: self.rewritten(value) for key, value in node.items()}
        clock = self._clock(node)
        if clock is None:
            return changed
        return {**self._expression(clock), "alias": node.get("alias", "")}

    def _clock(self, node: Tree) -> str | None:
        """Return what a node is as of the moment if it tells the present time, else None."""
        name = ""
        if "function_name" in node:
            name = _name(node)
            if name == "age" and len(node.get("arguments", ())) == 1:
                raise QueryError("age() needs the time to reckon from, to be asked about the past")
        elif node.get("class") == "COLUMN_REF" and len(node.get("column_names", ())) == 1:
            name = str(node["column_names"][0]).lower()
        if name in _NO_CLOCKS:
            raise QueryError(f"{name} cannot be asked about the past (now() can)")
        return _CLOCKS.get(name)

    def _table(self, node: Tree) -> Tree:
        name = str(node.get("table_name")).lower()
        if name.startswith(("oculus_", "rollup_", "deliveries")) or node.get("at_clause") is not None:
            raise QueryError(f"{name} has no past that can be asked about")
        if name not in _REACHES or str(node.get("schema_name")).lower() not in ("", "main"):
            return node
        bare = {**node, "alias": "", "sample": None, "column_name_alias": []}
        kept = {key: node[key] for key in ("sample", "column_name_alias") if key in node}
        return self._part(bare, name, str(node.get("alias") or name)) | kept

    def _part(self, relation: Tree, name: str, alias: str) -> Tree:
        """Return what there was of a relation at the moment, as a subquery."""
        reach = _REACHES.get(name, f"ts <= {_NOW}")
        made = self._node(f"select * from (select * from metrics where {reach}) as part")["from_table"]
        made["subquery"]["node"]["from_table"] = relation
        return {**made, "alias": alias}

    def _expression(self, text: str) -> Tree:
        found: Tree = self._node(f"select {text}")["select_list"][0]
        return found

    def _node(self, sql: str) -> Tree:
        found: Tree = parsed(self._cursor, sql)["statements"][0]["node"]
        return found


def _name(function: Any) -> str:
    return str(function.get("function_name")).lower() if isinstance(function, dict) else ""


def _objects(tree: Any) -> Iterator[Tree]:
    if isinstance(tree, dict):
        yield tree
    for below in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _objects(below)


def _ctes(node: Tree) -> Iterator[Tree]:
    found = node.get("cte_map")
    yield from (found.get("map") or ()) if isinstance(found, dict) else ()
