"""`type: self`: the daemon's own figures as series, `oculus.*`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from oculus.collectors.base import Collector
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings
from oculus.model import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfSettings(CollectorSettings):
    """Settings of `type: self`."""

    interval: Seconds = setting(
        Seconds(10.0), help="time from start to start", check=between(SHORTEST, LONGEST, "s")
    )

    def default_name(self) -> str:
        """There is one daemon, so the name is not asked for."""
        return "oculus"


class SelfStats(Collector):
    """Yields each figure of the daemon as `oculus.<figure>`."""

    type = "self"
    Settings = SelfSettings

    def describe(self) -> Mapping[str, str]:
        """The source is the daemon itself."""
        return {"source": "oculus"}

    def collect(self) -> Iterator[Sample]:
        """Yield what the daemon counts at this moment."""
        for name, value in self.context.stats().items():
            yield Sample(f"oculus.{name}", value)
