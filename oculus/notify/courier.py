"""One channel's way out: gathers steps of alerts into messages, sends them one after the other, and remembers
what it has sent.

A message is claimed on the disk before it is sent, and noted as sent after that: a kill in between sends it
once more, with the same id. While the service cannot be reached the courier waits, longer and longer; what
changes meanwhile is in the next message of its group.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2s

import gevent
from gevent.event import Event as Signal
from loguru import logger

from oculus import templates
from oculus.clock import SECOND, now
from oculus.config.settings import ChannelSettings
from oculus.errors import OculusError, reason
from oculus.model import SEVERITIES, Event, Micros, Transition
from oculus.notify import payload
from oculus.notify.base import Channel, Undelivered
from oculus.notify.grouping import Group, Key, Message, Plan
from oculus.notify.notice import Notice
from oculus.windows import parse_weekly
from oculus.zones import zone_or_local

STORED = "notice/"  # what the keys of remembered groups begin with

# Waits after failures: doubled each time, with a jitter of half of it. A service that was down for long is
# tried again within five minutes of its return.
FIRST_WAIT, LONGEST_WAIT = 2.0, 300.0  # seconds
MAX_TEXT = 4_000  # characters: a template's loop must not make megabytes

LONGEST_LOOK = 5.0  # seconds between two looks at the clock, which may be set


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: `sent`, `failed`, `expired`, or `passed` when there was nothing left to tell."""

    event: int
    state: str
    at: Micros
    tries: int = 0
    notice: str = ""
    told: str = ""


# Notes outcomes and what is remembered by key, in one transaction; raises OculusError.
Settle = Callable[[Sequence[Outcome], Mapping[str, str | None]], None]


@dataclass(slots=True)
class Parcel:
    """A group of alerts, the events that wait for it, and the message that is being sent."""

    group: Group
    waiting: dict[int, tuple[Micros, str]] = field(default_factory=dict)  # events: their time and alert
    notice: Notice | None = None
    tries: int = 0


