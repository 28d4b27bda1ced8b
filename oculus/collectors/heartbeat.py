"""The collector of heartbeats and its settings: `heartbeat.<name>.up` (0/1) and `.duration` (s) of jobs that
ping, and of those that do not.

Pings come in through the web and are kept in `heartbeats.py`; the rules of what follows are in
`heartbeat_state.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from oculus.clock import SECOND
from oculus.collectors.base import Collector, Context
from oculus.collectors.heartbeat_state import Rhythm
from oculus.collectors.heartbeats import KIND, Heartbeats
from oculus.config.decode import Seconds, between, setting
from oculus.config.settings import LONGEST, SHORTEST, CollectorSettings, CollectorSpec
from oculus.model import Sample
from oculus.zones import check_zone, zone_or_local

_CRON = "0 3 * * *"
_KEY = re.compile(r"[A-Za-z0-9_-]{16,100}")


def _check_cron(cron: str) -> None:
    from cronsim import CronSim, CronSimError

    try:
        next(CronSim(cron, datetime.now(UTC)))
    except CronSimError as error:
        raise ValueError(
            f"{cron!r} is no cron expression: {str(error).lower()} (such as {_CRON!r})"
        ) from None
    except StopIteration:
        raise ValueError(f"{cron!r} is a time that never comes (such as {_CRON!r})") from None


def _check_key(key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(
            "is no key: 16 to 100 letters, digits, _ and - (make one with: openssl rand -hex 16)"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings(CollectorSettings):
    """Settings of `type: heartbeat`."""

    period: Seconds = setting(
        Seconds(0.0), help="longest time from ping to ping", check=between(SHORTEST, LONGEST, "s")
    )
    cron: str = setting("", help="when pings are expected, instead of period", check=_check_cron)
    timezone: str = setting("", help="time zone of cron", check=check_zone)
    grace: Seconds = setting(
        help="how much later a ping may come, and how long a run may take: 1h",
        check=between(SHORTEST, LONGEST, "s"),
    )
    key: str = setting("", help="unguessable name, which needs no token", check=_check_key, secret=True)

    def __post_init__(self) -> None:
        if bool(self.period) is bool(self.cron):
            raise ValueError("needs either period or cron (period: 1d, or cron: '0 3 * * *')")

    def rhythm(self) -> Rhythm:
        """Return when pings are expected."""
        grace, period = int(self.grace * SECOND), int(self.period * SECOND)
        return Rhythm(grace, period, self.cron, zone_or_local(self.timezone))


class Heartbeat(Collector):
    """Repeats once per interval what is known; the pings themselves come in through the web."""

    type = KIND
    Settings = HeartbeatSettings

    def __init__(self, spec: CollectorSpec, context: Context) -> None:
        super().__init__(spec, context)
        self._beats = context.shared(Heartbeats, lambda: Heartbeats(context))
        self._beat = self._beats.join(spec)

    @property
    def state(self) -> str:  # type: ignore[override]
        """The last ping, and what is awaited."""
        return self._beat.note()

    def collect(self) -> Iterator[Sample]:
        """Yield `.up`, once there is something to say. In doubt, after a start, nothing is said."""
        beat = self._beat
        present = self._beats.judge(beat)
        up, first = beat.state.up, beat.due
        if up is None or (up and first is not None and first.at <= present):
            return
        yield beat.sample(present)
