"""Runs the rule engine: after commits, and as time passes for what waits for it.

Conditions on last values, conditions over time, and queries each have a greenlet: one that waits for the
store holds up none of the first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import gevent
from gevent.event import Event as Signal
from loguru import logger

from oculus.clock import SECOND, now
from oculus.cooperate import slices
from oculus.errors import OculusError
from oculus.model import Micros, Transition
from oculus.rules.engine import RuleEngine
from oculus.rules.rule import Rule, windows_of
from oculus.rules.schedule import Turn
from oculus.rules.view import View
from oculus.windowed import Window

TICK = 1.0  # seconds between evaluations of rules with a pending or firing instance
SWEEP = 10.0  # seconds between evaluations of all rules: values go stale without a commit

Figures = Mapping[Window, float | None]
# Returns what the store makes of a query with its parameters, as rows by column; raises OculusError.
Query = Callable[[str, Mapping[str, Any]], Sequence[Mapping[str, Any]]]


class RuleLoop:
    """Evaluates what concerns changed symbols, and hands each transition to `emit`.

    `view` gives what is known at a time, with the figures that were fetched; `fetch` fetches figures over
    time from the store, `query` runs a rule's SQL; both may take long, and raise OculusError. `time_now`
    gives the time of a pass; it is asked right before each, so that it may look at the clock. `remember`
    takes what is to be remembered of alerts that changed without a step.
    """

    def __init__(
        self,
        engine: RuleEngine,
        emit: Callable[[Transition], None],
        view: Callable[[Micros, Figures], View],
        fetch: Callable[[Collection[Window], Micros], Figures],
        query: Query,
        time_now: Callable[[], Micros] = now,
        remember: Callable[[Mapping[str, str]], None] = lambda memories: None,
    ) -> None:
        self._engine = engine
        self._emit = emit
        self._view = view
        self._fetch = fetch
        self._query = query
        self._now = time_now
        self._remember = remember
        self._changed: set[str] = set()
        self._wake = Signal()
        self._looked: dict[str, float] = {}  # when figures of a rule were last fetched, monotonic
        self._touched: set[str] = set()  # rules over time that a commit concerns
        self.figures: Figures = {}  # those that were last fetched
        self._loads = engine.loads  # of the rules that the figures are for
        self.evaluations = 0
        self.looked_at = time.monotonic()  # when the last evaluation ended
        self.seconds = 0.0  # that it took
        self.window_seconds = 0.0  # that the last one over time took, with its fetch

    def changed(self, symbols: Iterable[str]) -> None:
        """Note committed symbols; their rules are evaluated soon."""
        self._changed.update(symbols)
        self._wake.set()

    def run(self) -> None:
        """Evaluate conditions on last values for ever."""
        swept = time.monotonic()
        while True:
            self._wake.wait(TICK)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            self._engine.know(slices(changed))
            concerned = self._engine.concerning(changed)
            self._touched.update(rule.settings.name for rule in concerned if rule.windowed)
            if time.monotonic() - swept >= SWEEP:
                swept = time.monotonic()
                rules = self._engine.rules
                self._touched.update(rule.settings.name for rule in rules if rule.windowed)
            else:
                active = (rule for rule in self._engine.rules if rule.state != "inactive")
                rules = list({id(rule): rule for rule in (*concerned, *active)}.values())
            started = time.perf_counter()
            self._evaluate([rule for rule in rules if not rule.windowed], {})
            self.seconds, self.looked_at = time.perf_counter() - started, time.monotonic()

    def run_windows(self) -> None:
        """Evaluate conditions over time for ever."""
        while True:
            gevent.sleep(TICK)
            self.step_windows(time.monotonic())

    def step_windows(self, monotonic: float) -> None:
        """Evaluate the conditions over time that are due."""
        if self._loads != self._engine.loads:
            # What was fetched for rules that are gone would stay for ever; those that are new are due now.
            self._loads, self._looked, self.figures = self._engine.loads, {}, {}
        due = self._due(monotonic)
        if due:
            started = time.perf_counter()
            self._step_windows(due)
            self.window_seconds = time.perf_counter() - started
            for rule in due:  # what should have been meanwhile, but for one pass, which is next
                rule.missed += max(0, int(self.window_seconds / rule.period) - 1)

    def _step_windows(self, due: list[Rule]) -> None:
        moment = self._now()
        try:
            self.figures = {**self.figures, **self._fetch(windows_of(due), moment)}
        except Exception as error:
            for rule in due:
                self._engine.fail(rule, f"figures over time cannot be had: {_told(error)}", moment)
        else:
            # At the time after the fetch: the clock may have been set meanwhile.
            self._evaluate(due, self.figures)

    def run_queries(self) -> None:
        """Run the rules' queries when they are due, one after the other, for ever."""
        turns: dict[tuple[object, ...], Turn] = {}
        rules: dict[tuple[object, ...], Rule] = {}
        shifted = self._engine.shifted
        while True:
            moment = self._now()
            if shifted != self._engine.shifted:
                for key, turn in turns.items():
                    turn.shift(rules[key].settings, self._engine.shifted - shifted, moment)
                shifted = self._engine.shifted
            rules = {
                (rule.settings.name, rule.expression, *Turn.plan(rule.settings)): rule
                for rule in self._engine.rules
                if rule.settings.sql
            }
            turns = {key: turns.get(key) or Turn.of(rule.settings, moment) for key, rule in rules.items()}
            for key, turn in turns.items():
                if turn.at <= self._now():
                    self._run_query(rules[key])
                    rules[key].missed += turn.passed(rules[key].settings, self._now())
            soonest = min((turn.at for turn in turns.values()), default=None)
            wait = SWEEP if soonest is None else (soonest - self._now()) / SECOND
            gevent.sleep(min(max(wait, 0.01), TICK))

    def _run_query(self, rule: Rule) -> None:
        try:
            rows = self._query(rule.settings.sql, rule.settings.params)
            failed = ""
        except Exception as error:
            rows, failed = (), _told(error)
        moment = self._now()  # after the query, during which the clock may have been set
        current = self._engine.get(rule.settings.name)
        if current is None or current.expression != rule.expression:  # replaced meanwhile
            return
        if failed:
            self._engine.fail(current, failed, moment)
        else:
            self._guarded(current, self._engine.steps_of_rows(current, rows, moment), moment)
            self.evaluations += 1

    def _due(self, monotonic: float) -> list[Rule]:
        """Return the rules over time that a commit concerns, or that are active, and whose turn has come."""
        found = []
        for rule in self._engine.rules:
            name = rule.settings.name
            concerned = name in self._touched or name not in self._looked or rule.state != "inactive"
            if not rule.windowed or not concerned:
                continue
            period = rule.period
            if monotonic - self._looked.get(name, -period) >= period - TICK / 2:
                self._looked[name] = monotonic
                self._touched.discard(name)
                found.append(rule)
        return found

    def _evaluate(self, rules: list[Rule], figures: Figures) -> None:
        view = self._view(self._now(), figures)  # one time for the whole pass, unless the clock is set
        shifted = self._engine.shifted
        # A cause before what depends on it.
        for rule in slices(sorted(rules, key=lambda rule: rule.rank)):
            if shifted != self._engine.shifted:
                view, shifted = self._view(self._now(), figures), self._engine.shifted
            if rule.condition is not None and self._engine.get(rule.settings.name) is rule:
                self._guarded(rule, self._engine.steps(view, rule), view.now)
        self.evaluations += len(rules)

    def _guarded(self, rule: Rule, steps: Iterable[Transition], at: Micros) -> None:
        """Emit the steps of an evaluation; what fails is the rule's own health, and stops no other rule."""
        try:
            for transition in slices(steps):
                self._emit(transition)
        except Exception as error:
            self._engine.fail(rule, _told(error), at)
        altered = self._engine.altered()
        if altered:
            self._remember(altered)


def _told(error: Exception) -> str:
    """Return what went wrong; a mistake of the program goes to the log with all of it."""
    if isinstance(error, OculusError):
        return str(error)
    logger.opt(exception=error).error("a rule cannot be evaluated")
    return f"{type(error).__name__}: {error}"
