"""silence: which alerts the running daemon holds back. It needs the daemon: silences live there."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from oculus.commands import output
from oculus.commands.client import Client
from oculus.commands.store import store_of
from oculus.errors import StartError

if TYPE_CHECKING:
    from oculus.cli import Arguments

_T = TypeVar("_T")

_COLUMNS = ("id", "state", "matchers", "starts_at", "ends_at", "comment")


def carry_out(arguments: Arguments) -> None:
    """Do what the command line says; raises OculusError."""
    path = store_of(arguments).path
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if arguments.action == "add":
        body = {
            "matchers": arguments.matchers,
            "duration": arguments.duration,
            "comment": arguments.comment,
        }
        made = _asked(path, lambda daemon: daemon.call("POST", "/api/silences", body))
        print(f"{made['id']}: {output.clean(' '.join(made['matchers']))} until {made['ends_at']}")
        if "warning" in made:
            print(f"oculus: {output.clean(made['warning'])}", file=sys.stderr)
    elif arguments.action == "list":
        answer = _asked(path, lambda daemon: daemon.call("GET", "/api/silences"))
        shown = [one for one in answer["silences"] if arguments.all or one["state"] != "expired"]
        _print(shown, arguments.format)
    else:
        where = f"/api/silences/{quote(arguments.id, safe='')}"
        ended = _asked(path, lambda daemon: daemon.call("DELETE", where))
        print(f"{ended['id']}: ended at {ended['ends_at']}")


def _asked(path: str, ask: Callable[[Client], _T]) -> _T:
    """Return what the daemon answers that has a database open; raises StartError when none has."""
    daemon = Client.of(path)
    if daemon is None:
        raise StartError(f"no daemon runs with the database {path} (name it with --db or --config)")
    try:
        return ask(daemon)
    finally:
        daemon.close()


def _print(silences: list[dict[str, Any]], form: str) -> None:
    rows = [[one[name] for name in _COLUMNS] for one in silences]
    columns = [(name, "VARCHAR") for name in _COLUMNS]
    if form == "json":
        sys.stdout.write(output.json_text(columns, rows))
        return
    for row in rows:
        row[2] = " ".join(row[2])
    sys.stdout.write(output.table(columns, rows, output.terminal_width()))
