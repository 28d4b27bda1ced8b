"""Which rules read a series, and how: what the page of the series shows of them."""

from __future__ import annotations

from dataclasses import dataclass

from oculus.model import AlertState, Severity
from oculus.rules.engine import STORED, RuleEngine
from oculus.rules.expression.levels import Level


@dataclass(frozen=True, slots=True)
class Use:
    """An alert that reads a series: its rule, the condition with wildcards filled in, and how it stands.

    `alert` is the key under which the engine remembers it; `levels` are the constants with which it compares
    the series, `until` those of the rule's `until`.
    """

    rule: str
    severity: Severity
    condition: str
    state: AlertState
    alert: str
    levels: tuple[Level, ...]
    until: tuple[Level, ...]


def uses(engine: RuleEngine, symbol: str) -> list[Use]:
    """Return the alerts that read a series, in the order of the configuration."""
    found = []
    keys = engine.instances_of(symbol)
    for rule in engine.rules:
        settings = rule.settings
        for key in keys.get(settings.name, ()):
            watched, instance = rule.watched[key], rule.instances.get(key)
            found.append(
                Use(
                    rule=settings.name,
                    severity=settings.severity,
                    condition=watched.bound.text,
                    state="inactive" if instance is None else instance.state,
                    alert=f"{STORED}{settings.name}/{key}",
                    levels=tuple(watched.bound.levels(symbol)),
                    until=() if watched.until is None else tuple(watched.until.levels(symbol)),
                )
            )
    return found
