"""What a rule makes of its alerts beyond the four states: many instances, damping, silence, restarts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from oculus.config.decode import Seconds
from oculus.errors import ExpressionError
from oculus.model import Tags, Transition
from oculus.rules.engine import STORED, RuleEngine
from oculus.rules.live import Live
from oculus.rules.rule import check
from tests.rules.world import World, at, rule

# -- a story for each setting: seconds with the value of `load` (None: it goes stale), and the steps ----

RISE, FIRE, AT_ONCE = ["inactive→pending"], ["pending→firing"], ["inactive→firing"]
FALL, RESOLVE, AGAIN = ["pending→inactive"], ["firing→resolved"], ["firing→firing"]

STORIES: dict[str, tuple[dict[str, Any], list[tuple[float, float | None, list[str]]]]] = {
    "it fires on for a while": ({"keep_firing_for": 60}, [
        (0, 11, AT_ONCE), (10, 5, []), (69.9, 5, []), (70, 5, RESOLVE), (80, 11, AT_ONCE),
    ]),
    "each match begins the while anew": ({"keep_firing_for": 60}, [
        (0, 11, AT_ONCE), (10, 5, []), (60, 11, []), (70, 5, []), (129, 5, []), (130, 5, RESOLVE),
    ]),
    "keeping is for what fires only": ({"keep_firing_for": 60, "for_": 30}, [
        (0, 11, RISE), (10, 5, FALL), (20, 11, RISE), (50, 11, FIRE), (60, 5, []), (120, 5, RESOLVE),
    ]),
    "a clear threshold": ({"until": "load < 5"}, [
        (0, 11, AT_ONCE), (10, 9, []), (20, 5, []), (30, 4, RESOLVE), (40, 9, []), (50, 11, AT_ONCE),
    ]),
    "a clear threshold is for what fires only": ({"until": "load < 5", "for_": 30}, [
        (0, 11, RISE), (10, 9, FALL),
    ]),
    "a missing value is kept": ({"no_data": "keep"}, [(0, 11, AT_ONCE), (400, None, []), (500, 5, RESOLVE)]),
    "a missing value is ok": ({"no_data": "ok"}, [(0, 11, AT_ONCE), (400, None, RESOLVE)]),
    "a missing value is an alert": ({"no_data": "alert"}, [
        (0, 5, []), (300, None, []), (301, None, AT_ONCE), (400, None, []), (500, 5, RESOLVE),
    ]),
    "a missing value is an alert after for": ({"no_data": "alert", "for_": 60}, [
        (0, 5, []), (301, None, RISE), (361, None, FIRE), (400, 5, RESOLVE),
    ]),
    "a reminder": ({"repeat": 60}, [
        (0, 11, AT_ONCE), (59, 11, []), (60, 11, AGAIN), (61, 11, []), (119, 11, []), (121, 11, AGAIN),
        (130, 5, RESOLVE), (300, 5, []),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_an_alert_heeds_its_settings(name: str) -> None:
    """Each story gives seconds with values, and the steps that must follow."""
    settings, events = STORIES[name]
    world = World(rule(**settings))
    for second, value, steps in events:
        if value is not None:
            world.set(second, "load", value)
        assert world.steps(second) == steps, f"second {second}"


def test_what_was_never_seen_is_missing_after_a_while_only() -> None:
    """A daemon that has just started has not missed anything yet."""
    world = World(rule(no_data="alert"), started=1000.0)
    assert world.steps(1001) == world.steps(1300) == []
    assert world.steps(1300.1) == AT_ONCE


# -- many instances ------------------------------------------------------------------------------------


def test_a_wildcard_has_an_alert_for_each_target() -> None:
    """Each goes its own way, with the labels of its series; the rule is as bad as the worst."""
    world = World(rule("net.http.*.up == 0 and net.http.*.rtt > 5", for_=Seconds(10.0)))
    world.tags["net.http.a.up"] = Tags({"site": "paris", "error": "refused"})
    for name in ("a", "b", "c"):
        world.set(0, f"net.http.{name}.up", 0)
    assert world.steps(0) == []
    assert world.rule.health == "no data"
    world.set(0, "net.http.a.rtt", 9)
    world.set(0, "net.http.b.rtt", 9)
    (first, second) = world.evaluate(0)
    assert (first.labels, first.state) == ({"symbol": "net.http.a.up", "site": "paris"}, "pending")
    assert (second.labels, second.state) == ({"symbol": "net.http.b.up"}, "pending")
    assert first.explanation == "net.http.a.up (0) == 0 and net.http.a.rtt (9) > 5"
    world.set(5, "net.http.b.up", 1)
    assert [(step.symbol, step.state) for step in world.evaluate(5)] == [("net.http.b.up", "inactive")]
    assert [(step.symbol, step.state) for step in world.evaluate(10)] == [("net.http.a.up", "firing")]
    assert world.state == "firing"
    (state,) = world.engine.states(world.view(10))
    assert [(found.labels["symbol"], found.state) for found in state.instances] == [
        ("net.http.a.up", "firing")
    ]


def test_more_alerts_than_allowed_are_none() -> None:
    """All are dropped, and the rule says so: nobody reads a thousand."""
    world = World(rule("x.* > 1", limit=3))
    for number in range(3):
        world.set(0, f"x.a{number}", 5)
    assert len(world.evaluate(0)) == 3
    world.set(1, "x.more", 5)
    ended = world.evaluate(1)
    assert [step.state for step in ended] == ["resolved"] * 3
    assert (world.state, world.rule.health) == ("inactive", "error")
    assert world.rule.error == ended[0].message == "4 alerts, of which limit allows 3"
    world.set(2, "x.more", 0)
    assert len(world.evaluate(2)) == 3
    assert world.rule.health == "ok"


@pytest.mark.parametrize("until", ["x.*.* < 1", "x.* < 1 and ("])
def test_expressions_of_a_rule_must_fit_together(until: str) -> None:
    """What resolves an alert cannot be about other targets than what raised it."""
    with pytest.raises(ExpressionError):
        check(rule("x.* > 1", until=until))
    check(rule("x.* > 1", until="x.* < 1"))
    check(rule("x.* > 1", until="y < 1"))


# -- SQL -----------------------------------------------------------------------------------------------


def test_each_row_is_an_alert() -> None:
    """Text columns are its labels, all columns can be in the message, and a row that is gone resolves it."""
    world = World(rule(sql="select …", message="{{ symbol }} moved {{ spread }} in {{ state }}"))
    first, second = world.rows(
        0, {"symbol": "x", "spread": 12.5, "n": 3}, {"symbol": "y", "spread": 20, "n": None}
    )
    assert (first.labels, first.symbol, first.value) == ({"symbol": "x"}, "x", 12.5)
    assert first.message == "x moved 12.5 in firing"
    assert first.explanation == "symbol = x, spread = 12.5, n = 3"
    assert second.value == 20
    assert world.rows(10, {"symbol": "x", "spread": 13}, {"symbol": "y", "spread": 20}) == []
    assert world.rule.instances['{"symbol": "x"}'].value == 13
    (gone,) = world.rows(20, {"symbol": "y", "spread": 20})
    assert (gone.symbol, gone.previous, gone.state) == ("x", "firing", "resolved")
    assert [step.state for step in world.rows(30)] == ["resolved"]


def test_a_row_must_last() -> None:
    """`for` and the rest hold for queries as for conditions."""
    world = World(rule(sql="select …", for_=Seconds(30.0)))
    assert [step.state for step in world.rows(0, {"a": "x"})] == ["pending"]
    assert world.rows(29, {"a": "x"}) == []
    assert [step.state for step in world.rows(30, {"a": "x"})] == ["firing"]


def test_rows_that_are_the_same_alert_are_an_error() -> None:
    """A query must tell its rows from each other; the alerts stay as they are."""
    world = World(rule(sql="select …"))
    world.rows(0, {"a": "x", "n": 1})
    assert world.rows(1, {"a": "x", "n": 1}, {"a": "x", "n": 2}) == []
    assert (world.state, world.rule.health) == ("firing", "error")
    assert world.rule.error == "two rows cannot be told from each other: a x"


def test_a_query_that_fails_is_the_rules_health() -> None:
    """It neither raises nor ends an alert."""
    world = World(rule(sql="select …"))
    world.rows(0, {"a": "x"})
    world.engine.fail(world.rule, "Table x does not exist", at(1))
    assert (world.state, world.rule.health, world.rule.error) == ("firing", "error", "Table x does not exist")
    world.rows(2, {"a": "x"})
    assert (world.rule.health, world.rule.error) == ("ok", "")


# -- what is not told ----------------------------------------------------------------------------------


def suppressed(transitions: list[Transition]) -> list[tuple[str, str]]:
    """Return each step's state and why it is not told."""
    return [(step.state, step.suppressed) for step in transitions]


