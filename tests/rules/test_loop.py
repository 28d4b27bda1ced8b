"""The loop around the engine: what fails, what is replaced, and the clock; and the order of a pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import gevent
import pytest

from oculus.clock import SECOND, parse_iso
from oculus.config.decode import Seconds
from oculus.model import Micros, Transition
from oculus.rules.engine import RuleEngine
from oculus.rules.loop import Figures, RuleLoop
from oculus.rules.schedule import Turn
from oculus.rules.view import Point
from tests.rules.world import World, at, rule


def looped(
    world: World,
    told: list[Transition],
    remember: Callable[[Mapping[str, str]], None] = lambda memories: None,
    takes: float = 0.0,
) -> RuleLoop:
    """Return the loop of a world at its second 0, in which each figure is 5, a fetch of them `takes` so many
    seconds, and each query has one row."""

    def query(sql: str, params: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        if sql == "fails":
            raise RuntimeError("out of order")
        return [{"a": "x"}]

    def view(moment: Micros, figures: Figures) -> Any:
        world.figures = dict(figures)
        return world.view(0)

    def fetch(wanted: Any, moment: Micros) -> Figures:
        gevent.sleep(takes)
        return dict.fromkeys(wanted, 5.0)

    return RuleLoop(world.engine, told.append, view, fetch, query, lambda: at(0), remember)


def test_a_rule_that_fails_stops_no_other() -> None:
    """Its error is its health."""
    world, told = World(rule("broken > 1", name="a"), rule(name="b")), list[Transition]()
    world.set(0, "load", 11)
    world.values["broken"] = (Point(at(0), "x", None), 0.0)  # type: ignore[arg-type]
    loop = looped(world, told)
    loop._evaluate(world.engine.rules, {})
    assert [step.rule for step in told] == ["b"]
    assert [found.health for found in world.engine.rules] == ["error", "ok"]


def test_what_was_decided_before_a_fault_is_told() -> None:
    """The alerts that came before it have begun: nobody would hear of them later."""
    world, told = World(rule("x.* > 1")), list[Transition]()
    for name in "abc":
        world.set(0, f"x.{name}", 5)
    loop = looped(world, told)
    world.tags["x.b"] = None  # type: ignore[assignment]
    loop._evaluate(world.engine.rules, {})
    assert [step.symbol for step in told] == ["x.a"]
    assert world.rule.health == "error"
    del world.tags["x.b"]
    loop._evaluate(world.engine.rules, {})
    assert [step.symbol for step in told] == ["x.a", "x.b", "x.c"]


def test_what_changes_without_a_step_is_handed_over() -> None:
    """To be stored beside the events."""
    world, kept = World(rule(keep_firing_for=Seconds(60.0))), dict[str, str]()
    loop = looped(world, [], remember=kept.update)
    world.set(0, "load", 11)
    loop._evaluate(world.engine.rules, {})
    assert kept == {}
    world.set(0, "load", 5)
    loop._evaluate(world.engine.rules, {})
    assert list(kept) == ["alert/r/"]


def test_passes_that_a_slow_store_leaves_out_are_counted() -> None:
    """For the rules over time that were due: one pass takes three and a half of their turns."""
    world = World(rule("avg(x, 5m) > 9", every=Seconds(0.01)), rule("avg(x, 1h) > 9", name="slow"))
    loop = looped(world, [], takes=0.035)
    loop.step_windows(100.0)
    slow = world.engine.get("slow")
    assert slow is not None
    assert world.rule.missed >= 2
    assert slow.missed == 0


def test_a_query_that_fails_in_any_way_is_the_rules_health() -> None:
    """An error that nobody thought of is no reason to stop."""
    world = World(rule(sql="fails"))
    looped(world, [])._run_query(world.rule)
    assert (world.rule.health, world.rule.error) == ("error", "RuntimeError: out of order")


def test_a_query_counts_for_the_same_rule_after_a_reload() -> None:
    """The next run of one with a schedule may be a day away."""
    world, told = World(rule(sql="select …")), list[Transition]()
    before = world.rule
    world.engine.replace([rule(sql="select …")], at(0))
    looped(world, told)._run_query(before)
    assert [step.state for step in told] == ["firing"]


def test_figures_of_rules_that_are_gone_are_dropped() -> None:
    """They would be kept for ever."""
    world = World(rule("avg(x, 5m) > 9"))
    loop = looped(world, [])
    loop.step_windows(100.0)
    assert [window.symbol for window in loop.figures] == ["x"]
    world.engine.replace([rule("avg(y, 5m) > 9")], at(0))
    loop.step_windows(100.0)
    assert [window.symbol for window in loop.figures] == ["y"]


def test_a_step_of_the_clock_delays_no_query() -> None:
    """A turn goes with the clock; one of a schedule is found anew."""
    day = 86_400
    settings = rule(sql="select 1", every=Seconds(60.0))
    turn = Turn.of(settings, at(0))
    assert turn.passed(settings, at(0)) == 0
    turn.shift(settings, -day * 1_000_000, at(-day))
    assert turn.at == at(60 - day)
    cron = rule(sql="select 1", schedule="* * * * *", timezone="UTC")
    turn = Turn.of(cron, at(0))
    turn.shift(cron, -day * 1_000_000, at(-day))
    assert at(-day) < turn.at <= at(60 - day)


@pytest.mark.parametrize(
    ("cron", "place", "start", "turns"),
    [
        # In spring 2:30 is left out: it is made up for when clocks show 3:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00", ["28 01:30", "29 01:00", "30 00:30"]),
        # In autumn it comes twice, and is the first one.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T00:00", ["24 00:30", "25 00:30", "26 01:30"]),
        # What recurs within the hour does so in both.
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-24T23:00",
         ["25 00:00", "25 00:30", "25 01:00", "25 01:30"]),
        ("*/20 * * * *", "Europe/Berlin", "2026-03-29T00:30", ["29 00:40", "29 01:00", "29 01:20"]),
        ("0 9 * * mon-fri", "America/New_York", "2026-03-06T00:00", ["06 14:00", "09 13:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["29 00:00"]),
    ],
)  # fmt: skip
def test_a_schedule_goes_by_the_clocks_of_its_zone(
    cron: str, place: str, start: str, turns: list[str]
) -> None:
    """Over both changes of the clocks; the turns are in UTC, with the day of the month."""
    settings = rule(sql="select 1", schedule=cron, timezone=place)
    turn = Turn.of(settings, parse_iso(start))
    found = []
    for _ in turns:
        found.append(f"{datetime.fromtimestamp(turn.at / SECOND, UTC):%d %H:%M}")
        assert turn.passed(settings, turn.at) == 0
    assert found == turns


def test_a_cause_is_evaluated_before_what_depends_on_it() -> None:
    """In whichever order they are written; a circle of them is no order."""
    world = World(rule("x > 1", name="effect", depends_on=("cause",)), rule("x > 1", name="cause"))
    world.set(0, "x", 5)
    assert [(step.rule, step.suppressed) for step in world.evaluate(0)] == [
        ("cause", ""), ("effect", "depends on cause, which fires"),
    ]  # fmt: skip
    RuleEngine([rule(name="a", depends_on=("b",)), rule(name="b", depends_on=("a",))])


def test_an_alert_is_known_by_its_key_before_any_sample_came() -> None:
    """Its labels may name a series that is not the wildcard's; a missing value may then resolve it."""
    settings = rule("load > 1 and x.* > 1", no_data="ok")
    world = World(settings)
    world.set(0, "load", 5)
    world.set(0, "x.a", 5)
    (step,) = world.evaluate(0)
    assert step.memory is not None
    assert step.memory[1] is not None
    after = World(settings, started=400)
    after.engine.restore({"r/a": step.memory[1]}, at(400))
    after.engine.settle(lambda symbol: None)
    assert [found.state for found in after.evaluate(401)] == ["resolved"]
