"""The Prometheus text exposition, read back by the rules of the format."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oculus.web.exposition import Metric, counter, gauge, histogram, number, render
from tests.support import exposition


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (-3, "-3"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e15, "1000000000000000.0"),
        (1e300, "1e+300"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
    ],
)
def test_values_are_written_as_the_format_has_them(value: float, text: str) -> None:
    """Whole numbers stay short, the infinities and NaN have their own words."""
    assert number(value) == text


@given(st.floats(allow_nan=False))
def test_a_value_is_read_back_exactly(value: float) -> None:
    """No digit is lost on the way."""
    text = render([gauge("a", "A.", value)])
    assert exposition.parse(text)["a"].samples == {("a", ()): value}


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"]))
    | st.sampled_from(["\\", "\n", '"', '\\n"\n\\'])
)
def test_a_label_value_may_hold_anything(text: str) -> None:
    """Backslashes, quotes and line ends are escaped, and come back as they were."""
    families = exposition.parse(render([gauge("a", "A.", 1, label=text)]))
    assert families["a"].samples == {("a", (("label", text),)): 1.0}


def test_a_help_text_stays_on_its_line() -> None:
    """Line ends and backslashes in a help text are escaped."""
    assert (
        render([gauge("a", "one\ntwo \\ three", 1)]) == "# HELP a one\\ntwo \\\\ three\n# TYPE a gauge\na 1\n"
    )


def test_a_family_stands_in_one_piece() -> None:
    """HELP, TYPE, then all samples of the family, each on a line of its own."""
    family = Metric(
        "a_total", "counter", "A.", [("", {"x": "1", "y": "2"}, 3), ("", {"x": "2", "y": "2"}, 4.5)]
    )
    assert render([family, counter("b_total", "B.", 1, z="q")]) == (
        "# HELP a_total A.\n# TYPE a_total counter\n"
        'a_total{x="1",y="2"} 3\na_total{x="2",y="2"} 4.5\n'
        "# HELP b_total B.\n# TYPE b_total counter\n"
        'b_total{z="q"} 1\n'
    )


def test_a_histogram_is_cumulative_and_ends_in_infinity() -> None:
    """Buckets count everything up to their bound; `+Inf` and `_count` count all."""
    text = render([histogram("h_seconds", "H.", (0.1, 1.0), [5, 2, 1], 3.25)])
    assert text == (
        "# HELP h_seconds H.\n# TYPE h_seconds histogram\n"
        'h_seconds_bucket{le="0.1"} 5\nh_seconds_bucket{le="1"} 7\nh_seconds_bucket{le="+Inf"} 8\n'
        "h_seconds_sum 3.25\nh_seconds_count 8\n"
    )
    exposition.parse(text)


def test_a_histogram_needs_a_count_for_every_bucket() -> None:
    """A forgotten bucket is a mistake of the program, found at once."""
    with pytest.raises(ValueError, match="zip"):
        histogram("h", "H.", (0.1, 1.0), [1, 2], 1.0)
