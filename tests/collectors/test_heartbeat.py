"""Heartbeats: what follows from pings and time, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import DAY, SECOND
from oculus.collectors.base import Context
from oculus.collectors.heartbeat import Heartbeat, HeartbeatSettings
from oculus.collectors.heartbeat_state import (
    SETTLE,
    Flip,
    Kind,
    Outcome,
    Ping,
    Rhythm,
    State,
    due,
    passed,
    phase,
    pinged,
    shifted,
)
from oculus.collectors.heartbeats import Heartbeats
from oculus.config.decode import Seconds
from oculus.config.settings import CollectorSpec
from oculus.errors import StorageError
from oculus.model import Event, Micros, Sample
from tests.support.clocks import WallClock
from tests.support.configs import mistakes_of

MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND
BERLIN = ZoneInfo("Europe/Berlin")

T0 = Micros(1_800_000_000 * SECOND)  # when the first ping comes
LONG_AGO = Micros(0)  # since when we listen, where that plays no part

DAILY = Rhythm(grace=HOUR, period=DAY)


def at(text: str, zone: ZoneInfo | None = None) -> Micros:
    """Return a local time, of UTC where no zone is given, as microseconds."""
    moment = datetime.fromisoformat(text)
    return Micros(round(moment.replace(tzinfo=zone or UTC, fold=moment.fold).timestamp() * SECOND))


def after(ts: int, microseconds: int) -> Micros:
    """Return a later time."""
    return Micros(ts + microseconds)


def told(state: State, *pings: tuple[int, Ping], rhythm: Rhythm = DAILY) -> Outcome:
    """Apply pings, each with its time; return the last outcome, with the flips of all."""
    flips: list[Flip] = []
    outcome = Outcome(state)
    for ts, ping in pings:
        outcome = pinged(outcome.state, ping, Micros(ts), rhythm, LONG_AGO)
        flips += outcome.flips
    return replace(outcome, flips=tuple(flips))


def deadline(state: State, rhythm: Rhythm = DAILY, began: Micros = LONG_AGO) -> int | None:
    """Return the deadline of a state."""
    first = due(state, rhythm, began)
    return None if first is None else first.at


# -- deadlines ----------------------------------------------------------------------------------------------


def test_the_deadline_is_the_last_success_plus_period_plus_grace() -> None:
    """It is up to the period's end, in grace until the deadline, and down from that very moment."""
    outcome = told(State(), (T0, Ping()))
    assert outcome.flips == (Flip(T0, True),)
    assert deadline(outcome.state) == T0 + DAY + HOUR
    for ts, expected in [
        (0, "up"),
        (DAY - 1, "up"),
        (DAY, "grace"),
        (DAY + HOUR - 1, "grace"),
        (DAY + HOUR, "down"),
    ]:
        assert phase(outcome.state, DAILY, LONG_AGO, after(T0, ts)) == expected


def test_what_was_never_pinged_and_never_started_is_silent() -> None:
    """There is no deadline, and a text changes nothing."""
    state = told(State(), (T0, Ping("log", body="x"))).state
    assert state == State()
    assert deadline(state) is None
    assert phase(state, DAILY, LONG_AGO, after(T0, 100 * DAY)) == "new"


def test_a_start_shortens_the_deadline_and_its_end_restores_it() -> None:
    """A run must end within the grace; the last ping stays what it was until then."""
    first = told(State(), (T0, Ping())).state
    running = told(first, (T0 + 2 * HOUR, Ping("start"))).state
    assert running.last == T0
    assert deadline(running) == T0 + 3 * HOUR
    ended = told(running, (T0 + 2 * HOUR + 90 * SECOND, Ping()))
    assert ended.duration == 90.0
    assert deadline(ended.state) == T0 + 2 * HOUR + 90 * SECOND + DAY + HOUR
    assert ended.flips == ()


def test_a_start_does_not_lengthen_the_deadline() -> None:
    """One that comes late in the grace leaves the period's deadline in force."""
    late = told(State(), (T0, Ping()), (T0 + DAY + HOUR - MINUTE, Ping("start"))).state
    assert deadline(late) == T0 + DAY + HOUR


