"""`oculus doctor`: what this host permits and lacks, a line for each thing that Oculus needs of it.

Nothing is changed but for a small file that measures the disk and is gone at once, and nothing is asked of
the network but one name of the host's own name servers.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from oculus import config
from oculus.commands import host, network, output
from oculus.commands.client import Client, Refused
from oculus.commands.findings import Finding, Needs, Report, fail, ok, warn
from oculus.config.settings import DatabaseSettings, Settings
from oculus.errors import ConfigError, StartError
from oculus.vocabulary import vocabulary

if TYPE_CHECKING:
    from oculus.cli import Arguments


def carry_out(arguments: Arguments) -> int:
    """Look at everything and print it; return 1 when something fails."""
    settings, told = _settings(arguments.config)
    needs = _needs(settings, arguments.db)
    findings: list[Finding] = []
    looks: list[tuple[str, Callable[[Needs], Report]]] = [
        ("program", host.program),
        ("clock", host.clock),
        ("time zones", host.time_zones),
        ("memory", host.memory),
        ("open files", host.open_files),
        ("disk", host.disk),
        ("temporary files", host.temporary),
        ("database", database),
        ("routes", network.routes),
        ("name lookup", network.names),
        ("ping", network.ping),
        ("TLS", network.authorities),
    ]
    if told is not None:
        findings.append(told)
    for name, look in looks:
        try:
            findings += [Finding(name, *found) for found in look(needs)]
        except Exception as error:  # a host that nobody thought of
            findings.append(Finding(name, "warn", f"could not be looked at: {type(error).__name__}: {error}"))
    if arguments.format == "json":
        print(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False, indent=1))
    else:
        _print(findings)
    return int(any(finding.level == "fail" for finding in findings))


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.about) for finding in findings)
    for finding in findings:
        advice = f" ({finding.advice})" if finding.advice else ""
        line = f"{finding.level:<4}  {finding.about:<{width}}  {finding.message}{advice}"
        print(output.clean(line))
    counts = {level: sum(finding.level == level for finding in findings) for level in ("ok", "warn", "fail")}
    print(f"{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} failed")


def _settings(path: str | None) -> tuple[Settings | None, Finding | None]:
    """Return the configuration and what there is to say of it; neither when none is named."""
    if path is None:
        return None, None
    try:
        settings = config.load(path, vocabulary())
    except ConfigError as error:
        first, count = error.mistakes[0].splitlines()[0], len(error.mistakes)
        more = f", and {count - 1} more" if count > 1 else ""
        return None, Finding(
            "configuration", "fail", first + more, f"oculus check {path} tells every mistake"
        )
    count, warnings = len(settings.collectors), len(settings.warnings)
    told = f"{path} is right, {count} collectors and {len(settings.rules)} rules"
    if warnings:
        return settings, Finding(
            "configuration", "warn", f"{told}, {warnings} warnings", f"oculus check {path}"
        )
    return settings, Finding("configuration", "ok", told)


def _needs(settings: Settings | None, db: str | None) -> Needs:
    stored = DatabaseSettings() if settings is None else settings.database
    specs = () if settings is None else settings.collectors
    pings = any(spec.kind == "network/ping" for spec in specs)
    hosts = [name for spec in specs if (name := network.host_of(spec.settings))]
    return Needs(
        db or stored.path, stored.memory_limit, len(specs), pings, tuple(hosts), settings is not None
    )


def database(needs: Needs) -> Report:
    """Yield how the database is: open in a daemon, free, damaged, too old or too new."""
    path = needs.database
    try:
        client = Client.of(path)
    except StartError as error:
        yield warn(str(error))
        return
    if client is not None:
        try:
            yield from _in_use(path, client)
        except Refused as error:
            yield fail(f"a daemon has {path} open, and does not answer: {error}", "look at its log")
        finally:
            client.close()
        return
    if not Path(path).exists():
        yield ok(f"there is no {path} yet, the first start makes it")
        return
    yield from _at_rest(path)


def _in_use(path: str, client: Client) -> Report:
    answer = client.query(
        "select (select max(version) from oculus_schema), version(), (select count(*) from metrics)", {}
    )
    tables, engine, samples = answer["rows"][0]
    told = f"a daemon has {path} open: {_size(path)}, {samples:,} samples, DuckDB {engine}, tables {tables}"
    damage = client.damage()
    if damage:
        yield fail(f"{told}; a part of it is damaged", "restore a copy, or start with --recover")
    else:
        yield ok(told)


def _at_rest(path: str) -> Report:
    from oculus.storage.examine import examine

    try:
        found = examine(path)
    except StartError as error:
        yield fail(str(error))
        return
    told = f"{path}: {_size(path)}, {found.samples:,} samples, tables {found.version}, no daemon has it open"
    if found.damage:
        yield fail(f"{path} is damaged: {found.damage}", "restore a copy, or start with --recover")
    elif found.version > found.known:
        yield fail(f"{told}; a newer Oculus wrote it", "use that version, or another file")
    elif not found.whole:
        yield ok(f"{told}; it is too large to read all of it here")
    else:
        yield ok(f"{told}, every row can be read")


def _size(path: str) -> str:
    return output.size_text(host.size_of(path))