def test_a_silence_keeps_quiet_and_what_outlasts_it_is_told() -> None:
    """The steps are there; the alert is told when the silence ends, or never if it has resolved."""
    world = World(rule())
    world.silenced["r"] = "silence 1: deploy"
    world.set(0, "load", 11)
    assert suppressed(world.evaluate(0)) == [("firing", "silence 1: deploy")]
    world.set(10, "load", 5)
    assert suppressed(world.evaluate(10)) == [("resolved", "silence 1: deploy")]
    world.set(20, "load", 11)
    world.evaluate(20)
    assert world.evaluate(30) == []
    del world.silenced["r"]
    assert suppressed(world.evaluate(40)) == [("firing", "")]
    assert world.evaluate(50) == []
    world.set(60, "load", 5)
    assert suppressed(world.evaluate(60)) == [("resolved", "")]


def test_a_firing_that_nobody_heard_of_resolves_in_silence() -> None:
    """The end of a silence just before is no reason to tell of an end without a beginning."""
    world = World(rule())
    world.silenced["r"] = "silence 1"
    world.set(0, "load", 11)
    world.evaluate(0)
    del world.silenced["r"]
    world.set(10, "load", 5)
    assert suppressed(world.evaluate(10)) == [("resolved", "silence 1")]


def test_an_alert_is_quiet_while_what_it_depends_on_fires() -> None:
    """With `equal`, the cause must be of the same place."""
    world = World(
        rule("router.* == 0", name="router"),
        rule("site.* == 0", depends_on=("router",), equal=("place",)),
    )
    for symbol, place in (("router.a", "paris"), ("site.x", "paris"), ("site.y", "rome")):
        world.tags[symbol] = Tags({"place": place})
        world.set(0, symbol, 0)
    assert [(step.symbol, step.suppressed) for step in world.evaluate(0)] == [
        ("router.a", ""), ("site.x", "depends on router, which fires"), ("site.y", ""),
    ]  # fmt: skip
    world.set(10, "router.a", 1)
    assert [(step.symbol, step.state, step.suppressed) for step in world.evaluate(10)] == [
        ("router.a", "resolved", ""), ("site.x", "firing", ""),
    ]  # fmt: skip


