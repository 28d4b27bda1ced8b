"""The geometry of timelines, with times as arguments."""

from __future__ import annotations

from typing import Any

import pytest

from oculus.clock import DAY, SECOND
from oculus.model import Micros
from oculus.web.timeline import (
    LEAST_WIDTH,
    Span,
    Step,
    Tick,
    bars,
    columns,
    namer,
    spans_of,
    ticks,
    timeline,
    when,
)

START = Micros(20_400 * DAY)  # 8 November 2025
HOUR = 3_600 * SECOND
END = Micros(START + 100 * HOUR)  # an hour is one percent
A, B = {"symbol": "custom.a"}, {"symbol": "custom.b"}


def at(hours: float) -> Micros:
    """Return the time so many hours after the start."""
    return Micros(int(START + hours * HOUR))


def firing(start: float, end: float | None) -> Span:
    """Return a firing by its hours."""
    return Span("firing", at(start), None if end is None else at(end))


def test_a_bar_stands_where_its_time_is() -> None:
    """In percent; the title tells both ends and how long it was, in UTC."""
    (bar,) = bars([firing(25, 27.5)], START, END)
    assert (bar.kind, bar.x, bar.width) == ("firing", 25.0, 2.5)
    assert bar.title == "firing 9 Nov 01:00 – 9 Nov 03:30 (2.5h)"


@pytest.mark.parametrize(
    ("span", "x", "width"),
    [
        (firing(-50, 10), 0.0, 10.0),
        (firing(90, 500), 90.0, 10.0),
        (firing(90, None), 90.0, 10.0),
        (firing(-5, None), 0.0, 100.0),
        (firing(10, 10.001), 10.0, LEAST_WIDTH),
        (firing(99.99, None), 100 - LEAST_WIDTH, LEAST_WIDTH),
    ],
    ids=["before", "behind", "still", "always", "short", "just now"],
)
def test_a_bar_stays_within_the_line_and_can_be_seen(span: Span, x: float, width: float) -> None:
    """What reaches beyond is cut off, and what is very short is wide enough for an eye."""
    (bar,) = bars([span], START, END)
    assert (bar.x, bar.width) == pytest.approx((x, width))


def test_what_no_eye_tells_apart_is_one_bar() -> None:
    """With the count and the time in all; a gap that can be seen stays."""
    close = [firing(10 + n / 100, 10.005 + n / 100) for n in range(5)]
    first, second = bars([*close, firing(20, 21)], START, END)
    assert first.title == "5 times firing, 1.5m in all: 8 Nov 10:00 – 8 Nov 10:02"
    assert second.x == 20.0


def test_a_lane_of_many_firings_has_few_bars() -> None:
    """Ten thousand of them are no more than there is room for."""
    found = bars([firing(n / 100, n / 100 + 0.001) for n in range(10_000)], START, END)
    assert len(found) <= 100 / LEAST_WIDTH
    assert all(bar.x >= 0 and bar.x + bar.width <= 100.001 for bar in found)


def test_pending_is_drawn_below_firing() -> None:
    """It comes first, so that what fires is painted over it."""
    found = bars([firing(3, 4), Span("pending", at(2), at(3)), firing(8, 9)], START, END)
    assert [bar.kind for bar in found] == ["pending", "firing", "firing"]


def test_the_alerts_that_fired_longest_have_lanes() -> None:
    """The others are counted; what is outside of the time has none."""
    spans = [({"symbol": f"custom.s{n:02}"}, firing(0, n)) for n in range(1, 41)]
    found = timeline([*spans, (A, firing(-10, -5)), (B, firing(200, 300))], START, END)
    assert [lane.label for lane in found.lanes] == [f"custom.s{n:02}" for n in range(40, 10, -1)]
    assert found.more == 10
    assert timeline([], START, END).lanes == ()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([A, B], ["custom.a", "custom.b"]),
        ([A], ["custom.a"]),
        ([A | {"team": "x"}, A | {"team": "y"}], ["team x", "team y"]),
        ([{"host": "x", "zone": "1"}, {"host": "y", "zone": "1"}], ["host x", "host y"]),
        ([{"host": "x", "zone": "1"}], ["host x, zone 1"]),
        ([{}], [""]),
    ],
)
def test_an_alert_is_called_by_what_tells_it_from_others(
    labels: list[dict[str, str]], names: list[str]
) -> None:
    """By its symbol, or by the labels that differ."""
    name = namer(labels)
    assert [name(one) for one in labels] == names


@pytest.mark.parametrize(
    ("days", "first", "count"),
    [
        (1, Tick(0.0, "8 Nov"), 6),
        (2, Tick(0.0, "8 Nov"), 8),
        (7, Tick(0.0, "8 Nov"), 7),
        (30, Tick(0.0, "8 Nov"), 6),
        (90, Tick(0.0, "8 Nov"), 6),
    ],
)
def test_the_axis_has_as_many_labels_as_fit(days: int, first: Tick, count: int) -> None:
    """At full hours or days, none of them at the very end."""
    found = ticks(START, Micros(START + days * DAY))
    assert (found[0], len(found)) == (first, count)
    assert all(0 <= tick.x <= 94 for tick in found)


