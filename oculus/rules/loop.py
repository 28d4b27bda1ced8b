"""Runs the rule engine: after commits, and as time passes for what waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gevent.event import Event as Signal

from oculus.clock import now
from oculus.cooperate import slices
from oculus.model import Micros, Transition
from oculus.rules.engine import Rule, RuleEngine

TICK = 1.0  # seconds between evaluations of rules with a pending or firing instance
SWEEP = 10.0  # seconds between evaluations of all rules: values go stale without a commit


class RuleLoop:
    """Evaluates what concerns changed symbols, and hands each transition to `emit`.

    `time_now` gives the time of a pass; it is asked right before each, so that it may look at the clock.
    """

    def __init__(
        self, engine: RuleEngine, emit: Callable[[Transition], None], time_now: Callable[[], Micros] = now
    ) -> None:
        self._engine = engine
        self._emit = emit
        self._now = time_now
        self._changed: set[str] = set()
        self._wake = Signal()
        self.evaluations = 0
        self.seconds = 0.0  # that the last evaluation took

    def changed(self, symbols: Iterable[str]) -> None:
        """Note committed symbols; their rules are evaluated soon."""
        self._changed.update(symbols)
        self._wake.set()

    def run(self) -> None:
        """Evaluate for ever."""
        swept = time.monotonic()
        while True:
            self._wake.wait(TICK)
            self._wake.clear()
            changed, self._changed = self._changed, set()
            if time.monotonic() - swept >= SWEEP:
                swept = time.monotonic()
                rules = self._engine.rules
            else:
                rules = self._due(changed)
            self._evaluate(rules)

    def _due(self, changed: set[str]) -> list[Rule]:
        due = {id(rule): rule for rule in self._engine.concerning(changed)}
        due.update({id(rule): rule for rule in self._engine.rules if rule.state != "inactive"})
        return list(due.values())

    def _evaluate(self, rules: list[Rule]) -> None:
        started = time.perf_counter()
        moment = self._now()  # one time for the whole pass
        for rule in slices(rules):
            for transition in self._engine.evaluate(moment, (rule,)):
                self._emit(transition)
        self.evaluations += len(rules)
        self.seconds = time.perf_counter() - started
