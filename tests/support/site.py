"""The web over a real socket, with a real store behind it and nothing of the daemon besides."""

from __future__ import annotations

import socket as plain_socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gevent
import requests
from gevent import socket

from oculus.clock import SECOND, ClockGuard, now
from oculus.collectors.base import Context
from oculus.collectors.heartbeats import Heartbeats
from oculus.config import read_rules
from oculus.config.settings import (
    CollectorSpec,
    DatabaseSettings,
    RuleSettings,
    ServerSettings,
    StatusSettings,
)
from oculus.hindsight.backtest import Backtest
from oculus.hindsight.backtest import backtest as replay
from oculus.logs import Tail
from oculus.model import Batch, Event, Micros, Sample
from oculus.notify.courier import Progress
from oculus.pipe import Pipe
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.silence_keeper import SilenceKeeper
from oculus.rules.silences import Silences
from oculus.rules.uses import uses
from oculus.rules.view import Point
from oculus.storage import ingest
from oculus.storage.copier import Copier
from oculus.storage.database import Database
from oculus.storage.latest import Latest
from oculus.storage.readers import Readers
from oculus.storage.upkeep import Upkeep
from oculus.storage.writer import Writer
from oculus.supervise import Supervisor
from oculus.vocabulary import vocabulary
from oculus.web.exposition import Metric
from oculus.web.server import WebServer
from oculus.web.services import Services
from oculus.web.system import System
from tests.support.client import ask
from tests.support.servers import wait_for


class Site:
    """Pages and API on 127.0.0.1 with their own DuckDB file in `folder`.

    With `drain=False` nothing takes samples out of the queue, so that it fills.
    """

    def __init__(
        self,
        folder: Path,
        *,
        server: ServerSettings | None = None,
        queue: int = 200_000,
        max_size: int = 0,
        rules: Sequence[RuleSettings] = (),
        drain: bool = True,
        not_ready: Callable[[], str] = lambda: "",
        metrics: Callable[[], list[Metric]] = list,
        stale_after: Callable[[str], float] = lambda symbol: 300.0,
        state: Callable[[str], str] = lambda symbol: "",
        heartbeats: Sequence[CollectorSpec] = (),
        backtest: Callable[..., Backtest] = replay,
        progress: Callable[[int, str], Progress | None] = lambda event, channel: None,
        every: Callable[[str], float] = lambda symbol: 0.0,
        status: StatusSettings | None = None,
        system: Callable[[], System] = System,
    ) -> None:
        self.database = Database(str(folder / "site.db"))
        self.pipe = Pipe(queue)
        self.latest = Latest()
        self.writer = Writer(
            self.database,
            self.pipe,
            batch=5_000,
            flush=0.01,
            on_commit=self._committed,
            on_state=lambda error: None,
        )
        self.readers = Readers(self.database)
        self.copier = Copier(self.database)
        guard = ClockGuard(None)
        self.upkeep = Upkeep(
            self.database, self.writer, self.readers, self.latest, guard, DatabaseSettings().keep, max_size
        )
        self.engine = RuleEngine(rules)
        self.supervisor = Supervisor(lambda worker, trace: None)
        self.events: list[Event] = []  # what the heartbeats tell
        self.log = Tail()
        context = Context(report=self.events.append, spawn=self.supervisor.spawn, end=self.supervisor.stop)
        self.heartbeats = Heartbeats(
            context, self.pipe.put, save=lambda states: self.writer.call(ingest.write_states, states)
        )
        self.heartbeats.configure(heartbeats)
        self.silences = SilenceKeeper(
            Silences(),
            load=lambda prefix: self.writer.call(ingest.read_states, prefix),
            save=lambda states: self.writer.call(ingest.write_states, states),
            report=self.events.append,
        )
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.services = Services(
            server=server or ServerSettings(),
            latest=self.latest,
            readers=self.readers,
            sandbox=self.readers,
            offer=self.pipe.offer,
            rules=lambda: self.engine.states(Live(now(), self._last)),
            rule_settings=lambda: [rule.settings for rule in self.engine.rules],
            read_rules=lambda text: read_rules(
                text, vocabulary(), [one.settings.name for one in self.engine.rules]
            ),
            backtest=lambda *asked: self.readers.run(backtest, *asked),
            not_ready=not_ready,
            metrics=metrics,
            stale=lambda series: (now() - series.ts) / SECOND > stale_after(series.symbol),
            state=state,
            storage=self.upkeep.report,
            heartbeats=self.heartbeats,
            silences=self.silences,
            copier=self.copier,
            uses=lambda symbol: uses(self.engine, symbol),
            progress=progress,
            every=every,
            status=lambda: status or StatusSettings(),
            system=system,
            log=self.log,
        )
        self._web = WebServer(listener, self.services)
        self._web.start()
        self._next_event = 1
        self._drainer = gevent.spawn(self.writer.run) if drain else None

    def write(self, *samples: tuple[str, float] | tuple[str, float, Micros] | Sample) -> None:
        """Store samples as a commit of the writer does; one without a time gets the present one."""
        stamp = now()
        stamped = []
        for sample in samples:
            if not isinstance(sample, Sample):
                symbol, value, *ts = sample
                sample = Sample(symbol, value, ts[0] if ts else stamp)  # noqa: PLW2901
            stamped.append(sample)
        batch = Batch(tuple(stamped))
        self.writer.call(ingest.write, batch, 1)
        self._committed(batch)

    def evaluate(self, at: Micros | None = None) -> None:
        """Evaluate all rules once and store their steps."""
        steps = self.engine.evaluate(Live(now() if at is None else at, self._last))
        self.store_events(step.event() for step in steps)

    def store_events(self, events: Iterable[Event]) -> None:
        """Store events."""
        found = tuple(events)
        self.writer.call(ingest.write, Batch((), found), self._next_event)
        self._next_event += len(found)

    def stored(self, symbol: str) -> list[tuple[int, float, str]]:
        """Return the rows of a series in the store: time, value, tags."""
        sql = "select epoch_us(ts), value, tags from metrics where symbol = $1 order by ts"
        rows: list[tuple[int, float, str]] = self.readers.run(
            lambda cursor: cursor.execute(sql, [symbol]).fetchall()
        )
        return rows

    def settle(self) -> None:
        """Wait until everything that was queued is committed."""
        wait_for(lambda: not len(self.pipe) and not self.writer.waiting, every=0.005)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request, from an address of its own unless `source` names one."""
        return ask(method, self.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET a path."""
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """POST to a path."""
        return self.ask("POST", path, **options)

    def json(self, path: str) -> Any:
        """GET a path and return its JSON; fails unless the status is 200."""
        answer = self.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are, and return all that comes back until the server closes."""
        with plain_socket.create_connection(("127.0.0.1", self.port), timeout=20) as sock:
            sock.sendall(data)
            sock.shutdown(plain_socket.SHUT_WR)
            pieces = []
            while piece := sock.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Close everything in order."""
        self._web.stop(0.2)
        self.heartbeats.close()
        self.pipe.close()
        if self._drainer is not None:
            self._drainer.join(10)
        self.readers.close()
        self.writer.close()
        self.database.close()

    def _committed(self, batch: Batch) -> None:
        self.latest.update(batch.samples, now())

    def _last(self, symbol: str) -> tuple[Point, float] | None:
        series = self.latest.get(symbol)
        return None if series is None else (Point(series.ts, series.value, series.previous), 0.0)
