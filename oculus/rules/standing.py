"""How a rule stands, for pages and the API."""

from __future__ import annotations

from oculus.model import AlertInstance, RuleState
from oculus.rules.rule import Rule
from oculus.rules.view import View


def standing(rule: Rule, view: View) -> RuleState:
    """Return a rule as it stands at `view.now`."""
    settings = rule.settings
    active = sorted(
        (instance for instance in rule.instances.values() if instance.state != "inactive"),
        key=lambda instance: instance.active_at,
    )

    def explain() -> str:
        key = next((key for key, found in rule.instances.items() if found.state != "inactive"), None)
        watched = rule.watched.get(key or "") or next(iter(rule.watched.values()), None)
        return watched.bound.explain(view) if watched else rule.error or rule.shown or "no rows"

    return RuleState(
        name=settings.name,
        condition=settings.condition,
        sql=settings.sql,
        severity=settings.severity,
        message=settings.message,
        for_seconds=settings.for_,
        cooldown_seconds=settings.cooldown,
        channels=settings.channels,
        state=rule.state,
        health=rule.health,
        error=rule.error,
        missing=rule.missing,
        explain=explain,
        value=active[0].value if active else None,
        active_at=active[0].active_at if active else None,
        instances=tuple(
            AlertInstance(found.labels, found.state, found.value, found.active_at, found.suppressed)
            for found in active
        ),
        last_evaluation=rule.last_evaluation,
        evaluations=rule.evaluations,
        missed=rule.missed,
    )