class Courier:
    """Sends for one channel. `settle` stores, `report` tells an event, `passed_on` takes what another channel
    is to tell instead: events with their steps."""

    def __init__(
        self,
        name: str,
        channel: Channel,
        settle: Settle,
        report: Callable[[Event], object],
        passed_on: Callable[[str, Iterable[tuple[int, Transition]]], None] = lambda name, steps: None,
        dress: Callable[[Notice, int | None], Notice] = lambda notice, event: notice,
        time_now: Callable[[], Micros] = now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`dress` adds what is around the alerts, link and history, given the id of the first one's event."""
        self.name = name
        self._settle = settle
        self._report = report
        self._passed_on = passed_on
        self._dress = dress
        self._now = time_now
        self._chance = chance
        self._parcels: dict[Key, Parcel] = {}
        self._steps: dict[int, Transition] = {}  # those that wait, by event; below 0 are those not stored
        self._unstored = 0
        self._wake = Signal()
        self._paused_until = Micros(0)
        self._failures = 0  # in a row
        self.sent = 0
        self.failed = 0
        self.error = ""  # why the last try failed
        self.use(channel)

    def use(self, channel: Channel) -> None:
        """Send by another channel from now on, in the same groups as far as these stay the same."""
        self.channel = channel
        self.settings: ChannelSettings = channel.settings
        self.plan = plan_of(self.settings)
        zone = zone_or_local(self.settings.timezone)
        self._quiet = parse_weekly(self.settings.quiet, zone) if self.settings.quiet else None
        for parcel in self._parcels.values():
            parcel.group = Group.of_json(parcel.group.to_json(), self.plan)
        self._paused_until, self._failures = Micros(0), 0
        self._wake.set()

    # -- what comes in ------------------------------------------------------------------------------------

    def take(self, event: int | None, step: Transition) -> None:
        """Take a step of an alert, with its event's id once it is stored."""
        if event is None:
            self._unstored -= 1
            event = self._unstored
        if SEVERITIES.index(step.severity) < SEVERITIES.index(self.settings.severity):
            self._store([Outcome(event, "passed", self._now(), told="less severe than this channel takes")])
            return
        key = self.plan.key(step)
        parcel = self._parcels.setdefault(key, Parcel(Group(self.plan)))
        parcel.group.take(step)
        parcel.waiting[event] = step.ts, step.alert
        self._steps[event] = step
        self._wake.set()

    def number(self, event: int, step: Transition) -> None:
        """Note the id of a step that was taken before it was stored."""
        for parcel in self._parcels.values():
            for known, found in list(parcel.waiting.items()):
                if known < 0 and found == (step.ts, step.alert):
                    parcel.waiting[event] = parcel.waiting.pop(known)
                    self._steps[event] = self._steps.pop(known)
                    return
        # It has been told meanwhile.
        self._store([Outcome(event, "sent", self._now(), told="sent before it was stored")])

    def give_up(self, told: str) -> None:
        """Note that nothing of what waits will be sent."""
        outcomes = [Outcome(event, "failed", self._now(), told=told) for event in self._steps]
        states: dict[str, str | None] = {self._key(key): None for key in self._parcels}
        self._parcels, self._steps = {}, {}
        if outcomes or states:
            self._store(outcomes, states)

    def restore(self, stored: Mapping[str, str]) -> None:
        """Take up what was remembered, by its keys without STORED and the channel's name."""
        for text_key, text in stored.items():
            try:
                key = tuple(json.loads(text_key))
                found = json.loads(text)
                parcel = Parcel(Group.of_json(found["group"], self.plan), tries=int(found["tries"]))
                if found["notice"] is not None:
                    parcel.notice = _notice(found["notice"])
            except (ValueError, KeyError, TypeError) as error:
                logger.debug("what {} remembered cannot be read: {}", self.name, error)
                continue
            self._parcels[key] = parcel

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
        for key, parcel in sorted(self._parcels.items(), key=lambda entry: _age(entry[1])):
            present = self._now()
            if self._paused_until > present:
                return self._paused_until
            if parcel.notice is None:
                self._look(key, parcel, present)
            if parcel.notice is not None:
                self._attempt(key, parcel, parcel.notice)
        self._parcels = {
            key: parcel
            for key, parcel in self._parcels.items()
            if parcel.group or parcel.notice or parcel.waiting
        }
        waits = [self._paused_until] if any(parcel.notice for parcel in self._parcels.values()) else []
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

    def _look(self, key: Key, parcel: Parcel, present: Micros) -> None:
        """Claim the message of a group, if one is due."""
        due = parcel.group.due
        if due is None:
            self._pass(key, parcel, present)
            return
        if due > present or self._is_quiet(parcel, present):
            return
        message = parcel.group.flush(present)
        if message is None:
            self._pass(key, parcel, present)
            return
        parcel.notice, parcel.tries = self._made(key, parcel, message, present), 0
        self._store([], {self._key(key): self._text(parcel)})

    def _made(self, key: Key, parcel: Parcel, message: Message, present: Micros) -> Notice:
        """Return a group's message as it is sent; what is beyond the channel's limit is counted."""
        most = self.settings.most
        firing, resolved = message.firing[:most], message.resolved[: max(0, most - len(message.firing))]
        more = len(message.firing) + len(message.resolved) - len(firing) - len(resolved)
        made = f"{self.name}\0{json.dumps(key)}\0{present}"
        return Notice(
            id=blake2s(made.encode(), digest_size=10).hexdigest(),
            reason=message.reason,
            firing=firing,
            resolved=resolved,
            at=max(step.ts for step in (*message.firing, *message.resolved)),
            sent_at=present,
            group=dict(zip(self.plan.by, key, strict=True)),
            more=more,
        )

    def _attempt(self, key: Key, parcel: Parcel, notice: Notice) -> None:
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
                failed = Undelivered(str(error) if isinstance(error, OculusError) else reason(error))
        present = self._now()
        if failed is None:
            self._worked()
            self.sent += 1
            parcel.group.sent(present)
            self._end(key, parcel, notice, "sent", str(said), present)
            return
        self.error = str(failed)
        self.failed += 1
        overdue = present - notice.at > self.settings.expire * SECOND
        if not failed.permanent and not overdue:
            self._failed_for_now(failed, present)
            return
        state = "failed" if failed.permanent else "expired"
        told = f"channel {self.name} gives a message up ({notice.title}): {failed}"
        self._report(Event(present, f"notify.{self.name}", "error", "error", told, {"notice": notice.id}))
        parcel.group.sent(present)  # as far as this channel goes
        steps = [
            (event, self._steps[event])
            for event, (ts, _) in parcel.waiting.items()
            if ts <= notice.sent_at and event in self._steps
        ]
        self._end(key, parcel, notice, state, str(failed), present)
        if self.settings.fallback and steps:
            self._passed_on(self.settings.fallback, steps)

    def _dressed(self, parcel: Parcel, notice: Notice) -> Notice:
        """Return a message with its link and chart, and the text that the settings ask for."""
        first = notice.alerts[0]
        stored = [event for event, told in parcel.waiting.items() if told == (first.ts, first.alert)]
        dressed = self._dress(notice, next((event for event in stored if event >= 0), None))
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
        self._failures, self._paused_until, self.error = 0, Micros(0), ""

    def _failed_for_now(self, failed: Undelivered, present: Micros) -> None:
        """Wait before the next try, whatever it is about: the service is the same."""
        if not self._failures:
            told = f"channel {self.name} fails, its messages wait: {failed}"
            self._report(Event(present, f"notify.{self.name}", "error", "warn", told))
        wait = min(FIRST_WAIT * 2 ** min(self._failures, 20), LONGEST_WAIT) * (0.5 + self._chance() / 2)
        if failed.retry_after is not None:
            wait = max(failed.retry_after, FIRST_WAIT / 2)
        self._failures += 1
        self._paused_until = Micros(present + int(wait * SECOND))

    # -- what is remembered -------------------------------------------------------------------------------

    def _end(self, key: Key, parcel: Parcel, notice: Notice, state: str, told: str, present: Micros) -> None:
        """Note what became of a message, and of all that happened before it."""
        parcel.notice = None
        named = {(step.ts, step.alert) for step in notice.alerts}
        known = {step.alert for step in notice.alerts}
        outcomes = []
        for event, (ts, alert) in list(parcel.waiting.items()):
            if ts > notice.sent_at:
                continue
            told_now = (ts, alert) in named or (alert in known and state != "sent") or notice.more > 0
            outcomes.append(
                Outcome(event, state if told_now else "passed", present, parcel.tries, notice.id, told)
            )
            del parcel.waiting[event]
            self._steps.pop(event, None)
        self._store(outcomes, {self._key(key): self._text(parcel) if parcel.group else None})
        parcel.tries = 0

    def _pass(self, key: Key, parcel: Parcel, present: Micros) -> None:
        """Note that what happened was over before it was to be told, or is nothing new."""
        outcomes = [
            Outcome(event, "passed", present, told="there was nothing to tell any more")
            for event in parcel.waiting
        ]
        for event in parcel.waiting:
            self._steps.pop(event, None)
        parcel.waiting.clear()
        if outcomes:
            self._store(outcomes, {self._key(key): self._text(parcel) if parcel.group else None})

    def _store(self, outcomes: Sequence[Outcome], states: Mapping[str, str | None] = {}) -> None:
        """Store, if that can be: a database that takes nothing must not keep an alert from being sent."""
        try:
            self._settle([one for one in outcomes if one.event >= 0], states)
        except OculusError as error:
            logger.debug("what {} sent cannot be noted: {}", self.name, error)

    def _key(self, key: Key) -> str:
        return f"{STORED}{self.name}/{json.dumps(key)}"

    def _text(self, parcel: Parcel) -> str:
        notice = parcel.notice
        return json.dumps(
            {
                "group": parcel.group.to_json(),
                "notice": None if notice is None else _stored(notice),
                "tries": parcel.tries,
            }
        )

    @property
    def waiting(self) -> int:
        """How many steps wait to be told."""
        return len(self._steps)


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


def _stored(notice: Notice) -> dict[str, object]:
    return {
        "id": notice.id,
        "reason": notice.reason,
        "firing": [step.to_json() for step in notice.firing],
        "resolved": [step.to_json() for step in notice.resolved],
        "at": notice.at,
        "sent_at": notice.sent_at,
        "group": dict(notice.group),
        "more": notice.more,
    }


def _notice(found: dict[str, object]) -> Notice:
    steps = {
        name: tuple(Transition.of_json(step) for step in found.pop(name))  # type: ignore[attr-defined]
        for name in ("firing", "resolved")
    }
    return Notice(**steps, **found)  # type: ignore[arg-type]
