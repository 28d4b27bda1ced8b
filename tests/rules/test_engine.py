"""The rule engine: every step of an alert's states, with time and values given by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import SECOND, iso
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.model import Micros, Operand
from oculus.rules.alert import Instance, advance
from oculus.rules.view import STALE_AFTER
from tests.rules.world import World, at, rule

# Values of a story: a number is a sample of that second; GONE takes the series away; OLD leaves the last
# sample as it is, so that it grows old.
GONE, OLD = "gone", "old"
RISE, FIRE, AT_ONCE = ["inactive→pending"], ["pending→firing"], ["inactive→firing"]
FALL, RESOLVE, DEMOTE = ["pending→inactive"], ["firing→resolved"], ["firing→pending"]

STORIES: dict[str, tuple[dict[str, Any], list[tuple[float, float | str, list[str], str]]]] = {
    "without for it fires at once": ({}, [
        (0, 5, [], "inactive"), (10, 11, AT_ONCE, "firing"), (20, 12, [], "firing"),
        (30, 10, RESOLVE, "inactive"), (40, 10, [], "inactive"), (50, 11, AT_ONCE, "firing"),
    ]),
    "with for it waits": ({"for_": 30}, [
        (0, 11, RISE, "pending"), (10, 11, [], "pending"), (29.999, 11, [], "pending"),
        (30, 11, FIRE, "firing"), (40, 11, [], "firing"), (50, 5, RESOLVE, "inactive"),
    ]),
    "late evaluation fires": ({"for_": 30}, [
        (0, 11, RISE, "pending"), (200, 11, FIRE, "firing"),
    ]),
    "a pending alert ends in silence": ({"for_": 30}, [
        (0, 11, RISE, "pending"), (20, 5, FALL, "inactive"), (25, 11, RISE, "pending"),
        (30, 11, [], "pending"), (54, 11, [], "pending"), (55, 11, FIRE, "firing"),
    ]),
    "a missing value never starts": ({}, [
        (0, GONE, [], "inactive"), (10, GONE, [], "inactive"), (20, 11, AT_ONCE, "firing"),
    ]),
    "a missing value ends what is pending": ({"for_": 30}, [
        (0, 11, RISE, "pending"), (10, GONE, FALL, "inactive"), (20, 11, RISE, "pending"),
        (49, 11, [], "pending"), (50, 11, FIRE, "firing"),
    ]),
    "a missing value keeps what fires": ({"for_": 30}, [
        (0, 11, RISE, "pending"), (30, 11, FIRE, "firing"), (40, GONE, [], "firing"),
        (5000, GONE, [], "firing"),
        (5010, 11, [], "firing"), (5020, GONE, [], "firing"), (5030, 5, RESOLVE, "inactive"),
    ]),
    "a stale value ends what is pending": ({"for_": 1000}, [
        (0, 11, RISE, "pending"), (300, OLD, [], "pending"), (300.001, OLD, FALL, "inactive"),
        (400, OLD, [], "inactive"), (410, 11, RISE, "pending"),
    ]),
    "a stale value keeps what fires": ({}, [
        (0, 11, AT_ONCE, "firing"), (300, OLD, [], "firing"), (9000, OLD, [], "firing"),
        (9010, 5, RESOLVE, "inactive"),
    ]),
    "a stale value never starts": ({}, [
        (0, 5, [], "inactive"), (1000, OLD, [], "inactive"),
    ]),
    "cooldown keeps it pending": ({"cooldown": 100}, [
        (0, 11, AT_ONCE, "firing"), (10, 5, RESOLVE, "inactive"), (20, 11, RISE, "pending"),
        (99.999, 11, [], "pending"), (100, 11, FIRE, "firing"), (110, 5, RESOLVE, "inactive"),
        (199, 11, RISE, "pending"), (200, 11, FIRE, "firing"),
    ]),
    "cooldown that has passed is no matter": ({"cooldown": 100}, [
        (0, 11, AT_ONCE, "firing"), (90, 5, RESOLVE, "inactive"), (100, 11, AT_ONCE, "firing"),
    ]),
    "what ends within the cooldown does not fire": ({"cooldown": 100}, [
        (0, 11, AT_ONCE, "firing"), (10, 5, RESOLVE, "inactive"), (20, 11, RISE, "pending"),
        (30, 5, FALL, "inactive"), (40, 11, RISE, "pending"), (101, 11, FIRE, "firing"),
    ]),
    "cooldown and for are both waited for": ({"cooldown": 100, "for_": 50}, [
        (0, 11, RISE, "pending"), (50, 11, FIRE, "firing"), (60, 5, RESOLVE, "inactive"),
        (70, 11, RISE, "pending"), (120, 11, [], "pending"), (149, 11, [], "pending"),
        (150, 11, FIRE, "firing"),
        (260, 5, RESOLVE, "inactive"), (270, 11, RISE, "pending"), (319, 11, [], "pending"),
        (320, 11, FIRE, "firing"),
    ]),
    "cooldown counts from the firing": ({"cooldown": 100}, [
        (0, 11, AT_ONCE, "firing"), (500, 5, RESOLVE, "inactive"), (501, 11, AT_ONCE, "firing"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_an_alert_goes_through_its_states(name: str) -> None:
    """Each story gives seconds with values, and the steps and the state that must follow."""
    settings, events = STORIES[name]
    world = World(rule(**settings))
    for second, value, steps, state in events:
        if value == GONE:
            world.values.clear()
        elif value != OLD:
            world.set(second, "load", float(value))
        assert ([f"{step.previous}→{step.state}" for step in world.evaluate(second)], world.state) == (
            steps, state,
        ), f"second {second}"  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "values", "steps"),
    [
        ("load > 10 or gone > 1", {"load": 11.0}, AT_ONCE),
        ("load > 10 and gone > 1", {"load": 11.0}, []),
        ("not gone > 1", {"load": 11.0}, []),
        ("not load > 10", {"load": 5.0}, AT_ONCE),
        ("load / zero > 1", {"load": 1.0, "zero": 0.0}, []),
        ("load != load", {"load": 1.0}, []),
        ("2 > 1", {}, AT_ONCE),
    ],
)
def test_only_what_is_true_is_a_match(condition: str, values: dict[str, float], steps: list[str]) -> None:
    """Unknown never counts as a match, and a known part decides where logic allows it."""
    assert World(rule(condition)).steps(0, **values) == steps


# -- staleness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "age", "fresh"),
    [
        (0.0, 300.0, True), (0.0, 300.001, False), (10.0, 300.0, True), (10.0, 301.0, False),
        (100.0, 300.0, True), (100.0, 300.001, False), (3600.0, 10_800.0, True), (3600.0, 10_800.001, False),
        (0.0, -5.0, True),
    ],
)  # fmt: skip
def test_a_value_is_fresh_for_five_minutes_or_three_intervals(
    interval: float, age: float, fresh: bool
) -> None:
    """A series that is measured hourly is not stale between two runs."""
    assert STALE_AFTER == 300 * SECOND
    world = World(rule())
    world.set(0, "load", 11.0, interval)
    assert bool(world.evaluate(age)) is fresh


def test_health_tells_why_nothing_is_known() -> None:
    """A rule without data says which series are missing, and recovers."""
    world = World(rule("load > 10 and other > 1 and third < 5"))

    def told() -> tuple[str, tuple[str, ...], Micros | None, int]:
        found = world.engine.get("r")
        assert found is not None
        return found.health, found.missing, found.last_evaluation, found.evaluations

    assert told() == ("unknown", (), None, 0)
    world.steps(0, load=11, third=1)
    assert told() == ("no data", ("other",), at(0), 1)
    world.evaluate(400)
    assert told() == ("no data", ("load", "other", "third"), at(400), 2)
    world.steps(500, load=11, other=2, third=1)
    assert told() == ("ok", (), at(500), 3)
    world.steps(510, load=5)
    assert told() == ("ok", (), at(510), 4)


# -- what a transition tells ------------------------------------------------------------------------------


def test_a_transition_carries_the_evidence() -> None:
    """Times, the first symbol with its value, severity, channels and the condition filled in."""
    world = World(
        rule("load > 10 and up == 1", for_=Seconds(30.0), severity="critical", channels=("log", "ops"))
    )
    world.set(0, "up", 1)
    world.steps(0, load=11)
    world.set(30, "load", 12.5)
    (firing,) = world.evaluate(30)
    assert (firing.ts, firing.rule, firing.state, firing.previous) == (at(30), "r", "firing", "pending")
    assert (firing.severity, firing.channels) == ("critical", ("log", "ops"))
    assert firing.message == firing.explanation == "load (12.5) > 10 and up (1) == 1"
    assert (firing.started_at, firing.symbol, firing.value) == (at(0), "load", 12.5)
    assert firing.labels == {"symbol": "load"}
    assert firing.operands == (Operand("load", 12.5, 0.0), Operand("up", 1.0, 30.0))
    assert firing.timers == {"held": 30.0, "for": 30.0, "cooldown": 0.0}
    assert firing.suppressed == ""
    world.set(40, "load", 3.0)
    (resolved,) = world.evaluate(40)
    assert (resolved.state, resolved.value, resolved.started_at) == ("resolved", 3.0, at(0))
    assert resolved.explanation == "load (3) > 10 and up (1) == 1"


def test_a_message_is_rendered_with_the_alert() -> None:
    """A template sees every field, and is rendered anew for each step."""
    fields = ("rule", "state", "severity", "symbol", "value", "started_at", "condition", "explanation")
    world = World(rule(message="|".join(f"{{{{ {field} }}}}" for field in fields)))
    world.set(0, "load", 11.0)
    (firing,) = world.evaluate(0)
    assert firing.message == f"r|firing|warn|load|11.0|{iso(at(0))}|load > 10|load (11) > 10"
    world.set(9, "load", 2.5)
    (resolved,) = world.evaluate(9)
    assert resolved.message == f"r|resolved|warn|load|2.5|{iso(at(0))}|load > 10|load (2.5) > 10"


def test_a_failing_template_does_not_hide_the_alert() -> None:
    """The transition comes with the template's text and the reason."""
    (firing,) = World(rule("2 > 1", message="{{ 1 / 0 }}")).evaluate(0)
    assert firing.state == "firing"
    assert firing.message == "{{ 1 / 0 }} [the message's template failed: division by zero]"


