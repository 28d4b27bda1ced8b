"""What a heartbeat knows and what follows from it: a pure function of pings and time.

The deadline is the last success, plus the period (or the next time of the cron expression after it), plus
the grace. A run that was announced must end within the grace. What has passed its deadline is down from the
deadline on, whenever that is noticed; so is what failed. It is up again with its next success, unless a run
of another id is still overdue.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from oculus.clock import DAY, LAST_TIME, SECOND
from oculus.cron import next_time
from oculus.model import Micros

Kind = Literal["success", "start", "fail", "log"]
Phase = Literal["new", "up", "grace", "down"]

# After a start the pings of the time before may be missing through our own absence. What was due meanwhile is
# judged this much later, by when whoever pings every few minutes has done so.
SETTLE = 300 * SECOND

# Where cron knows no time to come, which the configuration's check leaves no room for.
_NEVER = 50 * 366 * DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Ping:
    """What a job tells. `rid` is the id of the run, empty for none; `status` that of its exit, if it gave
    one; `body` is what it sent besides."""

    kind: Kind = "success"
    rid: str = ""
    status: int | None = None
    body: str = ""

    @property
    def line(self) -> str:
        """The first line of the body that says something, as far as it can be printed."""
        first = next((line for line in self.body.splitlines() if line.strip()), "")
        return "".join(sign if sign.isprintable() else " " for sign in first).strip()[:200]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """When pings are expected: every `period`, or by `cron` in `zone`. `period` and `grace` are in µs."""

    grace: int
    period: int = 0
    cron: str = ""
    zone: tzinfo = UTC

    def expected(self, last: Micros) -> Micros:
        """Return when the ping that follows one at `last` should have come."""
        if not self.cron:
            return Micros(last + self.period)
        found = next_time(self.cron, self.zone, last)
        return Micros(last + _NEVER) if found is None else found


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered of a heartbeat; it is stored with every ping.

    `last` is the last success or failure, `started` the beginning of the run under way and `rid` that run's
    id. `up` is what was told last (None: nothing yet), `since` the time of that flip, and `why`
    says why it is down.
    """

    last: Micros | None = None
    failed: bool = False
    started: Micros | None = None
    rid: str = ""
    up: bool | None = None
    since: Micros | None = None
    why: str = ""

    def to_json(self) -> str:
        """Return it as text for the store."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str) -> State:
        """Return what `to_json` wrote, without keys of other versions; raises ValueError or TypeError."""
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        known = {field.name for field in fields(cls)}
        state = cls(**{key: value for key, value in found.items() if key in known})
        times = (state.last, state.started, state.since)
        if any(ts is not None and (type(ts) is not int or not 0 <= ts < LAST_TIME) for ts in times):
            raise ValueError("a time is none")
        return state


@dataclass(frozen=True, slots=True)
class Due:
    """Something that must happen before `at`, counted from the ping at `since`: the next success, or the end
    of a run. It is judged at `judged`, which is later than `at` for pings of before the start."""

    at: Micros
    since: Micros
    running: bool
    judged: Micros


@dataclass(frozen=True, slots=True)
class Flip:
    """A change of `.up`, with its own time."""

    at: Micros
    up: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a ping led to: the state after it, the flips on the way, the seconds of the run that it ended."""

    state: State
    flips: tuple[Flip, ...] = ()
    duration: float | None = None


def due(state: State, rhythm: Rhythm, began: Micros) -> Due | None:
    """Return what ends the patience first; None for what is new, or down. We listen since `began`."""
    return None if state.up is False else _due(state, rhythm, began)


def _due(state: State, rhythm: Rhythm, began: Micros) -> Due | None:
    found = []
    if state.last is not None and not state.failed:
        at = Micros(rhythm.expected(state.last) + rhythm.grace)
        found.append(Due(at, state.last, False, _judged(at, state.last, rhythm, began)))
    if state.started is not None:
        at = Micros(state.started + rhythm.grace)
        found.append(Due(at, state.started, True, _judged(at, state.started, rhythm, began)))
    return min(found, key=lambda one: one.at, default=None)


