"""What is told of a step: what was seen, the timers, what kept it from being told, and the message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oculus.clock import SECOND, iso
from oculus.config.settings import RuleSettings
from oculus.model import AlertState, Micros, Operand, Transition
from oculus.rules import expression, message, rows
from oculus.rules.alert import Instance, Step
from oculus.rules.rows import Row
from oculus.rules.view import View


@dataclass(frozen=True, slots=True)
class Seen:
    """What an evaluation saw: a condition over a view, or a row."""

    now: Micros
    view: View | None = None
    bound: expression.Bound | None = None
    row: Row = field(default_factory=dict)

    def explanation(self) -> str:
        """Return it in words."""
        if self.bound is not None and self.view is not None:
            return self.bound.explain(self.view)
        return rows.shown(self.row)

    def operands(self) -> tuple[Operand, ...]:
        """Return each value with its age."""
        if self.bound is not None and self.view is not None:
            return tuple(self.bound.operands(self.view))
        return tuple(Operand(name, value) for name, value in rows.numbers(self.row).items())


def transition(
    settings: RuleSettings,
    instance: Instance,
    step: Step,
    seen: Seen,
    *,
    suppressed: str,
    channels: tuple[str, ...],
    memory: tuple[str, str | None],
) -> Transition:
    """Return a step of an instance, which it has made, with all that is told of it."""
    before, after = step
    explanation = seen.explanation()
    text = message.render(settings.message, _words(settings, instance, after, seen, explanation))
    return Transition(
        ts=seen.now,
        rule=settings.name,
        state=after,
        previous=before,
        severity=settings.severity,
        message=text or explanation or settings.name,
        started_at=instance.active_at,
        symbol=instance.labels.get("symbol"),
        value=instance.value,
        labels=instance.labels,
        channels=channels,
        explanation=explanation,
        operands=seen.operands(),
        suppressed=suppressed,
        timers={
            "held": (seen.now - instance.active_at) / SECOND,
            "for": settings.for_,
            "cooldown": settings.cooldown,
        },
        memory=memory,
    )


def _words(
    settings: RuleSettings, instance: Instance, state: AlertState, seen: Seen, explanation: str
) -> Mapping[str, object]:
    """Return what a message may name."""
    return {
        "rule": settings.name,
        "state": state,
        "severity": settings.severity,
        "symbol": instance.labels.get("symbol"),
        "value": instance.value,
        "started_at": iso(instance.active_at),
        "condition": settings.condition,
        "explanation": explanation,
        "labels": instance.labels,
        **instance.labels,
        **seen.row,
    }