def test_rules_are_evaluated_in_order_and_apart() -> None:
    """Each rule has states of its own, and the steps come in the order of the configuration."""
    world = World(rule(name="b"), rule("load > 20", name="a"), rule("load > 10", name="c", for_=Seconds(5.0)))
    world.set(0, "load", 15)
    assert [(step.rule, step.state) for step in world.evaluate(0)] == [("b", "firing"), ("c", "pending")]
    world.set(5, "load", 25)
    assert [(step.rule, step.state) for step in world.evaluate(5)] == [("a", "firing"), ("c", "firing")]
    assert [found.settings.name for found in world.engine.rules] == ["b", "a", "c"]


def test_only_the_rules_that_are_asked_for_are_evaluated() -> None:
    """After a commit only the rules that name a changed series are looked at."""
    world = World(rule("x > 1", name="x"), rule("x + y > 1", name="xy"), rule("z > 1", name="z"))
    engine = world.engine
    assert [found.settings.name for found in engine.concerning(["y"])] == ["xy"]
    assert [found.settings.name for found in engine.concerning(["x", "y", "none"])] == ["x", "xy"]
    assert engine.concerning([]) == []
    for symbol in "xyz":
        world.set(0, symbol, 5)
    assert [step.rule for step in engine.evaluate(world.view(0), engine.concerning(["z"]))] == ["z"]
    assert [found.evaluations for found in engine.rules] == [0, 0, 1]


