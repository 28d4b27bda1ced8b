"""One alert instance: its states, what moves it from one to the next, and what is remembered of it.

An instance goes inactive → pending → firing → resolved (inactive again). The states are Prometheus's: a
condition that holds makes it pending; once it has held for `for`, in that same evaluation, it fires; when it
holds no longer, a pending instance ends and a firing one resolves. Pure: verdicts and time are arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oculus.clock import SECOND
from oculus.config.settings import RuleSettings
from oculus.model import NO_TAGS, AlertState, Micros, Severity

# Firings of this long count for `flap`.
FLAP_WINDOW = 3_600 * SECOND

Step = tuple[AlertState, AlertState]  # before, after


@dataclass(slots=True)
class Instance:
    """An alert of a rule; all times are those of evaluations.

    `active_at` is when its condition began to hold, `fired_at` the last firing, `fired_for` the seconds that
    were asked for then, `keep_since` when it ceased to hold while `keep_firing_for` keeps it firing,
    `told_at` when its firing was last told (None: nobody knows), `firings` those within FLAP_WINDOW.
    """

    labels: Mapping[str, str] = NO_TAGS
    state: AlertState = "inactive"
    active_at: Micros = Micros(0)
    fired_at: Micros | None = None
    fired_for: float = 0.0
    keep_since: Micros | None = None
    told_at: Micros | None = None
    firings: tuple[Micros, ...] = ()
    value: float | None = None
    suppressed: str = ""
    # Until when it waits for a first verdict after a restart, before silence counts.
    carried: Micros | None = None

    def shifted(self, step: int) -> Instance:
        """Return it with every time moved by a step of the wall clock, in microseconds."""

        def moved(ts: Micros | None) -> Micros | None:
            return None if ts is None else Micros(ts + step)

        return replace(
            self,
            active_at=Micros(self.active_at + step),
            fired_at=moved(self.fired_at),
            keep_since=moved(self.keep_since),
            told_at=moved(self.told_at),
            carried=moved(self.carried),
            firings=tuple(Micros(ts + step) for ts in self.firings),
        )

    def to_json(self, expression: str, severity: Severity, channels: Sequence[str]) -> str:
        """Return what is remembered of it. `expression` is its rule's, so that another one is known later;
        severity and channels are for its end, should the rule be gone by then."""
        return json.dumps(
            {
                "expression": expression,
                "severity": severity,
                "channels": list(channels),
                "labels": dict(self.labels),
                "state": self.state,
                "active_at": self.active_at,
                "fired_at": self.fired_at,
                "fired_for": self.fired_for,
                "keep_since": self.keep_since,
                "told_at": self.told_at,
                "firings": list(self.firings),
                "value": self.value,
                "suppressed": self.suppressed,
            }
        )


@dataclass(frozen=True, slots=True)
class Remembered:
    """An instance as it was stored, with what there was of its rule."""

    instance: Instance
    expression: str
    severity: Severity
    channels: tuple[str, ...]

    @classmethod
    def of_json(cls, text: str) -> Remembered:
        """Return what `Instance.to_json` wrote; raises ValueError for what is none."""
        try:
            found: dict[str, Any] = json.loads(text)
            expression = str(found.pop("expression"))
            severity = found.pop("severity", "warn")  # earlier versions did not write these two
            channels = tuple(map(str, found.pop("channels", ("log",))))
            firings = tuple(Micros(ts) for ts in found.pop("firings"))
            return cls(Instance(firings=firings, **found), expression, severity, channels)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an alert: {error}") from None


def advance(
    settings: RuleSettings, instance: Instance, holds: bool | None, now: Micros, cleared: bool = True
) -> list[Step]:
    """Move an instance on by one evaluation; return its steps.

    `holds` is None for what cannot be told. `cleared` tells whether the rule's `until` holds, where it has
    one: a firing instance resolves no sooner. What cannot be told ends a pending instance, which has no
    unbroken evidence any more, and leaves a firing one firing: silence is no recovery.
    """
    if holds:
        return _held(settings, instance, now)
    if instance.state == "pending":
        instance.state = "inactive"
        return [("pending", "inactive")]
    if instance.state == "firing" and holds is False and cleared and not _kept(settings, instance, now):
        instance.state, instance.keep_since = "inactive", None
        return [("firing", "resolved")]
    return []


def _held(settings: RuleSettings, instance: Instance, now: Micros) -> list[Step]:
    steps: list[Step] = []
    instance.keep_since = None
    if instance.state == "inactive":
        instance.state, instance.active_at = "pending", now
        steps.append(("inactive", "pending"))
    held = now - instance.active_at
    enough = held >= round(settings.for_ * SECOND)
    if instance.state == "pending" and enough and _cooled(settings, instance, now):
        instance.state, instance.fired_at, instance.fired_for = "firing", now, settings.for_
        recent = (ts for ts in instance.firings if now - ts < FLAP_WINDOW)
        # One more than counts is enough to tell.
        instance.firings = (*recent, now)[-settings.flap - 1 :] if settings.flap else ()
        # With no `for` it was never seen pending.
        return [("inactive", "firing")] if steps else [("pending", "firing")]
    if instance.state == "firing" and settings.for_ > instance.fired_for:  # by a reload
        instance.fired_for = settings.for_
        if not enough:
            instance.state = "pending"
            steps.append(("firing", "pending"))
    return steps


def _kept(settings: RuleSettings, instance: Instance, now: Micros) -> bool:
    """Tell whether `keep_firing_for` keeps a firing instance that holds no longer."""
    if not settings.keep_firing_for:
        return False
    if instance.keep_since is None:
        instance.keep_since = now
    return now - instance.keep_since < round(settings.keep_firing_for * SECOND)


def _cooled(settings: RuleSettings, instance: Instance, now: Micros) -> bool:
    return instance.fired_at is None or now - instance.fired_at >= round(settings.cooldown * SECOND)


def flaps(settings: RuleSettings, instance: Instance, now: Micros) -> int:
    """Return how often it has fired lately when that is more than `flap` allows, else 0."""
    recent = sum(now - ts < FLAP_WINDOW for ts in instance.firings)
    return recent if settings.flap and recent > settings.flap else 0


def worth_remembering(settings: RuleSettings, instance: Instance, now: Micros) -> bool:
    """Tell whether a restart must know of it: it is active, or what it did still counts."""
    if instance.state != "inactive":
        return True
    cooling = not _cooled(settings, instance, now)
    return cooling or any(now - ts < FLAP_WINDOW for ts in instance.firings)
