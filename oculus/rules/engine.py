"""The rule engine: alert instances and their states, a pure function of time and values.

An instance goes inactive → pending → firing → resolved (inactive again). The states are Prometheus's:
a condition that holds makes the instance pending; once it has held for `for`, in that same evaluation, it
fires; when it no longer holds, a pending instance ends and a firing one resolves. What cannot be told
(a missing or stale value) ends a pending instance, which has no unbroken evidence any more, and leaves
a firing one firing: silence is no recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from oculus.clock import SECOND, iso
from oculus.config.settings import RuleSettings
from oculus.model import NO_TAGS, AlertState, Micros, RuleState, Transition
from oculus.rules import expression, message

# A value older than this is stale, whatever its series' interval (Prometheus's look-back).
STALE_AFTER = 300 * SECOND
# … unless the interval is so long that this many of it are more.
STALE_INTERVALS = 3

Health = Literal["ok", "no data", "unknown"]
# Gives a symbol's last time, value, and the interval of its collector in seconds (0: not known).
Source = Callable[[str], tuple[Micros, float, float] | None]


@dataclass(slots=True)
class Instance:
    """One alert of a rule. `active_at` is when its condition began to hold, `fired_at` the last firing,
    `fired_for` the seconds that were asked for then."""

    labels: Mapping[str, str] = NO_TAGS
    state: AlertState = "inactive"
    active_at: Micros = Micros(0)
    fired_at: Micros | None = None
    fired_for: float = 0.0
    value: float | None = None


@dataclass(slots=True)
class Rule:
    """A configured rule with the state of its instances."""

    settings: RuleSettings
    condition: expression.Condition
    instances: dict[str, Instance] = field(default_factory=dict)
    health: Health = "unknown"
    missing: tuple[str, ...] = ()
    last_evaluation: Micros | None = None
    evaluations: int = 0

    @property
    def state(self) -> AlertState:
        """The worst state of its instances."""
        states = {instance.state for instance in self.instances.values()}
        return "firing" if "firing" in states else "pending" if "pending" in states else "inactive"


class RuleEngine:
    """Evaluates rules and returns the transitions; keeps nothing but the instances' states.

    `source` gives the last sample of a symbol. Time comes in with each call.
    """

    def __init__(self, rules: Iterable[RuleSettings], source: Source) -> None:
        self._source = source
        self._rules: dict[str, Rule] = {}
        self._by_symbol: dict[str, list[Rule]] = {}
        self.load(rules)

    @property
    def rules(self) -> list[Rule]:
        """All rules, in the order of the configuration."""
        return list(self._rules.values())

    def get(self, name: str) -> Rule | None:
        """Return a rule by its name."""
        return self._rules.get(name)

    def load(self, rules: Iterable[RuleSettings]) -> None:
        """Replace the rules; one whose condition stayed keeps its instances."""
        before = self._rules
        self._rules = {}
        self._by_symbol = {}
        for settings in rules:
            rule = Rule(settings, expression.parse(settings.condition))
            known = before.get(settings.name)
            if known is not None and known.condition.text == rule.condition.text:
                rule.instances = known.instances
                rule.health, rule.missing = known.health, known.missing
                rule.last_evaluation, rule.evaluations = known.last_evaluation, known.evaluations
            self._rules[settings.name] = rule
            for symbol in rule.condition.symbols:
                self._by_symbol.setdefault(symbol, []).append(rule)

    def replace(self, rules: Iterable[RuleSettings], now: Micros) -> list[Transition]:
        """Load other rules; return the end of each alert that fires by a rule that is not there any more."""
        before = self._rules
        self.load(rules)
        ended = []
        for name, rule in before.items():
            kept = self._rules.get(name)
            if kept is not None and kept.instances is rule.instances:
                continue
            for instance in rule.instances.values():
                if instance.state == "firing":
                    end = self._transition(rule, instance, "firing", "resolved", now, self._lookup(now))
                    ended.append(replace(end, message="the rule was removed, or its condition changed"))
        return ended

    def concerning(self, symbols: Iterable[str]) -> list[Rule]:
        """Return the rules that name any of these symbols."""
        found: dict[str, Rule] = {}
        for symbol in symbols:
            for rule in self._by_symbol.get(symbol, ()):
                found[rule.settings.name] = rule
        return list(found.values())

    def evaluate(self, now: Micros, rules: Iterable[Rule] | None = None) -> list[Transition]:
        """Evaluate these rules, or all, at `now`; return what changed, in order."""
        transitions: list[Transition] = []
        for rule in self.rules if rules is None else rules:
            transitions += self._evaluate(rule, now)
        return transitions

    def states(self, now: Micros) -> list[RuleState]:
        """Return every rule as it stands at `now`."""
        return [self._state(rule, now) for rule in self._rules.values()]

    def shift(self, seconds: float) -> None:
        """Move the instances' times by a step of the wall clock, so that it neither fires nor delays any."""
        step = int(seconds * SECOND)
        for rule in self._rules.values():
            for instance in rule.instances.values():
                instance.active_at = Micros(instance.active_at + step)
                if instance.fired_at is not None:
                    instance.fired_at = Micros(instance.fired_at + step)

    def _state(self, rule: Rule, now: Micros) -> RuleState:
        settings = rule.settings
        active = [instance for instance in rule.instances.values() if instance.state != "inactive"]
        oldest = min(active, key=lambda instance: instance.active_at, default=None)
        return RuleState(
            name=settings.name,
            condition=settings.condition,
            severity=settings.severity,
            message=settings.message,
            for_seconds=settings.for_,
            cooldown_seconds=settings.cooldown,
            channels=settings.channels,
            state=rule.state,
            health=rule.health,
            missing=rule.missing,
            explain=lambda: rule.condition.explain(self._lookup(now)),
            value=oldest.value if oldest else None,
            active_at=oldest.active_at if oldest else None,
            last_evaluation=rule.last_evaluation,
            evaluations=rule.evaluations,
        )

    def _evaluate(self, rule: Rule, now: Micros) -> list[Transition]:
        lookup = self._lookup(now)
        holds = rule.condition.evaluate(lookup)
        rule.last_evaluation = now
        rule.evaluations += 1
        rule.missing = () if holds is not None else tuple(
            symbol for symbol in rule.condition.symbols if lookup(symbol) is None
        )  # fmt: skip
        rule.health = "ok" if holds is not None else "no data"
        instance = rule.instances.get("")
        if instance is None:
            if not holds:
                return []
            instance = rule.instances[""] = Instance()
        symbol = rule.condition.symbols[0] if rule.condition.symbols else None
        if symbol is not None and (value := lookup(symbol)) is not None:
            instance.value = value
        steps = advance(rule.settings, instance, holds, now)
        return [self._transition(rule, instance, before, after, now, lookup) for before, after in steps]

    def _lookup(self, now: Micros) -> expression.Lookup:
        return lambda symbol: self._fresh(symbol, now)

    def _fresh(self, symbol: str, now: Micros) -> float | None:
        found = self._source(symbol)
        if found is None:
            return None
        ts, value, interval = found
        limit = max(STALE_AFTER, STALE_INTERVALS * int(interval * SECOND))
        # A value from the future is none either: the clock was set back since.
        return value if abs(now - ts) <= limit else None

    def _transition(
        self,
        rule: Rule,
        instance: Instance,
        before: AlertState,
        after: AlertState,
        now: Micros,
        lookup: expression.Lookup,
    ) -> Transition:
        settings = rule.settings
        symbol = rule.condition.symbols[0] if rule.condition.symbols else None
        explanation = rule.condition.explain(lookup)
        values = {
            "rule": settings.name,
            "state": after,
            "severity": settings.severity,
            "symbol": symbol,
            "value": instance.value,
            "started_at": iso(instance.active_at),
            "condition": settings.condition,
            "explanation": explanation,
        }
        text = message.render(settings.message, values) if settings.message else explanation
        return Transition(
            ts=now,
            rule=settings.name,
            state=after,
            previous=before,
            severity=settings.severity,
            message=text,
            started_at=instance.active_at,
            symbol=symbol,
            value=instance.value,
            labels=instance.labels,
            channels=settings.channels,
            explanation=explanation,
        )


