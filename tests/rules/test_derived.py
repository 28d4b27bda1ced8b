"""Derived values: order, cycles, turns, and what is unknown."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from oculus.config.decode import Seconds
from oculus.config.settings import DerivedSettings
from oculus.errors import ExpressionError
from oculus.model import Micros, Sample, unit_of
from oculus.rules.derived import DerivedLoop, compute, ordered, parse
from oculus.windowed import Window
from tests.rules.world import START, World, at
from tests.support.daemon import Daemon
from tests.support.servers import wait_for


def derived(name: str, formula: str, interval: float = 60.0, unit: str = "") -> DerivedSettings:
    """Return the settings of a derived value."""
    return DerivedSettings(name=name, formula=formula, interval=Seconds(interval), unit=unit)


def test_a_chain_is_computed_in_one_pass() -> None:
    """Whatever the order in the file, each value is made of those of the same moment."""
    world = World()
    world.set(0, "x", 6)
    chain = ordered(
        map(parse, [derived("c", "b + a"), derived("b", "a * 2"), derived("a", "x / 2", unit="USD")])
    )
    assert [made.settings.name for made in chain] == ["a", "b", "c"]
    samples = compute(chain, world.view(10))
    assert [(sample.symbol, sample.value, sample.ts) for sample in samples] == [
        ("a", 3, at(10)), ("b", 6, at(10)), ("c", 9, at(10)),
    ]  # fmt: skip
    assert (samples[0].tags["source"], unit_of("a", samples[0].tags)) == ("derived", "USD")


@pytest.mark.parametrize("formula", ["x / zero", "x + missing", "x + stale", "1e308 * 10 * x"])
def test_what_is_unknown_is_no_sample(formula: str) -> None:
    """Nor is anything that is made of it."""
    world = World()
    world.set(-400, "stale", 1)
    world.set(0, "x", 6)
    world.set(0, "zero", 0)
    assert compute(ordered(map(parse, [derived("a", formula), derived("b", "a + 1")])), world.view(0)) == []


@pytest.mark.parametrize(
    ("formulas", "cycle"),
    [({"a": "a + 1"}, "a → a"), ({"a": "b", "b": "c", "c": "avg(a, 5m)"}, "a → b → c → a")],
)
def test_nothing_is_made_of_itself(formulas: dict[str, str], cycle: str) -> None:
    """A cycle is told with its way."""
    with pytest.raises(ExpressionError, match=cycle):
        ordered(parse(derived(name, formula)) for name, formula in formulas.items())


class Moving:
    """A loop of derived values whose clock and figures a test sets."""

    def __init__(self, *settings: DerivedSettings) -> None:
        self.world = World()
        self.put: list[Sample] = []
        self.asked: list[Collection[Window]] = []
        self.loop = DerivedLoop(
            self.put.extend, lambda moment, figures: self.world.view((moment - START) / 1e6), self._fetch
        )
        self.loop.load(settings)

    def _fetch(self, wanted: Collection[Window], moment: Micros) -> dict[Window, float | None]:
        self.asked.append(wanted)
        self.world.figures = dict.fromkeys(wanted, 7.0)
        return self.world.figures

    def step(self, second: float) -> list[tuple[str, float, float]]:
        """Let the loop look; return the samples as symbol, value and second."""
        self.put.clear()
        self.loop.step(at(second))
        return [(sample.symbol, sample.value, ((sample.ts or 0) - START) / 1e6) for sample in self.put]


def test_each_has_its_turns_at_whole_intervals() -> None:
    """A turn that was slept through is one value, and the wall clock may be set."""
    assert START % 60_000_000 == 5_000_000
    moving = Moving(derived("a", "x", 10), derived("b", "avg(x, 5m) + a", 20))
    moving.world.set(0, "x", 1)
    moving.world.set(0, "a", 1)
    assert moving.step(0) == moving.step(4.9) == []
    assert moving.step(5.1) == [("a", 1, 5)]
    assert moving.step(5.2) == []
    assert moving.step(15) == [("a", 1, 15), ("b", 8, 15)]
    assert [len(wanted) for wanted in moving.asked] == [1]
    assert moving.step(52) == [("a", 1, 45), ("b", 8, 35)]
    moving.world.set(-3600, "x", 1)
    assert moving.step(-3600) == []
    assert moving.step(-3595) == [("a", 1, -3595)]
    assert (moving.loop.interval("b"), moving.loop.interval("x")) == (20.0, 0.0)


def test_the_daemon_stores_them(daemon: Callable[..., Daemon]) -> None:
    """They are series like any other, rules can be about them, and a reload changes them."""
    config = (
        "database: {flush: 50ms}\n"
        "derived: [{name: custom.ratio, formula: custom.x / custom.y, interval: 200ms}]\n"
    )
    oculus = daemon(config + 'rules: [{name: high, condition: "custom.ratio > 2"}]')
    oculus.post("/api/push", json=[{"symbol": "custom.x", "value": 9}, {"symbol": "custom.y", "value": 3}])
    found = wait_for(lambda: oculus.latest("custom.ratio"))
    assert (found["value"], found["tags"]["source"]) == (3.0, "derived")
    wait_for(lambda: oculus.json("/api/rules/high")["state"] == "firing")
    oculus.configure(config.replace("x / custom.y", "x + custom.y"))
    wait_for(lambda: (oculus.latest("custom.ratio") or {})["value"] == 12.0)
    times = oculus.sql("select distinct epoch_us(ts) % 200000 from metrics where symbol = 'custom.ratio'")
    assert times == [[0]]
