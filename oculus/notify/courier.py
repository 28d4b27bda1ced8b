"""One channel's way out: gathers steps of alerts into messages, sends them one after the other, and remembers
what it has sent.

A message is claimed on the disk before it is sent, and noted as sent after that: a kill in between sends it
once more, with the same id. While the service cannot be reached the courier waits, longer and longer; what
changes meanwhile is in the next message of its group.

Memory is bounded. Of an alert the last step counts alone, so many steps are held at most, and of these few
with their words: the rest is in the store.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from typing import Any

import gevent
from gevent.event import Event as Signal
from loguru import logger

from oculus import templates
from oculus.clock import SECOND, now
from oculus.config.settings import ChannelSettings
from oculus.cooperate import slices
from oculus.errors import OculusError, reason
from oculus.masking import mask
from oculus.model import SEVERITIES, Event, Micros, Transition
from oculus.notify import payload
from oculus.notify.backlog import Backlog, Shelf
from oculus.notify.base import Channel, Undelivered
from oculus.notify.grouping import Group, Message, Plan
from oculus.notify.notice import Notice
from oculus.notify.parcel import Held, Labels, Parcel, Words
from oculus.windows import parse_weekly
from oculus.zones import zone_or_local

STORED = "notice/"  # what the keys of remembered groups begin with

# Waits after failures: doubled each time, with a jitter of half of it. A service that was down for long is
# tried again within five minutes of its return.
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds
MAX_TEXT = 4_000  # characters: a template's loop must not make megabytes

LONGEST_LOOK = 5.0  # seconds between two looks at the clock, which may be set

# Steps that are held: 0.6 kB each without their words, and 4 kB with them.
ROOM = 10_000
WORDS = 1_000
AT_ONCE = 500  # that are read with their words
# Of those that were taken before they were stored so many are known: as many as the queue keeps.
EARLY = 10_000

REPLACED = "a later step of the alert is told instead"
NOTHING = "there was nothing to tell any more"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: `sent`, `failed`, `expired`, or `passed` when there was nothing left to tell."""

    event: int
    state: str
    at: Micros
    tries: int = 0
    notice: str = ""
    told: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step that waits has come: how often a try was begun, why the last one failed, and when the
    next one is `due`. None is due while one is under way, or in quiet hours, for whose end it waits."""

    tries: int
    error: str
    due: Micros | None
    quiet: bool


class Courier:
    """Sends for one channel. `shelf` is its part of the store, `report` tells an event, and `passed_on` gives
    another channel what this one gives up: the ids of events, and what returns the steps of some."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        shelf: Shelf,
        report: Callable[[Event], object],
        passed_on: Callable[[str, Sequence[Held], Words], None] = lambda name, held, words: None,
        dress: Callable[[Notice, int | None], Notice] = lambda notice, event: notice,
        time_now: Callable[[], Micros] = now,
        chance: Callable[[], float] = random.random,
        room: int = ROOM,
        silenced: Callable[[Transition], bool] = lambda step: False,
    ) -> None:
        """`dress` adds what is around the alerts, link and history, given the id of the first one's event.
        `silenced` tells of a step that was told whether a silence holds it back by now."""
        self.name = name
        self._shelf = shelf
        self._report = report
        self._passed_on = passed_on
        self._dress = dress
        self._now = time_now
        self._chance = chance
        self._silenced = silenced
        self._parcels: dict[Labels, Parcel] = {}
        self._former: list[Parcel] = []  # those of a plan that groups by other labels
        self._held: set[int] = set()  # events that wait here, or whose outcome is not noted yet
        self._ended: dict[int, Outcome] = {}  # the latter
        self._backlog = Backlog(shelf, room)
        self._words: dict[int, Transition] = {}  # of the last steps, by their events
        # What came before it was stored, by time and alert: it waits, has its outcome, or was not taken.
        self._early: dict[tuple[Micros, str], Held | Outcome | None] = {}
        self._early_words: dict[int, Transition] = {}
        self._unstored = 0
        self._wake = Signal()
        self._paused_until = Micros(0)
        self._failures = 0  # in a row
        self.sent = 0
        self.failed = 0
        self.error = ""  # why the last try failed
        self.failing_since: Micros | None = None
        self.use(channel)

    def use(self, channel: Channel) -> None:
        """Send by another channel from now on, in the same groups as far as these stay the same."""
        self.channel = channel
        self.settings: ChannelSettings = channel.settings
        self.plan = plan_of(self.settings)
        zone = zone_or_local(self.settings.timezone)
        self._quiet = parse_weekly(self.settings.quiet, zone) if self.settings.quiet else None
        for parcel in self._parcels.values():
            parcel.group.plan(self.plan)
        self._find_former()
        self._paused_until, self._failures = Micros(0), 0
        self._wake.set()

    def _find_former(self) -> None:
        by = self.plan.by
        self._former = [
            parcel for labels, parcel in self._parcels.items() if tuple(name for name, _ in labels) != by
        ]

    # -- what comes in ------------------------------------------------------------------------------------

    def take(self, event: int | None, step: Transition) -> None:
        """Take a step of an alert, with its event's id once it is stored; without room it stays there."""
        if event is not None:
            if event not in self._held and not self._backlog.keeps(len(self._held)):
                self._take(Held.of(event, step), step)
        else:
            # Older ones that wait in the store come first: it is taken once it is stored.
            held = None if self._backlog.left else self._unstored_held(step)
            self._early[step.ts, step.alert] = held
            shorten(self._early, EARLY)
            if held is not None:
                self._take(held, step)
        self._wake.set()

    def take_unstored(self, step: Transition) -> None:
        """Take a step that will not be stored for this channel."""
        self._take(self._unstored_held(step), step)
        self._wake.set()

    def _unstored_held(self, step: Transition) -> Held:
        self._unstored -= 1
        self._early_words[self._unstored] = step
        shorten(self._early_words, EARLY)
        return Held.of(self._unstored, step)

    def more(self, count: int) -> None:
        """Take up so many events that have been stored for this channel."""
        self._backlog.left += count
        self._wake.set()

    def _take(self, held: Held, step: Transition) -> None:
        self._held.add(held.event)
        if SEVERITIES.index(held.severity) < SEVERITIES.index(self.settings.severity):
            self._finish(held, "passed", "less severe than this channel takes")
            return
        parcel = self._parcel(held, step)
        before = parcel.group.member(held.alert)
        if not parcel.group.take(held):
            self._finish(held, "passed", NOTHING)
            return
        parcel.waiting[held.event] = held
        if held.event >= 0:
            self._words[held.event] = step
            shorten(self._words, WORDS)
        if before is not None and before.event in parcel.waiting and not parcel.claims(before):
            del parcel.waiting[before.event]
            self._finish(before, "passed", REPLACED)

    def _parcel(self, held: Held, step: Transition) -> Parcel:
        """Return the parcel that an alert belongs to: the one that it is in, if that is of a former plan."""
        for parcel in self._former:
            if parcel.group.member(held.alert) is not None:
                return parcel
        labels = tuple(zip(self.plan.by, self.plan.key(step), strict=True))
        return self._parcels.setdefault(labels, Parcel(Group(self.plan)))

    def number(self, event: int, step: Transition) -> None:
        """Note the id of a step that was taken before it was stored."""
        unknown = Outcome(event, "sent", self._now(), told="sent before it was stored")
        found = self._early.pop((step.ts, step.alert), unknown)
        if found is None:
            self.more(1)
        elif isinstance(found, Outcome):
            self._store([replace(found, event=event)])
        else:
            number, found.event = found.event, event
            self._held.discard(number)
            self._held.add(event)
            if words := self._early_words.pop(number, None):
                self._words[event] = words
            waiting = self._parcel(found, step).waiting
            if waiting.pop(number, None) is not None:
                waiting[event] = found

    def give_up(self, told: str) -> None:
        """Note that nothing of what waits will be sent."""
        outcomes = [
            Outcome(event, "failed", self._now(), told=told) for event in self._held - self._ended.keys()
        ]
        states: dict[str, str | None] = {self._key(labels): None for labels in self._parcels}
        self._parcels = {}
        if outcomes or states:
            self._store(outcomes, states)
        self._backlog.give_up(self._now(), told)

    def restore(self, stored: Mapping[str, str], left: int) -> None:
        """Take up what was remembered, by its keys without STORED and the channel's name, and so many steps
        that wait in the store."""
        for key, text in stored.items():
            try:
                labels = tuple((str(name), str(value)) for name, value in json.loads(key))
                self._parcels[labels] = Parcel.of_json(text, self.plan)
            except (ValueError, KeyError, TypeError) as error:
                logger.debug("what {} remembered cannot be read: {}", self.name, error)
        self._find_former()
        self.more(left)

    def _refill(self) -> None:
        """Take up what waits in the store, as far as there is room."""
        while self._backlog.ready(len(self._held)):
            for event, step in self._backlog.page(self._held):
                if event in self._held:
                    continue
                if isinstance(step, str):
                    self._ended[event] = Outcome(event, "failed", self._now(), told=step)
                else:
                    self._take(Held.of(event, step), step)
            if not self._store([]):  # they would be read again and again
                return

    # -- sending ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send for ever."""
        while True:
            self._wake.clear()
            due = self.step()
            left = LONGEST_LOOK if due is None else (due - self._now()) / SECOND
            self._wake.wait(min(max(left, 0.01), LONGEST_LOOK))

    def step(self) -> Micros | None:
        """Send what is due; return when something will be, None when nothing waits."""
        try:
            self._refill()
        except OculusError as error:  # in a few seconds, perhaps
            logger.debug("what waits for {} cannot be read: {}", self.name, error)
        if self._ended:
            self._store([])
        for labels, parcel in slices(sorted(self._parcels.items(), key=lambda entry: _age(entry[1]))):
            present = self._now()
            if self._paused_until > present:
                return self._paused_until
            if parcel.notice is None:
                self._look(labels, parcel, present)
            if parcel.notice is not None:
                self._attempt(labels, parcel, parcel.notice)
        self._parcels = {labels: parcel for labels, parcel in self._parcels.items() if parcel}
        self._former = [parcel for parcel in self._former if parcel]
        waits = [self._paused_until] if any(parcel.notice for parcel in self._parcels.values()) else []
        if self._backlog.ready(len(self._held)):
            waits.append(Micros(self._now() + SECOND))
        return min((*waits, *self._dues()), default=None)

    def _dues(self) -> Iterator[Micros]:
        present = self._now()
        for parcel in self._parcels.values():
            due = parcel.group.due
            if due is not None and not self._is_quiet(parcel, present):
                yield due

    def _is_quiet(self, parcel: Parcel, present: Micros) -> bool:
        """Tell whether a group has to wait for the end of the quiet hours: unless it is critical."""
        if self._quiet is None or not self._quiet.contains(present):
            return False
        return parcel.group.severity != "critical"

    def _look(self, labels: Labels, parcel: Parcel, present: Micros) -> None:
        """Claim the message of a group, if one is due."""
        due = parcel.group.due
        if due is None:
            self._pass(labels, parcel)
            return
        if due > present or self._is_quiet(parcel, present):
            return
        message = parcel.group.flush(present)
        if message is None:
            self._pass(labels, parcel)
            return
        parcel.cut, parcel.tries = present, 0
        if message.reason == "repeat":
            message = self._audible(message)
            if not message.firing:  # as if it had been told again
                parcel.cut = None
                parcel.group.sent(present)
                self._store([], {self._key(labels): parcel.to_json()})
                return
        parcel.notice = self._made(labels, message, present)
        self._store([], {self._key(labels): parcel.to_json()})

    def _audible(self, message: Message[Held]) -> Message[Held]:
        """Return a reminder without what a silence holds back."""
        kept: list[Held] = []
        for start in range(0, len(message.firing), AT_ONCE):
            part = message.firing[start : start + AT_ONCE]
            steps = zip(part, self._with_words(part), strict=True)
            kept += [held for held, step in steps if not self._silenced(step)]
        return replace(message, firing=tuple(kept))

    def _made(self, labels: Labels, message: Message[Held], present: Micros) -> Notice:
        """Return a group's message as it is sent; what is beyond the channel's limit is counted."""
        most = self.settings.most
        firing, resolved = message.firing[:most], message.resolved[: max(0, most - len(message.firing))]
        more = len(message.firing) + len(message.resolved) - len(firing) - len(resolved)
        made = f"{self.name}\0{json.dumps([value for _, value in labels])}\0{present}"
        words = self._with_words((*firing, *resolved))
        return Notice(
            id=blake2s(made.encode(), digest_size=10).hexdigest(),
            reason=message.reason,
            firing=tuple(words[: len(firing)]),
            resolved=tuple(words[len(firing) :]),
            at=max(held.ts for held in (*message.firing, *message.resolved)),
            sent_at=present,
            group=dict(labels),
            more=more,
        )

    def _with_words(self, wanted: Sequence[Held]) -> list[Transition]:
        """Return steps with their words; those of one whose event is gone are few."""
        missing = [held.event for held in wanted if held.event >= 0 and held.event not in self._words]
        found: dict[int, Transition] = {}
        if missing:
            try:
                found = self._shelf.steps(missing)
            except OculusError as error:
                logger.debug("steps that {} tells cannot be read: {}", self.name, error)
        known = (self._words, self._early_words, found)
        return [
            next((words[held.event] for words in known if held.event in words), None) or held.bare()
            for held in wanted
        ]

    def _attempt(self, labels: Labels, parcel: Parcel, notice: Notice) -> None:
        """Try to send a claimed message once, and note how that went."""
        present = self._now()
        parcel.tries += 1
        failed: Undelivered | None = None
        said = ""
        with gevent.Timeout(self.settings.timeout) as timer:
            try:
                said = self.channel.deliver(self._dressed(parcel, replace(notice, sent_at=present))) or ""
            except gevent.Timeout as fired:
                why = (
                    f"not done after {self.settings.timeout:g} s" if fired is timer else f"timed out: {fired}"
                )
                failed = Undelivered(why)
            except Undelivered as error:
                failed = error
            except (Exception, SystemExit) as error:
                # Of a plugin, or a mistake of the program: it may hold any text.
                failed = Undelivered(mask(str(error) if isinstance(error, OculusError) else reason(error)))
        present = self._now()
        if failed is None:
            self._worked()
            self.sent += 1
            parcel.group.sent(present)
            self._end(labels, parcel, notice, "sent", str(said))
            return
        self.failing_since = self.failing_since or present
        self.error = mask(str(failed))
        self.failed += 1
        overdue = present - notice.at > self.settings.expire * SECOND
        if not failed.permanent and not overdue:
            self._failed_for_now(failed, present)
            self._store([], {self._key(labels): parcel.to_json()})  # so that a restart forgets no try
            return
        state = "failed" if failed.permanent else "expired"
        told = f"channel {self.name} gives a message up ({notice.title}): {failed}"
        self._report(Event(present, f"notify.{self.name}", "error", "error", told, {"notice": notice.id}))
        parcel.group.sent(present)  # as far as this channel goes
        # Told by the other one before it is noted here: a kill in between makes both tell it.
        if self.settings.fallback:
            given = [held for held in parcel.waiting.values() if parcel.claims(held)]
            self._passed_on(self.settings.fallback, given, self._with_words)
        self._end(labels, parcel, notice, state, str(failed))

    def _dressed(self, parcel: Parcel, notice: Notice) -> Notice:
        """Return a message with its link and chart, and the text that the settings ask for."""
        first = notice.alerts[0]
        held = parcel.group.member(first.alert)
        same = held is not None and held.event >= 0 and held.ts == first.ts
        dressed = self._dress(notice, held.event if held is not None and same else None)
        if not self.settings.template or self.channel.fills_template:
            return dressed
        try:
            text = templates.render(self.settings.template, payload.values(payload.own(dressed)), MAX_TEXT)
        except Exception as error:  # a user's template may fail in any way, and must not hide the alert
            text = f"{dressed.title} [the channel's template failed: {error}]"
        return replace(dressed, text=text)

    def _worked(self) -> None:
        if self._failures:
            self._report(
                Event(
                    self._now(), f"notify.{self.name}", "system", "info", f"channel {self.name} works again"
                )
            )
        self._failures, self._paused_until, self.error, self.failing_since = 0, Micros(0), "", None
        self.failing_since = None

    def _failed_for_now(self, failed: Undelivered, present: Micros) -> None:
        """Wait before the next try, whatever it is about: the service is the same."""
        if not self._failures:
            told = f"channel {self.name} fails, its messages wait: {failed}"
            self._report(Event(present, f"notify.{self.name}", "error", "warn", told))
        self.failing_since = self.failing_since or present
        wait = wait_after(self._failures, self._chance(), failed.retry_after)
        self._failures += 1
        self._paused_until = Micros(present + int(wait * SECOND))

    # -- what is remembered -------------------------------------------------------------------------------

    def _end(self, labels: Labels, parcel: Parcel, notice: Notice, state: str, told: str) -> None:
        """Note what became of a message, and of all that happened before it."""
        named = {(step.ts, step.alert) for step in notice.alerts}
        known = {step.alert for step in notice.alerts}
        for event, held in list(parcel.waiting.items()):
            if not parcel.claims(held):
                continue
            told_now = (held.ts, held.alert) in named or (held.alert in known and state != "sent")
            became = state if told_now or notice.more else "passed"
            self._finish(held, became, told, parcel.tries, notice.id)
            del parcel.waiting[event]
        parcel.notice, parcel.cut = None, None
        self._store([], {self._key(labels): parcel.to_json() if parcel.group else None})
        parcel.tries = 0

    def _pass(self, labels: Labels, parcel: Parcel) -> None:
        """Note that what happened was over before it was to be told, or is nothing new."""
        if parcel.waiting:
            for held in parcel.waiting.values():
                self._finish(held, "passed", NOTHING)
            parcel.waiting.clear()
            self._store([], {self._key(labels): parcel.to_json() if parcel.group else None})

    def _finish(self, held: Held, state: str, told: str, tries: int = 0, notice: str = "") -> None:
        """Give a step its outcome, which is to be noted once the step is stored."""
        outcome = Outcome(held.event, state, self._now(), tries, notice, told)
        if held.event >= 0:
            self._ended[held.event] = outcome
            return
        self._held.discard(held.event)
        key = held.ts, held.alert
        if key in self._early:
            self._early[key] = outcome

    def _store(self, outcomes: Sequence[Outcome], states: Mapping[str, str | None] = {}) -> bool:
        """Store, if that can be: a database that takes nothing must not keep an alert from being sent. What
        could not be noted is with the next. Returns whether it was stored."""
        self._ended |= {one.event: one for one in outcomes if one.event >= 0}
        self._held |= self._ended.keys()
        noted = list(self._ended.values())
        try:
            self._shelf.settle(noted, states)
        except OculusError as error:
            logger.debug("what {} sent cannot be noted: {}", self.name, error)
            return False
        for one in noted:
            self._ended.pop(one.event, None)
            self._held.discard(one.event)
        return True

    def _key(self, labels: Labels) -> str:
        return f"{STORED}{self.name}/{json.dumps(labels)}"

    @property
    def waiting(self) -> int:
        """How many steps wait to be told, here and in the store."""
        return len(self._held) - len(self._ended) + self._backlog.left

    def progress(self, event: int) -> Progress | None:
        """Return how far a step that waits has come, by its event; None when it does not wait here."""
        parcel = next((parcel for parcel in self._parcels.values() if event in parcel.waiting), None)
        if parcel is None:
            return None
        notice, present = parcel.notice, self._now()
        if notice is not None and parcel.claims(parcel.waiting[event]):
            due = self._paused_until if self._paused_until > present else None
            return Progress(parcel.tries, self.error, due, quiet=False)
        quiet = self._is_quiet(parcel, present)
        due = None if quiet else parcel.group.due
        return Progress(0, "", None if due is None else max(due, self._paused_until), quiet)


def shorten(found: dict[Any, Any], most: int) -> None:
    """Drop the oldest of more than so many entries."""
    if len(found) > most:
        del found[next(iter(found))]


def wait_after(failures: int, chance: float, retry_after: float | None) -> float:
    """Return the seconds to wait after a failure that followed so many others; `chance` is a random number
    below 1, `retry_after` what the service asks for."""
    if retry_after is not None:
        return max(retry_after, FIRST_WAIT / 2)
    return min(FIRST_WAIT * 2.0 ** min(failures, 20), LONGEST_WAIT) * (0.5 + chance / 2)


def plan_of(settings: ChannelSettings) -> Plan:
    """Return how a channel's settings group its messages."""
    return Plan(
        settings.group_by, settings.group_wait, settings.group_interval, settings.repeat, settings.resolved
    )


def _age(parcel: Parcel) -> Micros:
    """Return since when a parcel waits: what was claimed goes first, then what is due longest."""
    if parcel.notice is not None:
        return Micros(0)
    return parcel.group.due or Micros(2**62)
