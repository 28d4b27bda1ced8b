"""Bars of days and lines of hours: what is drawn, and what is said of it."""

from __future__ import annotations

import json
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.model import Micros
from oculus.storage.tiers import HOUR
from oculus.storage.uptime import Share
from oculus.web.day_bars import HEIGHT, LEAST, STEP, Bars, bars, lasting, line, words
from oculus.web.figures import share_text

DAY = 86_400.0
TODAY = date(2026, 11, 3)
SECONDS = st.one_of(st.just(0.0), st.floats(1.0, DAY))


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (Share(DAY), "100 % up"),
        (Share(DAY - 180, 180.0), "99.79 % up, 3 min down"),
        (Share(DAY - 780, 180.0, 600.0), "99.79 % up, 3 min down, 10 min unknown"),
        (Share(DAY - 0.4, 0.4), "99.99 % up"),
        (Share(0.0, DAY), "0 % up, 1 d down"),
        (Share(20.0, DAY - 20), "0.02 % up, 1 d down"),
        (Share(3_600.0, 0.0, DAY - 3_600), "100 % up, 23 h unknown"),
        (Share(0.0, 0.0, DAY), "no data"),
        (Share(), "no data"),
    ],
)
def test_a_day_is_told_in_words(share: Share, told: str) -> None:
    """Uptime of what is known, then what was down, then what is unknown, as far as there is any."""
    assert words(share) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.3, ""), (30.0, "30 s"), (119.0, "1 min 59 s"), (150.0, "2 min"), (155.0, "3 min"),
        (3_590.0, "1 h"), (8_040.0, "2 h 14 min"), (100_000.0, "1 d 3 h"),
    ],
)  # fmt: skip
def test_lengths_are_no_more_exact_than_what_is_known(seconds: float, told: str) -> None:
    """The store knows minutes of what is long."""
    assert lasting(seconds) == told


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1.0, 1.0, "100 %"), (0.0, 1.0, "0 %"), (99_999.0, 100_000.0, "99.99 %"), (1.0, 1e9, "0.01 %"),
        (0.9998, 1.0, "99.98 %"), (0.29, 1.0, "29.00 %"), (2.0, 3.0, "66.66 %"),
    ],
)  # fmt: skip
def test_shares_are_not_rounded_to_all_or_nothing(part: float, whole: float, text: str) -> None:
    """Two decimals, cut and not rounded up."""
    assert share_text(part, whole) == text


def heights(drawn: Bars, place: int) -> dict[str, tuple[float, float]]:
    """Return the top and the height of each part of a day."""
    found = {}
    for kind in ("up", "down", "unknown", "nothing"):
        for x, top, height in re.findall(r"M([\d.]+) ([\d.]+)h4v([\d.]+)h-4z", getattr(drawn, kind)):
            if float(x) == place * STEP:
                found[kind] = float(top), float(height)
    return found


def test_bars_are_drawn_to_scale_but_for_short_outages() -> None:
    """A minute down is seen, half a day down is half a bar, and unknown time stands between."""
    days = [Share(DAY), Share(DAY - 60, 60.0), Share(DAY / 2, DAY / 2), Share(DAY / 2, 0.0, DAY / 2), Share()]
    drawn = bars(days, TODAY)
    assert heights(drawn, 0) == {"up": (0.0, HEIGHT)}
    assert heights(drawn, 1) == {"down": (0.0, LEAST), "up": (LEAST, HEIGHT - LEAST)}
    assert heights(drawn, 2) == {"down": (0.0, HEIGHT / 2), "up": (HEIGHT / 2, HEIGHT / 2)}
    assert heights(drawn, 3) == {"unknown": (0.0, HEIGHT / 2), "up": (HEIGHT / 2, HEIGHT / 2)}
    assert heights(drawn, 4) == {"nothing": (0.0, HEIGHT)}
    assert (drawn.count, drawn.width, drawn.start) == (5, 24, "2026-10-30")


def test_only_days_that_were_not_all_up_are_told() -> None:
    """The page knows what to say of the others."""
    drawn = bars([Share(DAY), Share(DAY - 60, 60.0), Share(100.0)], TODAY)
    assert json.loads(drawn.told) == {"1": "99.93 % up, 1 min down"}
    assert drawn.last == "2026-11-03: 100 % up"


@given(st.lists(st.builds(Share, SECONDS, SECONDS, SECONDS), min_size=1, max_size=90))
def test_each_bar_is_full_and_its_parts_do_not_overlap(days: list[Share]) -> None:
    """However a day was shared, its parts fill its height."""
    drawn = bars(days, TODAY)
    for place, share in enumerate(days):
        parts = sorted(heights(drawn, place).values())
        at = 0.0
        for top, height in parts:
            assert top == pytest.approx(at, abs=0.11)
            at = top + height
        assert at == pytest.approx(HEIGHT, abs=0.11)
        assert ("down" in heights(drawn, place)) == (share.down > 0)


def test_a_line_of_hours_has_gaps_where_there_are_none() -> None:
    """It begins at the foot at 0, goes on from hour to hour, and leaves out what was not measured."""
    took = [(Micros(hour * HOUR), mean, 10) for hour, mean in ((0, 10.0), (1, 20.0), (3, 5.0), (10, 20.0))]
    path = line(took, Micros(0), Micros(10 * HOUR))
    assert path == "M0.0 14.0h0L10.0 2.0M30.0 20.0h0M100.0 2.0h0"
    assert line([], Micros(0), Micros(HOUR)) == ""
