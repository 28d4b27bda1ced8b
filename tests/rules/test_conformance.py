"""Conformance: each case of the table, on a clock that is moved by hand, by replay, and in the daemon."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import gevent
import pytest

from oculus.clock import SECOND, now, parse_iso
from oculus.config import read_rules
from oculus.config.settings import RuleSettings
from oculus.model import Micros, Transition
from oculus.rules.engine import STORED
from oculus.rules.recorded import Recorded
from oculus.rules.replay import Replay
from oculus.rules.rows import Row, rows_of
from oculus.rules.rule import windows_of
from oculus.rules.schedule import Turn
from oculus.vocabulary import vocabulary
from tests.rules.timelines import RELOAD, RESTART, TIMELINES, Change, Check, Timeline
from tests.rules.world import START, World, at, rule
from tests.support.daemon import Daemon
from tests.support.servers import wait_for

PREFIX = "custom.t."
GRID = 0.5  # seconds between evaluations where nothing else happens

AS_IT_IS = Change()

Told = tuple[float, str]  # a second, and a step as the table writes it


def own(value: Any, prefix: str) -> Any:
    """Return a setting with the symbols of its case filled in."""
    return value.replace("$.", prefix) if isinstance(value, str) else value


def entry(timeline: Timeline, name: str = "r", prefix: str = PREFIX, change: Change = AS_IT_IS) -> Any:
    """Return a case's rule as an entry of the file, which is JSON here."""
    given = {**timeline.rule, **(change.settings or {})}
    return {"name": name, **{key: own(value, prefix) for key, value in given.items()}}


def settings_of(timeline: Timeline, change: Change = AS_IT_IS) -> tuple[RuleSettings, ...]:
    """Return a case's rule as the configuration makes it, or none when it is gone."""
    return () if change.gone else read_rules(json.dumps(entry(timeline, change=change)), vocabulary())


def written(before: str, after: str, symbol: str | None, why: str, prefix: str = PREFIX) -> str:
    """Return a step as the table writes it."""
    name = "" if symbol in (None, f"{prefix}x") else f"{str(symbol).removeprefix(prefix)}: "
    return f"{name}{before}→{after}" + (f" ({why.partition(':')[0]})" if why else "")


def told(transitions: Iterable[Transition]) -> list[Told]:
    """Return steps with their seconds."""
    return [
        ((step.ts - START) / SECOND, written(step.previous, step.state, step.symbol, step.suppressed))
        for step in transitions
    ]


# -- by hand ---------------------------------------------------------------------------------------------


@dataclass
class ByHand:
    """A world in which a case happens: evaluated at each sample and each GRID seconds, with a real store for
    the queries."""

    timeline: Timeline
    store: duckdb.DuckDBPyConnection
    world: World = field(init=False)
    recorded: Recorded = field(default_factory=Recorded)
    kept: dict[str, str | None] = field(default_factory=dict)  # what a database would hold
    steps: list[Transition] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.world = World(*settings_of(self.timeline))
        self.store.execute("create or replace table metrics (ts timestamptz, symbol varchar, value double)")

    def run(self) -> None:
        """Go through the case."""
        moments = dict(self.timeline.moments)
        checks = {check.second: check for check in self.timeline.checks}
        grid = {number * GRID for number in range(int((self.timeline.end + 1) / GRID) + 1)}
        for second in sorted(grid | moments.keys() | checks.keys()):
            what = moments.get(second, {})
            if isinstance(what, Change):
                self.note(self.restart(second, what) if what.restart else self.reload(second, what))
            else:
                self.push(second, what)
            if second % GRID == 0 or what:
                self.evaluate(second)
            if second in checks:
                self.check(checks[second])

    def push(self, second: float, values: Mapping[str, float]) -> None:
        """Store samples."""
        for name, value in values.items():
            symbol = PREFIX + name
            self.world.set(second, symbol, value, self.timeline.interval)
            self.recorded.add(symbol, at(second), value)
            self.store.execute(
                "insert into metrics values (make_timestamptz($1), $2, $3)", [at(second), symbol, value]
            )

    def evaluate(self, second: float) -> None:
        """Evaluate the rules, as the daemon's three loops do."""
        self.recorded.now = at(second)
        rules = self.world.engine.rules
        self.world.figures = {window: self.recorded.window(window) for window in windows_of(rules)}
        self.note(self.world.evaluate(second))
        for found in rules:
            if found.settings.sql and not found.settings.schedule:
                self.query(second)
        altered = self.world.engine.altered()
        self.kept |= {key.removeprefix(STORED): text for key, text in altered.items()}

    def query(self, second: float) -> None:
        """Run the rule's query."""
        try:
            result = self.store.execute(self.world.rule.settings.sql)
            columns = [(column[0], str(column[1])) for column in result.description or ()]
            rows: Sequence[Row] = rows_of(columns, result.fetchall())
        except duckdb.Error as error:
            self.world.engine.fail(self.world.rule, str(error), at(second))
        else:
            self.note(self.world.rows(second, *rows))

    def note(self, transitions: Iterable[Transition]) -> None:
        """Keep steps, and what they leave to be remembered."""
        for step in transitions:
            self.steps.append(step)
            assert step.memory is not None
            self.kept[step.memory[0].removeprefix(STORED)] = step.memory[1]

    def reload(self, second: float, change: Change) -> list[Transition]:
        """Read the configuration anew."""
        return self.world.engine.replace(settings_of(self.timeline, change), at(second))

    def restart(self, second: float, change: Change) -> list[Transition]:
        """Begin anew with what was remembered: no value is known any more."""
        before = self.world
        self.world = World(*settings_of(self.timeline, change), started=second)
        stored = {key: text for key, text in self.kept.items() if text is not None}
        ended = self.world.engine.restore(stored, at(second))
        self.world.engine.know(before.values)
        newest = {symbol: (point.ts, interval) for symbol, (point, interval) in before.values.items()}
        self.world.engine.settle(newest.get)
        return ended

    def check(self, check: Check) -> None:
        """Compare how the rule stands."""
        (state,) = self.world.engine.states(self.world.view(check.second))
        compare(check, state.state, state.health, state.value, state.error)