def test_a_cause_is_looked_up_among_thousands() -> None:
    """When a switch takes five thousand hosts with it, a pass must not compare each with each."""
    world = World(
        rule("host.*.up == 0", name="down", limit=10_000),
        rule("site.*.up == 0", limit=10_000, depends_on=("down",), equal=("host",)),
    )
    for number in range(5_000):
        for kind in ("host", "site"):
            world.tags[f"{kind}.h{number}.up"] = Tags({"host": f"h{number}"})
            world.set(0, f"{kind}.h{number}.up", 0 if kind == "site" or number else 1)
    began = time.process_time()
    steps = world.evaluate(0)
    assert time.process_time() - began < 8  # each with each takes some 15
    told = [step.symbol for step in steps if step.rule == "r" and not step.suppressed]
    assert told == ["site.h0.up"]  # the one host that is up
    assert len(steps) == 9_999
    world.set(1, "host.h7.up", 1)
    assert [(step.symbol, step.suppressed) for step in world.evaluate(1)] == [
        ("host.h7.up", ""), ("site.h7.up", ""),
    ]  # fmt: skip


def test_causes_that_lack_a_label_are_like_alerts_that_lack_it() -> None:
    """A missing label is an empty one; a cause that is over is none, nor is one of a rule that is gone."""
    effect = rule("x > 1", name="effect", depends_on=("cause",), equal=("place", "floor"))
    world = World(rule("cause.* > 1", name="cause"), effect)
    world.tags["cause.a"] = world.tags["x"] = Tags({"place": "paris"})
    world.tags["cause.b"] = Tags({"place": "paris", "floor": "1"})
    world.set(0, "cause.b", 5)
    world.set(0, "x", 5)
    assert suppressed(world.evaluate(0)) == [("firing", ""), ("firing", "")]
    world.set(1, "x", 0)
    world.evaluate(1)
    world.tags["x"] = Tags({"place": "paris", "floor": ""})
    world.set(2, "cause.a", 5)
    world.set(2, "x", 5)
    why = "depends on cause, which fires"
    assert suppressed(world.evaluate(2)) == [("firing", ""), ("firing", why)]
    world.engine.replace([effect], at(3))
    assert suppressed(world.evaluate(3)) == [("firing", "")]


