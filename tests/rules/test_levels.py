"""The thresholds of conditions, and which alerts read a series."""

from __future__ import annotations

import pytest

from oculus.config.settings import RuleSettings
from oculus.model import Micros
from oculus.rules import expression
from oculus.rules.engine import RuleEngine
from oculus.rules.expression.levels import Level
from oculus.rules.live import Live
from oculus.rules.uses import uses
from oculus.rules.view import Point


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("custom.x > 5", [Level(">", 5.0)]),
        ("10 <= custom.x", [Level(">=", 10.0)]),
        ("custom.x > 5 and (custom.y < 3 or custom.x < -(2 + 1) * 2)", [Level(">", 5.0), Level("<", -6.0)]),
        ("not (custom.x >= 5)", [Level("<", 5.0)]),
        ("not (not custom.x == 1)", [Level("==", 1.0)]),
        ("avg(custom.x, 5m) > 7", [Level(">", 7.0, "avg")]),
        ("crosses_below(custom.x, abs(-4))", [Level("<", 4.0)]),
        # What is on another scale than the series is no line on its chart.
        ("pct_change(custom.x, 1h) > 5", []),
        ("custom.x / custom.y > 2", []),
        ("custom.x > custom.y", []),
        ("count(custom.x, 1h) < 3", []),
        ("custom.y > 1", []),
        ("custom.x > 1 / 0", []),
    ],
)
def test_a_threshold_is_a_comparison_with_a_constant(condition: str, found: list[Level]) -> None:
    """Turned so that the series stands on the left."""
    bound = expression.parse(condition).bind()
    assert list(bound.levels("custom.x")) == found


def test_a_wildcard_is_filled_in() -> None:
    """The threshold is that of each series which it matches, and of no other."""
    parsed = expression.parse("net.*.rtt > 100")
    bound = parsed.bind(("a",))
    assert list(bound.levels("net.a.rtt")) == [Level(">", 100.0)]
    assert list(bound.levels("net.b.rtt")) == []


def test_each_alert_that_reads_a_series_is_told_once() -> None:
    """In the order of the configuration, with its state, and the key under which its steps are stored."""
    engine = RuleEngine(
        [
            RuleSettings(name="high", condition="custom.x > 5", until="custom.x < 3"),
            RuleSettings(name="any", condition="custom.* > 1 and custom.* < 9", severity="warn"),
            RuleSettings(name="other", condition="custom.y > 5"),
        ]
    )
    engine.know(["custom.x", "custom.y"])
    points = {"custom.x": 6.0, "custom.y": 2.0}

    def last(symbol: str) -> tuple[Point, float] | None:
        return (Point(Micros(1_000_000), points[symbol], None), 1.0) if symbol in points else None

    steps = engine.evaluate(Live(Micros(1_000_000), last))
    found = uses(engine, "custom.x")
    assert [(use.rule, use.condition, use.state) for use in found] == [
        ("high", "custom.x > 5", "firing"),
        ("any", "custom.x > 1 and custom.x < 9", "firing"),
    ]
    assert found[0].levels == (Level(">", 5.0),)
    assert found[0].until == (Level("<", 3.0),)
    stored = {step.event().payload["alert"] for step in steps if step.symbol == "custom.x"}
    assert {use.alert for use in found} == stored
    assert uses(engine, "custom.z") == []
