"""Steps of alerts gathered into messages: what is told together, and when.

A group waits a little after its first alert, so that what breaks together is told together, and looks at what
has changed once an interval after that. Pure: time comes with each call, and what a group knows can be stored
and taken up again, so that a backtest and the daemon count the same messages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from oculus.clock import SECOND
from oculus.model import SEVERITIES, AlertState, Micros, Severity, Transition
from oculus.notify.notice import Reason

Key = tuple[str, ...]  # of a group: what `Plan.by` names, in that order


@dataclass(frozen=True, slots=True)
class Plan:
    """How alerts are grouped and told; times in seconds, and their values Alertmanager's.

    `by` names labels, or `rule` and `severity`; alerts that are equal in all of them are one group, and a
    label that is not there is as an empty one. `repeat` is how often a group is told again while it fires (0:
    never), `resolved` whether ends are told.
    """

    by: tuple[str, ...] = ("rule",)
    wait: float = 30.0
    interval: float = 300.0
    repeat: float = 4 * 3600.0
    resolved: bool = True

    def key(self, transition: Transition) -> Key:
        """Return which group a step belongs to."""
        known = {**transition.labels, "rule": transition.rule, "severity": transition.severity}
        return tuple(known.get(name, "") for name in self.by)


class Step(Protocol):
    """What a group has to know of a step: a transition, or what stands for one."""

    @property
    def alert(self) -> str:
        """Which alert it is a step of."""

    @property
    def ts(self) -> Micros:
        """When it happened."""

    @property
    def state(self) -> AlertState:
        """What the alert came to."""

    @property
    def previous(self) -> AlertState:
        """What it came from."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""

    @property
    def suppressed(self) -> str:
        """Why nobody is told, if so."""

    def to_json(self) -> Any:
        """Return it as values of JSON."""


S = TypeVar("S", bound=Step)


@dataclass(frozen=True, slots=True)
class Message(Generic[S]):
    """What is told at once: the last step of all alerts that fire, and of those that ended, oldest first; and
    what it is told for."""

    firing: tuple[S, ...] = ()
    resolved: tuple[S, ...] = ()
    reason: Reason = "first"


@dataclass(slots=True)
class _Out:
    """A message that is on its way: when it was given out, and whose steps it tells, by their times."""

    at: Micros
    firing: set[str]
    resolved: dict[str, Micros]


@dataclass(slots=True)
class _Told:
    """What the last message that arrived told, and from when on `repeat` counts."""

    firing: set[str] = field(default_factory=set)
    resolved: set[str] = field(default_factory=set)
    at: Micros = Micros(0)