def test_a_run_that_ends_late_was_down() -> None:
    """It is down from the end of the grace, and up again with the success, which has its duration."""
    outcome = told(State(), (T0, Ping()), (T0 + HOUR, Ping("start")), (T0 + 3 * HOUR, Ping()))
    assert outcome.flips == (
        Flip(T0, True),
        Flip(after(T0, 2 * HOUR), False),
        Flip(after(T0, 3 * HOUR), True),
    )
    assert outcome.duration == 7200.0


def test_a_first_run_that_never_ends_is_down() -> None:
    """A heartbeat that was started but never pinged has a deadline."""
    state = told(State(), (T0, Ping("start"))).state
    assert phase(state, DAILY, LONG_AGO, after(T0, MINUTE)) == "new"
    assert passed(state, DAILY, due(state, DAILY, LONG_AGO), after(T0, 9 * HOUR)).flips == (
        Flip(after(T0, HOUR), False),
    )


@pytest.mark.parametrize("ping", [Ping("fail"), Ping("fail", status=1), Ping("fail", status=255)])
def test_a_failure_is_down_at_once(ping: Ping) -> None:
    """It stays so, whatever time passes, until a success."""
    outcome = told(State(), (T0, Ping()), (T0 + MINUTE, ping))
    assert outcome.flips[-1] == Flip(after(T0, MINUTE), False)
    assert deadline(outcome.state) is None
    assert phase(outcome.state, DAILY, LONG_AGO, after(T0, 2 * MINUTE)) == "down"
    assert told(outcome.state, (T0 + HOUR, Ping("fail"))).flips == ()
    assert told(outcome.state, (T0 + HOUR, Ping())).flips == (Flip(after(T0, HOUR), True),)


def test_a_start_does_not_end_a_failure() -> None:
    """Only a success does; a run that then takes too long is no second flip."""
    failed = told(State(), (T0, Ping("fail")), (T0 + MINUTE, Ping("start"))).state
    assert phase(failed, DAILY, LONG_AGO, after(T0, 2 * MINUTE)) == "down"
    assert passed(failed, DAILY, due(failed, DAILY, LONG_AGO), after(T0, DAY)).flips == ()


# -- run ids ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("started", "ping", "running", "duration"),
    [
        ("a", Ping(rid="a"), False, 5.0),
        ("", Ping(), False, 5.0),
        ("a", Ping(rid="b"), True, None),
        ("", Ping(rid="b"), True, None),
        ("a", Ping(), False, None),
        ("a", Ping("fail", rid="a"), False, 5.0),
        ("a", Ping("fail", rid="b"), False, None),
        ("a", Ping("fail"), False, None),
        ("a", Ping("log", rid="a"), True, None),
    ],
)
def test_run_ids(started: str, ping: Ping, running: bool, duration: float | None) -> None:
    """A match ends the run and gives the duration; a success with another id leaves it, all else ends it."""
    outcome = told(State(), (T0, Ping("start", rid=started)), (T0 + 5 * SECOND, ping))
    assert (outcome.state.started is not None) is running
    assert outcome.state.rid == (started if running else "")
    assert outcome.duration == duration


def test_an_overdue_run_is_not_excused_by_another_runs_success() -> None:
    """It stays down, without flipping up and down again, until that run or a new one ends well."""
    state = told(State(), (T0, Ping()), (T0 + HOUR, Ping("start", rid="a"))).state
    outcome = told(state, (T0 + 3 * HOUR, Ping(rid="b")))
    assert outcome.flips == (Flip(after(T0, 2 * HOUR), False),)
    assert told(outcome.state, (T0 + 4 * HOUR, Ping(rid="a"))).flips == (Flip(after(T0, 4 * HOUR), True),)


