"""Whether all is well with the daemon: what `/readyz` answers, and what the dead man's switch goes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from oculus.collectors.scheduler import Scheduler
from oculus.holdup import LIMIT as HELD
from oculus.rules.loop import RuleLoop
from oculus.storage.writer import Writer
from oculus.supervise import Supervisor, Watchdog

# A commit takes milliseconds, and seconds beside the longest steps of upkeep or on a slow card.
COMMIT = 60.0  # seconds
# Rules are looked at each second; a pass over very many of them may take some.
PASS = 60.0  # seconds

# Greenlets without which nothing is measured, stored or alerted upon. They are started again when they die.
_NEEDED = ("rules", "rules over time", "rules in sql", "derived", "watchdog", "upkeep")


@dataclass(slots=True, kw_only=True)
class Health:
    """Looks at the parts when it is asked. `uplink_lost` tells whether canaries found that the network is."""

    supervisor: Supervisor
    scheduler: Scheduler
    writer: Writer
    rule_loop: RuleLoop
    watchdog: Watchdog
    uplink_lost: Callable[[], str]

    def not_ready(self) -> str:
        """Return why samples are not stored, or an empty text."""
        if "writer" not in self._running():
            return "the writer is not running"
        return self.writer.error and f"the database takes no samples: {self.writer.error}"

    def unwell(self) -> dict[str, str]:
        """Return what is not well, each by the part that it is about; empty while all is well."""
        present, running = time.monotonic(), self._running()
        busy, looked = self.writer.busy_since, self.rule_loop.looked_at
        missing = [name for name in _NEEDED if name not in running]
        missing += [job.id for job in self.scheduler.jobs if f"collector {job.id}" not in running]
        found = {
            "database": self.not_ready()
            or (f"a commit takes more than {COMMIT:g} s" if busy and present - busy > COMMIT else ""),
            "rules": f"no rule was evaluated for {PASS:g} s" if present - looked > PASS else "",
            "greenlets": f"not running: {', '.join(missing)}" if missing else "",
            "hub": f"the hub was held for {HELD:g} s" if self.watchdog.quantile(1.0) >= HELD else "",
            "uplink": self.uplink_lost(),
        }
        return {part: told for part, told in found.items() if told}

    def _running(self) -> set[str]:
        return {worker.name for worker in self.supervisor.workers if worker.alive}