class Group(Generic[S]):
    """Alerts that are told together.

    A message counts as told only once `sent` is called; until then `flush` gives it again, an interval later
    and as things stand then. So who still tries to deliver one does not call `flush` meanwhile.
    """

    __slots__ = ("_again", "_began", "_flushed", "_members", "_out", "_plan", "_told", "_touched")

    def __init__(self, plan: Plan = Plan()) -> None:
        self._plan = plan
        self._members: dict[str, S] = {}  # the last step of each alert that fires, or has just ended
        self._told = _Told()
        self._out: _Out | None = None
        self._began = Micros(0)  # when it had its first member
        self._flushed: Micros | None = None  # last, since then
        self._touched: Micros | None = None  # when a member changed last, since the last flush
        self._again: Micros | None = None  # when a rule last asked that a firing alert be told again

    def __bool__(self) -> bool:
        """Tell whether there is anything to remember."""
        return bool(self._members)

    def __len__(self) -> int:
        """How many alerts fire, or have just ended."""
        return len(self._members)

    def member(self, alert: str) -> S | None:
        """Return the step that is remembered of an alert, if any."""
        return self._members.get(alert)

    def plan(self, plan: Plan) -> None:
        """Go by another plan from now on."""
        self._plan = plan

    def take(self, transition: S) -> bool:
        """Take a step of one of its alerts; those that are about neither firing nor its end are passed over.

        A firing that is suppressed is none. An end that is, of an alert that was told, ends it without a
        word: else it would be told again and again as firing. Returns whether the step changes anything.
        """
        alert = transition.alert
        known = self._members.get(alert)
        fires = known is not None and known.state == "firing"
        if transition.state == "firing":
            if transition.suppressed:
                return False
            if transition.previous == "firing" and alert in self._told.firing:
                self._again = transition.ts
            if not fires:
                self._members.pop(alert, None)  # it is younger than the others now
        elif transition.previous != "firing":
            return False
        elif transition.suppressed:
            if fires:
                self._withdraw(alert)
            return fires
        if not self._members:
            self._began = transition.ts
        self._members[alert] = transition
        self._touched = transition.ts
        return True

    def _withdraw(self, alert: str) -> None:
        del self._members[alert]
        self._told.firing.discard(alert)
        if self._out is not None:
            self._out.firing.discard(alert)
        self._rest()

    @property
    def severity(self) -> Severity:
        """The worst severity of its alerts."""
        return max((step.severity for step in self._members.values()), key=SEVERITIES.index, default="info")

    @property
    def due(self) -> Micros | None:
        """When it is to be flushed next, or None when nothing is to be told.

        Flushes follow each other by whole intervals; those at which nothing could be told are left out.
        """
        plan, flushed = self._plan, self._flushed
        if not self._members:
            return None
        if flushed is None:
            return Micros(self._began + int(plan.wait * SECOND))
        if self._out is not None:
            moment = flushed
        elif self._touched is not None:
            moment = self._touched
        elif plan.repeat:
            moment = Micros(self._told.at + int(plan.repeat * SECOND))
        else:
            return None
        step = int(plan.interval * SECOND)
        return Micros(flushed + step * max(1, -((flushed - moment) // step)))

    def flush(self, now: Micros) -> Message[S] | None:
        """Return what is to be sent now, or None when it is not due or there is nothing to tell."""
        due = self.due
        if due is None or now < due:
            return None
        self._flushed, self._touched, self._out = now, None, None
        firing = {alert: step for alert, step in self._members.items() if step.state == "firing"}
        ended = {alert: step for alert, step in self._members.items() if alert not in firing}
        why = self._worth(firing, ended, now)
        if why:
            if firing or self._plan.resolved:
                self._out = _Out(now, set(firing), {alert: step.ts for alert, step in ended.items()})
                return Message(tuple(firing.values()), self._named(ended, bool(firing)), why)
            self._told = _Told(at=now)
        self._members = firing
        self._rest()
        return None

    def _named(self, ended: Mapping[str, S], fires: bool) -> tuple[S, ...]:
        """Return the ends that a message tells.

        The first message, and the one that all is over, name no alert that nobody heard of.
        """
        heard = self._told.firing
        every = fires and bool(heard)
        return tuple(
            step for alert, step in ended.items() if self._plan.resolved and (every or alert in heard)
        )

    def _worth(self, firing: Mapping[str, S], ended: Mapping[str, S], now: Micros) -> Reason | None:
        """Return why a message must go out, by what the last one told, or None when none must."""
        told = self._told
        if not firing.keys() <= told.firing:
            return "more" if told.firing else "first"
        if not firing:
            return "over" if told.firing else None
        if self._plan.resolved and not ended.keys() <= told.resolved:
            return "resolved"
        elapsed = 0 < self._plan.repeat * SECOND <= now - told.at
        return "repeat" if elapsed or self._again is not None else None

    def sent(self, now: Micros) -> None:
        """Note that the message that `flush` returned last has arrived."""
        out = self._out
        if out is None:
            return
        # The moments that sending takes would put each reminder off to the flush after; a long outage counts.
        slow = now - out.at >= self._plan.interval * SECOND
        self._told = _Told(out.firing, set(out.resolved), now if slow else out.at)
        self._out = None
        if self._again is not None and self._again <= out.at:
            self._again = None
        for alert, ts in out.resolved.items():
            step = self._members.get(alert)
            if step is not None and step.state != "firing" and step.ts == ts:
                del self._members[alert]
        self._rest()

    def _rest(self) -> None:
        """Begin anew, with the wait before a first message, when no alert is left."""
        if not self._members:
            self._flushed = self._touched = self._again = self._out = None

    def shift(self, seconds: float) -> None:
        """Move its times by a step of the wall clock, so that it neither delays a message nor repeats one."""
        step = int(seconds * SECOND)

        def moved(ts: Micros | None) -> Micros | None:
            return None if ts is None else Micros(ts + step)

        self._began, self._told.at = Micros(self._began + step), Micros(self._told.at + step)
        self._flushed, self._touched, self._again = map(moved, (self._flushed, self._touched, self._again))
        if self._out is not None:
            self._out.at = Micros(self._out.at + step)

    def to_json(self, paced: Callable[[list[S]], Iterable[S]] = iter) -> str:
        """Return all that it knows, as it is now, for `of_json`. `paced` passes its steps through, and may
        let others run meanwhile."""
        told, out = self._told, self._out
        # Each alert is named once, with the sets that it is in: names are long.
        sets = set(told.firing), set(told.resolved), set[str]() if out is None else set(out.firing)
        ended = {} if out is None else dict(out.resolved)
        others = [sorted(each - self._members.keys()) for each in sets]
        rest = {
            "told": others[:2],
            "out": others[2],
            "ended": {alert: ts for alert, ts in ended.items() if alert not in self._members},
            "told_at": told.at,
            "out_at": None if out is None else out.at,
            "began": self._began,
            "flushed": self._flushed,
            "touched": self._touched,
            "again": self._again,
        }
        rows = []
        for step in paced(list(self._members.values())):
            alert = step.alert
            marks = sum(1 << place for place, each in enumerate(sets) if alert in each)
            rows.append(json.dumps([marks, ended.get(alert), step.to_json()], separators=(",", ":")))
        return f'{{"members":[{",".join(rows)}],{json.dumps(rest)[1:]}'

    @classmethod
    def of_json(cls, given: Any, plan: Plan, read: Callable[[Any], S]) -> Group[S]:
        """Return a group as it was stored, given as text or parsed; raises ValueError for what is none. The
        plan may be another.

        `read` returns a step from what its `to_json` gave; raises KeyError, TypeError or ValueError.
        """
        group = cls(plan)
        try:
            found: Any = json.loads(given) if isinstance(given, str) else given
            sets = tuple(map(set, (*found["told"], found["out"])))
            ended = dict(found["ended"])
            for marks, ts, stored in found["members"]:
                step = read(stored)
                group._members[step.alert] = step
                for place, each in enumerate(sets):
                    if marks >> place & 1:
                        each.add(step.alert)
                if ts is not None:
                    ended[step.alert] = ts
            group._told = _Told(sets[0], sets[1], found["told_at"])
            if found["out_at"] is not None:
                group._out = _Out(found["out_at"], sets[2], ended)
            group._began, group._flushed = found["began"], found["flushed"]
            group._touched, group._again = found["touched"], found["again"]
        except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
            raise ValueError(f"not a group of alerts: {error}") from None
        return group


class Groups:
    """All groups of a plan, by their keys."""

    def __init__(self, plan: Plan = Plan()) -> None:
        self._plan = plan
        self._groups: dict[Key, Group[Transition]] = {}

    def take(self, transition: Transition) -> None:
        """Take a step of an alert."""
        key = self._plan.key(transition)
        group = self._groups.setdefault(key, Group(self._plan))
        group.take(transition)
        self._forget(key)

    @property
    def due(self) -> Micros | None:
        """When a group is to be flushed next; None: there is nothing to do."""
        return min((due for group in self._groups.values() if (due := group.due) is not None), default=None)

    def flush(self, now: Micros) -> list[tuple[Key, Message[Transition]]]:
        """Return what is to be sent now; `sent` is to be told of each that has arrived."""
        found = [(key, group.flush(now)) for key, group in self._groups.items()]
        for key, _ in found:
            self._forget(key)
        return [(key, message) for key, message in found if message is not None]

    def sent(self, key: Key, now: Micros) -> None:
        """Note that the last message of a group has arrived."""
        if key in self._groups:
            self._groups[key].sent(now)
            self._forget(key)

    def _forget(self, key: Key) -> None:
        if not self._groups[key]:
            del self._groups[key]

    def shift(self, seconds: float) -> None:
        """Move all times by a step of the wall clock."""
        for group in self._groups.values():
            group.shift(seconds)

    def stored(self, key: Key) -> str | None:
        """Return what is to be remembered of a group, or None when that is nothing."""
        group = self._groups.get(key)
        return None if group is None else group.to_json()

    def restore(self, key: Key, text: str) -> None:
        """Take up a group as it was stored; raises ValueError for what is none."""
        self._groups[key] = Group.of_json(text, self._plan, Transition.of_json)


def messages(
    transitions: Iterable[Transition], until: Micros, plan: Plan = Plan()
) -> list[tuple[Micros, Key, Message[Transition]]]:
    """Return all messages of some steps, given in order of time, up to `until`: each arrives at once."""
    steps: dict[Key, list[Transition]] = defaultdict(list)
    for transition in transitions:
        steps[plan.key(transition)].append(transition)
    found: list[tuple[Micros, Key, Message[Transition]]] = []

    def pass_by(key: Key, group: Group[Transition], end: Micros) -> None:
        """Flush a group whenever it is due before `end`."""
        while (due := group.due) is not None and due < end:
            message = group.flush(due)
            if message is not None:
                found.append((due, key, message))
                group.sent(due)

    for key, own in steps.items():  # one group does not know of another
        group: Group[Transition] = Group(plan)
        for transition in own:
            pass_by(key, group, transition.ts)
            group.take(transition)
        pass_by(key, group, Micros(until + 1))
    return sorted(found, key=lambda entry: entry[:2])