def compare(check: Check, state: str, health: str, value: float | None, error: str) -> None:
    """Fail unless a rule stands as a check says."""
    found = state, health, None if check.value is None else value
    assert found == (check.state, check.health, check.value), f"second {check.second}"
    assert check.error in error


@pytest.fixture(scope="module")
def store() -> Iterable[duckdb.DuckDBPyConnection]:
    """Give an empty database in memory."""
    connection = duckdb.connect()
    yield connection
    connection.close()


@pytest.mark.parametrize("case", TIMELINES)
def test_each_case_by_hand(case: str, store: duckdb.DuckDBPyConnection) -> None:
    """The steps are those of the table, at their very seconds."""
    run = ByHand(TIMELINES[case], store)
    run.run()
    assert told(run.steps) == list(TIMELINES[case].steps)
    began: dict[str | None, int] = {}
    for step in run.steps:
        if step.previous == "inactive":
            began[step.symbol] = step.ts
        assert step.started_at == began[step.symbol]  # also over restarts, and when it is taken back


REPLAYED = [
    case
    for case, timeline in TIMELINES.items()
    if "sql" not in timeline.rule and not any(isinstance(what, Change) for _, what in timeline.moments)
]


@pytest.mark.parametrize("case", REPLAYED)
def test_each_case_by_replay(case: str) -> None:
    """A backtest comes to the same steps; it does not wait for the next evaluation where a timer ends."""
    timeline = TIMELINES[case]
    recorded = Recorded(dict.fromkeys((f"{PREFIX}x", f"{PREFIX}y"), timeline.interval))
    replay = Replay(settings_of(timeline), recorded, at(0))
    arrivals = []
    for second, values in timeline.moments:
        assert not isinstance(values, Change)
        for name, value in values.items():
            recorded.add(PREFIX + name, at(second), value)
            arrivals.append((at(second), PREFIX + name))
    steps = told(replay.advance(at(timeline.end + 1), arrivals))
    assert [step for _, step in steps] == [step for _, step in timeline.steps]
    for (found, _), (wanted, _) in zip(steps, timeline.steps, strict=True):
        assert wanted - GRID <= found <= wanted + timeline.late


# -- in the daemon ---------------------------------------------------------------------------------------

LIVE = {f"c{number}": case for number, case in enumerate(TIMELINES) if not TIMELINES[case].alone}  # by rule

EARLY = 0.1  # seconds by which a step may seem to come before what it follows from: a clock read twice
LATE = 2.5  # seconds by which it may come later on a busy machine; the table's moments are further apart


def configuration(until: float, restart: bool) -> str:
    """Return the configuration as it is after all changes up to a second, or only those before a restart."""
    rules = []
    for name, case in LIVE.items():
        change = AS_IT_IS
        for second, what in TIMELINES[case].moments:
            if isinstance(what, Change) and second <= until and (restart or not what.restart):
                change = what
        if not change.gone:
            rules.append(entry(TIMELINES[case], name, f"custom.{name}.", change))
    return json.dumps({"database": {"flush": "50ms"}, "rules": rules})