# -- cron ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "last", "expected"),
    [
        ("0 3 * * *", "2026-01-10T03:00:05", "2026-01-11T03:00"),
        ("0 3 * * *", "2026-01-10T02:59:59", "2026-01-10T03:00"),
        # Forward: 02:00 becomes 03:00 on 29 March; that day has 23 hours.
        ("0 3 * * *", "2026-03-28T03:00:05", "2026-03-29T03:00"),
        ("30 2 * * *", "2026-03-28T02:31:00", "2026-03-29T03:00"),
        ("30 2 * * *", "2026-03-29T03:00:05", "2026-03-30T02:30"),
        ("*/30 * * * *", "2026-03-29T01:31:00", "2026-03-29T03:00"),
        # Back: 03:00 becomes 02:00 on 25 October; that day has 25 hours.
        ("0 3 * * *", "2026-10-24T03:00:05", "2026-10-25T03:00"),
        ("30 2 * * *", "2026-10-24T02:31:00", "2026-10-25T02:30"),
        ("30 2 * * *", "2026-10-25T02:30:05", "2026-10-26T02:30"),
    ],
)
def test_cron_follows_the_clocks_of_its_zone(cron: str, last: str, expected: str) -> None:
    """The deadline is the next time after the last ping on the wall of that zone, also over both changes."""
    rhythm = Rhythm(grace=HOUR, cron=cron, zone=BERLIN)
    state = told(State(), (at(last, BERLIN), Ping()), rhythm=rhythm).state
    assert deadline(state, rhythm) == at(expected, BERLIN) + HOUR


def test_the_second_coming_of_an_hour_looks_ahead() -> None:
    """After a ping in the repeated hour, what is expected lies after it, not in the first coming."""
    rhythm = Rhythm(grace=MINUTE, cron="45 2 * * *", zone=BERLIN)
    last = at("2026-10-25T01:30")  # UTC: 02:30 for the second time
    assert rhythm.expected(last) == at("2026-10-26T02:45", BERLIN)


@given(
    last=st.integers(at("2026-01-01"), at("2027-12-31")).map(Micros),
    cron=st.sampled_from(
        ["0 3 * * *", "30 2 * * *", "*/7 1-3 * * *", "15 * * * *", "0 2 * 3,10 sun", "* * * * *"]
    ),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Casablanca"]
    ),
)
def test_the_next_cron_time_lies_ahead(last: Micros, cron: str, zone: str) -> None:
    """Whatever the zone does with its clocks, what is expected comes after the last ping."""
    rhythm = Rhythm(grace=MINUTE, cron=cron, zone=ZoneInfo(zone))
    expected = rhythm.expected(last)
    assert last < expected
    assert expected % SECOND == 0
    if cron == "* * * * *":
        assert expected - last <= MINUTE


# -- properties ---------------------------------------------------------------------------------------------

KINDS: tuple[Kind, ...] = ("success", "start", "fail", "log")
PINGS = st.builds(Ping, st.sampled_from(KINDS), st.sampled_from(["", "a", "b"]))
STEPS = st.lists(st.tuples(st.integers(0, 40 * MINUTE), st.none() | PINGS), max_size=25)
BRISK = Rhythm(grace=5 * MINUTE, period=20 * MINUTE)


@given(STEPS)
def test_flips_alternate_and_follow_time(steps: list[tuple[int, Ping | None]]) -> None:
    """Whatever comes: no flip says what was said before, none is in the future or before the one before it,
    and what was told last is how it stands."""
    state, now = State(), T0
    flips: list[Flip] = []
    for pause, ping in steps:
        now = after(now, pause)
        first = due(state, BRISK, LONG_AGO)
        outcome = (
            passed(state, BRISK, first, now) if ping is None else pinged(state, ping, now, BRISK, LONG_AGO)
        )
        flips += outcome.flips
        assert outcome.state.up is (flips[-1].up if flips else None)
        assert all(flip.at <= now for flip in outcome.flips)
        state = outcome.state
        assert (phase(state, BRISK, LONG_AGO, now) == "down") is (state.up is False)
    assert [flip.at for flip in flips] == sorted(flip.at for flip in flips)
    assert all(one.up is not other.up for one, other in pairwise(flips))


@given(STEPS, st.lists(st.integers(0, 40 * MINUTE), max_size=5))
def test_how_often_time_is_looked_at_changes_nothing(
    steps: list[tuple[int, Ping | None]], looks: list[int]
) -> None:
    """A deadline noticed late, by a restarted daemon for one, leads to the same flips at the same times."""

    def run(extra: Iterable[int]) -> tuple[State, list[Flip]]:
        state, now = State(), T0
        flips: list[Flip] = []
        for pause, ping in steps:
            for look in sorted(look for look in extra if look < pause):
                outcome = passed(state, BRISK, due(state, BRISK, LONG_AGO), after(now, look))
                state = outcome.state
                flips += outcome.flips
            now = after(now, pause)
            if ping is not None:
                outcome = pinged(state, ping, now, BRISK, LONG_AGO)
                state = outcome.state
                flips += outcome.flips
        outcome = passed(state, BRISK, due(state, BRISK, LONG_AGO), after(now, DAY))
        return outcome.state, flips + list(outcome.flips)

    assert run(looks) == run([])


