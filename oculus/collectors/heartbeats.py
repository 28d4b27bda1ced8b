"""All heartbeats of a daemon: pings come in, states are stored, samples and events go out.

A ping comes from the web, moves the state (`heartbeat_state.py`), and is answered once that is stored: a kill
right after the answer loses nothing. A greenlet looks at the deadlines.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, cast

import gevent
from gevent.event import AsyncResult
from gevent.event import Event as Signal

from oculus.clock import SECOND, ClockGuard, iso, now
from oculus.collectors.base import Context
from oculus.collectors.heartbeat_state import (
    Outcome,
    Phase,
    Ping,
    State,
    clock_text,
    due,
    passed,
    phase,
    pinged,
    revised,
    shifted,
)
from oculus.config.settings import CollectorSpec
from oculus.cooperate import slices
from oculus.errors import OculusError
from oculus.model import Event, EventType, Micros, Sample, Severity, Tags, slug

if TYPE_CHECKING:
    from oculus.collectors.heartbeat import HeartbeatSettings

KIND = "heartbeat"
STORED = "heartbeat/"  # what the keys of stored states begin with

LOOK = 5.0  # seconds between two looks at the clock, at most: a step of it is no time that passed

# A deadline that passes in a maintenance window, or without a network, is looked at again after this.
PUT_OFF = 60 * SECOND

# Pings that come within this time after a commit are committed together: a hundred jobs that start at the
# full hour are two commits, and a busy one wears no memory card.
SPACING = 0.25  # seconds
PATIENCE = 5.0  # seconds that a ping waits to be stored, before it is answered that it is not yet
RETRY = 1.0  # seconds after a commit that failed

# Events of one heartbeat, and likewise what its jobs send as text: as many at once, and one more a minute.
BURST, REFILL = 20.0, 1 / 60  # events, and events a second


class Allowance:
    """A bucket of events."""

    def __init__(self) -> None:
        self._left, self._then = BURST, 0.0

    def take(self, monotonic: float) -> bool:
        """Take one out, if there is one."""
        self._left = min(BURST, self._left + (monotonic - self._then) * REFILL)
        self._then = monotonic
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Beat:
    """A configured heartbeat with its state. Reached by its `name`, or by its key."""

    def __init__(self, spec: CollectorSpec, state: State, began: Micros) -> None:
        settings = cast("HeartbeatSettings", spec.settings)
        self.spec = spec
        self.name = spec.name
        self.key = settings.key
        self.began = began  # since when we listen for it
        self.rhythm = settings.rhythm()
        self.zone = self.rhythm.zone
        self.tags = Tags({**settings.tags, "source": KIND})
        self.events, self.notes = Allowance(), Allowance()
        self.told = Micros(0)  # the time of its last sample of `.up`
        self.put_off = Micros(0)  # until when a deadline that has passed is excused
        self.doubted = False  # whether that was told
        self.set(state)

    def set(self, state: State) -> None:
        """Take on another state."""
        self.state = state
        self.due = due(state, self.rhythm, self.began)

    @property
    def judged(self) -> Micros | None:
        """When it will be down unless something comes; None while that cannot be."""
        return None if self.due is None else self.due.judged

    def phase(self, present: Micros) -> Phase:
        """Return how it stands."""
        return phase(self.state, self.rhythm, self.began, present)

    def note(self) -> str:
        """Return the last ping and what is awaited, for people; empty while it is down."""
        if self.due is None:
            return ""
        by = clock_text(self.due.at, self.zone, named=True)
        if self.state.started is not None:
            return f"running since {clock_text(self.state.started, self.zone)}, to end by {by}"
        return f"pinged {clock_text(self.due.since, self.zone)}, next by {by}"

    def sample(self, at: Micros) -> Sample:
        """Return what is known as a sample; no earlier than the one before, which would hide it."""
        self.told = max(at, self.told)
        why = self.state.why
        tags = Tags({**self.tags, "error": why}) if why else self.tags
        return Sample(f"{KIND}.{self.name}.up", float(bool(self.state.up)), self.told, tags)


class Heartbeats:
    """All heartbeats of a daemon, kept by name; `configure` says which there are.

    `put` queues samples. `load()` gives the stored states by key, and `save` stores some, durably; both may
    raise OculusError. Without them nothing outlasts the process.
    """

    def __init__(
        self,
        context: Context,
        put: Callable[[list[Sample]], None] = lambda samples: None,
        load: Callable[[], Mapping[str, str]] = dict,
        save: Callable[[Mapping[str, str]], None] = lambda states: None,
        wall: Callable[[], Micros] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context = context
        self._put = put
        self._load = load
        self._save = save
        self._wall = wall
        self._monotonic = monotonic
        self._guard = ClockGuard(None, wall, monotonic)
        self._began = wall()
        self._beats: dict[str, Beat] = {}
        self._by_key: dict[bytes, Beat] = {}
        self._restored: dict[str, str] | None = None
        self._unsaved: dict[str, Beat] = {}
        self._saving: AsyncResult[bool] = AsyncResult()
        self._wake, self._save_wake = Signal(), Signal()
        self._running = False
        self._save_failed = False

    # -- which there are ----------------------------------------------------------------------------------

    def configure(self, specs: Iterable[CollectorSpec]) -> None:
        """Listen for these heartbeats from now on, and for no others; those that stay keep their state."""
        wanted = {spec.name: spec for spec in specs if spec.kind == KIND}
        if self._restored is None:  # at the start, also for those that a reload brings
            self._restored = dict(self._load())
        present = self._look_at_clock()
        before, self._beats = self._beats, {}
        # What is taken out may come back with another reload.
        gone = {STORED + name: beat.state.to_json() for name, beat in before.items() if name not in wanted}
        self._restored |= gone
        for name, spec in wanted.items():
            known = before.get(name)
            if known is not None and known.spec == spec:
                self._beats[name] = known
            else:
                self._beats[name] = self._made(spec, known, present)
        self._by_key = {}
        for beat in self._beats.values():
            self._name_by_key(beat)
        if self._beats and not self._running and self._context.spawn is not None:
            self._running = True
            self._context.spawn("heartbeats", self._watch)
            self._context.spawn("heartbeat states", self._keep_saving)
        self._wake.set()

    def join(self, spec: CollectorSpec) -> Beat:
        """Return the heartbeat of a collector, which is made unless it was configured."""
        beat = self._beats.get(spec.name)
        if beat is None or beat.spec != spec:
            self.configure([*(beat.spec for name, beat in self._beats.items() if name != spec.name), spec])
        return self._beats[spec.name]

    def find(self, name: str) -> tuple[Beat, bool] | None:
        """Return the heartbeat that a path names, and whether it does by its key."""
        keyed = self._by_key.get(_digest(name))
        if keyed is not None:
            return keyed, True
        beat = self._beats.get(slug(name))
        return None if beat is None else (beat, False)

    def _made(self, spec: CollectorSpec, known: Beat | None, present: Micros) -> Beat:
        if known is None:
            return Beat(spec, shifted(self._stored(spec.name), 0.0, present, present), present)
        beat = Beat(spec, known.state, known.began)
        beat.told, beat.events, beat.notes = known.told, known.events, known.notes
        outcome = revised(beat.state, beat.rhythm, beat.began, present)
        if outcome.flips:
            self._take(beat, outcome, present)
        return beat

    def _stored(self, name: str) -> State:
        text = (self._restored or {}).get(STORED + name)
        if text is None:
            return State()
        try:
            return State.of_json(text)
        except (ValueError, TypeError) as error:
            told = f"the stored state of heartbeat {name} cannot be read, it starts anew: {error}"
            self._context.report(Event(self._wall(), f"{KIND}/{name}", "error", "error", told))
            return State()

    def _name_by_key(self, beat: Beat) -> None:
        """Let it be reached by its key. By a digest, so that the time of a look-up tells nothing of it."""
        if not beat.key:
            return
        other = self._by_key.setdefault(_digest(beat.key), beat)
        if other is not beat:
            told = f"heartbeats {other.name} and {beat.name} have the same key; it reaches {other.name} only"
            self._context.report(Event(self._wall(), beat.spec.id, "error", "error", told))

    # -- pings and deadlines ------------------------------------------------------------------------------

    def ping(self, beat: Beat, ping: Ping) -> bool:
        """Take a ping in; return whether its effect is stored for good. One that is not counts all the same.

        The text of a `log` becomes an event: False when there were too many of those.
        """
        present = self.judge(beat)
        noted = not ping.line or ping.kind == "fail" or self._note(beat, ping, present)
        if ping.kind == "log":
            return noted
        failing = beat.state.up is False
        # What is due and not down was excused: it stays so when the ping comes after all.
        outcome = pinged(beat.state, ping, present, beat.rhythm, beat.began, excused=True)
        saving = self._take(beat, outcome, present, ping)
        if ping.kind == "fail" and failing:  # each failure has its text, though it is no flip
            self._report(beat, present, ping)
        if not self._running:
            return self.flush()
        self._wake.set()
        try:
            return bool(saving.get(timeout=PATIENCE))
        except gevent.Timeout:
            return False

    def judge(self, beat: Beat) -> Micros:
        """See whether a heartbeat's deadline has passed; return the time that was looked at."""
        present = self._look_at_clock()
        if passed(beat.state, beat.rhythm, beat.due, present).flips and not self._is_excused(beat, present):
            # Finding that out takes a while, in which a ping may have come.
            self._take(beat, passed(beat.state, beat.rhythm, beat.due, present), present)
            if not self._running:
                self.flush()
        return present

    def _is_excused(self, beat: Beat, present: Micros) -> bool:
        """Tell whether a ping that did not come is no fault of its sender's; its deadline is put off then.

        A maintenance window is open, or this host has lost the network: that makes it unknown.
        """
        if present < beat.put_off:
            return True
        excuse = self._context.excuse(f"{KIND}.{beat.name}", False)
        if not excuse:
            return False
        beat.put_off = Micros(present + PUT_OFF)
        beat.doubted = True
        why = Tags({**beat.tags, "reason": excuse})
        self._put([Sample(f"{KIND}.{beat.name}.unknown", 1.0, present, why)])
        return True

    def _take(
        self, beat: Beat, outcome: Outcome, present: Micros, ping: Ping | None = None
    ) -> AsyncResult[bool]:
        """Take on the state that something led to; tell of a flip and of a run's end.

        Returns what will tell whether that is stored.
        """
        before = beat.state.up
        beat.set(outcome.state)
        samples = [beat.sample(flip.at) for flip in outcome.flips]
        if beat.doubted and (ping is not None or outcome.flips):
            beat.doubted = False
            samples.append(Sample(f"{KIND}.{beat.name}.unknown", 0.0, present, beat.tags))
        if outcome.duration is not None:
            samples.append(Sample(f"{KIND}.{beat.name}.duration", outcome.duration, present, beat.tags))
        self._put(samples)
        for flip in outcome.flips:
            if not flip.up or before is False:
                self._report(beat, flip.at, ping)
        return self._mark(beat)

    def _watch(self) -> None:
        """Look at the deadlines, for ever."""
        while True:
            self._wake.clear()
            present = self._look_at_clock()
            for beat in slices(list(self._beats.values())):
                if beat.judged is not None and max(beat.judged, beat.put_off) <= present:
                    self.judge(beat)
            waiting = [
                max(beat.judged, beat.put_off) for beat in self._beats.values() if beat.judged is not None
            ]
            left = (min(waiting) - self._wall()) / SECOND if waiting else LOOK
            self._wake.wait(min(LOOK, max(0.001, left)))

    def _look_at_clock(self) -> Micros:
        """Return the present time; after a step of the wall clock the times of this run move along."""
        step = self._guard.check()
        present = self._wall()
        if step is not None:
            base, self._began = self._began, Micros(self._began + int(step * SECOND))
            for beat in self._beats.values():
                beat.began = Micros(beat.began + int(step * SECOND))
                beat.told = Micros(0)
                beat.set(shifted(beat.state, step, base, present))
                self._mark(beat)
        return present

    # -- what is told -------------------------------------------------------------------------------------

    def _report(self, beat: Beat, at: Micros, ping: Ping | None) -> None:
        """Make an event of a flip or of a failure, unless there were too many."""
        if not beat.events.take(self._monotonic()):
            return
        down = beat.state.up is False
        told = f"heartbeat {beat.name} is " + (f"down: {beat.state.why}" if down else "up again")
        kind: tuple[EventType, Severity] = ("error", "error") if down else ("system", "info")
        payload = {"heartbeat": beat.name, "up": not down, "reason": beat.state.why, "at": iso(at)}
        if ping is not None and ping.body:
            payload["body"] = ping.body
        self._context.report(Event(at, beat.spec.id, *kind, told, payload))

    def _note(self, beat: Beat, ping: Ping, at: Micros) -> bool:
        """Make an event of the text that came with a ping; return whether there was room for it."""
        if not beat.notes.take(self._monotonic()):
            return False
        told = f"heartbeat {beat.name}, {ping.kind}: {ping.line}"
        payload = {"heartbeat": beat.name, "ping": ping.kind, "rid": ping.rid, "body": ping.body}
        self._context.report(Event(at, beat.spec.id, "audit", "info", told, payload))
        return True

    # -- storing ------------------------------------------------------------------------------------------

    def _mark(self, beat: Beat) -> AsyncResult[bool]:
        """Have it stored soon; return what will tell whether it is."""
        self._unsaved[STORED + beat.name] = beat
        self._save_wake.set()
        return self._saving

    def flush(self) -> bool:
        """Store what has changed; return whether it is. What failed is kept for the next time."""
        self._save_wake.clear()
        if not self._unsaved:
            return True
        beats, self._unsaved = self._unsaved, {}
        saving, self._saving = self._saving, AsyncResult()
        error = "it was interrupted"
        try:
            self._save({key: beat.state.to_json() for key, beat in beats.items()})
            error = ""
        except OculusError as failure:
            error = str(failure)
        finally:
            if error:
                self._unsaved = beats | self._unsaved
                self._save_wake.set()
            saving.set(not error)
        if bool(error) is not self._save_failed:
            self._save_failed = bool(error)
            told = f"pings count, but cannot be stored: {error}" if error else "pings are stored again"
            kind: tuple[EventType, Severity] = ("error", "error") if error else ("system", "info")
            self._context.report(Event(self._wall(), KIND, *kind, told))
        return not error

    def _keep_saving(self) -> None:
        while True:
            self._save_wake.wait()
            gevent.sleep(SPACING if self.flush() else RETRY)

    def close(self) -> None:
        """End the greenlets, and store what is not yet."""
        if self._running and self._context.end is not None:
            self._context.end("heartbeats")
            self._context.end("heartbeat states")
        self._running = False
        self.flush()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()
