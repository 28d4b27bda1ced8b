"""One rule at run time: its parsed expressions, what they watch, and how its alerts stand."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from oculus.config.settings import RuleSettings
from oculus.errors import ExpressionError
from oculus.model import AlertState, Micros
from oculus.rules import expression
from oculus.rules.alert import Instance
from oculus.rules.schedule import window_period
from oculus.windowed import Window
from oculus.zones import zone_or_local

Health = Literal["ok", "no data", "error", "unknown"]


@dataclass(frozen=True, slots=True)
class Watched:
    """What is evaluated for one instance: the condition and the rule's `until`, and all that they read."""

    bound: expression.Bound
    until: expression.Bound | None
    symbols: tuple[str, ...]
    windows: tuple[Window, ...]


@dataclass(slots=True, eq=False)
class Rule:
    """A configured rule, what it watches, and the state of its instances, both by the instances' keys.

    A condition without wildcards has one instance, with an empty key; one with wildcards has one for what
    these stand for, and a query one for each row.
    """

    settings: RuleSettings
    condition: expression.Condition | None
    until: expression.Condition | None
    watched: dict[str, Watched] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    health: Health = "unknown"
    error: str = ""
    shown: str = ""  # what its query brought
    # The instances of which it cannot be told whether they hold, with the series that lack a fresh value.
    unknown: dict[str, tuple[str, ...]] = field(default_factory=dict)
    last_evaluation: Micros | None = None
    evaluations: int = 0
    missed: int = 0
    rank: int = 0  # those that it depends on have lower ones
    # The labels of these names that firing alerts have, as long as none begins or ceases to fire.
    _firing: dict[tuple[str, ...], set[tuple[str | None, ...]]] = field(init=False, default_factory=dict)

    @classmethod
    def of(cls, settings: RuleSettings) -> Rule:
        """Return a rule that knows no series yet; raises ExpressionError unless its expressions fit
        together."""
        if not settings.condition:
            return cls(settings, None, None)
        zone = zone_or_local(settings.timezone)
        condition = expression.parse(settings.condition, zone=zone)
        until = expression.parse(settings.until, zone=zone) if settings.until else None
        if until is not None and until.wildcards not in (0, condition.wildcards):
            told = f"has {until.wildcards} wildcards, and the condition {condition.wildcards}"
            raise ExpressionError(f"until {told} (as many, which then stand for the same texts)", 0)
        rule = cls(settings, condition, until)
        if not condition.is_glob:
            rule._bind(())
        return rule

    # -- what it watches ----------------------------------------------------------------------------------

    def match(self, symbol: str) -> list[str]:
        """Watch what a series is about; return the keys that are new."""
        if self.condition is None or not self.condition.is_glob:
            return []
        found = []
        for captured in self.condition.captures(symbol):
            key = ",".join(captured)
            if key not in self.watched:
                self._bind(captured)
                found.append(key)
        return found

    def watch(self, key: str) -> bool:
        """Watch what an instance is about that is known by its key alone; return whether that is new."""
        if key in self.watched or self.condition is None:
            return False
        captured = tuple(key.split(","))
        if len(captured) != self.condition.wildcards:
            return False
        self._bind(captured)
        return True

    def _bind(self, captured: tuple[str, ...]) -> None:
        assert self.condition is not None
        both = [self.condition.bind(captured)]
        if self.until is not None:
            both.append(self.until.bind(captured if self.until.is_glob else ()))
        symbols = dict.fromkeys(symbol for bound in both for symbol in bound.symbols)
        windows = dict.fromkeys(window for bound in both for window in bound.windows)
        self.watched[",".join(captured)] = Watched(
            both[0], both[1] if self.until else None, tuple(symbols), tuple(windows)
        )

    def forget(self, known: Collection[str]) -> list[str]:
        """Watch no target any more of which no series is known and that has no alert; return the keys."""
        if self.condition is None or not self.condition.is_glob:
            return []
        gone = [
            key
            for key, watched in self.watched.items()
            if key not in self.instances and not any(symbol in known for symbol in watched.symbols)
        ]
        for key in gone:
            del self.watched[key]
            self.unknown.pop(key, None)
        return gone

    # -- how it stands ------------------------------------------------------------------------------------

    def adopt(self, before: Rule) -> None:
        """Go on where a rule with the same expression was."""
        self.instances = before.instances
        self.health, self.error, self.unknown = before.health, before.error, before.unknown
        self.last_evaluation, self.evaluations = before.last_evaluation, before.evaluations
        self.missed, self.shown = before.missed, before.shown

    @property
    def expression(self) -> str:
        """What it evaluates: another text is another rule, whose alerts begin anew."""
        settings = self.settings
        return settings.condition or json.dumps([settings.sql, dict(settings.params)], sort_keys=True)

    @property
    def state(self) -> AlertState:
        """The worst state of its instances."""
        states = {instance.state for instance in self.instances.values()}
        return "firing" if "firing" in states else "pending" if "pending" in states else "inactive"

    def fires_like(self, labels: Mapping[str, str], names: tuple[str, ...]) -> bool:
        """Tell whether an alert fires whose labels of these names are the same; a missing one is empty."""
        known = self._firing.get(names)
        if known is None:
            firing = (found.labels for found in self.instances.values() if found.state == "firing")
            known = self._firing[names] = {_values(found, names) for found in firing}
        return _values(labels, names) in known

    def turned(self) -> None:
        """Note that an alert has begun or ceased to fire."""
        self._firing.clear()

    @property
    def missing(self) -> tuple[str, ...]:
        """The series that lack a fresh value, each once."""
        return tuple(dict.fromkeys(symbol for symbols in self.unknown.values() for symbol in symbols))

    @property
    def windows(self) -> Iterator[Window]:
        """All figures over time that it reads."""
        for watched in self.watched.values():
            yield from watched.windows

    @property
    def windowed(self) -> bool:
        """Whether it reads figures over time, as far as is known; all of its instances do, or none."""
        first = next(iter(self.watched.values()), None)
        return first is not None and bool(first.windows)

    @property
    def period(self) -> float:
        """How often its figures over time are looked at, in seconds; those of each instance are as long."""
        first = next(iter(self.watched.values()), None)
        seconds = (window.seconds for window in (first.windows if first else ()))
        return self.settings.every or window_period(min(seconds, default=0.0))


def check(settings: RuleSettings) -> None:
    """Raise ExpressionError unless the expressions of a rule fit together."""
    Rule.of(settings)


def windows_of(rules: Collection[Rule]) -> set[Window]:
    """Return all figures over time that some rules read."""
    return {window for rule in rules for window in rule.windows}


def _values(labels: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in names)