@given(STEPS)
def test_a_state_outlasts_storing(steps: list[tuple[int, Ping | None]]) -> None:
    """What is read back is what was written."""
    state, now = State(), T0
    for pause, ping in steps:
        now = after(now, pause)
        state = pinged(state, ping or Ping("log"), now, BRISK, LONG_AGO).state
        assert State.of_json(state.to_json()) == state


@pytest.mark.parametrize("text", ["", "[]", "{", '{"last": "x"}', '{"last": -1}', '{"started": 1e300}'])
def test_a_stored_state_that_is_none_is_refused(text: str) -> None:
    """It would be a deadline out of nothing."""
    with pytest.raises(ValueError, match=r"."):
        State.of_json(text)
    assert State.of_json('{"later": 1}') == State()


# -- after a start, and when clocks are set -----------------------------------------------------------------


def test_a_deadline_that_passed_while_nobody_listened_is_judged_a_little_later() -> None:
    """Its pings may be missing through our own absence: it waits, 5 min at most, and keeps its time."""
    state = told(State(), (T0, Ping())).state
    began = after(T0, 2 * DAY)
    first = due(state, DAILY, began)
    assert first is not None
    assert (first.at, first.judged) == (T0 + DAY + HOUR, began + SETTLE)
    assert passed(state, DAILY, first, after(began, SETTLE - 1)).flips == ()
    assert passed(state, DAILY, first, after(began, SETTLE)).flips == (Flip(after(T0, DAY + HOUR), False),)
    # A ping in between is in time.
    assert pinged(state, Ping(), after(began, MINUTE), DAILY, began).flips == ()


def test_a_brisk_heartbeat_is_judged_after_its_own_time() -> None:
    """Who pings every ten seconds has done so long before the five minutes are over."""
    rhythm = Rhythm(grace=5 * SECOND, period=10 * SECOND)
    state = told(State(), (T0, Ping()), rhythm=rhythm).state
    first = due(state, rhythm, after(T0, HOUR))
    assert first is not None
    assert first.judged == T0 + HOUR + 15 * SECOND


def test_pings_of_this_run_are_judged_in_time() -> None:
    """The wait is for what came before the start only."""
    state = told(State(), (T0, Ping("start"))).state
    first = due(state, DAILY, T0)
    assert first is not None
    assert first.judged == first.at


def test_a_step_of_the_clock_moves_what_was_seen_by_it() -> None:
    """A ping of this run moves along, one that an earlier run stored was right, none is in the future."""
    state = State(last=T0, started=after(T0, DAY))
    base = after(T0, HOUR)
    assert shifted(state, 3600.0, base, after(T0, 9 * DAY)) == State(last=T0, started=after(T0, DAY + HOUR))
    assert shifted(state, 0.0, base, after(T0, HOUR)) == State(last=T0, started=after(T0, HOUR))


# -- reasons ------------------------------------------------------------------------------------------------


def test_reasons() -> None:
    """What is down says why, in the clocks of its zone."""
    berlin = replace(DAILY, zone=BERLIN)
    last = at("2026-01-31T03:00", BERLIN)
    pinged_once = told(State(), (last, Ping())).state
    missed = passed(pinged_once, berlin, due(pinged_once, berlin, LONG_AGO), after(last, 9 * DAY))
    assert missed.state.why == "no ping since 2026-01-31 03:00:00, expected by 2026-02-01 04:00:00 CET"
    running = told(pinged_once, (last + HOUR, Ping("start"))).state
    overdue = passed(running, berlin, due(running, berlin, LONG_AGO), after(last, 9 * DAY)).state
    assert overdue.why == "started 2026-01-31 04:00:00, not done by 2026-01-31 05:00:00 CET"
    # The next run's start does not take the reason away, its success does.
    again = told(overdue, (last + 10 * DAY, Ping("start")), rhythm=berlin)
    assert (again.state.why, again.flips) == (overdue.why, ())
    assert told(again.state, (last + 10 * DAY + MINUTE, Ping()), rhythm=berlin).state.why == ""
    failed = told(pinged_once, (last + HOUR, Ping("fail", status=3, body="\n\n disk\tfull\x00 \nmore")))
    assert failed.state.why == "failed with exit status 3: disk full"
    assert told(failed.state, (last + 2 * HOUR, Ping("fail"))).state.why == "failed"


