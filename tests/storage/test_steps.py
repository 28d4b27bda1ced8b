"""One step of an alert as the store knows it: those around it, and no step of another alert."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from oculus.model import AlertState, Batch, Event, Micros, Transition
from oculus.storage import ingest, outbox, steps
from oculus.storage.database import Database


def step(
    ts: int,
    state: AlertState = "firing",
    rule: str = "r",
    labels: Mapping[str, str] = {},
    key: str | None = "",
) -> Transition:
    """Return a step; one with a `key` is remembered by it, one with None by nothing."""
    memory = None if key is None else (f"alert/{rule}/{key or json.dumps(dict(labels))}", None)
    return Transition(
        Micros(ts),
        rule,
        state,
        "inactive",
        "warn",
        f"{state} at {ts}",
        Micros(0),
        labels=labels,
        memory=memory,
    )


def store(database: Database, *found: Transition | Event) -> None:
    """Store steps, or other events, with the ids that follow."""
    events = tuple(one.event() if isinstance(one, Transition) else one for one in found)
    ingest.write(database.connection, Batch((), events), ingest.next_event_id(database.connection))


def around(database: Database, id: int, most: int = 10) -> tuple[list[int], list[int]]:
    """Return the ids of the steps before a step, and after it."""
    found = steps.story(database.connection, id, most)
    assert found is not None
    return [one.id for one in found.before], [one.id for one in found.after]


def test_the_steps_around_it_are_of_the_same_alert(database: Database) -> None:
    """Not of another rule or alert; those before it newest first, those after it oldest first."""
    a, b = {"symbol": "a"}, {"symbol": "b"}
    store(
        database,
        step(1, labels=a), step(2, labels=b), step(3, "resolved", labels=a), step(4, rule="other", labels=a),
        step(5, labels=a), step(6, "resolved", labels=b), step(7, "resolved", labels=a),
        Event(Micros(8), "r", "error", "error", "no step"),
    )  # fmt: skip
    assert around(database, 5) == ([3, 1], [7])
    assert around(database, 2) == ([], [6])
    assert around(database, 4) == ([], [])


def test_labels_may_change_while_an_alert_goes_on(database: Database) -> None:
    """It is known by its key."""
    store(database, step(1, labels={"v": "1"}, key="x"), step(2, "resolved", labels={"v": "2"}, key="x"))
    assert around(database, 1) == ([], [2])


@pytest.mark.parametrize("labels", [{}, {"host": 'é "q" \\ ☃', "a.b": "$"}])
def test_an_alert_that_is_not_remembered_is_known_by_its_labels(
    database: Database, labels: Mapping[str, str]
) -> None:
    """Such as that of the uplink."""
    store(
        database,
        step(1, labels=labels, key=None),
        step(2, labels={"host": "other"}, key=None),
        step(3, labels=labels, key="x"),
        step(4, "resolved", labels=labels, key=None),
    )
    assert around(database, 1) == ([], [4])
    assert around(database, 3) == ([], [])


def test_no_more_steps_than_wanted(database: Database) -> None:
    """The nearest ones; that there are more is told."""
    store(database, *(step(number) for number in range(1, 12)))
    found = steps.story(database.connection, 6, 3)
    assert found is not None
    assert around(database, 6, 3) == ([5, 4, 3], [7, 8, 9])
    assert (found.older, found.newer) == (True, True)
    found = steps.story(database.connection, 6, 5)
    assert found is not None
    assert (found.older, found.newer) == (False, False)


def test_what_is_no_step_has_no_story(database: Database) -> None:
    """An id that is not there, and an event of another kind."""
    store(database, Event(Micros(1), "r", "error", "error", "no step"))
    assert steps.story(database.connection, 1, 10) is None
    assert steps.story(database.connection, 2, 10) is None
    assert steps.story(database.connection, 10**18 - 1, 10) is None


def test_a_step_comes_with_its_deliveries(database: Database) -> None:
    """And not with those of other steps."""
    told = step(2).event()
    store(database, step(1), Event(told.ts, "r", "alert", "warn", "m", told.payload, channels=("b", "a")))
    outbox.settle(database.connection, [outbox.Outcome(2, "a", "sent", Micros(9), 3, "id", "200")], {})
    found = steps.story(database.connection, 2, 10)
    assert found is not None
    assert found.deliveries == (
        outbox.Delivery("a", "sent", Micros(9), 3, "id", "200"),
        outbox.Delivery("b", "waiting", None, 0, "", ""),
    )


def test_the_id_of_a_step_is_found_again(database: Database) -> None:
    """By its time and its alert, however it came back from the store."""
    labels = {"symbol": "é"}
    known, bare = step(5, labels=labels), step(6, labels=labels, key=None)
    store(database, step(5, labels={"symbol": "b"}), known, step(5, rule="other", labels=labels), bare)
    for one in (known, Transition.of_json(json.loads(json.dumps(known.to_json())))):
        assert steps.id_of(database.connection, one) == 2
    assert steps.id_of(database.connection, Transition.of_json(bare.to_json())) == 4
    assert steps.id_of(database.connection, step(7, labels=labels)) is None


def test_the_steps_of_late_are_those_of_a_timeline(database: Database) -> None:
    """Oldest first, no more than the newest so many, of a rule, a severity, or with a text in them."""
    a, b = {"symbol": "custom.A", "team": "web"}, {"symbol": "custom.b"}
    store(
        database, step(1, labels=a), step(2, labels=b), step(3, "resolved", labels=a), step(4, rule="other"),
        Event(Micros(5), "r", "error", "error", "no step"),
    )  # fmt: skip

    def ids(since: int = 0, limit: int = 10, **filters: str) -> list[int]:
        return [one.id for one in steps.lately(database.connection, Micros(since), limit, **filters)]

    assert ids() == [1, 2, 3, 4]
    assert ids(since=2) == [2, 3, 4]
    assert ids(limit=2) == [3, 4]
    assert ids(rule="other") == [4]
    assert ids(severity="critical") == []
    assert ids(text="custom.a") == [1, 3]
    assert ids(text="OTHER") == [4]
    assert ids(text="team") == []
    first = steps.lately(database.connection, Micros(0), 10)[2]
    assert (first.ts, first.rule, first.state, first.previous, first.labels) == (
        3,
        "r",
        "resolved",
        "inactive",
        a,
    )