def test_an_alert_that_flaps_is_damped() -> None:
    """Beyond so many firings an hour nothing is told, until it calms down while it fires."""
    world = World(rule(flap=2))
    told = []
    for second in range(0, 80, 20):
        world.set(second, "load", 11)
        told += suppressed(world.evaluate(second))
        world.set(second + 10, "load", 5)
        told += suppressed(world.evaluate(second + 10))
    why = "flapping: it fired more than 2 times within an hour"
    assert told == [("firing", ""), ("resolved", "")] * 2 + [("firing", why), ("resolved", why)] * 2
    world.set(80, "load", 11)
    assert suppressed(world.evaluate(80)) == [("firing", why)]
    world.set(3639, "load", 11)
    assert world.evaluate(3639) == []
    world.set(3700, "load", 11)
    assert suppressed(world.evaluate(3700)) == [("firing", "")]


# -- over a restart ------------------------------------------------------------------------------------


def remembered(*transitions: Transition) -> dict[str, str]:
    """Return what a store holds after these transitions, by keys as `restore` takes them."""
    kept: dict[str, str | None] = {}
    for step in transitions:
        assert step.memory is not None
        key, text = step.memory
        assert key.startswith(STORED)
        kept[key.removeprefix(STORED)] = text
    return {key: text for key, text in kept.items() if text is not None}


def restarted(
    world: World, stored: dict[str, str], second: float, *rules: Any
) -> tuple[World, list[Transition]]:
    """Return the world after a restart, in which nothing has been measured yet, and what it tells at once."""
    after = World(*rules, started=second)
    ended = after.engine.restore(stored, at(second))
    after.engine.settle(lambda symbol: (world.values[symbol][0].ts, 0.0) if symbol in world.values else None)
    return after, ended


def test_a_pending_alert_carries_on() -> None:
    """The time before the restart and during it counts."""
    settings = rule(for_=Seconds(120.0))
    world = World(settings)
    world.set(0, "load", 11)
    after, ended = restarted(world, remembered(*world.evaluate(0)), 60, settings)
    assert ended == []
    assert after.state == "pending"
    assert after.steps(61) == []  # nothing is known yet
    assert after.steps(119, load=11) == []
    after.set(120, "load", 11)
    (firing,) = after.evaluate(120)
    assert (firing.state, firing.started_at) == ("firing", at(0))