# -- the registry -------------------------------------------------------------------------------------------


def spec(name: str = "backup", **settings: Any) -> CollectorSpec:
    """Return a heartbeat's entry of a configuration; durations are in seconds."""
    given = {"period": 60.0, "grace": 10.0} | settings
    given = {key: Seconds(value) if isinstance(value, float) else value for key, value in given.items()}
    return CollectorSpec("heartbeat", name, HeartbeatSettings(name=name, **given))


class Bench:
    """Heartbeats with clocks set by hand, and all that they tell. No greenlet looks: `collect` does."""

    def __init__(
        self, *specs: CollectorSpec, clock: WallClock | None = None, stored: dict[str, str] | None = None
    ) -> None:
        self.clock = clock or WallClock(T0)
        self.stored: dict[str, str] = {} if stored is None else stored
        self.samples: list[Sample] = []
        self.events: list[Event] = []
        self.broken = ""
        self.context = Context(report=self.events.append)
        self.beats = self.context.shared(
            Heartbeats,
            lambda: Heartbeats(
                self.context, self.samples.extend, lambda: self.stored, self._save,
                lambda: self.clock.wall, lambda: self.clock.monotonic,
            ),
        )  # fmt: skip
        self.beats.configure(specs)
        self.collectors = {one.name: Heartbeat(one, self.context) for one in specs}

    def _save(self, states: Any) -> None:
        if self.broken:
            raise StorageError(self.broken)
        self.stored.update(states)

    def ping(self, kind: Kind = "success", name: str = "backup", **more: Any) -> bool:
        """Ping a heartbeat."""
        found = self.beats.find(name)
        assert found is not None
        return self.beats.ping(found[0], Ping(kind, **more))

    def collect(self, name: str = "backup") -> list[Sample]:
        """Run the collector once; return what it yields."""
        return list(self.collectors[name].collect())

    def told(self) -> list[tuple[str, float, float]]:
        """Return the samples so far: last part of the symbol, value, seconds after the first ping."""
        return [
            (sample.symbol.rpartition(".")[2], sample.value, ((sample.ts or 0) - T0) / SECOND)
            for sample in self.samples
        ]


def test_changes_are_samples_with_their_own_time() -> None:
    """One when it goes up, one with the deadline's time when that has passed, and no more."""
    bench = Bench(spec())
    assert bench.collect() == []
    bench.ping()
    bench.clock.pass_by(30)
    bench.ping()
    assert [(sample.value, sample.ts) for sample in bench.collect()] == [(1.0, bench.clock.wall)]
    bench.clock.pass_by(100)
    repeated = bench.collect()
    bench.collect()
    assert bench.told() == [("up", 1.0, 0.0), ("up", 0.0, 100.0)]
    assert [(sample.value, sample.ts) for sample in repeated] == [(0.0, bench.clock.wall)]
    assert repeated[0].tags["error"].startswith("no ping since 20")
    bench.ping()
    assert bench.told()[2:] == [("up", 1.0, 130.0)]
    assert "error" not in bench.samples[-1].tags
    assert [event.type for event in bench.events] == ["error", "system"]
    assert [event.ts for event in bench.events] == [T0 + 100 * SECOND, T0 + 130 * SECOND]


def test_a_late_ping_is_down_and_up_whoever_notices() -> None:
    """A ping after the deadline that nobody had looked at since tells both flips, each with its time."""
    bench = Bench(spec())
    bench.ping()
    bench.clock.pass_by(75)
    bench.ping()
    assert bench.told() == [("up", 1.0, 0.0), ("up", 0.0, 70.0), ("up", 1.0, 75.0)]
    assert "no ping since" in bench.samples[1].tags["error"]