def test_states_tell_a_rule_as_it_stands() -> None:
    """Pages and the API get settings, state, times, value and an explanation of the present moment."""
    world = World(rule(for_=Seconds(30.0), cooldown=Seconds(60.0), message="m", severity="error"))
    (quiet,) = world.engine.states(world.view(0))
    assert (quiet.name, quiet.condition, quiet.severity, quiet.message) == ("r", "load > 10", "error", "m")
    assert (quiet.for_seconds, quiet.cooldown_seconds, quiet.channels) == (30.0, 60.0, ("log",))
    assert (quiet.state, quiet.health, quiet.value, quiet.active_at) == ("inactive", "unknown", None, None)
    assert (quiet.last_evaluation, quiet.evaluations) == (None, 0)
    world.steps(5, load=11)
    (pending,) = world.engine.states(world.view(6))
    assert (pending.state, pending.health, pending.value, pending.active_at) == ("pending", "ok", 11.0, at(5))
    assert (pending.last_evaluation, pending.evaluations) == (at(5), 1)
    assert pending.explain() == "load (11) > 10"
    assert world.engine.states(world.view(400))[0].explain() == "load (no fresh value) > 10"


# -- reload -------------------------------------------------------------------------------------------


def test_a_reload_keeps_the_instances_of_rules_whose_condition_stayed() -> None:
    """Another message, severity or place in the file does not start an alert over."""
    world = World(rule(for_=Seconds(30.0)), rule("load > 12", name="gone"))
    world.steps(0, load=11)
    world.engine.load([rule("x > 1", name="new"), rule(for_=Seconds(30.0), severity="critical", message="m")])
    assert [found.settings.name for found in world.engine.rules] == ["new", "r"]
    assert world.state == "pending"
    assert world.engine.get("gone") is None
    (state,) = [found for found in world.engine.states(world.view(1)) if found.name == "r"]
    assert (state.health, state.evaluations, state.active_at) == ("ok", 1, at(0))
    world.set(30, "load", 11)
    (firing,) = world.evaluate(30)
    assert (firing.state, firing.severity, firing.message, firing.started_at) == (
        "firing",
        "critical",
        "m",
        at(0),
    )
    assert world.engine.concerning(["load"])[0].settings.severity == "critical"


