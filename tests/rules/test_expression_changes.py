"""When an expression changes without a sample: what a replay plans its looks by must never come too late."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest

from oculus.clock import SECOND
from oculus.model import Micros
from oculus.rules.expression import parse
from oculus.rules.recorded import Recorded
from oculus.windowed import Window
from oculus.zones import zone
from tests.rules.known import seen

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
STEP = 10 * SECOND


def moment(text: str) -> Micros:
    """Return a time in UTC."""
    return Micros(int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * SECOND))


# Clocks in Berlin go from 2:00 to 3:00 on 29 March 2026, and from 3:00 to 2:00 on 25 October, those on Lord
# Howe by half an hour on 5 April and 4 October.
@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24", "2026-04-04", "2026-10-03", "2026-06-03"])
@pytest.mark.parametrize("place", ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    "text",
    [
        "time 22:00-06:00", "time 02:00-03:00", "time 02:30-02:45", "time 18:00-24:00", "time 00:00-24:00",
        "weekday sun", "not (weekday mon-fri and time 01:15-02:15)",
    ],
)  # fmt: skip
def test_a_guard_changes_at_no_other_time(text: str, place: str, day: str) -> None:
    """Minute by minute over the days around a change of the clocks, and looked at seldom."""
    bound = parse(text, zone=zone(place)).bind()
    at, end, looks = moment(day), moment(day) + 60 * HOUR, 0
    while at < end:
        view = seen({}, now=at / SECOND)
        change = bound.next_change(view, STEP)
        assert change is not None
        assert change > at
        looks += 1
        held = bound.evaluate(view)
        for minute in range(at, min(change, end), MINUTE):
            assert bound.evaluate(seen({}, now=minute / SECOND)) is held, minute
        at = change
    assert looks < 130  # half an hour apart at most, and far less often where no clock is set


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("age(a) > 5m", [300, 300.000001]),
        ("5m <= age(a)", [300, 300.000001]),
        ("absent(a, 5m)", [300]),
        ("a > 3 and not absent(a, 90s) or age(a) > 2m", [90, 120, 120.000001]),
        ("a > 3", []),
        ("avg(a, 5m) > 3", []),  # its samples leave the window: that is for the view to tell
        ("age(none) > 5m", []),
        # These may be anything at any time.
        ("age(a) / 2 > a", [10, 20, 30]),
        ("market_open(a)", [10, 20, 30]),
    ],
)  # fmt: skip
def test_ages_change_when_they_are_reached(text: str, changes: list[float]) -> None:
    """In whichever order they are compared; what nobody can tell is looked at in steps."""
    bound, at, found = parse(text).bind(), 0.0, list[float]()
    while len(found) < max(3, len(changes)):
        change = bound.next_change(seen({"a": 5.0}, now=at, ts={"a": 0}, interval=600), STEP)
        if change is None:
            break
        at = change / SECOND
        found.append(at)
    assert found == changes


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reduction", ["avg", "max", "count", "base", "rate"])
def test_a_figure_changes_at_no_other_time(reduction: str, seed: int) -> None:
    """From one sample to the next it is another only when one leaves its window, or its base goes stale."""
    chance = random.Random(seed)
    recorded, second = Recorded(), 0
    for _ in range(30):
        second += chance.choice((1, 7, 60, 61, 400))
        recorded.add("a", Micros(second * SECOND), chance.randint(-3, 3))
    window = Window(reduction, "a", chance.choice((10, 60, 301)))  # type: ignore[arg-type]
    recorded.now = last = Micros(second * SECOND)
    while True:
        before = recorded.window(window)
        after = min((at for at in recorded.slides(window) if at > recorded.now), default=None)
        until = last + 2_000 * SECOND if after is None else after
        for at in range(recorded.now, until, SECOND):
            recorded.now = Micros(at)
            assert recorded.window(window) == before, at - last
        if after is None:
            break
        recorded.now = after
    assert recorded.window(window) == (0 if reduction == "count" else None)