def test_a_run_has_its_duration() -> None:
    """From start to finish, also where it failed; the text goes into reason and event."""
    bench = Bench(spec(tags={"room": "attic"}))
    bench.ping("start", rid="a")
    bench.clock.pass_by(2.5)
    bench.ping("fail", rid="a", status=2, body="disk full\nline two")
    assert bench.told() == [("up", 0.0, 2.5), ("duration", 2.5, 2.5)]
    assert bench.samples[0].tags == {
        "source": "heartbeat", "room": "attic", "error": "failed with exit status 2: disk full"
    }  # fmt: skip
    (event,) = bench.events
    assert event.message == "heartbeat backup is down: failed with exit status 2: disk full"
    assert event.payload["body"] == "disk full\nline two"


def test_events_are_bounded() -> None:
    """A job that fails all the time, or talks all the time, cannot fill the store."""
    bench = Bench(spec())
    for _ in range(100):
        bench.ping("fail", body="again")
    assert len(bench.events) == 20
    answers = [bench.ping("log", body="hello") for _ in range(100)]
    assert sum(answers) == 20
    bench.clock.pass_by(61)
    assert bench.ping("log", body="hello")
    assert not bench.ping("log", body="hello")
    assert bench.ping("log")  # without a text there is nothing to keep
    assert bench.events[-1].message == "heartbeat backup, log: hello"


def test_a_restart_goes_on_where_it_was() -> None:
    """The deadline is that of the stored ping; a flip that was told is not told again."""
    first = Bench(spec(period=86_400.0, grace=3_600.0))
    first.ping()
    first.clock.pass_by(20 * 3_600)
    second = Bench(spec(period=86_400.0, grace=3_600.0), clock=first.clock, stored=first.stored)
    assert [sample.value for sample in second.collect()] == [1.0]
    second.clock.pass_by(6 * 3_600)
    second.collect()
    assert second.told() == [("up", 0.0, 25 * 3_600.0)]
    third = Bench(spec(period=86_400.0, grace=3_600.0), clock=first.clock, stored=first.stored)
    assert [sample.value for sample in third.collect()] == [0.0]
    assert third.samples == []


def test_a_deadline_that_passed_while_off_is_told_after_a_while_with_its_own_time() -> None:
    """Until then nothing is said: neither up nor down is known."""
    first = Bench(spec())
    first.ping()
    first.clock.pass_by(3_600)
    second = Bench(spec(), clock=first.clock, stored=first.stored)
    second.clock.pass_by(69)
    assert second.collect() == []
    second.clock.pass_by(1)
    assert [sample.value for sample in second.collect()] == [0.0]
    assert second.told() == [("up", 0.0, 70.0)]


def test_a_clock_that_is_set_flips_nothing() -> None:
    """Neither forward nor back: the deadline stays as far away as it was."""
    for step in (86_400.0, -86_400.0):
        bench = Bench(spec(period=600.0))
        bench.ping()
        bench.clock.pass_by(60)
        bench.clock.set_by(step)
        bench.collect()
        bench.clock.pass_by(540)
        bench.collect()
        assert bench.told() == [("up", 1.0, 0.0)]
        bench.clock.pass_by(60)
        bench.collect()
        assert bench.told()[1:] == [("up", 0.0, 610.0 + step)]


def test_a_small_board_that_boots_in_the_past_judges_nothing_by_it() -> None:
    """It starts where its clock stopped, and is set right later: what an earlier run stored was right."""
    first = Bench(spec(period=3_600.0))
    first.ping()
    second = Bench(spec(period=3_600.0), clock=first.clock, stored=first.stored)
    second.clock.pass_by(20)
    second.clock.set_by(3_000)
    second.collect()
    second.clock.pass_by(500)
    second.collect()
    assert second.told() == []
    # And a last ping that a wrong clock put into the future does not put the deadline off for ever.
    stored = {"heartbeat/backup": State(last=after(T0, 900 * DAY), up=True, since=T0).to_json()}
    third = Bench(spec(), clock=WallClock(T0), stored=stored)
    third.clock.pass_by(71)
    third.collect()
    assert third.told() == [("up", 0.0, 70.0)]


