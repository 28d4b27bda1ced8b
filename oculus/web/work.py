"""Long work for the command line, over the local socket: the history of derived values, lint, suggestions.

It is answered as lines of JSON while it goes on: `{"progress": 0.4, "bytes": 0}`, then `{"result": {…}}` or
`{"error": {…}}`. The work is done in steps in a native thread of its own. What it makes goes through the
queue like any other sample, as the queue has room for it, so that none of what is measured is lost for it.
A client that hangs up ends the work between two steps.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from loguru import logger

from oculus.clock import SECOND, now
from oculus.config.settings import DerivedSettings, RuleSettings
from oculus.errors import Busy, ConfigError, OculusError, QueryError, StorageError, reason
from oculus.hindsight.step import Step, Steps
from oculus.model import Micros, Sample
from oculus.storage import history
from oculus.storage.database import Database
from oculus.threads import NativeThreads
from oculus.web.problems import Problem, problem_of
from oculus.web.services import Services

# The kinds of work, and which module does it.
KINDS = {"backfill": "backfill", "lint": "survey", "suggest": "suggest"}

TICK = 0.2  # seconds between two lines at least: also how soon a client that went away is noticed
PATIENCE = 1.0  # seconds: the client of the last work may have hung up only just now
STOPPING = 1.0  # seconds that interrupted work has to end

# What the daemon computes itself is stored by now, also where a sample may wait for a minute to be written.
BEHIND = 60 * SECOND

# Samples of the past wait as long as more than this share of the queue is taken.
ROOM = 0.5
LOOK = 0.02  # seconds between two looks for room
GIVEN_UP = 60.0  # seconds without room, or until what was queued is stored

_REFUSED = (
    "the database takes no samples at present; what was computed so far stays, and running this again goes on"
)


class LocalWork:
    """Does one piece of work at a time."""

    def __init__(self, services: Services, database: Database) -> None:
        self._services = services
        self._database = database
        self._threads = NativeThreads(1)
        self._turn = BoundedSemaphore(1)

    def answer(self, kind: str, body: bytes) -> Iterator[bytes]:
        """Do what a request asks for, and yield the lines that tell of it."""
        if not self._turn.acquire(timeout=PATIENCE):
            yield _failed(Busy("other work of this kind is under way; try again when it is done"))
            return
        try:
            yield from self._answered(kind, body)
        except ConfigError as error:
            yield _line(**Problem(400, "bad_config", "; ".join(error.mistakes)).body())
        except OculusError as error:
            yield _failed(error)
        except Exception as error:
            self._database.examine(error)
            logger.warning("oculus {} failed: {}", kind, reason(error))
            yield _failed(StorageError(reason(error)))
        finally:
            self._turn.release()

    def _answered(self, kind: str, body: bytes) -> Iterator[bytes]:
        try:
            asked = json.loads(body)
            since = Micros(int(asked["since"]))
        except (ValueError, TypeError, KeyError) as error:
            raise QueryError(f"the request is malformed: {error}") from None
        # Importing it takes 0.1 s, once.
        self._threads.run(import_module, f"oculus.hindsight.{KINDS[kind]}")
        cursor = self._database.cursor()
        steps: Steps | None = None
        try:
            if kind == "backfill":
                steps = self._backfill(cursor, asked, since)
            elif kind == "lint":
                steps = yield from self._lint(cursor, asked, since)
            else:
                from oculus.hindsight.suggest import suggest

                steps = suggest(cursor, str(asked.get("symbol")), since, now(), self._services.every)
            yield from self._stepped(steps, cursor)
        finally:
            self._threads.start(_close, steps, cursor)

    def _backfill(self, cursor: history.Cursor, asked: Mapping[str, Any], since: Micros) -> Steps:
        from oculus.hindsight.backfill import backfill, chosen

        given = asked.get("derived")
        settings = self._services.derived() if given is None else [DerivedSettings(**each) for each in given]
        derived = chosen(settings, asked.get("names") or ())
        return backfill(cursor, derived, since, Micros(now() - BEHIND), self._services.every)

    def _lint(
        self, cursor: history.Cursor, asked: Mapping[str, Any], since: Micros
    ) -> Generator[bytes, None, Steps]:
        from oculus.hindsight.survey import survey, tried

        services, given = self._services, asked.get("rules")
        rules: Sequence[RuleSettings] = ()
        if given is None:
            rules = services.rule_settings()
        elif given:
            rules = services.read_rules(json.dumps(given))
        queries = {}
        for rule in rules:
            if rule.sql:
                queries[rule.name] = tried(services.sandbox, rule)
                yield _line(progress=0.0, bytes=0)
        named = asked.get("derived")
        derived = [each.name for each in services.derived()] if named is None else named
        return survey(cursor, rules, derived, since, now(), services.every, queries)

    def _stepped(self, steps: Steps, cursor: history.Cursor) -> Iterator[bytes]:
        """Take one step after the other, and yield how far it is."""
        part, told = 0.0, time.monotonic()
        last: Sample | None = None
        while True:
            call = self._threads.start(_next, steps)
            try:
                while not call.wait(TICK):
                    yield _line(progress=part, bytes=0)
            finally:
                until = time.monotonic() + STOPPING
                while not call.wait(0.02) and time.monotonic() < until:
                    cursor.interrupt()
            step = call.result()
            if step is None:
                return
            part = step.part
            if step.samples:
                last = step.samples[-1]
                yield from _until(partial(self._queued, step.samples), part)
            if step.result:
                if last is not None:
                    yield from _until(partial(self._is_stored, last), part)
                yield _line(result=step.result)
            elif time.monotonic() - told > TICK:
                told = time.monotonic()
                yield _line(progress=part, bytes=0)

    def _queued(self, samples: Sequence[Sample]) -> bool:
        """Queue samples if there is room beside what is measured; return whether they are."""
        return self._services.room() >= ROOM and self._services.offer(samples)

    def _is_stored(self, sample: Sample) -> bool:
        """Tell whether a sample that was queued can be read: then all before it can."""
        from oculus.hindsight.backfill import taken

        assert sample.ts is not None
        found = self._services.readers.run(taken, [sample.symbol], sample.ts, Micros(sample.ts + 1))
        return sample.ts in found[sample.symbol]


def _until(done: Callable[[], bool], part: float) -> Iterator[bytes]:
    """Wait until something is done, and yield lines meanwhile; raises Busy after a while."""
    began = told = time.monotonic()
    while not done():
        at = time.monotonic()
        if at - began > GIVEN_UP:
            raise Busy(_REFUSED)
        if at - told > TICK:
            told = at
            yield _line(progress=part, bytes=0)
        gevent.sleep(LOOK)


def _next(steps: Steps) -> Step | None:
    return next(steps, None)


def _close(steps: Steps | None, cursor: history.Cursor) -> None:
    if isinstance(steps, Generator):
        steps.close()
    cursor.close()


def _failed(error: OculusError) -> bytes:
    return _line(**problem_of(error).body())


def _line(**values: object) -> bytes:
    return json.dumps(values).encode() + b"\n"
