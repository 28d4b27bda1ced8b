"""The wall clock's text form, and the guard against clocks that jump."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.clock import DAY, SECOND, SETTLE, STEP, ClockGuard, iso, now, parse_iso
from oculus.model import Micros
from tests.support.clocks import WallClock

# -- text ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_500_000, "1970-01-01T00:00:01.500Z"),
        (1_767_323_045_006_000, "2026-01-02T03:04:05.006Z"),
        (1_767_323_045_006_007, "2026-01-02T03:04:05.006007Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_a_time_is_told_in_utc_with_z(ts: int, text: str) -> None:
    """Milliseconds are always told, microseconds where there are any."""
    assert iso(Micros(ts)) == text


@pytest.mark.parametrize(
    ("text", "ts"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01 00:00:00.000001+00:00", 1),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31T18:30:00-05:30", 0),
        ("2026-01-02", 1_767_312_000_000_000),
        ("20260102T030405Z", 1_767_323_045_000_000),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000_000),
    ],
)
def test_a_text_is_read_as_a_time(text: str, ts: int) -> None:
    """Offsets are honoured, and a time without one is UTC."""
    assert parse_iso(text) == ts


@pytest.mark.parametrize("text", ["", "now", "1767323045", "2026-13-01", "2026-01-02T25:00:00Z", "T", "\0"])
def test_a_text_that_is_no_time_is_refused(text: str) -> None:
    """What is no ISO 8601 time raises ValueError, nothing else."""
    with pytest.raises(ValueError, match=r"."):
        parse_iso(text)


_LEAST, _MOST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999


@given(st.integers(_LEAST, _MOST).map(Micros), st.integers(-14 * 60, 14 * 60))
def test_a_time_and_its_text_are_the_same(ts: Micros, minutes: int) -> None:
    """No microsecond is lost on the way to the text and back, whatever zone the text is in."""
    assert parse_iso(iso(ts)) == ts
    if _LEAST + DAY < ts < _MOST - DAY:
        zone = timezone(timedelta(minutes=minutes))
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=ts)
        assert parse_iso(moment.astimezone(zone).isoformat()) == ts


@given(st.text(max_size=30))
def test_no_text_raises_anything_but_value_error(text: str) -> None:
    """Whatever a client sends as a time is a time or a ValueError."""
    with contextlib.suppress(ValueError):
        assert _LEAST - DAY < parse_iso(text) < _MOST + DAY


def test_now_is_the_wall_clock_in_microseconds() -> None:
    """The unit is microseconds since 1970."""
    before = time.time()
    assert before - 1 <= now() / SECOND <= time.time() + 1


# -- the guard ----------------------------------------------------------------------------------------

TRUE = Micros(1_767_323_045_000_000)  # 2026-01-02, when the tests' stories begin
YEAR = 365 * 86_400.0  # seconds
CHECK = 5.0  # seconds between two looks


def guard_of(clock: WallClock, mark: Micros | None) -> ClockGuard:
    """Return a guard on clocks that the test moves."""
    return ClockGuard(mark, lambda: clock.wall, lambda: clock.monotonic)


def believed(guard: ClockGuard) -> bool:
    """Tell whether the wall clock is taken at its word now."""
    return guard.believed


def run(guard: ClockGuard, clock: WallClock, seconds: float, every: float = CHECK) -> list[float]:
    """Let time pass with a look every few seconds; return the steps that were seen."""
    steps = []
    end = clock.monotonic + seconds
    while clock.monotonic < end:
        clock.pass_by(min(every, end - clock.monotonic))
        step = guard.check()
        if step is not None:
            steps.append(step)
    return steps


@pytest.mark.parametrize("off", [0.0, 1.0, 3600.0, 86_400.0])
def test_a_clock_that_fits_the_last_run_is_believed_at_once(off: float) -> None:
    """After a night without power the daemon goes by the wall clock from the start."""
    clock = WallClock(TRUE)
    guard = guard_of(clock, Micros(TRUE - int(off * SECOND)))
    assert believed(guard)
    assert guard.trusted() == TRUE
    clock.pass_by(10)
    assert guard.trusted() == TRUE + 10 * SECOND


def test_the_first_start_believes_the_clock() -> None:
    """With no history there is nothing to lose."""
    clock = WallClock(Micros(0))
    assert believed(guard_of(clock, None))
    assert guard_of(clock, None).trusted() == 0


def test_a_clock_far_ahead_at_the_start_does_not_move_the_trusted_time() -> None:
    """A board that boots ten years late trusts the last run's time and what has passed since."""
    clock = WallClock(Micros(TRUE + int(10 * YEAR) * SECOND))
    guard = guard_of(clock, TRUE)
    assert not believed(guard)
    assert guard.trusted() == TRUE
    assert run(guard, clock, 3600) == []
    assert guard.trusted() == TRUE + 3600 * SECOND


