"""The page of the system: how the daemon itself fares, what it runs, what it stores, and what it logged
last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from bottle import HTTPResponse

from oculus import __version__
from oculus.clock import SECOND, iso, now
from oculus.cooperate import slices
from oculus.logs import Line
from oculus.model import Micros
from oculus.web import figures, inputs, storage_page
from oculus.web.filters import Filters
from oculus.web.services import Services
from oculus.web.storage_page import StorageContext
from oculus.web.system import ChannelState, CollectorState, System, WorkerState
from oculus.web.templates import Templates

COLLECTORS_SHOWN = 50

# Of the hub's lateness in the last minute, of which 99 % were less: the first is twice what it should ever
# be.
LATE, VERY_LATE = 0.02, 0.1  # seconds
FULL, VERY_FULL = 0.5, 0.9  # shares of the queue

# Least severities of the log that can be chosen, as loguru counts them.
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_LOST = {
    "queue_full": "the queue was full",
    "queue_memory": "the queue had too many bytes",
    "refused_by_database": "refused by the database",
    "refused_push": "pushes that were refused",
}


@dataclass(frozen=True, slots=True)
class SystemFilters(Filters):
    """What the page is asked for: collectors by a text, by what they do, or all of them, and records by
    level."""

    q: str = ""
    show: str = ""
    all: int = 0
    level: str = "debug"

    @classmethod
    def of_request(cls) -> SystemFilters:
        """Return what the address says; raises Problem."""
        return cls(
            q=inputs.query("q").strip(),
            show=inputs.choice_parameter("show", ("failing",)) or "",
            all=int(inputs.query("all") == "1"),
            level=inputs.choice_parameter("level", tuple(LEVELS)) or "debug",
        )


@dataclass(frozen=True, slots=True)
class Stat:
    """A figure to be read from afar, with the line of its last minutes; `mood` is warn, bad or nothing."""

    key: str
    title: str
    value: str
    unit: str
    note: str
    spark: str
    mood: str = ""


@dataclass(frozen=True, slots=True)
class CollectorRow:
    """A collector; `state` is ok, failing, running, or waiting for its first run."""

    kind: str
    name: str
    state: str
    word: str
    every: str
    last_run: str
    next_run: str
    took: str
    series: str
    failures: str
    skipped: int
    error: str


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """A channel; `since` is when it began to fail."""

    state: ChannelState
    since: str


@dataclass(frozen=True, slots=True)
class LogContext:
    """`fragments/log.html`: the last records, newest first. `seen` counts all records there were."""

    filters: SystemFilters
    levels: tuple[str, ...]
    lines: list[LogRow]
    seen: int


@dataclass(frozen=True, slots=True)
class LogRow:
    """A record of the log."""

    at: str
    clock: str
    level: str
    text: str
    trace: str


@dataclass(frozen=True, slots=True)
class SystemContext:
    """`fragments/system.html`: all but the log."""

    filters: SystemFilters
    not_ready: str
    stats: list[Stat]
    lost: list[tuple[str, str]]
    total: int
    failing: int
    found: int
    collectors: list[CollectorRow]
    channels: list[ChannelRow]
    workers: Sequence[WorkerState]
    restarts: int
    storage: StorageContext
    facts: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SystemPageContext(SystemContext):
    """`pages/system.html`: both."""

    levels: tuple[str, ...]
    lines: list[LogRow]
    seen: int


class SystemPages:
    """Builds the contexts of the system and renders them."""

    def __init__(self, services: Services, templates: Templates) -> None:
        self._services = services
        self._templates = templates

    def system(self) -> str:
        """GET /system"""
        filters = SystemFilters.of_request()
        log = {key: value for key, value in self._log(filters).items() if key != "filters"}
        return self._templates.page("system", SystemPageContext(**self._system(filters), **log))

    def fragment(self) -> str:
        """GET /partials/system"""
        return self._templates.fragment("system", SystemContext(**self._system(SystemFilters.of_request())))

    def log_fragment(self) -> Any:
        """GET /partials/log: nothing when `seen` says that all of it is known."""
        context = LogContext(**self._log(SystemFilters.of_request()))
        if inputs.query("seen") == str(context.seen):
            return HTTPResponse(status=204)
        return self._templates.fragment("log", context)

    def storage(self) -> Any:
        """GET /storage: where this was once."""
        return HTTPResponse(status=303, headers={"Location": "/system#storage"})

    # -- contexts -------------------------------------------------------------------------------------

    def _system(self, filters: SystemFilters) -> dict[str, Any]:
        services = self._services
        system, at = services.system(), now()
        every = list(slices(system.collectors))
        wanted = [one for one in every if _wanted(one, filters)]
        wanted.sort(key=lambda one: (not one.failing, one.kind, one.name))
        most = len(wanted) if filters.all else COLLECTORS_SHOWN
        return {
            "filters": filters,
            "not_ready": services.not_ready(),
            "stats": list(_stats(system)),
            "lost": [(_LOST.get(why, why), f"{count:,}") for why, count in system.lost.items()],
            "total": len(every),
            "failing": sum(one.failing for one in every),
            "found": len(wanted),
            "collectors": [_collector(one) for one in slices(wanted[:most])],
            "channels": [
                ChannelRow(one, "" if one.failing_since is None else iso(one.failing_since))
                for one in system.channels
            ],
            "workers": system.workers,
            "restarts": sum(one.restarts for one in system.workers),
            "storage": storage_page.context(services.storage()),
            "facts": list(_facts(system, at)),
        }

    def _log(self, filters: SystemFilters) -> dict[str, Any]:
        log, least = self._services.log, LEVELS[filters.level]
        return {
            "filters": filters,
            "levels": tuple(LEVELS),
            "lines": [_row(line) for line in log.lines if line.severity >= least],
            "seen": log.count,
        }


def _wanted(one: CollectorState, filters: SystemFilters) -> bool:
    if filters.show == "failing" and not one.failing:
        return False
    text = filters.q.lower()
    return text in f"{one.kind}/{one.name}".lower() or text in one.error.lower()


def _stats(system: System) -> Iterator[Stat]:
    history = system.history
    median, high, worst = system.lateness
    mood = "bad" if high > VERY_LATE else "warn" if high > LATE else ""
    value = figures.value_text(high * 1000, "ms")
    note = f"p50 {figures.value_text(median * 1000, 'ms')}, worst {figures.value_text(worst * 1000, 'ms')} ms"
    yield Stat("lateness", "Hub late, p99", value, "ms", note, _spark(history.lateness), mood)
    rate = history.samples[-1] if history.samples else 0.0
    yield Stat(
        "samples", "Samples", figures.rate_text(rate), "/s", f"{system.samples:,} since the start",
        _spark(history.samples),
    )  # fmt: skip
    share = max(system.queued / system.queue_capacity, system.queue_bytes / system.queue_bytes_capacity)
    mood = "bad" if share > VERY_FULL else "warn" if share > FULL or system.lost else ""
    note = f"{system.queued:,} of {system.queue_capacity:,} rows, {sum(system.lost.values()):,} lost"
    yield Stat("queue", "Queue", f"{100 * share:.0f}", "%", note, _spark(history.queue, most=1.0), mood)
    used, mean = (
        (100 * history.processor[-1], 100 * fmean(history.processor)) if history.processor else (0.0, 0.0)
    )
    note = f"{mean:.1f} % on average lately"
    yield Stat("cpu", "Processor", f"{used:.1f}", "% of a core", note, _spark(history.processor))
    size, _, unit = figures.size_text(system.memory).partition(" ")
    peak = figures.size_text(max(history.memory, default=system.memory))
    yield Stat("memory", "Memory", size, unit, f"{peak} at most lately", _spark(history.memory))


def _spark(history: Sequence[float], most: float = 0.0) -> str:
    """Return the line of a history above zero; a full one reaches `most`."""
    return figures.spark(history, (0.0, max(most, *history, 1e-9)))


def _facts(system: System, at: Micros) -> Iterator[tuple[str, str]]:
    yield "Oculus", __version__
    yield "up since", iso(Micros((at - int(system.uptime * SECOND)) // SECOND * SECOND))
    yield "Python", system.python
    yield "process", str(system.process)


def _collector(one: CollectorState) -> CollectorRow:
    state = (
        "failing"
        if one.failing
        else "waiting"
        if one.last_run is None
        else "ok"
        if one.next_run
        else "running"
    )
    return CollectorRow(
        kind=one.kind,
        name=one.name,
        state=state,
        word=one.word,
        every=figures.span_text(one.interval),
        last_run=iso(_whole(one.last_run)) if one.last_run is not None else "",
        next_run=iso(_whole(one.next_run)) if one.next_run is not None else "",
        took=_took(one.last_seconds) if one.runs else "",
        series=f"{one.series:,}",
        failures=f"{one.failures:,} of {one.runs:,}" if one.failures else "",
        skipped=one.skipped,
        error=one.error,
    )


def _whole(ts: Micros) -> Micros:
    return Micros(ts // SECOND * SECOND)


def _took(seconds: float) -> str:
    """Return how long a run took: `12.4 ms`, `1.3 s`."""
    if seconds < 0.0001:
        return "< 0.1 ms"
    if seconds < 1:
        return f"{figures.value_text(seconds * 1000, 'ms')} ms"
    return f"{figures.value_text(seconds, 's')} s"


def _row(line: Line) -> LogRow:
    stamp = iso(Micros(line.ts))
    return LogRow(stamp, stamp[11:23], line.level, line.text, line.trace)
