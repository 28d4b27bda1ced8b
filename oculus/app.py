"""The daemon: the only place that wires the stages. Starts them in order, stops in reverse, reloads.

samples: collectors → pipe → writer → DuckDB; after each commit → Latest and the rules;
transitions: rules → events, back into the pipe → the dispatcher → channels.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gevent
from gevent import socket
from gevent.event import Event as Signal
from gevent.lock import BoundedSemaphore
from loguru import logger

from oculus import __version__, logs
from oculus.clock import SECOND, ClockGuard, now
from oculus.collectors.base import Context
from oculus.collectors.contained import make
from oculus.collectors.scheduler import Scheduler
from oculus.config import read_rules
from oculus.config.settings import CollectorSpec, RuleSettings, ServerSettings, Settings
from oculus.cooperate import slices
from oculus.errors import Busy, ConfigError, OculusError, StartError
from oculus.health import Health
from oculus.holdup import HoldUp
from oculus.known import Known
from oculus.ledger import Deliveries
from oculus.masking import mask
from oculus.model import Batch, Event, EventType, Micros, Severity, Transition, is_symbol, symbols_of
from oculus.notify import all_made
from oculus.notify.courier import STORED as NOTICES
from oculus.notify.notice import Notice
from oculus.notify.outbox import Outbox
from oculus.pipe import Pipe
from oculus.rules.derived import DerivedLoop
from oculus.rules.engine import STORED as ALERTS
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.loop import Figures, RuleLoop
from oculus.rules.rows import Row, rows_of
from oculus.rules.silence_keeper import SilenceKeeper
from oculus.rules.silences import Silences
from oculus.rules.uses import uses
from oculus.rules.view import View, lookback
from oculus.storage import ingest, outbox, queries, steps
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.readers import Readers
from oculus.storage.recovery import recover
from oculus.storage.upkeep import CLOCK_MARK, Upkeep, last_mark
from oculus.storage.writer import Writer
from oculus.supervise import Supervisor, Watchdog, Worker
from oculus.telemetry import Telemetry
from oculus.threads import NativeThreads
from oculus.vitals import Vitals
from oculus.web.services import Services
from oculus.windowed import Window

if TYPE_CHECKING:
    from oculus.collectors.network.uplink import Uplink
    from oculus.hindsight.backtest import Backtest
    from oculus.notify.deadman import DeadMan

# Each probe under way has a connection open, and one that gets none would look like a target that is down.
# Systems allow 1,024 unless asked for more, for the sake of old programs.
OPEN_FILES = 65_536

DEAD_MAN = "dead man's switch"  # its greenlet

UPLINK_LOST = "this host has lost the network"

# A native thread that runs Python hands the interpreter over this often, where 5 ms is usual: the hub
# waits for it that long at most.
SWITCH_INTERVAL = 0.001  # seconds

# A stop must be over within 5 s (the contract with init systems); these leave a margin.
DRAIN = 3.0  # seconds that the writer has to commit what is queued
REQUESTS = 0.3  # seconds that requests under way have to end

BACKTEST = 60.0  # seconds that a replay of rules may take

LINK = 1.0  # seconds that the look-up of a message's link may take

SETTLE = 1.0  # seconds from the end of the start to the first query of a rule

FORGET = 600.0  # seconds between two looks at what need not be remembered of alerts

RESTORED = 3600 * SECOND  # how far back the sparklines reach after a start
RESTORE_TIMEOUT = 120.0  # seconds: a full scan of a large history on a slow card

_LEVELS: dict[Severity, str] = {"info": "INFO", "warn": "WARNING", "error": "ERROR", "critical": "CRITICAL"}


class Oculus:
    """A daemon: `start`, `run` until `stop`, `close`."""

    def __init__(
        self, settings: Settings, reread: Callable[[], Settings] | None = None, *, recover: bool = False
    ) -> None:
        """`reread` reads the configuration anew for a reload; it raises ConfigError for a wrong one.

        With `recover` a damaged database is set aside and a new one begun.
        """
        self.settings = settings
        self._reread = reread
        self._recover = recover
        self._stopping = False
        self._wake = Signal()
        self._started = time.monotonic()
        self.pipe = Pipe(settings.database.queue, settings.database.queue_memory)
        self.latest = Latest()
        self.known = Known(self.latest)
        self.watchdog = Watchdog()
        self.holdup = HoldUp(lambda told: self._note("oculus", "error", "error", told))
        self.supervisor = Supervisor(self._died)
        self.silences = Silences()
        self.engine = RuleEngine(settings.rules, tags=self.known.tags, silenced=self._silenced, started=now())
        self.rule_loop = RuleLoop(
            self.engine, self._emit, self._view, self._figures, self._rows, self._checked_now,
            self.pipe.remember,
        )  # fmt: skip
        self.derived = DerivedLoop(self.pipe.put, self._view, self._figures)
        self.derived.load(settings.derived)
        self.uplink: Uplink | None = None
        self._uplink_since = Micros(0)
        self.dead_man: DeadMan | None = None
        self._restored = Signal()
        self._replaying = BoundedSemaphore(1)
        self.scheduler = Scheduler(
            self.supervisor, self.pipe.put, self._put_event,
            last=self.known.last_stored, settled=self._restored.wait,
        )  # fmt: skip
        self.known.follow(self.scheduler, self.derived)

    # -- life -----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything; raises StartError, with nothing left open, when this host does not let it."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        allow_open_files()
        listener = listen(self.settings.server)
        try:
            opener = NativeThreads(1)
            opening = opener.start(self._open)
            # The second half of the imports, while the database opens.
            from oculus.web.local import LocalServer
            from oculus.web.server import WebServer

            database, recovered = opening.result()
            self._use_storage(database)
            opener.close()
            self.web = WebServer(listener, self._services())
        except BaseException:
            listener.close()
            raise
        self.port: int = listener.getsockname()[1]
        self._writer = self.supervisor.spawn("writer", self.writer.run)
        self.supervisor.spawn("watchdog", self.watchdog.run)
        self.supervisor.spawn("vitals", self.vitals.run)
        self.holdup.start()
        self.supervisor.spawn("rules", self.rule_loop.run)
        self.supervisor.spawn("rules over time", self.rule_loop.run_windows)
        self.supervisor.spawn("rules in sql", self._run_queries)
        self.supervisor.spawn("derived", self.derived.run)
        self.supervisor.spawn("alerts", self._forget_alerts)
        self.web.start()
        self.local = LocalServer.open(self.web, self.database)
        # In slices: with many collectors the first request need not wait for the last of them.
        for spec in slices(self.settings.collectors):
            self._start_collector(spec)
        self.supervisor.spawn("upkeep", self._keep_up)
        self._call_outside()
        for warning in self.settings.warnings:
            logger.warning("{}", warning)
        if recovered:
            self._note("storage", "error", "error", recovered)
        bind, settings = self.settings.server.bind, self.settings
        self._note(
            "oculus", "system", "info",
            f"Oculus {__version__} is at http://{f'[{bind}]' if ':' in bind else bind}:{self.port}, with"
            f" {len(settings.collectors)} collectors and {len(settings.rules)} rules, storing in"
            f" {self.database.path}",
        )  # fmt: skip

    def run(self) -> None:
        """Serve until `stop` is called; reload when `request_reload` is."""
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            self.reload()

    def stop(self) -> None:
        """Make `run` return; may be called from a signal handler."""
        self._stopping = True
        self._wake.set()

    def request_reload(self) -> None:
        """Make `run` reload; may be called from a signal handler."""
        self._wake.set()

    def close(self) -> bool:
        """Stop in reverse order: measure no more, commit what is queued, close the file.

        Returns whether all of it was committed in time.
        """
        self.supervisor.stop(DEAD_MAN)  # a stop is no fault to tell
        self.scheduler.stop()
        self.pipe.hurry()
        self.web.stop(REQUESTS)
        if self.local is not None:
            self.local.stop(REQUESTS)
        self.supervisor.stop(
            "upkeep", "rules", "rules over time", "rules in sql", "derived", "alerts", "vitals", "watchdog"
        )
        self.outbox.close()
        self.holdup.stop()
        self.context.close()
        self._note("oculus", "system", "info", "Oculus is stopping")
        self.pipe.close()
        if not self._writer.join(DRAIN):
            left = len(self.pipe) + self.writer.waiting
            logger.error(
                "stopped with {} samples that the database did not take: {}", left, self.writer.error
            )
            return False
        try:
            self.upkeep.mark()
        except OculusError as error:
            logger.warning("the trusted time could not be stored: {}", error)
        self.readers.close()
        self.sandbox.close()
        self.writer.close()
        self.database.close()
        logger.info("Oculus stopped, everything is stored")
        return True

    def reload(self) -> None:
        """Take a changed configuration over; only collectors that changed are touched.

        One with a mistake changes nothing: the old one stays in force.
        """
        if self._reread is None:
            return
        try:
            settings = self._reread()
        except ConfigError as error:
            for mistake in error.mistakes:
                logger.error("{}", mistake)
            self._note("oculus", "error", "error", "reload refused, the configuration is as before")
            return
        before = {spec.id: spec for spec in self.settings.collectors}
        after = {spec.id: spec for spec in settings.collectors}
        gone = [id for id, spec in before.items() if after.get(id) != spec]
        new = [spec for id, spec in after.items() if before.get(id) != spec]
        self.heartbeats.configure(settings.collectors)
        if gone:
            self.scheduler.stop(*gone)
        for spec in new:
            self._start_collector(spec)
        # Before the rules that use them; what is gone stays until the alerts of rules that are gone have
        # ended.
        channels = all_made(settings)
        self.outbox.configure(self.outbox.channels | channels)
        for transition in self.engine.replace(settings.rules, now(), slices):
            self._emit(transition)
        self.outbox.configure(channels)
        self.derived.load(settings.derived)
        for warning in settings.warnings:
            logger.warning("{}", warning)
        kept = (self.settings.server, self.settings.database, self.settings.log)
        if kept != (settings.server, settings.database, settings.log):
            logger.warning("changes of server, database and log take effect at the next start")
        guards = (self.settings.canaries, self.settings.maintenance)
        self.settings = replace(settings, server=kept[0], database=kept[1], log=kept[2])
        if guards != (settings.canaries, settings.maintenance):
            self._guard_results()
        self._call_outside()
        told = f"reloaded: {len(new)} collectors started, {len(gone)} stopped, {len(settings.rules)} rules"
        self._note("oculus", "system", "info", told)

    def _open(self) -> tuple[Database, str]:
        """Open the database, in a native thread; return it, and what was done to recover it."""
        settings = self.settings.database
        options = settings.path, settings.memory_limit, settings.threads, settings.checkpoint
        return recover(*options) if self._recover else (Database(*options), "")

    def _use_storage(self, database: Database) -> None:
        from oculus.collectors.heartbeats import STORED, Heartbeats  # with the second half
        from oculus.storage.copier import Copier

        settings = self.settings.database
        self.database = database
        self.database.on_damage = self._damaged
        self.writer = Writer(
            self.database,
            self.pipe,
            batch=settings.batch,
            flush=settings.flush,
            on_commit=self._committed,
            on_state=self._writing,
            on_fold=self._folding,
        )
        self.readers = Readers(self.database)
        self.sandbox = Readers(self.database)
        self.copier = Copier(self.database)
        self.guard = ClockGuard(last_mark(self.writer.call(ingest.read_state, CLOCK_MARK)))
        self.upkeep = Upkeep(
            self.database,
            self.writer,
            self.readers,
            self.latest,
            self.guard,
            settings.keep,
            settings.max_size,
        )
        self.context = Context(
            report=self._put_event,
            spawn=self.supervisor.spawn,
            end=self.supervisor.stop,
            excuse=self._excuse,
        )
        self._guard_results()
        self.heartbeats = self.context.shared(
            Heartbeats,
            lambda: Heartbeats(
                self.context,
                self.pipe.put,
                load=lambda: self.writer.call(ingest.read_states, STORED),
                save=lambda states: self.writer.call(ingest.write_states, states),
            ),
        )
        load = partial(self.writer.call, ingest.read_states)
        save = partial(self.writer.call, ingest.write_states)
        self.silence_keeper = SilenceKeeper(self.silences, load, save, self._put_event)
        alerts = {key.removeprefix(ALERTS): text for key, text in load(ALERTS).items()}
        self.outbox = Outbox(
            Deliveries(self.writer, self.readers), self._put_event, self.supervisor.spawn,
            self.supervisor.stop, self._dress, self._is_silent,
        )  # fmt: skip
        waiting, notices = self.writer.call(outbox.backlog), load(NOTICES)
        self.outbox.configure(all_made(self.settings))
        self.outbox.restore(waiting, notices)
        for transition in self.engine.restore(alerts, now()):
            self._emit(transition)
        # Before the web is up: no ping may meet a heartbeat that is not there yet.
        self.heartbeats.configure(self.settings.collectors)
        self.health = Health(
            supervisor=self.supervisor,
            scheduler=self.scheduler,
            writer=self.writer,
            rule_loop=self.rule_loop,
            watchdog=self.watchdog,
            uplink_lost=lambda: UPLINK_LOST if self.uplink is not None and self.uplink.down else "",
        )
        self.telemetry = Telemetry(
            started=self._started,
            pipe=self.pipe,
            latest=self.latest,
            watchdog=self.watchdog,
            supervisor=self.supervisor,
            scheduler=self.scheduler,
            engine=self.engine,
            rule_loop=self.rule_loop,
            outbox=self.outbox,
            database=self.database,
            writer=self.writer,
            upkeep=self.upkeep,
            context=self.context,
            dead_man=lambda: self.dead_man,
        )
        self.context.stats = self.telemetry.figures
        self.vitals = Vitals(self.telemetry)

    def _guard_results(self) -> None:
        """Set up what tells that a failure is not the target's: maintenance windows, and the canaries."""
        settings = self.settings
        self._windows = [(entry, entry.window()) for entry in settings.maintenance]
        before, self.uplink = self.uplink, None
        if before is not None:
            before.close()
        if settings.canaries:
            from oculus.collectors.network.uplink import Uplink, canary

            self.uplink = Uplink(
                [canary(text, self.context) for text in settings.canaries], self._uplink_told
            )
        if before is not None and before.down:
            if self.uplink is not None:
                self.uplink.resume()
            else:
                self._uplink_told(False, "")

    def _call_outside(self) -> None:
        """Have the dead man's switch as the settings say."""
        settings = self.settings.heartbeat
        if settings is None:
            self.supervisor.stop(DEAD_MAN)
            self.dead_man = None
        elif self.dead_man is None:
            from oculus.notify.deadman import DeadMan

            self.dead_man = DeadMan(settings, self.health.unwell, self._put_event)
            self.supervisor.spawn(DEAD_MAN, self.dead_man.run)
        elif settings != self.dead_man.settings:
            self.dead_man.use(settings)

    def _excuse(self, stem: str, local: bool) -> str:
        at = now()
        for entry, window in self._windows:
            if any(fnmatchcase(stem, pattern) for pattern in entry.match) and window.contains(at):
                return f"maintenance: {entry.name}"
        if self.uplink is not None and not local and self.uplink.lost():
            return UPLINK_LOST
        return ""

    def _uplink_told(self, down: bool, reasons: str) -> None:
        """Raise, or end, the one alert that tells why nothing else is told."""
        at = now()
        started = at if down else self._uplink_since
        self._uplink_since = at
        text = f"{UPLINK_LOST}; results of probes are unknown: {reasons}" if down else "the network is back"
        self._emit(
            Transition(
                ts=at, rule="uplink", state="firing" if down else "resolved",
                previous="inactive" if down else "firing", severity="critical", message=text,
                started_at=started, explanation=reasons, channels=self._all_channels(),
            )
        )  # fmt: skip

    def _all_channels(self) -> tuple[str, ...]:
        """Return every channel that a rule uses: the alert of the uplink stands for what they would tell."""
        named = (name for rule in self.settings.rules for name in rule.channels)
        return tuple(dict.fromkeys(named)) or ("log",)

    def _start_collector(self, spec: CollectorSpec) -> None:
        self.scheduler.start(make(spec, self.context))

    def _services(self) -> Services:
        return Services(
            server=self.settings.server,
            latest=self.latest,
            readers=self.readers,
            sandbox=self.sandbox,
            offer=self.pipe.offer,
            rules=lambda: self.engine.states(self._view(now(), self.rule_loop.figures)),
            rule_settings=lambda: self.settings.rules,
            read_rules=self._read_rules,
            backtest=self._backtest,
            not_ready=self.health.not_ready,
            metrics=self.telemetry.metrics,
            stale=self.known.stale,
            state=self.known.state,
            storage=self.upkeep.report,
            heartbeats=self.heartbeats,
            silences=self.silence_keeper,
            copier=self.copier,
            uses=partial(uses, self.engine),
            derived=lambda: self.settings.derived,
            every=self.known.every,
            progress=self.outbox.progress,
            last_event=lambda: self.writer.last_event_id,
            stored=lambda: self.writer.rows,
            status=lambda: self.settings.status,
            system=self.vitals.report,
            log=logs.tail,
            room=lambda: 1 - max(len(self.pipe) / self.pipe.max_rows, self.pipe.bytes / self.pipe.max_bytes),
        )

    # -- long-lived greenlets ---------------------------------------------------------------------------

    def _keep_up(self) -> None:
        try:
            self._restore_latest()
        finally:
            self._restored.set()
            self.engine.settle(self.known.stored_with_interval)
        self.upkeep.run()

    def _run_queries(self) -> None:
        """Run the rules' queries once the start is over: what memory each may take is counted from what the
        process has at its beginning."""
        self._restored.wait()
        gevent.sleep(SETTLE)
        self.rule_loop.run_queries()

    def _restore_latest(self) -> None:
        oldest = self.upkeep.oldest()
        try:
            found = self.readers.run(queries.series, Micros(now() - RESTORED), timeout=RESTORE_TIMEOUT)
        except OculusError as error:
            logger.warning("the last values of the past run could not be read: {}", error)
            return
        for stored in found:
            if stored.ts >= oldest:
                self.latest.restore(stored.symbol, stored.ts, stored.tags, stored.history)
        self.engine.know(slices(series.symbol for series in self.latest))

    def _forget_alerts(self) -> None:
        """Drop what was remembered of alerts once it counts no more, and what rules know of old series."""
        while True:
            gevent.sleep(FORGET)
            self.engine.forget_all_but({series.symbol for series in self.latest})
            keys = self.engine.expired()
            if keys:
                try:
                    self.writer.call(ingest.write_states, dict.fromkeys(keys))
                except OculusError as error:  # it is dropped at the next start
                    logger.debug("{}", error)

    # -- what the stages call ---------------------------------------------------------------------------

    def _committed(self, batch: Batch) -> None:
        if batch.samples:
            self.latest.update(batch.samples, now())
            self.rule_loop.changed(symbols_of(batch.samples))
        if batch.events:
            self.outbox.stored(self.writer.first_event_id, batch.events)

    def _writing(self, error: str) -> None:
        if error:
            self._note("storage", "error", "error", f"the database takes no samples, they are kept: {error}")
        else:
            self._note("storage", "system", "info", "the database takes samples again")

    def _folding(self, error: str) -> None:
        if error:
            told = f"the database's log cannot go into its file, samples are stored in the log: {error}"
            self._note("storage", "error", "warn", told)
        else:
            self._note("storage", "system", "info", "the database's log goes into its file again")

    def _damaged(self, error: str) -> None:
        told = (
            f"a part of {self.database.path} is damaged; what can be read and written still is. Restore a"
            f" copy, or start with --recover, which sets the file aside and starts anew: {error}"
        )
        self._note("storage", "error", "critical", told)

    def _checked_now(self) -> Micros:
        """Return the time of a pass over the rules; a step of the wall clock is no time that passed."""
        step = self.guard.check()
        if step is not None:
            self.engine.shift(step)
            told = f"the wall clock was set {'forward' if step > 0 else 'back'} by {abs(step):.1f} s"
            self._note("clock", "system", "warn", told, step=step)
        return now()

    def _emit(self, transition: Transition) -> None:
        event = self.outbox.event(transition)
        self.pipe.put_event(event)
        if self.writer.error:
            self.outbox.send_unstored(event, transition)

    def _dress(self, notice: Notice, event: int | None) -> Notice:
        """Add links to the first alert and its series, and the newest values of that."""
        base, first = self.settings.server.public_url.rstrip("/"), notice.alerts[0]
        series = self.latest.get(first.symbol) if first.symbol else None
        if base and event is None:
            event = self._event_of(first)
        page = f"/rules/{quote(first.rule, safe='')}" if event is None else f"/alerts/{event}"
        about = first.symbol if first.symbol and is_symbol(first.symbol) else ""
        return replace(
            notice,
            link=f"{base}{page}" if base else "",
            series_link=f"{base}/series/{about}" if base and about else "",
            history=() if series is None else tuple(series.history),
        )

    def _event_of(self, step: Transition) -> int | None:
        """Return the id of the event of a step, or None when it is not stored or cannot be read now."""
        try:
            return self.readers.run(steps.id_of, step, timeout=LINK)
        except OculusError:
            return None

    def _view(self, at: Micros, figures: Figures) -> View:
        return Live(
            at, self.known.last, figures, self.known.market_open,
            stored=self.known.stored_time, since=self.engine.started,
        )  # fmt: skip

    def _silenced(
        self, rule: str, severity: Severity, labels: Mapping[str, str], at: Micros, since: Micros | None
    ) -> str:
        silence = self.silences.matching(rule, severity, labels, at, since)
        return silence.reason if silence else ""

    def _is_silent(self, step: Transition) -> bool:
        return bool(self._silenced(step.rule, step.severity, step.labels, now(), step.started_at))

    def _figures(self, wanted: Collection[Window], at: Micros) -> Figures:
        from oculus.storage.windows import figures  # with the second half

        lookbacks = {window.symbol: lookback(self.known.every(window.symbol)) for window in wanted}
        return self.readers.run(figures, wanted, at, lookbacks)

    def _rows(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        from oculus.storage import sandbox  # with the second half

        found = self.sandbox.run(sandbox.query, sql, dict(params) or None, ceiling=True)
        if found.truncated:
            raise OculusError(f"the query has more than {len(found.rows)} rows")
        return rows_of(found.columns, found.rows)

    def _read_rules(self, text: str) -> Sequence[RuleSettings]:
        from oculus.vocabulary import vocabulary

        return read_rules(text, vocabulary(), [rule.name for rule in self.settings.rules])

    def _backtest(
        self, rules: Sequence[RuleSettings], names: Collection[str] | None, since: Micros, until: Micros
    ) -> Backtest:
        """Replay rules over the store, one request at a time, in a native thread."""
        from oculus.hindsight.backtest import backtest

        if not self._replaying.acquire(blocking=False):
            raise Busy("another backtest is running; try again in a moment")
        try:
            return self.readers.run(
                backtest, rules, names, since, until, self.known.every, BACKTEST, timeout=BACKTEST + 5.0
            )
        finally:
            self._replaying.release()

    def _died(self, worker: Worker, trace: str) -> None:
        logger.error("{}", trace)
        told = f"{worker.name} died and is started again: {worker.last_error}"
        self._note("oculus", "error", "error", told, traceback=trace)

    def _note(self, source: str, type: EventType, severity: Severity, text: str, **payload: Any) -> None:
        self._put_event(Event(now(), source, type, severity, text, payload))

    def _put_event(self, event: Event) -> None:
        """Log an event, one line, and queue it for the store. Steps of alerts do not come by here."""
        event = replace(event, message=mask(event.message), payload=mask.values(event.payload))
        logger.log(_LEVELS[event.severity], "{}", event.message)
        self.pipe.put_event(event)


def allow_open_files() -> None:
    """Take as many open files as this user may have, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def listen(server: ServerSettings) -> socket.socket:
    """Return a listening socket; raises StartError when the address cannot be had."""
    try:
        server.bind.encode("idna")  # would fail in gevent's thread otherwise, which prints a traceback
        family, _, _, _, address = socket.getaddrinfo(
            server.bind, server.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no host name"
        raise StartError(f"cannot listen on {server.bind}: {why}") from None
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(256)
    except OSError as error:
        sock.close()
        why = {
            errno.EADDRINUSE: "the port is in use by another program (choose another with --port)",
            errno.EACCES: "ports below 1024 need root (choose another with --port)",
            errno.EADDRNOTAVAIL: "this host has no such address (see server.bind)",
        }.get(error.errno or 0, os.strerror(error.errno or 0))
        raise StartError(f"cannot listen on {server.bind}, port {server.port}: {why}") from None
    return sock