def _judged(at: Micros, since: Micros, rhythm: Rhythm, began: Micros) -> Micros:
    if since >= began:
        return at
    return max(at, Micros(min(began + SETTLE, rhythm.expected(began) + rhythm.grace)))


def phase(state: State, rhythm: Rhythm, began: Micros, now: Micros) -> Phase:
    """Return how it stands at `now`. A run under way is told by `state.started`, besides."""
    first = due(state, rhythm, began)
    if state.up is False or (first is not None and now >= first.judged):
        return "down"
    if state.last is None:
        return "new"
    return "up" if now < rhythm.expected(state.last) else "grace"


def passed(state: State, rhythm: Rhythm, first: Due | None, now: Micros) -> Outcome:
    """Return what time alone has led to by `now`: down, and told once. `first` is the state's `due`."""
    if first is None or now < first.judged:
        return Outcome(state)
    return _down(state, first.at, _missed(first, rhythm))


def pinged(
    state: State, ping: Ping, now: Micros, rhythm: Rhythm, began: Micros, *, excused: bool = False
) -> Outcome:
    """Return what a ping at `now` leads to.

    What was due before is down in between, however short, unless that was judged already and `excused`.
    """
    before = Outcome(state) if excused else passed(state, rhythm, due(state, rhythm, began), now)
    state = before.state
    if ping.kind == "log":
        return before
    if ping.kind == "start":
        return replace(before, state=replace(state, started=now, rid=ping.rid))
    duration = None
    failed = ping.kind == "fail"
    started = state.started
    if started is not None:
        if ping.rid == state.rid:
            duration, started = max(0, now - started) / SECOND, None
        elif failed or not ping.rid:
            started = None
    rid = state.rid if started is not None else ""
    state = replace(state, last=now, failed=failed, started=started, rid=rid)
    if failed:
        after = _down(state, now, _failed(ping))
    else:
        first = _due(state, rhythm, began)
        assert first is not None
        # A run of another id may be overdue still.
        late = now >= (first.at if state.up is False else first.judged)
        after = Outcome(state) if late else _up(state, now)
    return Outcome(after.state, before.flips + after.flips, duration)


def revised(state: State, rhythm: Rhythm, began: Micros, now: Micros) -> Outcome:
    """Return what other settings lead to at once: what is not due by them is up again."""
    first = _due(state, rhythm, began)
    if state.up is False and not state.failed and state.last is not None:
        assert first is not None
        if now < first.at:
            return _up(state, now)
    return Outcome(state)


def shifted(state: State, step: float, base: Micros, now: Micros) -> State:
    """Return the state after the wall clock was set by `step` seconds, to `now`.

    The times of this run, from `base` on, move along; those of earlier runs were right already. None is left
    in the future, where it would put the deadline off.
    """

    def moved(ts: Micros | None) -> Micros | None:
        if ts is None:
            return None
        return Micros(min(now, ts + int(step * SECOND) if ts >= base else ts))

    return replace(state, last=moved(state.last), started=moved(state.started), since=moved(state.since))


def clock_text(ts: Micros, zone: tzinfo, *, named: bool = False) -> str:
    """Return a time as the clocks of `zone` show it, `named` with the zone's name."""
    local = (_EPOCH + timedelta(microseconds=ts)).astimezone(zone)
    return local.strftime("%Y-%m-%d %H:%M:%S" + (" %Z" if named else ""))


def _missed(first: Due, rhythm: Rhythm) -> str:
    since, by = clock_text(first.since, rhythm.zone), clock_text(first.at, rhythm.zone, named=True)
    if first.running:
        return f"started {since}, not done by {by}"
    return f"no ping since {since}, expected by {by}"


def _failed(ping: Ping) -> str:
    told = "failed" if ping.status is None else f"failed with exit status {ping.status}"
    return f"{told}: {ping.line}" if ping.line else told


def _down(state: State, at: Micros, why: str) -> Outcome:
    if state.up is False:
        return Outcome(replace(state, why=why))
    return Outcome(replace(state, up=False, since=at, why=why), (Flip(at, False),))


def _up(state: State, at: Micros) -> Outcome:
    if state.up:
        return Outcome(state)
    return Outcome(replace(state, up=True, since=at, why=""), (Flip(at, True),))
