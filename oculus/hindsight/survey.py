"""Gathers what `lint` needs to know from the store, and hands back its findings. Blocking, and long."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict

from oculus.clock import iso
from oculus.config.settings import RuleSettings
from oculus.errors import OculusError
from oculus.hindsight.backtest import History
from oculus.hindsight.findings import QUERY_LIMIT, Facts, QueryRun
from oculus.hindsight.lint import lint
from oculus.hindsight.observe import Observer
from oculus.hindsight.step import Every, Step, Steps, nowhere, share
from oculus.model import Micros
from oculus.rules.engine import RuleEngine
from oculus.rules.rows import keyed, rows_of
from oculus.storage import history, sandbox
from oculus.storage.readers import Readers

# What a sample from outside carries: nobody has told how often these come.
_OUTSIDE = "push"


def survey(
    cursor: history.Cursor,
    rules: Sequence[RuleSettings],
    derived: Collection[str],
    since: Micros,
    until: Micros,
    every: Every = nowhere,
    queries: Mapping[str, QueryRun] = {},
) -> Steps:
    """Hold rules against what was stored in [since, until); the last step has the findings.

    `derived` are the names of derived values, `queries` what a run of each rule's SQL did.
    """
    known = history.symbols(cursor, Micros(0))
    recent = history.symbols(cursor, since)
    engine = RuleEngine(rules)
    engine.know(recent)
    conditions = [rule.settings for rule in engine.rules if rule.condition is not None]
    read = {
        symbol for rule in engine.rules for watched in rule.watched.values() for symbol in watched.symbols
    }
    shown = history.intervals(cursor, sorted(read), since)
    configured = {
        symbol: every(symbol) or (0.0 if known.get(symbol, {}).get("source") == _OUTSIDE else shown[symbol])
        for symbol in read
    }
    yield Step(0.0)
    seen = {}
    sources: list[dict[str, str]] = []
    if conditions and read & recent.keys():
        past = History(cursor, conditions, since, until, every)
        sources = [
            {"source": part.source, "from": iso(part.start), "to": iso(part.end)} for part in past.parts
        ]
        observer = Observer(engine.rules, past.recorded, since)
        for end, arrivals in past:
            coarse = any(part.source != "samples" and part.start <= end < part.end for part in past.parts)
            observer.take(arrivals, coarse=coarse)
            yield Step(share(end, since, until))
        observer.finish(until)
        seen = observer.seen
    facts = Facts(known, recent.keys(), shown, configured, derived, seen, queries)
    findings = lint(engine.rules, facts)
    result = {
        "from": iso(since),
        "to": iso(until),
        "resolution": sources,
        "rules": len(rules),
        "findings": [asdict(finding) for finding in findings],
    }
    yield Step(1.0, result=result)


def tried(readers: Readers, rule: RuleSettings) -> QueryRun:
    """Run a rule's query once, under the limits that it has in the daemon, and return what it did."""
    began = time.monotonic()
    try:
        found = readers.run(
            sandbox.query, rule.sql, dict(rule.params) or None, timeout=QUERY_LIMIT, ceiling=True
        )
    except OculusError as error:
        return QueryRun(time.monotonic() - began, error=str(error).strip().split("\n", 1)[0])
    seconds = time.monotonic() - began
    if found.truncated:
        return QueryRun(seconds, error=f"it has more than {len(found.rows)} rows, which is too many")
    try:
        keyed(rows_of(found.columns, found.rows))
    except ValueError:
        return QueryRun(seconds, len(found.rows), alike=True)
    return QueryRun(seconds, len(found.rows))