def test_a_gap_that_is_too_long_ends_a_pending_alert() -> None:
    """What was not seen for longer than a value is fresh is no evidence."""
    settings = rule(for_=Seconds(900.0))
    world = World(settings)
    world.set(0, "load", 11)
    after, _ = restarted(world, remembered(*world.evaluate(0)), 290, settings)
    assert after.steps(300) == []
    assert after.steps(300.1) == FALL


def test_a_firing_alert_is_not_told_again() -> None:
    """A restart neither alerts again nor forgets: the end is told."""
    world = World(rule())
    world.set(0, "load", 11)
    after, ended = restarted(world, remembered(*world.evaluate(0)), 60, rule())
    assert (ended, after.state) == ([], "firing")
    assert after.steps(61) == after.steps(70, load=11) == []
    after.set(80, "load", 5)
    (resolved,) = after.evaluate(80)
    assert (resolved.state, resolved.started_at, resolved.suppressed) == ("resolved", at(0), "")


def test_cooldown_and_damping_outlast_a_restart() -> None:
    """What was remembered of an alert that is over still counts."""
    settings = rule(cooldown=Seconds(100.0))
    world = World(settings)
    world.set(0, "load", 11)
    fired = world.evaluate(0)
    world.set(10, "load", 5)
    after, _ = restarted(world, remembered(*fired, *world.evaluate(10)), 20, settings)
    assert after.steps(30, load=11) == RISE
    assert after.steps(100, load=11) == FIRE


@pytest.mark.parametrize(
    "rules", [[], [rule("load > 9", severity="critical", channels=("ops", "log"))]], ids=["gone", "changed"]
)
def test_an_alert_of_a_rule_that_is_gone_ends(rules: list[Any]) -> None:
    """The file was changed while the daemon was down. Its channels are told: they know that it fires."""
    world = World(rule(severity="critical", channels=("ops", "log")))
    world.set(0, "load", 11)
    after, (end,) = restarted(world, remembered(*world.evaluate(0)), 60, *rules)
    assert (end.rule, end.previous, end.state) == ("r", "firing", "resolved")
    assert end.memory == ("alert/r/", None)
    assert (end.severity, end.channels) == ("critical", ("ops", "log"))
    assert all(found.state == "inactive" for found in after.engine.rules)


def test_what_an_earlier_version_remembered_is_taken() -> None:
    """It did not write severity and channels."""
    world = World(rule(channels=("ops",)))
    world.set(0, "load", 11)
    ((key, text),) = remembered(*world.evaluate(0)).items()
    written = json.loads(text)
    del written["severity"], written["channels"]
    old = json.dumps(written)
    _, (end,) = restarted(world, {key: old}, 60)
    assert (end.severity, end.channels) == ("warn", ("log",))
    after, ended = restarted(world, {key: old}, 60, rule(channels=("ops",)))
    assert (ended, after.state) == ([], "firing")


def test_what_changes_without_a_step_is_told_once() -> None:
    """Since when an alert only fires on is to be remembered: a restart is no reason to begin that anew."""
    world = World(rule("x.* > 1", keep_firing_for=Seconds(60.0)))
    world.set(0, "x.a", 5)
    world.set(0, "x.b", 5)
    fired = world.evaluate(0)
    assert world.engine.altered() == {}
    world.set(10, "x.a", 0)
    assert world.evaluate(10) == []
    altered = world.engine.altered()
    assert list(altered) == [f"{STORED}r/a"]
    assert world.engine.altered() == {}
    world.evaluate(20)
    assert world.engine.altered() == {}
    stored = remembered(*fired) | {key.removeprefix(STORED): text for key, text in altered.items()}
    after, _ = restarted(world, stored, 50, world.rule.settings)
    after.set(69, "x.a", 0)
    assert after.evaluate(69) == []
    assert [step.symbol for step in after.evaluate(70)] == ["x.a"]
    world.set(60, "x.a", 5)  # it holds again
    assert world.evaluate(60) == []
    (again,) = world.engine.altered().values()
    assert json.loads(again)["keep_since"] is None
    world.set(61, "x.a", 0)
    world.evaluate(61)
    world.engine.replace([], at(62))
    assert world.engine.altered() == {}


