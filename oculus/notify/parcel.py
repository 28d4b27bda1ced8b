"""What a courier holds of a group of alerts: steps without their words, and the message on its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oculus.cooperate import slices
from oculus.model import ALERT_STATES, SEVERITIES, AlertState, Micros, Severity, Transition
from oculus.notify.grouping import Group, Plan
from oculus.notify.notice import Notice

# The texts of a step that was read from the store are its own: one for all takes less.
_STATES: Mapping[str, AlertState] = {state: state for state in ALERT_STATES}
_SEVERITIES: Mapping[str, Severity] = {severity: severity for severity in SEVERITIES}


@dataclass(slots=True)
class Held:
    """What is kept of a step: its words are in the store, as its event. Below 0 it is not stored yet."""

    event: int
    alert: str
    ts: Micros
    state: AlertState
    severity: Severity
    previous: AlertState = "inactive"
    suppressed: str = ""

    @classmethod
    def of(cls, event: int, step: Transition) -> Held:
        """Return what is kept of a step."""
        state, previous = _STATES[step.state], _STATES[step.previous]
        return cls(event, step.alert, step.ts, state, _SEVERITIES[step.severity], previous, step.suppressed)

    def to_json(self) -> list[Any]:
        """Return it as values of JSON, without what counts only when it is taken."""
        return [self.event, self.alert, self.ts, self.state, self.severity]

    @classmethod
    def of_json(cls, found: list[Any]) -> Held:
        """Return what `to_json` gave; raises TypeError for anything else."""
        return cls(*found)

    def bare(self) -> Transition:
        """Return the step as far as it is known, for one whose words are lost."""
        rule = self.alert.partition("/")[2].partition("/")[0] or self.alert
        return Transition(
            ts=self.ts, rule=rule, state=self.state, previous=self.previous, severity=self.severity,
            message=rule, started_at=self.ts, memory=(self.alert, None),
        )  # fmt: skip


# Returns steps with their words.
Words = Callable[[Sequence[Held]], Sequence[Transition]]

# Which group an alert belongs to: names of labels with their values.
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Parcel:
    """A group of alerts, the steps that wait for it by their events, and the message that is being sent: it
    tells what had happened until `cut`."""

    group: Group[Held]
    waiting: dict[int, Held] = field(default_factory=dict)
    notice: Notice | None = None
    cut: Micros | None = None
    tries: int = 0

    def __bool__(self) -> bool:
        return bool(self.group or self.notice or self.waiting)

    def to_json(self) -> str:
        """Return what is remembered of it, for `of_json`: all but the steps that wait."""
        notice = None if self.notice is None else _stored(self.notice)
        # Ten thousand members take a while: others run meanwhile.
        group = self.group.to_json(slices)
        return f'{{"notice":{json.dumps(notice)},"tries":{self.tries},"group":{group}}}'

    @classmethod
    def of_json(cls, text: str, plan: Plan) -> Parcel:
        """Return what `to_json` gave; raises ValueError, KeyError or TypeError for anything else."""
        found = json.loads(text)
        parcel = cls(Group.of_json(found["group"], plan, Held.of_json), tries=int(found["tries"]))
        if found["notice"] is not None:
            parcel.notice = _notice(found["notice"])
            parcel.cut = parcel.notice.sent_at
        return parcel

    def claims(self, held: Held) -> bool:
        """Tell whether the message that is being sent is to tell a step, or has left it out."""
        return self.cut is not None and held.ts <= self.cut


def _stored(notice: Notice) -> dict[str, object]:
    return {
        "id": notice.id,
        "reason": notice.reason,
        "firing": [step.to_json() for step in notice.firing],
        "resolved": [step.to_json() for step in notice.resolved],
        "at": notice.at,
        "sent_at": notice.sent_at,
        "group": dict(notice.group),
        "more": notice.more,
    }


def _notice(found: dict[str, object]) -> Notice:
    steps = {
        name: tuple(Transition.of_json(step) for step in found.pop(name))  # type: ignore[attr-defined]
        for name in ("firing", "resolved")
    }
    return Notice(**steps, **found)  # type: ignore[arg-type]
