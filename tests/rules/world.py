"""A rule engine whose values and clock a test moves by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oculus.clock import SECOND
from oculus.config.settings import RuleSettings
from oculus.model import AlertState, Micros, Severity, Tags, Transition
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.rule import Rule
from oculus.rules.view import Point
from oculus.windowed import Window

START = 1_767_323_045_000_000  # microseconds: second 0 of each story


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(START + int(second * SECOND))


def rule(condition: str = "load > 10", **settings: Any) -> RuleSettings:
    """Return a rule's settings; `for_` and `cooldown` in seconds. It may fire as often as it likes."""
    given: dict[str, Any] = {"name": "r", "flap": 0} | settings
    return RuleSettings(**given if "sql" in given else {"condition": condition} | given)


class World:
    """A rule engine, the last values that it sees, figures over time, tags, and silenced rules."""

    def __init__(self, *rules: RuleSettings, started: float = 0.0) -> None:
        self.values: dict[str, tuple[Point, float]] = {}
        self.figures: dict[Window, float | None] = {}
        self.tags: dict[str, Tags] = {}
        self.silenced: dict[str, str] = {}
        self.engine = RuleEngine(
            rules,
            tags=lambda symbol: self.tags.get(symbol, Tags()),
            silenced=self._silence,
            started=at(started),
        )

    def _silence(
        self, name: str, severity: Severity, labels: Mapping[str, str], now: Micros, since: Micros | None
    ) -> str:
        return self.silenced.get(name, "")

    def set(self, second: float, symbol: str, value: float, interval: float = 0.0) -> None:
        """Store a sample that was taken at that second."""
        before = self.values.get(symbol)
        self.values[symbol] = Point(at(second), value, before[0].value if before else None), interval
        self.engine.know((symbol,))

    def view(self, second: float) -> Live:
        """Return what is known at that second."""
        return Live(at(second), self.values.get, self.figures)

    def evaluate(self, second: float) -> list[Transition]:
        """Evaluate all conditions at that second."""
        return self.engine.evaluate(self.view(second))

    def steps(self, second: float, **values: float) -> list[str]:
        """Take samples, evaluate, and return the steps as `before→after`."""
        for symbol, value in values.items():
            self.set(second, symbol, value)
        return [f"{step.previous}→{step.state}" for step in self.evaluate(second)]

    def rows(self, second: float, *rows: Mapping[str, Any]) -> list[Transition]:
        """Take the result of the query of the rule named r."""
        return self.engine.evaluate_rows(self.rule, rows, at(second))

    @property
    def rule(self) -> Rule:
        """The rule named r."""
        found = self.engine.get("r")
        assert found is not None
        return found

    @property
    def state(self) -> AlertState:
        """The state of the rule named r."""
        return self.rule.state
