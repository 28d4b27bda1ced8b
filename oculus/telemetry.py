"""The daemon's own figures, for `/metrics` and for the collector `type: self`."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from oculus import __version__
from oculus.clock import SECOND
from oculus.collectors.base import Context, Count
from oculus.collectors.scheduler import Scheduler
from oculus.notify.courier import Courier
from oculus.notify.outbox import Outbox
from oculus.pipe import Pipe
from oculus.rules.engine import RuleEngine
from oculus.rules.loop import RuleLoop
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.upkeep import Upkeep
from oculus.storage.writer import Writer
from oculus.supervise import LATENESS_BOUNDS, Supervisor, Watchdog
from oculus.web.exposition import Metric, counter, gauge, histogram

if TYPE_CHECKING:
    from oculus.notify.deadman import DeadMan

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Return the resident memory of this process in bytes (0 where /proc is not there)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def processor_seconds() -> float:
    """Return the processor time of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Rates:
    """Turns counters into rates between two looks."""

    def __init__(self) -> None:
        self._then = time.monotonic()
        self._before: dict[str, float] = {}

    def per_second(self, **counters: float) -> dict[str, float]:
        """Return each counter's growth per second since the last call (since the start at the first)."""
        elapsed = max(1e-3, time.monotonic() - self._then)
        rates = {name: (value - self._before.get(name, 0.0)) / elapsed for name, value in counters.items()}
        self._then += elapsed
        self._before = dict(counters)
        return rates


@dataclass(slots=True, kw_only=True)
class Telemetry:
    """Reads the counters of every part when it is asked; keeps none of its own."""

    started: float  # monotonic
    pipe: Pipe
    latest: Latest
    watchdog: Watchdog
    supervisor: Supervisor
    scheduler: Scheduler
    engine: RuleEngine
    rule_loop: RuleLoop
    outbox: Outbox
    database: Database
    writer: Writer
    upkeep: Upkeep
    context: Context
    dead_man: Callable[[], DeadMan | None] = lambda: None
    rates: Rates = field(default_factory=Rates)

    def figures(self) -> dict[str, float]:
        """Return what `type: self` stores, by the name behind `oculus.`."""
        growth = self.rates.per_second(rows=self.writer.rows, cpu=processor_seconds())
        jobs = self.scheduler.jobs
        return {
            "samples.per_second": round(growth["rows"], 2),
            "cpu.percent": round(100.0 * growth["cpu"], 2),
            "memory.rss_mb": round(resident() / 1e6, 1),
            "hub.lateness_ms": round(self.watchdog.quantile(0.99) * 1000.0, 3),
            "queue.rows": float(len(self.pipe)),
            "database.mb": round(self.database.size() / 1e6, 3),
            "series": float(len(self.latest)),
            "collectors.failing": float(sum(job.failing for job in jobs)),
        }

    def metrics(self) -> list[Metric]:
        """Return what `/metrics` exposes."""
        pipe, writer, jobs = self.pipe, self.writer, self.scheduler.jobs
        upkeep, usage = self.upkeep, self.upkeep.usage
        states = [rule.state for rule in self.engine.rules]
        sent, failed, waiting = self.outbox.counts
        dropped = pipe.drops | {"refused_by_database": writer.lost}
        return [
            gauge("oculus_build_info", "Version of the program.", 1, version=__version__),
            counter("oculus_samples_written_total", "Samples committed to the database.", writer.rows),
            counter("oculus_commits_total", "Transactions committed.", writer.commits),
            counter("oculus_commit_seconds_total", "Time spent in commits.", writer.seconds),
            Metric(
                "oculus_samples_dropped_total",
                "counter",
                "Samples lost, by reason.",
                [("", {"reason": reason}, count) for reason, count in dropped.items()],
            ),
            counter("oculus_samples_refused_total", "Pushed samples answered with 503.", pipe.refused),
            counter("oculus_events_dropped_total", "Events lost.", pipe.dropped_events),
            gauge("oculus_queue_samples", "Samples that wait to be written.", len(pipe) + writer.waiting),
            gauge("oculus_queue_capacity", "Samples that may wait.", pipe.max_rows),
            gauge("oculus_queue_bytes", "Memory that queued samples take, by estimate.", pipe.bytes),
            gauge("oculus_queue_bytes_capacity", "Memory that they may take.", pipe.max_bytes),
            gauge("oculus_queue_high_water", "Most samples that ever waited.", pipe.high_water),
            gauge("oculus_series", "Series with a last value.", len(self.latest)),
            gauge("oculus_collectors", "Collectors that are run.", len(jobs)),
            gauge("oculus_collectors_failing", "Collectors that fail.", sum(job.failing for job in jobs)),
            *_families(self.context.counts()),
            counter("oculus_runs_total", "Runs of collectors.", sum(job.runs for job in jobs)),
            counter("oculus_run_failures_total", "Runs that failed.", sum(job.failures for job in jobs)),
            counter("oculus_ticks_skipped_total", "Ticks left out, the run before still going.",
                    sum(job.skipped for job in jobs)),
            Metric(
                "oculus_rules",
                "gauge",
                "Rules by state.",
                [("", {"state": state}, states.count(state)) for state in ("inactive", "pending", "firing")],
            ),
            counter("oculus_rule_evaluations_total", "Evaluations of rules.", self.rule_loop.evaluations),
            gauge("oculus_rule_pass_seconds", "Length of the last pass over rules.", self.rule_loop.seconds),
            counter("oculus_notifications_total", "Messages sent, and actions that worked.", sent),
            counter("oculus_notifications_failed_total", "Tries of either that failed.", failed),
            gauge("oculus_notifications_waiting", "Steps of alerts that wait for either.", waiting),
            *_channels(self.outbox),
            *_calls(self.dead_man()),
            gauge("oculus_database_damaged", "Whether a damaged part was met.", bool(self.database.damage)),
            gauge("oculus_database_bytes", "Size of the database on disk.", self.database.size()),
            gauge("oculus_database_used_bytes", "Size of what the file holds, the rest is free.", usage.used),
            gauge("oculus_database_free_bytes", "Space in the file that is used again.", usage.free),
            Metric(
                "oculus_table_bytes",
                "gauge",
                "Space of each table in the file.",
                [("", {"table": table.table}, table.bytes) for table in usage.tables],
            ),
            Metric(
                "oculus_table_rows",
                "gauge",
                "Rows of each table.",
                [("", {"table": table.table}, table.rows) for table in usage.tables],
            ),
            counter("oculus_retention_deleted_total", "Samples deleted for age or space.", upkeep.deleted),
            counter("oculus_sorted_rows_total", "Rows rewritten in order.", upkeep.sorted),
            gauge("oculus_upkeep_step_seconds", "Longest time that upkeep kept the writer.", upkeep.longest),
            counter("oculus_worker_restarts_total", "Greenlets that died and were started again.",
                    sum(worker.restarts for worker in self.supervisor.workers)),
            histogram("oculus_hub_lateness_seconds", "How late the hub wakes a greenlet.",
                      LATENESS_BOUNDS, self.watchdog.counts, self.watchdog.total),
            gauge("oculus_hub_lateness_p99_seconds", "99th percentile of the last minute.",
                  self.watchdog.quantile(0.99)),
            gauge("oculus_uptime_seconds", "Time since the start.", time.monotonic() - self.started),
            gauge("process_resident_memory_bytes", "Resident memory.", resident()),
            counter("process_cpu_seconds_total", "Processor time, user and system.", processor_seconds()),
        ]  # fmt: skip