def test_a_clock_behind_at_the_start_is_never_overtaken() -> None:
    """A board that boots in 1970 trusts no later time than its clock's."""
    clock = WallClock(Micros(0))
    guard = guard_of(clock, TRUE)
    assert not believed(guard)
    run(guard, clock, 3600)
    assert guard.trusted() == 3600 * SECOND


def test_a_correction_after_the_start_is_seen_and_the_clock_believed_a_day_later() -> None:
    """NTP comes after a minute: the trusted time goes on from the mark until the clock has settled."""
    clock = WallClock(Micros(0))
    guard = guard_of(clock, Micros(TRUE - 7 * DAY))
    run(guard, clock, 60)
    clock.set_by(TRUE / SECOND - 60)
    assert guard.check() == pytest.approx(TRUE / SECOND - 60)
    assert guard.trusted() == 60 * SECOND
    assert run(guard, clock, SETTLE - CHECK) == []
    assert not believed(guard)
    assert run(guard, clock, CHECK) == []
    assert believed(guard)
    assert guard.trusted() == TRUE + int(SETTLE * SECOND)


@pytest.mark.parametrize("step", [10 * YEAR, 3600.0, STEP + 1])
def test_a_step_forward_in_mid_run_does_not_move_the_trusted_time(step: float) -> None:
    """Whatever the wall clock claims, the trusted time goes on with the monotonic clock."""
    clock = WallClock(TRUE)
    guard = guard_of(clock, TRUE)
    run(guard, clock, 100)
    clock.set_by(step)
    assert guard.trusted() == TRUE + 100 * SECOND  # before the step was seen
    clock.pass_by(2)
    assert guard.check() == pytest.approx(step)
    assert not believed(guard)
    assert guard.trusted() == TRUE + 102 * SECOND
    assert run(guard, clock, 100) == []
    assert guard.trusted() == TRUE + 202 * SECOND


@pytest.mark.parametrize("step", [10 * YEAR, 3600.0, STEP + 1])
def test_a_step_back_in_mid_run_is_followed(step: float) -> None:
    """The trusted time is the wall clock's where that is earlier."""
    clock = WallClock(TRUE)
    guard = guard_of(clock, TRUE)
    clock.set_by(-step)
    assert guard.check() == pytest.approx(-step)
    assert guard.trusted() == clock.wall
    run(guard, clock, 100)
    assert guard.trusted() == clock.wall


def test_a_step_that_is_taken_back_leaves_the_right_time() -> None:
    """A wrong time server for an hour costs nothing, neither while it lasts nor after."""
    clock = WallClock(TRUE)
    guard = guard_of(clock, TRUE)
    clock.set_by(YEAR)
    guard.check()
    run(guard, clock, 3600)
    clock.set_by(-YEAR)
    assert guard.check() == pytest.approx(-YEAR)
    assert guard.trusted() == clock.wall == TRUE + 3600 * SECOND


@pytest.mark.parametrize("step", [STEP, -STEP, 1.0, -30.0, 0.0])
def test_a_small_correction_is_no_step(step: float) -> None:
    """A leap second or a slewed minute does not shake the trust."""
    clock = WallClock(TRUE)
    guard = guard_of(clock, TRUE)
    clock.pass_by(CHECK)
    clock.set_by(step)
    assert guard.check() is None
    assert believed(guard)
    assert guard.trusted() == clock.wall


def test_a_step_starts_the_settling_anew() -> None:
    """Only a day without any step restores the trust."""
    clock = WallClock(Micros(TRUE + int(YEAR) * SECOND))
    guard = guard_of(clock, TRUE)
    run(guard, clock, SETTLE - 60, every=30)
    clock.set_by(-YEAR)
    assert guard.check() is not None
    run(guard, clock, SETTLE - 60, every=30)
    assert not believed(guard)
    run(guard, clock, 60, every=30)
    assert believed(guard)


_STORY = st.lists(
    st.tuples(
        st.floats(0, 7200),  # seconds that pass
        st.just(0.0) | st.floats(STEP * 2, YEAR * 50) | st.floats(-YEAR * 50, -STEP * 2),  # the step then
    ),
    max_size=11,
)


@given(
    _STORY, st.just(0.0) | st.floats(90_000, YEAR * 50) | st.floats(-YEAR * 50, -90_000), st.integers(0, 7)
)
def test_the_trusted_time_is_never_ahead_of_the_true_one(
    story: list[tuple[float, float]], off: float, days: int
) -> None:
    """No series of steps within a day moves the trusted time past what truly is, nor does a wrong start."""
    clock = WallClock(Micros(TRUE + int(off * SECOND)))
    mark = Micros(TRUE - days * DAY)  # a clock far ahead cannot hide within the gap of a day
    guard = guard_of(clock, mark)
    begin = clock.monotonic
    for seconds, step in story:
        clock.pass_by(seconds)
        guard.check()
        clock.set_by(step)
        guard.check()
        true = TRUE + int((clock.monotonic - begin) * SECOND)
        assert guard.trusted() <= true + 1000 * len(story) + 1000  # rounding of the hand-moved clocks
