"""rules: what is odd about rules, and which one would suit; by the daemon, or on the file itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oculus.clock import now
from oculus.commands import output
from oculus.commands.backtest import moment
from oculus.commands.backtest import span as spent
from oculus.commands.client import Client
from oculus.commands.derive import configured, needs_config
from oculus.commands.store import Store, either, opened, store_of
from oculus.model import Micros

if TYPE_CHECKING:
    from oculus.cli import Arguments
    from oculus.config import Settings
    from oculus.hindsight.step import Steps
    from oculus.storage.database import Database

_FAILED = 1


def carry_out(arguments: Arguments) -> int:
    """Do what the command line says and return the exit status; raises OculusError."""
    since = moment(arguments.since, "--since")
    store = store_of(arguments)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if arguments.action == "lint":
        return _lint(store, configured(arguments), since, arguments.format)
    _suggest(store, arguments.symbol, since, arguments.format)
    return 0


# -- lint ---------------------------------------------------------------------------------------------------


def _lint(store: Store, settings: Settings | None, since: Micros, form: str) -> int:
    """Print what is odd about rules; return 1 when something needs attention."""
    request: dict[str, Any] = {"since": since}
    if settings is not None:
        from oculus.config.decode import encode

        request["rules"] = [encode(rule) for rule in settings.rules]
        request["derived"] = [derived.name for derived in settings.derived]
    result = _answered(store, "lint", request, lambda database: _survey(database, settings, since))
    warned = sum(found["level"] == "warn" for found in result["findings"])
    if form == "json":
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return _FAILED if warned else 0
    for found in result["findings"]:
        print(output.clean(f"{found['level']}  {found['rule']}: {found['message']}"))
        print(output.clean(f"      {found['advice']}"))
    count, notes = result["rules"], len(result["findings"]) - warned
    print(
        f"{_counted(count, 'rule')}: {_counted(warned, 'warning')}, {_counted(notes, 'note')}"
        + ("" if result["resolution"] else " (nothing that they read is stored of that time)")
    )
    return _FAILED if warned else 0


def _survey(database: Database, settings: Settings | None, since: Micros) -> Steps:
    if settings is None:
        raise needs_config("rules")
    from oculus.hindsight.survey import survey, tried
    from oculus.storage.readers import Readers

    readers = Readers(database, 1)
    queries = {rule.name: tried(readers, rule) for rule in settings.rules if rule.sql}
    readers.close()
    derived = [each.name for each in settings.derived]
    return survey(database.cursor(), settings.rules, derived, since, now(), queries=queries)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


# -- suggest ------------------------------------------------------------------------------------------------


def _suggest(store: Store, symbol: str, since: Micros, form: str) -> None:
    """Print thresholds for a series, what each would have done, and the rule that suits best."""

    def own(database: Database) -> Steps:
        from oculus.hindsight.suggest import suggest

        return suggest(database.cursor(), symbol, since, now())

    result = _answered(store, "suggest", {"since": since, "symbol": symbol}, own)
    if form == "json":
        print(json.dumps(result, indent=1, ensure_ascii=False))
        return
    print(told(result), end="")


def told(result: Mapping[str, Any]) -> str:
    """Return suggestions for people: the last lines are YAML."""
    counted = _counted(result["samples"], "sample")
    values = f"{result['lowest']:.6g} to {result['highest']:.6g}, median {result['median']:.6g}"
    lines = [f"{result['about']}: {counted}, {values}"]
    if any(part["source"] != "samples" for part in result["resolution"]):
        lines.append("Partly of rollups, in which what was shorter than their minutes or hours is not seen.")
    lines.append("")
    rows = [
        [
            "→" if row["best"] else "",
            row["condition"],
            _for(row["for"]),
            row["firings"],
            spent(row["firing_seconds"]),
            row["messages"],
            row["why"],
        ]
        for row in result["candidates"]
    ]
    columns = [
        ("", "VARCHAR"), ("condition", "VARCHAR"), ("for", "VARCHAR"), ("would have fired", "BIGINT"),
        ("in all", "VARCHAR"), ("messages", "BIGINT"), ("because", "VARCHAR"),
    ]  # fmt: skip
    lines += output.table(columns, rows, output.terminal_width()).splitlines()[:-1]
    yaml: Sequence[str] = result["yaml"].splitlines()
    lines += ["", "rules:", f"  - {yaml[0]}", *(f"    {line}" for line in yaml[1:])]
    return "\n".join(lines) + "\n"


def _for(seconds: float) -> str:
    if not seconds:
        return ""
    return f"{seconds / 60:.0f}m" if seconds >= 60 else f"{seconds:.0f}s"


# -- both ---------------------------------------------------------------------------------------------------


def _answered(
    store: Store, kind: str, request: Mapping[str, Any], own: Callable[[Database], Steps]
) -> dict[str, Any]:
    """Return what the work comes to, in the running daemon or here."""
    progress = output.Progress("lint" if kind == "lint" else "suggest")

    def here() -> dict[str, Any]:
        result: dict[str, Any] = {}
        with opened(store) as database:
            for step in own(database):
                progress.show(step.part, 0)
                result = step.result
        return result

    def asked(client: Client) -> dict[str, Any]:
        return client.work(kind, request, progress.show)

    try:
        return either(store, asked, here)
    finally:
        progress.clear()
