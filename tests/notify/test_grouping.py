"""Grouping: which steps of alerts become one message, and when, on a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from oculus.clock import SECOND
from oculus.model import AlertState, Micros, Operand, Transition
from oculus.notify.grouping import Group, Groups, Message, Plan, messages

START = 1_767_323_045_000_000
HOUR = 3600


def at(second: float) -> Micros:
    """Return a second of the story as a time."""
    return Micros(START + int(second * SECOND))


# How a sign before an alert's name is read: its state before, after, and why it is suppressed.
SIGNS: dict[str, tuple[AlertState, AlertState, str]] = {
    "+": ("inactive", "firing", ""),  # it fires
    "-": ("firing", "resolved", ""),  # it ends
    "=": ("firing", "firing", ""),  # it is told again, or at last
    "(": ("inactive", "firing", "a silence"),  # it fires in silence
    ")": ("firing", "resolved", "a silence"),  # it ends in silence
    "?": ("inactive", "pending", ""),
    "!": ("pending", "inactive", ""),
    "<": ("firing", "pending", ""),  # a reload took it back
}


def step(second: float, sign: str, name: str, rule: str = "r", **labels: str) -> Transition:
    """Return a step of the alert about a symbol."""
    before, after, suppressed = SIGNS[sign]
    return Transition(
        ts=at(second), rule=rule, state=after, previous=before, severity="warn", message=f"{sign}{name}",
        started_at=at(second), symbol=name, labels={"symbol": name, **labels}, suppressed=suppressed,
        operands=(Operand("x", 1.5, 2.0),), timers={"for": 0.0},
    )  # fmt: skip


def steps(second: float, text: str) -> list[Transition]:
    """Return the steps that a text such as `+a -b` stands for."""
    return [step(second, word[0], word[1:]) for word in text.split()]


def told(message: Message[Transition]) -> str:
    """Return a message as such a text."""
    words = [f"+{found.symbol}" for found in message.firing] + [
        f"-{found.symbol}" for found in message.resolved
    ]
    return " ".join(words)


def play(
    plan: Plan, events: Sequence[tuple[float, str]], until: float, broken: tuple[float, float] = (0, 0)
) -> list[tuple[float, str]]:
    """Take the steps at their seconds, flush a group whenever it is due, and return what arrived when.

    Nothing arrives within `broken`. After each call the group is stored and taken up again.
    """
    group: Group[Transition] = Group(plan)
    found = []
    waiting = [(at(second), steps(second, text)) for second, text in events]
    while True:
        due = group.due
        arrives = waiting[0][0] if waiting else at(until) + 1
        if due is not None and due < arrives and due <= at(until):
            message = group.flush(due)
            group = Group.of_json(group.to_json(), plan, Transition.of_json)
            second = (due - START) / SECOND
            if message is not None and not broken[0] <= second < broken[1]:
                found.append((second, told(message)))
                group.sent(due)
        elif waiting:
            for transition in waiting.pop(0)[1]:
                group.take(transition)
        else:
            return found
        group = Group.of_json(group.to_json(), plan, Transition.of_json)


Story = tuple[dict[str, Any], list[tuple[float, str]], float, list[tuple[float, str]]]

# Settings, steps by their seconds, the second at which the story ends, and the messages.
STORIES: dict[str, Story] = {
    # -- the first flush after the wait, then one every interval
    "what fires within the wait is one message":
        ({}, [(0, "+a"), (10, "+b"), (29.9, "+c")], 1000, [(30, "+a +b +c")]),
    "a late one waits for the next flush, with all that fires":
        ({}, [(0, "+a"), (31, "+b")], 1000, [(30, "+a"), (330, "+a +b")]),
    "flushes follow each other by whole intervals, however long nothing was told":
        ({}, [(0, "+a"), (1000, "+b"), (1229, "+c"), (1231, "+d")], 2000,
         [(30, "+a"), (1230, "+a +b +c"), (1530, "+a +b +c +d")]),
    "wait and interval are the plan's":
        ({"wait": 5, "interval": 60}, [(0, "+a"), (6, "+b"), (70, "+c")], 500,
         [(5, "+a"), (65, "+a +b"), (125, "+a +b +c")]),
    "a wait of nothing tells at once":
        ({"wait": 0}, [(0, "+a"), (1, "+b")], 500, [(0, "+a"), (300, "+a +b")]),
    "a group whose alerts are all over begins anew":
        ({}, [(0, "+a"), (40, "-a"), (700, "+b")], 2000, [(30, "+a"), (330, "-a"), (730, "+b")]),
    # -- repeat
    "it is told again every four hours":
        ({}, [(0, "+a")], 30_000, [(30, "+a"), (30 + 4 * HOUR, "+a"), (30 + 8 * HOUR, "+a")]),
    "repeat is looked at only at a flush, so that it rounds up":
        ({"repeat": 400}, [(0, "+a")], 1500, [(30, "+a"), (630, "+a"), (1230, "+a")]),
    "repeat counts from what was told last":
        ({"repeat": 600}, [(0, "+a"), (400, "+b")], 1500, [(30, "+a"), (630, "+a +b"), (1230, "+a +b")]),
    "without repeat it is told once": ({"repeat": 0}, [(0, "+a")], 90_000, [(30, "+a")]),
    "what is over is not repeated":
        ({"repeat": 600}, [(0, "+a"), (100, "-a")], 9000, [(30, "+a"), (330, "-a")]),
    "a rule may ask for a reminder of its own":
        ({}, [(0, "+a"), (400, "=a"), (900, "=a")], 2000, [(30, "+a"), (630, "+a"), (930, "+a")]),
    "a reminder before the first message is none": ({}, [(0, "+a"), (20, "=a")], 2000, [(30, "+a")]),
    # -- send if: never notified and something fires; a new firing member
    "one that fires is told": ({}, [(0, "+a")], 1000, [(30, "+a")]),
    "one that fires once more between two flushes is not new":
        ({}, [(0, "+a"), (100, "-a"), (200, "+a")], 1000, [(30, "+a")]),
    "one that fires once more after its end was told is new":
        ({}, [(0, "+a +b"), (100, "-a"), (400, "+a")], 1000, [(30, "+a +b"), (330, "+b -a"), (630, "+b +a")]),
    # -- send if: all resolved, and the last notice had firing ones
    "the end of all is told":
        ({}, [(0, "+a +b"), (100, "-a"), (200, "-b")], 1000, [(30, "+a +b"), (330, "-a -b")]),
    "the end is told once": ({}, [(0, "+a"), (100, "-a")], 90_000, [(30, "+a"), (330, "-a")]),
    # -- send if: newly resolved
    "the end of one of them is told":
        ({}, [(0, "+a +b"), (100, "-a")], 1000, [(30, "+a +b"), (330, "+b -a")]),
    "each end is told once":
        ({}, [(0, "+a +b +c"), (100, "-a"), (400, "-b")], 1000,
         [(30, "+a +b +c"), (330, "+b +c -a"), (630, "+c -b")]),
    "an end that was told is no news when it is born and ends again":
        ({}, [(0, "+a +b"), (100, "-a"), (400, "+a"), (500, "-a")], 1000, [(30, "+a +b"), (330, "+b -a")]),
    # -- ends that are not wanted
    "ends that are not wanted are not told":
        ({"resolved": False}, [(0, "+a +b"), (100, "-a"), (700, "-b")], 2000, [(30, "+a +b")]),
    "ends that are not wanted are in no message":
        ({"resolved": False}, [(0, "+a +b"), (100, "-a +c")], 1000, [(30, "+a +b"), (330, "+b +c")]),
    "an end that is not wanted is remembered: the next firing is new":
        ({"resolved": False}, [(0, "+a"), (100, "-a"), (400, "+a")], 1000, [(30, "+a"), (430, "+a")]),
    # -- born and resolved in silence
    "what is over before the first flush is not told": ({}, [(0, "+a"), (29, "-a")], 1000, []),
    "what is over before the first flush is not told with another either":
        ({}, [(0, "+a"), (10, "-a"), (20, "+b"), (100, "-b")], 1000, [(30, "+b"), (330, "-b")]),
    "what was born and is over between flushes, when nothing else fires, is not told":
        ({}, [(0, "+a"), (100, "-a"), (150, "+b"), (200, "-b")], 1000, [(30, "+a"), (330, "-a")]),
    "nor is it when the end of the others was told":
        ({}, [(0, "+a"), (100, "-a"), (331, "+b"), (340, "-b")], 1000, [(30, "+a"), (330, "-a")]),
    "what was born and is over between flushes is told when another fires":
        ({}, [(0, "+a"), (100, "+b"), (200, "-b")], 1000, [(30, "+a"), (330, "+a -b")]),
    # -- what a rule does beside firing and resolving
    "what only waits is not told": ({}, [(0, "?a"), (10, "!a")], 1000, []),
    "what is suppressed is not told": ({}, [(0, "(a"), (100, ")a")], 1000, []),
    "what was suppressed and fires on is told late": ({}, [(0, "(a"), (100, "=a")], 1000, [(130, "+a")]),
    "an end in silence ends what was told, without a word":
        ({"repeat": 600}, [(0, "+a"), (100, ")a")], 5000, [(30, "+a")]),
    "an end in silence leaves the others":
        ({}, [(0, "+a +b"), (100, ")a"), (400, "-b")], 5000, [(30, "+a +b"), (630, "-b")]),
    "after an end in silence the next firing is new":
        ({}, [(0, "+a +b"), (100, ")a"), (200, "+a")], 1000, [(30, "+a +b"), (330, "+b +a")]),
    "an end that waits to be told is not lost to a firing in silence":
        ({}, [(0, "+a"), (100, "-a"), (110, "(a"), (120, ")a")], 1000, [(30, "+a"), (330, "-a")]),
    "what a reload takes back to pending is over":
        ({}, [(0, "+a"), (100, "<a"), (110, "!a")], 1000, [(30, "+a"), (330, "-a")]),
    "an end of which no beginning was seen is not told": ({}, [(0, "-a")], 1000, []),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_steps_become_messages(name: str) -> None:
    """Each story gives steps and the messages that they make; a restart after any of them changes nothing."""
    settings, events, until, expected = STORIES[name]
    assert play(Plan(**settings), events, until) == expected


@pytest.mark.parametrize("name", STORIES)
def test_a_backtest_counts_the_same_messages(name: str) -> None:
    """All at once, from a list of steps."""
    settings, events, until, expected = STORIES[name]
    found = messages(
        (one for second, text in events for one in steps(second, text)), at(until), Plan(**settings)
    )
    assert [((ts - START) / SECOND, key, told(message)) for ts, key, message in found] == [
        (second, ("r",), text) for second, text in expected
    ]


# What does not arrive: steps, the seconds of the outage, and the messages that arrive.
OUTAGES: dict[str, tuple[list[tuple[float, str]], tuple[float, float], list[tuple[float, str]]]] = {
    "a message that did not arrive is given again": ([(0, "+a")], (0, 600), [(630, "+a")]),
    "it tells how things are by then":
        ([(0, "+a"), (40, "+b"), (50, "-a")], (0, 300), [(330, "+b")]),
    "an alert whose firing did not arrive ends without a word": ([(0, "+a"), (100, "-a")], (0, 300), []),
    "an end that did not arrive is told later":
        ([(0, "+a"), (40, "-a")], (300, 900), [(30, "+a"), (930, "-a")]),
    "only what has arrived counts for repeat":
        ([(0, "+a")], (14_000, 15_000), [(30, "+a"), (30 + 4 * HOUR + 600, "+a")]),
    "an end that did not arrive is void when it fires again":
        ([(0, "+a"), (40, "-a"), (400, "+a")], (300, 400), [(30, "+a")]),
}  # fmt: skip


@pytest.mark.parametrize("name", OUTAGES)
def test_only_what_has_arrived_is_told(name: str) -> None:
    """Each story has an outage of the channel."""
    events, broken, expected = OUTAGES[name]
    assert play(Plan(), events, expected[-1][0] if expected else 16_000, broken) == expected


def test_a_message_says_what_it_is_for() -> None:
    """The first one, more alerts, an end, the end of all, and a reminder."""
    given = [
        one
        for second, text in ((0, "+a"), (40, "+b"), (400, "-b"), (15_200, "-a"), (20_000, "+a"))
        for one in steps(second, text)
    ]
    assert [message.reason for _, _, message in messages(given, at(20_100))] == [
        "first", "more", "resolved", "repeat", "over", "first",
    ]  # fmt: skip


def test_what_changes_while_a_message_is_on_its_way_is_told_next() -> None:
    """Neither an alert that came after it was written nor one that fired again counts as told."""
    group: Group[Transition] = Group()
    for one in steps(0, "+a +b +c"):
        group.take(one)
    assert told(group.flush(at(30)) or Message()) == "+a +b +c"
    group.sent(at(31))
    for one in steps(100, "-a -b"):
        group.take(one)
    assert told(group.flush(at(330)) or Message()) == "+c -a -b"
    for one in steps(331, "+a +d"):
        group.take(one)
    group.sent(at(332))
    assert told(group.flush(at(630)) or Message()) == "+c +a +d"


def test_a_reminder_that_is_asked_for_meanwhile_is_not_lost() -> None:
    """The message on its way was written before."""
    group: Group[Transition] = Group()
    group.take(step(0, "+", "a"))
    group.flush(at(30))
    group.sent(at(30))
    group.take(step(40, "=", "a"))
    assert group.flush(at(330))
    group.take(step(331, "=", "a"))
    group.sent(at(332))
    assert group.flush(at(630))
    group.sent(at(631))
    assert group.due == at(630 + 4 * HOUR)


def test_the_seconds_that_sending_takes_put_no_reminder_off() -> None:
    """Those of a long outage do: who has just heard needs no reminder."""
    plan = Plan(repeat=600)
    group: Group[Transition] = Group(plan)
    group.take(step(0, "+", "a"))
    group.flush(at(30))
    group.sent(at(45))
    assert group.due == at(630)
    assert group.flush(at(630))
    group.sent(at(1000))
    assert group.due == at(1830)


def test_nothing_is_told_before_it_is_due() -> None:
    """Nor when there is nothing, nor twice at once; and what was not given out cannot have arrived."""
    group: Group[Transition] = Group()
    assert (group.due, group.flush(at(0)), bool(group)) == (None, None, False)
    group.sent(at(0))
    group.take(step(0, "+", "a"))
    assert (group.due, group.flush(at(29.9)), bool(group)) == (at(30), None, True)
    assert group.flush(at(31))
    assert group.flush(at(31)) is None
    assert group.due == at(331)


def test_a_group_of_which_nothing_is_left_needs_no_memory() -> None:
    """Also when its alerts went in silence while a message was on its way."""
    groups = Groups()
    groups.take(step(0, "+", "a"))
    (told_now,) = groups.flush(at(30))
    groups.take(step(31, ")", "a"))
    assert (groups.due, groups.stored(("r",))) == (None, None)
    groups.sent(told_now[0], at(32))
    assert groups.flush(at(10_000)) == []


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        (("rule",), [("r",), ("q",)]),
        (("rule", "place"), [("r", "paris"), ("r", ""), ("q", "paris")]),
        (("place",), [("paris",), ("",)]),
        (("severity",), [("warn",)]),
        ((), [()]),
    ],
)
def test_alerts_are_grouped_by_what_the_plan_names(by: tuple[str, ...], keys: list[tuple[str, ...]]) -> None:
    """A label that is not there is as an empty one; each group has times of its own."""
    plan = Plan(by=by)
    groups = Groups(plan)
    given = [
        step(0, "+", "a", place="paris"), step(1, "+", "b"), step(2, "+", "c", "q", place="paris"),
        step(3, "+", "c", place="paris"),
    ]  # fmt: skip
    for one in given:
        groups.take(one)
    assert groups.due == at(30)
    found = groups.flush(at(33))
    assert [key for key, _ in found] == keys
    assert sorted(one.ts for _, message in found for one in message.firing) == [at(n) for n in range(4)]
    assert groups.due == at(333)
    assert [key for key, _ in groups.flush(at(333))] == keys  # none of them has arrived
    for key in keys:
        groups.sent(key, at(333))
    assert groups.due == at(333 + 4 * HOUR)
    assert sorted(key for _, key, _ in messages(given, at(100), plan)) == sorted(keys)


def test_a_restart_forgets_no_group() -> None:
    """Each is stored under its key, and goes on where it was, with the same alerts as it had."""
    groups = Groups()
    alert = replace(step(0, "+", "é"), memory=("alert/r/é", "{}"), value=1.5, channels=("log", "ops"))
    groups.take(alert)
    after = Groups()
    text = groups.stored(("r",))
    assert text is not None
    after.restore(("r",), text)
    ((_, message),) = after.flush(at(30))
    assert message == Message((replace(alert, memory=("alert/r/é", None)),))
    after.sent(("r",), at(30))
    after.take(replace(step(40, "-", "é"), memory=("alert/r/é", None)))
    ((_, message),) = after.flush(at(330))
    assert [one.state for one in message.resolved] == ["resolved"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"members": {"a": {}}}', '{"members": 1}'])
def test_what_another_version_stored_is_no_group(text: str) -> None:
    """It is told as a mistake that can be caught."""
    with pytest.raises(ValueError, match="not a group of alerts"):
        Group.of_json(text, Plan(), Transition.of_json)


@pytest.mark.parametrize("back", [3600.0, -3600.0])
def test_a_step_of_the_clock_neither_delays_nor_repeats(back: float) -> None:
    """All times move with it."""
    groups = Groups()
    groups.take(step(0, "+", "a"))
    groups.shift(back)
    assert groups.due == at(30 + back)
    ((key, _),) = groups.flush(at(30 + back))
    groups.shift(-back)
    groups.sent(key, at(31))
    assert groups.due == at(30 + 4 * HOUR)
    groups.take(step(40, "+", "b"))
    groups.shift(back)
    assert groups.due == at(330 + back)
