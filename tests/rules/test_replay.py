"""Replaying history: the very steps that the daemon would have made, at the times at which it would have."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oculus.clock import SECOND
from oculus.config.decode import Seconds
from oculus.config.settings import RuleSettings
from oculus.model import Batch, Sample, Transition
from oculus.rules.engine import RuleEngine
from oculus.rules.live import Live
from oculus.rules.recorded import Recorded
from oculus.rules.replay import Replay
from oculus.rules.rule import windows_of
from oculus.rules.schedule import window_period
from oculus.rules.view import Point, lookback
from oculus.storage import ingest, windows
from oculus.storage.database import Database
from tests.rules.world import START, at, rule

Samples = list[tuple[float, str, float]]  # seconds of the story, symbols, values


def replayed(
    rules: Iterable[RuleSettings], samples: Samples, end: float, chunk: float = 1e9
) -> tuple[list[Transition], Replay]:
    """Return the steps of rules over samples, handed over in pieces of `chunk` seconds."""
    recorded = Recorded()
    replay = Replay(rules, recorded, at(0))
    steps: list[Transition] = []
    ordered = sorted(samples, key=lambda sample: sample[0])
    edges = [second for second in (chunk * number for number in range(1, 1_000)) if second < end] + [end]
    begun = -1e9
    for edge in edges:
        arrivals = []
        for second, symbol, value in ordered:
            if begun < second <= edge:
                recorded.add(symbol, at(second), value)
                arrivals.append((at(second), symbol))
        steps += replay.advance(at(edge), arrivals)
        begun = edge
    return steps, replay


def told(steps: Iterable[Transition]) -> list[tuple[float, str]]:
    """Return steps as seconds and `before→after`."""
    return [((step.ts - START) / SECOND, f"{step.previous}→{step.state}") for step in steps]


def series(*values: float, every: float = 10.0, symbol: str = "load") -> Samples:
    """Return samples at a steady pace from second 0 on."""
    return [(number * every, symbol, value) for number, value in enumerate(values)]


# -- the moments at which something happens without a sample -------------------------------------------


@pytest.mark.parametrize(
    ("condition", "settings", "samples", "end", "steps"),
    [
        ("load > 10", {}, series(5, 11, 12, 5), 99, [(10, "inactive→firing"), (30, "firing→resolved")]),
        # The timer ends between two samples.
        ("load > 10", {"for_": 15}, series(11, 11, 11, 5), 99,
         [(0, "inactive→pending"), (15, "pending→firing"), (30, "firing→resolved")]),
        # 700ms as the configuration reads it is a little more than 0.7.
        ("load > 10", {"for_": 700 * 1e-3}, series(11), 99,
         [(0, "inactive→pending"), (0.7, "pending→firing")]),
        ("load > 10", {"for_": 15}, series(11, 5, 11), 99,
         [(0, "inactive→pending"), (10, "pending→inactive"), (20, "inactive→pending"),
          (35, "pending→firing")]),
        ("load > 10", {"keep_firing_for": 25}, series(11, 5, 5, 5, 5), 99,
         [(0, "inactive→firing"), (35, "firing→resolved")]),
        ("load > 10", {"cooldown": 25}, series(11, 5, 11, 11), 99,
         [(0, "inactive→firing"), (10, "firing→resolved"), (20, "inactive→pending"), (25, "pending→firing")]),
        ("load > 10", {"repeat": 25}, series(*[11] * 7), 60,
         [(0, "inactive→firing"), (25, "firing→firing"), (50, "firing→firing")]),
        # The last sample is 5 minutes old.
        ("load > 10", {"no_data": "ok"}, series(11), 400,
         [(0, "inactive→firing"), (300.000001, "firing→resolved")]),
        ("load > 10", {"no_data": "alert"}, series(5), 400, [(300.000001, "inactive→firing")]),
        ("load > 10", {"no_data": "keep"}, series(11), 400, [(0, "inactive→firing")]),
        ("load > 10", {"until": "load < 3"}, series(11, 5, 2), 99,
         [(0, "inactive→firing"), (20, "firing→resolved")]),
        # The clock is part of the condition; the story begins at 03:04:05.
        ("load > 10 and time 03:05-03:06", {}, series(*[11] * 20), 190,
         [(55, "inactive→firing"), (115, "firing→resolved")]),
        ("absent(load, 1m)", {}, series(5, 5, 5), 200, [(80, "inactive→firing")]),
        ("age(load) > 45", {}, series(5, 5), 80, [(55, "inactive→firing")]),
        # What is before the beginning is known at the beginning.
        ("load > 10", {}, [(-60.0, "load", 11.0)], 99, [(0, "inactive→firing")]),
        # Figures over time are looked at by the clock: every 5 s for those over 5 minutes.
        ("avg(load, 5m) > 10", {}, series(8, 14, every=32), 99, [(35, "inactive→firing")]),
        # Samples leave the window without any that comes.
        ("max(load, 1m) > 10", {}, series(11, 5), 99, [(0, "inactive→firing"), (60, "firing→resolved")]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("chunk", [1e9, 7.0])
def test_steps_come_at_their_times(
    condition: str, settings: dict[str, Any], samples: Samples, end: float, steps: list[tuple[float, str]],
    chunk: float,
) -> None:  # fmt: skip
    """Timers, ages and clocks are looked at when they matter, however the samples are handed over."""
    found, _ = replayed([rule(condition, **settings)], samples, end, chunk)
    assert [step for _, step in told(found)] == [step for _, step in steps]
    assert [second for second, _ in told(found)] == pytest.approx([second for second, _ in steps], abs=2e-6)


def test_instances_begin_with_their_series_and_causes_come_first() -> None:
    """A wildcard has no alert for what is not there yet; what depends on a cause is not told."""
    rules = [
        rule("net.*.up == 0", name="down", depends_on=("uplink",)),
        rule("uplink.up == 0", name="uplink"),
        RuleSettings(name="query", sql="select 1"),
    ]
    samples = [
        (0.0, "net.a.up", 0.0),
        (10.0, "uplink.up", 0.0),
        (10.0, "net.b.up", 0.0),
        (20.0, "uplink.up", 1.0),
    ]
    steps, replay = replayed(rules, samples, 60)
    assert [(step.rule, step.symbol, step.state, bool(step.suppressed)) for step in steps] == [
        ("down", "net.a.up", "firing", False),
        ("uplink", "uplink.up", "firing", False),
        ("down", "net.b.up", "firing", True),
        ("uplink", "uplink.up", "resolved", False),
        ("down", "net.b.up", "firing", False),  # it is told as soon as nothing suppresses it
    ]
    query = replay.engine.get("query")
    assert query is not None
    assert query.health == "error"
    assert "cannot be replayed" in query.error


def test_a_limit_counts_all_instances() -> None:
    """Though only those are looked at that a sample concerns."""
    samples = [(0.0, f"x.a{number}", 5.0) for number in range(3)] + [(10.0, "x.a9", 5.0), (20.0, "x.a9", 0.0)]
    steps, replay = replayed([rule("x.* > 1", limit=3)], samples, 15)
    assert [step.state for step in steps] == ["firing"] * 3 + ["resolved"] * 3
    found = replay.engine.get("r")
    assert found is not None
    assert found.health == "error"


@pytest.mark.parametrize(
    ("condition", "looks"),
    [
        ("load > 10", 1_000), ("load > 10 and not time 02:00-02:30", 1_010), ("age(load) > 5m", 1_010),
        # Samples enter and leave the window at the same time, at last without another that comes.
        ("avg(load, 10m) > 10", 1_020),
    ],
)  # fmt: skip
def test_what_does_not_change_is_not_looked_at(condition: str, looks: int) -> None:
    """A day of a quiet rule costs an evaluation for each sample, and hardly more."""
    _, replay = replayed([rule(condition)], series(*[5] * 1_000, every=60), 86_400)
    assert 1_000 <= replay.evaluations <= looks


# -- the same steps as the daemon's --------------------------------------------------------------------

RULES = [
    rule("a > 60", name="at once"),
    rule("a > 50", name="for", for_=Seconds(17.3)),
    rule("a > 55", name="kept", keep_firing_for=Seconds(23.7), until="a < 50"),
    rule("a > 50 and b < 50", name="two", for_=Seconds(11.3), cooldown=Seconds(63.1)),
    rule("a < 40", name="repeated", repeat=Seconds(31.7)),
    rule("s.* > 60", name="each", flap=3),
    rule("s.* > 70 or c > 60", name="mixed", no_data="ok"),
    rule("c > 50", name="gaps", no_data="alert", for_=Seconds(21.3)),
    rule("crosses_above(a, 50)", name="crosses"),
    rule("avg(a, 90s) > 52", name="mean"),
    rule("max(b, 2m) - min(b, 2m) > 60 and a > 30", name="spread"),
    rule("a > 65", name="caused", depends_on=("at once",)),
]  # fmt: skip


def random_samples(seed: int, end: float) -> Samples:
    """Return wandering series, one of them with long gaps."""
    chance = random.Random(seed)
    samples: Samples = []
    for symbol, every in (("a", 10.0), ("b", 7.0), ("s.x", 15.0), ("s.y", 15.0), ("c", 20.0)):
        value, second = 50.0, chance.uniform(0, every)
        while second < end:
            value = min(100.0, max(0.0, value + chance.gauss(0, 14)))
            samples.append((round(second, 3), symbol, round(value, 1)))
            pause = 400 if symbol == "c" and chance.random() < 0.1 else 0
            second += every + pause + chance.uniform(-0.2, 0.2)
    return sorted(samples)


def lived(rules: list[RuleSettings], samples: Samples, end: int, database: Database) -> Iterator[Transition]:
    """Yield the steps of the daemon's way through the same samples: rules after each commit, those that are
    active each second and all every ten, figures over time from the store in their turns."""
    engine = RuleEngine(rules, started=at(0))
    values: dict[str, tuple[Point, float]] = {}
    figures: dict[Any, float | None] = {}
    looked: dict[str, float] = {}
    touched: set[str] = set()
    left = list(samples)
    for second in range(end + 1):
        moments = sorted({*(taken for taken, _, _ in left if taken <= second), float(second)})
        for moment in moments:
            came = []
            while left and left[0][0] <= moment:
                taken, symbol, value = left.pop(0)
                before = values.get(symbol)
                values[symbol] = Point(at(taken), value, before[0].value if before else None), 0.0
                ingest.write(database.connection, Batch((Sample(symbol, value, at(taken)),)), 1)
                came.append(symbol)
            engine.know(came)
            concerned = engine.concerning(came)
            touched |= {one.settings.name for one in concerned}
            if moment == second:
                swept = engine.rules if second % 10 == 0 else []
                concerned += [one for one in engine.rules if one.state != "inactive" or one in swept]
            plain = {id(one): one for one in concerned if not one.windowed}
            yield from engine.evaluate(Live(at(moment), values.get), plain.values())
        due = []
        for one in engine.rules:
            name = one.settings.name
            if one.windowed and (name in touched or one.state != "inactive" or second % 10 == 0):
                period = window_period(min(window.seconds for window in one.windows))
                if second >= looked.get(name, -period) + period:
                    looked[name] = second
                    touched.discard(name)
                    due.append(one)
        if due:
            lookbacks = {symbol: lookback(0) for symbol in values}
            figures |= windows.figures(database.connection, windows_of(due), at(second), lookbacks)
            yield from engine.evaluate(Live(at(second), values.get, figures), due)


@pytest.mark.parametrize("seed", range(2))
def test_replay_and_daemon_agree(seed: int, tmp_path: Path) -> None:
    """Rule for rule and alert for alert the steps are the same, within the daemon's second."""
    end = 1_200
    samples = random_samples(seed, end)
    database = Database(str(tmp_path / "x.db"))
    live = list(lived(RULES, samples, end, database))
    database.close()
    past, _ = replayed(RULES, samples, end, chunk=100)
    stories = [_stories(steps, end - 15) for steps in (live, past)]
    assert {key[0] for key in stories[0]} == {one.name for one in RULES}
    for key in {**stories[0], **stories[1]}:
        lives, pasts = (story.get(key, []) for story in stories)
        assert [step for _, step in lives] == [step for _, step in pasts], key
        for (first, _), (second, _) in zip(lives, pasts, strict=True):
            # A value goes stale for the daemon at its next look, after at most ten seconds; and each
            # reminder is up to a second late.
            late = 10.1 if key[0] in ("gaps", "mixed", "repeated") else 2.1
            assert second == pytest.approx(first, abs=late), key


def _stories(steps: Iterable[Transition], until: float) -> dict[Any, list[tuple[float, str]]]:
    found: dict[Any, list[tuple[float, str]]] = {}
    for step in steps:
        if step.ts <= at(until):
            found.setdefault((step.rule, step.symbol), []).extend(told([step]))
    return found