def advance(
    settings: RuleSettings, instance: Instance, holds: bool | None, now: Micros
) -> list[tuple[AlertState, AlertState]]:
    """Move an instance on by one evaluation; return its steps as (before, after)."""
    steps: list[tuple[AlertState, AlertState]] = []
    if holds:
        if instance.state == "inactive":
            instance.state, instance.active_at = "pending", now
            steps.append(("inactive", "pending"))
        held = now - instance.active_at
        if (
            instance.state == "pending"
            and held >= settings.for_ * SECOND
            and _cooled(settings, instance, now)
        ):
            instance.state, instance.fired_at, instance.fired_for = "firing", now, settings.for_
            # With no `for` it was never seen pending.
            steps = [("inactive", "firing")] if steps else [("pending", "firing")]
        elif instance.state == "firing" and settings.for_ > instance.fired_for:  # by a reload
            if held < settings.for_ * SECOND:
                instance.state = "pending"
                steps.append(("firing", "pending"))
            instance.fired_for = settings.for_
    elif instance.state == "pending":
        instance.state = "inactive"
        steps.append(("pending", "inactive"))
    elif instance.state == "firing" and holds is False:
        instance.state = "inactive"
        steps.append(("firing", "resolved"))
    return steps


def _cooled(settings: RuleSettings, instance: Instance, now: Micros) -> bool:
    return instance.fired_at is None or now - instance.fired_at >= settings.cooldown * SECOND