def happened(daemon: Daemon, name: str, begun: Micros) -> list[Told]:
    """Return the stored steps of a rule's alerts."""
    found: list[dict[str, Any]] = daemon.json(f"/api/alerts?rule={name}")["alerts"]
    return [
        (
            (parse_iso(step["ts"]) - begun) / SECOND,
            written(step["previous"], step["state"], step["symbol"], step["suppressed"], f"custom.{name}."),
        )
        for step in reversed(found)
    ]


def differences(name: str, found: list[Told]) -> str:
    """Return in what the steps of a case are not those of the table, or nothing."""
    timeline = TIMELINES[LIVE[name]]
    wanted = timeline.steps
    # Alerts of one rule that change at once do so in any order.
    if sorted(step for _, step in found) != sorted(step for _, step in wanted):
        return f"{LIVE[name]}: {found} instead of {list(wanted)}"
    seconds: dict[str, list[float]] = {}
    for second, step in found:
        seconds.setdefault(step, []).append(second)
    for second, step in wanted:
        was = seconds[step].pop(0)
        if not second - EARLY <= was <= second + LATE + timeline.late:
            return f"{LIVE[name]}: {step} at second {was:.2f} instead of {second}"
    return ""


def test_all_cases_in_the_daemon(daemon: Callable[..., Daemon]) -> None:
    """At the same time, each with a rule and series of its own, whose values are pushed from outside."""
    pushes: dict[float, list[dict[str, Any]]] = {}
    checks: dict[float, list[tuple[str, Check]]] = {}
    for name, case in LIVE.items():
        for second, what in TIMELINES[case].moments:
            if isinstance(what, Change):
                assert second == (RESTART if what.restart else RELOAD), case
            else:
                given = ({"symbol": f"custom.{name}.{last}", "value": value} for last, value in what.items())
                pushes.setdefault(second, []).extend(given)
        for check in TIMELINES[case].checks:
            checks.setdefault(check.second, []).append((name, check))
    oculus = daemon(configuration(-1, False))
    begun = now()
    for second in sorted({RELOAD, RESTART} | pushes.keys() | checks.keys()):
        gevent.sleep(max(0.0, second - (now() - begun) / SECOND))
        if second == RELOAD:
            oculus.configure(configuration(second, False))
        if second == RESTART:
            oculus.kill()
            oculus = daemon(configuration(second, True))
        if second in pushes:
            assert oculus.post("/api/push", json=pushes[second]).status_code == 202
        if second in checks:
            states = {state["name"]: state for state in oculus.json("/api/rules")["rules"]}
            for name, check in checks[second]:
                state = states[name]
                try:
                    compare(check, state["state"], state["health"], state["value"], state["error"])
                except AssertionError as error:
                    raise AssertionError(f"{LIVE[name]}: {error}") from None
    end = max(second for case in LIVE.values() for second, _ in TIMELINES[case].steps)
    gevent.sleep(max(0.0, end + LATE - (now() - begun) / SECOND))
    found = [differences(name, happened(oculus, name, begun)) for name in LIVE]
    assert [told for told in found if told] == []


def test_a_query_that_takes_longer_than_its_turn_misses_some(daemon: Callable[..., Daemon]) -> None:
    """5: the runs that were due meanwhile are left out and counted, and no other rule waits for it."""
    slow = (
        "select count(*) as n from metrics, range(300000000) r(i)"
        " where symbol = 'custom.y' and hash(i) = value"
    )
    rules = [
        {"name": "slow", "sql": slow, "every": "200ms"},
        {"name": "quick", "condition": "custom.x > 10"},
    ]
    oculus = daemon(json.dumps({"database": {"flush": "50ms"}, "rules": rules}))
    oculus.post("/api/push/custom.x", json={"value": 11})
    wait_for(lambda: oculus.json("/api/rules/quick")["state"] == "firing")
    before = oculus.json("/api/rules/slow")["missed"]  # a busy machine may have left one out
    oculus.post("/api/push/custom.y", json={"value": 1})
    oculus.post("/api/push/custom.x", json={"value": 5})
    wait_for(lambda: oculus.json("/api/rules/quick")["state"] == "inactive")
    wait_for(lambda: oculus.json("/api/rules/slow")["missed"] > before + 2)


def test_evaluations_that_were_left_out_are_counted() -> None:
    """5: one that takes longer than its turn is followed by the next whole turn, and what was left out
    is told."""
    settings = rule(sql="select 1", every=10.0)
    turn = Turn.of(settings, at(0))
    taken = [(0, 0.1), (10, 12), (20, 55), (60, 60.5), (70, 82)]  # seconds: each begins when it is due
    missed = []
    for begun, done in taken:
        assert turn.at == at(begun)
        missed.append(turn.passed(settings, at(done)))
    assert (missed, turn.at) == ([0, 0, 3, 0, 1], at(90))