def test_instances_of_wildcards_and_rows_are_known_again() -> None:
    """Each under its own key."""
    rules = rule("x.* > 1"), rule(name="q", sql="select …")
    world = World(*rules)
    world.set(0, "x.a", 5)
    query = world.engine.get("q")
    assert query is not None
    stored = remembered(*world.evaluate(0), *world.engine.evaluate_rows(query, [{"a": "é", "n": 1}], at(0)))
    after, ended = restarted(world, stored, 60, *rules)
    assert ended == []
    assert [found.state for found in after.engine.rules] == ["firing", "firing"]
    again = after.engine.get("q")
    assert again is not None
    assert [step.labels for step in after.engine.evaluate_rows(again, [], at(61))] == [{"a": "é"}]
    assert after.steps(70, **{"x.a": 0}) == RESOLVE


def test_what_another_version_stored_is_passed_over() -> None:
    """A text that says nothing is no alert."""
    engine = RuleEngine([rule()])
    assert engine.restore({"r/": "{}", "r/a": "[1]", "r/b": "no json", "x": "{}"}, at(0)) == []


def test_what_counts_no_more_is_forgotten() -> None:
    """While it runs and at a start: what the store holds does not grow with each target that ever failed."""
    settings = rule("x.* > 1", cooldown=Seconds(100.0))
    world = World(settings)
    world.set(0, "x.a", 5)
    fired = world.evaluate(0)
    world.set(10, "x.a", 0)
    ended = world.evaluate(10)
    assert world.engine.expired() == []
    after, _ = restarted(world, remembered(*fired, *ended), 200, settings)
    assert after.engine.expired() == ["alert/r/a"]
    world.steps(100, **{"x.a": 0})
    assert world.engine.expired() == ["alert/r/a"]
    assert world.engine.expired() == []
    world.steps(110, **{"x.a": 0})
    assert world.engine.expired() == []
    # One that began anew meanwhile is needed.
    world.steps(120, **{"x.a": 5})
    world.steps(130, **{"x.a": 0})
    world.steps(220, **{"x.a": 0})
    world.steps(221, **{"x.a": 5})
    assert world.engine.expired() == []


def test_series_that_are_gone_are_watched_no_more() -> None:
    """A host with ever new containers does not make rules slower for ever; what fires is kept."""
    world = World(rule("x.* > 1 and y.* > 1"), rule("x.a > 1", name="one"))
    for name in ("a", "b"):
        world.set(0, f"x.{name}", 5)
        world.set(0, f"y.{name}", 5)
    world.set(0, "y.c", 5)
    assert world.steps(0, **{"x.b": 0}) == AT_ONCE * 2
    assert list(world.rule.watched) == ["a", "b", "c"]
    world.engine.forget_all_but({"y.b"})
    assert sorted(world.rule.watched) == ["a", "b"]
    assert world.engine.concerning(["y.c"]) == []
    assert [found.settings.name for found in world.engine.concerning(["x.a"])] == ["r", "one"]
    world.engine.know(["y.c"])
    assert world.engine.instances_of("y.c") == {"r": ["c"]}


