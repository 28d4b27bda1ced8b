"""backtest: what rules would have done over the stored history, by the daemon or on the file itself."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from oculus.clock import SECOND, now, parse_iso
from oculus.commands import output
from oculus.commands.client import Client
from oculus.commands.store import Store, either, opened, store_of
from oculus.config.decode import parse_duration
from oculus.errors import ConfigError
from oculus.model import Micros

if TYPE_CHECKING:
    from oculus.cli import Arguments
    from oculus.config.settings import RuleSettings

_SHOWN = 20  # intervals of each rule that are printed


def carry_out(arguments: Arguments) -> None:
    """Do what the command line says; raises OculusError."""
    since = moment(arguments.since, "--since")
    until = min(now(), moment(arguments.until, "--until")) if arguments.until else now()
    if since >= until:
        raise ConfigError(["--since is not before --until"])
    store = store_of(arguments)
    rules = configured(arguments)
    if rules is not None and arguments.rule and all(rule.name != arguments.rule for rule in rules):
        raise ConfigError([f"there is no rule {arguments.rule!r} in {arguments.config}"])
    names = [arguments.rule] if arguments.rule else None
    answer = either(
        store,
        lambda client: _asked(client, rules, names, since, until),
        lambda: _own(store, rules, names, since, until),
    )
    if arguments.format == "json":
        json.dump(answer, sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        print(told(answer), end="")


def moment(text: str, option: str) -> Micros:
    """Return the time that a text gives: a duration ago, or ISO 8601. Raises ConfigError.

    What is before 1970 is 1970: nothing that is stored is older.
    """
    try:
        return Micros(max(0, now() - int(parse_duration(text) * SECOND)))
    except (ValueError, OverflowError):
        pass
    try:
        return Micros(max(0, parse_iso(text)))
    except (ValueError, OverflowError):
        raise ConfigError([f"{option} {text!r} is neither a duration (7d) nor a time (2026-01-31)"]) from None


def configured(arguments: Arguments) -> tuple[RuleSettings, ...] | None:
    """Return the rules of the file that the command line names, None when it names none."""
    if arguments.config is None:
        return None
    from oculus.config import load
    from oculus.vocabulary import vocabulary

    return load(arguments.config, vocabulary()).rules


def _asked(
    client: Client,
    rules: Sequence[RuleSettings] | None,
    names: Sequence[str] | None,
    since: Micros,
    until: Micros,
) -> dict[str, Any]:
    from oculus.clock import iso
    from oculus.config.decode import encode

    body: dict[str, Any] = {"since": iso(since), "until": iso(until)}
    if rules is not None:
        body["rules"] = [encode(rule) for rule in rules]
        body["names"] = names
    elif names:
        body["rule"] = names[0]
    return client.call("POST", "/api/backtest", body, patience=90.0)


def _own(
    store: Store,
    rules: Sequence[RuleSettings] | None,
    names: Sequence[str] | None,
    since: Micros,
    until: Micros,
) -> dict[str, Any]:
    if rules is None:
        raise ConfigError(["no daemon runs that knows the rules (name the file with --config)"])
    from oculus.hindsight.backtest import backtest

    with opened(store) as database:
        return backtest(database.cursor(), rules, names, since, until).to_json()


def told(answer: Mapping[str, Any]) -> str:
    """Return the result for people."""
    lines = [f"{_time(answer['from'])} to {_time(answer['to'])}, {_sources(answer['resolution'])}", ""]
    for rule in answer["rules"]:
        lines += [*_rule(rule), ""]
    lines.append(f"{answer['evaluations']} evaluations in {answer['elapsed_ms'] / 1000:.1f} s")
    return "\n".join(lines) + "\n"


def _rule(rule: Mapping[str, Any]) -> list[str]:
    count, messages = rule["firings"], rule["messages"]
    lines = [f"{output.clean(rule['name'])}: {output.clean(rule['condition'])}"]
    lines += [f"  {output.clean(text)}" for text in (rule["error"], rule["note"]) if text]
    if not count:
        return lines if rule["error"] else [*lines, "  would not have fired"]
    lines.append(
        f"  would have fired {_times(count)}, for {span(rule['firing_seconds'])} in all,"
        f" with {messages} message{'' if messages == 1 else 's'} after grouping"
    )
    rows = [
        [_time(found["started_at"]), _time(found["ended_at"]) if found["ended_at"] else "still fires",
         span(found["seconds"]), found["symbol"] or "", found["explanation"]]
        for found in rule["intervals"][-_SHOWN:]
    ]  # fmt: skip
    columns = [("fired", "VARCHAR"), ("ended", "VARCHAR"), ("for", "VARCHAR"), ("symbol", "VARCHAR"),
               ("because", "VARCHAR")]  # fmt: skip
    table = output.table(columns, rows, output.terminal_width()).splitlines()[:-1]
    lines += [f"  {line}" for line in table]
    if count > len(rows):
        lines.append(f"  … and {count - len(rows)} earlier (--format json has more)")
    days = [
        [day["date"], day["firings"], span(day["firing_seconds"]), day["messages"]]
        for day in rule["days"]
        if day["firings"] or day["firing_seconds"] or day["messages"]
    ]
    columns = [("day", "VARCHAR"), ("firings", "BIGINT"), ("firing", "VARCHAR"), ("messages", "BIGINT")]
    lines += ["", *(f"  {line}" for line in output.table(columns, days, None).splitlines()[:-1])]
    return lines


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def span(seconds: float) -> str:
    """Return a time that something took, in its two largest units."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, hours, days = seconds // 60, seconds // 3_600, seconds // 86_400
    if minutes < 60:
        return f"{minutes:.0f} min {seconds % 60:.0f} s"
    if hours < 24:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{days:.0f} d {hours % 24:.0f} h"


def _time(text: str) -> str:
    """Return an ISO time as it is on this host, to the second."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _sources(parts: Sequence[Mapping[str, str]]) -> str:
    names = {"samples": "every sample", "1m": "1-minute rollups", "1h": "hourly rollups"}
    if not parts:
        return "nothing is stored of that time"
    if len(parts) == 1:
        return names[parts[0]["source"]]
    return ", ".join(f"{names[part['source']]} from {_time(part['from'])} on" for part in parts)