def _channels(outbox: Outbox) -> list[Metric]:
    """Return the figures of each channel, actions among them."""
    every = outbox.couriers
    since = {name: one.failing_since for name, one in every.items() if isinstance(one, Courier)}
    counters: dict[str, tuple[str, Mapping[str, float]]] = {
        "sent_total": ("Messages sent.", {name: one.sent for name, one in every.items()}),
        "failures_total": ("Tries to send that failed.", {name: one.failed for name, one in every.items()}),
    }
    gauges: dict[str, tuple[str, Mapping[str, float]]] = {
        "waiting": ("Steps of alerts that wait.", {name: one.waiting for name, one in every.items()}),
        "failing": ("Whether the last try failed.", {name: at is not None for name, at in since.items()}),
        "failing_since_timestamp_seconds": (
            "When the first of the tries was that have failed since one worked.",
            {name: at / SECOND for name, at in since.items() if at is not None},
        ),
    }
    return [_by_channel(name, "counter", *told) for name, told in counters.items()] + [
        _by_channel(name, "gauge", *told) for name, told in gauges.items()
    ]


def _by_channel(
    name: str, kind: Literal["counter", "gauge"], help: str, values: Mapping[str, float]
) -> Metric:
    samples = [("", {"channel": channel}, value) for channel, value in values.items()]
    return Metric(f"oculus_channel_{name}", kind, help, samples)


def _calls(dead_man: DeadMan | None) -> list[Metric]:
    """Return the figures of the dead man's switch, where there is one."""
    if dead_man is None:
        return []
    ping, fail = dead_man.ping, dead_man.fail
    return [
        gauge("oculus_heartbeat_well", "Whether all is well: heartbeat.url is called.", dead_man.well),
        counter("oculus_heartbeat_calls_total", "Calls of heartbeat.url.", ping.calls),
        counter("oculus_heartbeat_failures_total", "Calls of it that failed.", ping.failures),
        gauge("oculus_heartbeat_last_success_timestamp_seconds", "When one worked last; 0: never.",
              ping.worked_at),
        counter("oculus_heartbeat_fail_calls_total", "Calls of heartbeat.fail_url.", fail.calls),
        counter("oculus_heartbeat_fail_failures_total", "Calls of that which failed.", fail.failures),
    ]  # fmt: skip


def _families(counts: Iterable[Count]) -> list[Metric]:
    """Return figures with all of one name in one family."""
    values: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    about: dict[str, Count] = {}
    for count in counts:
        about.setdefault(count.name, count)
        family, labels = values.setdefault(count.name, {}), tuple(count.labels.items())
        # Two feeds of one source differ in what no label tells: the greater figure stands for both.
        family[labels] = max(family.get(labels, 0.0), count.value)
    return [
        Metric(name, about[name].type, about[name].help,
               [("", dict(labels), value) for labels, value in family.items()])
        for name, family in values.items()
    ]  # fmt: skip