def test_rules_are_loaded_while_others_run() -> None:
    """What comes in between is not lost: samples, alerts and series."""
    world = World(rule("x.* > 1"))
    world.set(0, "x.a", 5)

    begun: list[tuple[str, str | None]] = []

    def each(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            world.set(1, "x.b", 5)
            begun.extend((step.rule, step.symbol) for step in world.evaluate(1))

    assert world.engine.replace([rule("x.* > 1"), rule("x.* > 3", name="new")], at(2), each) == []
    # The new one begins once it is in force, while the old rules are let go of.
    assert begun == [(name, symbol) for name in ("r", "new") for symbol in ("x.a", "x.b")]
    assert list(world.rule.instances) == ["a", "b"]
    assert world.evaluate(2) == []
    assert world.engine.instances_of("x.b") == {"r": ["b"], "new": ["b"]}


def test_many_rules_are_loaded_a_little_at_a_time() -> None:
    """Others may run after each series of each rule, and nothing long is left for the end."""
    world = World(rule("x.* > 1", name="old"))
    world.engine.know(f"x.h{number}" for number in range(500))
    passed = [time.perf_counter()]

    def each(items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            yield item
            passed.append(time.perf_counter())

    world.engine.replace([rule("x.* > 1", name=f"r{number}") for number in range(40)], at(0), each)
    end = time.perf_counter()
    assert len(passed) > 500 * 40
    assert end - passed[-1] < (end - passed[0]) / 10
    assert len(world.engine.instances_of("x.h499")) == 40


# -- steps that others run between ---------------------------------------------------------------------


def test_others_may_run_between_two_steps() -> None:
    """What a rule still has to say is dropped when it is replaced, or when the clock is moved: its time is no
    more the present. The next pass says it."""
    world = World(rule("x.* > 1"))
    for name in "abcd":
        world.set(0, f"x.{name}", 5)
    steps = world.engine.steps(world.view(0), world.rule)
    assert next(steps).symbol == "x.a"
    world.engine.know(["x.e"])
    world.engine.forget_all_but(())  # of what has no alert yet
    assert next(steps).symbol == "x.b"
    world.engine.shift(3600)
    assert list(steps) == []
    world.engine.know(["x.c", "x.d"])
    steps = world.engine.steps(world.view(0), world.rule)
    assert next(steps).symbol == "x.c"
    ended = world.engine.replace([], at(1))
    assert [(step.symbol, step.state) for step in ended] == [(f"x.{name}", "resolved") for name in "abc"]
    assert list(steps) == []


def test_rows_are_taken_one_after_the_other_too() -> None:
    """A reload in between ends those that have begun, and no other begins."""
    world = World(rule(sql="select …"))
    steps = world.engine.steps_of_rows(world.rule, [{"a": "x"}, {"a": "y"}], at(0))
    assert next(steps).labels == {"a": "x"}
    assert [step.labels for step in world.engine.replace([], at(1))] == [{"a": "x"}]
    assert list(steps) == []


def test_what_a_query_brought_is_shown() -> None:
    """Its state has no condition to explain."""
    world = World(rule(sql="select 1"))

    def explained() -> str:
        (state,) = world.engine.states(world.view(0))
        return state.explain()

    assert explained() == "no rows"
    world.rows(0, {"host": "a", "n": 1.5})
    assert explained() == "host = a, n = 1.5"
    world.rows(1, *({"host": str(number)} for number in range(5)))
    assert explained() == "host = 0; host = 1; host = 2; and 2 more rows"
    world.rows(2)
    assert explained() == "no rows"


def test_nothing_is_absent_that_had_no_time_to_come() -> None:
    """After a start, what was stored before counts, and what has never come has a while to do so."""
    world = World(rule("absent(load, 2m)"), rule("age(load) > 60", name="old"))

    def look(second: float, stored: float | None, since: float) -> list[str]:
        view = Live(
            at(second), world.values.get, stored=lambda symbol: None if stored is None else at(stored),
            since=at(since),
        )  # fmt: skip
        return [f"{step.rule} {step.state}" for step in world.engine.evaluate(view)]

    assert look(10, stored=0, since=5) == []
    assert look(70, stored=0, since=5) == ["old firing"]
    assert look(119, stored=0, since=5) == []
    assert look(125, stored=0, since=5) == ["r firing"]
    world.set(130, "load", 1)
    assert look(131, stored=0, since=5) == ["r resolved", "old resolved"]
    world.values.clear()
    assert look(400, stored=None, since=281) == []
    assert look(402, stored=None, since=281) == ["r firing"]
