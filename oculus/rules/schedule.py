"""When a rule is evaluated, where it is not each commit that tells."""

from __future__ import annotations

from dataclasses import dataclass

from oculus.clock import SECOND
from oculus.config.settings import RuleSettings
from oculus.cron import next_time
from oculus.model import Micros
from oculus.zones import zone_or_local

SQL_EVERY = 60.0  # seconds between runs of a query that names no time

# A figure over an hour changes little in a minute: it is looked at that often, within these limits.
_PARTS = 60
_SHORTEST, _LONGEST = 1.0, 30.0  # seconds


def window_period(shortest: float) -> float:
    """Return how often figures are looked at of which the shortest spans so many seconds."""
    return min(max(shortest / _PARTS, _SHORTEST), _LONGEST)


@dataclass(slots=True)
class Turn:
    """When a rule is next due; `at` is a time of the wall clock."""

    at: Micros
    every: float  # seconds; 0 for cron

    @classmethod
    def of(cls, settings: RuleSettings, now: Micros) -> Turn:
        """Return the first turn of a query: at once, or when its cron says."""
        if settings.schedule:
            return cls(_cron(settings, now), 0.0)
        return cls(now, settings.every or SQL_EVERY)

    @staticmethod
    def plan(settings: RuleSettings) -> tuple[object, ...]:
        """Return what the turns follow from: another plan begins anew."""
        return settings.every, settings.schedule, settings.timezone

    def shift(self, settings: RuleSettings, step: int, now: Micros) -> None:
        """Go with a step of the wall clock, in microseconds: it neither delays a run nor misses one."""
        self.at = Micros(self.at + step) if self.every else _cron(settings, now)

    def passed(self, settings: RuleSettings, now: Micros) -> int:
        """Go on to the next turn after `now`; return how many were missed since the one that is due."""
        missed = -1
        if self.every:
            step = int(self.every * SECOND)
            count = max(1, (now - self.at) // step + 1)
            self.at = Micros(self.at + count * step)
            return count - 1
        while self.at <= now and missed < 1_000:
            self.at, missed = _cron(settings, self.at), missed + 1
        return max(0, missed)


def _cron(settings: RuleSettings, after: Micros) -> Micros:
    found = next_time(settings.schedule, zone_or_local(settings.timezone), after)
    return Micros(2**62) if found is None else found