def test_an_axis_of_a_day_tells_the_hours() -> None:
    """Those that are full, wherever the day begins."""
    found = ticks(at(1.5), Micros(at(1.5) + DAY))
    assert [tick.text for tick in found] == ["04:00", "08:00", "12:00", "16:00", "20:00", "9 Nov"]
    assert when(at(25.5)) == "9 Nov 01:30"


def test_days_are_columns_on_the_same_axis() -> None:
    """As high as the share of the fullest one; days without any have none."""
    counts = {"2025-11-08": (1, "one"), "2025-11-09": (0, ""), "2025-11-10": (4, "four")}
    first, last = columns(counts, START, Micros(START + 4 * DAY))
    assert (first.height, last.height) == (25.0, 100.0)
    assert 0 <= first.x < 1
    assert 24 < first.width <= 25
    assert last.title == "10 Nov: four"
    assert columns(counts, START, Micros(START + 4 * DAY), most=8)[1].height == 50.0
    assert columns({}, START, END) == ()


# -- stored steps ---------------------------------------------------------------------------------------


def steps(*found: tuple[float, str, str]) -> list[Step]:
    """Return steps of one alert: hour, state before, state after."""
    return [Step(at(hour), A, after, before) for hour, before, after in found]


@pytest.mark.parametrize(
    ("found", "active", "spans"),
    [
        (
            steps((1, "inactive", "pending"), (2, "pending", "firing"), (3, "firing", "resolved")),
            [],
            [("pending", 1, 2), ("firing", 2, 3)],
        ),
        (steps((1, "inactive", "pending"), (2, "pending", "inactive")), [], [("pending", 1, 2)]),
        (
            steps((1, "inactive", "firing"), (2, "firing", "firing"), (3, "firing", "resolved")),
            [],
            [("firing", 1, 3)],
        ),
        (steps((3, "firing", "resolved")), [], [("firing", 0, 3)]),
        (steps((3, "firing", "firing"), (4, "firing", "resolved")), [], [("firing", 0, 4)]),
        (steps((1, "inactive", "firing")), [(A, "firing", at(0.5))], [("firing", 1, None)]),
        (steps((1, "inactive", "firing")), [], [("firing", 1, 1)]),
        ([], [(A, "firing", at(-500))], [("firing", 0, None)]),
        ([], [(A, "pending", at(5))], [("pending", 5, None)]),
        (
            steps((1, "inactive", "firing"), (2, "firing", "pending"), (3, "pending", "firing")),
            [(A, "firing", at(1))],
            [("firing", 1, 2), ("pending", 2, 3), ("firing", 3, None)],
        ),
    ],
    ids=[
        "whole", "never fired", "told again", "begun before", "told again, begun before", "goes on",
        "no end on record", "older than all steps", "pending now", "pending again",
    ],
)  # fmt: skip
def test_stored_steps_become_spans(
    found: list[Step], active: list[Any], spans: list[tuple[str, float, float | None]]
) -> None:
    """Whatever of a firing is on record."""
    expected = [(kind, at(start), None if end is None else at(end)) for kind, start, end in spans]
    assert [span[:3] for _, span in spans_of(found, active, START)] == expected


def test_a_bar_is_known_by_the_event_that_began_it() -> None:
    """One of several firings is none in particular, and what began before the steps has no event."""
    told = [
        Step(at(1), A, "firing", "inactive", 7),
        Step(at(2), A, "firing", "firing", 8),
        Step(at(3), A, "resolved", "firing", 9),
        Step(at(20), A, "pending", "inactive", 10),
        Step(at(21), A, "firing", "pending", 11),
        Step(at(30), B, "resolved", "firing", 12),
    ]
    found = spans_of(told, [(A, "firing", at(20))], START)
    assert [(labels["symbol"][-1], span.kind, span.id) for labels, span in found] == [
        ("a", "firing", 7), ("a", "pending", 10), ("b", "firing", 0), ("a", "firing", 11)
    ]  # fmt: skip
    assert [bar.id for bar in bars([span for _, span in found if span.kind == "firing"], START, END)] == [0]
    assert [bar.id for bar in bars([found[0][1], found[3][1]], START, END)] == [7, 11]


def test_a_lane_may_be_named_by_its_maker() -> None:
    """Whatever else its labels are."""
    found = timeline(
        [(A, firing(1, 2)), (B, firing(1, 3))], START, END, name=lambda labels: labels["symbol"][-1]
    )
    assert [lane.label for lane in found.lanes] == ["b", "a"]


def test_alerts_of_a_rule_do_not_mix() -> None:
    """Each is known by its labels."""
    mixed = [
        Step(at(1), A, "firing", "inactive"),
        Step(at(2), B, "firing", "inactive"),
        Step(at(3), A, "resolved", "firing"),
    ]
    found = spans_of(mixed, [(B, "firing", at(2))], START)
    assert found == [(A, firing(1, 3)), (B, firing(2, None))]
