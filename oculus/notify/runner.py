"""Runs one action of a rule: at each step of an alert that asks for it, in the alert's order, and until it
has worked or is given up.

Unlike a message, a step is never gathered with others, nor left out since a later one is known. What waits
are the rows of `deliveries`, so that a kill loses no step; one that was being acted upon is begun anew, under
the same id.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s

import gevent
from gevent.event import Event as Signal
from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from loguru import logger

from oculus.clock import SECOND, now
from oculus.config.settings import ActionSettings
from oculus.errors import OculusError, reason
from oculus.masking import mask
from oculus.model import Event, Micros, Severity, Transition
from oculus.notify.action import Action, Ran
from oculus.notify.backlog import Backlog, Shelf
from oculus.notify.courier import LONGEST_LOOK, Outcome, Progress, wait_after
from oculus.notify.notice import Notice

# Tries of one action at once, each for another alert: those that hang hold up the others of their rule only
# when there are as many.
AT_ONCE = 4

# Steps that are held in memory, 4 kB each; others wait in the store.
ROOM = 2_000

TO_END = 1.0  # seconds that tries under way have to end when the action is gone, or the daemon stops


@dataclass(slots=True)
class _Waiting:
    """A step to act upon, with its event once that is stored, and how far it has come."""

    event: int | None
    step: Transition
    tries: int = 0
    error: str = ""
    due: Micros | None = None  # of the next try; None: one is under way

    @property
    def key(self) -> tuple[str, Micros]:
        """What tells it from all others."""
        return self.step.alert, self.step.ts


class Runner:
    """Runs an action as its channel's courier sends messages: `shelf` is its part of the store, `report`
    tells an event, `dress` adds a link."""

    def __init__(
        self,
        name: str,
        action: Action,
        shelf: Shelf,
        report: Callable[[Event], object],
        dress: Callable[[Notice, int | None], Notice] = lambda notice, event: notice,
        time_now: Callable[[], Micros] = now,
        chance: Callable[[], float] = random.random,
        pause: Callable[[float], object] | None = None,
        room: int = ROOM,
    ) -> None:
        self.name = name
        self._shelf = shelf
        self._report = report
        self._dress = dress
        self._now = time_now
        self._chance = chance
        self._pause = pause or self._wait
        self._queues: dict[str, deque[_Waiting]] = {}  # by alert
        self._held: set[int] = set()  # events that wait here, or whose outcome is not noted yet
        self._ended: dict[int, Outcome] = {}  # the latter
        self._backlog = Backlog(shelf, room)
        self._unstored: dict[tuple[str, Micros], Outcome] = {}  # done before they were stored
        self._late: set[tuple[str, Micros]] = set()  # not taken before they are stored
        self._turns = BoundedSemaphore(AT_ONCE)
        self._wake = Signal()
        self._changed = Signal()
        self.sent = 0
        self.failed = 0
        self.use(action)

    def use(self, action: Action) -> None:
        """Run another action from now on; what waits for its next try is tried at once."""
        self.channel = action
        self.settings: ActionSettings = action.settings
        changed, self._changed = self._changed, Signal()
        changed.set()

    def _wait(self, seconds: float) -> None:
        self._changed.wait(seconds)

    # -- what comes in ------------------------------------------------------------------------------------

    def take(self, event: int | None, step: Transition) -> None:
        """Take a step, with its event's id once it is stored; without room it stays there."""
        if event is None and self._backlog.left:  # it must come after those that wait there
            self._late.add((step.alert, step.ts))
        elif event is None or (event not in self._held and not self._backlog.keeps(len(self._held))):
            self._take(event, step)
        self._wake.set()

    def _take(self, event: int | None, step: Transition) -> None:
        self._queues.setdefault(step.alert, deque()).append(_Waiting(event, step, due=step.ts))
        if event is not None:
            self._held.add(event)

    def number(self, event: int, step: Transition) -> None:
        """Note the id of a step that was taken before it was stored."""
        key = step.alert, step.ts
        if key in self._late:
            self._late.discard(key)
            self.restore({}, 1)
            return
        for waiting in self._queues.get(step.alert, ()):
            if waiting.event is None and waiting.key == key:
                waiting.event = event
                self._held.add(event)
                return
        outcome = self._unstored.pop(key, None)
        if outcome is not None:
            self._store([replace(outcome, event=event)])

    def give_up(self, told: str) -> None:
        """Note that nothing will be done about what waits."""
        queues, self._queues = self._queues, {}
        for waiting in (waiting for queue in queues.values() for waiting in queue):
            became = "given up" if waiting.tries else "not run"
            self._end(waiting, "failed", Ran(False, f"was {became}: {told}"), 0.0)
        self._backlog.give_up(self._now(), told)

    def restore(self, stored: Mapping[str, str], left: int) -> None:
        """Take up so many steps that wait in the store; nothing else is remembered."""
        self._backlog.left += left
        self._wake.set()

    def _refill(self) -> None:
        """Take up what waits in the store, as far as there is room."""
        while self._backlog.ready(len(self._held)):
            for event, step in self._backlog.page(self._held):
                if event in self._held:
                    continue
                if isinstance(step, str):
                    self._ended[event] = Outcome(event, "failed", self._now(), told=step)
                else:
                    self._take(event, step)
            if self._ended and not self._store([]):
                return

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Act for ever, for each alert in a greenlet of its own while it has steps that wait."""
        working: dict[str, gevent.Greenlet[..., None]] = {}
        group = Group()
        try:
            while True:
                self._wake.clear()
                try:
                    self._refill()
                except OculusError as error:  # in a few seconds, perhaps
                    logger.debug("what waits for {} cannot be read: {}", self.name, error)
                working = {alert: worker for alert, worker in working.items() if not worker.dead}
                for alert in [alert for alert in self._queues if alert not in working]:
                    working[alert] = group.spawn(self._work, alert)
                self._wake.wait(LONGEST_LOOK if self._backlog.left else None)
        finally:
            group.kill(timeout=TO_END)

    def _work(self, alert: str) -> None:
        """Act upon the steps of an alert, one after the other."""
        queue = self._queues[alert]
        while queue:
            self.act(queue[0])
            queue.popleft()
        del self._queues[alert]
        if self._backlog.left:
            self._wake.set()

    def act(self, waiting: _Waiting) -> None:
        """Act upon a step: try until it works or is given up, and note how that went."""
        settings, state, seconds = self.settings, "expired", 0.0
        ran = Ran(False, "was not run: its turn came too late")
        while self._now() - waiting.step.ts <= settings.expire * SECOND:
            with self._turns, self.channel.turn():
                settings, began = self.settings, time.monotonic()  # another one may be used meanwhile
                waiting.tries, waiting.due = waiting.tries + 1, None
                ran = self._try(waiting)
                seconds = time.monotonic() - began
            if ran.ok:
                state = "sent"
                break
            self.failed += 1
            waiting.error = mask(ran.told)
            if ran.permanent or waiting.tries > settings.retry:
                state = "failed"
                break
            self._put_off(waiting, ran)
        self.sent += ran.ok
        self._end(waiting, state, ran, seconds)

    def _try(self, waiting: _Waiting) -> Ran:
        step, action = waiting.step, self.channel
        fires = step.state == "firing"
        notice = Notice(
            id=self._id(step),
            reason="first" if fires else "over",
            firing=(step,) if fires else (),
            resolved=() if fires else (step,),
            at=step.ts,
            sent_at=self._now(),
            group={"rule": step.rule},
        )
        with gevent.Timeout(action.longest) as timer:
            try:
                return action.run(self._dress(notice, waiting.event))
            except gevent.Timeout as fired:
                if fired is not timer:
                    return Ran(False, f"failed: timed out: {fired}")
                return Ran(False, f"was not done after {action.settings.timeout:g} s")
            except (Exception, SystemExit) as error:
                told = str(error) if isinstance(error, OculusError) else reason(error)
                return Ran(False, f"failed: {told}")

    def _id(self, step: Transition) -> str:
        """Return the same id for each try, also after a kill."""
        made = "\0".join((self.name, step.alert, str(step.ts), step.state))
        return blake2s(made.encode("utf-8", "replace"), digest_size=10).hexdigest()

    def _put_off(self, waiting: _Waiting, ran: Ran) -> None:
        """Wait before the next try of this alert; others go on."""
        wait = wait_after(waiting.tries - 1, self._chance(), ran.retry_after)
        if waiting.tries == 1:
            logger.warning("{}; it is tried again", self._sentence(waiting.step, ran))
        waiting.due = Micros(self._now() + int(wait * SECOND))
        self._pause(wait)

    # -- what is noted ------------------------------------------------------------------------------------

    def _sentence(self, step: Transition, ran: Ran) -> str:
        return f"rule {step.rule}: {self.settings.title} {ran.told}"

    def _end(self, waiting: _Waiting, state: str, ran: Ran, seconds: float) -> None:
        """Note what became of a step, and tell it as an event."""
        step, present = waiting.step, self._now()
        outcome = Outcome(waiting.event or 0, state, present, waiting.tries, self._id(step), ran.told)
        if waiting.event is None:
            self._unstored[waiting.key] = outcome
        else:
            self._store([outcome])
        told = self._sentence(step, ran)
        if waiting.tries > 1:
            told += f" ({'after' if ran.ok else 'given up after'} {waiting.tries} tries)"
        payload = {
            "rule": step.rule, "action": self.name, "type": self.settings.type, "outcome": state,
            "state": step.state, "symbol": step.symbol, "labels": dict(step.labels), "event": waiting.event,
            "id": outcome.notice, "tries": waiting.tries, "status": ran.status,
            "seconds": round(seconds, 3), "output": ran.output,
        }  # fmt: skip
        severity: Severity = "info" if ran.ok else "error"
        self._report(Event(present, step.rule, "audit", severity, told, payload))

    def _store(self, outcomes: Sequence[Outcome]) -> bool:
        """Store, if that can be: a database that takes nothing must not hold an action up. What could not be
        noted is with the next. Returns whether it was stored."""
        self._ended |= {one.event: one for one in outcomes}
        self._held |= self._ended.keys()
        noted = list(self._ended.values())
        try:
            self._shelf.settle(noted, {})
        except OculusError as error:
            logger.debug("what {} did cannot be noted: {}", self.name, error)
            return False
        for one in noted:
            self._ended.pop(one.event, None)
            self._held.discard(one.event)
        return True

    @property
    def waiting(self) -> int:
        """How many steps wait, here and in the store."""
        return sum(map(len, self._queues.values())) + self._backlog.left

    def progress(self, event: int) -> Progress | None:
        """Return how far a step that waits has come, by its event; None when it does not wait here."""
        for waiting in (waiting for queue in self._queues.values() for waiting in queue):
            if waiting.event == event:
                return Progress(waiting.tries, waiting.error, waiting.due, quiet=False)
        return None
