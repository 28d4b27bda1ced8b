"""Rules on a store, for scripts: how they stand at a moment, and what they would have done. No daemon."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from oculus.clock import now
from oculus.config.settings import RuleSettings
from oculus.hindsight import backtest as hindsight
from oculus.hindsight.backtest import KNOWN, Backtest
from oculus.model import Micros, Transition
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.rows import Row, rows_of
from oculus.rules.rule import windows_of
from oculus.rules.view import Point, lookback
from oculus.storage import Storage, history, queries, windows


def evaluate(store: Storage, engine: RuleEngine, at: Micros | None = None) -> list[Transition]:
    """Evaluate all rules of an engine on what a store holds, as of now or `at`; return what changed.

    The engine keeps the states of the alerts from one call to the next. A query reads the store as it is.
    Raises StorageError; a query that fails is its rule's health.
    """
    moment = now() if at is None else at
    view = view_of(store, engine, moment)
    transitions = []
    for rule in sorted(engine.rules, key=lambda rule: rule.rank):
        if not rule.settings.sql:
            transitions += engine.evaluate(view, (rule,))
            continue
        try:
            rows = _rows(store, rule.settings.sql, rule.settings.params)
        except Exception as error:
            engine.fail(rule, str(error), moment)
        else:
            transitions += engine.evaluate_rows(rule, rows, moment)
    return transitions


def view_of(store: Storage, engine: RuleEngine, at: Micros) -> Live:
    """Return what the rules of an engine read, as a store holds it of `at`; tell the engine which series
    there are."""
    since = Micros(at - KNOWN)
    engine.know(store.read(history.symbols, since))
    symbols = {
        symbol for rule in engine.rules for watched in rule.watched.values() for symbol in watched.symbols
    }
    intervals = store.read(history.intervals, sorted(symbols), since)
    newest = store.read(queries.newest, sorted(symbols), at)
    points = {symbol: (Point(*found), intervals.get(symbol, 0.0)) for symbol, found in newest.items()}
    lookbacks = {symbol: lookback(intervals.get(symbol, 0.0)) for symbol in symbols}
    wanted = windows_of(engine.rules)
    figures = store.read(windows.figures, wanted, at, lookbacks) if wanted else {}
    return Live(at, points.get, figures)


def backtest(
    store: Storage,
    rules: Iterable[RuleSettings],
    since: Micros,
    until: Micros | None = None,
    names: Collection[str] | None = None,
) -> Backtest:
    """Return what rules, or the named ones of them, would have done from `since` on; raises StorageError."""
    end = now() if until is None else until
    return store.read(hindsight.backtest, list(rules), names, since, end)


def _rows(store: Storage, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
    found = store.query(sql, dict(params) or None)
    return rows_of(found.columns, found.rows)