def test_a_reload_keeps_the_state_and_takes_the_new_deadline() -> None:
    """A longer period brings back what was only late; what was removed and returns is known still."""
    bench = Bench(spec())
    bench.ping()
    bench.clock.pass_by(100)
    bench.collect()
    longer = spec(period=600.0)
    bench.beats.configure([longer])
    assert bench.told() == [("up", 1.0, 0.0), ("up", 0.0, 70.0), ("up", 1.0, 100.0)]
    bench.beats.configure([])
    assert bench.beats.find("backup") is None
    bench.beats.configure([longer])
    found = bench.beats.find("backup")
    assert found is not None
    assert found[0].state.last == T0


def test_a_name_is_found_as_it_is_written_and_a_key_as_it_is() -> None:
    """The path may have the name of the configuration; a key that two share reaches one, and is reported."""
    key = "3f9c2b7a1d5e4c60"
    bench = Bench(spec("nightly_backup", key=key), spec("other", key=key))
    for path, keyed in [("nightly_backup", False), ("nightly-backup", False), (key, True)]:
        found = bench.beats.find(path)
        assert found is not None
        assert (found[0].name, found[1]) == ("nightly_backup", keyed)
    assert bench.beats.find(key.upper()) is None
    assert [event.message for event in bench.events] == [
        "heartbeats nightly_backup and other have the same key; it reaches nightly_backup only"
    ]


def test_a_ping_that_cannot_be_stored_counts_and_is_stored_later() -> None:
    """The sender is told, one event tells the beginning and one the end."""
    bench = Bench(spec())
    bench.broken = "disk full"
    assert not bench.ping()
    assert not bench.ping()
    assert bench.told() == [("up", 1.0, 0.0)]
    bench.broken = ""
    assert bench.beats.flush()
    assert State.of_json(bench.stored["heartbeat/backup"]).last == T0
    assert [event.message for event in bench.events] == [
        "pings count, but cannot be stored: disk full", "pings are stored again"
    ]  # fmt: skip


def test_a_stored_state_that_cannot_be_read_is_reported() -> None:
    """It starts anew, as one that was never pinged."""
    bench = Bench(spec(), stored={"heartbeat/backup": "{"})
    assert bench.collect() == []
    assert "cannot be read" in bench.events[0].message


def test_the_note_tells_the_last_ping_and_what_is_awaited() -> None:
    """It stands beside the value on the dashboard."""
    bench = Bench(spec(timezone="UTC"))
    assert bench.collectors["backup"].state == ""
    bench.ping()
    expected = "pinged 2027-01-15 08:00:00, next by 2027-01-15 08:01:10 UTC"
    assert bench.collectors["backup"].state == expected
    bench.ping("start")
    expected = "running since 2027-01-15 08:00:00, to end by 2027-01-15 08:00:10 UTC"
    assert bench.collectors["backup"].state == expected
    bench.ping("fail")
    assert bench.collectors["backup"].state == ""


# -- configuration ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("name: b, period: 1d, grace: 1h", ""),
        ('name: b, cron: "0 3 * * *", timezone: Europe/Berlin, grace: 1h, key: 3f9c2b7a1d5e4c60', ""),
        ("period: 1d, grace: 1h", "name: is missing"),
        ("name: b, period: 1d", "grace: is missing"),
        ("name: b, grace: 1h", "needs either period or cron"),
        ('name: b, grace: 1h, period: 1d, cron: "0 3 * * *"', "needs either period or cron"),
        ('name: b, grace: 1h, cron: "0 25 * * *"', "is no cron expression: bad hour"),
        ('name: b, grace: 1h, cron: "@daily"', "is no cron expression: wrong number of fields"),
        ('name: b, grace: 1h, cron: "0 0 31 2 *"', "is no cron expression"),
        ('name: b, grace: 1h, cron: "0 3 * * *", timezone: Mars/Olympus', "is not a time zone"),
        ('name: b, grace: 1h, cron: "0 3 * * *", timezone: ../../etc/passwd', "is not a time zone"),
        ("name: b, grace: 1h, period: 1d, key: short", "is no key"),
    ],
)
def test_settings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, settings: str, mistake: str) -> None:
    """What is wrong is told, with what would be right."""
    monkeypatch.chdir(tmp_path)
    found = mistakes_of(f"collectors:\n  - {{type: heartbeat, {settings}}}\n")
    assert len(found) == bool(mistake)
    assert mistake in "".join(found)
    assert "short" not in "".join(found)