def test_a_reload_with_another_condition_starts_over() -> None:
    """What was evidence for one condition is none for another."""
    world = World(rule(for_=Seconds(30.0)))
    world.steps(0, load=11)
    world.engine.load([rule("load > 9", for_=Seconds(30.0))])
    assert world.state == "inactive"
    assert world.steps(10, load=11) == RISE
    assert world.steps(30, load=11) == []
    assert world.steps(40, load=11) == FIRE


@pytest.mark.parametrize("rules", [[], [rule("load > 9")]])
def test_a_firing_alert_ends_with_its_rule(rules: list[RuleSettings]) -> None:
    """The history of a rule that was removed, or asks for something else, does not end at firing."""
    world = World(rule())
    world.steps(0, load=11)
    (end,) = world.engine.replace(rules, at(5))
    assert (end.rule, end.previous, end.state, end.ts) == ("r", "firing", "resolved", at(5))
    assert "removed" in end.message


def test_a_rule_that_stays_ends_no_alert() -> None:
    """A reload that changes other things is silent."""
    world = World(rule())
    world.steps(0, load=11)
    assert world.engine.replace([rule(severity="critical")], at(5)) == []
    assert world.state == "firing"


def test_a_value_from_the_future_is_not_fresh() -> None:
    """After the clock was set back, a series that ended cannot pass for alive until that time comes."""
    world = World(rule())
    world.set(301, "load", 11)
    assert world.evaluate(0) == []
    assert world.steps(1) == ["inactive→firing"]


@pytest.mark.parametrize(
    ("longer", "second", "steps", "state"),
    [
        (100, 50, DEMOTE, "pending"), (100, 99.9, DEMOTE, "pending"), (100, 100, [], "firing"),
        (20, 50, [], "firing"), (30, 31, [], "firing"),
    ],
)  # fmt: skip
def test_a_reload_that_lengthens_for_takes_a_firing_alert_back(
    longer: float, second: float, steps: list[str], state: str
) -> None:
    """An alert that has not held for the new time is pending again until it has."""
    world = World(rule(for_=Seconds(30.0)))
    world.steps(0, load=11)
    assert world.steps(30, load=11) == FIRE
    world.engine.load([rule(for_=Seconds(longer))])
    assert world.steps(second, load=11) == steps
    assert world.state == state
    assert world.steps(100, load=11) == (FIRE if steps else [])
    assert world.steps(110, load=11) == []
    assert world.steps(120, load=5) == RESOLVE


def test_a_reload_that_shortens_for_fires_what_has_held_long_enough() -> None:
    """A pending alert goes by the new time at its next evaluation."""
    world = World(rule(for_=Seconds(300.0)))
    world.steps(0, load=11)
    world.engine.load([rule(for_=Seconds(30.0))])
    assert world.steps(29, load=11) == []
    assert world.steps(31, load=11) == FIRE


def test_a_reload_while_data_is_missing_keeps_a_firing_alert() -> None:
    """A lengthened time is no reason to take an alert back on no evidence."""
    world = World(rule())
    world.steps(0, load=11)
    world.engine.load([rule(for_=Seconds(1000.0))])
    assert world.steps(500) == []
    assert world.state == "firing"


# -- the wall clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [3600.0, -3600.0, 86_400.0 * 3650, -86_400.0 * 3650])
def test_a_step_of_the_clock_neither_fires_nor_delays(step: float) -> None:
    """The times of pending and fired alerts move with the clock."""
    world = World(rule(for_=Seconds(30.0), cooldown=Seconds(100.0)))
    world.steps(0, load=11)
    world.engine.shift(step)
    assert world.steps(step + 29, load=11) == []
    assert world.steps(step + 30, load=11) == FIRE
    assert world.steps(step + 40, load=5) == RESOLVE
    world.steps(step + 50, load=11)
    world.engine.shift(-step)
    assert world.steps(129, load=11) == []
    assert world.steps(130, load=11) == FIRE


@pytest.mark.parametrize("back", [5.0, 50.0, 5000.0])
def test_a_clock_that_goes_back_takes_no_firing_alert_back(back: float) -> None:
    """Before a step back is noticed, and when it is too small to be, an alert stays as it is."""
    world = World(rule(for_=Seconds(30.0)))
    world.steps(0, load=11)
    world.steps(31, load=11)
    assert world.steps(32 - back, load=11) == []
    assert world.state == "firing"


# -- invariants ---------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([True, False, None])), max_size=40),
    st.sampled_from([0, 10, 60]),
    st.sampled_from([0, 50, 200]),
)
def test_any_history_keeps_the_promises(
    history: list[tuple[int, bool | None]], for_: int, cooldown: int
) -> None:
    """Steps join up; it fires only on evidence, after `for` without a gap, and never within the cooldown."""
    settings = rule(for_=Seconds(float(for_)), cooldown=Seconds(float(cooldown)))
    instance = Instance()
    second, state = 0, "inactive"
    since: int | None = None  # when the present unbroken run of true began
    fired: int | None = None
    for passed, holds in history:
        second += passed
        since = None if not holds else second if since is None else since
        for before, after in advance(settings, instance, holds, at(second)):
            assert before == state
            assert (before, after) in {
                ("inactive", "pending"), ("inactive", "firing"), ("pending", "firing"),
                ("pending", "inactive"),
                ("firing", "resolved"),
            }  # fmt: skip
            if after == "firing":
                assert since is not None
                assert second - since >= for_
                assert fired is None or second - fired >= cooldown
                fired = second
            if after == "resolved":
                assert holds is False
            state = "inactive" if after == "resolved" else after
        assert instance.state == state
        if holds and state != "firing":  # it does not wait without a reason
            assert since is not None
            assert second - since < for_ or (fired is not None and second - fired < cooldown)
        if state == "pending":
            assert holds
